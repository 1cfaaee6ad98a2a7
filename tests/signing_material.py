"""Keys, certificates and packages that the signing tests share; all made for the test run."""

from __future__ import annotations

import io
import subprocess
import zipfile
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from rom_builder.formats.ota_signature import signed_size
from rom_builder.formats.source import BytesSource
from rom_builder.keys import NewKey, new_key
from rom_builder.signers.package import sign_package
from rom_builder.signers.signer import CheckedSigner, KeySigner, checked


def key(kind: str = "p256", number: int = 0) -> NewKey:
    """One OTA key of a kind, the same every time; another number is another key."""
    return _key(kind, number)


@cache
def _key(kind: str, number: int) -> NewKey:
    return new_key("ota", kind, subject=f"Test {number}")


def signer(made: NewKey) -> CheckedSigner:
    return checked(KeySigner(made.private_key), made.certificate, "test:")


def certificate(
    private_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
    digest: hashes.HashAlgorithm | None = None,
    issuer: NewKey | None = None,
) -> x509.Certificate:
    """A certificate as nobody should make it: any key, any digest, any issuer."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Odd")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(private_key.public_key())
        .serial_number(77)
        .not_valid_before(datetime.now(UTC) - timedelta(days=9))
        .not_valid_after(datetime.now(UTC) - timedelta(days=3))
    )
    return builder.sign(issuer.private_key if issuer else private_key, digest)


def unsigned_package() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("payload.txt"), b"payload" * 9)
    return file.getvalue()


@cache
def signed_package(made: NewKey, package: bytes | None = None) -> bytes:
    package = unsigned_package() if package is None else package
    source = BytesSource(package)
    return package[: signed_size(source)] + sign_package(source, signer(made))


def write_key(folder: Path, made: NewKey) -> tuple[Path, Path, Path]:
    """Write ``key.pem``, ``key.pk8`` and ``key.x509.pem`` for foreign tools."""
    pem, pk8, cert = folder / "key.pem", folder / "key.pk8", folder / "key.x509.pem"
    for path, encoding in ((pem, Encoding.PEM), (pk8, Encoding.DER)):
        path.write_bytes(
            made.private_key.private_bytes(encoding, PrivateFormat.PKCS8, NoEncryption())
        )
        path.chmod(0o600)
    cert.write_bytes(made.certificate.public_bytes(Encoding.PEM))
    return pem, pk8, cert


def openssl(*arguments: str | Path) -> bytes:
    return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True).stdout
