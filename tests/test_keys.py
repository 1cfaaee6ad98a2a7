from __future__ import annotations

import json
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from rom_builder.errors import ImageError, SigningError
from rom_builder.formats.otacert import recovery_fitness
from rom_builder.keys import (
    VALIDITY,
    certificate_facts,
    key_facts,
    known_keys,
    new_key,
    publicly_known,
    publicly_known_avb,
    refuse_public_key,
    spki_sha256,
)
from rom_builder.keys.files import PassphrasePrompt, encrypted_key, plain_key, write_new_file
from rom_builder.keys.inspection import inspect_file
from rom_builder.resources import data_folder
from tests.signing_material import certificate, key, openssl, signed_package, write_key

AOSP_TESTKEY = "ef57b690165cb561b5026922c00d2d6574e8b184fa7d161e076f06e06e6d35db"
FSVERITY_RELEASE = "c99c75183b27"


# Publicly known keys


def test_aosps_test_key_is_publicly_known() -> None:
    known = publicly_known(AOSP_TESTKEY)
    assert known is not None
    assert known == publicly_known(AOSP_TESTKEY.upper())
    assert any(name.endswith("security/testkey") for name in known.names)


def test_avbs_test_key_is_known_by_what_avbtool_prints() -> None:
    known = publicly_known_avb("2597c218aae470a130f61162feaae70afd97f011")
    assert known is not None
    assert known.key == "RSA-4096 e=65537"


def test_a_new_key_is_not_publicly_known() -> None:
    assert publicly_known(spki_sha256(key().private_key.public_key())) is None
    refuse_public_key(key().private_key.public_key(), allow_public_key=False)


def test_public_keys_of_services_are_listed_but_not_denied() -> None:
    listed = [k for k in known_keys().values() if k.spki_sha256.startswith(FSVERITY_RELEASE)]
    assert len(listed) == 1
    assert publicly_known(listed[0].spki_sha256) is None


def test_the_list_is_whole() -> None:
    rows = json.loads((data_folder("signing") / "known-public-keys.json").read_bytes())
    assert len(rows) == len(known_keys()) > 30
    for known in known_keys().values():
        assert len(bytes.fromhex(known.spki_sha256)) == 32
        assert (known.avb_sha1 is None) == known.key.startswith("EC")
        assert known.names


def test_signing_with_a_publicly_known_key_is_refused_unless_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = key("p256", 7)
    row = publicly_known(AOSP_TESTKEY)
    assert row is not None
    table = {spki_sha256(ours.private_key.public_key()): row}
    monkeypatch.setattr("rom_builder.keys.known_keys", lambda: table)
    with pytest.raises(SigningError, match=r"publicly known: .*testkey"):
        refuse_public_key(ours.private_key.public_key(), allow_public_key=False)
    refuse_public_key(ours.private_key.public_key(), allow_public_key=True)


# New keys


@pytest.mark.parametrize("kind", ["rsa-2048", "rsa-4096", "p256"])
def test_a_new_ota_key_is_one_that_recovery_takes(kind: str) -> None:
    made = key(kind)
    assert recovery_fitness(made.certificate) == []
    assert isinstance(made.certificate.signature_hash_algorithm, hashes.SHA256)
    assert made.certificate.public_key() == made.private_key.public_key()
    lifetime = made.certificate.not_valid_after_utc - made.certificate.not_valid_before_utc
    assert lifetime == VALIDITY == timedelta(days=10_000)
    made.certificate.verify_directly_issued_by(made.certificate)


@pytest.mark.parametrize("kind", ["rsa-1024", "rsa-3072", "rsa-8192", "p384", "ed25519", "", "x"])
def test_a_kind_that_recovery_refuses_is_not_made(kind: str) -> None:
    with pytest.raises(SigningError, match=r"otacerts\.zip drops all") as caught:
        new_key("ota", kind)
    assert "rsa-2048, rsa-4096, p256" in str(caught.value.hint)


