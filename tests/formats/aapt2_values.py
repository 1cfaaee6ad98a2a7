"""How our reading of a resource table differs from aapt2's: every bool, integer and string.

Run it over the apps of any tree: ``python -m tests.formats.aapt2_values FOLDER``.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from rom_builder.formats.arsc import ResourceTable, ResourceValue, parse_arsc
from rom_builder.formats.resource_chunk import ValueType

KINDS = ("bool", "integer", "string")
RESOURCE = re.compile(r"    resource 0x([0-9a-f]{8}) (?:[^ /]+:)?([a-z]+)/")
VALUE = re.compile(r"      \(([^)]*)\) (.*)", re.DOTALL)
STYLED = re.compile(r'\(styled string\) (".*")(?: \S+:\d+,\d+)*', re.DOTALL)
END = re.compile(r'"(?: \S+:\d+,\d+)*$')
BEGUN = ('"', '(styled string) "')
"""A string of which nothing but the first quote has been read."""
MNC = re.compile("mnc0(?=[0-9])")
"""We write a network's number as the name of a folder has it, aapt2 without a leading zero."""
MODE = re.compile("ui=[0-9]+"), "uiModeType=0"
"""Kinds of device that a maker invented; aapt2 leaves their numbers out."""
MNC_ZERO = "mnc65535"
"""What aapt2 of Android 10 makes of ``mnc00``, which the table holds as 0xffff (``ACONFIGURATION_MNC_ZERO``)."""
START = re.compile(r"Package | {2}type | {4}resource | {6}\(")
INDENT = " " * 6
"""aapt2 indents each line, those inside a string as well."""

Values = dict[tuple[int, str], list[str]]
"""Values by resource id and configuration, as text; more than one where a table says it twice."""


def values_of_aapt2(apk: Path) -> Values:
    """Return what aapt2 prints.

    Raises:
        subprocess.CalledProcessError: It cannot read the table.
    """
    command = ["aapt2", "dump", "resources", str(apk)]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    found: Values = {}
    resource = None
    for line in records(said.stdout.removesuffix("\n").split("\n")):
        if named := RESOURCE.match(line):
            resource = int(named[1], 16) if named[2] in KINDS else None
        elif resource is not None and (value := VALUE.match(line)):
            styled = STYLED.fullmatch(value[2])
            config = value[1].replace(MNC_ZERO, "mnc0")
            found.setdefault((resource, config), []).append(styled[1] if styled else value[2])
    return found


def records(lines: list[str]) -> Iterator[str]:
    """Put the lines of each string together: it ends with a quote, and another record follows.

    A string with a quote before a line that looks like a record cannot be told from two.
    """
    record = ""
    for line, following in zip(lines, [*lines[1:], "Package "], strict=True):
        record = f"{record}\n{line.removeprefix(INDENT)}" if record else line
        value = VALUE.match(record)
        text = value[2] if value else ""
        is_whole = text not in BEGUN and END.search(text) and START.match(following)
        if is_whole or not text.startswith(BEGUN):
            yield record
            record = ""


def values_of_ours(apk: Path) -> Values:
    """Return what our reader finds, in the words of aapt2."""
    with zipfile.ZipFile(apk) as archive:
        table = parse_arsc(archive.read("resources.arsc"))
    found: Values = {}
    for kind in KINDS:
        for _, resource, value in table.all_values(kind):
            config = MODE[0].sub(MODE[1], MNC.sub("mnc", value.config))
            found.setdefault((resource, config), []).append(said_by_aapt2(table, value))
    return found


def said_by_aapt2(table: ResourceTable, value: ResourceValue) -> str:
    """Write a value as aapt2 does."""
    typed = value.as_value()
    if value.reference is not None:
        known = table.name(value.reference)
        return f"@{known}" if known else f"@0x{value.reference:08x}"
    if value.type == ValueType.INT_HEX:
        return f"0x{value.data:08x}"
    if isinstance(typed, str):
        return f'"{typed}"'
    return "@null" if typed is None else str(typed).lower()


def differences(apk: Path) -> tuple[int, list[str]]:
    """Return how many values were compared, and each that the two readers see differently."""
    theirs, ours = values_of_aapt2(apk), values_of_ours(apk)
    found = [
        f"0x{resource:08x} ({config}): {ours.get((resource, config))}, "
        f"aapt2: {theirs.get((resource, config))}"
        for resource, config in sorted(theirs.keys() | ours.keys())
        if theirs.get((resource, config)) != ours.get((resource, config))
    ]
    return sum(map(len, theirs.values())), found


def main(folder: Path) -> None:
    files = values = 0
    for path in sorted(folder.rglob("*.apk")):
        with zipfile.ZipFile(path) as archive:
            if "resources.arsc" not in archive.namelist():
                continue
        count, found = differences(path)
        files, values = files + 1, values + count
        for each in found:
            print(f"{path.name}: {each}")
    print(f"{values} values of {files} apps compared")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
