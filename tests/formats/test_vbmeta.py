import hashlib
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from rom_builder.errors import ImageError
from rom_builder.formats.avb_descriptors import (
    ChainPartitionDescriptor,
    HashDescriptor,
    HashtreeDescriptor,
    KernelCmdlineDescriptor,
    PropertyDescriptor,
    UnknownDescriptor,
)
from rom_builder.formats.avb_key import Algorithm, encode_public_key, parse_rsa_key
from rom_builder.formats.source import BytesSource
from rom_builder.formats.vbmeta import (
    VbmetaFlags,
    detect_vbmeta,
    parse_vbmeta,
    read_footer,
    read_vbmeta,
    vbmeta_digest,
    verify_vbmeta,
)
from tests.formats.builders import vbmeta as build
from tests.formats.damage import survives

KEY = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
SALT, DIGEST = bytes(range(32)), bytes(range(64, 96))
DESCRIPTORS = b"".join(
    (
        build.chain(b"boot", 3, build.key_blob(OTHER)),
        build.hashtree(b"system", SALT, DIGEST, 1 << 20, 12288, 24576),
        build.hashed(b"dtbo", SALT[:5], DIGEST, 54321),
        build.cmdline(b"dm=1 vroot", 1),
        build.prop(b"com.android.build.system.security_patch", b"2026-11-05"),
        build.descriptor(99, b"of later"),
    )
)
GOOD = build.vbmeta(DESCRIPTORS, KEY, rollback_index=1_700_000_000, flags=2, location=1)


def test_every_field_and_descriptor_is_read() -> None:
    assert detect_vbmeta(GOOD[:4])
    meta = parse_vbmeta(GOOD + bytes(3000))
    assert meta.algorithm is Algorithm.SHA256_RSA2048
    assert meta.rollback_index == 1_700_000_000
    assert meta.rollback_index_location == 1
    assert meta.flags == VbmetaFlags.VERIFICATION_DISABLED
    assert meta.release_string == "avbtool 1.3.0"
    assert meta.public_key == build.key_blob(KEY)
    assert meta.public_key_sha256 == hashlib.sha256(meta.public_key).hexdigest()
    assert meta.public_key_sha1 == hashlib.sha1(meta.public_key).hexdigest()  # noqa: S324
    assert meta.properties == {"com.android.build.system.security_patch": b"2026-11-05"}
    assert meta.raw == GOOD
    assert meta.descriptors == (
        ChainPartitionDescriptor("boot", 3, build.key_blob(OTHER)),
        HashtreeDescriptor(
            "system", 1 << 20, 1 << 20, 12288, DIGEST, SALT,
            fec_roots=2, fec_offset=(1 << 20) + 12288, fec_size=24576, flags=2,
        ),
        HashDescriptor("dtbo", 54321, DIGEST, SALT[:5], flags=1),
        KernelCmdlineDescriptor("dm=1 vroot", 1),
        PropertyDescriptor("com.android.build.system.security_patch", b"2026-11-05"),
        UnknownDescriptor(99, b"of later"),
    )  # fmt: skip


def test_what_was_read_encodes_to_the_same_bytes() -> None:
    for data in GOOD, build.vbmeta(DESCRIPTORS), build.vbmeta(b"", KEY):
        meta = parse_vbmeta(data)
        assert meta.encode() == data
        assert parse_vbmeta(meta.encode()) == meta


def test_what_devices_could_not_read_is_not_written() -> None:
    meta = parse_vbmeta(GOOD)
    with pytest.raises(ValueError, match="SHA256_RSA2048's size"):
        replace(meta, hash=b"").encode()
    with pytest.raises(ValueError, match="release string of 48 bytes"):
        replace(meta, release_string="x" * 48).encode()
    with pytest.raises(ValueError, match="at most 65536 bytes"):
        replace(meta, descriptors=(PropertyDescriptor("x", bytes(65_000)),)).encode()


def test_the_signature_verifies_with_its_key_only() -> None:
    meta = parse_vbmeta(GOOD)
    verify_vbmeta(meta)
    verify_vbmeta(meta, encode_public_key(KEY.public_key()))
    with pytest.raises(ImageError, match="is signed with key"):
        verify_vbmeta(meta, encode_public_key(OTHER.public_key()))


def test_an_unsigned_image_never_verifies() -> None:
    with pytest.raises(ImageError, match="not signed"):
        verify_vbmeta(parse_vbmeta(build.vbmeta(DESCRIPTORS, flags=3)))


