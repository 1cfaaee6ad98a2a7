"""Measure reading the apps of a ROM tree: manifests, overlays, resources and signatures.

Each program reads the same files in a process of its own; time counts from when its imports are done.

``tables``      parse every manifest and resource table, and read every ``bool`` and ``integer``; the
                files are unpacked before
``androguard``  parse the same manifests and resource tables
``strings``     as ``tables``, and read every ``string`` in every language
``apps``        open the tree as a ROM, read every manifest, every ``bool`` and ``integer``, which overlays
                win, and who signed each app: what ``check`` does with apps
``verified``    as ``apps``, and verify every signature, which inflates and hashes all content

``python -m bench.read_apps tables FOLDER`` runs one of them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median

from bench.measure import Cost, report, table
from bench.synthetic_rom import write_rom

SWITCHES = ("bool", "integer")
NAMES = ("AndroidManifest.xml", "resources.arsc")
Work = Callable[[], str]
"""What is measured; it says what it found."""


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] in PROGRAMS:
        run(sys.argv[1], Path(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(prog="python -m bench.read_apps", description=__doc__)
    parser.add_argument("rom", nargs="?", type=Path, help="ROM tree; a synthetic one if not given")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="add the result to bench/results/")
    arguments = parser.parse_args()
    if arguments.rom is not None:
        compare(arguments.rom, str(arguments.rom.name), arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        rom = Path(folder) / "rom"
        write_rom(rom, apps=80, strings=12000)
        compare(rom, "synthetic, 80 apps", arguments)


def compare(rom: Path, name: str, arguments: argparse.Namespace) -> None:
    files = list(rom.rglob("*.apk"))
    size = sum(path.stat().st_size for path in files) / 2**20
    costs = [
        measured(title, program, rom, arguments.runs)
        for program, title in (
            ("tables", "manifests and resource tables"),
            ("androguard", "androguard, the same files"),
            ("strings", "and every text in every language"),
            ("apps", "apps of a ROM: overlays and signers, too"),
            ("verified", "and every signature verified"),
        )
    ]
    title = f"apps of a ROM ({name}): {len(files)} apps, {size:.0f} MiB"
    report(title, table(costs), save=arguments.save)


def measured(title: str, program: str, rom: Path, runs: int) -> Cost:
    """Run a program several times and once more before; return the medians of what it says it cost."""
    figures = []
    for _ in range(runs + 1):
        argv = (sys.executable, "-m", "bench.read_apps", program, str(rom))
        said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
        figures.append(tuple(map(float, said.splitlines()[-1].split())))
    wall, cpu, peak = (median(column) for column in zip(*figures[1:], strict=True))
    return Cost(title, runs, wall, cpu, peak)


def run(program: str, folder: Path) -> None:
    """Run a program and print what it found, then wall-clock and CPU seconds and peak MiB."""
    work = PROGRAMS[program](folder)
    wall, cpu = time.perf_counter(), time.process_time()
    print(work())
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(wall, cpu, getrusage(RUSAGE_SELF).ru_maxrss / 1024)


def unpacked(folder: Path) -> list[tuple[bytes, bytes]]:
    """Return manifest and resource table of each app; empty if it has none."""
    found = []
    for path in sorted(folder.rglob("*.apk")):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            manifest, resources = (archive.read(name) if name in names else b"" for name in NAMES)
            found.append((manifest, resources))
    return found


def tables(folder: Path, kinds: Sequence[str] = SWITCHES) -> Work:
    """Read manifests and resource tables of ours."""
    from rom_builder.formats.axml import parse_axml

    files = unpacked(folder)

    def work() -> str:
        manifests = values = 0
        for manifest, resources in files:
            manifests += bool(manifest) and parse_axml(manifest).name == "manifest"
            values += read_values(resources, kinds) if resources else 0
        return f"{manifests} manifests, {values} values"

    return work


def strings(folder: Path) -> Work:
    """Read manifests and resource tables with every text."""
    return tables(folder, (*SWITCHES, "string"))


def read_values(data: bytes, kinds: Sequence[str] = SWITCHES) -> int:
    """Read every value of some kinds in every configuration; return how many there are."""
    from rom_builder.formats.arsc import parse_arsc

    resources = parse_arsc(data)
    return sum(1 for kind in kinds for _ in resources.all_values(kind))


def apps(folder: Path, *, verify: bool = False) -> Work:
    """Read the apps of a ROM as ``check`` does."""
    from rom_builder.mechanisms.overlays import Overlays
    from rom_builder.mechanisms.system_property import read_platform
    from rom_builder.readers.packages import RESOURCES, Apk, Packages
    from rom_builder.readers.signatures import read_app_signatures, read_signing_certificates
    from rom_builder.rom.opening import open_rom

    rom = open_rom(folder)

    def work() -> str:
        packages = Packages(rom)
        judged = read_app_signatures(rom, read_platform(rom).sdk) if verify else iter(())
        overlays = len(Overlays(rom, packages).all)
        values = 0
        for file, _ in packages.described:
            apk = Apk(rom, file)
            if RESOURCES in apk.archive.entries:
                values += read_values(apk.read(RESOURCES))
        signers = len(list(read_signing_certificates(rom, None)))
        held = sum(not signature.faults for signature in judged)
        return (
            f"{len(packages.described)} apps, {overlays} overlays, {values} values, "
            f"{signers} certificates, {held} signatures hold, "
            f"{len(rom.unread)} parts unread"
        )

    return work


def verified(folder: Path) -> Work:
    """Read the apps of a ROM and verify every signature."""
    return apps(folder, verify=True)


def androguard(folder: Path) -> Work:
    """Read manifests and resource tables with androguard, which decodes no text before it is asked."""
    from androguard.core.axml import ARSCParser, AXMLPrinter
    from loguru import logger

    logger.remove()
    files = unpacked(folder)

    def work() -> str:
        manifests = packages = 0
        for manifest, resources in files:
            manifests += bool(manifest) and AXMLPrinter(manifest).get_xml_obj().tag == "manifest"
            packages += len(ARSCParser(resources).get_packages_names()) if resources else 0
        return f"{manifests} manifests, tables of {packages} packages"

    return work


PROGRAMS: dict[str, Callable[[Path], Work]] = {
    "tables": tables,
    "androguard": androguard,
    "strings": strings,
    "apps": apps,
    "verified": verified,
}


if __name__ == "__main__":
    main()
