"""Make Android Verified Boot agree with partition images that were changed.

A sealed partition, every part at a multiple of 4096 bytes::

    offset 0                      image, zeros to the end of its last block
    image size                    hash tree, top level first   } with a hashtree
    after the tree                parity                       } descriptor only
    after the parity              vbmeta image
    ...                           zeros
    partition size - 4096         zeros, the footer in the block's last 64 bytes

A partition's descriptor stands in the vbmeta image behind its own footer, in that of the top-level
vbmeta partition, or of one chained to it, often in two of them. Whatever holds a changed
descriptor, or the key of a chained partition that is now signed with another one, is made anew and
signed, the top-level image last. Salts, algorithms, flags, properties, rollback indexes and
everything not known here stay as they are; what needs no change keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from rom_builder.errors import ImageError, SigningError
from rom_builder.formats.avb_descriptors import (
    ChainPartitionDescriptor,
    Descriptor,
    HashDescriptor,
    HashtreeDescriptor,
    KernelCmdlineDescriptor,
)
from rom_builder.formats.avb_key import Algorithm
from rom_builder.formats.avb_signing import AvbKey, sign_vbmeta, written
from rom_builder.formats.avb_verify import check_hashtree_kind, image_digest
from rom_builder.formats.fec import build_fec
from rom_builder.formats.hashtree import BLOCK_SIZE, build_hashtree
from rom_builder.formats.source import BytesSource, Pieces, Slice, Source
from rom_builder.formats.vbmeta import (
    FOOTER_SIZE,
    TOP,
    Footer,
    Vbmeta,
    read_footer,
    read_vbmeta,
    verify_vbmeta,
)

ImageDescriptor: TypeAlias = HashDescriptor | HashtreeDescriptor

_Piece: TypeAlias = tuple[Source | None, int]


@dataclass(frozen=True, slots=True)
class Sealed:
    """What sealing gave.

    Attributes:
        images: New image of every partition whose bytes changed, whole.
        vbmetas: The vbmeta image of the top-level partition and of every chained one that the base
            has, as they are now, the top-level one first.
        descriptors: New descriptor of every partition whose content changed.
    """

    images: dict[str, Source]
    vbmetas: dict[str, Vbmeta]
    descriptors: dict[str, ImageDescriptor]


def seal(
    base: Mapping[str, Source],
    changed: Mapping[str, Source],
    keys: Mapping[str, AvbKey],
    *,
    top: str = TOP,
    growing: Collection[str] = (),
    rollback_indexes: Mapping[str, int] | None = None,
    allow_flags: bool = False,
) -> Sealed:
    """Seal changed partitions and remake every vbmeta image that follows from them.

    Args:
        base: Partition images of the base by name without slot suffix: every changed one, the
            top-level vbmeta and, of those chained to it, the ones that hold a changed descriptor
            or have a key in ``keys``.
        changed: New content of partitions: file system or boot image, without tree and footer.
            It is read in strides, so a file or bytes in memory.
        keys: What to sign the vbmeta image of a partition with. One whose key is not the base's is
            signed with it although nothing else changed.
        top: The partition whose vbmeta image the bootloader starts from.
        growing: Partitions that may become larger than in the base (dynamic ones).
        rollback_indexes: New rollback indexes by partition.
        allow_flags: Take a base whose vbmeta flags switch verification off, and keep them.

    Raises:
        ImageError: The base is damaged, contradicts itself, has flags set, or does not verify a
            changed partition; a partition does not fit; a rollback index would be lowered; or a
            kernel command line repeats a digest that changed.
        SigningError: A vbmeta image must be signed and has no key, or signing failed.
    """
    vbmetas = _vbmetas(base, top, needed=changed.keys() | keys.keys())
    for name, vbmeta in vbmetas.items():
        if vbmeta.flags and not allow_flags:
            raise ImageError(f"verification is switched off in {name}: flags {vbmeta.flags}")
    remaker = _Remaker(keys, rollback_indexes or {}, signed=vbmetas.keys())
    images: dict[str, Source] = {}
    for name, content in changed.items():
        image = _image(base, name)
        own = _read(base, name) if read_footer(image) else None
        template = _template(name, ([own] if own else []) + list(vbmetas.values()))
        if name in vbmetas and own is None:
            raise ImageError(f"partition {name} is a vbmeta image, not content to be sealed")
        descriptor, pieces = describe(content, template)
        remaker.descriptors[name] = descriptor
        if isinstance(template, HashtreeDescriptor):
            remaker.stale_digests[name] = template.root_digest
        if own is not None:
            own = remaker.remade(name, own)
            vbmetas.update({name: own} if name in vbmetas else {})
        images[name] = _laid_out(
            name, pieces, own, content.size, image.size, growing=name in growing
        )
    for name in sorted(vbmetas, key=lambda item: item == top):  # chained ones first
        old = vbmetas[name]
        if name in changed:
            continue
        vbmetas[name] = remaker.remade(name, old)
        if vbmetas[name] is not old:
            images[name] = with_vbmeta(name, _image(base, name), vbmetas[name])
    return Sealed(images, vbmetas, remaker.descriptors)


def describe(content: Source, template: ImageDescriptor) -> tuple[ImageDescriptor, list[_Piece]]:
    """Return a descriptor like ``template`` for other content, and the pieces it speaks of.

    The pieces are the content filled to whole blocks and, with a hashtree, tree and parity.

    Raises:
        ImageError: The content is empty, or the template is one that cannot be made anew: its
            digest is kept on the device, or its tree is not in the partition.
    """
    size = _round_up(content.size)
    pieces: list[_Piece] = [(content, content.size), (None, size - content.size)]
    if isinstance(template, HashDescriptor):
        if not template.digest:
            raise ImageError(f"the digest of {template.partition_name} is kept on the device")
        digest = image_digest(content, template.salt, template.hash_algorithm)
        return replace(template, image_size=content.size, digest=digest), pieces
    check_hashtree_kind(template)
    if not template.root_digest:
        raise ImageError(f"the root digest of {template.partition_name} is kept on the device")
    if not template.tree_size and template.image_size > BLOCK_SIZE:
        raise ImageError(f"the hash tree of {template.partition_name} is not in its partition")
    hashed = build_hashtree(Pieces(pieces), template.salt, template.hash_algorithm)
    pieces.append((BytesSource(hashed.tree), len(hashed.tree)))
    covered = Pieces(pieces)
    fec = build_fec(covered, template.fec_roots) if template.fec_size else b""
    pieces.append((BytesSource(fec), len(fec)))
    descriptor = replace(
        template,
        image_size=size,
        tree_offset=size,
        tree_size=len(hashed.tree),
        root_digest=hashed.root_digest,
        fec_offset=covered.size if fec else template.fec_offset,
        fec_size=len(fec),
    )
    return descriptor, pieces


class _Remaker:
    """Brings vbmeta images up to date, noting the keys they are signed with."""

    def __init__(
        self,
        keys: Mapping[str, AvbKey],
        rollback_indexes: Mapping[str, int],
        signed: Collection[str],
    ) -> None:
        self._keys = keys
        self._rollback_indexes = rollback_indexes
        self._must_be_signed = frozenset(signed)
        self._chain_keys: dict[str, bytes] = {}
        self.descriptors: dict[str, ImageDescriptor] = {}
        self.stale_digests: dict[str, bytes] = {}

    def remade(self, name: str, old: Vbmeta) -> Vbmeta:
        """Return the vbmeta image of a partition as it must be now; ``old`` itself if it stays."""
        index = self._rollback_indexes.get(name, old.rollback_index)
        if index < old.rollback_index:
            raise ImageError(
                f"rollback index of {name} would fall from {old.rollback_index} to {index}"
            )
        self._check_cmdlines(name, old)
        new = replace(
            old,
            descriptors=tuple(self._current(name, item) for item in old.descriptors),
            rollback_index=index,
        )
        key = self._keys.get(name)
        if new == old and (key is None or key.public_key == old.public_key):
            return old
        if key is not None:
            new = sign_vbmeta(new, key)
            self._chain_keys[name] = key.public_key
            return new
        if old.algorithm is not Algorithm.NONE or name in self._must_be_signed:
            raise SigningError(
                f"the vbmeta image of {name} changes and there is no key to sign it with"
            )
        return written(replace(new, hash=b"", signature=b""))

    def _current(self, name: str, item: Descriptor) -> Descriptor:
        if isinstance(item, ChainPartitionDescriptor):
            key = self._chain_keys.get(item.partition_name, item.public_key)
            return replace(item, public_key=key)
        if not isinstance(item, HashDescriptor | HashtreeDescriptor):
            return item
        found = self.descriptors.get(item.partition_name)
        if found is None:
            return item
        if _recipe(found) != _recipe(item):
            raise ImageError(f"{name} describes {item.partition_name} unlike another vbmeta image")
        return replace(found, flags=item.flags)

    def _check_cmdlines(self, name: str, old: Vbmeta) -> None:
        for item in old.descriptors:
            if not isinstance(item, KernelCmdlineDescriptor):
                continue
            for partition, digest in self.stale_digests.items():
                if digest.hex() in item.cmdline:
                    raise ImageError(
                        f"a kernel command line in {name} repeats the root digest of {partition}; "
                        "it cannot be made anew"
                    )


def _vbmetas(base: Mapping[str, Source], top: str, needed: Collection[str]) -> dict[str, Vbmeta]:
    """Read the top-level vbmeta image and those chained to it that the base has."""
    found = {top: _read(base, top)}
    for item in found[top].descriptors:
        if not isinstance(item, ChainPartitionDescriptor):
            continue
        name = item.partition_name
        if name not in base:
            if name in needed:
                raise ImageError(f"the base has no image of partition {name}")
            continue
        if name in found:
            raise ImageError(f"partition {name} is chained twice")
        found[name] = _read(base, name)
        if found[name].public_key != item.public_key:
            raise ImageError(f"{name} is not signed with the key that {top} demands")
        if any(isinstance(inner, ChainPartitionDescriptor) for inner in found[name].descriptors):
            raise ImageError(f"{name} chains further; only {top} may")
    return found


def _read(base: Mapping[str, Source], name: str) -> Vbmeta:
    """Read a partition's vbmeta image; a signed one must match its signature to be signed anew."""
    try:
        vbmeta = read_vbmeta(_image(base, name))
        if vbmeta.algorithm is not Algorithm.NONE:
            verify_vbmeta(vbmeta)
    except ImageError as error:
        raise error.within(name) from None
    return vbmeta


