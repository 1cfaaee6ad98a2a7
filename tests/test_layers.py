"""Imports point down only: a room may use what stands below it, and its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "rom_builder"

ROWS = [
    {"__main__"},
    {"cli"},
    {"two_step"},
    {"resign"},
    {"build", "rotation", "policy_tests", "notice", "inspection"},
    {"signing_requests", "verification"},
    {"provenance"},
    {"packing"},
    {"plan"},
    {"templates", "reports"},
    {"diff"},
    {"check"},
    {"judge", "waivers"},
    {"mechanisms", "code"},
    {"readers"},
    {"rules", "rom", "signers"},
    {"keys"},
    {"facts", "edits", "config"},
    {"findings", "policy"},
    {"formats"},
    {"tools", "files", "background"},
    {"errors", "registry", "resources", "__init__"},
]
"""From the top; a module of a row may import its own room and rows below, never beside or above."""


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rom_builder"):
            parts = (node.module or "").split(".")
            names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
            found |= {name if not name.startswith("__") else "__init__" for name in names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("rom_builder."):
                    found.add(alias.name.split(".")[1])
    return found


def faults(path: Path) -> list[str]:
    room = room_of(path)
    rows = {name: index for index, row in enumerate(ROWS) for name in row}
    if room not in rows:
        return [f"{room} stands in no row"]
    return [
        f"{path.relative_to(ROOT)} imports {other}, which does not stand below {room}"
        for other in sorted(imports_of(path))
        if other != room and rows.get(other, -1) <= rows[room]
    ]


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    assert faults(path) == []


def test_an_upward_import_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    planted = tmp_path / "formats" / "planted.py"
    planted.parent.mkdir()
    planted.write_text("from rom_builder.policy.load import Policies\n")
    assert faults(planted) == [
        "formats/planted.py imports policy, which does not stand below formats"
    ]
