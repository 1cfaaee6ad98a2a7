from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.cli import cli, main
from tests.formats.builders import vbmeta
from tests.formats.builders.payload import SOURCE_COPY, Op, Part, Spec
from tests.kinds import BOOT, apex_module, ext4_image, padded, payload, super_image, zipped
from tests.signing_material import key

pytestmark = pytest.mark.judge("mkfs.ext4")
AVB_KEY = rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return ext4_image(tmp_path_factory.mktemp("image"))


def text(path: Path) -> str:
    result = CliRunner().invoke(cli, ["inspect", str(path)])
    assert result.exit_code == 0, result.output
    return result.output


def values(path: Path) -> Any:
    result = CliRunner().invoke(cli, ["inspect", str(path), "--format", "json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def ota(folder: Path, images: Mapping[str, bytes], certificate: int = 0) -> Path:
    """Write a package whose payload is signed with key 0, with the certificate of a key."""
    signer = key("rsa-2048")

    def sign(digest: bytes) -> bytes:
        signed = signer.private_key.sign(digest, padding.PKCS1v15(), utils.Prehashed(SHA256()))  # type: ignore[union-attr,call-arg,arg-type]
        return bytes(signed)

    otacert = key("rsa-2048", certificate).certificate.public_bytes(Encoding.PEM)
    return zipped(
        folder / "ota.zip",
        {
            "payload.bin": payload(images, sign=sign),
            "META-INF/com/android/metadata": b"ota-type=AB\npre-device=pine\n",
            "META-INF/com/android/otacert": otacert,
        },
    )


def test_an_ab_package_is_explained(image: bytes, tmp_path: Path) -> None:
    tree = vbmeta.hashtree(b"system", b"salt", bytes(32), 4096, 4096, 0)
    top = padded(vbmeta.vbmeta(tree, AVB_KEY, rollback_index=1717545600))
    found = values(ota(tmp_path, {"boot": BOOT, "system": image, "vbmeta": top}))
    assert found["schema"] == "rom-builder/inspection/v1"
    assert found["kind"] == "A/B OTA"
    assert found["build"] == {
        "device": "pine",
        "fingerprint": "example/pine/pine:14/UP1A/100:user/release-keys",
        "release": "14",
        "api_level": "34",
        "security_patch": "2024-06-05",
        "type": "user",
    }
    assert found["metadata"]["ota-type"] == "AB"
    by_name = {each["name"]: each for each in found["partitions"]}
    assert by_name["system"]["kind"] == "ext4"
    assert by_name["system"]["mounted_at"] == "/system"
    assert by_name["system"]["wrapped_in"] == ["payload"]
    assert by_name["boot"]["boot"]["header_version"] == 4
    assert by_name["boot"]["boot"]["os_patch_level"] == "2024-06"
    (boot,) = found["verified_boot"]
    blob = vbmeta.key_blob(AVB_KEY)
    assert boot["key_sha1"] == hashlib.sha1(blob, usedforsecurity=False).hexdigest()
    assert boot["rollback_index"] == 1717545600
    assert boot["trust"] == "signed"
    assert boot["covered"] == {"system": "hashtree"}
    (update,) = found["payloads"]
    assert update["minor_version"] == 0
    subject = key("rsa-2048").certificate.subject.rfc4514_string()
    assert update["signed_by"] == subject
    assert [part[:2] for part in update["partitions"]][1] == ["system", len(image)]
    assert [each["use"] for each in found["certificates"]] == ["package"]
    assert found["unread"] == []


def test_the_text_form_says_the_same(image: bytes, tmp_path: Path) -> None:
    shown = text(ota(tmp_path, {"boot": BOOT, "system": image}))
    assert "A/B OTA" in shown.splitlines()[0]
    assert "  security patch  2024-06-05" in shown
    assert "header v4 Android 14.0.0 patch level 2024-06" in shown
    assert "manifest signed by CN=" in shown
    assert shown.splitlines()[-1] == "everything could be read"


def test_slots_and_containers_are_named(image: bytes, tmp_path: Path) -> None:
    (tmp_path / "super.img").write_bytes(super_image({"system_a": image, "system_b": image}))
    found = values(tmp_path / "super.img")
    assert [(p["name"], p["slot"], p["mounted_at"]) for p in found["partitions"]] == [
        ("system", "a", "/system"),
        ("system", "b", None),
    ]


def test_a_payload_is_called_signed_only_if_it_is(image: bytes, tmp_path: Path) -> None:
    (other,) = values(ota(tmp_path, {"system": image}, certificate=1))["payloads"]
    assert other["signed_by"] is None
    assert "none of 1 keys made one" in other["signature"]
    (tmp_path / "payload.bin").write_bytes(payload({"system": image}))
    (bare,) = values(tmp_path / "payload.bin")["payloads"]
    assert bare["signed_by"] is None
    assert "no certificate" in bare["signature"]
    assert "no metadata signature" in bare["problems"]


def test_an_incremental_payload_is_explained(tmp_path: Path) -> None:
    part = Part("system", bytes(8192), [Op(SOURCE_COPY, b"", [(0, 2)])])
    (tmp_path / "payload.bin").write_bytes(Spec([part], minor=7).build())
    shown = text(tmp_path / "payload.bin")
    assert "minor version 7, 1 partitions" in shown
    assert "NOT READ" in shown
    assert "is incremental" in shown


def test_a_module_alone_is_explained(image: bytes, tmp_path: Path) -> None:
    (tmp_path / "example.apex").write_bytes(apex_module(AVB_KEY, image))
    found = values(tmp_path / "example.apex")
    assert found["kind"] == "APEX module"
    (module,) = found["modules"]
    assert (module["name"], module["version"]) == ("com.android.example", 340000000)
    assert module["fault"] == ""
    assert module["known_as"] is None


def test_a_vbmeta_image_alone_names_its_build(tmp_path: Path) -> None:
    said = vbmeta.prop(b"com.android.build.system.security_patch", b"2024-06-05")
    (tmp_path / "vbmeta.img").write_bytes(vbmeta.vbmeta(said, AVB_KEY))
    assert values(tmp_path / "vbmeta.img")["build"] == {"security_patch": "2024-06-05"}


def test_text_of_an_image_cannot_steer_the_terminal(tmp_path: Path) -> None:
    files = {"system/build.prop": b"ro.product.device=\x1b[2Jpine\n"}
    shown = text(zipped(tmp_path / "rom.zip", files))
    assert "\x1b" not in shown
    assert "?[2Jpine" in shown


@pytest.mark.parametrize("command", ["inspect", "ls"])
@pytest.mark.parametrize("data", [b"", b"ID3\3\0" + bytes(5000)])
def test_wrong_input_is_one_line_and_exit_code_2(
    command: str, data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "song.mp3").write_bytes(data)
    assert main([command, str(tmp_path / "song.mp3")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {tmp_path / 'song.mp3'}: is ")
    assert said.err.count("\n") == 2  # and the hint
