from __future__ import annotations

import hashlib
import zlib

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.payload import Payload
from rom_builder.formats.payload.digests import check_operation_data, digests_of
from rom_builder.formats.source import BytesSource
from tests.formats.builders.payload import BLOCK, REPLACE, REPLACE_XZ, Op, Part, Spec, full_ops
from tests.formats.damage import noise

IMAGE = noise(1000) + bytes(9 * BLOCK - 1000)


def payload(*, sign: bool = True, ops: list[Op] | None = None) -> bytes:
    part = Part("system", IMAGE, ops or full_ops(IMAGE, [REPLACE, REPLACE_XZ], 2))
    return Spec([part], sign=(lambda digest: digest * 8) if sign else None).build()


@pytest.mark.parametrize("sign", [True, False])
def test_one_reading_gives_every_digest(sign: bool) -> None:
    data = payload(sign=sign)
    opened = Payload(BytesSource(data))
    found = digests_of(opened)
    assert found.file == hashlib.sha256(data).digest()
    assert found.crc32 == zlib.crc32(data)
    assert found.metadata == opened.metadata_digest()
    assert found.payload == opened.payload_digest()
    size, start = opened.manifest.signatures_size or 0, opened.blob_offset
    signed = data[: opened.metadata_size] + data[start : len(data) - size]
    assert found.payload == hashlib.sha256(signed).digest()


def test_a_signature_outside_the_file_is_refused() -> None:
    data = payload()
    with pytest.raises(ImageError, match="after the end of the file"):
        digests_of(Payload(BytesSource(data[:-5000])))


def test_every_operation_with_data_counts() -> None:
    assert check_operation_data(Payload(BytesSource(payload()))) == 5


def test_data_of_another_digest_is_refused() -> None:
    ops = full_ops(IMAGE, [REPLACE], 2)
    ops[3].digest = bytes(32)
    with pytest.raises(ImageError, match="operation 3 of partition system does not match"):
        check_operation_data(Payload(BytesSource(payload(ops=ops))))


def test_operations_that_share_their_data_take_no_time_without_end() -> None:
    data = bytearray(payload(sign=False))
    opened = Payload(BytesSource(bytes(data)))
    many = opened.manifest.partitions * 40
    object.__setattr__(opened.manifest, "partitions", many)
    with pytest.raises(ImageError, match="share their data"):
        check_operation_data(opened)
