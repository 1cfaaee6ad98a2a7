"""Packages that are built from file-based ones: what is kept, what is refused, what is left behind."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rom_builder.cli import main
from rom_builder.formats.otacert import parse_certificates
from rom_builder.formats.source import BytesSource, FileSource
from rom_builder.formats.zip import ZipArchive
from rom_builder.keys import NewKey
from tests.file_based import FIXED_APP, write_package
from tests.roms import certificate as made_certificate
from tests.roms import pem
from tests.signing_material import certificate, key, write_key

APP = "/system/priv-app/Messaging/Messaging.apk"
STEPS = ("open", "plan", "pack", "check", "sign", "verify")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example's base, its fixed app, and a signing profile with RSA keys."""
    folder = tmp_path_factory.mktemp("demo")
    write_package(folder / "base.zip")
    shutil.copy(FIXED_APP, folder)
    signing(folder, key("rsa-2048"))
    return folder


def signing(folder: Path, made: NewKey, **more: str) -> Path:
    write_key(folder, made)
    profile = {
        "schema": "rom-builder/signing/v1",
        "id": "test",
        "title": "Keys of a test",
        "roles": {"ota": {"signer": "file:key.pem", "certificate": "key.x509.pem", **more}},
    }
    path = folder / "signing.yaml"
    path.write_text(yaml.safe_dump(profile))
    return path


def words(demo: Path, output: Path, base: Path | None = None, *more: str) -> list[str]:
    return [
        *("build", str(base or demo / "base.zip"), "-p", "messaging-opt-in"),
        *("-s", str(demo / "signing.yaml"), "-o", str(output)),
        *("--replace", f"{APP}={demo / 'Messaging-2.0.apk'}", *more),
    ]


@pytest.fixture(scope="module")
def built(demo: Path) -> Path:
    output = demo / "built.zip"
    assert main(words(demo, output)) == 0
    return output


def entries(package: bytes) -> dict[str, bytes]:
    """Each entry of a package with its compressed bytes."""
    archive = zipfile.ZipFile(io.BytesIO(package))
    found = {}
    for info in archive.infolist():
        start = info.header_offset + 30
        start += sum(
            int.from_bytes(package[info.header_offset + at : info.header_offset + at + 2], "little")
            for at in (26, 28)
        )
        found[info.filename] = package[start : start + info.compress_size]
    return found


