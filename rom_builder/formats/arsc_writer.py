"""Write resource tables: one package of simple values, as resource overlays need them.

The layout is in :mod:`rom_builder.formats.arsc`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from struct import pack

from rom_builder.formats.arsc import TABLE
from rom_builder.formats.arsc_package import PACKAGE, TYPE, TYPE_SPEC
from rom_builder.formats.overlayable import Overlayable
from rom_builder.formats.resource_chunk import (
    NO_INDEX,
    VALUE,
    ValueType,
    encode_chunk,
    encode_fixed_utf16,
)
from rom_builder.formats.resource_config import encode_config
from rom_builder.formats.string_pool import encode_string_pool

_PACKAGE_HEADER_SIZE = 288
_MAX_PACKAGE_ID, _MAX_TYPES, _MAX_ENTRIES = 0xFF, 0xFF, 0xFFFF

_DIFFERENCES = (
    (0x0001, ((4, 6),)),  # mobile country code
    (0x0002, ((6, 8),)),  # mobile network code
    (0x0004, ((8, 12), (36, 48), (52, 61))),  # locale
    (0x0008, ((13, 14),)),  # touchscreen
    (0x0010, ((16, 17),)),  # keyboard
    (0x0020, ((18, 19),)),  # hidden keyboard and navigation
    (0x0040, ((17, 18),)),  # navigation
    (0x0080, ((12, 13),)),  # orientation
    (0x0100, ((14, 16),)),  # density
    (0x0200, ((20, 24), (32, 36))),  # screen size
    (0x0400, ((24, 28),)),  # version
    (0x0800, ((28, 29),)),  # screen layout
    (0x4000, ((28, 29),)),  # layout direction, in the same byte
    (0x1000, ((29, 30),)),  # UI mode
    (0x2000, ((30, 32),)),  # smallest screen size
    (0x8000, ((48, 49),)),  # round screen
    (0x10000, ((49, 50),)),  # colour mode
)
"""Flag of each field that the values of an entry may differ in, and its bytes in a configuration
(``ACONFIGURATION_*`` in Android's ``android/configuration.h``; ``ResTable_typeSpec``)."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Another resource: its id, or ``type/name`` of one in the same table."""

    target: int | str


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource in one configuration.

    ``value`` gives the type: a string is also the path of a file resource inside the APK.
    ``config`` is "" or what :func:`rom_builder.formats.resource_config.encode_config` takes: a name,
    or the structure as it was read.
    """

    type_name: str
    name: str
    value: bool | int | str | Reference
    config: str | bytes = ""


def resource_ids(resources: Iterable[Resource], package_id: int = 0x7F) -> dict[str, int]:
    """Return the id of each resource by ``type/name``, as :func:`encode_arsc` numbers them.

    Raises:
        ValueError: There are more types or entries than ids.
    """
    names: defaultdict[str, set[str]] = defaultdict(set)
    for resource in resources:
        names[resource.type_name].add(resource.name)
    if len(names) > _MAX_TYPES or any(len(entries) > _MAX_ENTRIES for entries in names.values()):
        raise ValueError("a resource package holds 255 types of 65535 entries")
    return {
        f"{type_name}/{name}": package_id << 24 | type_id << 16 | index
        for type_id, type_name in enumerate(sorted(names), 1)
        for index, name in enumerate(sorted(names[type_name]))
    }


def encode_arsc(
    package: str,
    resources: Sequence[Resource],
    *,
    package_id: int = 0x7F,
    overlayables: Sequence[Overlayable] = (),
) -> bytes:
    """Return the resource table of one package; the same resources give the same bytes.

    Types, entries and strings are sorted, so the order of ``resources`` does not matter.

    Raises:
        ValueError: A resource is given twice in a configuration, a reference or a name does not
            fit, or there are more types or entries than ids.
    """
    if not 0 <= package_id <= _MAX_PACKAGE_ID:
        raise ValueError(f"package id {package_id:#x} is not a byte")
    return _Writer(resources, package_id).encode(package, overlayables)


class _Writer:
    def __init__(self, resources: Sequence[Resource], package_id: int) -> None:
        self._package_id = package_id
        self._ids = resource_ids(resources, package_id)
        strings = {r.value for r in resources if isinstance(r.value, str)}
        self._strings = {text: index for index, text in enumerate(sorted(strings))}
        self._keys = {name: index for index, name in enumerate(sorted({r.name for r in resources}))}
        self._types: defaultdict[str, dict[tuple[bytes, str], Resource]] = defaultdict(dict)
        for resource in resources:
            key = (encode_config(resource.config), resource.name)
            if key in self._types[resource.type_name]:
                raise ValueError(f"{resource.type_name}/{resource.name} is given twice")
            self._types[resource.type_name][key] = resource

    def encode(self, package: str, overlayables: Sequence[Overlayable]) -> bytes:
        types = encode_string_pool(sorted(self._types))
        keys = encode_string_pool(list(self._keys))
        header = pack("<I", self._package_id) + encode_fixed_utf16(package, 256)
        header += pack(
            "<5I",
            _PACKAGE_HEADER_SIZE,
            len(self._types),
            _PACKAGE_HEADER_SIZE + len(types),
            len(self._keys),
            0,
        )
        chunks = [types, keys]
        for type_id, type_name in enumerate(sorted(self._types), 1):
            chunks += self._type(type_id, self._types[type_name])
        chunks += (overlayable.encode() for overlayable in overlayables)
        strings = encode_string_pool(list(self._strings))
        body = strings + encode_chunk(PACKAGE, header, b"".join(chunks))
        return encode_chunk(TABLE, pack("<I", 1), body)

    def _type(self, type_id: int, resources: Mapping[tuple[bytes, str], Resource]) -> list[bytes]:
        names = sorted({name for _, name in resources})
        configs = sorted({config for config, _ in resources})
        flags = [
            _differences([config for config in configs if (config, name) in resources])
            for name in names
        ]
        spec = pack("<BBHI", type_id, 0, 0, len(names))
        chunks = [encode_chunk(TYPE_SPEC, spec, pack(f"<{len(names)}I", *flags))]
        for config in configs:
            offsets, entries = [], b""
            for name in names:
                resource = resources.get((config, name))
                offsets.append(NO_INDEX if resource is None else len(entries))
                if resource is not None:
                    entries += pack("<HHI", 8, 0, self._keys[name]) + self._value(resource)
            start = 8 + 12 + len(config) + 4 * len(offsets)
            header = pack("<BBHII", type_id, 0, 0, len(names), start) + config
            table = pack(f"<{len(offsets)}I", *offsets)
            chunks.append(encode_chunk(TYPE, header, table + entries))
        return chunks

    def _value(self, resource: Resource) -> bytes:
        match resource.value:
            case bool():
                return VALUE.pack(8, 0, ValueType.INT_BOOLEAN, NO_INDEX if resource.value else 0)
            case int():
                return VALUE.pack(8, 0, ValueType.INT_DEC, resource.value & 0xFFFFFFFF)
            case str():
                return VALUE.pack(8, 0, ValueType.STRING, self._strings[resource.value])
            case Reference(target):
                if isinstance(target, str):
                    if target not in self._ids:
                        raise ValueError(f"the table has no resource {target}")
                    target = self._ids[target]
                return VALUE.pack(8, 0, ValueType.REFERENCE, target)


def _differences(configs: Sequence[bytes]) -> int:
    """Return the flags of the fields in which configurations differ."""
    flags = 0
    for flag, places in _DIFFERENCES:
        if len({b"".join(config[a:b] for a, b in places) for config in configs}) > 1:
            flags |= flag
    return flags