def test_avb_has_no_ec_keys_and_apks_have_more_kinds() -> None:
    with pytest.raises(SigningError, match="Verified Boot"):
        new_key("avb", "p256")
    assert certificate_facts(new_key("apk", "p384").certificate, "").unfit["apk"] == ()


@pytest.mark.parametrize("subject", ["", "x" * 65])
def test_a_subject_that_does_not_fit_is_refused(subject: str) -> None:
    with pytest.raises(SigningError, match="subject"):
        new_key("ota", "p256", subject=subject)


def test_a_file_is_written_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_new_file(path, b"first")
    with pytest.raises(SigningError, match="not overwritten"):
        write_new_file(path, b"second")
    assert path.read_bytes() == b"first"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["key"]


def test_a_dangling_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SigningError, match="not overwritten"):
        write_new_file(tmp_path / "key", b"first")
    assert not (tmp_path / "elsewhere").exists()


def test_a_missing_folder_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SigningError, match="No such file"):
        write_new_file(tmp_path / "nowhere" / "key", b"first")


def test_an_empty_passphrase_is_refused() -> None:
    with pytest.raises(SigningError, match="empty"):
        encrypted_key(key().private_key, b"")


# What a key is good for


@pytest.mark.parametrize(
    ("kind", "name", "unfit"),
    [("rsa-2048", "RSA-2048 e=65537", ["apex"]), ("p256", "EC P-256", ["avb", "apex"])],
)
def test_what_a_key_is_fit_for(kind: str, name: str, unfit: list[str]) -> None:
    facts = certificate_facts(key(kind).certificate, "here")
    assert (facts.name, facts.key, facts.known, facts.weaknesses) == ("here", name, None, ())
    assert [role for role, reasons in facts.unfit.items() if reasons] == unfit
    assert facts.subject == "CN=Test 0"


def test_days_left_are_counted() -> None:
    facts = certificate_facts(key().certificate, "")
    assert facts.not_after is not None
    assert facts.days_left(facts.not_after - timedelta(days=3)) == 3
    assert facts.days_left(facts.not_after + timedelta(hours=1)) == -1
    assert key_facts(key().private_key.public_key(), "").days_left(datetime.now(UTC)) is None


def test_weak_keys_are_named() -> None:
    small = rsa.generate_private_key(65537, 1024).public_key()
    assert key_facts(small, "").weaknesses == ("RSA with 1024 bits",)
    low = rsa.generate_private_key(3, 2048).public_key()
    facts = key_facts(low, "")
    assert facts.key == "RSA-2048 e=3"
    assert facts.weaknesses == ("RSA with the exponent 3",)
    assert not facts.unfit["ota"]
    assert facts.unfit["avb"] == ("AVB takes the exponent 65537",)


def test_other_kinds_fit_nothing() -> None:
    for other in (
        ed25519.Ed25519PrivateKey.generate().public_key(),
        dsa.generate_private_key(2048).public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
    ):
        facts = key_facts(other, "")
        assert all(facts.unfit.values()), facts.key


@pytest.mark.judge("openssl")
def test_a_sha1_certificate_is_weak(tmp_path: Path) -> None:
    private_key, _, _ = write_key(tmp_path, key("rsa-2048"))
    made = openssl("req", "-x509", "-sha1", "-key", private_key, "-subj", "/CN=Old")
    (tmp_path / "old").write_bytes(made)
    (facts,) = inspect_file(tmp_path / "old")
    assert facts.weaknesses == ("its certificate is signed with SHA-1",)
    assert not facts.unfit["ota"]


# Files of every kind


def spki(path: Path) -> set[str]:
    return {facts.spki_sha256 for facts in inspect_file(path)}


