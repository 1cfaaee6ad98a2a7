"""Signers of APKs: ours judged by apksigner, apksigner's and openssl's read by us."""

from __future__ import annotations

import base64
import hashlib
import io
import random
import re
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs7,
    pkcs12,
)

from rom_builder.errors import ImageError, SigningError
from rom_builder.formats.apk_signature import ApkSigner, read_signers, verify_apk
from rom_builder.formats.apk_signing import sign_apk
from rom_builder.formats.jar_signature import read_jar_signers
from rom_builder.formats.source import BytesSource
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_writer import ZipWriter

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
FILES = {"AndroidManifest.xml": b"<manifest/>", "classes.dex": bytes(2_500_000), "res/a": b"a"}


@dataclass
class Identity:
    key: PrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    def sign(self, digest: bytes) -> bytes:
        prehashed = utils.Prehashed(hashes.SHA256())
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(digest, padding.PKCS1v15(), prehashed)
        return self.key.sign(digest, ec.ECDSA(prehashed))

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        key, pem = folder / f"{name}.pk8", folder / f"{name}.x509.pem"
        key.write_bytes(self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
        pem.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return key, pem


def identity(key: PrivateKey, serial: int = 1) -> Identity:
    name = x509.Name.from_rfc4514_string(f"CN=test {serial}")
    start, end = datetime(2020, 1, 1, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), serial, start, end)
    return Identity(key, builder.sign(key, hashes.SHA256()))


@pytest.fixture(scope="module")
def identities() -> dict[str, Identity]:
    return {
        "RSA-2048": identity(rsa.generate_private_key(65537, 2048), 1),
        "RSA-4096": identity(rsa.generate_private_key(65537, 4096), 2),
        "P-256": identity(ec.generate_private_key(ec.SECP256R1()), 3),
    }


@pytest.fixture(scope="module")
def rsa_2048(identities: dict[str, Identity]) -> Identity:
    return identities["RSA-2048"]


