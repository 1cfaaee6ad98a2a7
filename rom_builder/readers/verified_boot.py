"""What verified boot says of a ROM: its vbmeta images, and whose keys they trust."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Literal

from rom_builder.errors import ImageError
from rom_builder.facts import SigningCertificate, Trust, VerifiedBoot
from rom_builder.findings import Location
from rom_builder.formats.apex import Apex
from rom_builder.formats.avb_descriptors import (
    ChainPartitionDescriptor,
    HashDescriptor,
    HashtreeDescriptor,
)
from rom_builder.formats.avb_key import SIZES, Algorithm, parse_rsa_key
from rom_builder.formats.vbmeta import Vbmeta, read_vbmeta, verify_vbmeta
from rom_builder.keys import publicly_known_avb, spki_sha256
from rom_builder.rom import Rom


def read_verified_boot(rom: Rom) -> Iterator[VerifiedBoot]:
    """Yield what every vbmeta image of the ROM's partitions and modules says.

    Signatures are verified. The digests of partition contents are not computed again: a device does
    that at boot and as it reads.
    """
    for partition in rom.contents.partitions.values():
        if partition.vbmeta is not None:
            place = Location(partition.path or str(rom.path))
            trust, fault = signature_of(partition.vbmeta)
            yield _fact(
                partition.name, partition.slot, "partition", partition.vbmeta, trust, fault, place
            )
    for name, apex in sorted(rom.modules.items()):
        vbmeta, trust, fault = module_signature(apex)
        place = Location(name or str(rom.path))
        yield _fact(apex.manifest.name or "", "", "module", vbmeta, trust, fault, place)


def read_avb_keys(rom: Rom) -> Iterator[SigningCertificate]:
    """Yield every key that a vbmeta image is signed with or trusts for another, and each module's."""
    for partition in rom.contents.partitions.values():
        vbmeta = partition.vbmeta
        if vbmeta is None:
            continue
        place = Location(partition.path or str(rom.path))
        if vbmeta.public_key:
            yield _key("avb", partition.name, vbmeta.public_key, vbmeta.algorithm, place)
        for item in vbmeta.descriptors:
            if isinstance(item, ChainPartitionDescriptor):
                name = f"{item.partition_name}, chained from {partition.name}"
                yield _key("avb", name, item.public_key, Algorithm.NONE, place)
    for name, apex in sorted(rom.modules.items()):
        if apex.public_key:
            place = Location(name or str(rom.path))
            module = apex.manifest.name or ""
            yield _key("apex", module, apex.public_key, Algorithm.NONE, place)


def signature_of(vbmeta: Vbmeta) -> tuple[Trust, str]:
    """Say what became of a vbmeta image's signature, and why it does not hold."""
    if vbmeta.algorithm is Algorithm.NONE:
        return "unsigned", ""
    try:
        verify_vbmeta(vbmeta)
    except ImageError as error:
        unable = not SIZES[vbmeta.algorithm].hash_name and "cannot be" in error.message
        unable |= "newer cryptography" in error.message
        return ("unverified" if unable else "invalid"), error.message
    return "signed", ""


def module_signature(apex: Apex) -> tuple[Vbmeta, Trust, str]:
    """Return the vbmeta image of a module's payload, and whether the module's own key signed it."""
    try:
        return apex.verify_payload(), "signed", ""
    except ImageError as error:
        fault = error.message
    try:
        vbmeta = read_vbmeta(apex.payload())
    except ImageError:
        vbmeta = Vbmeta(Algorithm.NONE)
    trust, _ = signature_of(vbmeta)
    return vbmeta, ("unverified" if trust == "unverified" else "invalid"), fault


def _fact(
    image: str,
    slot: str,
    role: Literal["partition", "module"],
    vbmeta: Vbmeta,
    trust: Trust,
    fault: str,
    location: Location,
) -> VerifiedBoot:
    return VerifiedBoot(
        image=image,
        slot=slot,
        role=role,
        algorithm=vbmeta.algorithm.name,
        flags=vbmeta.flags,
        rollback_index=vbmeta.rollback_index,
        rollback_index_location=vbmeta.rollback_index_location,
        key_sha1=vbmeta.public_key_sha1,
        known_as=known_as(vbmeta.public_key),
        trust=trust,
        fault=fault,
        covered={
            item.partition_name: "hashtree" if isinstance(item, HashtreeDescriptor) else "hash"
            for item in vbmeta.descriptors
            if isinstance(item, HashtreeDescriptor | HashDescriptor)
        },
        chained={
            item.partition_name: sha1_of(item.public_key)
            for item in vbmeta.descriptors
            if isinstance(item, ChainPartitionDescriptor)
        },
        location=location,
    )


def _key(
    use: str, subject: str, blob: bytes, algorithm: Algorithm, location: Location
) -> SigningCertificate:
    try:
        key = parse_rsa_key(blob)
        kind, fingerprint = f"RSA-{key.key_size}", spki_sha256(key)
    except ImageError:
        kind, fingerprint = "a key of another kind", hashlib.sha256(blob).hexdigest()
    digest = SIZES[algorithm].hash_name.upper().replace("SHA", "SHA-")
    return SigningCertificate(
        use, subject, kind, fingerprint, sha1_of(blob), known_as(blob), digest, location
    )


def sha1_of(blob: bytes) -> str:
    """Return the SHA-1 of a key blob in hex, as avbtool shows it."""
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest() if blob else ""


def known_as(blob: bytes) -> str | None:
    """Return the name under which a key blob is publicly known, None if it is not."""
    known = publicly_known_avb(sha1_of(blob)) if blob else None
    return known.names[0] if known else None