def stored(source: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Write a package anew with Python's own writer after a change of its entries."""
    with zipfile.ZipFile(source) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    change(content)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return target


def test_what_is_not_edited_keeps_its_compressed_bytes_and_its_order(
    demo: Path, tmp_path: Path
) -> None:
    def shuffle(content: dict[str, bytes]) -> None:
        for name in sorted(content, reverse=True):
            content[name] = content.pop(name)
        content["payload.txt"] = b"notes of the vendor\n" * 99

    base = stored(demo / "base.zip", tmp_path / "base.zip", shuffle)
    assert main(words(demo, tmp_path / "out.zip", base)) == 0
    before, after = entries(base.read_bytes()), entries((tmp_path / "out.zip").read_bytes())
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {
        *("META-INF/com/android/metadata", "META-INF/com/google/android/updater-script"),
        *("META-INF/com/android/otacert", "system/build.prop"),
        *(name for name in before if "reference-messaging" in name or "Messaging.apk" in name),
    }
    assert len(changed) < len(before) - 5
    assert [name for name in after if name in before] == list(before)


def test_stale_jar_signatures_go_and_the_certificate_comes(demo: Path, tmp_path: Path) -> None:
    stale = ("META-INF/MANIFEST.MF", "META-INF/CERT.SF", "META-INF/CERT.RSA", "META-INF/X.EC")

    def sign(content: dict[str, bytes]) -> None:
        content.update(dict.fromkeys(stale, b"old"))
        content["META-INF/com/android/otacert"] = pem(made_certificate())

    base = stored(demo / "base.zip", tmp_path / "base.zip", sign)
    assert main(words(demo, tmp_path / "out.zip", base)) == 0
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert not set(stale) & set(archive.namelist())
        (found,) = parse_certificates(archive.read("META-INF/com/android/otacert"))
        metadata = archive.read("META-INF/com/android/metadata").decode()
    assert found == key("rsa-2048").certificate
    assert "ota-type=FILE" in metadata or "pre-device=pine" in metadata


def test_a_new_file_gets_its_owner_and_mode_in_the_scripts_own_words(
    demo: Path, tmp_path: Path
) -> None:
    (tmp_path / "tool").write_bytes(b"#!/system/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    more = ("--replace", f"/system/etc/tool={tmp_path / 'tool'}")
    assert main(words(demo, tmp_path / "out.zip", None, *more)) == 0
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        script = archive.read("META-INF/com/google/android/updater-script").decode()
    (line,) = [line for line in script.splitlines() if "/system/etc/tool" in line]
    assert line.startswith("set_metadata(")
    assert '"uid", 0, "gid", 0, "mode", 0755' in line
    assert script.index(line) > script.index("set_metadata_recursive(")
    assert script.index(line) < script.index("unmount(")


def test_the_same_base_gives_the_same_package(demo: Path, built: Path, tmp_path: Path) -> None:
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        subprocess.run(
            [sys.executable, "-m", "rom_builder", *words(demo, folder / f"{seed}.zip")],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": f"UTC{seed}"},
        )
        assert (folder / f"{seed}.zip").read_bytes() == built.read_bytes()


def test_a_base_that_is_unpacked_gives_the_same_files(
    demo: Path, built: Path, tmp_path: Path
) -> None:
    outputs = []
    for name in ("one", "two"):
        with zipfile.ZipFile(demo / "base.zip") as archive:
            archive.extractall(tmp_path / name)
        outputs.append(tmp_path / f"{name}.zip")
        assert main(words(demo, outputs[-1], tmp_path / name)) == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    contents = []
    for path in (built, outputs[0]):
        archive = ZipArchive(FileSource(path))
        contents.append({name: archive.read(entry) for name, entry in archive.entries.items()})
    assert contents[0] == contents[1]


def test_a_result_that_is_not_compliant_is_not_written(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.zip"
    output.write_bytes(b"an older package")
    command = words(demo, output)
    del command[command.index("--replace") :]
    assert main(command) == 1
    said = capsys.readouterr()
    assert "verdict: non-compliant" in said.out
    assert "needed: /system/priv-app/Messaging/Messaging.apk" in said.err
    assert "refused: " in said.err
    assert output.read_bytes() == b"an older package"
    assert [path.name for path in tmp_path.iterdir()] == ["out.zip"]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_changed_byte_breaks_the_signature(
    data: st.DataObject, demo: Path, built: Path, tmp_path: Path
) -> None:
    package = bytearray(built.read_bytes())
    offset = data.draw(st.integers(0, len(package) - 1))
    package[offset] ^= 1 << data.draw(st.integers(0, 7))
    (tmp_path / "flipped.zip").write_bytes(package)
    assert main(["verify", str(tmp_path / "flipped.zip")]) in (1, 2), offset


def test_the_output_is_never_the_base(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "base.zip"
    shutil.copy(demo / "base.zip", base)
    (tmp_path / "link.zip").symlink_to(base)
    for output in (base, tmp_path / "link.zip"):
        assert main(words(demo, output, base)) == 2, output
        assert "is the base itself" in capsys.readouterr().err
    assert base.read_bytes() == (demo / "base.zip").read_bytes()


def test_the_output_is_not_written_into_an_unpacked_base(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(demo / "base.zip") as archive:
        archive.extractall(tmp_path / "base")
    assert main(words(demo, tmp_path / "base" / "out.zip", tmp_path / "base")) == 2
    assert "inside the base" in capsys.readouterr().err
    assert not (tmp_path / "base" / "out.zip").exists()


def test_a_folder_for_the_output_must_be_there(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(demo, tmp_path / "none" / "out.zip")) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "none" in line
    assert "No such file or directory" in line
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("kind", ["rsa-3072", "rsa-1024"])
def test_a_key_that_recovery_refuses_signs_nothing(
    kind: str, demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private = rsa.generate_private_key(65537, int(kind[4:]))
    made = NewKey(private, certificate(private, hashes.SHA256()))
    profile = signing(tmp_path, made, not_after="2199-12-31")
    command = words(demo, tmp_path / "out.zip")
    command[command.index("-s") + 1] = str(profile)
    assert main(command) == 2
    assert kind[4:] in capsys.readouterr().err
    assert not (tmp_path / "out.zip").exists()


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    # Shells start background jobs with interrupts ignored, and children inherit that.
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_a_full_disk_leaves_nothing_behind(demo: Path, tmp_path: Path) -> None:
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); "
        "from rom_builder.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    ended = run(["-c", limited, *words(demo, tmp_path / "out.zip")])
    assert ended.returncode == 2
    (line,) = [line for line in ended.stderr.splitlines() if not line.endswith("...")]
    assert "File too large" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", STEPS)
def test_an_interrupt_leaves_nothing_behind(
    number: signal.Signals, step: str, demo: Path, tmp_path: Path
) -> None:
    """The command gets the signal from itself, as soon as the step's name is written."""
    interrupted = (
        "import os, signal, sys; import click; from rom_builder.cli import run; echo = click.echo\n"
        "def tell(text='', **more):\n"
        "    echo(text, **more)\n"
        f"    if text == '{step} ...': os.kill(os.getpid(), {int(number)})\n"
        "click.echo = tell; run()"
    )
    (tmp_path / "out.zip").write_bytes(b"older")
    ended = run(["-c", interrupted, *words(demo, tmp_path / "out.zip")])
    assert ended.returncode == 130, ended.stderr
    assert "interrupted" in ended.stderr
    assert f"{step} ..." in ended.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"out.zip": b"older"}


def damaged_bases() -> dict[str, Callable[[bytes], bytes]]:
    def bomb(package: bytes) -> bytes:
        file = io.BytesIO(package)
        with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("system/etc/reference-messaging/service.xml2", bytes(1 << 20))
        data = bytearray(file.getvalue())
        at = data.rindex(b"PK\1\2")
        data[at + 24 : at + 28] = (0xFFFFFFF0).to_bytes(4, "little")
        return bytes(data)

    def named(name: str) -> Callable[[bytes], bytes]:
        def add(package: bytes) -> bytes:
            file = io.BytesIO(package)
            with zipfile.ZipFile(file, "a") as archive:
                archive.writestr(zipfile.ZipInfo(name), b"x")
            return file.getvalue()

        return add

    return {
        "truncated": lambda package: package[: len(package) // 2],
        "empty": lambda _: b"",
        "noise": lambda _: bytes(range(256)) * 64,
        "bomb": bomb,
        "traversal": named("../../etc/passwd"),
        "absolute": named("/system/app/Evil.apk"),
        "duplicate": lambda package: named("system/build.prop")(package),
    }


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", damaged_bases())
def test_a_hostile_base_is_refused_in_one_line(
    kind: str, demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "base.zip"
    base.write_bytes(damaged_bases()[kind]((demo / "base.zip").read_bytes()))
    assert main(words(demo, tmp_path / "out.zip", base)) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if not line.endswith("...")]
    assert len([line for line in said if not line.startswith("  hint:")]) == 1, said
    assert "internal error" not in said[0]
    assert str(base) in said[0] or "base.zip" in said[0] or kind == "bomb"
    assert [path.name for path in tmp_path.iterdir()] == ["base.zip"]


def test_a_base_that_is_missing_is_named(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(demo, tmp_path / "out.zip", tmp_path / "none.zip")) == 2
    assert "none.zip: No such file or directory" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_certificate_in_the_package_is_the_signers(built: Path) -> None:
    archive = ZipArchive(BytesSource(built.read_bytes()))
    data = archive.read(archive.entries["META-INF/com/android/otacert"])
    assert data == key("rsa-2048").certificate.public_bytes(Encoding.PEM)
