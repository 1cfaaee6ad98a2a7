"""``payload_properties.txt``: what update_engine is told of a payload before it reads it.

One ``KEY=VALUE`` a line; digests are SHA-256 in base64, sizes decimal. Source: AOSP
``build/tools/releasetools/ota_utils.py`` and ``system/update_engine/payload_generator``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field

from rom_builder.errors import ImageError

MAX_SIZE = 1 << 16
"""Longest file accepted; AOSP's have about 170 bytes."""

_OWN = ("FILE_HASH", "FILE_SIZE", "METADATA_HASH", "METADATA_SIZE")


@dataclass(frozen=True, slots=True)
class PayloadProperties:
    """Digests and sizes of a payload.

    Attributes:
        file_hash: SHA-256 of the whole file, signatures included.
        file_size: Its bytes.
        metadata_hash: SHA-256 of header and manifest, without the metadata signature.
        metadata_size: Bytes of header and manifest.
        extra: Other keys, such as ``POWERWASH``, in order.
    """

    file_hash: bytes
    file_size: int
    metadata_hash: bytes
    metadata_size: int
    extra: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Write the file."""
        values = {
            "FILE_HASH": base64.b64encode(self.file_hash).decode(),
            "FILE_SIZE": str(self.file_size),
            "METADATA_HASH": base64.b64encode(self.metadata_hash).decode(),
            "METADATA_SIZE": str(self.metadata_size),
            **self.extra,
        }
        return "".join(f"{key}={value}\n" for key, value in values.items()).encode()


def parse_payload_properties(data: bytes) -> PayloadProperties:
    """Read the file.

    Raises:
        ImageError: Not ``KEY=VALUE`` lines, a key is missing or there twice, or a value is damaged.
    """
    if len(data) > MAX_SIZE:
        raise ImageError(f"payload properties of {len(data)} bytes, at most {MAX_SIZE}")
    values: dict[str, str] = {}
    try:
        lines = data.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise ImageError("payload properties are not ASCII", offset=error.start) from None
    for line in lines:
        key, equals, value = line.partition("=")
        if not equals or key in values:
            raise ImageError(f"payload properties: line {line[:80]!r}")
        values[key] = value
    missing = [key for key in _OWN if key not in values]
    if missing:
        raise ImageError(f"payload properties: no {missing[0]}")
    return PayloadProperties(
        _digest(values["FILE_HASH"]),
        _number(values["FILE_SIZE"]),
        _digest(values["METADATA_HASH"]),
        _number(values["METADATA_SIZE"]),
        {key: value for key, value in values.items() if key not in _OWN},
    )


def _digest(text: str) -> bytes:
    try:
        digest = base64.b64decode(text, validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != 32:
        raise ImageError(f"payload properties: {text[:80]!r} is no SHA-256 in base64")
    return digest


def _number(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or len(text) > 19:
        raise ImageError(f"payload properties: {text[:80]!r} is no size")
    return int(text)
