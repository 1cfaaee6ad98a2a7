"""Hold the content of partitions to the payload's manifest and to verified boot: one reading for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rom_builder.errors import ImageError
from rom_builder.formats.avb_descriptors import HashDescriptor, HashtreeDescriptor
from rom_builder.formats.avb_verify import ImageStream, stream_of
from rom_builder.formats.payload import Payload
from rom_builder.verification.checks import Check, Digest
from rom_builder.verification.vbmeta import incremental

Descriptor = HashDescriptor | HashtreeDescriptor


def verify_partitions(
    payload: Payload, descriptors: Mapping[str, Sequence[Descriptor]], *, quick: bool
) -> Iterator[Check]:
    """Yield a check of each partition's digest and of each descriptor, decoding it once."""
    for name in sorted(set(descriptors) - set(payload.names)):
        yield Check(f"partition {name}", None, "", "a vbmeta image describes it; it is not here")
    if quick:
        return
    for name in dict.fromkeys(payload.names):
        yield _verify(payload, name, descriptors.get(name, ()))


def _verify(payload: Payload, name: str, descriptors: Sequence[Descriptor]) -> Check:
    what = f"partition {name}"
    streams: list[ImageStream] = []
    digests: list[Digest] = []
    try:
        if incremental(payload, name):
            return Check(what, None, "", "incremental: needs the image of the build before")
        expected, size = payload.expected_digest(name), payload.partition(name).size
        streams += [stream_of(descriptor, size) for descriptor in descriptors]
        digest = payload.partition_digest(name, *(stream.update for stream in streams))
        digests.append(Digest(what, "sha256", expected.hex(), digest.hex()))
        payload.compare_digest(name, digest)
        for stream in streams:
            try:
                stream.finish()
            finally:
                digests.append(_compared(stream))
    except ImageError as error:
        return Check(what, False, "", str(error), digests=tuple(digests))
    detail = "; ".join(["SHA-256", *map(_described, descriptors)])
    return Check(what, True, "", detail, digests=tuple(digests))


def _compared(stream: ImageStream) -> Digest:
    item, computed = stream.descriptor, stream.computed.hex()
    if isinstance(item, HashDescriptor):
        of, expected = f"content of {item.partition_name}", item.digest
    else:
        of, expected = f"hash tree of {item.partition_name}", item.root_digest
    return Digest(of, item.hash_algorithm, expected.hex(), computed)


def _described(descriptor: Descriptor) -> str:
    if isinstance(descriptor, HashDescriptor):
        return f"hash descriptor, {descriptor.hash_algorithm}"
    fec = ", error correction" if descriptor.fec_size else ""
    return f"hash tree, {descriptor.hash_algorithm}{fec}"
