"""Operations are decoded as far as they are read, once, and nothing is believed unverified."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from threading import Event, Thread

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.payload import OperationStore, PartitionImage, Payload
from rom_builder.formats.payload.operation_store import BEGUN
from rom_builder.formats.source import BytesSource
from tests.formats.builders.payload import (
    BLOCK,
    ENCODERS,
    REPLACE_BZ,
    REPLACE_XZ,
    Op,
    Part,
    Spec,
    full_ops,
)
from tests.formats.damage import noise

OPERATION = 1 << 18
COUNT = BEGUN + 2
IMAGE = noise(COUNT * OPERATION, 11)
both_codecs = pytest.mark.parametrize("kind", [REPLACE_XZ, REPLACE_BZ])


@cache
def operations(kind: int = REPLACE_XZ, count: int = COUNT) -> list[Op]:
    ops = full_ops(IMAGE[: count * OPERATION], [kind], OPERATION // BLOCK)
    return [replace(op, blob=ENCODERS[kind](op.data)) for op in ops]


def opened(ops: list[Op], store: OperationStore | None = None) -> PartitionImage:
    image = b"".join(op.data for op in ops)
    payload = Spec([Part("system", image, ops)]).build()
    return Payload(BytesSource(payload), store).partition("system")


@both_codecs
def test_the_start_of_an_operation_costs_little_and_the_rest_no_more(kind: int) -> None:
    image = opened(operations(kind, 1))
    assert image.read_at(10, 100) == IMAGE[10:110]
    assert image.decoded <= OPERATION // 4
    assert image.read_at(OPERATION // 2, 5) == IMAGE[OPERATION // 2 : OPERATION // 2 + 5]
    assert OPERATION // 2 < image.decoded <= OPERATION * 3 // 4
    assert image.read_at(0, OPERATION) == IMAGE[:OPERATION]
    assert image.decoded == OPERATION


def test_a_partition_that_is_read_whole_is_decoded_whole() -> None:
    image = opened(operations(), OperationStore(whole={"system"}))
    assert image.read_at(0, 1) == IMAGE[:1]
    assert image.decoded == OPERATION


def test_whoever_jumps_pays_for_nothing_that_is_not_read() -> None:
    image = opened(operations(), OperationStore(whole={"system"}))
    for start in range(0, len(IMAGE), OPERATION):
        assert image.read_at(start, 10) == IMAGE[start : start + 10]
        assert image.decoded == start + OPERATION


def test_an_operation_whose_decoder_is_gone_is_decoded_twice_at_most() -> None:
    image = opened(operations())
    for start in range(0, len(IMAGE), OPERATION):
        image.read_at(start, 1)
    begun = image.decoded
    assert begun == COUNT * OPERATION // 4  # 64 KiB each
    assert image.read_at(1000, 10) == IMAGE[1000:1010]  # its decoder is gone, its start is not
    assert image.decoded == begun
    for size in (100_000, 150_000, OPERATION):
        assert image.read_at(0, size) == IMAGE[:size]
        assert image.decoded == begun + OPERATION


@pytest.mark.parametrize("memory", [0, 1 << 18, 1 << 26])
def test_parts_read_in_any_order_are_right(memory: int) -> None:
    image = opened(operations(), OperationStore(memory=memory, disk=1 << 19))
    for step in (97_000, 51_000, 21_000):
        for offset in (*range(0, len(IMAGE) - 999, step), *range(len(IMAGE) - 999, 0, -step)):
            assert image.read_at(offset, 999) == IMAGE[offset : offset + 999]


@both_codecs
def test_no_byte_of_altered_data_is_decoded(kind: int) -> None:
    ops = operations(kind, 1)
    image = opened([replace(ops[0], digest=bytes(32))])
    with pytest.raises(ImageError, match="the data of operation 0 .* does not match its SHA-256"):
        image.read_at(0, 1)
    assert image.decoded == 0


def test_data_is_compared_with_its_digest_for_every_payload_that_shares_a_decoder() -> None:
    store = OperationStore()
    opened(operations(), store).read_at(0, 1)
    data = bytearray(Spec([Part("system", IMAGE, operations())]).build())
    data[Payload(BytesSource(bytes(data))).blob_offset + 1000] ^= 1
    damaged = Payload(BytesSource(bytes(data)), store).partition("system")
    with pytest.raises(ImageError, match="operation 0 .* does not match"):
        damaged.read_at(0, 1)


@both_codecs
@pytest.mark.parametrize("whole", [(), ("system",)])
def test_an_operation_that_ends_wrong_is_refused_where_it_ends(
    kind: int, whole: tuple[str, ...]
) -> None:
    (op,) = operations(kind, 1)
    for blob, message in (
        (ENCODERS[kind](op.data[:-1]), f"to {OPERATION - 1} bytes"),
        (ENCODERS[kind](IMAGE), "to more than"),
        ((op.blob or b"") + b"more", "4 bytes follow"),
    ):
        part = Part("system", op.data, [replace(op, blob=blob)])
        payload = Payload(BytesSource(Spec([part]).build()), OperationStore(whole=whole))
        image = payload.partition("system")
        for _ in range(2):
            for offset in (0, OPERATION // 2, OPERATION - 20):
                assert image.read_at(offset, 10) == IMAGE[offset : offset + 10]
            with pytest.raises(ImageError, match=f"operation 0 of partition system: .*{message}"):
                image.read_at(OPERATION - 10, 10)


def test_whoever_has_time_waits_for_what_is_decoded_ahead() -> None:
    store, go, done = OperationStore(), Event(), []
    store.give_way()
    store.decode_ahead(go.wait)
    waiting = Thread(target=lambda: (store.give_way(), done.append(True)))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    go.set()
    waiting.join()
    assert done
