"""Where the policies, templates, signing profiles and examples that ship with the project lie."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

Kind = Literal["policies", "templates", "signing", "examples"]


@cache
def data_folder(kind: Kind) -> Path:
    """Return the folder of one kind of shipped data.

    An installed wheel holds it under ``rom_builder/_data``; a checkout at the top of the tree.

    Raises:
        FileNotFoundError: Neither is there: the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    installed = package / "_data" / kind
    if installed.is_dir():
        return installed
    checkout = package.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / kind).is_dir():
        return checkout / kind
    raise FileNotFoundError(f"{kind}/ is missing from the installation; install rom-builder again")
