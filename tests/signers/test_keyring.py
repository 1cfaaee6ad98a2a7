"""What a signing profile says of its keys is held: roles, parts, ends, policies, known keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rom_builder.errors import PolicyError, SigningError
from rom_builder.keys import NewKey, spki_sha256
from rom_builder.keys.files import encrypted_key, plain_key
from rom_builder.signers.keyring import open_keyring
from rom_builder.signers.profile import load_signing_profile, open_role
from tests.signing_material import certificate, key

OTA, PAYLOAD, AVB, SYSTEM = (key("rsa-2048", number) for number in range(4))


def fingerprint(made: NewKey) -> str:
    return spki_sha256(made.private_key.public_key())


def profile(folder: Path, **roles: NewKey | dict[str, object]) -> Path:
    """Write a profile; a role is a key, or what else the profile says of the key of that name."""
    written = {}
    for name, role in roles.items():
        name = name.replace("__", ".")
        more: dict[str, object] = {}
        if isinstance(role, dict):
            more = {**role}
            role = more.pop("key")  # type: ignore[assignment]
        assert isinstance(role, NewKey)
        path = folder / f"{name}.pem"
        path.write_bytes(plain_key(role.private_key) + role.certificate.public_bytes(Encoding.PEM))
        path.chmod(0o600)
        written[name] = {"signer": f"file:{path.name}", **more}
    data = {"schema": "rom-builder/signing/v1", "id": "t", "title": "T", "roles": written}
    (folder / "profile.yaml").write_text(yaml.safe_dump(data))
    return folder / "profile.yaml"


def test_every_role_has_its_key_and_parts_may_have_their_own(tmp_path: Path) -> None:
    path = profile(tmp_path, ota=OTA, payload=PAYLOAD, avb=AVB, avb__vbmeta_system=SYSTEM)
    keys = open_keyring(path)
    assert fingerprint(OTA) == spki_sha256(keys.ota.public_key)
    assert fingerprint(PAYLOAD) == spki_sha256(keys.payload.public_key)
    for partition, expected in (("vbmeta", AVB), ("boot", AVB), ("vbmeta_system", SYSTEM)):
        signer = keys.avb.for_partition(partition) if keys.avb else None
        assert signer is not None
        assert spki_sha256(signer.public_key) == fingerprint(expected)


def test_a_payload_is_signed_with_the_packages_key_unless_it_has_its_own(tmp_path: Path) -> None:
    keys = open_keyring(profile(tmp_path, ota=OTA))
    assert keys.payload is keys.ota
    assert keys.avb is None


def test_a_part_without_a_key_takes_that_of_its_role(tmp_path: Path) -> None:
    path = profile(tmp_path, apk=OTA, apk__platform=PAYLOAD)
    for role, expected in (("apk.overlay", OTA), ("apk", OTA), ("apk.platform", PAYLOAD)):
        assert spki_sha256(open_role(path, role).public_key) == fingerprint(expected)


@pytest.mark.parametrize(
    ("role", "said"),
    [
        ("oat", "did you mean 'ota'"),
        ("otas", "did you mean 'ota'"),
        ("avb.", "unknown role"),
        ("avb.boot/../x", "unknown role"),
        ("ota.system", "unknown role"),
        ("apk.plattform", "apk.platform"),
    ],
)
def test_an_unknown_role_is_named_with_the_known_ones(role: str, said: str, tmp_path: Path) -> None:
    text = (
        f'schema: rom-builder/signing/v1\nid: t\ntitle: T\nroles:\n  {role}: {{signer: "dev:x"}}\n'
    )
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(PolicyError, match=r"p\.yaml:5:\d+: roles") as caught:
        load_signing_profile(tmp_path / "p.yaml")
    assert said in str(caught.value)


def test_one_key_in_two_files_is_found(tmp_path: Path) -> None:
    path = profile(tmp_path, ota=OTA, avb=AVB, avb__boot=OTA)
    with pytest.raises(SigningError, match=r"roles ota and avb\.boot have the same key"):
        open_keyring(path)


@pytest.mark.judge("openssl")
def test_one_program_may_have_the_keys_of_several_roles(tmp_path: Path) -> None:
    path = profile(tmp_path, ota=OTA, avb=AVB, avb__boot=SYSTEM)
    for name, made in (("avb", AVB), ("avb.boot", SYSTEM)):
        pem = made.private_key.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )
        (tmp_path / f"{name}.pub").write_bytes(pem)
    helper = tmp_path / "helper"
    helper.write_text(
        "#!/bin/sh\n"
        f'cmp -s "$2" {tmp_path}/avb.pub && key={tmp_path}/avb.pem || key={tmp_path}/avb.boot.pem\n'
        'exec openssl rsautl -sign -raw -inkey "$key" -in /dev/stdin\n'
    )
    helper.chmod(0o755)
    written = yaml.safe_load(path.read_text())
    for name in ("avb", "avb.boot"):
        written["roles"][name] = {"signer": "exec-avb:./helper", "public_key": f"{name}.pub"}
    path.write_text(yaml.safe_dump(written))
    keys = open_keyring(path)
    assert keys.avb is not None
    for partition, made in (("vbmeta", AVB), ("boot", SYSTEM)):
        signer = keys.avb.for_partition(partition)
        assert signer is not None
        assert spki_sha256(signer.public_key) == fingerprint(made)


def test_a_fingerprint_is_enough_to_pin_a_key(tmp_path: Path) -> None:
    path = profile(tmp_path, ota={"key": OTA, "spki_sha256": fingerprint(OTA)})
    open_role(path, "ota").probe()
    path = profile(tmp_path, ota={"key": OTA, "spki_sha256": fingerprint(AVB)})
    with pytest.raises(SigningError, match="not that of the fingerprint") as caught:
        open_role(path, "ota")
    assert fingerprint(OTA) in str(caught.value.hint)


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_a_public_key_is_enough_where_no_certificate_is_needed(
    encoding: Encoding, tmp_path: Path
) -> None:
    more = {"public_key": "avb.pub", "passphrase": {"file": "pass"}}
    path = profile(tmp_path, avb={"key": AVB, **more})
    bare = encrypted_key(AVB.private_key, b"secret")
    (tmp_path / "avb.pem").write_bytes(bare)
    (tmp_path / "pass").write_text("secret")
    (tmp_path / "pass").chmod(0o600)
    public = AVB.private_key.public_key()
    form = PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "avb.pub").write_bytes(public.public_bytes(encoding, form))
    signer = open_role(path, "avb")
    signer.probe()
    with pytest.raises(SigningError, match="needs one"):
        _ = signer.certificate
    other = OTA.private_key.public_key().public_bytes(encoding, form)
    (tmp_path / "avb.pub").write_bytes(other)
    with pytest.raises(SigningError, match="not that of the public key"):
        open_role(path, "avb")
    (tmp_path / "avb.pub").write_bytes(b"nonsense")
    with pytest.raises(SigningError, match=r"avb\.pub: not a public key"):
        open_role(path, "avb")


def test_a_key_past_its_end_signs_nothing(tmp_path: Path) -> None:
    path = profile(tmp_path, ota={"key": OTA, "not_after": "2027-03-31"})
    loaded = load_signing_profile(path)
    last = datetime(2027, 3, 31, 23, 59, 59, tzinfo=UTC)
    loaded.open("ota", tmp_path, now=last).probe()
    with pytest.raises(SigningError, match="role ota: not_after, 2027-03-31, has passed"):
        loaded.open("ota", tmp_path, now=last + timedelta(seconds=1))


def test_a_certificate_past_its_end_signs_nothing_unless_the_profile_says_until_when(
    tmp_path: Path,
) -> None:
    old = NewKey(
        OTA.private_key, certificate(OTA.private_key, OTA.certificate.signature_hash_algorithm)
    )
    with pytest.raises(SigningError, match="its certificate's end"):
        open_role(profile(tmp_path, ota=old), "ota")
    day = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()
    open_role(profile(tmp_path, ota={"key": old, "not_after": day}), "ota").probe()


def test_a_key_signs_by_its_policies_only(tmp_path: Path) -> None:
    path = profile(tmp_path, ota={"key": OTA, "policies": ["strict", "baseline"]})
    open_role(path, "ota", policies=["strict"]).probe()
    with pytest.raises(SigningError, match="does not sign by the policy lax, only by strict, base"):
        open_role(path, "ota", policies=["strict", "lax"])


def test_a_key_that_others_can_read_is_taken_only_where_the_profile_allows_it(
    tmp_path: Path,
) -> None:
    path = profile(tmp_path, ota=OTA)
    (tmp_path / "ota.pem").chmod(0o644)
    with pytest.raises(SigningError, match="others can read"):
        open_role(path, "ota")
    path = profile(tmp_path, ota={"key": OTA, "allow": ["key-readable-by-others"]})
    (tmp_path / "ota.pem").chmod(0o644)
    open_role(path, "ota").probe()


def test_weak_encryption_is_remarked(tmp_path: Path) -> None:
    remarks = open_keyring(profile(tmp_path, ota=OTA, avb=AVB)).remarks
    assert remarks == (
        "file:ota.pem: the key file is not encrypted",
        "file:avb.pem: the key file is not encrypted",
    )


def test_it_is_said_whose_passphrase_is_asked_for(tmp_path: Path) -> None:
    path = profile(tmp_path, ota=OTA, avb=AVB)
    for made, name in ((OTA, "ota"), (AVB, "avb")):
        pem = made.certificate.public_bytes(Encoding.PEM)
        (tmp_path / f"{name}.pem").write_bytes(
            encrypted_key(made.private_key, f"pass of {name}".encode()) + pem
        )
    asked = []

    def ask(role: str) -> str:
        asked.append(role)
        return f"pass of {role}"

    assert open_keyring(path, prompt=ask).remarks == ()
    assert asked == ["ota", "avb"]
