"""The other program: androguard's analysis, with cross-references, of the APKs named.

The last line printed says what CPU seconds went where, as :mod:`bench.scan_code` does.
"""

from __future__ import annotations

import json
import sys
import time

from androguard.misc import AnalyzeAPK
from loguru import logger


def main(paths: list[str]) -> None:
    logger.remove()
    started = time.process_time()
    for path in paths:
        _, _, analysis = AnalyzeAPK(path)
        print(f"{path}: {len(list(analysis.get_methods()))} methods")
    ended = time.process_time()
    print(json.dumps({"start": started, "open": 0.0, "analysis": ended - started}))


if __name__ == "__main__":
    main(sys.argv[1:])
