from __future__ import annotations

import base64
import hashlib
import lzma
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from rom_builder.errors import ImageError, SigningError
from rom_builder.formats.payload import (
    InstallOperation,
    OperationType,
    Payload,
    problems,
    verify_metadata_signature,
    verify_payload_signature,
)
from rom_builder.formats.payload.operations import OPERATION_SIZE, encode_blocks
from rom_builder.formats.payload.properties import parse_payload_properties
from rom_builder.formats.payload.signing import PayloadKey, signatures_size
from rom_builder.formats.payload.snapshot import OPERATION_BYTES
from rom_builder.formats.payload.writer import COW_HEADROOM, PayloadWriter
from rom_builder.formats.source import BytesSource, Source
from tests.formats.builders import payload as build
from tests.formats.builders.payload import BLOCK, Op, Part, Spec, chunk, full_ops, number
from tests.formats.damage import noise, survives

RSA_KEY = rsa.generate_private_key(65537, 2048)
RSA4096_KEY = rsa.generate_private_key(65537, 4096)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def rsa_key(key: rsa.RSAPrivateKey) -> PayloadKey:
    return PayloadKey(
        key.public_key(),
        lambda digest, _: key.sign(digest, padding.PKCS1v15(), Prehashed(SHA256())),
    )


RSA = rsa_key(RSA_KEY)
RSA4096 = rsa_key(RSA4096_KEY)
EC = PayloadKey(
    EC_KEY.public_key(), lambda digest, _: EC_KEY.sign(digest, ec.ECDSA(Prehashed(SHA256())))
)

