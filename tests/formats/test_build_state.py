"""What a package's metadata says of a build, from the properties that the build has."""

from __future__ import annotations

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.build_state import device_state

PROPERTIES = {
    "ro.build.version.sdk": "34",
    "ro.build.version.release": "13",
    "ro.build.version.release_or_codename": "14",
    "ro.build.version.incremental": "100",
    "ro.build.version.security_patch": "2024-06-05",
    "ro.build.date.utc": "1700000000",
    "ro.build.id": "UP1A",
    "ro.build.type": "user",
    "ro.build.tags": "release-keys",
    "ro.product.vendor.brand": "vendor-brand",
    "ro.product.product.brand": "example",
    "ro.product.system.name": "pine_eea",
    "ro.product.odm.device": "pine",
    "ro.product.vendor.device": "pine-vendor",
    "ro.vendor.build.date.utc": "1700000007",
    "ro.vendor.build.fingerprint": "example/vendor/pine:14/UP1A/100:user/release-keys",
}


def test_a_fingerprint_is_put_together_from_the_partitions() -> None:
    state = device_state(PROPERTIES, ["system", "vendor"])
    assert state.build == ("example/pine_eea/pine:14/UP1A/100:user/release-keys",)
    assert state.device == ("pine",)


def test_each_partition_with_a_date_has_its_version() -> None:
    state = device_state(PROPERTIES, ["boot", "system", "vendor"])
    assert [(p.partition_name, p.version, p.device, p.build) for p in state.partition_state] == [
        (
            "vendor",
            "1700000007",
            ("pine-vendor",),
            ("example/vendor/pine:14/UP1A/100:user/release-keys",),
        )
    ]


def test_before_android_11_the_release_counts() -> None:
    state = device_state(PROPERTIES | {"ro.build.version.sdk": "29"}, [])
    assert ":13/" in state.build[0]


def test_a_source_order_of_the_build_counts() -> None:
    order = {"ro.product.property_source_order": "vendor,odm"}
    assert device_state(PROPERTIES | order | {"ro.product.name": "x"}, []).device == (
        "pine-vendor",
    )


def test_a_device_may_be_named() -> None:
    assert device_state(PROPERTIES, [], "spruce").device == ("spruce",)


@pytest.mark.parametrize("key", ["ro.build.version.sdk", "ro.build.date.utc", "ro.build.tags"])
def test_what_is_missing_is_named(key: str) -> None:
    with pytest.raises(ImageError, match=f"no build.prop of the base says {key}"):
        device_state({k: v for k, v in PROPERTIES.items() if k != key}, [])


@pytest.mark.parametrize("value", ["yesterday", "-1", "9" * 30, "٣"])
def test_a_time_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ImageError, match="not the seconds since 1970"):
        device_state(PROPERTIES | {"ro.build.date.utc": value}, [])
