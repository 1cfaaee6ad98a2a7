"""The classes that a DEX file defines: what they extend, their members, their constants.

``class_def_item``, 32 bytes, little-endian u32 each; header field 0x60 counts them, 0x64 is their
offset (https://source.android.com/docs/core/runtime/dex-format):

======  =========================================================
offset  field
======  =========================================================
0       type
4       access flags
8       superclass type, 0xffffffff for none
12      offset of the interfaces (``type_list``), 0 for none
16      string with the name of the source file
20      offset of annotations
24      offset of the class data, 0 for none
28      offset of the initial values of static fields, 0 for none
======  =========================================================

Class data are ULEB128: the sizes of four lists (static fields, instance fields, direct methods,
virtual methods), then per field the index (as the difference to the one before) and access flags,
per method also the offset of its code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from struct import iter_unpack, unpack_from
from typing import NamedTuple

from rom_builder.errors import ImageError
from rom_builder.formats.dex_ids import DexIds, MemberRef, type_list

NO_INDEX = 0xFFFFFFFF
MAX_INTERFACES = 0xFFFF
ACC_STATIC = 0x8
ACC_ABSTRACT = 0x400
ACC_INTERFACE = 0x200
_HIDDEN = (0, 0, 0, 7, 0, 7, 7, 7)
"""What to turn in the flags of a method, by its flags public, private and protected: more than one of
them mark what Android 9 hides from apps, and stand for the others
(art/libdexfile/dex/hidden_api_access_flags.h)."""

VALUE_STRING, VALUE_NULL, VALUE_BOOLEAN = 0x17, 0x1E, 0x1F
VALUE_ARRAY, VALUE_ANNOTATION = 0x1C, 0x1D

Constant = str | int | bool | None
"""Initial value of a static field; None for null and for what is neither text nor whole number."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method that the file defines.

    Attributes:
        index: In the table of methods.
        access: Flags of the DEX format, without the marks of Android 9.
        code_offset: Where its code item lies in the file, 0 if it has none.
    """

    ref: MemberRef
    index: int
    access: int
    code_offset: int


class ClassDef(NamedTuple):
    """A class that the file defines; its members are read by :meth:`DexClasses.methods`.

    Attributes:
        name: Descriptor.
        superclass: Descriptor, None only for ``java.lang.Object``.
        data_offset: Where its members lie in the file, 0 if it has none.
        values_offset: Where the initial values of its static fields lie, 0 if all are zero.
        type_index: Its own, in the table of types.
    """

    name: str
    access: int
    superclass: str | None
    interfaces: tuple[str, ...]
    data_offset: int
    values_offset: int
    type_index: int


class DexClasses:
    """The classes of one DEX file.

    Raises:
        ImageError: The table does not fit the file; on access, a class is damaged.
    """

    def __init__(self, ids: DexIds) -> None:
        self.ids = ids
        self._data = ids.dex.data
        head = ids.dex.head
        count, offset = unpack_from("<2I", head, 0x60)
        if count and not 0x70 <= offset <= len(head) - 32 * count:
            raise ImageError(f"a table of {count} classes does not fit", offset=0x60)
        self._rows = list(iter_unpack("<8I", head[offset : offset + 32 * count]))

    @cached_property
    def by_name(self) -> dict[str, ClassDef]:
        """Every class by its descriptor."""
        found: dict[str, ClassDef] = {}
        for type_index, access, parent, interfaces, _, _, data, values in self._rows:
            name = self.ids.type(type_index)
            listed = type_list(self._data, interfaces, MAX_INTERFACES)
            found.setdefault(
                name,
                ClassDef(
                    name,
                    access,
                    None if parent == NO_INDEX else self.ids.type(parent),
                    tuple(map(self.ids.type, listed)),
                    data,
                    values,
                    type_index,
                ),
            )
        return found

    @cached_property
    def methods(self) -> list[Method]:
        """Every method of every class."""
        return [method for each in self.by_name.values() for method in self.methods_of(each)]

    def methods_of(self, each: ClassDef) -> Iterator[Method]:
        """Yield the methods of one class, direct ones first.

        Raises:
            ImageError: They are damaged, or of another class.
        """
        for index, access, code in self.rows_of(each):
            yield Method(self.ids.method(index), index, access, code)

    def rows_of(self, each: ClassDef) -> list[tuple[int, int, int]]:
        """Return index, access flags and offset of the code of the methods of one class.

        Raises:
            ImageError: They are damaged, or of another class.
        """
        found: list[tuple[int, int, int]] = []
        if not each.data_offset:
            return found
        reader = _Leb128(self._data, each.data_offset)
        owners = self.ids.method_owners
        for count in self._member_counts(reader)[1]:
            numbers = reader.several(3 * count)
            if 0 in numbers[3::3]:
                raise ImageError("a class lists a method twice", offset=reader.offset)
            indexes = list(accumulate(numbers[::3]))
            if count and not indexes[-1] < len(owners):
                self.ids.method(indexes[-1])  # refuses it
            for owner in {owners[index] for index in indexes} - {each.type_index}:
                if self.ids.type(owner) != each.name:
                    raise ImageError("a class lists the method of another", offset=reader.offset)
            found += [
                (index, access ^ _HIDDEN[access & 7], code)
                for index, access, code in zip(indexes, numbers[1::3], numbers[2::3], strict=True)
            ]
        return found

    def codes(self) -> Iterator[tuple[int, int]]:
        """Yield index and offset of the code of every method that has some, in file order.

        Raises:
            ImageError: A class is damaged.
        """
        left = len(self.ids.method_owners)
        for *_, data, _ in self._rows:
            if not data:
                continue
            reader = _Leb128(self._data, data)
            for count in self._member_counts(reader)[1]:
                left -= count
                if left < 0:
                    raise ImageError("classes list methods of others", offset=data)
                index = 0
                numbers = iter(reader.several(3 * count))
                for step, _, code in zip(numbers, numbers, numbers, strict=True):
                    index += step
                    if code:
                        yield index, code

    def static_fields(self, each: ClassDef) -> Iterator[tuple[MemberRef, Constant]]:
        """Yield the static fields of one class with the value they have before ``<clinit>``."""
        if not each.data_offset:
            return
        reader = _Leb128(self._data, each.data_offset)
        start = self._member_counts(reader, skip=False)[0][0]
        values = iter(self._values(each.values_offset))
        index = 0
        for _ in range(start):
            index += reader.unsigned()
            reader.unsigned()
            yield self.ids.field(index), next(values, None)

    def _member_counts(
        self, reader: _Leb128, *, skip: bool = True
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        counts = [reader.unsigned() for _ in range(4)]
        if sum(counts) > len(self._data):
            raise ImageError(f"{sum(counts)} members of one class", offset=reader.offset)
        if skip:
            reader.several(2 * (counts[0] + counts[1]))
        return (counts[0], counts[1]), (counts[2], counts[3])

    def _values(self, offset: int) -> Iterator[Constant]:
        """Yield an ``encoded_array``, up to the first value that itself holds values."""
        if not offset:
            return
        reader = _Leb128(self._data, offset)
        for _ in range(reader.unsigned()):
            head = reader.byte()
            kind, size = head & 0x1F, head >> 5
            if kind in (VALUE_ARRAY, VALUE_ANNOTATION):
                return
            if kind == VALUE_BOOLEAN:
                yield bool(size)
            elif kind == VALUE_NULL:
                yield None
            else:
                raw = reader.take(size + 1)
                number = int.from_bytes(raw, "little", signed=kind != VALUE_STRING)
                whole = kind in (0x00, 0x02, 0x03, 0x04, 0x06)
                yield self.ids.string(number) if kind == VALUE_STRING else number if whole else None


class _Leb128:
    def __init__(self, data: bytes, offset: int) -> None:
        self._data = data
        self.offset = offset

    def byte(self) -> int:
        return self.take(1)[0]

    def take(self, size: int) -> bytes:
        raw = self._data[self.offset : self.offset + size]
        if len(raw) != size:
            raise ImageError("class data run past the end of the file", offset=self.offset)
        self.offset += size
        return raw

    def several(self, count: int) -> list[int]:
        """Return so many unsigned numbers; most are of one byte."""
        data, at = self._data, self.offset
        found = []
        try:
            for _ in range(count):
                value = data[at]
                at += 1
                if value > 0x7F:
                    start, shift = at - 1, 7
                    value &= 0x7F
                    while (byte := data[at]) > 0x7F:
                        value |= (byte & 0x7F) << shift
                        at, shift = at + 1, shift + 7
                        if shift > 28:
                            raise ImageError("a number of more than five bytes", offset=start)
                    value |= byte << shift
                    at += 1
                found.append(value)
        except IndexError:
            raise ImageError("class data run past the end of the file", offset=at) from None
        self.offset = at
        return found

    def unsigned(self) -> int:
        data, offset = self._data, self.offset
        value = shift = 0
        try:
            while True:
                byte = data[offset]
                offset += 1
                value |= (byte & 0x7F) << shift
                if byte < 0x80:
                    self.offset = offset
                    return value
                shift += 7
                if shift > 28:
                    raise ImageError("a number of more than five bytes", offset=offset)
        except IndexError:
            raise ImageError("class data run past the end of the file", offset=offset) from None
