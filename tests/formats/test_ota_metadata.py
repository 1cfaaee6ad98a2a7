from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rom_builder.errors import ImageError
from rom_builder.formats.ota_metadata import (
    MAX_BYTES,
    encode_ota_metadata,
    metadata_for,
    parse_ota_metadata,
)

PROPERTIES = {
    "ro.build.fingerprint": "Acme/tulip/tulip:4.2.2/JDQ39/J1:user/release-keys",
    "ro.build.version.incremental": "J1",
    "ro.build.version.sdk": "17",
    "ro.build.date.utc": "1402398452",
    "ro.product.device": "tulip",
}


def test_reads_as_recovery_does() -> None:
    data = b"post-timestamp = 5 \r\nnothing\n\npre-device=a\npre-device=b\nx=1=2"
    assert parse_ota_metadata(data) == {"post-timestamp": "5", "pre-device": "a", "x": "1=2"}


def test_writes_sorted_lines() -> None:
    values = {"pre-device": "tulip", "ota-type": "AB"}
    assert encode_ota_metadata(values) == b"ota-type=AB\npre-device=tulip\n"
    assert parse_ota_metadata(encode_ota_metadata(values)) == values


@pytest.mark.parametrize(
    "values",
    [{"a": "1\nb=2"}, {"a=b": "1"}, {" a": "1"}, {"a": "1 "}, {"a": "\0"}, {"a": "\udc80"}],
)
def test_refuses_what_would_be_read_differently(values: dict[str, str]) -> None:
    with pytest.raises(ImageError):
        encode_ota_metadata(values)


@pytest.mark.parametrize("data", [b"a=\xff", b"a=\0", b"a" * (MAX_BYTES + 1)])
def test_damage_is_an_image_error(data: bytes) -> None:
    with pytest.raises(ImageError):
        parse_ota_metadata(data)


def test_a_full_package_describes_the_build_it_installs() -> None:
    assert metadata_for(PROPERTIES) == {
        "post-build": "Acme/tulip/tulip:4.2.2/JDQ39/J1:user/release-keys",
        "post-build-incremental": "J1",
        "post-sdk-level": "17",
        "post-timestamp": "1402398452",
        "pre-device": "tulip",
    }
    patched = {**PROPERTIES, "ro.build.version.security_patch": "2016-01-01"}
    assert metadata_for(patched)["post-security-patch-level"] == "2016-01-01"


def test_the_base_gives_only_what_stays_true() -> None:
    base = {
        "post-build": "stale",
        "post-timestamp": "1",
        "post-security-patch-level": "2014-01-01",
        "pre-build": "older",
        "pre-build-incremental": "J0",
        "ota-property-files": "metadata:64:100",
        "ota-wipe": "yes",
        "vendor-note": "kept",
        "pre-device": "tulip|tulip_tdd",
    }
    made = metadata_for(PROPERTIES, base)
    assert made == {
        **metadata_for(PROPERTIES),
        "ota-wipe": "yes",
        "vendor-note": "kept",
        "pre-device": "tulip|tulip_tdd",
    }
    assert metadata_for(PROPERTIES, {"pre-device": "rose"})["pre-device"] == "tulip"
    assert metadata_for({}, {"pre-device": "rose"}) == {"pre-device": "rose"}


def test_what_is_unknown_or_wrong_is_said() -> None:
    with pytest.raises(ImageError, match="device"):
        metadata_for({})
    with pytest.raises(ImageError, match="post-timestamp"):
        metadata_for({**PROPERTIES, "ro.build.date.utc": "yesterday"})


@given(st.binary(max_size=200))
def test_only_image_errors_escape(data: bytes) -> None:
    try:
        values = parse_ota_metadata(data)
        encoded = encode_ota_metadata(values)
    except ImageError:
        return
    assert parse_ota_metadata(encoded) == values
