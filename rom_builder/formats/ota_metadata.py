"""META-INF/com/android/metadata: what an OTA package is for, one ``key=value`` a line.

The text form of the package's metadata, read by recovery and by updater apps before anything is
written. Recovery (``install/install.cpp``, ``ReadMetadataFromPackage``) drops white space around
key and value, ignores a line without ``=`` and keeps the first line of a key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from rom_builder.errors import ImageError

METADATA_NAME = "META-INF/com/android/metadata"
"""Name of the entry in the package."""

MAX_BYTES = 1 << 20

_SPACE = " \t\n\v\f\r"

_FROM_BUILD_PROP = {
    "post-build": ("ro.build.fingerprint", "ro.system.build.fingerprint"),
    "post-build-incremental": ("ro.build.version.incremental",),
    "post-sdk-level": ("ro.build.version.sdk",),
    "post-security-patch-level": ("ro.build.version.security_patch",),
    "post-timestamp": ("ro.build.date.utc",),
}

_DELTA_ONLY = ("pre-build", "pre-build-incremental")


def parse_ota_metadata(data: bytes) -> dict[str, str]:
    """Return the keys and values as recovery reads them, in file order.

    Raises:
        ImageError: Not UTF-8, a NUL byte, or more than :data:`MAX_BYTES`.
    """
    if len(data) > MAX_BYTES:
        raise ImageError(
            f"the package metadata has {len(data)} bytes, at most {MAX_BYTES} are read"
        )
    if b"\0" in data:
        raise ImageError("the package metadata holds a NUL byte", offset=data.index(b"\0"))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ImageError("the package metadata is not UTF-8", offset=error.start) from None
    values: dict[str, str] = {}
    for line in text.split("\n"):
        key, equals, value = line.partition("=")
        if equals:
            values.setdefault(key.strip(_SPACE), value.strip(_SPACE))
    return values


def encode_ota_metadata(values: Mapping[str, str]) -> bytes:
    r"""Return the file: sorted by key, one ``key=value\n`` each.

    >>> encode_ota_metadata({"pre-device": "shiba", "ota-type": "AB"})
    b'ota-type=AB\npre-device=shiba\n'

    Raises:
        ImageError: A key or value that would not be read back as it is.
    """
    lines = []
    for key, value in sorted(values.items()):
        line = f"{key}={value}\n"
        try:
            same = parse_ota_metadata(line.encode()) == {key: value}
        except UnicodeEncodeError:
            same = False
        if not same:
            raise ImageError(
                f"package metadata cannot hold {key!r} = {value[:100]!r}",
                hint="line ends, outer white space and '=' in a key are not possible",
            )
        lines.append(line)
    return "".join(lines).encode()


def metadata_for(
    properties: Mapping[str, str], base: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the metadata of a full, file-based package that installs a system.

    What describes the installed build comes from its build.prop alone: a key it does not know is
    left out rather than taken from a base that may be stale. The base's ``pre-device`` stays if it
    names the device among others. Keys of an incremental package and byte positions
    (``*property-files``) of the base package are dropped; every other key of the base stays.

    Args:
        properties: Effective values of the build.prop that the package installs.
        base: Metadata of the package it was made from.

    Raises:
        ImageError: The device is not known, or a number is not one.
    """
    values = {
        key: value
        for key, value in (base or {}).items()
        if key not in _FROM_BUILD_PROP
        and key not in _DELTA_ONLY
        and not key.endswith("property-files")
    }
    for key, names in _FROM_BUILD_PROP.items():
        found = next((properties[name] for name in names if properties.get(name)), None)
        if found is not None:
            values[key] = found
    for key in ("post-timestamp", "post-sdk-level"):
        if not re.fullmatch(r"[0-9]{1,19}", values.get(key, "0")):
            raise ImageError(
                f"{key} is {values[key][:100]!r}, expected a decimal number",
                hint=f"correct {_FROM_BUILD_PROP[key][0]} in build.prop",
            )
    device = properties.get("ro.product.device") or properties.get("ro.build.product")
    if device and device not in values.get("pre-device", "").split("|"):
        values["pre-device"] = device
    if not values.get("pre-device"):
        raise ImageError(
            "neither build.prop nor the base package names the device the package is for",
            hint="set ro.product.device in build.prop",
        )
    return values
