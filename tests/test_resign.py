"""A finished package signed with other keys: file, payload, vbmeta images; everything else as it was."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.cli import main
from rom_builder.formats.avb_key import encode_public_key
from rom_builder.formats.ota_signature import parse_ota_signature
from rom_builder.formats.source import FileSource
from rom_builder.formats.vbmeta import read_vbmeta, verify_vbmeta
from rom_builder.keys import NewKey
from rom_builder.keys.files import plain_key
from rom_builder.packing.update_certificates import read_copy
from rom_builder.rom.opening import open_rom
from tests.ab_package import SYSTEM, ab_package
from tests.file_based import write_package
from tests.signing_material import key, openssl
from tests.test_ab_packages import blobs, payload_of
from tests.test_block_build import Base, entries

TODAY = "1795348800"
OLD = key("rsa-2048", 9)
KEYS = {
    "ota": key("rsa-4096"),
    "payload": key("rsa-4096", 1),
    "avb": key("rsa-4096", 2),
    "avb.vbmeta_system": key("rsa-2048", 3),
}


def profile(folder: Path, keys: dict[str, NewKey], **more: object) -> Path:
    """Write a signing profile and the files it names."""
    roles = {}
    for role, made in keys.items():
        path = folder / f"{role}.pem"
        path.write_bytes(plain_key(made.private_key))
        path.chmod(0o600)
        (folder / f"{role}.x509.pem").write_bytes(made.certificate.public_bytes(Encoding.PEM))
        roles[role] = {"signer": f"file:{path.name}", "certificate": f"{role}.x509.pem", **more}
    data = {"schema": "rom-builder/signing/v1", "id": "t", "title": "T", "roles": roles}
    (folder / "keys.yaml").write_text(yaml.safe_dump(data))
    return folder / "keys.yaml"


@pytest.fixture(scope="module")
def signing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return profile(tmp_path_factory.mktemp("keys"), KEYS)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    otacert = OLD.certificate.public_bytes(Encoding.PEM)
    return ab_package(folder, SYSTEM, key=OLD.private_key, otacert=otacert)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", TODAY)


def sign(package: Path, signing: Path, output: Path, *more: str) -> int:
    return main(["sign", str(package), "-s", str(signing), "-o", str(output), *more])


@pytest.fixture(scope="module")
def signed(base: Path, signing: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("signed") / "out.zip"
    assert sign(base, signing, output) == 0
    return output


needs_erofs = pytest.mark.judge("mkfs.erofs")


@needs_erofs
def test_every_signature_of_an_ab_package_is_that_of_the_new_keys(
    signed: Path, signing: Path
) -> None:
    folder = signing.parent
    certs = ["--cert", str(folder / "ota.x509.pem"), "--cert", str(folder / "payload.x509.pem")]
    avb = ["--avb-key", str(folder / "avb.x509.pem")]
    assert main(["verify", str(signed), *certs, *avb]) == 0
    assert main(["verify", str(signed), "--cert", certs[1], *avb]) == 1  # the payload's is another
    payload = payload_of(signed)
    for name, role in (("vbmeta", "avb"), ("boot", "avb"), ("vbmeta_system", "avb.vbmeta_system")):
        made = KEYS[role].private_key.public_key()
        verify_vbmeta(read_vbmeta(payload.partition(name)), encode_public_key(made))  # type: ignore[arg-type]


@needs_erofs
def test_what_holds_no_signature_keeps_its_bytes(base: Path, signed: Path) -> None:
    before, after = payload_of(base), payload_of(signed)
    assert blobs(after, "system") == blobs(before, "system")
    changed = [a != b for a, b in zip(blobs(before, "boot"), blobs(after, "boot"), strict=True)]
    assert 1 <= sum(changed) <= 2 < len(changed)  # the vbmeta image behind the data, the footer
    for name in ("vbmeta", "vbmeta_system"):
        old, new = read_vbmeta(before.partition(name)), read_vbmeta(after.partition(name))
        assert (new.rollback_index, new.flags) == (old.rollback_index, old.flags)
    old_names = [i.filename for i in zipfile.ZipFile(base).infolist()]
    assert sorted(old_names) == sorted(i.filename for i in zipfile.ZipFile(signed).infolist())


@needs_erofs
@pytest.mark.judge("openssl")
def test_openssl_takes_the_whole_file_signature(
    signed: Path, signing: Path, tmp_path: Path
) -> None:
    found = parse_ota_signature(FileSource(signed))
    assert found is not None
    (tmp_path / "cms").write_bytes(found.cms)
    (tmp_path / "body").write_bytes(signed.read_bytes()[: found.signed_size])
    cert = signing.parent / "ota.x509.pem"
    openssl(
        *("cms", "-verify", "-binary", "-inform", "DER", "-in", tmp_path / "cms"),
        *("-content", tmp_path / "body", "-certfile", cert, "-CAfile", cert, "-nointern"),
        *("-purpose", "any", "-no_check_time", "-out", tmp_path / "same"),
    )
    assert (tmp_path / "same").read_bytes() == (tmp_path / "body").read_bytes()


@needs_erofs
def test_the_same_package_and_keys_give_the_same_bytes(
    base: Path, signed: Path, signing: Path, tmp_path: Path
) -> None:
    assert sign(base, signing, tmp_path / "again.zip") == 0
    assert (tmp_path / "again.zip").read_bytes() == signed.read_bytes()
    assert sign(signed, signing, tmp_path / "twice.zip") == 0
    assert (tmp_path / "twice.zip").read_bytes() == signed.read_bytes()


@needs_erofs
def test_devices_get_the_new_certificates_where_asked(
    base: Path, signing: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.zip"
    assert sign(base, signing, output, "--replace-otacerts") == 0
    rom = open_rom(output)
    file = rom.find("/system/etc/security/otacerts.zip")
    assert file is not None
    found = {item.certificate for item in read_copy(rom.read(file), file.name)}
    assert found == {KEYS["ota"].certificate, KEYS["payload"].certificate}
    certs = ["--cert", str(signing.parent / "ota.x509.pem")]
    certs += ["--cert", str(signing.parent / "payload.x509.pem")]
    assert main(["verify", str(output), *certs]) == 0


@needs_erofs
def test_verified_boot_can_stay(base: Path, tmp_path: Path) -> None:
    mine = profile(tmp_path, {"ota": KEYS["ota"]})
    output = tmp_path / "out.zip"
    assert sign(base, mine, output, "--keep-vbmeta") == 0
    for name in ("boot", "vbmeta", "vbmeta_system", "system"):
        assert blobs(payload_of(output), name) == blobs(payload_of(base), name)


def refusals(folder: Path) -> dict[str, tuple[Callable[[], Path], tuple[str, ...], str]]:
    """What is wrong, the profile, options, and what is said of it."""
    return {
        "no avb": (lambda: profile(folder, {"ota": KEYS["ota"]}), (), "no key for"),
        "limited": (
            lambda: profile(folder, KEYS, policies=["rom-baseline"]),
            (),
            "signs only by the policies rom-baseline",
        ),
        "itself": (lambda: profile(folder, KEYS), ("-o", str(folder / "base.zip")), "itself"),
    }


@needs_erofs
@pytest.mark.parametrize("fault", ["no avb", "limited", "itself"])
def test_a_refusal_is_one_line_and_writes_nothing(
    fault: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, options, said = refusals(tmp_path)[fault]
    (tmp_path / "base.zip").write_bytes(base.read_bytes())
    signing = make()
    before = sorted(tmp_path.iterdir())
    capsys.readouterr()
    assert sign(tmp_path / "base.zip", signing, tmp_path / "out.zip", *options) == 2
    errors = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    assert len(errors) == 1
    assert said in errors[0]
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "base.zip").read_bytes() == base.read_bytes()


@needs_erofs
def test_what_does_not_meet_the_policies_is_not_signed(
    base: Path, signing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sign(base, signing, tmp_path / "out.zip", "-p", "messaging-opt-in") == 1
    assert "refused" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.judge("mkfs.ext4")
def test_a_block_based_package(signing: Path, tmp_path: Path) -> None:
    script = 'package_extract_file("vbmeta.img", "/dev/block/by-name/vbmeta");\n'
    package = Base(avb=True, script=script).write(tmp_path)
    output = tmp_path / "out.zip"
    assert sign(package, signing, output) == 0
    before, after = entries(package), entries(output)
    made = KEYS["avb"].private_key.public_key()
    image = tmp_path / "vbmeta.img"
    image.write_bytes(after["vbmeta.img"])
    verify_vbmeta(read_vbmeta(FileSource(image)), encode_public_key(made))  # type: ignore[arg-type]
    for name in ("system.transfer.list", "system.new.dat.br", "boot.img"):
        assert after[name] == before[name]
    assert main(["verify", str(output), "--cert", str(signing.parent / "ota.x509.pem")]) == 0


def test_a_file_based_package(signing: Path, tmp_path: Path) -> None:
    write_package(tmp_path / "base.zip")
    output = tmp_path / "out.zip"
    assert sign(tmp_path / "base.zip", signing, output) == 0
    assert main(["verify", str(output), "--cert", str(signing.parent / "ota.x509.pem")]) == 0


def test_what_is_no_package_is_refused(
    signing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "system.img").write_bytes(bytes(8192))
    assert sign(tmp_path / "system.img", signing, tmp_path / "out.zip") == 2
    assert len([x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]) == 1