SYSTEM = noise(6 * BLOCK) + bytes(20 * BLOCK) + b"text" * (5 * BLOCK // 4) + noise(BLOCK, 8)
VENDOR = noise(5 * BLOCK, 3) + b"\0" * (8 * BLOCK)
BOOT = noise(2 * BLOCK, 9)
KINDS = (build.REPLACE_XZ, build.REPLACE, build.REPLACE_BZ)
LATER_FIELD = chunk(200, b"kept")
GROUP = chunk(
    1, chunk(1, b"main") + number(2, 60 * BLOCK) + chunk(3, b"system") + chunk(3, b"vendor")
)
BASE = Spec(
    [
        Part(
            "system", SYSTEM, full_ops(SYSTEM, KINDS),
            chunk(17, b"1700000000") + number(19, 1 << 20) + number(20, 100) + LATER_FIELD,
        ),
        Part("vendor", VENDOR, full_ops(VENDOR, KINDS)),
        Part("boot", BOOT, full_ops(BOOT, [build.REPLACE])),
    ],
    sign=lambda digest: RSA_KEY.sign(digest, padding.PKCS1v15(), Prehashed(SHA256())),
    extra=chunk(15, GROUP + number(2, 1)) + chunk(18, b"2026-11-05") + LATER_FIELD,
).build()  # fmt: skip


def opened(data: bytes) -> Payload:
    return Payload(BytesSource(data))


def edited(image: bytes, offset: int, data: bytes) -> BytesSource:
    return BytesSource(image[:offset] + data + image[offset + len(data) :])


def write(
    changed: dict[str, Source], keys: Sequence[PayloadKey] = (RSA,), base: bytes = BASE
) -> bytes:
    with PayloadWriter(opened(base), changed, keys, workers=2) as writer:
        data = b"".join(writer.pieces())
        assert len(data) == writer.size
        assert writer.properties
        assert parse_payload_properties(writer.properties.encode()) == writer.properties
        assert writer.properties.file_hash == hashlib.sha256(data).digest()
        assert writer.metadata_size + writer.metadata_signature_size == opened(data).blob_offset
    return data


def image(payload: Payload, name: str) -> bytes:
    found = payload.partition(name)
    return found.read_at(0, found.size)


def blob(payload: Payload, operation: InstallOperation) -> bytes:
    start = payload.blob_offset + (operation.data_offset or 0)
    return payload.source.read_at(start, operation.data_length or 0)


def test_a_changed_partition_reads_back_and_the_rest_stays() -> None:
    after = edited(SYSTEM, 9 * BLOCK + 7, b"edit")
    payload = opened(write({"system": after}))
    assert problems(payload) == []
    for name, expected in (
        ("system", after.read_at(0, after.size)),
        ("vendor", VENDOR),
        ("boot", BOOT),
    ):
        payload.verify_partition(name)
        assert image(payload, name) == expected
    verify_metadata_signature(payload, [RSA.public_key])
    verify_payload_signature(payload, [RSA.public_key])


def test_only_operations_that_write_changed_blocks_are_encoded_again() -> None:
    base = opened(BASE)
    payload = opened(write({"system": edited(SYSTEM, 9 * BLOCK + 7, b"edit")}))
    for before, after in zip(base.manifest.partitions, payload.manifest.partitions, strict=True):
        pairs = list(zip(before.operations, after.operations, strict=True))
        assert [a.dst_extents for _, a in pairs] == [b.dst_extents for b, _ in pairs]
        changed = [i for i, (b, a) in enumerate(pairs) if blob(base, b) != blob(payload, a)]
        assert changed == ([2] if before.partition_name == "system" else [])
        assert all(a.type == b.type for i, (b, a) in enumerate(pairs) if i not in changed)


def test_what_the_manifest_says_stays_where_it_is_still_true() -> None:
    before = opened(BASE).manifest
    after = opened(write({"system": edited(SYSTEM, 9 * BLOCK + 7, b"edit")})).manifest
    assert replace(after, partitions=(), signatures_offset=0) == replace(
        before, partitions=(), signatures_offset=0
    )
    old, new = before.partitions[0], after.partitions[0]
    assert new.version == old.version == "1700000000"
    assert new.unknown == old.unknown == after.unknown == LATER_FIELD
    assert new.estimate_cow_size == (1 << 20) + 4 * (BLOCK + OPERATION_BYTES) + COW_HEADROOM
    assert new.estimate_op_count_max == 104
    assert after.partitions[1].new_partition_info == before.partitions[1].new_partition_info


def test_nothing_changed_gives_the_same_payload_again() -> None:
    assert write({}) == BASE
    again = opened(write({"boot": BytesSource(BOOT)}))
    assert again.manifest == opened(BASE).manifest


def test_the_same_input_gives_the_same_bytes() -> None:
    changed: dict[str, Source] = {"system": BytesSource(SYSTEM[::-1])}
    assert write(changed) == write(changed)


@pytest.mark.parametrize("blocks", [1, 31, 32, 33, 40, 47])
def test_a_partition_may_grow_or_shrink(blocks: int) -> None:
    after = (SYSTEM + noise(16 * BLOCK, 5))[: blocks * BLOCK]
    payload = opened(write({"system": BytesSource(after)}))
    assert problems(payload) == []
    payload.verify_partition("system")
    assert image(payload, "system") == after


def test_a_group_of_dynamic_partitions_has_its_limit() -> None:
    with pytest.raises(ImageError, match="group main take 249856 bytes, it has 245760"):
        write({"system": BytesSource(bytes(48 * BLOCK))})


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 47 * BLOCK), st.binary(max_size=9000)), max_size=3),
    st.integers(1, 47),
)
def test_any_edit_reads_back(writes: list[tuple[int, bytes]], blocks: int) -> None:
    data = bytearray(SYSTEM.ljust(blocks * BLOCK, b"x")[: blocks * BLOCK])
    for offset, new in writes:
        data[offset : offset + len(new)] = new
    after = bytes(data[: blocks * BLOCK])
    payload = opened(write({"system": BytesSource(after)}, [EC]))
    assert problems(payload) == []
    payload.verify_partition("system")
    assert image(payload, "system") == after


