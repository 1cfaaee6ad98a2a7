"""PKCS #11 URIs (RFC 7512): which key in which token, through which module.

::

    pkcs11:token=release;object=ota?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/pin

========= ====================================================================================
part      attributes that are read here
========= ====================================================================================
path      ``token``, ``serial``, ``model``, ``manufacturer``, ``slot-id``: which token;
          ``object``, ``id``: which key; ``type``: ``private`` if it is given
query     ``module-path`` or ``module-name``, ``pin-source``, ``pin-value``
========= ====================================================================================

Values are percent-encoded; that of ``id`` is bytes. Any other attribute is refused: one that is
passed over could have been what tells two keys apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote_to_bytes

from rom_builder.errors import SigningError

_PATH = ("token", "serial", "model", "manufacturer", "slot-id", "object", "id", "type")
_QUERY = ("module-path", "module-name", "pin-source", "pin-value")
_UNKNOWN_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")

_MODULE_FOLDERS = (
    "/usr/lib/pkcs11",
    "/usr/lib/x86_64-linux-gnu/pkcs11",
    "/usr/lib/aarch64-linux-gnu/pkcs11",
    "/usr/lib64/pkcs11",
    "/usr/lib",
    "/usr/lib/softhsm",
    "/usr/lib64",
    "/usr/local/lib",
    "/opt/homebrew/lib",
)
"""Where a module that is only named is looked for: p11-kit's folders, then the common ones."""


@dataclass(frozen=True, slots=True)
class Pkcs11Uri:
    """A PKCS #11 URI; what it does not say is None."""

    token: str | None = None
    serial: str | None = None
    model: str | None = None
    manufacturer: str | None = None
    slot_id: int | None = None
    object: str | None = None
    id: bytes | None = None
    module_path: str | None = None
    module_name: str | None = None
    pin_source: str | None = None
    pin_value: str | None = field(default=None, repr=False)


def parse_pkcs11_uri(reference: str, shown: str) -> Pkcs11Uri:
    """Return what stands after ``pkcs11:``.

    Args:
        reference: The URI without its scheme.
        shown: The URI for messages, without its PIN.

    Raises:
        SigningError: An attribute is unknown, given twice or has no value, or nothing says which
            key it is.
    """
    path, _, query = reference.partition("?")
    found = {
        **_attributes(path, ";", _PATH, shown),
        **_attributes(query, "&", _QUERY, shown),
    }
    if found.pop("type", b"private") != b"private":
        raise SigningError(f"{shown}: type must be private, or be left out")
    if "object" not in found and "id" not in found:
        raise SigningError(f"{shown}: names no key", hint="add object=LABEL or id=%01")
    if "module-path" in found and "module-name" in found:
        raise SigningError(f"{shown}: has both module-path and module-name")
    if "pin-source" in found and "pin-value" in found:
        raise SigningError(f"{shown}: has both pin-source and pin-value")
    slot = found.pop("slot-id", None)
    if slot is not None and not (slot.isdigit() and len(slot) < 20):
        raise SigningError(f"{shown}: slot-id is not a number")
    key_id = found.pop("id", None)
    try:
        texts = {name.replace("-", "_"): value.decode() for name, value in found.items()}
    except UnicodeDecodeError:
        raise SigningError(f"{shown}: a value other than id's is not UTF-8") from None
    return Pkcs11Uri(slot_id=None if slot is None else int(slot), id=key_id, **texts)


def _attributes(text: str, separator: str, known: tuple[str, ...], shown: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in text.split(separator) if text else ():
        name, _, value = part.partition("=")
        if name not in known:
            where = "after" if separator == "&" else "before"
            raise SigningError(
                f"{shown}: no attribute that is known {where} the question mark: {name[:40]}",
                hint=f"these are: {', '.join(known)}",
            )
        if name in found:
            raise SigningError(f"{shown}: {name} is given twice")
        found[name] = unquote_to_bytes(value)
        zero = b"\0" in found[name] and name != "id"
        if not found[name] or zero or _UNKNOWN_ESCAPE.search(value):
            raise SigningError(f"{shown}: {name} has no value that can be used")
    return found


def module_of(uri: Pkcs11Uri, default: str | None, folder: Path, shown: str) -> str:
    """Return the path of the module that talks to the token.

    Args:
        uri: May name it.
        default: The module of a URI that names none.
        folder: What a relative ``module-path`` starts from.
        shown: The URI for messages.

    Raises:
        SigningError: No module is named, or it is not there.
    """
    if uri.module_name is not None:
        if "/" in uri.module_name:
            raise SigningError(f"{shown}: module-name is a name, module-path a path")
        bare = uri.module_name.removeprefix("lib").removesuffix(".so")
        for place in _MODULE_FOLDERS:
            for name in (f"lib{bare}.so", f"{bare}.so"):
                if (Path(place) / name).is_file():
                    return str(Path(place) / name)
        raise SigningError(
            f"{shown}: there is no module lib{bare}.so in the usual folders",
            hint="give module-path",
        )
    named = uri.module_path or default
    if named is None:
        raise SigningError(
            f"{shown}: names no PKCS #11 module",
            hint="add ?module-path=/path/of/the/vendor's.so, or set PKCS11_MODULE_PATH",
        )
    path = folder / named
    if not path.is_file():
        raise SigningError(f"{path}: no PKCS #11 module is there")
    return str(path)
