import lzma
import struct
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from rom_builder.errors import ImageError
from rom_builder.formats.payload import (
    Manifest,
    Payload,
    detect_payload,
    problems,
    verify_metadata_signature,
    verify_payload_signature,
)
from rom_builder.formats.payload.operation_store import OperationStore
from rom_builder.formats.source import BytesSource
from tests.formats.builders import payload as build
from tests.formats.builders.payload import BLOCK, Op, Part, Spec, full_ops
from tests.formats.damage import noise, survives

RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1()).public_key()

SYSTEM = noise(3 * BLOCK) + bytes(20 * BLOCK) + b"text" * (3 * BLOCK // 4) + noise(BLOCK, 8)
BOOT = noise(2 * BLOCK, 9)
KINDS = (build.REPLACE_XZ, build.REPLACE, build.REPLACE_BZ)


def rsa_sign(digest: bytes) -> bytes:
    return RSA_KEY.sign(digest, padding.PKCS1v15(), Prehashed(SHA256()))


def ec_sign(digest: bytes) -> bytes:
    return EC_KEY.sign(digest, ec.ECDSA(Prehashed(SHA256())))


def spec() -> Spec:
    parts = [
        Part("system", SYSTEM, full_ops(SYSTEM, KINDS)),
        Part("boot", BOOT, full_ops(BOOT, [build.REPLACE])),
    ]
    return Spec(parts, sign=rsa_sign)


def opened(data: bytes) -> Payload:
    return Payload(BytesSource(data))


def broken(what: Spec, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        opened(what.build()).verify_partition("system")


def system(*ops: Op, image: bytes = SYSTEM) -> Spec:
    return Spec([Part("system", image, list(ops))], sign=rsa_sign)


def test_a_full_payload_reads_back() -> None:
    data = spec().build()
    assert detect_payload(data[:4])
    payload = opened(data)
    assert payload.names == ("system", "boot")
    assert payload.block_size == BLOCK
    assert payload.minor_version == 0
    assert payload.manifest.max_timestamp == 1_700_000_000
    image = payload.partition("system")
    assert image.read_at(0, image.size) == SYSTEM
    payload.verify_partition("system")
    payload.verify_partition("boot")
    assert problems(payload) == []


@pytest.mark.parametrize("offset", [0, 3 * BLOCK - 5, 4 * BLOCK - 1, 26 * BLOCK - 9])
def test_any_range_of_a_partition_can_be_read(offset: int) -> None:
    image = opened(spec().build()).partition("system")
    assert image.read_at(offset, BLOCK + 9) == SYSTEM[offset : offset + BLOCK + 9]


def test_only_the_operations_that_are_read_are_decoded() -> None:
    image = opened(spec().build()).partition("system")
    image.read_at(5 * BLOCK, 10)
    image.read_at(6 * BLOCK, 10)
    assert image.decoded == 4 * BLOCK


def test_zero_discard_and_zstd_operations_and_scattered_extents() -> None:
    image = noise(2 * BLOCK) + bytes(4 * BLOCK) + BOOT
    ops = [
        Op(build.REPLACE_ZSTD, image[BLOCK : 2 * BLOCK] + image[:BLOCK], [(1, 1), (0, 1)]),
        Op(build.ZERO, extents=[(2, 1), (4, 2)]),
        Op(7, extents=[(3, 1)]),
        Op(build.REPLACE_ZSTD, BOOT, [(6, 2)]),
    ]
    payload = opened(replace(system(*ops, image=image), minor=10).build())
    payload.verify_partition("system")
    assert problems(payload) == []


def test_the_manifest_encodes_to_the_same_bytes() -> None:
    what = spec()
    what.extra = build.chunk(18, b"2026-11-05") + build.chunk(99, b"of a later version")
    what.parts[0].extra = build.number(77, 5)
    what.build()
    manifest = Manifest.parse(what.manifest)
    assert manifest.security_patch_level == "2026-11-05"
    assert manifest.partitions[0].unknown == build.number(77, 5)
    assert manifest.encode() == what.manifest


@pytest.mark.parametrize(("sign", "size", "key"), [(rsa_sign, 256, RSA_KEY), (ec_sign, 72, EC_KEY)])
def test_both_signatures_verify_with_their_key_only(sign, size, key) -> None:  # type: ignore[no-untyped-def]
    data = replace(spec(), sign=sign, padded=size).build()
    public = key.public_key()
    for verify in verify_metadata_signature, verify_payload_signature:
        assert verify(opened(data), [OTHER_KEY, public]) == public
        with pytest.raises(ImageError, match="none of 1 keys"):
            verify(opened(data), [OTHER_KEY])


def test_no_flipped_byte_passes_both_signatures() -> None:
    good = spec().build()
    for position in range(24, len(good), 331):
        bad = bytearray(good)
        bad[position] ^= 1
        with pytest.raises(ImageError):
            payload = opened(bytes(bad))
            verify_metadata_signature(payload, [RSA_KEY.public_key()])
            verify_payload_signature(payload, [RSA_KEY.public_key()])


def test_an_unsigned_payload_never_verifies() -> None:
    payload = opened(replace(spec(), sign=None).build())
    for verify in verify_metadata_signature, verify_payload_signature:
        with pytest.raises(ImageError, match=r"no .* signature"):
            verify(payload, [RSA_KEY.public_key()])
    assert problems(payload) == ["no metadata signature", "no payload signature"]


def test_bytes_after_the_payload_signature_are_refused() -> None:
    payload = opened(replace(spec(), trailer=b"more").build())
    with pytest.raises(ImageError, match="4 unsigned bytes follow"):
        verify_payload_signature(payload, [RSA_KEY.public_key()])


def test_incremental_partitions_are_refused_and_the_others_read() -> None:
    parts = [Part("system", SYSTEM, [Op(build.SOURCE_COPY, extents=[(0, 27)])]), spec().parts[1]]
    payload = opened(Spec(parts, minor=8).build())
    with pytest.raises(ImageError, match=r"incremental: operation 0 .* SOURCE_COPY") as caught:
        payload.partition("system")
    assert caught.value.hint
    payload.verify_partition("boot")


def test_partitions_that_are_missing_or_named_twice_are_refused() -> None:
    with pytest.raises(ImageError, match="no partitions named vendor"):
        opened(spec().build()).partition("vendor")
    twice = Spec([*spec().parts, spec().parts[0]])
    with pytest.raises(ImageError, match="2 partitions named system"):
        opened(twice.build()).partition("system")
    assert "2 partitions are named system" in problems(opened(twice.build()))


def test_damaged_operations_are_named() -> None:
    good = full_ops(SYSTEM, KINDS)
    first = good[0]
    broken(system(replace(first, digest=bytes(32)), *good[1:]), "does not match its SHA-256")
    broken(system(replace(first, digest=b""), *good[1:]), "has no SHA-256")
    broken(system(replace(first, blob=b"no xz"), *good[1:]), "operation 0 .* damaged xz")
    broken(system(replace(first, data=SYSTEM[:BLOCK]), *good[1:]), "decodes to 4096 bytes")
    broken(system(replace(first, data=SYSTEM), *good[1:]), "decodes to more than 16384")
    broken(system(good[0], replace(good[1], data=b"short"), *good[2:]), "has 5 bytes, not 16384")
    broken(system(replace(first, kind=99), *good[1:]), "operation type 99")
    broken(system(*good[1:]), "no operation writes block 0")
    broken(system(*good, good[0]), "block 0 of partition system is written twice")
    broken(system(*good, image=SYSTEM[: -4 * BLOCK]), "after the end of partition system")
    huge = Op(build.REPLACE_XZ, b"", [(0, 1 << 40)])
    broken(system(huge), "exceeds 268435456 bytes")
    wrong = Spec([Part("system", SYSTEM[::-1], good)])
    broken(wrong, "SHA-256 of partition system is")


def test_operations_that_alternate_endlessly_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    container = "rom_builder.formats.payload.container"
    monkeypatch.setattr(f"{container}.OperationStore", lambda: OperationStore(memory=0, disk=0))
    monkeypatch.setattr(f"{container}._READ_SIZE", BLOCK)
    image = noise(64 * BLOCK)
    blocks = [image[start : start + BLOCK] for start in range(0, len(image), BLOCK)]
    even = Op(build.REPLACE, b"".join(blocks[::2]), [(index, 1) for index in range(0, 64, 2)])
    odd = Op(build.REPLACE, b"".join(blocks[1::2]), [(index, 1) for index in range(1, 64, 2)])
    data = system(even, odd, image=image).build()
    opened(data).verify_partition("system")
    monkeypatch.setattr(f"{container}.DECODED_AGAIN", 0)
    with pytest.raises(ImageError, match="interleaved too finely"):
        opened(data).verify_partition("system")


def test_operations_with_data_after_the_file_are_refused() -> None:
    data = replace(spec(), sign=None).build()
    with pytest.raises(ImageError, match="ends after the file"):
        opened(data[:-1]).partition("boot")


def test_broken_rules_are_listed() -> None:
    what = system(
        Op(build.ZERO, extents=[(0, 3)]),
        Op(build.REPLACE_XZ, extents=[(4, 1)], blob=lzma.compress(bytes(BLOCK))),
        image=SYSTEM[:-1],
    )
    what.parts[0].extra = build.chunk(6, build.number(1, BLOCK))
    what.max_timestamp = None
    found = "\n".join(problems(opened(what.build())))
    assert "no max_timestamp" in found
    assert "no multiple of the block size" in found
    assert "names an old image in a full payload" in found
    assert "block 3 of system is not written exactly once" in found
    assert "operation 0 of system is ZERO, not allowed in minor version 0" in found
    assert "XZ stream with integrity check 4" in found


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, b"X", "not an update payload"),
        (4, struct.pack(">Q", 1), "major version 1"),
        (12, b"\xff" * 8, "manifest of 18446744073709551615 bytes"),
        (12, struct.pack(">Q", 1 << 24), "the data ends"),
        (20, b"\xff" * 4, "metadata signature of 4294967295 bytes"),
    ],
)
def test_damaged_headers_are_named(position: int, value: bytes, message: str) -> None:
    data = bytearray(spec().build())
    data[position : position + len(value)] = value
    with pytest.raises(ImageError, match=message):
        opened(bytes(data))


@pytest.mark.parametrize("size", [0, 256, 4095, 1 << 17])
def test_block_sizes_no_device_uses_are_refused(size: int) -> None:
    with pytest.raises(ImageError, match=f"block size {size}"):
        opened(replace(spec(), block_size=size).build())


def test_random_damage_raises_only_image_error() -> None:
    def read(data: bytes) -> None:
        payload = opened(data)
        problems(payload)
        for name in payload.names:
            payload.verify_partition(name)
        verify_payload_signature(payload, [RSA_KEY.public_key()])

    good = spec().build()
    assert survives(read, good, within=600, count=300) > 250
    assert survives(read, good, count=60) > 60
