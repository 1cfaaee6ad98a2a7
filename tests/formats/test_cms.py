from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from rom_builder.errors import ImageError
from rom_builder.formats.cms import CmsSignature, cms_for, parse_cms
from rom_builder.formats.der import der
from tests.signing_material import key, openssl, signer, write_key

BODY = b"what is signed, line ends \r\n and all\n" * 100


@cache
def ours(kind: str = "p256") -> CmsSignature:
    made = key(kind)
    signature = signer(made).sign_digest(hashlib.sha256(BODY).digest())
    certificate = made.certificate.public_bytes(Encoding.DER)
    return cms_for(certificate, signature, "ecdsa" if kind == "p256" else "rsa")


@pytest.mark.parametrize("kind", ["rsa-2048", "p256"])
def test_what_is_encoded_is_parsed_back(kind: str) -> None:
    cms = ours(kind)
    assert parse_cms(cms.encode()) == cms
    assert cms.serial == key(kind).certificate.serial_number


@pytest.mark.judge("openssl")
@pytest.mark.parametrize("kind", ["rsa-2048", "rsa-4096", "p256"])
def test_openssl_verifies_what_is_encoded(kind: str, tmp_path: Path) -> None:
    _, _, certificate = write_key(tmp_path, key(kind))
    (tmp_path / "cms").write_bytes(ours(kind).encode())
    (tmp_path / "body").write_bytes(BODY)
    verified = openssl(
        *("cms", "-verify", "-binary", "-inform", "DER", "-in", tmp_path / "cms"),
        *("-content", tmp_path / "body", "-CAfile", certificate, "-purpose", "any"),
    )
    assert verified == BODY


def openssl_sign(folder: Path, kind: str, *options: str, program: str = "cms") -> bytes:
    private_key, _, certificate = write_key(folder, key(kind))
    (folder / "body").write_bytes(BODY)
    return openssl(
        *(program, "-sign", "-binary", "-md", "sha256", "-outform", "DER", *options),
        *("-signer", certificate, "-inkey", private_key, "-in", folder / "body"),
    )


@pytest.mark.judge("openssl")
@pytest.mark.parametrize("program", ["cms", "smime"])
@pytest.mark.parametrize("kind", ["rsa-2048", "p256"])
def test_what_openssl_writes_is_read(program: str, kind: str, tmp_path: Path) -> None:
    read = parse_cms(openssl_sign(tmp_path, kind, "-noattr", program=program))
    expected = ours(kind)
    assert (read.issuer, read.serial) == (expected.issuer, expected.serial)
    assert (read.certificates, read.digest_algorithm) == (expected.certificates, "sha256")
    assert not read.has_signed_attributes
    if kind == "rsa-2048":
        assert read.signature == expected.signature


@pytest.mark.judge("openssl")
def test_signed_attributes_are_seen(tmp_path: Path) -> None:
    read = parse_cms(openssl_sign(tmp_path, "p256"))
    assert read.has_signed_attributes
    with pytest.raises(ValueError, match="attributes"):
        read.encode()


@pytest.mark.judge("openssl")
@pytest.mark.parametrize("option", ["-nodetach", "-keyid"])
def test_other_forms_are_refused(option: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        parse_cms(openssl_sign(tmp_path, "p256", "-noattr", option))


def test_a_signature_that_says_two_digests_is_refused() -> None:
    data = ours().encode()
    sha256 = bytes.fromhex("0609608648016503040201")
    sha512 = bytes.fromhex("0609608648016503040203")
    assert data.count(sha256) == 2
    with pytest.raises(ImageError, match="sha512"):
        parse_cms(data.replace(sha256, sha512, 1))


def test_bytes_after_the_end_are_refused() -> None:
    data = ours().encode()
    with pytest.raises(ImageError, match="after its last field") as caught:
        parse_cms(data + b"\0")
    assert caught.value.offset == len(data)


def test_a_length_that_could_be_shorter_is_refused() -> None:
    data = ours().encode()
    assert data[:2] == b"\x30\x82"
    with pytest.raises(ImageError, match="shorter"):
        parse_cms(b"\x30\x83\x00" + data[2:])


@pytest.mark.parametrize("length", [b"\x80", b"\x85\1\1\1\1\1", b"\xff", b"\x84\xff\xff\xff\xff"])
def test_lengths_that_der_has_not_are_refused(length: bytes) -> None:
    with pytest.raises(ImageError):
        parse_cms(b"\x30" + length + ours().encode()[4:])


def test_two_signers_are_refused() -> None:
    data = ours().encode()
    certificate = ours().certificates[0]
    signers = data[data.index(certificate) + len(certificate) :]
    assert signers[:2] == b"\x31\x81"
    start = data[: data.index(certificate)].rindex(bytes.fromhex("020101"))
    signed_data = data[start : -len(signers)] + der(0x31, signers[3:] * 2)
    oid = bytes.fromhex("06092a864886f70d010702")
    with pytest.raises(ImageError, match="one signer"):
        parse_cms(der(0x30, oid, der(0xA0, der(0x30, signed_data))))


def test_every_truncation_is_damage() -> None:
    data = ours().encode()
    for size in range(len(data)):
        with pytest.raises(ImageError):
            parse_cms(data[:size])


@given(st.data())
def test_a_changed_byte_is_damage_or_another_value(data: st.DataObject) -> None:
    whole = bytearray(ours().encode())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        parsed = parse_cms(bytes(whole))
    except ImageError:
        return
    assert parsed.encode() == bytes(whole) or parsed.has_signed_attributes
