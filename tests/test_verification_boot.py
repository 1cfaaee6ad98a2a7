"""Verified boot, in packages whose every signature holds."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rom_builder.formats.ota_signature import parse_ota_signature
from rom_builder.formats.source import BytesSource
from tests import roms
from tests.ab_package import BLOCK
from tests.cases import avb_test_key
from tests.formats.builders.device import NEW_KEY, SYSTEM_KEY
from tests.signed_package import (
    OTACERT,
    Package,
    chained_system,
    entry_changed,
    failed,
    flipped,
    resigned,
    run,
    top,
)

pytestmark = pytest.mark.judge("mkfs.erofs")


@pytest.mark.parametrize("flags", [1, 2, 3])
def test_flags_fail(package: Package, flags: int) -> None:
    package.images["vbmeta"] = top(flags=flags)
    assert failed(package.write()) == {
        "vbmeta image vbmeta": f"flags {flags} switch protection off"
    }


@pytest.mark.parametrize("flags", [0, 3])
def test_a_top_image_without_signature_fails(package: Package, flags: int) -> None:
    package.images["vbmeta"] = top(flags=flags, signing=None)
    faults = failed(package.write())
    assert list(faults) == ["vbmeta image vbmeta"]
    assert "not signed (algorithm NONE)" in faults["vbmeta image vbmeta"]


@pytest.mark.parametrize(
    ("signing", "flags", "message"),
    [
        (None, 0, "not signed (algorithm NONE)"),
        (SYSTEM_KEY, 2, "flags 2 switch protection off"),
        (NEW_KEY, 0, "vbmeta demands the key"),
    ],
)
def test_a_chained_image_is_held_to_the_same(
    package: Package, signing: object, flags: int, message: str
) -> None:
    package.images["vbmeta_system"] = chained_system(package, signing, flags=flags)
    faults = failed(package.write())
    assert list(faults) == ["vbmeta image vbmeta_system"]
    assert message in faults["vbmeta image vbmeta_system"]


def test_a_changed_vbmeta_image_fails(package: Package) -> None:
    package.images["vbmeta"] = flipped(top(), 119)
    assert "does not match its hash" in failed(package.write())["vbmeta image vbmeta"]


def test_a_footer_that_nothing_leads_to_is_looked_at(package: Package) -> None:
    system = bytearray(package.images["system"])
    at = int.from_bytes(system[-44:-36], "big") + 123
    system[at] = 2
    package.images["system"] = bytes(system)
    assert failed(package.write()) == {"vbmeta image system": "flags 2 switch protection off"}


def test_the_publicly_known_key_of_avb_fails(package: Package) -> None:
    package.images["vbmeta"] = top(boot=avb_test_key())
    faults = failed(package.write())
    assert "the key for boot is publicly known" in faults["vbmeta image vbmeta"]


def test_a_stale_hash_descriptor_fails(package: Package) -> None:
    package.images["boot"] = flipped(package.images["boot"], 5000)
    faults = failed(package.write())
    assert list(faults) == ["partition boot"]
    assert "sha256 of boot is" in faults["partition boot"]


@pytest.mark.parametrize("where", ["data", "tree"])
def test_a_stale_hash_tree_fails(package: Package, where: str) -> None:
    system = package.images["system"]
    size = int.from_bytes(system[-52:-44], "big")
    package.images["system"] = flipped(system, 9000 if where == "data" else size + 40)
    faults = failed(package.write())
    assert list(faults) == ["partition system"]
    assert "does not match its hash tree" in faults["partition system"]
    assert failed(package.write(), quick=True) == {}


def test_a_partition_that_nothing_covers_fails(package: Package) -> None:
    package.images["vendor"] = bytes(4 * BLOCK)
    assert failed(package.write()) == {"verified boot covers": "nothing covers vendor"}


def test_a_top_partition_without_image_fails(package: Package) -> None:
    package.images["vbmeta"] = bytes(2 * BLOCK)
    assert "vbmeta image vbmeta" in failed(package.write())


def test_a_care_map_past_the_data_fails(package: Package) -> None:
    faults = failed(entry_changed(package.write(), "care_map.pb", b"2,0,20", b"2,9,99"))
    assert "reads blocks of system after its" in faults["care_map.pb"]


# What other tools pass, as a user sees it


def second_end_record(package: Package) -> bytes:
    good = package.write()
    signature = parse_ota_signature(BytesSource(good))
    assert signature is not None
    comment = b"PK\5\6" + bytes(18) + signature.cms + good[-6:-2]
    comment += (len(comment) + 2).to_bytes(2, "little")
    return good[: signature.signed_size] + len(comment).to_bytes(2, "little") + comment


def with_images(package: Package, **images: bytes) -> bytes:
    package.images |= images
    return package.write()


def known_otacert(package: Package) -> bytes:
    package.otacert = roms.pem(roms.certificate("testkey"))
    return package.write()


BLIND_SPOTS: dict[str, tuple[Callable[[Package], bytes], str]] = {
    "metadata signature": (lambda p: p.write(resigned("metadata")), "metadata signature"),
    "vbmeta without algorithm": (
        lambda p: with_images(p, vbmeta=top(signing=None)),
        "vbmeta image vbmeta",
    ),
    "flags 2": (lambda p: with_images(p, vbmeta=top(flags=2)), "vbmeta image vbmeta"),
    "flags 3": (lambda p: with_images(p, vbmeta=top(flags=3)), "vbmeta image vbmeta"),
    "second end record": (second_end_record, ""),
    "a chain to a key that the top image does not list": (
        lambda p: with_images(p, vbmeta_system=chained_system(p, NEW_KEY)),
        "vbmeta image vbmeta_system",
    ),
    "a publicly known key in a chain": (
        lambda p: with_images(p, vbmeta=top(boot=avb_test_key())),
        "vbmeta image vbmeta",
    ),
    "a publicly known package key": (known_otacert, "package key"),
}


@pytest.mark.parametrize("name", BLIND_SPOTS)
def test_verify_fails_what_other_tools_pass(name: str, package: Package, tmp_path: Path) -> None:
    make, check = BLIND_SPOTS[name]
    (tmp_path / "cert.pem").write_bytes(OTACERT)
    result = run(make(package), tmp_path, "--cert", tmp_path / "cert.pem")
    assert result.exit_code == 1
    assert "ota.zip: NOT valid: " in result.output
    assert not check or re.search(rf"^  FAILS +{check} ", result.output, re.MULTILINE)
