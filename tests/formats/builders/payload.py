"""A writer of payloads with an encoder of its own: no reader is judged by its own mirror."""

from __future__ import annotations

import bz2
import hashlib
import lzma
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import zstandard

BLOCK = 4096
REPLACE, REPLACE_BZ, SOURCE_COPY, ZERO, REPLACE_XZ, REPLACE_ZSTD = 0, 1, 4, 6, 8, 14
ENCODERS: dict[int, Callable[[bytes], bytes]] = {
    REPLACE: bytes,
    REPLACE_BZ: bz2.compress,
    REPLACE_XZ: lambda data: lzma.compress(data, check=lzma.CHECK_NONE),
    REPLACE_ZSTD: zstandard.compress,
}


def varint(value: int) -> bytes:
    out = b""
    while value >= 128:
        out += bytes([value % 128 + 128])
        value //= 128
    return out + bytes([value])


def number(tag: int, value: int | None) -> bytes:
    return b"" if value is None else varint(tag * 8) + varint(value)


def chunk(tag: int, data: bytes | None) -> bytes:
    return b"" if data is None else varint(tag * 8 + 2) + varint(len(data)) + data


@dataclass
class Op:
    """One operation; ``extents`` are (first block, blocks)."""

    kind: int
    data: bytes = b""
    extents: Sequence[tuple[int, int]] = ()
    blob: bytes | None = None
    digest: bytes | None = None

    def encoded(self, offset: int) -> tuple[bytes, bytes]:
        blob = self.blob
        if blob is None and self.kind in ENCODERS:
            blob = ENCODERS[self.kind](self.data)
        out = number(1, self.kind)
        if blob is not None:
            out += number(2, offset) + number(3, len(blob))
        for first, count in self.extents:
            out += chunk(6, number(1, first) + number(2, count))
        if blob is not None:
            out += chunk(8, hashlib.sha256(blob).digest() if self.digest is None else self.digest)
        return out, blob or b""


@dataclass
class Part:
    """One partition; ``image`` is what its operations are said to give."""

    name: str
    image: bytes
    ops: list[Op]
    extra: bytes = b""


def full_ops(image: bytes, kinds: Sequence[int], blocks: int = 4) -> list[Op]:
    """Cut an image into operations of a few blocks, using the kinds in turn."""
    ops = []
    for index, start in enumerate(range(0, len(image), blocks * BLOCK)):
        data = image[start : start + blocks * BLOCK]
        kind = kinds[index % len(kinds)]
        ops.append(Op(kind, data, [(start // BLOCK, len(data) // BLOCK)]))
    return ops


@dataclass
class Spec:
    """A payload to write; ``sign`` takes a SHA-256 digest, ``padded`` is a signature's size."""

    parts: list[Part]
    sign: Callable[[bytes], bytes] | None = None
    padded: int = 256
    minor: int | None = 0
    max_timestamp: int | None = 1_700_000_000
    block_size: int | None = BLOCK
    extra: bytes = b""
    trailer: bytes = b""
    manifest: bytes = field(default=b"", init=False)

    def build(self) -> bytes:
        blobs, partitions = b"", b""
        for part in self.parts:
            digest = hashlib.sha256(part.image).digest()
            info = number(1, len(part.image)) + chunk(2, digest)
            body = chunk(1, part.name.encode()) + chunk(7, info)
            for op in part.ops:
                encoded, blob = op.encoded(len(blobs))
                body += chunk(8, encoded)
                blobs += blob
            partitions += chunk(13, body + part.extra)
        signatures = self._signatures(bytes(32))
        manifest = number(3, self.block_size)
        if self.sign:
            manifest += number(4, len(blobs)) + number(5, len(signatures))
        manifest += number(12, self.minor) + partitions + number(14, self.max_timestamp)
        self.manifest = manifest + self.extra
        metadata = struct.pack(">4sQQI", b"CrAU", 2, len(self.manifest), len(signatures))
        metadata += self.manifest
        first = self._signatures(hashlib.sha256(metadata).digest())
        last = self._signatures(hashlib.sha256(metadata + blobs).digest())
        return metadata + first + blobs + last + self.trailer

    def _signatures(self, digest: bytes) -> bytes:
        if not self.sign:
            return b""
        data = self.sign(digest)
        size = b"\x1d" + struct.pack("<I", len(data))
        return chunk(1, chunk(2, data.ljust(self.padded, b"\0")) + size)
