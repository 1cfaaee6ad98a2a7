"""Shared by all tests: foreign judges are skipped by name on a laptop and demanded in CI."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.judges import judge

if TYPE_CHECKING:
    from tests.signed_package import Package

settings.register_profile("long", max_examples=3000, deadline=None)

UNPACKAGED = {"avbtool.py", "paycheck.py", "recovery-verifier"}
"""Judges that no distribution ships: asked where somebody has put them on the path."""
REQUIRED = os.environ.get("ROM_BUILDER_REQUIRE_TOOLS") == "1"
"""Set in CI: a missing foreign judge is then a failure, not a skip."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("judge"):
        for tool in mark.args:
            if judge(tool):
                continue
            if REQUIRED and tool not in UNPACKAGED:
                pytest.fail(f"the foreign judge {tool} is missing", pytrace=False)
            pytest.skip(f"the foreign judge {tool} is missing")


@pytest.fixture(autouse=True)
def _own_data_folder(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep development keys of tests out of the user's data folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.getbasetemp() / "data"))
    for name in list(os.environ):
        if name.startswith("ROM_BUILDER_") and name != "ROM_BUILDER_REQUIRE_TOOLS":
            monkeypatch.delenv(name)


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """A good A/B package to make something wrong in; needs mkfs.erofs."""
    from tests.signed_package import Package

    return Package(tmp_path)
