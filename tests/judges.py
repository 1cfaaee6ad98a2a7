"""Where the foreign judges are: on the path, or where ``.ci/judges`` has put those from npm."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MODULES = Path(__file__).parent.parent / ".cache" / "judges" / "node_modules"
FROM_NPM = {
    "sarif-multitool": "@microsoft/sarif-multitool-*/Sarif.Multitool",
    "axe-core": "axe-core/axe.min.js",
}
"""Name of a judge and its file below ``node_modules``; the programs bring their own run time."""


def judge(tool: str) -> str | None:
    """Return the file of a judge, None if it is not here; one that is no program is named by its path."""
    if tool.startswith("/"):
        return tool if Path(tool).is_file() else None
    if tool in FROM_NPM:
        return next((str(path) for path in sorted(MODULES.glob(FROM_NPM[tool]))), None)
    return shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
