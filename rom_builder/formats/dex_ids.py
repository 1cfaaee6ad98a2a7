"""The identifier tables of a DEX file: types, prototypes, fields and methods by their names.

Header fields, little-endian, count and offset each (https://source.android.com/docs/core/runtime/dex-format):

======  =========  =======================================================
offset  item size  table
======  =========  =======================================================
0x40    4          types: u32 string
0x48    12         prototypes: u32 shorty, u32 return type, u32 parameters
0x50    8          fields: u16 class, u16 type, u32 name
0x58    8          methods: u16 class, u16 prototype, u32 name
======  =========  =======================================================

Names are written as in smali: ``Lcom/example/A;->send(I)V`` for a method,
``Lcom/example/A;->url:I`` for a field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from struct import iter_unpack, unpack_from
from typing import NamedTuple

from rom_builder.errors import ImageError
from rom_builder.formats.dex import Dex

MAX_PARAMETERS = 255
"""Registers that a call can pass (``invoke-*/range`` counts them in one byte)."""


class MemberRef(NamedTuple):
    """A method or field by name.

    Attributes:
        owner: Descriptor of the class it is named with; it may be inherited by it.
        name: Its bare name.
        signature: ``(I)V`` of a method, the type of a field.
    """

    owner: str
    name: str
    signature: str

    @property
    def key(self) -> str:
        """The whole name, as smali writes it."""
        colon = "" if self.signature.startswith("(") else ":"
        return f"{self.owner}->{self.name}{colon}{self.signature}"

    @property
    def returns(self) -> str:
        """Return type of a method."""
        return self.signature.rpartition(")")[2]

    @property
    def dotted(self) -> str:
        """Class and name as Java writes them, without the signature."""
        return f"{dotted(self.owner)}.{self.name}"


def dotted(descriptor: str) -> str:
    """Return a class descriptor as Java writes it.

    >>> dotted("Lcom/example/A$1;")
    'com.example.A$1'
    """
    if descriptor.startswith("L") and descriptor.endswith(";"):
        return descriptor[1:-1].replace("/", ".")
    return descriptor


def parameters(signature: str) -> list[str]:
    """Return the parameter types of a method signature.

    >>> parameters("(I[JLa/B;[[La/C;)V")
    ['I', '[J', 'La/B;', '[[La/C;']
    """
    return re.findall(r"\[*(?:L[^;]*;|[^L\[])", signature[1 : signature.index(")")])


def words(descriptor: str) -> int:
    """Registers that a value of a type takes: 2 for ``J`` and ``D``, otherwise 1."""
    return 2 if descriptor in ("J", "D") else 1


class DexIds:
    """The names of one DEX file, decoded when they are asked for.

    Raises:
        ImageError: A table does not fit the file; on access, an index or name is out of bounds.
    """

    def __init__(self, dex: Dex) -> None:
        self.dex = dex
        self._types = self._table(0x40, 4)
        self._protos = self._table(0x48, 12)
        self._fields = self._table(0x50, 8)
        self._methods = self._table(0x58, 8)
        self._strings: dict[int, str] = {}
        self._type_names: dict[int, str] = {}
        self._method_refs: dict[int, MemberRef] = {}
        self._field_refs: dict[int, MemberRef] = {}
        self._signatures: dict[int, str] = {}

    def _table(self, header: int, size: int) -> memoryview:
        head = self.dex.head
        count, offset = unpack_from("<2I", head, header)
        if count and not 0x70 <= offset <= len(head) - size * count:
            raise ImageError(f"a table of {count} ids at {offset:#x} does not fit", offset=header)
        return memoryview(head)[offset : offset + size * count] if count else memoryview(b"")

    @cached_property
    def _type_strings(self) -> tuple[int, ...]:
        return unpack_from(f"<{len(self._types) // 4}I", self._types)

    @cached_property
    def _method_rows(self) -> list[tuple[int, int, int]]:
        return list(iter_unpack("<HHI", self._methods))

    def method_row(self, index: int) -> tuple[int, int, int]:
        """Return the indexes of a method's class, prototype and name.

        Raises:
            ImageError: There is no such method.
        """
        if not 0 <= index < len(self._method_rows):
            raise ImageError(f"method {index} of {len(self._method_rows)}", offset=0x58)
        return self._method_rows[index]

    @cached_property
    def method_owners(self) -> list[int]:
        """The type that each method is named with, by index."""
        return [owner for owner, _, _ in self._method_rows]

    @cached_property
    def method_names(self) -> list[int]:
        """The string that is the bare name of each method, by index."""
        return [name for _, _, name in self._method_rows]

    def methods_named(self, names: frozenset[str]) -> list[int]:
        """Return the indexes of all methods that have one of some bare names.

        Raises:
            ImageError: The string table is damaged.
        """
        wanted = set(self.string_indexes(names))
        return [index for index, name in enumerate(self.method_names) if name in wanted]

    def string(self, index: int) -> str:
        """Return a string of the file.

        Raises:
            ImageError: There is no such string, or it is damaged.
        """
        text = self._strings.get(index)
        if text is None:
            if not 0 <= index < len(self.dex.strings):
                raise ImageError(f"string {index} of {len(self.dex.strings)}", offset=0x38)
            text = self._strings[index] = self.dex.strings[index]
        return text

    def type(self, index: int) -> str:
        """Return a type descriptor.

        Raises:
            ImageError: There is no such type.
        """
        name = self._type_names.get(index)
        if name is None:
            if not 0 <= index < len(self._type_strings):
                raise ImageError(f"type {index} of {len(self._type_strings)}", offset=0x40)
            name = self._type_names[index] = self.string(self._type_strings[index])
        return name

    def signature(self, proto: int) -> str:
        """Return a prototype as ``(parameters)return``.

        Raises:
            ImageError: There is no such prototype, or its parameters are damaged.
        """
        found = self._signatures.get(proto)
        if found is None:
            if not 0 <= proto < len(self._protos) // 12:
                raise ImageError(f"prototype {proto} of {len(self._protos) // 12}", offset=0x48)
            _, returns, offset = unpack_from("<3I", self._protos, 12 * proto)
            listed = type_list(self.dex.data, offset, MAX_PARAMETERS)
            types = "".join(map(self.type, listed))
            found = self._signatures[proto] = f"({types}){self.type(returns)}"
        return found

    def method(self, index: int) -> MemberRef:
        """Return a method that the file defines or calls.

        Raises:
            ImageError: There is no such method.
        """
        ref = self._method_refs.get(index)
        if ref is None:
            owner, proto, name = self.method_row(index)
            ref = MemberRef(self.type(owner), self.string(name), self.signature(proto))
            self._method_refs[index] = ref
        return ref

    def field(self, index: int) -> MemberRef:
        """Return a field that the file defines or uses.

        Raises:
            ImageError: There is no such field.
        """
        ref = self._field_refs.get(index)
        if ref is None:
            if not 0 <= index < len(self._fields) // 8:
                raise ImageError(f"field {index} of {len(self._fields) // 8}", offset=0x50)
            owner, kind, name = unpack_from("<HHI", self._fields, 8 * index)
            ref = MemberRef(self.type(owner), self.string(name), self.type(kind))
            self._field_refs[index] = ref
        return ref

    def string_indexes(self, texts: frozenset[str]) -> Iterator[int]:
        """Yield the index of every string that is one of ``texts``; the rest is not decoded.

        Raises:
            ImageError: The string table is damaged.
        """
        for text in sorted(texts):
            yield from self.dex.strings.indexes_of(text)


def type_list(data: bytes, offset: int, limit: int) -> tuple[int, ...]:
    """Return a ``type_list``: u32 count, then u16 type indexes; offset 0 is the empty list.

    Raises:
        ImageError: It does not fit, or has more than ``limit`` entries.
    """
    if not offset:
        return ()
    if offset > len(data) - 4:
        raise ImageError("a list of types lies outside the file", offset=offset)
    (count,) = unpack_from("<I", data, offset)
    if count > limit or offset + 4 + 2 * count > len(data):
        raise ImageError(f"a list of {count} types does not fit", offset=offset)
    return unpack_from(f"<{count}H", data, offset + 4)
