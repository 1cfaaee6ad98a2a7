"""Settings that lie inside an app, whose signature forbids changing them without its key."""

from __future__ import annotations

from rom_builder.edits import AppEdit
from rom_builder.facts import Value
from rom_builder.formats.axml import Attribute
from rom_builder.packages import Apk

TYPE_STRING = 0x03
TYPE_BOOLEAN = 0x12
TRUE = 0xFFFFFFFF
"""Data of a compiled boolean that is true; false is 0."""


def attribute_value(apk: Apk, attribute: Attribute) -> Value | None:
    """Return an attribute's value with its type, through a reference if need be."""
    if attribute.reference is not None:
        values = apk.resolve(attribute.reference)
        return typed(values[0].type, values[0].data, values[0].string) if values else None
    return typed(attribute.type, attribute.data, attribute.raw)


def typed(kind: int, data: int, string: str | None) -> Value | None:
    """Return a compiled value as Python's: boolean, text or number; None for any other type."""
    if kind == TYPE_STRING:
        return string
    if kind == TYPE_BOOLEAN:
        return data != 0
    return data if 0x10 <= kind <= 0x1F else None


def changed(apk: Apk, entry: str, data: bytes, why: str) -> AppEdit:
    """Return the edit of one entry of an app."""
    return AppEdit(apk.file.path or apk.file.name, entry, data, why)