def test_scattered_and_large_operations_are_cut_to_size() -> None:
    size = OPERATION_SIZE + 3 * BLOCK
    data = noise(BLOCK) * (size // BLOCK)
    half = size // BLOCK // 2
    order = data[half * BLOCK :] + data[: half * BLOCK]
    extents = [(half, size // BLOCK - half), (0, half)]
    base = Spec([Part("a", data, [Op(build.REPLACE, order, extents)])], sign=lambda d: bytes(256))
    after = edited(data, 5, b"edit")
    payload = opened(write({"a": after}, base=base.build()))
    assert problems(payload) == []
    assert image(payload, "a") == after.read_at(0, size)
    counts = [
        sum(extent.num_blocks or 0 for extent in item.dst_extents)
        for item in payload.manifest.partitions[0].operations
    ]
    assert counts == [OPERATION_SIZE // BLOCK, 3]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (bytes(OPERATION_SIZE), OperationType.REPLACE_BZ),
        (bytes(range(256)) * 64 + noise(3000) * 2, OperationType.REPLACE_XZ),
        (noise(4 * BLOCK), OperationType.REPLACE),
    ],
)
def test_the_smallest_form_is_chosen(data: bytes, kind: OperationType) -> None:
    found, packed = encode_blocks(data)
    assert found is kind
    if kind is OperationType.REPLACE_XZ:
        assert packed[7] == 0  # stream flags: no integrity check
        assert lzma.decompress(packed) == data


@pytest.mark.parametrize(
    ("keys", "size"), [([RSA], 267), ([RSA4096], 523), ([EC], 81), ([RSA, RSA4096, EC], 871)]
)
def test_every_kind_of_key_signs(keys: list[PayloadKey], size: int) -> None:
    payload = opened(write({"boot": BytesSource(BOOT[::-1])}, keys))
    assert signatures_size(keys) == len(payload.metadata_signature) == size
    assert payload.manifest.signatures_size == size
    for key in keys:
        assert verify_metadata_signature(payload, [key.public_key]) == key.public_key
        assert verify_payload_signature(payload, [key.public_key]) == key.public_key
    for item, key in zip(payload.payload_signatures().signatures, keys, strict=True):
        assert len(item.data or b"") == key.signature_size
        assert 60 < (item.unpadded_signature_size or 0) <= key.signature_size


def test_keys_that_devices_do_not_know_are_refused() -> None:
    for key in rsa.generate_private_key(65537, 3072), ec.generate_private_key(ec.SECP384R1()):
        with pytest.raises(SigningError, match="no device verifies payloads"):
            PayloadKey(key.public_key(), lambda digest, _: b"")
    with pytest.raises(SigningError, match="at least one signature"):
        write({}, [])


def test_a_wrong_signature_is_never_written() -> None:
    for sign in EC.sign, RSA4096.sign, lambda digest, _: b"", lambda digest, _: bytes(256):
        with pytest.raises(SigningError, match="its key does not verify"):
            write({}, [PayloadKey(RSA.public_key, sign)])


def test_a_damaged_base_is_noticed_while_it_is_copied() -> None:
    bad = bytearray(BASE)
    bad[opened(BASE).blob_offset + 10] ^= 1
    with pytest.raises(
        ImageError, match="operation of partition system does not match its SHA-256"
    ):
        write({"boot": BytesSource(BOOT[::-1])}, base=bytes(bad))


def test_bases_that_cannot_be_edited_are_refused() -> None:
    new = BytesSource(SYSTEM)

    def refused(spec: Spec, message: str, source: Source = new) -> None:
        with pytest.raises(ImageError, match=message):
            write({"system": source}, base=spec.build())

    ops = full_ops(SYSTEM, KINDS)
    refused(Spec([Part("system", SYSTEM, ops)], minor=6), "the payload is incremental")
    refused(Spec([Part("boot", SYSTEM, ops)]), "no partitions named system")
    refused(Spec([Part("system", SYSTEM, ops[:-1])]), "blocks of partition system are written")
    tree = chunk(11, number(1, 1) + number(2, 1))
    refused(Spec([Part("system", SYSTEM, ops, tree)]), "computed by the device")
    refused(Spec([Part("system", SYSTEM, ops, chunk(6, b""))]), "from an old image")
    whole = Spec([Part("system", SYSTEM, ops)])
    refused(whole, "no row of whole blocks", BytesSource(SYSTEM[:-1]))
    refused(whole, "no row of whole blocks", BytesSource(b""))
    with (
        pytest.raises(ImageError, match="5 bytes decoded"),
        PayloadWriter(
            opened(BASE), {"system": new}, [RSA], decoded={"system": BytesSource(b"5____")}
        ),
    ):
        pass


def test_images_at_hand_need_not_be_decoded() -> None:
    base = opened(BASE)
    after = edited(SYSTEM, 0, b"edit")
    decoded = {"system": BytesSource(SYSTEM)}
    with PayloadWriter(base, {"system": after}, [RSA], decoded=decoded) as writer:
        assert b"".join(writer.pieces()) == write({"system": after})


def test_damaged_bases_raise_nothing_but_image_errors() -> None:
    after = edited(SYSTEM, 0, b"edit")

    def read(data: bytes) -> None:
        with PayloadWriter(opened(data), {"system": after}, [EC], workers=1) as writer:
            for _ in writer.pieces():
                pass

    assert survives(read, BASE, count=80, within=1500)


def test_payload_properties_have_four_keys_and_more() -> None:
    text = (
        f"FILE_HASH={base64.b64encode(bytes(32)).decode()}\nFILE_SIZE=7\n"
        f"METADATA_HASH={base64.b64encode(bytes(32)).decode()}\nMETADATA_SIZE=5\nPOWERWASH=1\n"
    ).encode()
    properties = parse_payload_properties(text)
    assert (properties.file_size, properties.metadata_size) == (7, 5)
    assert properties.extra == {"POWERWASH": "1"}
    assert properties.encode() == text
    for bad, message in (
        (text.replace(b"FILE_SIZE=7", b"FILE_SIZE=-7"), "'-7' is no size"),
        (text.replace(b"METADATA_SIZE=5\n", b""), "no METADATA_SIZE"),
        (text.replace(b"FILE_HASH=A", b"FILE_HASH="), "no SHA-256 in base64"),
        (text + b"POWERWASH=1\n", "line 'POWERWASH=1'"),
        (text + b"x\n", "line 'x'"),
        (text + b"\xff", "not ASCII"),
        (bytes(1 << 17), "at most 65536"),
    ):
        with pytest.raises(ImageError, match=message):
            parse_payload_properties(bad)
    survives(parse_payload_properties, text)


@pytest.mark.judge("paycheck.py")
def test_paycheck_accepts_the_payload(tmp_path: Path) -> None:
    raw = [build.REPLACE]
    images = {"system": SYSTEM, "vendor": VENDOR, "boot": BOOT}
    base = Spec(
        [Part(name, data, full_ops(data, raw)) for name, data in images.items()],
        sign=lambda digest: bytes(256),
    ).build()
    images["system"] = SYSTEM[: 9 * BLOCK] + b"edit" * 3000 + noise(26 * BLOCK, 4) + bytes(288)
    images["vendor"] = VENDOR[: 4 * BLOCK] + bytes(8 * BLOCK)
    changed = {name: BytesSource(images[name]) for name in ("system", "vendor")}
    (tmp_path / "payload.bin").write_bytes(write(changed, base=base))
    pem = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(pem)

    def paycheck(*arguments: str) -> int:
        command = ["paycheck.py", "payload.bin", "--check", "--key", "key.pem", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode

    sizes = [str(len(data)) for data in images.values()]
    assert paycheck("--type", "full", "--part_names", *images, "--part_sizes", *sizes) == 0
    with (tmp_path / "payload.bin").open("r+b") as file:
        file.seek(-20, 2)
        file.write(b"damage")
    assert paycheck() != 0
