"""Rule ROM403, and the keys of verified boot in ROM401: vbmeta images from the top down."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from rom_builder.check import check
from rom_builder.findings import Finding, Report, Status
from rom_builder.mechanisms import binding_models
from rom_builder.policy.load import load_policies
from tests.cases import avb_test_key
from tests.formats.builders import vbmeta
from tests.kinds import CONTENT, apex_module, ext4_image, zipped

pytestmark = pytest.mark.judge("mkfs.ext4")
POLICY = """\
schema: rom-builder/policy/v1
id: boot
title: Boot
rom: {verified_boot: required, public_keys: forbidden}
"""


@cache
def key(number: int = 0) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return ext4_image(tmp_path_factory.mktemp("image"))


def tree(name: str) -> bytes:
    return vbmeta.hashtree(name.encode(), b"salt", bytes(32), 4096, 4096, 0)


def report_of(folder: Path, files: Mapping[str, bytes]) -> Report:
    (folder / "boot.yaml").write_text(POLICY)
    policies = load_policies([folder / "boot.yaml"], binding_models())
    path = zipped(folder / "rom.zip", files)
    return check(path, policies, today=date(2026, 1, 1))


def boot_finding(folder: Path, files: Mapping[str, bytes]) -> Finding:
    (found,) = [f for f in report_of(folder, files).findings if f.rule == "ROM403"]
    return found


def texts(found: Finding) -> list[str]:
    return [evidence.text for evidence in found.evidence]


def test_a_rom_that_is_covered_and_signed_passes(image: bytes, tmp_path: Path) -> None:
    top = vbmeta.vbmeta(tree("system"), key(), rollback_index=7)
    found = boot_finding(tmp_path, {"vbmeta.img": top, "system.img": image})
    assert found.status is Status.PASS
    assert "rollback index 7" in texts(found)[0]
    assert "SHA256_RSA2048" in texts(found)[0]


def test_chained_images_are_followed(image: bytes, tmp_path: Path) -> None:
    chain = vbmeta.chain(b"vbmeta_system", 2, vbmeta.key_blob(key(1)))
    files = {
        "vbmeta.img": vbmeta.vbmeta(chain, key()),
        "vbmeta_system.img": vbmeta.vbmeta(tree("system") + tree("product"), key(1)),
        "system.img": image,
        "product.img": image,
    }
    assert boot_finding(tmp_path, files).status is Status.PASS
    files["vbmeta_system.img"] = vbmeta.vbmeta(tree("system"), key(1))
    found = boot_finding(tmp_path, files)
    assert found.status is Status.FAIL
    assert texts(found) == ["no hash or hashtree covers product"]
    files["vbmeta_system.img"] = vbmeta.vbmeta(tree("system") + tree("product"), key(2))
    assert "demands" in texts(boot_finding(tmp_path, files))[0]
    del files["vbmeta_system.img"]
    found = boot_finding(tmp_path, files)
    assert found.status is Status.UNKNOWN
    assert texts(found)[0] == "vbmeta_system, to which vbmeta chains, is not in the input"


def test_a_chain_leads_to_the_footer_of_a_partition(image: bytes, tmp_path: Path) -> None:
    chain = vbmeta.chain(b"system", 2, vbmeta.key_blob(key(1)))
    footed = vbmeta.with_footer(image, vbmeta.vbmeta(tree("system"), key(1)), len(image) + 65536)
    files = {"vbmeta.img": vbmeta.vbmeta(chain, key()), "system.img": footed}
    assert boot_finding(tmp_path, files).status is Status.PASS
    unsigned = vbmeta.with_footer(image, vbmeta.vbmeta(tree("system")), len(image) + 65536)
    files["system.img"] = unsigned
    assert texts(boot_finding(tmp_path, files)) == ["system is not signed (algorithm NONE)"]


@pytest.mark.parametrize(
    ("flags", "text"),
    [(1, "flags 1, hashtrees are off"), (2, "verification is off"), (3, "off and verification")],
)
def test_flags_that_switch_verification_off_fail(
    flags: int, text: str, image: bytes, tmp_path: Path
) -> None:
    top = vbmeta.vbmeta(tree("system"), key(), flags=flags)
    found = boot_finding(tmp_path, {"vbmeta.img": top, "system.img": image})
    assert found.status is Status.FAIL
    assert text in texts(found)[0]


def test_an_unsigned_image_fails_whatever_its_flags(image: bytes, tmp_path: Path) -> None:
    top = vbmeta.vbmeta(tree("system"), flags=3)
    found = boot_finding(tmp_path, {"vbmeta.img": top, "system.img": image})
    assert found.status is Status.FAIL
    assert texts(found)[0] == "vbmeta is not signed (algorithm NONE)"


def test_a_changed_image_fails(image: bytes, tmp_path: Path) -> None:
    top = bytearray(vbmeta.vbmeta(tree("system"), key()))
    top[112 + 7] ^= 1  # the rollback index
    found = boot_finding(tmp_path, {"vbmeta.img": bytes(top), "system.img": image})
    assert found.status is Status.FAIL
    assert "does not match its hash" in texts(found)[0]


def test_without_a_top_image_the_answer_is_unknown(image: bytes, tmp_path: Path) -> None:
    found = boot_finding(tmp_path, {"system.img": image})
    assert found.status is Status.UNKNOWN
    assert found.message == "the input holds no top vbmeta image"
    footed = vbmeta.with_footer(image, vbmeta.vbmeta(tree("system")), len(image) + 65536)
    assert boot_finding(tmp_path, {"system.img": footed}).status is Status.UNKNOWN


def test_a_partition_that_nothing_covers_fails(image: bytes, tmp_path: Path) -> None:
    top = vbmeta.vbmeta(tree("system"), key())
    files = {"vbmeta.img": top, "system.img": image, "vendor.img": image}
    found = boot_finding(tmp_path, files)
    assert found.status is Status.FAIL
    assert texts(found) == ["no hash or hashtree covers vendor"]


def test_an_unpacked_partition_has_to_be_covered_too(tmp_path: Path) -> None:
    files = {"vbmeta.img": vbmeta.vbmeta(tree("system"), key()), "system/build.prop": b""}
    assert boot_finding(tmp_path, files).status is Status.PASS
    found = boot_finding(tmp_path, files | {"product/etc/build.prop": b""})
    assert texts(found) == ["no hash or hashtree covers product"]


def test_the_publicly_known_key_of_avb_is_found(image: bytes, tmp_path: Path) -> None:
    chain = vbmeta.chain(b"boot", 1, avb_test_key())
    top = vbmeta.vbmeta(tree("system") + chain, key())
    report = report_of(tmp_path, {"vbmeta.img": top, "system.img": image})
    (found,) = [f for f in report.findings if f.rule == "ROM401"]
    assert found.status is Status.FAIL
    assert "testkey_rsa4096 is trusted by verified boot" in found.message
    assert "boot, chained from vbmeta" in found.evidence[0].text
    assert "2597c218aae470a130f61162feaae70afd97f011" in found.evidence[0].text


def test_a_module_must_be_signed_with_its_own_key(image: bytes, tmp_path: Path) -> None:
    def files(module: bytes) -> dict[str, bytes]:
        content = CONTENT | {"apex/example.apex": module}
        system = ext4_image(tmp_path, content, "8M")
        return {"vbmeta.img": vbmeta.vbmeta(tree("system"), key()), "system.img": system}

    good = apex_module(key(3), image)
    assert boot_finding(tmp_path, files(good)).status is Status.PASS
    bad = good.replace(vbmeta.key_blob(key(3)), vbmeta.key_blob(key(4)), 1)
    found = boot_finding(tmp_path, files(bad))
    assert found.status is Status.FAIL
    assert "com.android.example does not hold" in texts(found)[0]
    assert found.location.path == "system.img!/apex/example.apex"
