"""The other program: androguard's analysis, with cross-references, of the APKs named."""

from __future__ import annotations

import sys

from androguard.misc import AnalyzeAPK
from loguru import logger


def main(paths: list[str]) -> None:
    logger.remove()
    for path in paths:
        _, _, analysis = AnalyzeAPK(path)
        print(f"{path}: {len(list(analysis.get_methods()))} methods")


if __name__ == "__main__":
    main(sys.argv[1:])
