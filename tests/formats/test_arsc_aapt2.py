"""Values of resource tables as aapt2 prints them, of every app at hand: all configurations, all types.

The framework's resources are there where Debian's android-framework-res is installed.
"""

from __future__ import annotations

import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rom_builder.formats.arsc import parse_arsc
from rom_builder.formats.resource_chunk import ValueType
from tests.fixtures.make_apks import APKS, FRAMEWORK

APPS = [*sorted(APKS.glob("*.apk")), *(path for path in [Path(FRAMEWORK)] if path.is_file())]
MANY = 1000
"""Of more resources than this only some are compared: the framework has 1,800 strings in 2,500
configurations."""
RESOURCE = re.compile(r"    resource 0x([0-9a-f]{8}) (?:\S+:)?(bool|integer|string)/(\S+)")
VALUE = re.compile(r"      \(([^)]*)\) ?(.*)", re.DOTALL)


def values_of_aapt2(apk: Path) -> dict[tuple[str, str], list[str]]:
    """Texts of the values of every bool, integer and string, in the order of the table."""
    command = ["aapt2", "dump", "resources", str(apk)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[tuple[str, str], list[str]] = {}
    name = None
    for line in records(text):
        if resource := RESOURCE.match(line):
            name = (resource[2], resource[3])
            found[name] = []
        elif line.startswith(("    resource ", "  type ")):
            name = None
        elif name is not None and (value := VALUE.match(line)):
            found[name].append(value[2].rstrip("\n"))
    return found


def records(text: str) -> Iterator[str]:
    """Lines of a dump; a line break inside a string belongs to it."""
    pending = ""
    for line in text.split("\n"):
        if re.match(r" {4}resource | {2}type |      \(|Package ", line):
            if pending:
                yield pending
            pending = line
        else:
            pending += "\n" + line
    yield pending


def said(apk: Path, kind: str) -> dict[tuple[str, str], list[str]]:
    """The same from our reader, as aapt2 writes them."""
    with zipfile.ZipFile(apk) as archive:
        table = parse_arsc(archive.read("resources.arsc"))
    found = {}
    names = list(table.names(kind))
    step = 1 + len(names) // MANY
    for name, resource_id in names[::step]:
        texts = []
        for value in sorted(table.values(resource_id), key=lambda v: v.offset):
            typed = value.as_value()
            if value.reference is not None:
                known = table.name(value.reference)
                texts.append(f"@{known}" if known else f"@0x{value.reference:08x}")
            elif value.type == ValueType.INT_HEX:
                texts.append(f"0x{value.data:08x}")
            elif isinstance(typed, str):
                texts.append(f'"{typed}"')
            elif typed is None:
                texts.append("@null")
            else:
                texts.append(str(typed).lower())
        found[kind, name] = texts
    return found


@pytest.mark.judge("aapt2")
@pytest.mark.parametrize("apk", APPS, ids=lambda path: path.name)
def test_every_value_is_the_one_that_aapt2_prints(apk: Path) -> None:
    theirs = values_of_aapt2(apk)
    ours = {k: v for kind in ("bool", "integer", "string") for k, v in said(apk, kind).items()}
    assert ours.keys() <= theirs.keys()
    assert len(ours) == len(theirs) or len(theirs) > MANY
    for key, texts in ours.items():
        printed = [plain(text) for text in theirs[key]]
        assert sorted(map(plain, texts)) == sorted(printed), key


def plain(text: str) -> str:
    """Leave out how aapt2 shows spans, and how it indents a string of several lines."""
    text = re.sub(r'^\(styled string\) (".*").*$', r"\1", text, flags=re.DOTALL)
    return re.sub(r"\n *", "\n", text)
