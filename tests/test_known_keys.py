"""Every publicly known key is refused in every role, and found in every place where it could be.

``known-public-keys.txt`` holds the public halves that the list's fingerprints are of, as they stand in
the repositories that the list names.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key
from cryptography.x509.oid import NameOID

from rom_builder.build import build
from rom_builder.cli import main
from rom_builder.errors import SigningError
from rom_builder.formats.avb_key import SIZES, Algorithm, encode_public_key
from rom_builder.formats.cms import cms_for
from rom_builder.formats.vbmeta import Vbmeta
from rom_builder.keys import KnownKey, known_keys, spki_sha256
from rom_builder.keys.files import PublicKey
from rom_builder.mechanisms import binding_models
from rom_builder.policy.load import load_policies
from rom_builder.readers.signatures import read_signing_certificates
from rom_builder.readers.verified_boot import read_avb_keys
from rom_builder.rom.opening import open_rom
from rom_builder.signers.keyring import Keyring, PartitionSigners
from rom_builder.signers.profile import open_role
from rom_builder.signers.signer import CheckedSigner, SigningDigest
from tests.signing_material import key, signer

FIXTURE = Path(__file__).parent / "fixtures" / "known-public-keys.txt"
ROLES = (
    *("ota", "payload", "avb", "avb.vbmeta_system", "apk", "apk.platform", "apk.shared"),
    *("apk.media", "apk.overlay", "apex", "apex.com.android.wifi", "attestation"),
)


@cache
def public_keys() -> dict[str, PublicKey]:
    found = {}
    for pem in re.findall(rb"-----BEGIN.*?END PUBLIC KEY-----", FIXTURE.read_bytes(), re.DOTALL):
        loaded = load_pem_public_key(pem)
        assert isinstance(loaded, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
        found[spki_sha256(loaded)] = loaded
    return found


DENIED = [known for known in known_keys().values() if known.deny]
each_denied = pytest.mark.parametrize("known", DENIED, ids=lambda known: known.spki_sha256[:12])


def certificate_of(public: PublicKey) -> x509.Certificate:
    """A certificate of a key that we have only the public half of, signed with another key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Release")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(5)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=900))
    )
    return builder.sign(key("rsa-2048").private_key, hashes.SHA256())


def test_every_key_of_the_list_is_at_hand() -> None:
    assert public_keys().keys() == known_keys().keys()
    for fingerprint, public in public_keys().items():
        if isinstance(public, rsa.RSAPublicKey) and public.public_numbers().e == 65537:
            blob = encode_public_key(public)
            assert hashlib.sha1(blob).hexdigest() == known_keys()[fingerprint].avb_sha1


@each_denied
def test_it_is_refused_in_every_role_before_its_signer_is_asked(
    known: KnownKey, tmp_path: Path
) -> None:
    public = public_keys()[known.spki_sha256]
    (tmp_path / "c.x509.pem").write_bytes(certificate_of(public).public_bytes(Encoding.PEM))
    pinned = (
        "certificate: c.x509.pem",
        "public_key: c.x509.pem",
        f"spki_sha256: {known.spki_sha256}",
    )
    for role in ROLES:
        for what in pinned:
            text = (
                "schema: rom-builder/signing/v1\nid: t\ntitle: T\nroles:\n"
                f'  {role}: {{signer: "exec:touch {tmp_path}/asked", {what}}}\n'
            )
            (tmp_path / "p.yaml").write_text(text)
            with pytest.raises(SigningError, match=f"role {role}: publicly known: ") as caught:
                open_role(tmp_path / "p.yaml", role)
            assert known.names[0] in str(caught.value)
    assert not (tmp_path / "asked").exists()


