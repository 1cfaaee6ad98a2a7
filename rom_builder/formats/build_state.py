"""What the properties of a build say of it, as the metadata of its packages tell it.

Source: AOSP ``build/tools/releasetools``, ``ota_utils.py`` (``UpdateDeviceState``) and ``common.py``
(``BuildInfo``). A property of one partition is ``ro.<partition>.build.X`` or
``ro.product.<partition>.X``; one of the whole build has no partition in its name, and where
``ro.product.X`` is missing the device takes it from the partitions in a fixed order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rom_builder.errors import ImageError
from rom_builder.formats.ab_metadata import DeviceState, PartitionState

WITH_BUILD_PROP = (
    "odm", "odm_dlkm", "product", "system", "system_dlkm", "system_ext", "vendor", "vendor_dlkm",
)  # fmt: skip
"""Partitions that have a build.prop of their own, sorted."""
_SOURCE_ORDER = "product,odm,vendor,system_ext,system"
_RELEASE_OR_CODENAME_SINCE = 30
_MAX_TIMESTAMP = 1 << 40


def device_state(
    properties: Mapping[str, str], partitions: Iterable[str], device: str | None = None
) -> DeviceState:
    """Return what a phone is after it took a full package of this build.

    Args:
        properties: Effective values of all property files.
        partitions: Those that the package writes.
        device: The device it is for where that is not ``ro.product.device``.

    Raises:
        ImageError: A property is missing, or a number is not one.
    """
    written = set(partitions)
    return DeviceState(
        device=(device or _product(properties, "device"),),
        build=(_fingerprint(properties),),
        build_incremental=_value(properties, "ro.build.version.incremental"),
        timestamp=_timestamp(properties, "ro.build.date.utc"),
        sdk_level=_value(properties, "ro.build.version.sdk"),
        security_patch_level=_value(properties, "ro.build.version.security_patch"),
        partition_state=tuple(
            PartitionState(
                name,
                (properties.get(f"ro.product.{name}.device") or _product(properties, "device"),),
                (properties.get(f"ro.{name}.build.fingerprint") or _fingerprint(properties),),
                str(_timestamp(properties, f"ro.{name}.build.date.utc")),
            )
            for name in WITH_BUILD_PROP
            if name in written and properties.get(f"ro.{name}.build.date.utc")
        ),
    )


def _fingerprint(properties: Mapping[str, str]) -> str:
    """Return the build's fingerprint; without a property for it, put together as init does."""
    found = properties.get("ro.build.fingerprint")
    if found:
        return found
    sdk = _value(properties, "ro.build.version.sdk")
    release = properties.get("ro.build.version.release_or_codename")
    if not release or not sdk.isdigit() or int(sdk[:6]) < _RELEASE_OR_CODENAME_SINCE:
        release = _value(properties, "ro.build.version.release")
    name = "/".join(_product(properties, key) for key in ("brand", "name", "device"))
    build = "/".join(_value(properties, f"ro.build.{key}") for key in ("id", "version.incremental"))
    kind = "/".join(_value(properties, f"ro.build.{key}") for key in ("type", "tags"))
    return f"{name}:{release}/{build}:{kind}"


def _product(properties: Mapping[str, str], key: str) -> str:
    names = [f"ro.product.{key}"]
    order = properties.get("ro.product.property_source_order") or _SOURCE_ORDER
    names += [f"ro.product.{partition.strip()}.{key}" for partition in order.split(",")]
    return next((properties[name] for name in names if properties.get(name)), "") or _value(
        properties, names[0]
    )


def _value(properties: Mapping[str, str], key: str) -> str:
    found = properties.get(key)
    if not found:
        raise ImageError(
            f"no build.prop of the base says {key}, which the package's metadata must tell",
            hint=f"set {key} in a build.prop of the base",
        )
    return found


def _timestamp(properties: Mapping[str, str], key: str) -> int:
    text = _value(properties, key)
    if not (text.isascii() and text.isdigit() and len(text) < 14 and int(text) < _MAX_TIMESTAMP):
        raise ImageError(f"{key} is {text[:60]!r}, not the seconds since 1970")
    return int(text)
