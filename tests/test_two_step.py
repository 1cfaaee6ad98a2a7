"""A package built without keys and signed elsewhere has the bytes of one that was signed at once."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rom_builder.cli import main
from rom_builder.errors import RomBuilderError
from rom_builder.formats.avb_key import Algorithm, encode_public_key
from rom_builder.formats.avb_seal import with_vbmeta
from rom_builder.formats.avb_signing import AvbKey, sign_vbmeta
from rom_builder.formats.source import BytesSource
from rom_builder.formats.vbmeta import read_vbmeta
from rom_builder.signers.keyring import open_keyring
from rom_builder.signers.signer import KeySigner
from rom_builder.signing_requests.request import load_request
from rom_builder.two_step import open_requested
from tests.ab_package import SYSTEM, ab_package, images, sealed
from tests.formats.builders.device import SYSTEM_KEY
from tests.roms import write_rom
from tests.signing_material import key
from tests.test_block_build import Base
from tests.test_image_bases import META, MODEM, zipped
from tests.test_overlay_build import MESSAGING, PROFILE, SCRIPT, STRICT, policies_in
from tests.two_step import (
    BROUGHT,
    KEYS,
    OPT_IN,
    POLICIES,
    TODAY,
    build,
    file_based,
    write_profiles,
)

OLD = key("rsa-2048", 9)
needs_erofs = pytest.mark.judge("mkfs.erofs")


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_profiles(tmp_path_factory.mktemp("keys"), KEYS)


@pytest.fixture(autouse=True)
def _day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", TODAY)


@pytest.fixture(scope="module")
def ab_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    otacert = OLD.certificate.public_bytes(Encoding.PEM)
    folder = tmp_path_factory.mktemp("base")
    return ab_package(folder, SYSTEM, key=OLD.private_key, otacert=otacert)  # type: ignore[arg-type]


def with_signed_footer(image: bytes) -> bytes:
    """Sign the vbmeta image that a partition has behind its data."""
    signer, blob = KeySigner(SYSTEM_KEY), encode_public_key(SYSTEM_KEY.public_key())
    own = AvbKey(Algorithm.SHA256_RSA2048, blob, signer.sign_digest)
    source = BytesSource(image)
    made = with_vbmeta("system", source, sign_vbmeta(read_vbmeta(source), own))
    return made.read_at(0, made.size)


def target_files(folder: Path) -> Path:
    """Write one whose system has a signed vbmeta image of its own, in a compressed snapshot."""
    partitions = images(folder)
    partitions["system"] = with_signed_footer(partitions["system"])
    files = META | {f"IMAGES/{name}.img": data for name, data in partitions.items()}
    return zipped(folder / "target_files.zip", files | {"RADIO/modem.img": MODEM})


def block_based(folder: Path) -> Path:
    extract = 'package_extract_file("vbmeta.img", "/dev/block/bootdevice/by-name/vbmeta");\n'
    return Base(avb=True, script=extract).write(folder)


def block_based_footer(folder: Path) -> Path:
    """Write one whose system, in a transfer list, has a signed vbmeta image of its own."""

    def signed(name: str, data: bytes, size: int) -> tuple[bytes, bytes]:
        image, item = sealed(name, data, size)
        return with_signed_footer(image), item

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.test_block_build.sealed", signed)
        return block_based(folder)


CASES: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "target-files": (target_files, POLICIES),
    "block-based": (block_based, (*OPT_IN, *BROUGHT)),
    "block-based, signed footer": (block_based_footer, (*OPT_IN, *BROUGHT)),
    "file-based": (file_based, (*OPT_IN, *BROUGHT)),
}


@pytest.fixture(scope="module")
def ab(ab_base: Path, profiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ``one.zip``, signed at once, and ``two.zip`` with its request."""
    folder = tmp_path_factory.mktemp("ab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", TODAY)
        assert build(ab_base, profiles / "with.yaml", folder / "one.zip", *POLICIES) == 0
        without = profiles / "without.yaml"
        assert build(ab_base, without, folder / "two.zip", *POLICIES, "--unsigned") == 0
    return folder


@needs_erofs
def test_an_ab_package_with_chained_vbmeta_images(ab: Path, profiles: Path, tmp_path: Path) -> None:
    request = json.loads((ab / "two.zip.signing.json").read_text())
    assert [item["id"] for item in request["digests"]] == ["avb.vbmeta", "avb.vbmeta_system"]
    assert request["later"] == ["payload", "ota"]
    assert request["verdict"] == "compliant"
    assert main(["verify", str(ab / "two.zip")]) == 1
    output = tmp_path / "out.zip"
    words = ["sign", str(ab / "two.zip.signing.json"), "-s", str(profiles / "with.yaml")]
    assert main([*words, "-o", str(output), *POLICIES]) == 0
    assert output.read_bytes() == (ab / "one.zip").read_bytes()


