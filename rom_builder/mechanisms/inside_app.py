"""Settings that lie inside an app, whose signature forbids changing them without its key."""

from __future__ import annotations

from rom_builder.edits import AppEdit, Obstacle
from rom_builder.facts import Value
from rom_builder.formats.axml import Attribute
from rom_builder.readers.packages import Apk

TRUE = 0xFFFFFFFF
"""Data of a compiled boolean that is true; false is 0."""


def attribute_values(apk: Apk, attribute: Attribute | None) -> list[tuple[str, Value | None]]:
    """Return an attribute's values, each with its type and the configuration it holds in.

    The default configuration is ``""``; a resource that an attribute refers to may have more. What
    cannot be resolved, or is not set, is one None.
    """
    if attribute is None:
        return [("", None)]
    if attribute.reference is not None:
        values = [(value.config, value.as_value()) for value in apk.resolve(attribute.reference)]
        return values or [("", None)]
    return [("", attribute.as_value())]


def in_config(label: str, config: str) -> str:
    """Return the words for a setting that holds in one configuration, ``mcc310`` ...

    >>> in_config("bool/x", "mcc310"), in_config("bool/x", "")
    ('bool/x (mcc310)', 'bool/x')
    """
    return f"{label} ({config})" if config else label


def no_boolean(apk: Apk, values: tuple[Value, ...]) -> Obstacle | None:
    """Say that a profile demands something else than true or false of a boolean; None if it does not."""
    if len(values) == 1 and isinstance(values[0], bool):
        return None
    wanted = ", ".join(map(repr, values))
    why = f"{wanted} is demanded of a setting that is true or false"
    return Obstacle(on_device(apk), why, "write true or false in the profile, without quotes")


def on_device(apk: Apk, entry: str = "") -> str:
    """Return where the device has an app, or an entry of it: ``/system/app/X.apk!/res/a.xml``."""
    path = apk.file.path or apk.file.name
    return f"{path}!/{entry}" if entry else path


def changed(apk: Apk, entry: str, data: bytes, why: str) -> AppEdit:
    """Return the edit of one entry of an app."""
    return AppEdit(apk.file.path or apk.file.name, entry, data, why)
