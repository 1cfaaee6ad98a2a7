"""Settings that lie inside an app, whose signature forbids changing them without its key."""

from __future__ import annotations

from rom_builder.edits import AppEdit
from rom_builder.facts import Value
from rom_builder.formats.axml import Attribute
from rom_builder.packages import Apk

TRUE = 0xFFFFFFFF
"""Data of a compiled boolean that is true; false is 0."""


def attribute_value(apk: Apk, attribute: Attribute) -> Value | None:
    """Return an attribute's value with its type, through a reference if need be."""
    if attribute.reference is not None:
        values = apk.resolve(attribute.reference)
        return values[0].as_value() if values else None
    return attribute.as_value()


def changed(apk: Apk, entry: str, data: bytes, why: str) -> AppEdit:
    """Return the edit of one entry of an app."""
    return AppEdit(apk.file.path or apk.file.name, entry, data, why)