def test_no_flipped_byte_that_counts_verifies() -> None:
    padding = range(256 + 32 + 256, 256 + 320)
    for position in range(0, len(GOOD), 7):
        bad = bytearray(GOOD)
        bad[position] ^= 1
        if position in padding:
            continue
        with pytest.raises(ImageError):
            verify_vbmeta(parse_vbmeta(bytes(bad)))


def test_another_key_put_in_place_of_the_embedded_one_is_noticed() -> None:
    bad = GOOD.replace(build.key_blob(KEY), build.key_blob(OTHER))
    with pytest.raises(ImageError, match="does not match its hash"):
        verify_vbmeta(parse_vbmeta(bad))


def test_a_key_whose_derived_numbers_are_wrong_is_refused() -> None:
    blob = build.key_blob(KEY)
    assert parse_rsa_key(blob).public_numbers() == KEY.public_key().public_numbers()
    assert encode_public_key(KEY.public_key()) == blob
    for position in 4, 300, len(blob) - 1:
        bad = bytearray(blob)
        bad[position] ^= 1
        with pytest.raises(ImageError, match="contradict"):
            parse_rsa_key(bytes(bad))
    with pytest.raises(ImageError, match="2048 bits in 519 bytes"):
        parse_rsa_key(blob[:-1])


def test_mldsa_images_verify() -> None:
    mldsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    key = mldsa.MLDSA65PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    blob = len(public).to_bytes(4, "big") + public
    meta = replace(parse_vbmeta(GOOD), algorithm=Algorithm.MLDSA65, public_key=blob, hash=b"")
    signed = replace(meta, signature=key.sign(meta.signed_data()))
    verify_vbmeta(parse_vbmeta(signed.encode()), blob)
    with pytest.raises(ImageError, match="MLDSA65 signature does not match"):
        verify_vbmeta(parse_vbmeta(replace(signed, rollback_index=9).encode()))


def test_a_footer_is_found_and_its_vbmeta_read() -> None:
    image = b"kernel" * 1000
    partition = BytesSource(build.with_footer(image, GOOD, 65536))
    footer = read_footer(partition)
    assert footer is not None
    assert (footer.original_image_size, footer.vbmeta_offset) == (6000, 8192)
    assert footer.encode() == partition.read_at(65536 - 64, 64)
    assert read_vbmeta(partition) == parse_vbmeta(GOOD)
    assert read_footer(BytesSource(GOOD)) is None
    assert read_footer(BytesSource(b"short")) is None
    assert read_vbmeta(BytesSource(GOOD)) == parse_vbmeta(GOOD)


@pytest.mark.parametrize(("position", "value"), [(7, 2), (16, 1), (20, 0xFF), (34, 0xFF)])
def test_a_footer_that_points_elsewhere_is_refused(position: int, value: int) -> None:
    data = bytearray(build.with_footer(b"x", GOOD, 65536))
    data[65536 - 64 + position] = value
    with pytest.raises(ImageError, match="AVB footer"):
        read_footer(BytesSource(bytes(data)))


def test_the_digest_covers_every_image_without_padding() -> None:
    top, chained = parse_vbmeta(GOOD + bytes(999)), parse_vbmeta(build.vbmeta(b"", OTHER))
    assert vbmeta_digest([top, chained]) == hashlib.sha256(top.raw + chained.raw).digest()


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, b"X", "not a vbmeta"),
        (4, b"\0\0\0\2", "version 2.0"),
        (19, b"\x41", "multiple of 64"),
        (14, b"\x01", "vbmeta image of"),
        (28, b"\0\0\0\x63", "algorithm 99"),
        (64, b"\xff", "of a vbmeta block"),
        (128, b"\xff", "not ASCII"),
        (256 + 320 + 8, b"\xff", "descriptor of"),
        (256 + 320 + 15, b"\x01", "descriptor of"),
        (256 + 320 + 20, b"\xff", "are wanted in a descriptor"),
    ],
)
def test_damage_is_named(position: int, value: bytes, message: str) -> None:
    data = bytearray(GOOD)
    data[position : position + len(value)] = value
    with pytest.raises(ImageError, match=message):
        parse_vbmeta(bytes(data))


def test_random_damage_raises_only_image_error() -> None:
    def read(data: bytes) -> None:
        verify_vbmeta(read_vbmeta(BytesSource(data)))

    assert survives(read, GOOD, count=300) > 300
    survives(read, build.with_footer(b"x", GOOD, 8192), count=300)
