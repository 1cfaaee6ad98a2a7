from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import Field

from rom_builder.policy.profile import Binding

PROFILE = """\
schema: rom-builder/profile/v1
id: chat
title: Chat
switches:
  - {mechanism: toy, key: chat.on, value_on: "true", value_off: "false"}
"""


class Toy(Binding):
    key: str = Field(description="Name of the setting.")
    slot: int = Field(default=0, description="Slot of the SIM.")


BINDINGS: dict[str, type[Binding]] = {"toy": Toy}

Write = Callable[[str, str], Path]


@pytest.fixture
def bindings() -> dict[str, type[Binding]]:
    return BINDINGS


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes files into the working folder, where a profile 'chat' stands already."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    write("profiles/chat.yaml", PROFILE)
    return write
