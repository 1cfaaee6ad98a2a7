"""Edit the files of partition images, and make verified boot agree with them again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import rsa

from rom_builder.edits import Edit, RamdiskEdit
from rom_builder.errors import BuildRefused, ImageError, SigningError
from rom_builder.formats import erofs, ext4
from rom_builder.formats.avb_descriptors import (
    ChainPartitionDescriptor,
    HashDescriptor,
    HashtreeDescriptor,
)
from rom_builder.formats.avb_key import SIZES, Algorithm, encode_public_key
from rom_builder.formats.avb_seal import ImageDescriptor, seal
from rom_builder.formats.avb_signing import AvbKey
from rom_builder.formats.avb_verify import verify_image
from rom_builder.formats.image_edit import FileChange, ImagePlan
from rom_builder.formats.source import Pieces, Slice, Source, spooled
from rom_builder.formats.vbmeta import TOP, Vbmeta, read_footer, read_vbmeta
from rom_builder.packing.ramdisks import edited_boot_image, edits_by_image
from rom_builder.rom import Mount, Rom
from rom_builder.rom.containers import Partition
from rom_builder.signers.signer import AvbSigners, CheckedSigner

Editor = Callable[..., ImagePlan]
"""``plan_edits`` of a file system."""
EDITORS: dict[str, Editor] = {
    "EROFS": erofs.plan_edits,
    "ext4": ext4.plan_edits,
}
"""File systems whose images can be edited in place."""
RSA_ALGORITHMS = {
    2048: Algorithm.SHA256_RSA2048,
    4096: Algorithm.SHA256_RSA4096,
    8192: Algorithm.SHA256_RSA8192,
}
_PIECE = 4 << 20


@dataclass(frozen=True, slots=True)
class EditedPartitions:
    """Partition images that differ from the base's.

    Attributes:
        images: New images by name, whole.
        decoded: The base's images of the partitions that were read to their end, by name.
        descriptors: New verified-boot descriptors of partitions whose content changed.
        changed: Bytes of the file systems that the edits write, by name.
    """

    images: dict[str, Source]
    decoded: dict[str, Source]
    descriptors: dict[str, ImageDescriptor]
    changed: dict[str, tuple[range, ...]] = field(default_factory=dict)


def edit_partitions(
    rom: Rom,
    edits: Iterable[Edit],
    base: Mapping[str, Partition],
    avb: AvbSigners | None,
    *,
    growing: Iterable[str] = (),
    ramdisk_edits: Iterable[RamdiskEdit] = (),
    wipe: bool = False,
    resign: bool = False,
) -> EditedPartitions:
    """Return the partition images after edits, sealed.

    Args:
        rom: The base.
        edits: What changes.
        base: The base's partitions by name.
        avb: The keys of the role ``avb``; needed if the base has verified boot.
        growing: Partitions that may become larger.
        ramdisk_edits: What changes in ramdisks.
        wipe: Zero what is replaced or removed.
        resign: Sign the top-level vbmeta image and every one chained to it, changed or not.

    Raises:
        BuildRefused: A file lies in no partition image, its file system cannot be edited, or what
            is to be wiped is still used by another file.
        ImageError: The base is damaged, or an edit cannot be made safely.
        SigningError: A vbmeta image has to be signed and there is no key.
    """
    by_name = changes_by_partition(rom, edits, base)
    in_ramdisks = edits_by_image(ramdisk_edits)
    boots = [name for name, partition in base.items() if partition.path in in_ramdisks]
    decoded = {name: copied(base[name].source) for name in (*by_name, *boots)}
    contents: dict[str, Source] = {}
    changed: dict[str, tuple[range, ...]] = {}
    for name, changes in by_name.items():
        editor = EDITORS.get(base[name].kind)
        if editor is None:
            raise BuildRefused(
                f"{base[name].path}: {base[name].kind} images cannot be edited",
                hint=f"these can: {', '.join(sorted(EDITORS))}",
            )
        image = decoded[name]
        try:
            footer = read_footer(image)
            content = Slice(image, 0, footer.original_image_size) if footer else image
            planned = editor(content, changes, wipe=wipe)
            refuse_remains(base[name].path, planned)
            changed[name] = planned.changed
            contents[name] = planned.apply(content)
        except ImageError as error:
            raise error.within(base[name].path) from error
    for name in boots:
        path = base[name].path
        try:
            contents[name] = edited_boot_image(decoded[name], in_ramdisks[path])
            if TOP not in base:
                contents[name] = filled(contents[name], decoded[name].size)
        except ImageError as error:
            raise error.within(path) from error
    if not contents and not (resign and TOP in base):
        return EditedPartitions({}, {}, {})
    if TOP not in base:
        for name in contents:
            if read_footer(decoded[name]) is not None:
                raise BuildRefused(
                    f"{base[name].path} is sealed, and the base has no vbmeta image that leads to it",
                    hint="give a base with vbmeta, and every vbmeta_ partition that it chains to",
                )
        return EditedPartitions(contents, decoded, {}, changed)
    sources = {name: decoded.get(name, partition.source) for name, partition in base.items()}
    names = to_be_signed(sources, contents)
    if resign:
        names |= {TOP, *chained(sources)}
    verify_described(base, decoded)
    keys = {
        name: avb_key(
            avb.for_partition(name) if avb else None, read_vbmeta(sources[name]).algorithm, name
        )
        for name in names
    }
    sealed = seal(sources, contents, keys, growing=tuple(growing))
    return EditedPartitions(sealed.images, decoded, sealed.descriptors, changed)


def verify_described(base: Mapping[str, Partition], images: Mapping[str, Source]) -> None:
    """Hold images of a base to what its vbmeta images say of them.

    Args:
        base: The base's partitions by name.
        images: Those to be verified.

    Raises:
        ImageError: An image is not the one that a descriptor speaks of.
    """
    verified: list[ImageDescriptor] = []
    for name, holder in base.items():
        for item in holder.vbmeta.descriptors if holder.vbmeta else ():
            if not isinstance(item, HashDescriptor | HashtreeDescriptor):
                continue
            if item.partition_name in images and item not in verified:
                verified.append(item)
                try:
                    verify_image(images[item.partition_name], item)
                except ImageError as error:
                    raise ImageError(
                        f"is not the image that {name} describes: {error.message}",
                        path=base[item.partition_name].path,
                        hint="give a base of one build, nothing in it changed after it was sealed",
                    ) from error


def refuse_unread(rom: Rom) -> None:
    """Refuse a base of which a part cannot be read: its package could never be judged compliant.

    Raises:
        BuildRefused: There is such a part.
    """
    for part in rom.unread:
        hint = "give the full package of the same build" if "incremental" in part.reason else None
        raise BuildRefused(f"{part.path}: {part.reason}: the base cannot be edited", hint=hint)


def refuse_remains(image: str, planned: ImagePlan) -> None:
    """Refuse an edit after which something that was to be wiped stays in an image.

    Raises:
        BuildRefused: It would.
    """
    if planned.remains:
        left = planned.remains[0]
        raise BuildRefused(
            f"{image}: {left.size} bytes of {left.path} cannot be wiped: {left.reason}",
            hint="make the image anew without the file, or build without --wipe",
        )


def filled(content: Source, size: int) -> Source:
    """Fill a boot image with zeros to the size of its partition.

    Raises:
        ImageError: It does not fit.
    """
    if content.size > size:
        raise ImageError(f"takes {content.size} bytes after the edit and has {size}")
    return Pieces([(content, content.size), (None, size - content.size)])


def changes_by_partition(
    rom: Rom, edits: Iterable[Edit], base: Collection[str]
) -> dict[str, list[FileChange]]:
    """Sort edits by the partition that holds the file, in the words of its file system.

    Raises:
        BuildRefused: A file lies in no partition of ``base``.
    """
    found: dict[str, list[FileChange]] = {}
    for edit in edits:
        mount, name = rom.home_of(edit.path)
        partition = partition_of(mount, edit.path)
        if partition.name not in base:
            raise BuildRefused(
                f"{edit.path} lies in {partition.path}, which is no partition of the package: it "
                "cannot be edited",
                hint="bring the whole module with --replace" if edit.path in rom.files else None,
            )
        known = edit.path in rom.files
        new = edit.new
        found.setdefault(partition.name, []).append(
            FileChange(
                name,
                None if new is None else new.data,
                mode=None if new is None or known else new.mode,
                uid=None if new is None or known else new.uid,
                gid=None if new is None or known else new.gid,
                label=None if new is None else new.label,
            )
        )
    return found


def partition_of(mount: Mount, path: str) -> Partition:
    """Return the partition image that a mount comes from.

    Raises:
        BuildRefused: It comes from none.
    """
    if mount.partition is None:
        raise BuildRefused(f"{path} does not lie in a partition image")
    return mount.partition


def to_be_signed(base: Mapping[str, Source], changed: Mapping[str, Source]) -> set[str]:
    """Return the partitions whose vbmeta image follows from changed ones: it must be signed anew."""
    names = {TOP}
    for name in chained(base):
        if name in changed or describes(read_vbmeta(base[name]), changed):
            names.add(name)
    for name in changed:
        footer = read_footer(base[name])
        if footer and read_vbmeta(base[name]).algorithm is not Algorithm.NONE:
            names.add(name)
    return names


def chained(base: Mapping[str, Source]) -> list[str]:
    """Return the partitions of a base that its top-level vbmeta image is chained to."""
    return [
        item.partition_name
        for item in read_vbmeta(base[TOP]).descriptors
        if isinstance(item, ChainPartitionDescriptor) and item.partition_name in base
    ]


def describes(vbmeta: Vbmeta, names: Mapping[str, Source]) -> bool:
    """Say whether a vbmeta image holds the descriptor of one of the partitions."""
    return any(
        isinstance(item, HashDescriptor | HashtreeDescriptor) and item.partition_name in names
        for item in vbmeta.descriptors
    )


def avb_key(signer: CheckedSigner | None, before: Algorithm, partition: str) -> AvbKey:
    """Return a signer as verified boot uses it, with the digest that was used before if it fits.

    Args:
        signer: The key for the partition, None if there is none.
        before: What its vbmeta image was signed with.
        partition: Its name, for the message.

    Raises:
        SigningError: There is none, or its key is of a kind that AVB does not know.
    """
    if signer is None:
        raise SigningError(
            f"verified boot has to be sealed again and there is no key for {partition}",
            hint=f"add roles.avb, or roles.avb.{partition}, to the signing profile",
        )
    key = signer.public_key
    algorithm = RSA_ALGORITHMS.get(key.key_size) if isinstance(key, rsa.RSAPublicKey) else None
    if algorithm is None or not isinstance(key, rsa.RSAPublicKey):
        raise SigningError(f"{signer.uri}: verified boot takes RSA keys of 2048, 4096 or 8192 bits")
    blob = encode_public_key(key)
    if SIZES[before].public_key_size == len(blob):
        algorithm = before
    return AvbKey(algorithm, blob, None if signer.absent else signer.sign_digest)


def copied(source: Source) -> Source:
    """Copy a source to a temporary file that has no name: decoded once, read many times.

    Raises:
        ImageError: The source is damaged.
        OSError: The disk is full.
    """
    return spooled(
        source.read_at(offset, min(_PIECE, source.size - offset))
        for offset in range(0, source.size, _PIECE)
    )