@each_denied
def test_keys_check_names_it(
    known: KnownKey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    public = public_keys()[known.spki_sha256]
    (tmp_path / "c.x509.pem").write_bytes(certificate_of(public).public_bytes(Encoding.PEM))
    text = "schema: rom-builder/signing/v1\nid: t\ntitle: T\nroles:\n"
    text += '  apk: {signer: "exec:false", certificate: c.x509.pem}\n'
    (tmp_path / "p.yaml").write_text(text)
    assert main(["keys", "check", str(tmp_path / "p.yaml")]) == 1
    assert f"publicly known: {known.names[0]}" in capsys.readouterr().out


@dataclass(frozen=True)
class Holder:
    """A signer that has a key everybody has; asked to sign, it fails the test."""

    public_key: PublicKey
    certificate: x509.Certificate | None = None
    development: bool = False
    remarks: tuple[str, ...] = ()

    def sign_digest(self, digest: bytes, algorithm: SigningDigest = "sha256") -> bytes:
        raise AssertionError("asked to sign")


@each_denied
def test_a_build_refuses_it_for_whatever_it_signs(known: KnownKey, tmp_path: Path) -> None:
    public = public_keys()[known.spki_sha256]
    bad = CheckedSigner(Holder(public), public, "test:", certificate_of(public))
    good = signer(key("rsa-2048"))
    policies = load_policies(["rom-baseline"], binding_models())
    for keys in (
        Keyring(bad),
        Keyring(good, own_payload=bad),
        Keyring(good, avb=bad),
        Keyring(good, avb=PartitionSigners(good, {"vbmeta_system": bad})),
        Keyring(good, apk=bad),
    ):
        with pytest.raises(SigningError, match="publicly known"):
            build(
                tmp_path / "no-base",
                policies,
                keys,
                tmp_path / "out.zip",
                brought={},
                today=date.today(),
            )


def test_all_are_found_in_what_vouches_for_packages_and_apps(tmp_path: Path) -> None:
    certificates = {
        fingerprint: certificate_of(public) for fingerprint, public in public_keys().items()
    }
    found: dict[str, set[str]] = {"package": set(), "otacert": set(), "apk": set(), "apex": set()}
    otacerts = io.BytesIO()
    with zipfile.ZipFile(otacerts, "w") as archive:
        for fingerprint, certificate in certificates.items():
            archive.writestr(f"{fingerprint}.x509.pem", certificate.public_bytes(Encoding.PEM))
    rom = tmp_path / "rom"
    (rom / "system/etc/security").mkdir(parents=True)
    (rom / "system/etc/security/otacerts.zip").write_bytes(otacerts.getvalue())
    (rom / "META-INF/com/android").mkdir(parents=True)
    for fingerprint, certificate in certificates.items():
        for path in (f"app/{fingerprint}/{fingerprint}.apk", f"apex/{fingerprint}.apex"):
            file = rom / "system" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(signed_jar(certificate))
    for fact in read_signing_certificates(open_rom(rom), None):
        if fact.known_as:
            found[fact.use].add(fact.spki_sha256)
    for certificate in certificates.values():
        package = certificate.public_bytes(Encoding.PEM)
        (rom / "META-INF/com/android/otacert").write_bytes(package)
        one = next(f for f in read_signing_certificates(open_rom(rom), None) if f.use == "package")
        if one.known_as:
            found["package"].add(one.spki_sha256)
    denied = {known.spki_sha256 for known in DENIED}
    assert {use: denied - seen for use, seen in found.items()} == {use: set() for use in found}
    assert all(seen <= denied for seen in found.values())


def signed_jar(certificate: x509.Certificate) -> bytes:
    """An app as its signer's certificate shows: the signature is not looked at for that."""
    kind = "rsa" if isinstance(certificate.public_key(), rsa.RSAPublicKey) else "ecdsa"
    cms = cms_for(certificate.public_bytes(Encoding.DER), bytes(256), kind)  # type: ignore[arg-type]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\r\n\r\n")
        archive.writestr("META-INF/CERT.SF", b"Signature-Version: 1.0\r\n\r\n")
        archive.writestr(f"META-INF/CERT.{'RSA' if kind == 'rsa' else 'EC'}", cms.encode())
    return file.getvalue()


def test_all_are_found_in_verified_boot(tmp_path: Path) -> None:
    by_bits = {
        2048: Algorithm.SHA256_RSA2048,
        4096: Algorithm.SHA256_RSA4096,
        8192: Algorithm.SHA256_RSA8192,
    }
    seen, denied = set(), set()
    for fingerprint, public in public_keys().items():
        if not isinstance(public, rsa.RSAPublicKey) or public.public_numbers().e != 65537:
            continue  # libavb has no other keys
        algorithm = by_bits[public.key_size]
        sizes = SIZES[algorithm]
        vbmeta = Vbmeta(
            algorithm,
            public_key=encode_public_key(public),
            hash=bytes(32),
            signature=bytes(sizes.signature_size),
        )
        folder = tmp_path / fingerprint
        folder.mkdir()
        (folder / "vbmeta.img").write_bytes(vbmeta.encode().ljust(65536, b"\0"))
        if known_keys()[fingerprint].deny:
            denied.add(fingerprint)
        for fact in read_avb_keys(open_rom(folder)):
            if fact.known_as:
                seen.add(fingerprint)
    assert seen == denied
    assert len(denied) > 15