def packed(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    writer = ZipWriter(file)
    for name, data in files.items():
        writer.add(name, data, compress=name.endswith((".dex", ".SF", ".MF")))
    writer.close()
    return file.getvalue()


def signers_of(data: bytes, *, verify: bool = True) -> tuple[ApkSigner, ...]:
    source = BytesSource(data)
    return read_signers(ZipArchive(source, lenient=True), source, verify=verify)


def faults_of(data: bytes, *, verify: bool = True) -> str:
    return "\n".join(fault for one in signers_of(data, verify=verify) for fault in one.faults)


def with_jar_signature(
    files: dict[str, bytes],
    cms: Callable[[bytes], bytes],
    *,
    digest: str = "SHA-256",
    announced: str = "",
    whole_manifest: bool = True,
) -> dict[str, bytes]:
    """Return ``files`` with a manifest, a signature file and the CMS over it."""
    hashed = lambda data: base64.b64encode(  # noqa: E731
        hashlib.new(digest.replace("-", ""), data).digest()
    ).decode()
    label = "SHA1" if digest == "SHA-1" else digest
    head = "Manifest-Version: 1.0\r\n\r\n"
    sections = {}
    for name, data in files.items():
        line = f"Name: {name}\r\n"
        folded = line if len(line) <= 72 else f"{line[:70]}\r\n {line[70:]}"
        sections[name] = f"{folded}{label}-Digest: {hashed(data)}\r\n\r\n"
    manifest = (head + "".join(sections.values())).encode()
    text = "Signature-Version: 1.0\r\n" + announced
    if whole_manifest:
        text += f"{label}-Digest-Manifest: {hashed(manifest)}\r\n"
    text += "\r\n"
    for name, section in sections.items():
        text += f"Name: {name}\r\n{label}-Digest: {hashed(section.encode())}\r\n\r\n"
    return {
        **files,
        "META-INF/MANIFEST.MF": manifest,
        "META-INF/CERT.SF": text.encode(),
        "META-INF/CERT.RSA": cms(text.encode()),
    }


def cms_by(who: Identity, *options: pkcs7.PKCS7Options) -> Callable[[bytes], bytes]:
    def cms(text: bytes) -> bytes:
        builder = pkcs7.PKCS7SignatureBuilder().set_data(text)
        builder = builder.add_signer(who.certificate, who.key, hashes.SHA256())
        detached = [pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.DetachedSignature]
        return builder.sign(Encoding.DER, [*detached, *options])

    return cms


def apksigner(*arguments: object) -> str:
    done = subprocess.run(
        ["apksigner", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_an_unsigned_apk_has_no_signer() -> None:
    assert signers_of(packed(FILES)) == ()


@pytest.mark.judge("apksigner")
@pytest.mark.parametrize("kind", ["RSA-2048", "RSA-4096", "P-256"])
def test_apksigner_accepts_what_we_sign(
    kind: str, identities: dict[str, Identity], tmp_path: Path
) -> None:
    who = identities[kind]
    path = tmp_path / "a.apk"
    path.write_bytes(sign_apk(packed(FILES), who.der, who.sign))

    said = apksigner("verify", "-v", "--print-certs", "--min-sdk-version", 24, path)

    assert "v2 scheme (APK Signature Scheme v2): true" in said
    assert "v3 scheme (APK Signature Scheme v3): true" in said
    signers = signers_of(path.read_bytes())
    assert [signer.scheme for signer in signers] == ["v2", "v3"]
    assert [signer.faults for signer in signers] == [(), ()]
    assert all(signer.verified for signer in signers)
    assert {signer.certificates[0].key_kind for signer in signers} == {kind}
    (sha256,) = re.findall(r"certificate SHA-256 digest: (\w+)", said)
    (spki,) = re.findall(r"public key SHA-256 digest: (\w+)", said)
    assert signers[0].certificates[0].cert_sha256 == sha256
    assert signers[0].certificates[0].spki_sha256 == spki
    assert (signers[1].min_sdk, signers[1].max_sdk) == (28, 0x7FFFFFFF)


@pytest.mark.judge("apksigner")
@pytest.mark.parametrize("kind", ["RSA-2048", "P-256"])
@pytest.mark.parametrize("min_sdk", [16, 24])
def test_what_apksigner_signs_is_read(
    kind: str, min_sdk: int, identities: dict[str, Identity], tmp_path: Path
) -> None:
    key, pem = identities[kind].write(tmp_path, "key")
    unsigned, path = tmp_path / "u.apk", tmp_path / "a.apk"
    unsigned.write_bytes(packed({**FILES, "assets/" + "long" * 30: b"x"}))
    said = apksigner(
        "sign", "--key", key, "--cert", pem, "--min-sdk-version", max(min_sdk, 18),
        "--v1-signing-enabled", "true", "--out", path, unsigned,
    )  # fmt: skip
    assert said == ""

    signers = signers_of(path.read_bytes())
    assert [signer.scheme for signer in signers] == ["v1", "v2", "v3"]
    assert [signer.faults for signer in signers] == [(), (), ()]
    assert {signer.certificates[0].der for signer in signers} == {identities[kind].der}
    assert signers[0].block in ("META-INF/KEY.RSA", "META-INF/KEY.EC")


@pytest.mark.judge("apksigner")
def test_a_rotated_key_comes_with_its_lineage(
    identities: dict[str, Identity], tmp_path: Path
) -> None:
    old_key, old_pem = identities["RSA-2048"].write(tmp_path, "old")
    new_key, new_pem = identities["P-256"].write(tmp_path, "new")
    lineage, unsigned, path = tmp_path / "lineage", tmp_path / "u.apk", tmp_path / "a.apk"
    unsigned.write_bytes(packed(FILES))
    old = ("--key", old_key, "--cert", old_pem)
    new = ("--key", new_key, "--cert", new_pem)
    apksigner("rotate", "--out", lineage, "--old-signer", *old, "--new-signer", *new)
    apksigner(
        "sign", *old, "--next-signer", *new, "--lineage", lineage, "--min-sdk-version", 24,
        "--out", path, unsigned,
    )  # fmt: skip

    signers = {signer.scheme: signer for signer in signers_of(path.read_bytes())}
    assert "".join(fault for signer in signers.values() for fault in signer.faults) == ""
    rotated = signers.get("v3.1") or signers["v3"]
    assert rotated.certificates[0].der == identities["P-256"].der
    assert [one.der for one in rotated.lineage] == [
        identities["RSA-2048"].der,
        identities["P-256"].der,
    ]
    assert signers["v2"].certificates[0].der == identities["RSA-2048"].der


def test_signing_twice_gives_the_same_bytes(rsa_2048: Identity) -> None:
    unsigned = packed(FILES)

    assert sign_apk(unsigned, rsa_2048.der, rsa_2048.sign) == sign_apk(
        unsigned, rsa_2048.der, rsa_2048.sign
    )


def test_signing_refuses_a_signature_of_another_key(identities: dict[str, Identity]) -> None:
    with pytest.raises(SigningError, match="CN=test 1: the signature is wrong"):
        sign_apk(packed(FILES), identities["RSA-2048"].der, identities["RSA-4096"].sign)


def test_signing_refuses_a_signed_apk(rsa_2048: Identity) -> None:
    signed = sign_apk(packed(FILES), rsa_2048.der, rsa_2048.sign)

    with pytest.raises(ImageError, match="has a signing block already"):
        sign_apk(signed, rsa_2048.der, rsa_2048.sign)


def test_signing_refuses_a_key_that_apks_cannot_have() -> None:
    who = identity(ec.generate_private_key(ec.SECP521R1()))

    with pytest.raises(SigningError, match="not with a P-521 key"):
        sign_apk(packed(FILES), who.der, who.sign)


def test_no_flipped_byte_of_a_signed_apk_verifies(rsa_2048: Identity) -> None:
    files = {"AndroidManifest.xml": b"<manifest/>", "a": b"content"}
    whole = sign_apk(packed(files), rsa_2048.der, rsa_2048.sign)
    clean = signers_of(whole)
    assert [signer.faults for signer in clean] == [(), ()]
    for at in range(len(whole)):
        data = bytearray(whole)
        data[at] ^= 0x20
        try:
            signers = signers_of(bytes(data))
        except ImageError:
            continue
        assert len(signers) < 2 or any(signer.faults for signer in signers), hex(at)


def test_a_stripped_v3_signature_is_noticed(rsa_2048: Identity) -> None:
    whole = sign_apk(packed(FILES), rsa_2048.der, rsa_2048.sign)
    stripped = whole.replace((0xF05368C0).to_bytes(4, "little"), (0x42726577).to_bytes(4, "little"))

    assert [signer.scheme for signer in signers_of(stripped)] == ["v2"]
    assert "a v3 signature was there and is missing" in faults_of(stripped, verify=False)


@pytest.mark.parametrize("attributes", [True, False])
@pytest.mark.parametrize("whole_manifest", [True, False])
def test_a_jar_signature_holds(attributes: bool, whole_manifest: bool, rsa_2048: Identity) -> None:
    options = [] if attributes else [pkcs7.PKCS7Options.NoAttributes]
    files = {**FILES, "assets/" + "long" * 15: b"x", "META-INF/com/google/update-script": b"y"}
    signed = with_jar_signature(files, cms_by(rsa_2048, *options), whole_manifest=whole_manifest)

    (signer,) = signers_of(packed({**signed, "folder/": b"", "META-INF/extra.RSA/": b""}))

    assert (signer.scheme, signer.faults, signer.verified) == ("v1", (), True)
    assert signer.digest_algorithms == ("SHA-256",)
    assert signer.certificates[0].der == rsa_2048.der


@pytest.mark.judge("openssl")
@pytest.mark.parametrize("attributes", [True, False])
@pytest.mark.parametrize("digest", ["MD5", "SHA-1", "SHA-512"])
def test_openssl_signs_what_we_read(
    attributes: bool, digest: str, rsa_2048: Identity, tmp_path: Path
) -> None:
    key, pem = rsa_2048.write(tmp_path, "key")

    def cms(text: bytes) -> bytes:
        return subprocess.run(
            ["openssl", "smime", "-sign", "-binary", "-outform", "DER", "-signer", pem,
             "-inkey", key, "-keyform", "DER", "-md", digest.replace("-", "").lower(),
             *([] if attributes else ["-noattr"])],
            input=text, capture_output=True, check=True,
        ).stdout  # fmt: skip

    (signer,) = signers_of(packed(with_jar_signature(FILES, cms, digest=digest)))

    assert (signer.faults, signer.digest_algorithms) == ((), (digest,))


@pytest.mark.judge("apksigner")
def test_an_issuer_in_another_kind_of_string_names_the_same_certificate(
    identities: dict[str, Identity], tmp_path: Path
) -> None:
    """Signers of Google's and OnePlus's apps write issuers with PrintableString, certificates UTF8String."""
    who = identities["RSA-2048"]
    name = b"test 1"
    as_utf8, as_printable = (bytes([tag, len(name)]) + name for tag in (0x0C, 0x13))

    def cms(text: bytes) -> bytes:
        made = cms_by(who)(text)
        assert made.count(as_utf8) == 3  # issuer and subject, then the issuer that the signer names
        head, _, tail = made.rpartition(as_utf8)
        return head + as_printable + tail

    signed = packed(with_jar_signature(FILES, cms))
    (signer,) = signers_of(signed)
    assert (signer.certificates[0].der, signer.faults) == (who.der, ())

    (tmp_path / "app.apk").write_bytes(signed)
    judged = apksigner(
        "verify", "--min-sdk-version=21", "--max-sdk-version=23", "-v", tmp_path / "app.apk"
    )
    assert "Verified using v1 scheme (JAR signing): true" in judged


def test_the_issuer_of_another_certificate_names_none(rsa_2048: Identity) -> None:
    def cms(text: bytes) -> bytes:
        head, name, tail = cms_by(rsa_2048)(text).rpartition(b"test 1")
        return head + name.replace(b"1", b"2") + tail

    with pytest.raises(ImageError, match="the signer's certificate is missing"):
        signers_of(packed(with_jar_signature(FILES, cms)))


def changed(name: str, old: bytes, new: bytes) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda files: {**files, name: files[name].replace(old, new, 1)}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (changed("res/a", b"a", b"b"), "'res/a' is not the file that was signed"),
        (lambda files: {**files, "new": b""}, "'new' has no digest in the manifest"),
        (
            lambda files: {name: data for name, data in files.items() if name != "res/a"},
            "'res/a' was signed and is missing",
        ),
        (
            changed("META-INF/CERT.SF", b"1.0", b"1.1"),
            "attributes hold another digest of the signature file",
        ),
        (changed("META-INF/MANIFEST.MF", b"1.0\r\n", b"1.0\r\nX: y\r\n"), ""),
        (changed("META-INF/MANIFEST.MF", b"res/a", b"res/b"), "no right digest of the manifest"),
        (
            lambda files: {n: d for n, d in files.items() if not n.endswith(".SF")},
            "META-INF/CERT.RSA has no signature file",
        ),
        (
            lambda files: {n: d for n, d in files.items() if not n.endswith(".MF")},
            "META-INF/MANIFEST.MF is missing",
        ),
    ],
)
def test_a_jar_signature_that_does_not_hold_says_why(
    change: Callable[[dict[str, bytes]], dict[str, bytes]], fault: str, rsa_2048: Identity
) -> None:
    signed = with_jar_signature(FILES, cms_by(rsa_2048))

    faults = faults_of(packed(change(signed)))

    assert fault in faults
    assert bool(faults) == bool(fault)


def test_a_cms_of_another_file_is_noticed(rsa_2048: Identity) -> None:
    without = pkcs7.PKCS7Options.NoAttributes
    signed = with_jar_signature(FILES, lambda _: cms_by(rsa_2048, without)(b"another file"))

    assert "META-INF/CERT.RSA: the signature is wrong" in faults_of(packed(signed), verify=False)


def test_a_jar_signature_tells_of_a_stripped_v2(rsa_2048: Identity) -> None:
    announced = "X-Android-APK-Signed: 2, 3\r\n"
    signed = packed(with_jar_signature(FILES, cms_by(rsa_2048), announced=announced))

    assert "a v2 signature was there and is missing" in faults_of(signed, verify=False)
    assert faults_of(sign_apk(signed, rsa_2048.der, rsa_2048.sign)) == ""
    (signer,) = read_jar_signers(ZipArchive(BytesSource(signed)), verify=True)
    assert signer.faults == ()


def test_a_stripped_v2_does_not_matter_to_an_app_of_the_system(rsa_2048: Identity) -> None:
    announced = "X-Android-APK-Signed: 2\r\n"
    data = packed(with_jar_signature(FILES, cms_by(rsa_2048), announced=announced))
    archive, source = ZipArchive(BytesSource(data)), BytesSource(data)
    verdicts = [
        verify_apk(archive, source, min_sdk=29, max_sdk=29, preinstalled=preinstalled)
        for preinstalled in (False, True)
    ]
    assert [verdict.faults for verdict in verdicts] == [
        ("a v2 signature was there and is missing",),
        (),
    ]


def test_entries_are_looked_at_only_on_request(rsa_2048: Identity) -> None:
    signed = with_jar_signature(FILES, cms_by(rsa_2048))
    signed["res/a"] = b"changed"

    (signer,) = signers_of(packed(signed), verify=False)

    assert (signer.faults, signer.verified) == ((), False)


def test_damaged_signatures_raise_image_errors_only(rsa_2048: Identity) -> None:
    small = {"AndroidManifest.xml": b"<manifest/>", "a": b"content"}
    jar = with_jar_signature(small, cms_by(rsa_2048))
    generator = random.Random(11)
    names = [name for name in jar if name.startswith("META-INF/")]
    for _ in range(400):
        name = generator.choice(names)
        data = bytearray(jar[name])
        data[generator.randrange(len(data))] = generator.randrange(256)
        size = generator.choice([len(data), generator.randrange(len(data))])
        try:
            signers = signers_of(packed({**jar, name: bytes(data[:size])}))
        except ImageError:
            continue
        assert isinstance(signers, tuple)
    whole = sign_apk(packed(small), rsa_2048.der, rsa_2048.sign)
    for _ in range(800):
        block = bytearray(whole)
        at = generator.randrange(100, len(block) - 100)
        block[at : at + 4] = generator.choice([b"\xff\xff\xff\xff", bytes(4), b"\1\0\0\0"])
        try:
            signers_of(bytes(block), verify=False)
        except ImageError:
            continue


def test_zipfile_reads_a_signed_apk(rsa_2048: Identity) -> None:
    whole = sign_apk(packed(FILES), rsa_2048.der, rsa_2048.sign)

    with zipfile.ZipFile(io.BytesIO(whole)) as judge:
        assert judge.testzip() is None


def test_a_name_folded_inside_a_character_is_read(rsa_2048: Identity) -> None:
    name = "assets/äöü"
    files = {**FILES, name: b"x"}
    signed = with_jar_signature(files, cms_by(rsa_2048))
    line = f"Name: {name}\r\n".encode()
    assert line[:14].decode(errors="replace").endswith("\ufffd")
    for entry in ("META-INF/MANIFEST.MF", "META-INF/CERT.SF"):
        assert line in signed[entry]
        signed[entry] = signed[entry].replace(line, line[:14] + b"\r\n " + line[14:])
    signed["META-INF/CERT.RSA"] = cms_by(rsa_2048)(signed["META-INF/CERT.SF"])

    faults = faults_of(packed(signed))

    assert "no right digest of the manifest" in faults  # the manifest changed; its names are read
    assert "has no digest in the manifest" not in faults
    assert "was signed and is missing" not in faults


def test_a_line_that_goes_on_from_nothing_is_damage(rsa_2048: Identity) -> None:
    signed = with_jar_signature(FILES, cms_by(rsa_2048))
    signed["META-INF/MANIFEST.MF"] += b" goes on\r\n"
    with pytest.raises(ImageError, match="follows an empty one"):
        signers_of(packed(signed))


@pytest.mark.judge("jarsigner")
def test_jarsigner_signs_what_we_read(rsa_2048: Identity, tmp_path: Path) -> None:
    store, jar = tmp_path / "store.p12", tmp_path / "a.jar"
    encryption = BestAvailableEncryption(b"password")
    store.write_bytes(
        pkcs12.serialize_key_and_certificates(
            b"me", rsa_2048.key, rsa_2048.certificate, None, encryption
        )
    )
    jar.write_bytes(packed(FILES))
    subprocess.run(
        ["jarsigner", "-keystore", store, "-storepass", "password", jar, "me"],
        capture_output=True,
        check=True,
    )
    (signer,) = signers_of(jar.read_bytes())
    assert (signer.faults, signer.certificates[0].der) == ((), rsa_2048.der)

    with zipfile.ZipFile(jar) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    changed_head = changed("META-INF/MANIFEST.MF", b"1.0\r\n", b"1.0\r\nX: y\r\n")(files)
    assert "another digest of the manifest's main attributes" in faults_of(packed(changed_head))
