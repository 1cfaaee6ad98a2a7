"""What of a package is still to be signed, and the package with that signed.

A build without keys writes zeros where a signature of a vbmeta image or of a payload will be, and no
whole-file signature. What is pending shows in the package itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO, Literal, cast

from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.errors import BuildRefused, ImageError, SigningError
from rom_builder.formats.ab_metadata import PAYLOAD_NAME
from rom_builder.formats.avb_key import SIZES, Algorithm
from rom_builder.formats.avb_seal import with_vbmeta
from rom_builder.formats.avb_signing import sign_vbmeta
from rom_builder.formats.ota_signature import parse_ota_signature, signed_digest, signed_size
from rom_builder.formats.otacert import OTACERT, read_otacert
from rom_builder.formats.payload import Payload
from rom_builder.formats.payload.manifest import Signatures
from rom_builder.formats.payload.writer import PayloadWriter
from rom_builder.formats.source import FileSource, Pieces, Slice, Source
from rom_builder.formats.transfer_list import BLOCK_SIZE, MAX_LIST_SIZE, parse_transfer_list
from rom_builder.formats.transfer_list_writer import compress_brotli
from rom_builder.formats.vbmeta import Vbmeta
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_tree import ZipTree
from rom_builder.formats.zip_writer import ZipWriter
from rom_builder.packing import ab_pack, block_pack
from rom_builder.packing.block_script import block_updates, with_digests
from rom_builder.packing.partitions import EditedPartitions, avb_key, copied
from rom_builder.rom import SCRIPT, Rom
from rom_builder.rom.containers import Partition
from rom_builder.signers.keyring import Keyring
from rom_builder.signers.package import sign_package
from rom_builder.signers.signer import SigningDigest
from rom_builder.signing_requests.request import Round

_PIECE = 4 << 20


@dataclass(frozen=True, slots=True)
class Pending:
    """One signature that a package waits for.

    Attributes:
        round: Of which kind.
        id: ``avb.vbmeta_system``, ``payload.metadata``, ``payload.data`` or ``ota``.
        what: What was hashed, for people.
        algorithm: How.
        digest: The result.
        partition: Whose vbmeta image it is.
    """

    round: Round
    id: str
    what: str
    algorithm: SigningDigest
    digest: bytes
    partition: str = ""


def pending_round(rom: Rom) -> tuple[Pending, ...]:
    """Return what has to be signed next; empty if the package is signed.

    Raises:
        ImageError: The package is damaged where that shows.
    """
    if found := tuple(_pending_vbmetas(rom)):
        return found
    if found := tuple(_pending_payload(rom)):
        return found
    with closing(FileSource(rom.path)) as source:
        if parse_ota_signature(source) is not None:
            return ()
        digest = signed_digest(source)
    return (Pending("ota", "ota", "the whole file", "sha256", digest),)


def later_rounds(rom: Rom, first: Round) -> tuple[Round, ...]:
    """Return the rounds that follow a package's first."""
    rounds: tuple[Round, ...] = ("payload", "ota") if rom.contents.payloads else ("ota",)
    return rounds if first == "avb" else rounds[rounds.index(first) + 1 :]


def pending_partitions(rom: Rom) -> dict[str, Partition]:
    """Return the partitions whose vbmeta image waits for a signature, by name."""
    is_ab = PAYLOAD_NAME in rom.contents.payloads
    held = (ab_pack if is_ab else block_pack).partitions_of(rom)
    return {name: part for name, part in held.items() if _waits(part.vbmeta)}


def _waits(vbmeta: Vbmeta | None) -> bool:
    return (
        vbmeta is not None
        and vbmeta.algorithm is not Algorithm.NONE
        and bool(SIZES[vbmeta.algorithm].hash_name)
        and not any(vbmeta.signature)
    )


def _pending_vbmetas(rom: Rom) -> Iterator[Pending]:
    for name, partition in sorted(pending_partitions(rom).items()):
        vbmeta = cast("Vbmeta", partition.vbmeta)
        hash_name = cast('Literal["sha256", "sha512"]', SIZES[vbmeta.algorithm].hash_name)
        digest = hashlib.new(hash_name, vbmeta.signed_data()).digest()
        if digest != vbmeta.hash:
            raise ImageError(
                "the vbmeta image that is to be signed does not match its hash", path=partition.path
            )
        what = f"vbmeta image of {name}, rollback index {vbmeta.rollback_index}"
        yield Pending("avb", f"avb.{name}", what, hash_name, digest, name)


def _pending_payload(rom: Rom) -> Iterator[Pending]:
    payload = rom.contents.payloads.get(PAYLOAD_NAME)
    if payload is None:
        return
    metadata, data = payload.metadata_signatures(), payload.payload_signatures()
    if _blank(metadata) != _blank(data):
        raise ImageError("one of the payload's two signatures is missing", path=PAYLOAD_NAME)
    if _blank(metadata):
        digest = payload.metadata_digest()
        what = f"header and manifest of {PAYLOAD_NAME}: {len(payload.names)} partitions"
        yield Pending("payload", "payload.metadata", what, "sha256", digest)
        what = f"all of {PAYLOAD_NAME}, {payload.source.size} bytes"
        yield Pending("payload", "payload.data", what, "sha256", payload.payload_digest())


def _blank(signatures: Signatures) -> bool:
    return not any(any(item.data or b"") for item in signatures.signatures)