@pytest.mark.parametrize(
    "case",
    [
        pytest.param("target-files", marks=needs_erofs),
        pytest.param("block-based", marks=pytest.mark.judge("mkfs.ext4")),
        pytest.param("block-based, signed footer", marks=pytest.mark.judge("mkfs.ext4")),
        "file-based",
    ],
)
def test_every_kind_of_base(case: str, profiles: Path, tmp_path: Path) -> None:
    make, options = CASES[case]
    base, one, two = make(tmp_path), tmp_path / "one.zip", tmp_path / "two.zip"
    assert build(base, profiles / "with.yaml", one, *options) == 0
    assert build(base, profiles / "without.yaml", two, *options, "--unsigned") == 0
    words = ["sign", f"{two}.signing.json", "-s", str(profiles / "with.yaml")]
    assert main([*words, "-o", str(tmp_path / "out.zip")]) == 0
    assert (tmp_path / "out.zip").read_bytes() == one.read_bytes() != two.read_bytes()
    asked = {item.id for item in load_request(Path(f"{two}.signing.json")).digests}
    assert ("avb.system" in asked) == (case in ("target-files", "block-based, signed footer"))


def openssl_sign(request: Path, folder: Path, profiles: Path) -> Path:
    """Sign the digests of a request as somebody does who has openssl and the keys."""
    assert main(["sign", "show", str(request), "--digests", str(folder)]) == 0
    roles = {item.id: item.role for item in load_request(request).digests}
    for path in folder.glob("*.bin"):
        command = ["openssl", "pkeyutl", "-sign", "-pkeyopt", "digest:sha256", "-in", str(path)]
        command += ["-inkey", str(profiles / "secret" / f"{roles[path.stem]}.pem")]
        subprocess.run([*command, "-out", str(path.with_suffix(".sig"))], check=True)
    return folder


