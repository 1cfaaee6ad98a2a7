"""The other program: read the strings of every DEX file below a folder with androguard."""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

from androguard.core.dex import DEX
from loguru import logger

URL = re.compile(r"https?://")


def main(folder: Path) -> None:
    logger.remove()
    files = strings = urls = 0
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".apk", ".jar") or not path.is_file():
            continue
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if re.fullmatch(r"classes\d*\.dex", name):
                    found = DEX(archive.read(name)).get_strings()
                    files += 1
                    strings += len(found)
                    urls += sum(URL.search(text) is not None for text in found)
    print(f"{files} DEX files, {strings} strings, {urls} with a URL")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