def _image(base: Mapping[str, Source], name: str) -> Source:
    if name not in base:
        raise ImageError(f"the base has no image of partition {name}")
    return base[name]


def _template(name: str, vbmetas: Collection[Vbmeta]) -> ImageDescriptor:
    for vbmeta in vbmetas:
        for item in vbmeta.descriptors:
            if isinstance(item, HashDescriptor | HashtreeDescriptor) and (
                item.partition_name == name
            ):
                return item
    raise ImageError(f"no vbmeta image of the base describes partition {name}")


def _recipe(descriptor: ImageDescriptor) -> tuple[object, ...]:
    """What must be the same in every copy of a partition's descriptor."""
    return type(descriptor), descriptor.salt, descriptor.hash_algorithm


def _laid_out(
    name: str,
    pieces: list[_Piece],
    vbmeta: Vbmeta | None,
    original_size: int,
    partition_size: int,
    *,
    growing: bool,
) -> Source:
    """Put vbmeta image and footer behind the pieces; fill with zeros to the partition's size."""
    end = sum(size for _, size in pieces)
    needed = end
    if vbmeta is not None:
        needed += _round_up(len(vbmeta.raw)) + BLOCK_SIZE
    if needed > partition_size:
        if not growing:
            raise ImageError(
                f"partition {name} takes {needed} bytes and has {partition_size}",
                hint="only a dynamic partition can be made larger",
            )
        partition_size = needed
    if vbmeta is None:
        return Pieces([*pieces, (None, partition_size - end)])
    if partition_size % BLOCK_SIZE:
        raise ImageError(f"partition {name} of {partition_size} bytes is no row of whole blocks")
    footer = Footer(original_size, end, len(vbmeta.raw)).encode()
    hole = partition_size - end - len(vbmeta.raw) - FOOTER_SIZE
    return Pieces(
        [
            *pieces,
            (BytesSource(vbmeta.raw), len(vbmeta.raw)),
            (None, hole),
            (BytesSource(footer), FOOTER_SIZE),
        ]
    )


def with_vbmeta(name: str, image: Source, vbmeta: Vbmeta) -> Source:
    """Return a partition image with another vbmeta image, the rest as it is."""
    footer = read_footer(image)
    if footer is None:
        size = max(image.size, _round_up(len(vbmeta.raw)))
        return BytesSource(vbmeta.raw.ljust(size, b"\0"))
    data = Slice(image, 0, footer.vbmeta_offset)
    return _laid_out(
        name, [(data, data.size)], vbmeta, footer.original_image_size, image.size, growing=False
    )


def _round_up(size: int) -> int:
    return -(-size // BLOCK_SIZE) * BLOCK_SIZE
