"""Otacerts: the certificates whose keys a device's recovery lets sign packages, and a package's own.

They lie in ``/system/etc/security/otacerts.zip`` and in the recovery ramdisk, as entries ending in
``x509.pem``. Source: ``LoadCertificateFromBuffer``, ``CheckRSAKey`` and ``CheckECKey`` in AOSP
bootable/recovery ``otautil/verifier.cpp``.
"""

from __future__ import annotations

import warnings
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from rom_builder.errors import ImageError
from rom_builder.formats.x509 import MAX_CERTIFICATE_SIZE
from rom_builder.formats.zip import ZipArchive

OTACERT = "META-INF/com/android/otacert"
"""The entry of an OTA package that holds its signer's certificate."""

RecoveryDigest = Literal["sha1", "sha256"]

_DIGEST_BY_CERTIFICATE: dict[str, RecoveryDigest] = {
    "1.3.14.3.2.3": "sha1",  # md5WithRSA
    "1.2.840.113549.1.1.4": "sha1",  # md5WithRSAEncryption
    "1.3.14.3.2.29": "sha1",  # sha1WithRSA
    "1.2.840.113549.1.1.5": "sha1",  # sha1WithRSAEncryption
    "1.2.840.113549.1.1.11": "sha256",  # sha256WithRSAEncryption
    "1.2.840.10045.4.3.2": "sha256",  # ecdsa-with-SHA256
}
"""What recovery hashes a package with, by the signature algorithm of the certificate it trusts
(``LoadCertificateFromBuffer``); MD5 stands for SHA-1 since the first signapk."""


def recovery_digest(certificate: x509.Certificate) -> RecoveryDigest | None:
    """Return what recovery hashes a package with for this certificate; None if it refuses it.

    Not the CMS decides but the signature algorithm that the trusted certificate itself was signed
    with.
    """
    return _DIGEST_BY_CERTIFICATE.get(certificate.signature_algorithm_oid.dotted_string)


def recovery_fitness(certificate: x509.Certificate) -> list[str]:
    """Return why recovery would refuse a certificate; empty if it takes it.

    One refused certificate in ``otacerts.zip`` makes recovery drop the whole list: the device then
    installs no package at all. Dates, chain and CA are never looked at.
    """
    reasons = []
    digest = recovery_digest(certificate)
    if digest is None:
        name = certificate.signature_algorithm_oid.dotted_string
        reasons.append(
            f"its signature algorithm is {name}; recovery knows RSA with MD5, SHA-1 or SHA-256 and "
            "ECDSA with SHA-256"
        )
    try:
        key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        return [*reasons, "its key is of an unknown kind; recovery knows RSA and EC P-256"]
    if digest == "sha1" and isinstance(key, ec.EllipticCurvePublicKey):
        reasons.append("it is signed with SHA-1; recovery hashes for an EC key with SHA-256 only")
    return reasons + recovery_key_fitness(key)


def recovery_key_fitness(key: PublicKeyTypes) -> list[str]:
    """Return why recovery would refuse a key, whatever certificate it has; empty if it takes it."""
    reasons = []
    match key:
        case rsa.RSAPublicKey():
            if key.key_size not in (2048, 4096):
                reasons.append(f"its RSA key has {key.key_size} bits; recovery knows 2048 and 4096")
            exponent = key.public_numbers().e
            if exponent not in (3, 65537):
                reasons.append(f"its RSA exponent is {exponent}; recovery knows 3 and 65537")
        case ec.EllipticCurvePublicKey():
            if not isinstance(key.curve, ec.SECP256R1):
                reasons.append(f"its curve is {key.curve.name}; recovery knows P-256")
        case _:
            reasons.append("its key is neither RSA nor EC")
    return reasons


def parse_certificates(data: bytes) -> list[x509.Certificate]:
    """Return the certificates of a file: one in DER, or any number in PEM.

    Raises:
        ImageError: There is none, or one is damaged.
    """
    try:
        with warnings.catch_warnings():  # about odd serial numbers, which old certificates have
            warnings.simplefilter("ignore")
            if b"-----BEGIN" in data:
                return x509.load_pem_x509_certificates(data)
            return [x509.load_der_x509_certificate(data)]
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise ImageError("not an X.509 certificate in PEM or DER") from error


def read_otacert(archive: ZipArchive) -> list[x509.Certificate]:
    """Return the certificates that a package says it is signed with; none if it does not say.

    Raises:
        ImageError: They are damaged.
    """
    entry = archive.entries.get(OTACERT)
    return parse_certificates(archive.read(entry, MAX_CERTIFICATE_SIZE)) if entry else []
