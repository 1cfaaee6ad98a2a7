from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from rom_builder.errors import ImageError, SigningError
from rom_builder.formats.cms import CmsSignature, parse_cms
from rom_builder.formats.ota_signature import (
    SIGNAPK_TEXT,
    comment_for,
    parse_ota_signature,
    signed_digest,
    signed_size,
)
from rom_builder.formats.ota_verify import verify_ota_signature
from rom_builder.formats.otacert import recovery_fitness
from rom_builder.formats.source import BytesSource, Pieces
from rom_builder.keys import NewKey, self_signed
from tests.signing_material import (
    certificate,
    key,
    openssl,
    signed_package,
    unsigned_package,
    write_key,
)

KINDS = ["rsa-2048", "rsa-4096", "p256"]


def verify(package: bytes, *trusted: x509.Certificate) -> x509.Certificate:
    return verify_ota_signature(BytesSource(package), trusted).certificate


def with_comment(comment: bytes) -> bytes:
    return unsigned_package()[:-2] + struct.pack("<H", len(comment)) + comment


def rewrap(package: bytes, cms: CmsSignature) -> bytes:
    """The same signature in another CMS around it."""
    return (
        package[: signed_size(BytesSource(package))]
        + with_comment(comment_for(cms.encode()))[len(unsigned_package()) - 2 :]
    )


def test_a_signed_package_is_laid_out_as_signapk_does() -> None:
    unsigned, package = unsigned_package(), signed_package(key())
    found = parse_ota_signature(BytesSource(package))
    assert found is not None
    assert found.signed_size == len(unsigned) - 2
    assert package[: found.signed_size] == unsigned[:-2]
    assert found.text == SIGNAPK_TEXT == b"signed by SignApk\0"
    comment = package[found.signed_size + 2 :]
    assert struct.unpack("<H", package[found.signed_size :][:2])[0] == len(comment)
    assert comment == SIGNAPK_TEXT + found.cms + struct.pack(
        "<HHH", len(found.cms) + 6, 0xFFFF, len(comment)
    )
    assert package[found.cms_offset :].startswith(found.cms)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_signed_verifies(kind: str) -> None:
    verified = verify_ota_signature(BytesSource(signed_package(key(kind))), [key(kind).certificate])
    assert verified.certificate == key(kind).certificate
    assert verified.digest_algorithm == "sha256"


def test_any_trusted_certificate_may_have_signed() -> None:
    others = [key("rsa-2048").certificate, key("p256", 1).certificate]
    assert verify(signed_package(key()), *others, key().certificate) == key().certificate


def test_a_package_can_be_signed_again() -> None:
    twice = signed_package(key("p256", 1), signed_package(key()))
    assert verify(twice, key("p256", 1).certificate)
    with pytest.raises(SigningError, match="another key"):
        verify(twice, key().certificate)


@pytest.mark.parametrize(
    "comment",
    [
        b"",
        b"hello",
        b"x" * 20 + struct.pack("<HHH", 26, 0xFFFE, 26),
        b"x" * 20 + struct.pack("<HHH", 27, 0xFFFF, 26),
        b"x" * 20 + struct.pack("<HHH", 6, 0xFFFF, 26),
        b"x" * 20 + struct.pack("<HHH", 20, 0xFFFF, 25),
        b"x" * 20 + struct.pack("<HHH", 20, 0xFFFF, 60000),
        b"x" * 8 + b"PK\5\6" + b"x" * 8 + struct.pack("<HHH", 20, 0xFFFF, 26),
    ],
    ids=["none", "text", "marker", "start>size", "start=6", "size-1", "size>file", "second-eocd"],
)
def test_no_signature_is_seen_where_recovery_sees_none(comment: bytes) -> None:
    package = with_comment(comment)
    assert parse_ota_signature(BytesSource(package)) is None
    with pytest.raises(SigningError, match="no whole-file signature"):
        verify(package, key().certificate)


@pytest.mark.parametrize("package", [b"", b"PK", b"\xff" * 6, struct.pack("<HHH", 7, 0xFFFF, 9)])
def test_files_that_are_too_short_have_no_signature(package: bytes) -> None:
    assert parse_ota_signature(BytesSource(package)) is None
    with pytest.raises(ImageError):
        signed_size(BytesSource(package))


def test_a_zip_with_another_comment_cannot_be_signed() -> None:
    with pytest.raises(ImageError, match="without archive comment"):
        signed_size(BytesSource(with_comment(b"hello")))


