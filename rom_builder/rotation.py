"""Change the keys that devices accept packages by: which release carries and is signed with what.

A device takes a package if one of the certificates in the ``otacerts.zip`` that it has fits. So the new
ones must reach it in a package that the old keys sign, and the old ones must stay until it has that::

    release   signed with   otacerts.zip on a device that has it
    n         old           old and new
    n + 1     new           old and new
    n + 2     new           new

A device that leaves out n refuses n + 1. Source: recovery's rules in :mod:`.formats.otacert`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.errors import SigningError
from rom_builder.formats.otacert import recovery_digest, recovery_fitness
from rom_builder.formats.zip_writer import ZipWriter
from rom_builder.keys import publicly_known, spki_sha256
from rom_builder.packing.update_certificates import Accepted, read_copy


@dataclass(frozen=True, slots=True)
class Step:
    """One release of a transition.

    Attributes:
        name: ``n``, ``n + 1`` or ``n + 2``.
        signed_with: ``old`` or ``new``.
        otacerts: The archive that it carries.
        holds: Certificates in it, by subject.
        why: What it is for.
    """

    name: str
    signed_with: str
    otacerts: bytes
    holds: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Rotation:
    """A transition from old keys to new ones.

    Attributes:
        steps: Its releases.
        notes: What its owner should know.
    """

    steps: tuple[Step, ...]
    notes: tuple[str, ...]


def plan_rotation(
    old: Sequence[x509.Certificate],
    new: Sequence[x509.Certificate],
    current: bytes | None,
    now: datetime,
) -> Rotation:
    """Plan a transition.

    Args:
        old: Certificates that packages are signed with now: of the roles ota and, if it has a key of
            its own, payload.
        new: Those that take their place.
        current: The ``otacerts.zip`` of the last release: others in it, such as a partner's, stay.
        now: When it is.

    Raises:
        SigningError: A certificate would keep devices from installing anything, is not for signing,
            or is on both sides; or the old ones are not in ``current``.
        ImageError: ``current`` is damaged.
    """
    for certificate in (*old, *new):
        if reasons := recovery_fitness(certificate):
            raise SigningError(
                f"{_name(certificate)}: recovery refuses this certificate and, with it in "
                f"otacerts.zip, every package: {'; '.join(reasons)}",
                hint="make one with `rom-builder keys new --role ota`",
            )
    keys = {spki_sha256(certificate.public_key()) for certificate in old}
    for certificate in new:
        _refuse_unfit_to_follow(certificate, keys, now)
    held = list(read_copy(current, "otacerts.zip")) if current is not None else []
    others, notes = _others(held, old, new)
    if current is not None:
        present = {item.certificate for item in held if not item.unfit}
        for certificate in old:
            if certificate not in present:
                raise SigningError(
                    f"{_name(certificate)}: is not in the otacerts.zip given: devices with that "
                    "release do not take what this key signs",
                    hint="give the certificate that the last release was signed with",
                )
    for certificate in old:
        known = publicly_known(spki_sha256(certificate.public_key()))
        if known is not None:
            notes.append(
                f"{_name(certificate)} is publicly known ({known.names[0]}): until the last step "
                "anyone can sign packages that devices take; do not wait with it"
            )
    both, only = _archive((*others, *old, *new)), _archive((*others, *new))
    labels = tuple(map(_name, others))
    everyone = (*labels, *map(_name, old), *map(_name, new))
    last = (*labels, *map(_name, new))
    return Rotation(
        (
            Step("n", "old", both, everyone, "devices learn the new keys from one they trust"),
            Step("n + 1", "new", both, everyone, "devices without n must get n first"),
            Step("n + 2", "new", only, last, "devices forget the old keys"),
        ),
        tuple(notes),
    )


def _refuse_unfit_to_follow(certificate: x509.Certificate, old: set[str], now: datetime) -> None:
    """Refuse a certificate that nobody should start to sign with."""
    name, key = _name(certificate), spki_sha256(certificate.public_key())
    if recovery_digest(certificate) != "sha256":
        raise SigningError(
            f"{name}: recovery verifies with SHA-1 for this certificate, which is broken",
            hint="sign the certificate itself with SHA-256; the key can stay",
        )
    if key in old:
        raise SigningError(f"{name}: has the same key as an old one: nothing would change")
    known = publicly_known(key)
    if known is not None:
        raise SigningError(f"{name}: publicly known: {', '.join(known.names)}")
    if certificate.not_valid_after_utc <= now:
        raise SigningError(f"{name}: ended on {certificate.not_valid_after_utc:%Y-%m-%d}")


def _others(
    held: Sequence[Accepted], old: Sequence[x509.Certificate], new: Sequence[x509.Certificate]
) -> tuple[list[x509.Certificate], list[str]]:
    """Return the certificates that stay, and a note for each that is left out."""
    stay: list[x509.Certificate] = []
    notes = []
    for item in held:
        if item.certificate is not None and item.certificate in (*old, *new):
            continue
        if item.unfit or item.certificate is None:
            notes.append(f"{item.entry} is left out, for recovery cannot use it: {item.unfit}")
        elif item.public_name:
            notes.append(f"{item.label} is left out, for it is publicly known: {item.public_name}")
        elif item.certificate not in stay:
            stay.append(item.certificate)
            notes.append(f"{item.label} stays in every step")
    return stay, notes


def _archive(certificates: Sequence[x509.Certificate]) -> bytes:
    file = io.BytesIO()
    writer = ZipWriter(file)
    for certificate in dict.fromkeys(certificates):
        entry = f"{certificate.fingerprint(SHA256()).hex()[:16]}.x509.pem"
        writer.add(entry, certificate.public_bytes(Encoding.PEM), compress=False)
    writer.close()
    return file.getvalue()


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or certificate.fingerprint(SHA256()).hex()[:16]
