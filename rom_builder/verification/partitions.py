"""Hold the content of partitions to the payload's manifest and to verified boot: one reading for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from rom_builder.errors import ImageError
from rom_builder.formats.avb_descriptors import HashDescriptor, HashtreeDescriptor
from rom_builder.formats.avb_verify import ImageStream, stream_of
from rom_builder.formats.hashtree import BLOCK_SIZE
from rom_builder.formats.payload import Payload
from rom_builder.formats.vbmeta import FOOTER_SIZE, Footer, read_footer
from rom_builder.verification.checks import Check, Digest
from rom_builder.verification.vbmeta import incremental

Descriptor = HashDescriptor | HashtreeDescriptor


def verify_partitions(
    payload: Payload,
    descriptors: Mapping[str, Sequence[Descriptor]],
    *,
    quick: bool,
    retrofit: bool = False,
) -> Iterator[Check]:
    """Yield a check of each partition's digest and of each descriptor, decoding it once.

    Args:
        payload: The payload.
        descriptors: What vbmeta images say of partitions.
        quick: Decode none.
        retrofit: Partitions that a hash tree is for are parts of super, so that none can be compared.
    """
    for name in sorted(set(descriptors) - set(payload.names)):
        missing = "a vbmeta image describes it; it is not here"
        yield Check(f"partition {name}", None, "", missing, kind="digest")
    if quick:
        return
    for name in dict.fromkeys(payload.names):
        own = descriptors.get(name, ())
        if retrofit and any(isinstance(each, HashtreeDescriptor) for each in own):
            part = "a part of super, which was not put together: its hash tree was not compared"
            found = _verify(payload, name, ())
            yield replace(found, ok=None, detail=part) if found.ok else found
        else:
            yield _verify(payload, name, own)


def _verify(payload: Payload, name: str, descriptors: Sequence[Descriptor]) -> Check:
    what = f"partition {name}"
    streams: list[ImageStream] = []
    digests: list[Digest] = []
    try:
        if incremental(payload, name):
            needs = "incremental: needs the image of the build before"
            return Check(what, None, "", needs, kind="digest")
        expected, size = payload.expected_digest(name), payload.partition(name).size
        streams += [stream_of(descriptor, size) for descriptor in descriptors]
        footer = read_footer(payload.partition(name)) if descriptors else None
        rest = _Rest(descriptors, footer, size)
        digest = payload.partition_digest(name, rest.update, *(each.update for each in streams))
        digests.append(Digest(what, "sha256", digest.hex(), expected.hex()))
        payload.compare_digest(name, digest)
        for stream in streams:
            try:
                stream.finish()
            finally:
                digests.append(_compared(stream))
        rest.finish()
    except ImageError as error:
        return Check(what, False, "", str(error), digests=tuple(digests), kind="digest")
    detail = "; ".join(["SHA-256", *map(_described, descriptors)])
    return Check(what, True, "", detail, digests=tuple(digests), kind="digest")


class _Rest:
    """The bytes of a partition that nothing vouches for: they have to be zeros.

    Args:
        descriptors: What vbmeta images say of the partition; without any, nothing is demanded.
        footer: The partition's own.
        size: Bytes of the partition.

    Raises:
        ImageError: A descriptor leaves a gap, or speaks of another size than the footer.
    """

    def __init__(self, descriptors: Sequence[Descriptor], footer: Footer | None, size: int) -> None:
        self._position, self._found = 0, -1
        ends = [_check_places(descriptor, footer) for descriptor in descriptors]
        begin = max(ends, default=size)
        end = size
        self._parts = [(begin, end)]
        if footer is not None:
            end -= FOOTER_SIZE
            own = footer.vbmeta_offset
            self._parts = [(begin, own), (max(begin, own + footer.vbmeta_size), end)]

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        after = self._position + len(data)
        for start, end in self._parts if self._found < 0 else ():
            first = max(start, self._position)
            if first < min(end, after):
                part = data[first - self._position : end - self._position]
                if part != bytes(len(part)):
                    self._found = first + len(part) - len(part.lstrip(b"\0"))
                    break
        self._position = after

    def finish(self) -> None:
        """Refuse what is no zero.

        Raises:
            ImageError: There is such a byte.
        """
        if self._found >= 0:
            raise ImageError("verified boot covers no byte from here on", offset=self._found)


def _check_places(descriptor: Descriptor, footer: Footer | None) -> int:
    """Return where what a descriptor speaks of ends."""
    name, end = descriptor.partition_name, descriptor.image_size
    if isinstance(descriptor, HashtreeDescriptor):
        places = [(descriptor.tree_offset, descriptor.tree_size)]
        if descriptor.fec_size:
            places.append((descriptor.fec_offset, descriptor.fec_size))
        for offset, size in places:
            if offset - end >= BLOCK_SIZE:
                raise ImageError(f"{name}: nothing covers {offset - end} bytes", offset=end)
            end = offset + size
    if footer is not None and not (
        0 <= descriptor.image_size - footer.original_image_size < BLOCK_SIZE
    ):
        raise ImageError(
            f"{name}: a descriptor speaks of {descriptor.image_size} bytes, the footer of an image "
            f"of {footer.original_image_size}"
        )
    return end


def _compared(stream: ImageStream) -> Digest:
    item, computed = stream.descriptor, stream.computed.hex()
    if isinstance(item, HashDescriptor):
        of, expected = f"content of {item.partition_name}", item.digest
    else:
        of, expected = f"hash tree of {item.partition_name}", item.root_digest
    return Digest(of, item.hash_algorithm, computed, expected.hex())


def _described(descriptor: Descriptor) -> str:
    if isinstance(descriptor, HashDescriptor):
        return f"hash descriptor, {descriptor.hash_algorithm}"
    fec = ", error correction" if descriptor.fec_size else ""
    return f"hash tree, {descriptor.hash_algorithm}{fec}"