def test_the_digest_is_taken_in_pieces() -> None:
    class Counting(Pieces):
        largest = 0

        def read_at(self, offset: int, size: int) -> bytes:
            self.largest = max(self.largest, size)
            return super().read_at(offset, size)

    end = BytesSource(b"PK\5\6" + bytes(18))
    source = Counting([(None, 40 << 20), (end, 22)])
    expected = hashlib.sha256(bytes(40 << 20) + b"PK\5\6" + bytes(16)).digest()
    assert signed_digest(source) == expected
    assert source.largest <= 4 << 20


def test_a_comment_that_would_not_fit_is_refused() -> None:
    assert len(comment_for(bytes(65535 - 18 - 6))) == 65535
    with pytest.raises(SigningError, match="65536"):
        comment_for(bytes(65535 - 18 - 6 + 1))


@pytest.mark.parametrize("cms", [b"..PK\5\6..", b"PK\5\6"])
def test_a_comment_with_an_eocd_magic_is_refused(cms: bytes) -> None:
    with pytest.raises(SigningError, match="recovery refuses"):
        comment_for(cms)


# What recovery takes


def odd(kind: str) -> x509.Certificate:
    p256 = ec.generate_private_key(ec.SECP256R1())
    return {
        "rsa-3072": lambda: certificate(rsa.generate_private_key(65537, 3072), hashes.SHA256()),
        "rsa-sha384": lambda: certificate(key("rsa-2048").private_key, hashes.SHA384()),
        "p256-sha512": lambda: certificate(p256, hashes.SHA512()),
        "p384": lambda: certificate(ec.generate_private_key(ec.SECP384R1()), hashes.SHA256()),
        "ed25519": lambda: certificate(ed25519.Ed25519PrivateKey.generate()),
    }[kind]()


@pytest.mark.parametrize("kind", ["rsa-3072", "rsa-sha384", "p256-sha512", "p384", "ed25519"])
def test_one_certificate_that_recovery_refuses_spoils_all(kind: str) -> None:
    unfit = odd(kind)
    assert recovery_fitness(unfit)
    with pytest.raises(SigningError, match="recovery refuses the certificate"):
        verify(signed_package(key()), key().certificate, unfit)


@pytest.mark.parametrize("kind", KINDS)
def test_certificates_made_here_are_fit(kind: str) -> None:
    assert recovery_fitness(key(kind).certificate) == []


def test_dates_and_issuer_do_not_matter_to_recovery() -> None:
    made = key("p256", 2)
    expired = NewKey(
        made.private_key, certificate(made.private_key, hashes.SHA256(), issuer=key("rsa-2048"))
    )
    assert verify(signed_package(expired), expired.certificate) == expired.certificate


def with_sha1(folder: Path, kind: str) -> NewKey:
    """A key whose certificate an RSA key signed with SHA-1."""
    private_key, _, cert = write_key(folder, key("rsa-2048"))
    (folder / "subject").mkdir()
    subject_key, _, _ = write_key(folder / "subject", key(kind))
    request = openssl("req", "-new", "-key", subject_key, "-subj", "/CN=Test 0")
    (folder / "request").write_bytes(request)
    made = openssl(
        *("x509", "-req", "-sha1", "-in", folder / "request", "-set_serial", "7"),
        *("-CA", cert, "-CAkey", private_key),
    )
    return NewKey(key(kind).private_key, x509.load_pem_x509_certificate(made))


@pytest.mark.judge("openssl")
def test_a_sha1_certificate_is_of_no_use_to_an_ec_key(tmp_path: Path) -> None:
    assert "SHA-1" in recovery_fitness(with_sha1(tmp_path, "p256").certificate)[0]


@pytest.mark.judge("openssl")
def test_sha1_is_never_signed(tmp_path: Path) -> None:
    made = with_sha1(tmp_path, "rsa-2048")
    with pytest.raises(SigningError, match="SHA-1"):
        signed_package(made)
    with pytest.raises(SigningError, match="another key"):
        verify(signed_package(key("rsa-2048")), made.certificate)


@pytest.mark.judge("openssl")
def test_a_sha1_signature_is_accepted_as_such(tmp_path: Path) -> None:
    made = with_sha1(tmp_path, "rsa-2048")
    private_key, _, cert = write_key(tmp_path, made)
    (tmp_path / "body").write_bytes(unsigned_package()[:-2])
    cms = openssl(
        *("cms", "-sign", "-binary", "-noattr", "-md", "sha1", "-outform", "DER"),
        *("-signer", cert, "-inkey", private_key, "-in", tmp_path / "body"),
    )
    verified = verify_ota_signature(BytesSource(with_comment(comment_for(cms))), [made.certificate])
    assert verified.digest_algorithm == "sha1"


