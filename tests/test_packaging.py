"""What is shipped: the data, and never a private key."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from rom_builder.keys.files import encrypted_key
from tests.signing_material import key

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("signing", "policies", "templates", "examples", "rom_builder")
KEY_NAMES = ("ota.pem", "ota.key", "ota.pk8", "ota.p12", "ota.pfx", "ota.jks", "ota.keystore")
COPIED = (
    *FOLDERS,
    "tests",
    "pyproject.toml",
    "hatch_build.py",
    "LICENSE",
    ".gitignore",
    "README.md",
)


def plain(encoding: Encoding, form: PrivateFormat) -> bytes:
    return key().private_key.private_bytes(encoding, form, NoEncryption())


KEYS = {
    "PKCS#8 PEM": plain(Encoding.PEM, PrivateFormat.PKCS8),
    "SEC 1 PEM": plain(Encoding.PEM, PrivateFormat.TraditionalOpenSSL),
    "OpenSSH": plain(Encoding.PEM, PrivateFormat.OpenSSH),
    "encrypted PEM": encrypted_key(key().private_key, b"correct horse battery"),
    "PKCS#8 DER": plain(Encoding.DER, PrivateFormat.PKCS8),
    "SEC 1 DER": plain(Encoding.DER, PrivateFormat.TraditionalOpenSSL),
    "PKCS#1 DER": key("rsa-2048").private_key.private_bytes(
        Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    ),
    "encrypted DER": key().private_key.private_bytes(
        Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"correct horse battery")
    ),
    "PKCS#12": serialize_key_and_certificates(
        b"ota", key().private_key, key().certificate, None, NoEncryption()
    ),
    "inside a text": b"# Notes\n\n" + plain(Encoding.PEM, PrivateFormat.PKCS8),
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the source tree, without its history."""
    copy = tmp_path / "tree"
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", ".mypy_cache", "apks")
            shutil.copytree(source, copy / name, ignore=ignored)
        else:
            copy.mkdir(exist_ok=True)
            shutil.copyfile(source, copy / name)
    return copy


def build(tree: Path, kind: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", "dist"],
        cwd=tree,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def built(tree: Path, kind: str) -> dict[str, bytes]:
    """Build and return what is in it: name, without the sdist's top folder, to content."""
    done = build(tree, kind)
    assert done.returncode == 0, done.stderr
    (artifact,) = (tree / "dist").iterdir()
    if kind == "wheel":
        with zipfile.ZipFile(artifact) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(artifact) as sdist:
        return {
            member.name.partition("/")[2]: file.read()
            for member in sdist
            if (file := sdist.extractfile(member)) is not None
        }


def plant(tree: Path, name: str, data: bytes) -> list[Path]:
    planted = [tree / folder / name for folder in FOLDERS]
    for path in planted:
        path.write_bytes(data)
    return planted


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_key_files_stay_out_and_data_comes_along(tree: Path, kind: str) -> None:
    for name in KEY_NAMES:
        plant(tree, name, KEYS["PKCS#8 PEM"])
    shipped = built(tree, kind)
    secret = KEYS["PKCS#8 PEM"].splitlines()[1]
    assert [name for name, data in shipped.items() if secret in data] == []
    assert [name for name in shipped if name.endswith(KEY_NAMES)] == []
    top = "rom_builder/_data/" if kind == "wheel" else ""
    for name in (
        "policies/messaging-opt-in.yaml",
        "policies/policy.schema.json",
        "policies/profiles/reference-messaging.yaml",
        "templates/system/etc/reference-messaging/service.xml.j2",
        "signing/dev.yaml",
        "signing/known-public-keys.json",
        "examples/demo/Messaging-2.0.apk",
        "examples/demo/pine-4118.zip",
    ):
        assert shipped[top + name] == (ROOT / name).read_bytes(), name
    assert "rom_builder/py.typed" in shipped


@pytest.mark.parametrize("form", KEYS)
def test_a_key_under_an_innocent_name_stops_the_build(tree: Path, form: str) -> None:
    (tree / "signing" / "notes.txt").write_bytes(KEYS[form])
    done = build(tree, "wheel")
    assert done.returncode != 0
    assert "rom_builder/_data/signing/notes.txt" in done.stderr
    assert list((tree / "dist").iterdir()) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_key_in_any_folder_stops_the_sdist(tree: Path, folder: str) -> None:
    (tree / folder / "notes.txt").write_bytes(KEYS["encrypted PEM"])
    done = build(tree, "sdist")
    assert done.returncode != 0
    assert f"{folder}/notes.txt" in done.stderr
    assert list((tree / "dist").iterdir()) == []


def test_the_tree_can_be_installed_editable(tree: Path) -> None:
    program = "import hatchling.build as b; print(b.build_editable('dist'))"
    (tree / "dist").mkdir()
    subprocess.run([sys.executable, "-c", program], cwd=tree, check=True)
    (wheel,) = (tree / "dist").iterdir()
    with zipfile.ZipFile(wheel) as editable:
        assert editable.read("_rom_builder.pth").decode().split() == [str(tree)]


def test_the_installed_wheel_finds_its_data(tree: Path, tmp_path: Path) -> None:
    done = build(tree, "wheel")
    assert done.returncode == 0, done.stderr
    (wheel,) = (tree / "dist").iterdir()
    installed = tmp_path / "installed"
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet")
    subprocess.run([*pip, "--target", installed, wheel], check=True)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = "import rom_builder.cli as c; print(c.__file__); c.run()"
        return subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
            check=False,
        )

    listed = run("policy", "list")
    assert listed.stdout.startswith(str(installed)), listed.stderr
    assert "messaging-opt-in" in listed.stdout
    assert run("demo", "--no-walk", "d").returncode == 0
    checked = run("check", "d/pine-4118.zip", "-p", "messaging-opt-in")
    assert checked.returncode == 1, checked.stderr
    assert "verdict: non-compliant" in checked.stdout
