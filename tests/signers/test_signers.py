from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from rom_builder.errors import SigningError
from rom_builder.keys.files import (
    PassphraseFile,
    PassphrasePrompt,
    PassphraseSource,
    PassphraseVariable,
    encrypted_key,
    plain_key,
    read_key_file,
)
from rom_builder.signers import REGISTRY, open_signer
from rom_builder.signers.signer import CheckedSigner, KeySigner, SigningDigest, checked
from tests.signing_material import key, openssl, write_key

DIGEST = hashlib.sha256(b"a payload").digest()
SECRET = b"correct horse battery"


@pytest.fixture(autouse=True)
def _own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def store(folder: Path, data: bytes, name: str = "key", mode: int = 0o600) -> Path:
    path = folder / name
    path.write_bytes(data)
    path.chmod(mode)
    return path


def verifies(signer: CheckedSigner) -> bool:
    signature, public = signer.sign_digest(DIGEST), signer.certificate.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        public.verify(signature, b"a payload", padding.PKCS1v15(), hashes.SHA256())
    else:
        assert isinstance(public, ec.EllipticCurvePublicKey)
        public.verify(signature, b"a payload", ec.ECDSA(hashes.SHA256()))
    return True


def forms(kind: str) -> dict[str, tuple[bytes, bytes | None]]:
    made = key(kind)
    encryption = BestAvailableEncryption(SECRET)
    private = made.private_key.private_bytes
    traditional = PrivateFormat.TraditionalOpenSSL
    return {
        "pem": (plain_key(made.private_key), None),
        "pem-traditional": (private(Encoding.PEM, traditional, NoEncryption()), None),
        "pem-encrypted": (private(Encoding.PEM, PrivateFormat.PKCS8, encryption), SECRET),
        "ours": (encrypted_key(made.private_key, SECRET), SECRET),
        "pk8": (private(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), None),
        "pk8-encrypted": (private(Encoding.DER, PrivateFormat.PKCS8, encryption), SECRET),
        "p12": (
            pkcs12.serialize_key_and_certificates(
                b"k", made.private_key, made.certificate, None, encryption
            ),
            SECRET,
        ),
    }


@pytest.mark.parametrize("kind", ["rsa-2048", "p256"])
@pytest.mark.parametrize("form", list(forms("p256")))
def test_every_form_of_key_file_signs(kind: str, form: str, tmp_path: Path) -> None:
    data, passphrase = forms(kind)[form]
    path = store(tmp_path, data)
    source = PassphraseFile(store(tmp_path, passphrase + b"\n", "pass")) if passphrase else None
    assert verifies(open_signer(f"file:{path}", key(kind).certificate, passphrase=source))


def test_a_relative_path_starts_from_the_given_folder(tmp_path: Path) -> None:
    store(tmp_path, plain_key(key().private_key), "ota.pem")
    assert verifies(open_signer("file:ota.pem", key().certificate, folder=tmp_path))


def test_a_certificate_in_the_key_file_is_used(tmp_path: Path) -> None:
    certificate = key().certificate.public_bytes(Encoding.PEM)
    path = store(tmp_path, encrypted_key(key().private_key, SECRET) + certificate)
    source = PassphrasePrompt(lambda: SECRET.decode())
    assert open_signer(f"file:{path}", passphrase=source).certificate == key().certificate


def test_without_any_certificate_nothing_is_opened(tmp_path: Path) -> None:
    path = store(tmp_path, plain_key(key().private_key))
    with pytest.raises(SigningError, match="no certificate"):
        open_signer(f"file:{path}")


def test_a_key_that_is_not_the_certificates_is_refused_at_load(tmp_path: Path) -> None:
    path = store(tmp_path, plain_key(key().private_key))
    with pytest.raises(SigningError, match="not that of the certificate"):
        open_signer(f"file:{path}", key("p256", 1).certificate)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_file_that_others_can_read_is_refused(mode: int, tmp_path: Path) -> None:
    path = store(tmp_path, plain_key(key().private_key), mode=mode)
    with pytest.raises(SigningError, match="others can read") as caught:
        open_signer(f"file:{path}", key().certificate)
    assert caught.value.hint == f"chmod 600 {path}"