def test_no_certificate_verifies_nothing() -> None:
    with pytest.raises(SigningError, match="no certificate"):
        verify(signed_package(key()))


# Bytes that the signature does not cover


def damaged(package: bytes, trusted: x509.Certificate) -> bool:
    try:
        verify(package, trusted)
    except (ImageError, SigningError):
        return True
    return False


@pytest.mark.parametrize("mask", [0xFF, 0x01, 0x80])
def test_no_byte_of_a_package_can_be_changed(mask: int) -> None:
    package = signed_package(key())
    for offset in range(len(package)):
        changed = bytearray(package)
        changed[offset] ^= mask
        assert damaged(bytes(changed), key().certificate), f"byte {offset}"


@settings(max_examples=300, deadline=None)  # a busy machine is no fault
@given(
    st.sampled_from(["rsa-2048", "p256"]), st.floats(0, 1, exclude_max=True), st.integers(1, 255)
)
def test_no_byte_of_a_package_can_be_changed_to_any_other(
    kind: str, where: float, mask: int
) -> None:
    package = signed_package(key(kind))
    changed = bytearray(package)
    offset = int(where * len(package))
    changed[offset] ^= mask
    rsa_encryption = bytes.fromhex("2a864886f70d010101")
    if kind == "rsa-2048" and changed[offset - 8 : offset + 1] == rsa_encryption:
        return  # the other name of the same algorithm, which openssl and old signapk write
    assert damaged(bytes(changed), key(kind).certificate)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1, exclude_max=True))
def test_no_truncated_package_verifies(where: float) -> None:
    package = signed_package(key())
    assert damaged(package[: int(where * len(package))], key().certificate)


def test_bytes_appended_or_put_in_front_are_seen() -> None:
    package = signed_package(key())
    assert damaged(package + b"\0", key().certificate)
    assert damaged(b"\0" + package, key().certificate)


def test_a_comment_length_that_differs_from_the_footers_is_seen() -> None:
    package = bytearray(signed_package(key()))
    at = len(unsigned_package()) - 2
    package[at : at + 2] = b"\0\0"
    with pytest.raises(ImageError, match="footer says") as caught:
        verify(bytes(package), key().certificate)
    assert caught.value.offset == at


def test_text_that_no_tool_writes_is_seen() -> None:
    package = signed_package(key()).replace(b"signed by SignApk", b"signed by nobody!")
    with pytest.raises(ImageError, match="covered by nothing"):
        verify(package, key().certificate)


def test_avbroots_text_is_known() -> None:
    package = signed_package(key()).replace(b"signed by SignApk", b"signed by avbroot")
    assert verify(package, key().certificate)


def test_another_certificate_inside_the_signature_is_seen() -> None:
    package = signed_package(key())
    found = parse_ota_signature(BytesSource(package))
    assert found is not None
    cms = parse_cms(found.cms)
    other = key("p256", 1).certificate.public_bytes(Encoding.DER)
    with pytest.raises(ImageError, match="not that of the key"):
        verify(rewrap(package, replace(cms, certificates=(other,))), key().certificate)
    with pytest.raises(ImageError, match="names another"):
        verify(rewrap(package, replace(cms, serial=cms.serial + 1)), key().certificate)
    twice = replace(cms, certificates=cms.certificates * 2)
    with pytest.raises(ImageError, match="more than one"):
        verify(rewrap(package, twice), key().certificate)


def test_a_signature_without_certificate_is_accepted() -> None:
    package = signed_package(key())
    found = parse_ota_signature(BytesSource(package))
    assert found is not None
    bare = replace(parse_cms(found.cms), certificates=())
    assert verify(rewrap(package, bare), key().certificate)


def test_a_new_certificate_for_the_same_key_is_trusted() -> None:
    made = key("rsa-2048")
    again = self_signed(made.private_key, "Reissued")
    assert verify(signed_package(made), again) == again


def test_the_message_tells_another_key_from_an_altered_package() -> None:
    package = signed_package(key())
    with pytest.raises(SigningError, match="signed by another key"):
        verify(package, key("p256", 1).certificate)
    altered = package.replace(b"payload" * 3, b"PAYLOAD" * 3, 1)
    with pytest.raises(SigningError, match="altered after it was signed"):
        verify(altered, key().certificate)


