"""Look for a profile's anchors in every DEX file below a folder; or, with a profile's packages, read
all that the code shows of the service. Run by :mod:`bench.read_code`, in a process of its own."""

from __future__ import annotations

import json
import re
import sys
import time
import zipfile
from pathlib import Path

from rom_builder.code.reading import read_service_code
from rom_builder.formats.dex import parse_dex
from rom_builder.formats.dex_ids import DexIds
from rom_builder.mechanisms import binding_models
from rom_builder.policy.load import shipped
from rom_builder.policy.profile import Profile, load_profile
from rom_builder.readers.packages import Packages
from rom_builder.rom.opening import open_rom


def profile_named(name: str) -> Profile:
    return load_profile(shipped("profiles").get(name, Path(name)), binding_models())


def scan(folder: Path, profile: Profile) -> None:
    code = profile.code
    named = (*code.gates, *code.sinks, *code.choices, *code.boxes, *code.upgrades)
    texts = frozenset(anchor.string for anchor in named if anchor.string)
    files = size = found = 0
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".apk", ".jar") or not path.is_file():
            continue
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if re.fullmatch(r"classes\d*\.dex", name):
                    data = archive.read(name)
                    files, size = files + 1, size + len(data)
                    found += len(list(DexIds(parse_dex(data)).string_indexes(texts)))
    print(f"{files} DEX files, {size / 2**20:.1f} MiB, {found} anchors of {len(texts)} texts")


def analyse(folder: Path, profile: Profile) -> None:
    started = time.process_time()
    rom = open_rom(folder)
    packages = Packages(rom)
    found = len(packages.described)
    opened = time.process_time()
    facts = list(read_service_code(rom, packages, profile, {}))
    ended = time.process_time()
    print(f"{found} apps, {len(facts)} facts, {len(rom.unread)} parts unread")
    seconds = {"start": started, "open": opened - started, "analysis": ended - opened}
    print(json.dumps(seconds))


if __name__ == "__main__":
    {"scan": scan, "analyse": analyse}[sys.argv[1]](Path(sys.argv[2]), profile_named(sys.argv[3]))