def complete(rom: Rom, keys: Keyring, file: BinaryIO) -> None:
    """Write a package with its pending signatures, those of absent keys left as they are.

    All other bytes stay: the result has the bytes that a build with these keys gives (ECDSA signatures
    aside).

    Args:
        rom: The package.
        keys: What signs.
        file: Open for writing, seekable, empty.

    Raises:
        SigningError: A key is missing, not the one that the package was made for, or fails.
        ImageError: The package is damaged.
        BuildRefused: It is of no kind that a build writes.
    """
    tree = rom.mounts[0].tree
    if not isinstance(tree, ZipTree):
        raise BuildRefused(f"{rom.path}: no package", hint="give what rom-builder build wrote")
    refuse_other_certificate(tree.archive, keys)
    images, decoded = signed_images(rom, keys)
    payload = rom.contents.payloads.get(PAYLOAD_NAME)
    with closing(FileSource(rom.path)) as source:
        if payload is not None and (images or tuple(_pending_payload(rom))):
            _write_payload(tree.archive, payload, images, decoded, keys, file)
        elif images:
            _write_blocks(rom, tree.archive, images, decoded, file)
        else:
            size = signed_size(source) + 2
            for offset in range(0, size, _PIECE):
                file.write(source.read_at(offset, min(_PIECE, size - offset)))
            if parse_ota_signature(source) is not None:
                raise SigningError(f"{rom.path}: is signed already")
    file.flush()
    if keys.ota.absent:
        return
    with closing(FileSource(file.fileno())) as written:
        tail = sign_package(written, keys.ota)
        file.seek(signed_size(written))
    file.write(tail)
    file.truncate()
    file.flush()


def refuse_other_certificate(archive: ZipArchive, keys: Keyring) -> None:
    """Refuse to sign a package that carries the certificate of another key.

    Raises:
        SigningError: It does.
    """
    if read_otacert(archive) != [keys.ota.certificate]:
        raise SigningError(
            f"{OTACERT} of the package is not the certificate of the role ota",
            hint="the package was made for another key; see the request",
        )


def signed_images(rom: Rom, keys: Keyring) -> tuple[dict[str, Source], dict[str, Source]]:
    """Return the images whose vbmeta image is signed now, and as they were.

    Raises:
        SigningError: A key is missing, not the one that the image names, or fails.
    """
    images: dict[str, Source] = {}
    decoded: dict[str, Source] = {}
    for name, partition in pending_partitions(rom).items():
        signer = keys.avb.for_partition(name) if keys.avb else None
        if signer is not None and signer.absent:
            continue
        vbmeta = cast("Vbmeta", partition.vbmeta)
        key = avb_key(signer, vbmeta.algorithm, name)
        if key.public_key != vbmeta.public_key:
            raise SigningError(
                f"the vbmeta image of {name} was made for another key than that of the role avb",
                hint="the package was made for another key; see the request",
            )
        decoded[name] = copied(partition.source)
        images[name] = with_vbmeta(name, decoded[name], sign_vbmeta(vbmeta, key))
    return images, decoded


def _write_payload(
    archive: ZipArchive,
    payload: Payload,
    images: Mapping[str, Source],
    decoded: Mapping[str, Source],
    keys: Keyring,
    file: BinaryIO,
) -> None:
    writer = PayloadWriter(payload, images, [keys.payload_key], decoded=decoded, completing=True)
    if writer.metadata_signature_size != len(payload.metadata_signature):
        raise SigningError("the payload was made for a key of another kind than that of its role")
    with writer as written:
        edited = EditedPartitions(dict(images), dict(decoded), {})
        otacert = keys.ota.certificate.public_bytes(Encoding.PEM)
        ab_pack.write_entries(archive, written, edited, otacert, file)


def _write_blocks(
    rom: Rom,
    archive: ZipArchive,
    images: Mapping[str, Source],
    decoded: Mapping[str, Source],
    file: BinaryIO,
) -> None:
    """Write a block-based package: lists stay, for a signature lies in a block that is written anyway."""
    new: dict[str, block_pack.Data] = {}
    changed: dict[str, tuple[Source, Source]] = {}
    held = block_pack.partitions_of(rom)
    updates = list(block_updates(rom.script)) if rom.script else []
    for name, image in images.items():
        path = held[name].path
        if not path.endswith(block_pack.LIST):
            new[path] = image
            continue
        listed = parse_transfer_list(rom.read(rom.by_name[path], MAX_LIST_SIZE))
        pieces = [
            Slice(image, start * BLOCK_SIZE, (end - start) * BLOCK_SIZE)
            for command in listed.commands
            if command.name == "new"
            for start, end in command.ranges
        ]
        data = Pieces([(piece, piece.size) for piece in pieces])
        entry = block_pack.data_name(rom, path)
        new[entry] = compress_brotli(data) if entry.endswith(".br") else data
        device = block_pack.update_of(rom, updates, path).device
        changed[device] = (decoded[name], image)
    if rom.script is not None:
        others = {update.device for update in updates} - changed.keys()
        script = with_digests(rom.script, changed, others)
        if script != rom.script.data:
            new[SCRIPT] = script
    writer = ZipWriter(file)
    for name, entry_ in archive.entries.items():
        if name in new:
            writer.add(name, new[name], compress=not block_pack.is_stored(rom, name))
        else:
            writer.copy(archive, entry_)
    writer.close()
