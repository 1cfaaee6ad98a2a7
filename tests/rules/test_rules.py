"""Every case below this folder, run as :mod:`tests.cases` describes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases import check_case, differences, load_case

FOLDER = Path(__file__).parent
CASES = sorted(FOLDER.glob("*/*.yaml"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_case(path: Path, tmp_path: Path) -> None:
    case = load_case(path)
    assert case["description"]
    assert path.parent.name in {each["rule"] for each in case["expect"]}
    report = check_case(case, tmp_path)
    assert differences(case, report) == []
