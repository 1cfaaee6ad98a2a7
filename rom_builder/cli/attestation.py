"""What ``rom-builder verify`` says of the attestations beside a package."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from rom_builder.errors import ImageError, SigningError
from rom_builder.formats.dsse import MAX_SIZE, PublicKey, key_id
from rom_builder.formats.otacert import parse_certificates
from rom_builder.formats.source import FileSource
from rom_builder.formats.x509 import MAX_CERTIFICATE_SIZE
from rom_builder.keys import publicly_known
from rom_builder.provenance.attestations import verify_attestations
from rom_builder.reports.text import printable
from rom_builder.rom import digest_of
from rom_builder.verification.report import Attestation


def read_attestation(
    package: Path, path: Path, key: Path, policies: tuple[str, ...], beside: tuple[Path, ...]
) -> Attestation:
    """Verify the attestations beside a package, and hold them to what is demanded."""
    public = _read_public_key(key)
    fingerprint = key_id(public)
    known = publicly_known(fingerprint)
    if known is not None:
        return Attestation(fingerprint, (), (f"{key} is publicly known: {known.names[0]}",))
    with closing(FileSource(path)) as source:
        data = source.read_at(0, min(source.size, MAX_SIZE + 1))
    try:
        attested = verify_attestations(data, _sha256(package), public)
    except ImageError as error:
        return Attestation(fingerprint, (), (error.message,))
    missing = [policy for policy in policies if policy not in attested.policies]
    strange = [file for file in beside if _sha256(file) not in attested.beside.values()]
    faults = [
        *(f"{policy} is not among the policies" for policy in missing),
        *(f"{file} is not what was written beside the package" for file in strange),
    ]
    return Attestation(fingerprint, tuple(attested.policies), tuple(faults), read=True)


def show_attestation(found: Attestation) -> None:
    """Print what the attestations say."""
    if found.read:
        met = ", ".join(map(printable, found.policies)) or "no policy"
        click.echo(f"  attested: met {met}")
    for fault in found.faults:
        click.echo(f"  attestation FAILS: {printable(fault)}")


def _sha256(path: Path) -> str:
    with closing(FileSource(path)) as source:
        return digest_of(source)


def _read_public_key(path: Path) -> PublicKey:
    """Return the RSA or EC key of a PEM public key or of a certificate."""
    with closing(FileSource(path)) as source:
        data = source.read_at(0, min(source.size, MAX_CERTIFICATE_SIZE))
    try:
        if b"BEGIN PUBLIC KEY" in data:
            key: object = load_pem_public_key(data)
        else:
            key = parse_certificates(data)[0].public_key()
    except ImageError as error:
        raise error.within(str(path)) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SigningError(f"{path}: no public key ({error})") from None
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise SigningError(f"{path}: attestations are signed with RSA or EC keys")
    return key
