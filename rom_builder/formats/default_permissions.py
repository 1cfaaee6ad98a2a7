"""Permissions that ``etc/default-permissions/*.xml`` gives to apps before anybody is asked.

Read when a user is created, so on the first start and after a factory reset (AOSP
``com/android/server/pm/permission/DefaultPermissionGrantPolicy.java``)::

    <exceptions>
      <exception package="com.example" cert="AB:CD">
        <permission name="android.permission.READ_CONTACTS" fixed="false" whitelisted="false"/>
      </exception>
    </exceptions>

The parser is lenient in its own way, which is followed here: elements that it does not know are looked
through, not skipped, and every element whose name is a part of the word ``permission`` is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rom_builder.errors import ImageError
from rom_builder.formats.system_config import is_true, value_of
from rom_builder.formats.typed_xml import ConfigElement, from_text_xml

BINARY_MAGIC = b"ABX\0"
"""Start of Android's other binary XML, which the platform reads here since Android 12."""


@dataclass(frozen=True, slots=True)
class DefaultPermission:
    """One permission of one app.

    Attributes:
        fixed: The user cannot take it back.
        certificate: Hex SHA-256 of the certificate that an app outside the system must have, else
            None.
    """

    package: str
    permission: str
    fixed: bool
    certificate: str | None
    line: int


def parse_default_permissions(data: bytes) -> tuple[DefaultPermission, ...]:
    """Return the permissions that a file gives, in its order.

    >>> xml = b'<exceptions><exception package="a.b"><permission name="c"/></exception></exceptions>'
    >>> parse_default_permissions(xml)[0].permission
    'c'

    Raises:
        ImageError: The file is no text XML, too large or too deep, or has a DOCTYPE.
    """
    if data.startswith(BINARY_MAGIC):
        raise ImageError("is binary XML of the kind ABX, which is not read")
    return tuple(_below(from_text_xml(data)))


def _below(element: ConfigElement) -> Iterator[DefaultPermission]:
    if element.name == "exceptions":
        for child in element.children:
            yield from _exceptions(child)
    else:
        for child in element.children:
            yield from _below(child)


def _exceptions(element: ConfigElement) -> Iterator[DefaultPermission]:
    if element.name == "exception":
        package = value_of(element, "package")
        certificate = value_of(element, "cert")
        for child in element.children if package else ():
            yield from _permissions(child, package or "", certificate)
    else:
        for child in element.children:
            yield from _exceptions(child)


def _permissions(
    element: ConfigElement, package: str, certificate: str | None
) -> Iterator[DefaultPermission]:
    if element.name in "permission":
        name = value_of(element, "name")
        if name is None:
            return  # skipped, with all that is in it
        digest = certificate.replace(":", "").lower() if certificate else None
        fixed = is_true(value_of(element, "fixed"))
        yield DefaultPermission(package, name, fixed, digest, element.line)
    for child in element.children:
        yield from _permissions(child, package, certificate)
