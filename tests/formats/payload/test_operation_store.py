"""Operations are decoded once, whatever fits into memory."""

from __future__ import annotations

import lzma
import tempfile
from pathlib import Path
from threading import Thread

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.payload import OperationStore, Payload
from rom_builder.formats.payload.operation_store import OperationKey
from rom_builder.formats.source import BytesSource
from tests.formats.builders.payload import BLOCK, REPLACE_BZ, REPLACE_XZ, Part, Spec, full_ops
from tests.formats.damage import noise

IMAGE = noise(40 * BLOCK, 9)
OPERATIONS = 10  # of 4 blocks


def payload(store: OperationStore, image: bytes = IMAGE, name: str = "system") -> Payload:
    spec = Spec([Part(name, image, full_ops(image, [REPLACE_XZ, REPLACE_BZ]))])
    return Payload(BytesSource(spec.build()), store)


def key(number: int, size: int = 100) -> OperationKey:
    return OperationKey(8, bytes([number]) * 32, size)


def test_what_leaves_memory_is_read_from_the_file() -> None:
    store = OperationStore(memory=250)
    contents = [noise(100, number) for number in range(6)]
    for number, content in enumerate(contents):
        store.put(key(number), content)
    for number, content in enumerate(contents):
        assert store.held(key(number)) == 100
        assert store.read(key(number), 0, 100) == content
        assert store.read(key(number), 90, 10) == content[90:]
    assert store.held(key(6)) == 0
    assert store.read(key(6), 0, 1) is None


def test_what_the_file_has_no_room_for_is_forgotten() -> None:
    store = OperationStore(memory=100, disk=150)
    for number in range(4):
        store.put(key(number), noise(100, number))
    assert [store.held(key(number)) for number in range(4)] == [100, 0, 0, 100]


def test_a_folder_that_cannot_be_written_costs_time_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    image = payload(OperationStore(memory=24 * BLOCK)).partition("system")
    for _ in range(2):
        assert image.read_at(0, image.size) == IMAGE
    assert image.decoded > len(IMAGE)


@pytest.mark.parametrize("memory", [0, 5 * BLOCK, 1 << 26])
def test_no_operation_is_decoded_twice(memory: int) -> None:
    store = OperationStore(memory=memory)
    image = payload(store).partition("system")
    for start in range(0, len(IMAGE) - 1000, 3000):
        for offset in (start, len(IMAGE) - 1000 - start):
            assert image.read_at(offset, 1000) == IMAGE[offset : offset + 1000]
    assert image.decoded == len(IMAGE)


def test_payloads_share_what_their_operations_share() -> None:
    store = OperationStore()
    payload(store).verify_partition("system")
    changed = IMAGE[: 8 * BLOCK] + noise(4 * BLOCK, 3) + IMAGE[12 * BLOCK :]
    other = payload(store, changed, name="product").partition("product")
    assert other.read_at(0, other.size) == changed
    assert other.decoded == 4 * BLOCK


def test_shared_operations_are_still_compared_with_their_digest() -> None:
    store = OperationStore()
    good = payload(store)
    good.verify_partition("system")
    data = bytearray(good.source.read_at(0, good.source.size))
    data[good.blob_offset + 5] ^= 1
    damaged = Payload(BytesSource(bytes(data)), store).partition("system")
    with pytest.raises(ImageError, match="operation 0 of partition system does not match"):
        damaged.read_at(0, 10)


def test_reading_in_order_decodes_ahead_and_names_the_operation_that_fails() -> None:
    spec = Spec([Part("system", IMAGE, full_ops(IMAGE, [REPLACE_XZ]))])
    spec.parts[0].ops[4].blob = lzma.compress(b"short", check=lzma.CHECK_NONE)
    image = Payload(BytesSource(spec.build())).partition("system")
    for index in range(OPERATIONS):
        start = index * 4 * BLOCK
        if index == 4:
            with pytest.raises(ImageError, match="operation 4 of partition system"):
                image.read_at(start, 10)
        else:
            assert image.read_at(start, 10) == IMAGE[start : start + 10]


def test_threads_may_read_the_same_image() -> None:
    image = payload(OperationStore(memory=9 * BLOCK)).partition("system")
    found: dict[int, bytes] = {}

    def read(number: int) -> None:
        step = 7000 + number
        pieces = [
            image.read_at(at, min(step, image.size - at)) for at in range(0, image.size, step)
        ]
        found[number] = b"".join(pieces)

    threads = [Thread(target=read, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(6), IMAGE)