def test_a_passphrase_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = store(tmp_path, encrypted_key(key().private_key, SECRET))
    open_to_all = store(tmp_path, SECRET, "pass", mode=0o644)
    with pytest.raises(SigningError, match="others can read this passphrase file"):
        open_signer(f"file:{path}", key().certificate, passphrase=PassphraseFile(open_to_all))


def test_a_passphrase_may_come_through_a_pipe() -> None:
    reading, writing = os.pipe()
    os.write(writing, SECRET + b"\n")
    os.close(writing)
    assert PassphraseFile(Path(f"/dev/fd/{reading}")).read() == SECRET
    os.close(reading)


def test_a_passphrase_variable_is_taken_out_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("A_PASSPHRASE", "one")
    assert PassphraseVariable("A_PASSPHRASE").read() == b"one"
    assert "A_PASSPHRASE" not in os.environ
    assert PassphraseVariable("A_PASSPHRASE").read() == b"one"
    with pytest.raises(SigningError, match="NOT_SET is not set"):
        PassphraseVariable("NOT_SET").read()


@pytest.mark.parametrize("uri", ["ota.pem", "nowhere:ota", "", ":x"])
def test_an_unknown_scheme_names_the_known_ones(uri: str) -> None:
    with pytest.raises(SigningError, match="dev:…, env:…, .*file:…"):
        open_signer(uri)


def test_every_scheme_says_what_it_opens() -> None:
    assert {"dev", "env", "file"} <= set(REGISTRY)
    assert all(opener.__doc__ for opener in REGISTRY.values())


# The check that stands before every signer


@dataclass(frozen=True)
class Faulty:
    """A signer that has the right key and returns something else."""

    returned: bytes
    certificate: x509.Certificate = key().certificate
    public_key = key().private_key.public_key()
    development = False

    def sign_digest(self, digest: bytes, algorithm: SigningDigest = "sha256") -> bytes:
        return self.returned


@pytest.mark.parametrize(
    "returned",
    [b"", b"nonsense", KeySigner(key().private_key).sign_digest(hashlib.sha256(b"").digest())],
    ids=["nothing", "nonsense", "of another digest"],
)
def test_a_signature_that_does_not_verify_never_comes_out(returned: bytes) -> None:
    signer = checked(Faulty(returned), key().certificate, "test:faulty")
    with pytest.raises(SigningError, match="does not verify"):
        signer.sign_digest(DIGEST)


@pytest.mark.parametrize(("digest", "algorithm"), [(b"short", "sha256"), (bytes(20), "sha1")])
def test_what_is_no_digest_is_not_signed(digest: bytes, algorithm: SigningDigest) -> None:
    with pytest.raises(ValueError, match="digest"):
        checked(KeySigner(key().private_key), key().certificate, "").sign_digest(digest, algorithm)


def test_sha512_is_signed_for_avb() -> None:
    made = key("rsa-2048")
    digest = hashlib.sha512(b"vbmeta").digest()
    signature = checked(KeySigner(made.private_key), made.certificate, "").sign_digest(
        digest, "sha512"
    )
    made.private_key.public_key().verify(  # type: ignore[call-arg]
        signature, b"vbmeta", padding.PKCS1v15(), hashes.SHA512()
    )


# Development keys


def test_a_development_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    first = open_signer("dev:ota")
    assert verifies(first)
    assert first.development
    folder = tmp_path / "data" / "rom-builder" / "dev-keys"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in folder.iterdir()] == ["ota.pem"]
    assert stat.S_IMODE((folder / "ota.pem").stat().st_mode) == 0o600
    assert open_signer("dev:ota").certificate == first.certificate
    assert open_signer("dev:avb").certificate != first.certificate
    assert "development" in first.certificate.subject.rfc4514_string()


