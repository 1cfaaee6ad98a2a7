"""A writer of small or monstrous DEX files: no debug information, annotations or initial values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha1
from struct import pack, pack_into
from zlib import adler32

from rom_builder.formats.dex_ids import parameters

NO_INDEX = 0xFFFFFFFF
Ids = Callable[[str], int]


@dataclass(frozen=True)
class Method:
    """A method with code: units, or a function that makes them from the indexes of ids.

    ``calls`` are whole names of methods, ``texts`` strings, that the code refers to.
    """

    name: str
    signature: str = "()V"
    registers: int = 1
    code: Sequence[int] | Callable[[Ids], Sequence[int]] = (0x000E,)
    static: bool = True
    calls: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    tries: bytes = b""
    try_count: int = 0
    access: int = 1


@dataclass(frozen=True)
class Class:
    name: str
    parent: str = "Ljava/lang/Object;"
    methods: tuple[Method, ...] = ()


def dex(classes: Sequence[Class]) -> bytes:
    """Write a DEX file of version 035 with sound checksums."""
    called = [c for each in classes for m in each.methods for c in m.calls]
    owned = [f"{each.name}->{m.name}{m.signature}" for each in classes for m in each.methods]
    refs = [split(name) for name in dict.fromkeys((*owned, *called))]
    signatures = sorted({signature for _, _, signature in refs})
    type_names = {t for s in signatures for t in (*parameters(s), s.partition(")")[2])}
    type_names |= {owner for owner, _, _ in refs}
    type_names |= {t for each in classes for t in (each.name, each.parent)}
    texts = {t for each in classes for m in each.methods for t in m.texts}
    strings = sorted(
        type_names | texts | {name for _, name, _ in refs} | {shorty(s) for s in signatures}
    )
    string_of = {text: number for number, text in enumerate(strings)}
    types = sorted(type_names, key=string_of.__getitem__)
    type_of = {name: number for number, name in enumerate(types)}
    protos = sorted(
        signatures,
        key=lambda s: (type_of[s.partition(")")[2]], [type_of[p] for p in parameters(s)]),
    )
    proto_of = {signature: number for number, signature in enumerate(protos)}
    refs.sort(key=lambda ref: (type_of[ref[0]], string_of[ref[1]], proto_of[ref[2]]))
    method_of = {f"{o}->{n}{s}": number for number, (o, n, s) in enumerate(refs)}

    def ids(name: str) -> int:
        """Return the index of a method, of a string, or of a type given as ``type Lcom/A;``."""
        if name.startswith("type "):
            return type_of[name.removeprefix("type ")]
        return method_of[name] if "->" in name else string_of[name]

    sizes = [
        4 * len(strings),
        4 * len(types),
        12 * len(protos),
        0,
        8 * len(refs),
        32 * len(classes),
    ]
    starts = [0x70]
    for size in sizes:
        starts.append(starts[-1] + size)
    data = bytearray(starts[-1])
    for number, text in enumerate(strings):
        pack_into("<I", data, starts[0] + 4 * number, len(data))
        data += uleb128(len(text)) + text.encode() + b"\0"
    pack_into(f"<{len(types)}I", data, starts[1], *map(string_of.__getitem__, types))
    for number, signature in enumerate(protos):
        listed = [type_of[p] for p in parameters(signature)]
        offset = 0
        if listed:
            data += bytes(-len(data) % 4)
            offset = len(data)
            data += pack(f"<I{len(listed)}H", len(listed), *listed)
        returns = type_of[signature.partition(")")[2]]
        row = string_of[shorty(signature)], returns, offset
        pack_into("<3I", data, starts[2] + 12 * number, *row)
    for number, (owner, name, signature) in enumerate(refs):
        row = type_of[owner], proto_of[signature], string_of[name]
        pack_into("<HHI", data, starts[4] + 8 * number, *row)
    for number, each in enumerate(classes):
        offset = members(data, each, method_of, ids) if each.methods else 0
        row = type_of[each.name], 1, type_of[each.parent], 0, NO_INDEX, 0, offset, 0
        pack_into("<8I", data, starts[5] + 32 * number, *row)
    head(data, starts, [len(strings), len(types), len(protos), 0, len(refs), len(classes)])
    return bytes(data)


def members(data: bytearray, each: Class, method_of: dict[str, int], ids: Ids) -> int:
    """Append the code and then the list of a class's methods; return where the list is."""
    listed: dict[bool, list[tuple[int, int, int]]] = {True: [], False: []}
    for method in each.methods:
        index = method_of[f"{each.name}->{method.name}{method.signature}"]
        units = method.code(ids) if callable(method.code) else method.code
        data += bytes(-len(data) % 4)
        place = len(data)
        incoming = len(parameters(method.signature)) + (not method.static)
        counts = method.registers, incoming, 5, method.try_count, 0, len(units)
        data += pack(f"<4H2I{len(units)}H", *counts, *units)
        if method.try_count:
            data += bytes(2 * (len(units) & 1)) + method.tries
        listed[method.static].append((index, method.access | 8 * method.static, place))
    offset = len(data)
    data += uleb128(0) + uleb128(0) + uleb128(len(listed[True])) + uleb128(len(listed[False]))
    for kind in (True, False):
        before = 0
        for index, access, place in sorted(listed[kind]):
            data += uleb128(index - before) + uleb128(access) + uleb128(place)
            before = index
    return offset


def head(data: bytearray, starts: list[int], counts: list[int]) -> None:
    pack_into("<8s4x20x3I", data, 0, b"dex\n035\0", len(data), 0x70, 0x12345678)
    for place, (count, start) in enumerate(zip(counts, starts, strict=False)):
        pack_into("<2I", data, 0x38 + 8 * place, count, start if count else 0)
    pack_into("<2I", data, 0x68, len(data) - starts[-1], starts[-1])
    data[0x0C:0x20] = sha1(bytes(data[0x20:])).digest()
    pack_into("<I", data, 8, adler32(bytes(data[0x0C:])))


def split(name: str) -> tuple[str, str, str]:
    owner, _, rest = name.partition("->")
    short, _, signature = rest.partition("(")
    return owner, short, f"({signature}"


def shorty(signature: str) -> str:
    every = [signature.partition(")")[2], *parameters(signature)]
    return "".join("L" if each[0] in "L[" else each for each in every)


def uleb128(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


def units(*parts: Iterable[int]) -> list[int]:
    """Join pieces of code."""
    return [unit for part in parts for unit in part]
