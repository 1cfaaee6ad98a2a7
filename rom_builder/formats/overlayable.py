"""Which resources an app opens to overlays, as its resource table declares them.

Layout of the two chunks, little-endian (``ResTable_overlayable_*`` in Android's
``androidfw/ResourceTypes.h``; a chunk starts with the head that
:mod:`rom_builder.formats.resource_chunk` describes):

======  ====  ==========================================
offset  size  field
======  ====  ==========================================
0       8     chunk head: type 0x0204, header size 1032
8       512   name, UTF-16, filled up with zeros
520     512   actor, UTF-16, filled up with zeros
1032          policy chunks
======  ====  ==========================================

======  ======  ========================================
offset  size    field
======  ======  ========================================
0       8       chunk head: type 0x0205, header size 16
8       4       policy flags
12      4       number of resources
16      4 each  resource ids
======  ======  ========================================
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack, unpack_from

from rom_builder.errors import ImageError
from rom_builder.formats.resource_chunk import (
    Chunk,
    child_chunks,
    decode_fixed_utf16,
    encode_chunk,
    encode_fixed_utf16,
)

OVERLAYABLE, OVERLAYABLE_POLICY = 0x0204, 0x0205
_HEADER_SIZE, _POLICY_HEADER_SIZE = 1032, 16
_TEXT_SIZE = 512


@dataclass(frozen=True, slots=True)
class OverlayablePolicy:
    """Resources that an overlay may change if it satisfies one of the flags."""

    flags: int
    resource_ids: tuple[int, ...]

    def encode(self) -> bytes:
        count = len(self.resource_ids)
        ids = pack(f"<{count}I", *self.resource_ids)
        return encode_chunk(OVERLAYABLE_POLICY, pack("<II", self.flags, count), ids)


@dataclass(frozen=True, slots=True)
class Overlayable:
    """A named set of resources that an app opens to overlays."""

    name: str
    actor: str
    policies: tuple[OverlayablePolicy, ...]

    def encode(self) -> bytes:
        """Return the chunk.

        Raises:
            ValueError: Name or actor are longer than 255 UTF-16 units.
        """
        header = encode_fixed_utf16(self.name, _TEXT_SIZE)
        header += encode_fixed_utf16(self.actor, _TEXT_SIZE)
        return encode_chunk(OVERLAYABLE, header, b"".join(p.encode() for p in self.policies))


def parse_overlayable(data: bytes, chunk: Chunk) -> Overlayable:
    """Read an overlayable chunk and its policies.

    Raises:
        ImageError: A chunk is smaller than its header or than what it says it holds.
    """
    if not _HEADER_SIZE <= chunk.header_size <= chunk.size:
        raise ImageError("the overlayable is smaller than its header", offset=chunk.offset)
    name, actor = unpack_from(f"<{_TEXT_SIZE}s{_TEXT_SIZE}s", data, chunk.offset + 8)
    policies = []
    for child in child_chunks(data, chunk.body, chunk.end):
        if child.type == OVERLAYABLE_POLICY:
            if not _POLICY_HEADER_SIZE <= child.header_size <= child.size:
                raise ImageError("the policy is smaller than its header", offset=child.offset)
            flags, count = unpack_from("<II", data, child.offset + 8)
            if child.header_size + 4 * count > child.size:
                raise ImageError(f"{count} ids do not fit their policy", offset=child.offset)
            ids = unpack_from(f"<{count}I", data, child.body)
            policies.append(OverlayablePolicy(flags, ids))
    return Overlayable(decode_fixed_utf16(name), decode_fixed_utf16(actor), tuple(policies))