@pytest.mark.parametrize("name", ["", "../ota", "/etc/passwd", "Ota", "a b", "-a", "a.pem"])
def test_a_development_key_has_a_plain_name(name: str) -> None:
    with pytest.raises(SigningError, match="named by"):
        open_signer(f"dev:{name}")


def test_a_folder_that_cannot_be_made_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(store(tmp_path, b"", "file")))
    with pytest.raises(SigningError, match="Not a directory"):
        open_signer("dev:ota")


def test_two_programs_at_once_get_the_same_development_key() -> None:
    program = (
        "from rom_builder.signers import open_signer\n"
        "print(open_signer('dev:ota').certificate.serial_number)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(4)
    ]
    printed = [process.communicate()[0] for process in running]
    assert len(set(printed)) == 1
    assert printed[0].strip().isdigit()


# Secrets


def test_no_message_or_representation_holds_a_secret(tmp_path: Path) -> None:
    made = key("rsa-2048")
    numbers = made.private_key.private_numbers()
    assert isinstance(numbers, rsa.RSAPrivateNumbers)
    pem, secret = plain_key(made.private_key), "hunter2-do-not-print"
    encrypted = store(tmp_path, encrypted_key(made.private_key, b"another passphrase"), "enc")
    half = store(tmp_path, pem[: len(pem) // 2], "half")
    text = store(tmp_path, b"my secret is " + secret.encode(), "text")
    plain = store(tmp_path, pem, "plain")
    passphrases: list[PassphraseSource] = [
        PassphraseFile(store(tmp_path, secret.encode(), "pass")),
        PassphrasePrompt(lambda: secret),
    ]
    said = [repr(passphrases), repr(read_key_file(plain)), repr(made)]
    for path in (encrypted, half, text, tmp_path / "missing", tmp_path):
        for source in (*passphrases, None):
            with pytest.raises(SigningError) as caught:
                open_signer(f"file:{path}", made.certificate, passphrase=source)
            assert "\n" not in str(caught.value)
            said += [str(caught.value), repr(caught.value), str(caught.value.hint)]
            assert caught.value.__cause__ is None
            assert caught.value.__context__ is None or caught.value.__suppress_context__
    signer = open_signer(f"file:{plain}", made.certificate)
    said += [repr(signer), repr(signer.signer)]
    with pytest.raises(SigningError) as caught:
        open_signer(f"file:{plain}", key().certificate)
    said.append(str(caught.value))
    everything = "".join(said)
    lines = [line for line in pem.decode().splitlines()[1:-1] if len(line) > 8]
    private = [str(numbers.p), f"{numbers.p:x}", str(numbers.d), "hunter2", "another passphrase"]
    assert not [word for word in [*lines, *private] if word in everything]


def test_wrong_and_missing_passphrases_are_told_apart(tmp_path: Path) -> None:
    path = store(tmp_path, encrypted_key(key().private_key, SECRET))
    with pytest.raises(SigningError, match="encrypted and no passphrase"):
        read_key_file(path)
    with pytest.raises(SigningError, match="passphrase is wrong"):
        read_key_file(path, PassphrasePrompt(lambda: "wrong"))


def test_a_key_that_no_device_takes_is_refused(tmp_path: Path) -> None:
    ed25519 = openssl("genpkey", "-algorithm", "ed25519")
    with pytest.raises(SigningError, match="neither RSA nor EC"):
        read_key_file(store(tmp_path, ed25519))


@pytest.mark.judge("openssl")
def test_openssl_reads_the_encrypted_key(tmp_path: Path) -> None:
    path = store(tmp_path, encrypted_key(key().private_key, SECRET))
    public = openssl("pkey", "-in", path, "-passin", f"pass:{SECRET.decode()}", "-pubout")
    _, _, certificate = write_key(tmp_path, key())
    assert public == openssl("x509", "-in", certificate, "-noout", "-pubkey")
    assert b"INTEGER           :0927C0" in openssl("asn1parse", "-in", path)  # 600,000 rounds
