"""Hold one payload of a package, and what is said about it, to what update_engine demands."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from rom_builder.background import in_background
from rom_builder.errors import ImageError
from rom_builder.formats.ab_metadata import CARE_MAP_NAME, PAYLOAD_NAME, PAYLOAD_PROPERTIES_NAME
from rom_builder.formats.payload import (
    Payload,
    problems,
    verify_metadata_signature,
    verify_payload_signature,
)
from rom_builder.formats.payload.digests import PayloadDigests, check_operation_data, digests_of
from rom_builder.formats.payload.operation_store import MEMORY, OperationStore
from rom_builder.formats.payload.partition import READ_AHEAD
from rom_builder.formats.payload.properties import MAX_SIZE, parse_payload_properties
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_directory import STORED
from rom_builder.verification.checks import Check, Digest, PublicKey, shown, signed_by, tried
from rom_builder.verification.metadata import check_care_map
from rom_builder.verification.partitions import verify_partitions
from rom_builder.verification.vbmeta import verify_vbmetas

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """What payloads are held to.

    Attributes:
        keys: Of which one must have made each signature.
        avb_keys: Key blobs of which the top vbmeta image must have one; none for any.
        quick: Leave out what needs whole partitions.
        retrofit: The package brings dynamic partitions to a device that was made without: its
            partitions are parts of super.
    """

    keys: Sequence[PublicKey]
    avb_keys: Sequence[bytes]
    quick: bool
    retrofit: bool = False


def verify_payload(archive: ZipArchive, folder: str, asked: Asked) -> Iterator[Check]:
    """Yield the checks of one payload; it is hashed while its partitions are decoded."""
    entry = archive.entries[folder + PAYLOAD_NAME]
    try:
        if entry.method != STORED:
            raise ImageError("is compressed: a device reads it in place", path=entry.name)
        store = _store()
        payload = Payload(archive.raw(entry), store)
    except ImageError as error:
        yield Check(entry.name, False, "", str(error))
        return
    store.whole = () if asked.quick else frozenset(payload.names)
    hashing = in_background(lambda: digests_of(payload))
    operations = in_background(lambda: check_operation_data(payload))
    vbmetas = None if folder else verify_vbmetas(payload, asked.avb_keys)
    described = vbmetas.descriptors if vbmetas else {}
    partitions = list(
        verify_partitions(payload, described, quick=asked.quick, retrofit=asked.retrofit)
    )
    yield _signature(f"{folder}metadata signature", payload, asked.keys, None)
    yield _signature(f"{folder}payload signature", payload, asked.keys, hashing)
    yield tried(f"{folder}payload rules", lambda: _check_rules(payload))
    yield tried(f"{folder}operation data", lambda: f"{operations.result()} operations", "digest")
    yield _verify_properties(archive, folder, payload, hashing)
    yield from vbmetas.checks if vbmetas else ()
    yield from partitions
    if vbmetas and CARE_MAP_NAME in archive.entries:
        yield tried(CARE_MAP_NAME, lambda: check_care_map(archive, payload, described))


def _store() -> OperationStore:
    """Return a store that forgets: operations are read one after the other, and once.

    Whatever number of processors decodes ahead, what they give has room until it is read.
    """
    ahead = 2 * (os.cpu_count() or 1) * READ_AHEAD
    return OperationStore(max(MEMORY, ahead), disk=0)


def _signature(
    name: str, payload: Payload, keys: Sequence[PublicKey], hashing: Future[PayloadDigests] | None
) -> Check:
    """Return the check of the metadata's signature, or of the payload's if that was hashed."""
    try:
        if hashing is None:
            key, digest = verify_metadata_signature(payload, keys), payload.metadata_digest()
        else:
            key = verify_payload_signature(payload, keys, lambda: hashing.result().payload)
            digest = hashing.result().payload
    except ImageError as error:
        return Check(name, False, "", str(error), kind="signature")
    signed = Digest(name.removesuffix(" signature"), "sha256", digest.hex())
    return Check(name, True, shown(key), "", signed_by(key, "sha256"), (signed,), "signature")


def _check_rules(payload: Payload) -> str:
    found = problems(payload)
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ImageError("; ".join(found[:_SHOWN]) + more)
    return f"{len(payload.names)} partitions, minor version {payload.minor_version}"


def _verify_properties(
    archive: ZipArchive, folder: str, payload: Payload, hashing: Future[PayloadDigests]
) -> Check:
    """Compare ``payload_properties.txt``, and the CRC-32 of the payload's entry, with the payload."""
    name, entry = folder + PAYLOAD_PROPERTIES_NAME, archive.entries[folder + PAYLOAD_NAME]
    compared: tuple[Digest, ...] = ()
    try:
        properties = archive.entries.get(name)
        if properties is None:
            raise ImageError("is missing")
        said = parse_payload_properties(archive.read(properties, MAX_SIZE))
        found, of = hashing.result(), f"metadata of {entry.name}"
        compared = (
            Digest(entry.name, "crc32", f"{found.crc32:08x}", f"{entry.crc32:08x}"),
            Digest(entry.name, "sha256", found.file.hex(), said.file_hash.hex()),
            Digest(of, "sha256", found.metadata.hex(), said.metadata_hash.hex()),
        )
        if found.crc32 != entry.crc32:
            raise ImageError(
                f"CRC-32 of {entry.name} is {found.crc32:08x}, {entry.crc32:08x} is declared"
            )
        for key, is_, should in (
            ("FILE_HASH", said.file_hash, found.file),
            ("FILE_SIZE", said.file_size, payload.source.size),
            ("METADATA_HASH", said.metadata_hash, found.metadata),
            ("METADATA_SIZE", said.metadata_size, payload.metadata_size),
        ):
            if is_ != should:
                raise ImageError(f"{key} is not that of the payload")
    except ImageError as error:
        return Check(name, False, "", str(error), digests=compared, kind="digest")
    extra = ", ".join(f"{key}={value}" for key, value in said.extra.items())
    return Check(name, True, "", extra, digests=compared, kind="digest")