def test_every_kind_of_file_is_inspected(tmp_path: Path) -> None:
    made = key()
    public = made.private_key.public_key()
    expected = {spki_sha256(public)}
    form = PublicFormat.SubjectPublicKeyInfo
    files = {
        "pem": made.certificate.public_bytes(Encoding.PEM),
        "der": made.certificate.public_bytes(Encoding.DER),
        "public-pem": public.public_bytes(Encoding.PEM, form),
        "public-der": public.public_bytes(Encoding.DER, form),
        "private": plain_key(made.private_key),
        "ota.zip": signed_package(made),
    }
    for name, data in files.items():
        path = tmp_path / name
        path.write_bytes(data)
        path.chmod(0o600)
        assert spki(path) == expected, name


def test_an_encrypted_key_shows_its_public_half(tmp_path: Path) -> None:
    write_new_file(tmp_path / "key", encrypted_key(key().private_key, b"secret"))
    (facts,) = inspect_file(tmp_path / "key", PassphrasePrompt(lambda: "secret"))
    assert facts.spki_sha256 == spki_sha256(key().private_key.public_key())


def test_every_certificate_of_a_bundle_and_of_otacerts_is_shown(tmp_path: Path) -> None:
    pems = [key("p256", n).certificate.public_bytes(Encoding.PEM) for n in range(3)]
    (tmp_path / "bundle").write_bytes(b"".join(pems))
    with zipfile.ZipFile(tmp_path / "otacerts.zip", "w") as archive:
        for number, pem in enumerate(pems):
            archive.writestr(f"{number}.x509.pem", pem)
    assert spki(tmp_path / "bundle") == spki(tmp_path / "otacerts.zip")
    names = [facts.name for facts in inspect_file(tmp_path / "otacerts.zip")]
    assert names == ["0.x509.pem", "1.x509.pem", "2.x509.pem"]


def test_an_otacert_that_recovery_would_refuse_says_so(tmp_path: Path) -> None:
    bad = certificate(rsa.generate_private_key(65537, 3072), hashes.SHA256())
    (tmp_path / "bad").write_bytes(bad.public_bytes(Encoding.PEM))
    (facts,) = inspect_file(tmp_path / "bad")
    assert "3072" in facts.unfit["ota"][0]
    assert (facts.days_left(datetime.now(UTC)) or 0) < 0


@pytest.mark.judge("apksigner")
def test_an_apks_signer_is_shown(tmp_path: Path) -> None:
    from rom_builder.tools import run

    _, pk8, cert = write_key(tmp_path, key("rsa-2048"))
    with zipfile.ZipFile(tmp_path / "in.apk", "w") as archive:
        archive.writestr("classes.dex", b"dex")
    apk = tmp_path / "out.apk"
    signing = ["apksigner", "sign", "--min-sdk-version", "14", "--key", pk8, "--cert", cert]
    run([*map(str, signing), "--out", str(apk), str(tmp_path / "in.apk")])
    assert spki(apk) == {spki_sha256(key("rsa-2048").private_key.public_key())}


@pytest.mark.parametrize("data", [b"", b"\x30\x03\x02\x01\x03", b"some text", b"\x30\x80" * 9])
def test_a_file_without_a_key_is_one_clear_error(data: bytes, tmp_path: Path) -> None:
    write_new_file(tmp_path / "file", data)
    with pytest.raises(SigningError):
        inspect_file(tmp_path / "file")


def test_a_zip_without_a_key_says_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a", b"b")
    with pytest.raises(SigningError, match="no key or certificate"):
        inspect_file(tmp_path / "x.zip")


def test_a_damaged_otacert_names_the_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("META-INF/com/android/otacert", b"no certificate")
    with pytest.raises(ImageError, match=r"x\.zip"):
        inspect_file(tmp_path / "x.zip")


def test_the_fingerprint_is_that_of_the_der() -> None:
    der = (
        key().private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    assert spki_sha256(load_der_public_key(der)) == openssl_digest(der)


def openssl_digest(data: bytes) -> str:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(data)
    return digest.finalize().hex()
