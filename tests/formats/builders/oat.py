"""A writer of what Android 5 to 7 made of DEX files when it compiled them ahead.

Written from the format as art/compiler/oat_writer.cc and elf_writer_quick.cc describe it, with no
code of the readers. What it writes has no machine code in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack, unpack_from

from tests.formats.builders.cdex import quicken

ARM, ARM64 = 40, 183
PAGE = 0x1000
PLACES = {"039": 10, "045": 10, "064": 7, "079": 7, "088": 7}
"""How many places of trampolines and bridges the header has, by version."""


def oat(
    version: str,
    files: Sequence[bytes],
    *,
    locations: Sequence[str] = (),
    wide: bool = False,
    quick: bool = False,
    base: int = 0,
) -> bytes:
    """Write compiled code of a version as an ELF shared object.

    Args:
        version: Of the compiled code.
        files: Plain DEX files.
        locations: Of each; else those of one app.
        wide: Of 64 bits.
        quick: Quicken all code.
        base: Address of the first byte.
    """
    held = [quicken(each)[0] for each in files] if quick else list(files)
    app = "/system/app/LookAlike/LookAlike.apk"
    names = locations or [app, *(f"{app}:classes{n}.dex" for n in range(2, len(files) + 1))]
    return shared_object(oat_data(version, held, names), wide=wide, base=base)


def oat_data(version: str, files: Sequence[bytes], locations: Sequence[str]) -> bytes:
    """Write what the symbol ``oatdata`` names."""
    store = b"dex2oat-cmdline\0--dex-file=x\0pic\0true\0"
    fixed = pack("<4I", 7, 2, 1, len(files)) + pack("<I", PAGE)
    fixed += bytes(4 * PLACES[version]) + pack("<iII", 0, 1, 2) + pack("<I", len(store))
    head = b"oat\n" + version.encode() + b"\0" + fixed + store
    counts = [unpack_from("<I", each, 0x60)[0] for each in files]
    inline = version in ("039", "045", "064")
    rests = [bytes(4 * count) if inline else pack("<2I", 4, 0) for count in counts]
    records = sum(12 + len(n.encode()) + len(r) for n, r in zip(locations, rests, strict=True))
    at = len(head) + records
    table, body = b"", b""
    for each, name, rest in zip(files, locations, rests, strict=True):
        body += bytes(-(at + len(body)) % 4)
        raw = name.encode()
        table += pack("<I", len(raw)) + raw + pack("<2I", 9, at + len(body)) + rest
        body += each
    return head + table + body + bytes(8)


def shared_object(data: bytes, *, wide: bool = False, base: int = 0) -> bytes:
    """Write an ELF file with the symbols ``oatdata``, at address ``base`` + 4096, and ``oatexec``."""
    names = b"\0oatdata\0oatexec\0base.odex\0"
    last = PAGE + len(data) + -len(data) % PAGE
    header, each, symbol = (64, 56, 24) if wide else (52, 32, 16)
    at = header + 3 * each
    symbols, at = at, at + 3 * symbol
    texts, at = at, at + len(names)
    hashes = at + -at % 4

    def program(kind: int, offset: int, size: int, flags: int) -> bytes:
        address = base + offset
        if wide:
            return pack("<2I6Q", kind, flags, offset, address, address, size, size, PAGE)
        return pack("<8I", kind, offset, address, address, size, size, flags, PAGE)

    def named(name: int, address: int, size: int) -> bytes:
        if wide:
            return pack("<IBBHQQ", name, 0x11, 0, 4, address, size)
        return pack("<3IBBH", name, address, size, 0x11, 0, 4)

    tags = [(4, base + hashes), (5, base + texts), (6, base + symbols), (10, len(names)), (0, 0)]
    dynamic = b"".join(pack("<2Q" if wide else "<2I", *tag) for tag in tags)
    ident = b"\x7fELF" + bytes((2 if wide else 1, 1, 1)) + bytes(9)
    form = "<2HI3QI6H" if wide else "<2HI3II6H"
    whole = ident + pack(
        form, 3, ARM64 if wide else ARM, 1, 0, header, 0, 0, header, each, 3, 0, 0, 0
    )
    whole += program(1, 0, PAGE + len(data), 4) + program(1, last, len(dynamic), 6)
    whole += program(2, last, len(dynamic), 6)
    whole += bytes(symbol) + named(1, base + PAGE, len(data)) + named(9, base + last, 0)
    whole += names
    whole += bytes(hashes - len(whole)) + pack("<6I", 1, 3, 1, 0, 0, 0)
    whole += bytes(PAGE - len(whole)) + data
    return whole + bytes(last - len(whole)) + dynamic
