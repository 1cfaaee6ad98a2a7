"""URLs that programs spell out, in DEX string tables, resource tables and assets.

Of the service's own programs every URL counts; of all others only those of the service's hosts.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rom_builder.code.taken_out import no_code, read_taken_out, taken_out_of
from rom_builder.errors import ImageError
from rom_builder.facts import Endpoint
from rom_builder.findings import Location
from rom_builder.formats.dex import parse_dex
from rom_builder.formats.tree import NodeKind
from rom_builder.formats.zip import ZipArchive, ZipEntry
from rom_builder.policy.profile import Profile
from rom_builder.readers.packages import COMPRESSED, RESOURCES, Packages, open_app
from rom_builder.rom import READ_LIMIT, Rom, RomFile

URL = re.compile(
    r"\b(https?)://(?:[^\s/?#\"'<>\\@]*@)?([^\s/:?#\"'<>\\@]+)[^\s\"'<>\\]*", re.IGNORECASE
)
ANY_URL = re.compile(rb"https?://")
ANY_URL_UTF16 = re.compile(rb"h\0t\0t\0p\0(?:s\0)?:\0/\0/\0")
XML_NAMESPACE = re.compile(r"http://(?:schemas\.android\.com/|www\.w3\.org/\d{4}/)")
"""Names that look like addresses; nobody contacts them."""
MAX_URL = 200
"""Characters of a URL that evidence keeps."""
PER_FILE = 500
"""URLs kept of one file; findings group them by host."""
CODE = re.compile(r"classes\d*\.dex")
PROGRAMS = (".apk", COMPRESSED, ".jar", ".dex")
COMPILED = (".odex", ".oat", ".vdex")


@dataclass(frozen=True, slots=True)
class Watch:
    """The addresses of one service that are looked for.

    Attributes:
        own: Names of the files that are the service's own.
        hosts: What a URL of one of its hosts looks like, as UTF-8.
        hosts_utf16: The same as UTF-16, as resource tables hold text.
    """

    service: str
    own: frozenset[str]
    hosts: re.Pattern[bytes]
    hosts_utf16: re.Pattern[bytes]


def watch(profile: Profile, hosts: Sequence[str], rom: Rom, packages: Packages) -> Watch:
    """Prepare the search for one service."""
    own = {file.name for file, package in packages.described if package.name in profile.packages}
    for path in rom.files:
        if any(fnmatch.fnmatchcase(path, pattern) for pattern in profile.code_files):
            found = rom.find(path)
            if found is None:
                rom.note_unread(ImageError("is a link that leads nowhere in the image"), path)
            elif found.node.kind is NodeKind.FILE:
                own.add(found.name)
    names = sorted({host.removeprefix("*.") for host in hosts}) or ["\0"]
    utf8 = b"|".join(re.escape(name.encode()) for name in names)
    utf16 = b"|".join(re.escape(name.encode("utf-16-le")) for name in names)
    return Watch(
        profile.id,
        frozenset(own),
        re.compile(rb"https?://(?:[A-Za-z0-9_-]+\.)*(?:" + utf8 + rb")"),
        re.compile(ANY_URL_UTF16.pattern + rb"(?:[A-Za-z0-9_.-]\0)*?(?:" + utf16 + rb")"),
    )


def read_endpoints(rom: Rom, watches: Sequence[Watch]) -> Iterator[Endpoint]:
    """Yield the URLs of every program of the ROM, each once per file.

    What cannot be read is noted in the ROM's list of unread parts.
    """
    if not watches:
        return
    for file in rom.with_suffix(*PROGRAMS):
        yield from _of_file(rom, file, watches)
    named = {name for each in watches for name in each.own}
    for name in sorted(named):
        if not name.endswith(PROGRAMS):
            yield from _of_file(rom, rom.by_name[name], watches)


def _of_file(rom: Rom, file: RomFile, watches: Sequence[Watch]) -> Iterator[Endpoint]:
    try:
        source = open_app(rom, file)
        packed = source.size >= 4 and source.read_at(0, 4) == b"PK\3\4"
        if not packed and not file.name.endswith((".apk", COMPRESSED, ".jar")):
            for each in watches:
                own = file.name in each.own
                yield from _unique(each, file.name, own, _texts(rom.read(file), each, own))
            return
        archive = rom.archives.open(file.node, source)
    except ImageError as error:
        rom.note_unread(error, file.name)
        return
    own_of = [each for each in watches if file.name in each.own]
    code = False
    for name, entry in archive.entries.items():
        is_code = CODE.fullmatch(name) is not None
        code |= is_code
        for each in watches if is_code or name == RESOURCES else own_of:
            own = file.name in each.own
            try:
                found = _of_entry(archive, entry, each, own=own, is_code=is_code)
                yield from _unique(each, f"{file.name}!/{name}", own, found)
            except ImageError as error:
                rom.note_unread(error, f"{file.name}!/{name}")
    if not code:
        yield from _of_compiled_code(rom, file, watches)


def _of_entry(
    archive: ZipArchive, entry: ZipEntry, each: Watch, *, own: bool, is_code: bool
) -> Iterator[tuple[int, str]]:
    if entry.is_folder:
        return
    data = archive.read(entry, limit=READ_LIMIT)
    if is_code:
        yield from parse_dex(data).find_strings(ANY_URL if own else each.hosts)
    else:
        yield from _texts(data, each, own)


def _texts(data: bytes, each: Watch, own: bool) -> Iterator[tuple[int, str]]:
    """Yield what follows each hit in bytes of any kind, as UTF-8 and as UTF-16."""
    for match in (ANY_URL if own else each.hosts).finditer(data):
        yield match.start(), data[match.start() : match.start() + MAX_URL].decode("latin-1")
    for match in (ANY_URL_UTF16 if own else each.hosts_utf16).finditer(data):
        text = data[match.start() : match.start() + 2 * MAX_URL]
        yield match.start(), text.decode("utf-16-le", errors="replace").split("\0", 1)[0]


def _unique(
    each: Watch, name: str, own: bool, texts: Iterator[tuple[int, str]]
) -> Iterator[Endpoint]:
    seen: set[str] = set()
    for offset, text in texts:
        for match in URL.finditer(text.split("\0", 1)[0]):
            url = match[0][:MAX_URL]
            if url not in seen and len(seen) < PER_FILE and not XML_NAMESPACE.match(url):
                seen.add(url)
                host = match[2].lower().rstrip(".")
                place = Location(name, offset)
                yield Endpoint(each.service, match[1].lower(), host, url, place, own)


def _of_compiled_code(rom: Rom, file: RomFile, watches: Sequence[Watch]) -> Iterator[Endpoint]:
    """Yield what the code has that was taken out of a program; note it if it cannot be read."""
    own_of = [each for each in watches if file.name in each.own]
    taken_out = taken_out_of(rom, file)
    if taken_out is None:
        if own_of:
            _note_compiled_code(rom, file)
        return
    name = ""
    try:
        for name, dex in read_taken_out(rom, file, taken_out):
            for each in watches:
                own = each in own_of
                found = dex.find_strings(ANY_URL if own else each.hosts)
                yield from _unique(each, name, own, found)
        if own_of and not name:
            raise no_code(file, taken_out)
    except ImageError as error:
        rom.note_unread(error, taken_out.name)


def _note_compiled_code(rom: Rom, file: RomFile) -> None:
    """Say that a program's code is compiled ahead and was taken out of it."""
    stem = file.name.rpartition("/")[2].rpartition(".")[0]
    folder = file.name.rpartition("/")[0]
    for name in rom.by_name:
        if (
            name.startswith(f"{folder}/")
            and name.endswith(COMPILED)
            and name.rpartition("/")[2].rpartition(".")[0] in (stem, f"{stem}.apk", f"{stem}.jar")
        ):
            rom.note_unread(ImageError("compiled code is not read"), name)
