"""What packages that are built without keys are made with: keys, profiles, a base."""

from __future__ import annotations

from pathlib import Path

import yaml
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.cli import main
from rom_builder.keys import NewKey
from rom_builder.keys.files import plain_key
from tests.file_based import FIXED_APP, write_package
from tests.signing_material import key
from tests.test_block_build import APP

TODAY = "1795348800"
KEYS = {
    "ota": key("rsa-2048"),
    "payload": key("rsa-4096", 1),
    "avb": key("rsa-4096", 2),
    "avb.vbmeta_system": key("rsa-2048", 3),
    "apk": key("rsa-2048", 4),
}
POLICIES = ("-p", "messaging-opt-in", "-p", "rom-baseline")
OPT_IN = POLICIES[:2]
BROUGHT = ("--replace", f"{APP}={FIXED_APP}")


def write_profiles(folder: Path, keys: dict[str, NewKey], **more: object) -> Path:
    """Write two profiles: one with keys, one for a machine that has none of them."""
    roles: dict[str, dict[str, object]] = {}
    for role, made in keys.items():
        path = folder / "secret" / f"{role}.pem"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(plain_key(made.private_key))
        path.chmod(0o600)
        (folder / f"{role}.x509.pem").write_bytes(made.certificate.public_bytes(Encoding.PEM))
        roles[role] = {"certificate": f"{role}.x509.pem", **more}
    for name, place in (("with.yaml", "secret"), ("without.yaml", "not-here")):
        data = {
            "schema": "rom-builder/signing/v1",
            "id": "t",
            "title": "T",
            "roles": {
                role: {"signer": f"file:{place}/{role}.pem", **said} for role, said in roles.items()
            },
        }
        (folder / name).write_text(yaml.safe_dump(data))
    return folder


def build(base: Path, profile: Path, output: Path, *more: str) -> int:
    return main(["build", str(base), "-s", str(profile), "-o", str(output), *more])


def file_based(folder: Path) -> Path:
    write_package(folder / "base.zip")
    return folder / "base.zip"
