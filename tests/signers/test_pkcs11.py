"""``pkcs11:`` keys in SoftHSM tokens, through real sessions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rom_builder.errors import SigningError
from rom_builder.keys import NewKey, self_signed
from rom_builder.keys.files import PassphraseFile, PassphrasePrompt, PrivateKey
from rom_builder.signers import open_signer
from rom_builder.signers.pkcs11_uri import module_of, parse_pkcs11_uri
from rom_builder.signers.signer import PROBE, CheckedSigner, KeySigner
from tests.signers.softhsm import MODULE, PIN, SoftHsm, softhsm
from tests.signing_material import key

needs_softhsm = pytest.mark.judge("softhsm2-util")
ASKED = PassphrasePrompt(lambda: PIN)
RSA, P256 = key("rsa-2048"), key("p256")
COUNTED = ("ota", "payload", "apk")


def odd(private: PrivateKey) -> NewKey:
    return NewKey(private, self_signed(private, "Odd"))


ODD = {
    "p384": odd(ec.generate_private_key(ec.SECP384R1())),
    "rsa-3072": odd(rsa.generate_private_key(65537, 3072)),
}


def opened(what: str, made: NewKey | None, **more: object) -> CheckedSigner:
    uri = what if "?" in what else f"{what}?module-path={MODULE}"
    certificate = made.certificate if made else None
    passphrase = more.pop("passphrase", ASKED)
    return open_signer(f"pkcs11:{uri}", certificate, passphrase=passphrase, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def hsm() -> SoftHsm:
    """Every token, made before this process loads the module, which looks for them once."""
    made = softhsm()
    made.token("signers", {"rsa": RSA, "p256": P256})
    slot = made.slot("signers")
    made.add(slot, "twin", "11", key("p256", 1))
    made.add(slot, "twin", "12", key("p256", 2))
    for _ in range(2):
        made.token("same", {"rsa": RSA})
    for number, how in enumerate(("uri", "relative", "variable", "profile")):
        made.token(f"pin-{how}", {"k": key("p256", number)})
    for label in ("inline", "pinless", "source"):
        made.token(label, {"k": P256})
    made.token("odd", ODD)
    made.token("counted", {name: key("p256", n) for n, name in enumerate(COUNTED)})
    return made


@needs_softhsm
@pytest.mark.parametrize(
    ("what", "made"),
    [
        ("token=signers;object=rsa", RSA),
        ("token=signers;id=%01", RSA),
        ("token=signers;object=rsa;type=private", RSA),
        ("model=SoftHSM%20v2;token=signers;object=p256", P256),
        ("token=signers;object=twin;id=%12", key("p256", 2)),
    ],
)
def test_a_key_in_a_token_signs(what: str, made: NewKey, hsm: SoftHsm) -> None:
    signer = opened(what, made)
    signer.probe()
    assert signer.certificate == made.certificate


@needs_softhsm
def test_rsa_signatures_are_those_of_the_same_key_in_a_file(hsm: SoftHsm) -> None:
    signer = opened("token=signers;object=rsa", RSA)
    for digest, algorithm in ((PROBE, "sha256"), (bytes(64), "sha512")):
        expected = KeySigner(RSA.private_key).sign_digest(digest, algorithm)  # type: ignore[arg-type]
        assert signer.sign_digest(digest, algorithm) == expected  # type: ignore[arg-type]


@needs_softhsm
def test_ecdsa_signatures_are_der_whatever_their_numbers(hsm: SoftHsm) -> None:
    signer = opened("token=signers;object=p256", P256)
    sizes = {len(signer.sign_digest(PROBE)) for _ in range(40)}
    assert sizes <= set(range(66, 73))
    assert len(sizes) > 1


@needs_softhsm
def test_a_slot_and_a_serial_number_tell_tokens_of_one_label_apart(hsm: SoftHsm) -> None:
    import pkcs11

    tokens = [t for t in pkcs11.lib(MODULE).get_tokens() if t.label == "same"]
    assert len(tokens) == 2
    with pytest.raises(SigningError, match="2 tokens could be meant") as caught:
        opened("token=same;object=rsa", RSA)
    serial = tokens[0].serial.decode().strip()
    assert serial in str(caught.value.hint)
    opened(f"token=same;serial={serial};object=rsa", RSA).probe()
    opened(f"slot-id={tokens[1].slot.slot_id};object=rsa", RSA).probe()


@needs_softhsm
@pytest.mark.parametrize(
    ("what", "made", "message", "hint"),
    [
        ("token=nowhere;object=rsa", RSA, "no such token is present", "'signers'"),
        ("token=signers;object=none", RSA, "no such private key", "object='rsa' id=%01"),
        ("token=signers;object=twin", P256, "2 private keys could be meant", "id=%11"),
        ("token=signers;object=rsa", P256, "not that of the certificate", "fingerprint"),
        ("token=signers;object=rsa", None, "no certificate lies beside", "name the certificate"),
        ("token=signers;object=rsa?module-path=/none.so", RSA, "no PKCS #11 module is there", ""),
        ("token=signers;object=rsa?module-path=/etc/passwd", RSA, "pkcs11:token=signers", ""),
        ("token=signers;object=rsa?module-name=nothing", RSA, "no module libnothing.so", "give"),
    ],
)
def test_what_is_wrong_is_one_line(
    what: str, made: NewKey | None, message: str, hint: str, hsm: SoftHsm
) -> None:
    with pytest.raises(SigningError, match=message) as caught:
        opened(what, made)
    assert "\n" not in str(caught.value)
    assert hint in str(caught.value.hint)


@needs_softhsm
def test_the_pin_comes_from_a_file_a_variable_or_the_profile(
    hsm: SoftHsm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pin").write_text(f"{PIN}\n")
    (tmp_path / "pin").chmod(0o600)
    path = f"?module-path={MODULE}"
    uri = f"token=pin-uri;object=k{path}&pin-source=file:{tmp_path}/pin"
    opened(uri, key("p256", 0), passphrase=None).probe()
    uri = f"token=pin-relative;object=k{path}&pin-source=file:pin"
    opened(uri, key("p256", 1), passphrase=None, folder=tmp_path).probe()
    monkeypatch.setenv("ROM_BUILDER_PIN", PIN)
    opened("token=pin-variable;object=k", key("p256", 2), passphrase=None).probe()
    source = PassphraseFile(tmp_path / "pin")
    opened("token=pin-profile;object=k", key("p256", 3), passphrase=source).probe()


@needs_softhsm
def test_a_pin_in_the_uri_is_taken_only_where_it_is_allowed_and_never_shown(hsm: SoftHsm) -> None:
    uri = f"token=inline;object=k?module-path={MODULE}&pin-value={PIN}"
    with pytest.raises(SigningError, match="the PIN stands in the URI") as caught:
        opened(uri, P256, passphrase=None)
    signer = opened(uri, P256, passphrase=None, allowed=frozenset({"inline-pin"}))
    signer.probe()
    shown = f"{caught.value!r} {caught.value.hint} {signer!r} {signer.signer!r} {signer.uri}"
    assert PIN not in shown


@needs_softhsm
def test_without_a_pin_the_sources_are_named(hsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROM_BUILDER_PIN", raising=False)
    monkeypatch.setattr("rom_builder.keys.files._variables", {})
    with pytest.raises(SigningError, match="no PIN: .*ROM_BUILDER_PIN is not set") as caught:
        opened("token=pinless;object=k", P256, passphrase=None)
    assert "pin-source" in str(caught.value.hint)


SPIES = ("/usr/lib/x86_64-linux-gnu/pkcs11-spy.so", "/usr/lib/aarch64-linux-gnu/pkcs11-spy.so")


@pytest.mark.judge("softhsm2-util", "pkcs11-tool")
def test_a_wrong_pin_is_tried_once_whoever_asks(hsm: SoftHsm, tmp_path: Path) -> None:
    """OpenSC's spy stands between program and token and writes down every call."""
    spy = next(path for path in SPIES if Path(path).is_file())
    roles = {
        name: {
            "signer": f"pkcs11:token=counted;object={name}?module-path={spy}",
            "certificate": str(hsm.folder / f"{name}.x509.pem"),
            "passphrase": {"env": "WRONG_PIN"},
        }
        for name in COUNTED
    }
    data = {"schema": "rom-builder/signing/v1", "id": "t", "title": "T", "roles": roles}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(data))
    calls = tmp_path / "calls"
    environment = {
        **os.environ,
        "PKCS11SPY": MODULE,
        "PKCS11SPY_OUTPUT": str(calls),
        "WRONG_PIN": "wrong-pin-5309",
    }
    done = subprocess.run(
        [sys.executable, "-m", "rom_builder", "keys", "check", str(tmp_path / "p.yaml")],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("the PIN is wrong; it was tried once") == 1
    assert done.stdout.count("refused the PIN and is not asked again") == 2
    assert calls.read_text().count("C_Login\n") == 1
    assert "wrong-pin-5309" not in done.stdout + done.stderr


# The URI alone


def test_a_uri_is_read_as_the_rfc_has_it() -> None:
    uri = parse_pkcs11_uri(
        "token=My%20token%3b;serial=0a;object=%C3%A9;id=%00%ff?module-path=/m.so&pin-source=file:/p",
        "",
    )
    assert (uri.token, uri.serial, uri.object, uri.id) == ("My token;", "0a", "é", b"\x00\xff")
    assert (uri.module_path, uri.pin_source) == ("/m.so", "file:/p")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no key"),
        ("token=t", "names no key"),
        ("object=a;object=b", "object is given twice"),
        ("object=a;colour=red", "colour"),
        ("object=a;pin-value=1", "before the question mark: pin-value"),
        ("object=a?token=b", "after the question mark: token"),
        ("object=", "object has no value"),
        ("object=%4", "object has no value"),
        ("object=a%00b", "object has no value"),
        ("object=%ff", "not UTF-8"),
        ("object=a;type=public", "type must be private"),
        ("object=a;slot-id=x", "slot-id is not a number"),
        ("object=a;slot-id=" + "9" * 30, "slot-id is not a number"),
        ("object=a?module-path=a&module-name=b", "both module-path and module-name"),
        ("object=a?pin-source=a&pin-value=b", "both pin-source and pin-value"),
    ],
)
def test_a_wrong_uri_is_one_line(text: str, message: str) -> None:
    with pytest.raises(SigningError, match=message):
        parse_pkcs11_uri(text, "pkcs11:…")


def test_a_uri_without_a_module_takes_the_variables(tmp_path: Path) -> None:
    uri = parse_pkcs11_uri("object=a", "")
    with pytest.raises(SigningError, match="names no PKCS #11 module"):
        module_of(uri, None, tmp_path, "pkcs11:object=a")
    (tmp_path / "m.so").write_bytes(b"")
    assert module_of(uri, "m.so", tmp_path, "") == str(tmp_path / "m.so")


@needs_softhsm
@pytest.mark.parametrize("source", ["|cat%20/etc/passwd", "https://example.com/pin", "file:/none"])
def test_a_pin_source_is_a_file(source: str, hsm: SoftHsm) -> None:
    with pytest.raises(SigningError, match="pin-source can only be a file|/none: No such file"):
        opened(f"token=source;object=k?module-path={MODULE}&pin-source={source}", P256)


@needs_softhsm
def test_other_curves_and_sizes_sign_too(hsm: SoftHsm) -> None:
    for name, one in ODD.items():
        opened(f"token=odd;object={name}", one).probe()