@needs_erofs
@pytest.mark.judge("openssl")
def test_signatures_made_by_openssl_are_attached_round_by_round(
    ab: Path, profiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = ab / "two.zip"
    for name in ("avb", "payload", "ota"):
        request = Path(f"{package}.signing.json")
        assert load_request(request).round == name
        folder = openssl_sign(request, tmp_path / name, profiles)
        output = tmp_path / f"{name}.zip"
        capsys.readouterr()
        assert main(["sign", "attach", str(package), str(folder), "-o", str(output)]) == 0
        assert load_request(request).digests[0].digest in capsys.readouterr().err  # what is signed
        package = output
    assert not Path(f"{package}.signing.json").exists()
    assert package.read_bytes() == (ab / "one.zip").read_bytes()


@pytest.fixture
def with_overlay(tmp_path: Path) -> tuple[Path, tuple[str, ...]]:
    """Return a base that needs an overlay, and the policy that says so."""
    files = {
        "META-INF/com/google/android/updater-script": SCRIPT,
        "system/build.prop": "ro.build.version.sdk=27\nro.product.device=pine\n",
        "system/vendor/build.prop": "ro.vendor.a=b\n",
        "system/app/M/M.apk": MESSAGING,
    }
    policies_in(tmp_path / "strict", STRICT, PROFILE)
    return write_rom(tmp_path / "rom", files), ("-p", str(tmp_path / "strict" / "policy.yaml"))


def test_apps_are_signed_before_the_package_is_made(
    with_overlay: tuple[Path, tuple[str, ...]],
    profiles: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base, policy = with_overlay
    one, two = tmp_path / "one.zip", tmp_path / "two.zip"
    assert build(base, profiles / "with.yaml", one, *policy) == 0
    without = [str(profiles / "without.yaml")]
    assert build(base, Path(without[0]), two, *policy, "--unsigned") == 2
    assert "have to be signed before there is a package" in capsys.readouterr().err
    assert not two.exists()
    request = Path(f"{two}.signing.json")
    assert {item.role for item in load_request(request).digests} == {"apk"}
    signatures = tmp_path / "signatures"
    words = ["sign", str(request), "-s", str(profiles / "with.yaml"), "-o", str(signatures)]
    assert main(words) == 0
    again = ["--unsigned", "--signatures", str(signatures)]
    assert build(base, Path(without[0]), two, *policy, *again) == 0
    assert main([*words[:-1], str(tmp_path / "out.zip")]) == 0
    assert (tmp_path / "out.zip").read_bytes() == one.read_bytes()


def test_attestations_are_made_where_the_key_is(tmp_path: Path) -> None:
    keys = {"ota": KEYS["ota"], "attestation": key("p256", 5)}
    profiles = write_profiles(tmp_path, keys)
    base, two, out = file_based(tmp_path), tmp_path / "two.zip", tmp_path / "out.zip"
    options = (*OPT_IN, *BROUGHT, "--unsigned", "--builder-id", "https://ci.example.com/7")
    assert build(base, profiles / "without.yaml", two, *options) == 0
    assert not Path(f"{two}.intoto.jsonl").exists()
    words = ["sign", f"{two}.signing.json", "-s", str(profiles / "with.yaml"), "-o", str(out)]
    assert main([*words, *OPT_IN]) == 0
    audit = ["--attestation-key", str(profiles / "attestation.x509.pem"), "-p", "messaging-opt-in"]
    assert main(["verify", str(out), "--attestation", f"{out}.intoto.jsonl", *audit]) == 0


# Refusals


@pytest.fixture(scope="module")
def unsigned(profiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an unsigned file-based package, the quickest to make."""
    folder = tmp_path_factory.mktemp("unsigned")
    options = (*OPT_IN, *BROUGHT, "--unsigned")
    base = file_based(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", TODAY)
        assert build(base, profiles / "without.yaml", folder / "two.zip", *options) == 0
    return folder


def other_digest(request: dict[str, Any]) -> None:
    request["digests"][0]["digest"] = "0" * 64


def other_key(request: dict[str, Any]) -> None:
    request["keys"]["ota"]["spki_sha256"] = "0" * 64


def other_policy(request: dict[str, Any]) -> None:
    request["policies"][0]["sha256"] = "0" * 64


def more_keys(request: dict[str, Any]) -> None:
    request["extra"] = 1


def no_keys(request: dict[str, Any]) -> None:
    request["keys"] = {}


def not_one(request: dict[str, Any]) -> None:
    request["schema"] = "another"


TAMPERED = {
    "digest": (other_digest, "does not ask for what"),
    "key": (other_key, "wants the key 0000"),
    "policy": (other_policy, "do not have the same policies"),
    "unknown": (more_keys, "no signing request: extra"),
    "no key": (no_keys, "names no key for the role ota"),
    "schema": (not_one, "no signing request: schema"),
}


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    errors = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    assert len(errors) == 1
    return errors[0]


@pytest.mark.parametrize("fault", TAMPERED)
def test_a_tampered_request_is_refused_in_one_line(
    fault: str, unsigned: Path, profiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tamper, said = TAMPERED[fault]
    request = json.loads((unsigned / "two.zip.signing.json").read_text())
    tamper(request)
    (tmp_path / "r.json").write_text(json.dumps(request))
    words = ["sign", str(tmp_path / "r.json"), "--package", str(unsigned / "two.zip")]
    output = tmp_path / "out.zip"
    capsys.readouterr()
    code = main([*words, "-s", str(profiles / "with.yaml"), "-o", str(output), *OPT_IN])
    assert (code, said in one_line(capsys)) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_byte_of_package_or_request_can_change(
    data: st.DataObject, unsigned: Path, tmp_path: Path
) -> None:
    """A changed request either says the same or is refused; a changed package always is."""
    package, request = unsigned / "two.zip", unsigned / "two.zip.signing.json"
    target = data.draw(st.sampled_from([package, request]))
    content = bytearray(target.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    changed = tmp_path / target.name
    changed.write_bytes(content)
    whole = load_request(request)
    try:
        if target is package:
            open_requested(whole, changed)
            raise AssertionError("a changed package was taken")
        _, found = open_requested(load_request(changed), package)
    except (RomBuilderError, OSError):
        return
    assert {item.digest.hex() for item in found} == {item.digest for item in whole.digests}


def test_another_key_is_refused(
    unsigned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_profiles(tmp_path, {"ota": key("rsa-2048", 7)})
    output = tmp_path / "out.zip"
    words = ["sign", str(unsigned / "two.zip.signing.json"), "-s", str(other / "with.yaml")]
    assert main([*words, "-o", str(output)]) == 2
    assert "the request wants the key" in one_line(capsys)
    assert not output.exists()


def test_a_key_kept_for_some_policies_needs_them(
    unsigned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = write_profiles(tmp_path, KEYS, policies=["messaging-opt-in"])
    words = ["sign", str(unsigned / "two.zip.signing.json"), "-s", str(mine / "with.yaml")]
    assert main([*words, "-o", str(tmp_path / "out.zip")]) == 2
    assert "signs only by the policies messaging-opt-in" in one_line(capsys)
    assert main([*words, "-o", str(tmp_path / "out.zip"), *OPT_IN]) == 0


@needs_erofs
def test_a_missing_role_is_named(
    ab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = write_profiles(tmp_path, {name: KEYS[name] for name in ("ota", "payload")})
    words = ["sign", str(ab / "two.zip.signing.json"), "-s", str(mine / "with.yaml")]
    assert main([*words, "-o", str(tmp_path / "out.zip")]) == 2
    assert "no key for the vbmeta image of vbmeta" in one_line(capsys)
    assert not (tmp_path / "out.zip").exists()


def test_no_signer_is_asked_and_the_profile_must_say_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = file_based(tmp_path)
    options = (*OPT_IN, *BROUGHT, "--unsigned")
    output = tmp_path / "out.zip"
    assert build(base, Path("dev"), output, *options) == 2
    assert "neither certificate nor public_key" in one_line(capsys)
    assert not output.exists()
    profiles = write_profiles(tmp_path, KEYS)
    shutil.rmtree(profiles / "secret")
    assert build(base, profiles / "without.yaml", output, *options) == 0
    assert all(key.absent for key in open_keyring(profiles / "without.yaml", absent=True).signers)
