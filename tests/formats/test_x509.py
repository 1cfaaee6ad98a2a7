"""Facts about certificates, judged by cryptography and openssl."""

from __future__ import annotations

import hashlib
import io
import random
import subprocess
import zipfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from rom_builder.errors import ImageError
from rom_builder.formats.x509 import parse_certificate, parse_otacerts

P256, P384 = ec.SECP256R1(), ec.SECP384R1()
START, END = datetime(1999, 1, 2, tzinfo=UTC), datetime(2060, 3, 4, 5, 6, 7, tzinfo=UTC)
NAME = x509.Name(
    [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, 'Žluť, "Kůň" + Co; #1'),
        x509.NameAttribute(NameOID.COMMON_NAME, " release "),
    ]
)


def certificate(
    key: CertificateIssuerPrivateKeyTypes, digest: hashes.HashAlgorithm | None
) -> x509.Certificate:
    builder = x509.CertificateBuilder(NAME, NAME, key.public_key(), 0xDEADBEEF, START, END)
    return builder.sign(key, digest)


@pytest.fixture(scope="module")
def plain() -> x509.Certificate:
    return certificate(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())


def test_facts_agree_with_cryptography(plain: x509.Certificate) -> None:
    for form in (Encoding.DER, Encoding.PEM):
        facts = parse_certificate(plain.public_bytes(form))
        spki = plain.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

        assert facts.der == plain.public_bytes(Encoding.DER)
        assert facts.spki == spki
        assert facts.subject == plain.subject.rfc4514_string()
        assert facts.serial == 0xDEADBEEF
        assert (facts.not_before, facts.not_after) == (START, END)
        assert facts.cert_sha256 == plain.fingerprint(hashes.SHA256()).hex()
        assert facts.cert_sha1 == hashlib.sha1(facts.der).hexdigest()
        assert facts.spki_sha256 == hashlib.sha256(spki).hexdigest()
        assert facts.issuer_der == plain.issuer.public_bytes()


@pytest.mark.parametrize(
    ("make", "digest", "kind", "exponent", "signed_with"),
    [
        (lambda: rsa.generate_private_key(3, 2048), hashes.SHA512(), "RSA-2048", 3, "SHA-512"),
        (lambda: ec.generate_private_key(P256), hashes.SHA384(), "P-256", None, "SHA-384"),
        (lambda: ec.generate_private_key(P384), hashes.SHA256(), "P-384", None, "SHA-256"),
        (lambda: dsa.generate_private_key(2048), hashes.SHA256(), "DSA-2048", None, "SHA-256"),
        (ed25519.Ed25519PrivateKey.generate, None, "Ed25519", None, "Ed25519"),
    ],
)  # fmt: skip
def test_key_kind_and_digest(make, digest, kind, exponent, signed_with) -> None:  # type: ignore[no-untyped-def]
    facts = parse_certificate(certificate(make(), digest).public_bytes(Encoding.DER))

    assert (facts.key_kind, facts.exponent, facts.signature_digest) == (kind, exponent, signed_with)


@pytest.mark.judge("openssl")
@pytest.mark.parametrize(
    ("options", "serial", "digest"),
    [(["-md5"], 7, "MD5"), (["-sha1"], -5, "SHA-1"), (["-sha256"], 0, "SHA-256")],
)
def test_old_certificates_give_their_key(
    options: list[str], serial: int, digest: str, tmp_path: Path
) -> None:
    pem = tmp_path / "c.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-keyout", tmp_path / "k.pem",
         "-out", pem, "-subj", "/C=US/emailAddress=a@b.example/CN=old", "-set_serial", str(serial),
         *options],
        capture_output=True, check=True,
    )  # fmt: skip
    spki = subprocess.run(
        ["openssl", "pkey", "-in", tmp_path / "k.pem", "-pubout", "-outform", "DER"],
        capture_output=True,
        check=True,
    ).stdout
    subject = subprocess.run(
        ["openssl", "x509", "-in", pem, "-noout", "-subject", "-nameopt", "RFC2253"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    facts = parse_certificate(pem.read_bytes())

    assert facts.spki_sha256 == hashlib.sha256(spki).hexdigest()
    assert (facts.serial, facts.signature_digest) == (serial, digest)
    assert subject == f"subject={facts.subject}\n"


def test_otacerts_are_the_entries_that_end_in_x509_pem(plain: x509.Certificate) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("build/releasekey.x509.pem", plain.public_bytes(Encoding.PEM))
        archive.writestr("second.x509.pem", plain.public_bytes(Encoding.PEM))
        archive.writestr("README", b"no certificate")

    assert [facts.serial for facts in parse_otacerts(file.getvalue())] == [0xDEADBEEF] * 2


def test_a_bad_otacert_is_named() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(
            "bad.x509.pem", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"
        )

    with pytest.raises(
        ImageError, match=r"^bad\.x509.pem: neither a certificate in DER nor in PEM"
    ):
        parse_otacerts(file.getvalue())


def test_damage_is_an_image_error(plain: x509.Certificate) -> None:
    whole = plain.public_bytes(Encoding.DER)
    for size in range(len(whole)):
        with pytest.raises(ImageError):
            parse_certificate(whole[:size])
    with pytest.raises(ImageError):
        parse_certificate(whole + b"\0")
    generator = random.Random(5)
    for _ in range(3000):
        data = bytearray(whole)
        data[generator.randrange(len(data))] = generator.randrange(256)
        with suppress(ImageError):
            parse_certificate(bytes(data))