def test_signed_attributes_are_refused_with_a_hint() -> None:
    package = signed_package(key())
    found = parse_ota_signature(BytesSource(package))
    assert found is not None
    digest = bytes.fromhex("300b0609608648016503040201")
    at = found.cms.rindex(digest) + len(digest)
    attributes = found.cms[:at] + b"\xa0\x00" + found.cms[at:]
    grown = bytearray(attributes)
    for offset in (2, 17, 21):  # three two-byte lengths: ContentInfo, [0], SignedData
        grown[offset : offset + 2] = (int.from_bytes(grown[offset : offset + 2]) + 2).to_bytes(2)
    signer_infos = found.cms.rindex(parse_cms(found.cms).issuer) - 2 - 3 - 3
    grown[signer_infos - 1] += 2
    grown[signer_infos + 2] += 2
    with pytest.raises(SigningError, match="signed attributes") as caught:
        verify(with_comment(comment_for(bytes(grown))), key().certificate)
    assert "-noattr" in str(caught.value.hint)


# Foreign judges


@pytest.mark.judge("openssl")
@pytest.mark.parametrize("kind", KINDS)
def test_openssl_verifies_the_signed_bytes(kind: str, tmp_path: Path) -> None:
    package = signed_package(key(kind))
    found = parse_ota_signature(BytesSource(package))
    assert found is not None
    _, _, cert = write_key(tmp_path, key(kind))
    (tmp_path / "cms").write_bytes(found.cms)
    (tmp_path / "body").write_bytes(package[: found.signed_size])
    content = openssl(
        *("cms", "-verify", "-binary", "-inform", "DER", "-in", tmp_path / "cms"),
        *("-content", tmp_path / "body", "-CAfile", cert, "-purpose", "any"),
    )
    assert content == unsigned_package()[:-2]


@pytest.mark.judge("openssl")
@pytest.mark.parametrize("program", ["cms", "smime"])
@pytest.mark.parametrize("kind", ["rsa-2048", "p256"])
def test_what_openssl_signs_verifies(kind: str, program: str, tmp_path: Path) -> None:
    private_key, _, cert = write_key(tmp_path, key(kind))
    (tmp_path / "body").write_bytes(unsigned_package()[:-2])
    cms = openssl(
        *(program, "-sign", "-binary", "-noattr", "-md", "sha256", "-outform", "DER"),
        *("-signer", cert, "-inkey", private_key, "-in", tmp_path / "body"),
    )
    assert verify(with_comment(comment_for(cms)), key(kind).certificate)


@pytest.mark.judge("signapk")
@pytest.mark.parametrize("kind", KINDS)
def test_signapk_writes_what_is_written_here(kind: str, tmp_path: Path) -> None:
    _, pk8, cert = write_key(tmp_path, key(kind))
    (tmp_path / "in.zip").write_bytes(unsigned_package())
    program = shutil.which("signapk")
    assert program is not None
    subprocess.run(
        [*("java", "-jar", program, "-w", cert, pk8), tmp_path / "in.zip", tmp_path / "out.zip"],
        check=True,
        capture_output=True,
    )
    theirs = (tmp_path / "out.zip").read_bytes()
    assert verify(theirs, key(kind).certificate) == key(kind).certificate
    ours = signed_package(key(kind), theirs)
    if kind == "p256":  # ECDSA differs each time
        theirs_signature = parse_ota_signature(BytesSource(theirs))
        ours_signature = parse_ota_signature(BytesSource(ours))
        assert theirs_signature is not None
        assert ours_signature is not None
        cms = replace(
            parse_cms(ours_signature.cms), signature=parse_cms(theirs_signature.cms).signature
        )
        assert cms.encode() == theirs_signature.cms
    else:
        assert ours == theirs


@pytest.mark.judge("recovery-verifier")
@pytest.mark.parametrize("kind", KINDS)
def test_recoverys_own_verifier_accepts_the_package(kind: str, tmp_path: Path) -> None:
    _, _, cert = write_key(tmp_path, key(kind))
    package = signed_package(key(kind))
    (tmp_path / "ota.zip").write_bytes(package)
    (tmp_path / "bad.zip").write_bytes(b"\0" + package[1:])
    for name, expected in (("ota.zip", 0), ("bad.zip", 1)):
        done = subprocess.run(
            ["recovery-verifier", tmp_path / name, cert], check=False, capture_output=True
        )
        assert done.returncode == expected, done.stderr.decode()
