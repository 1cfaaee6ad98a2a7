"""The demo from one end to the other: what a first user types, sees and gets."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from rom_builder.cli import main
from rom_builder.formats.otacert import parse_certificates
from rom_builder.formats.payload import Payload
from rom_builder.formats.source import FileSource
from rom_builder.formats.tree import NodeKind
from rom_builder.formats.zip import ZipArchive
from rom_builder.rom.opening import open_rom

PACKAGE = "pine-4118.zip"
RESULT = "pine-4118-opt-in.zip"
EXAMPLE = Path(__file__).parent.parent / "examples" / "demo"


def test_the_walk_leads_from_failing_to_compliant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", str(tmp_path / "d")]) == 0
    output = capsys.readouterr().out
    assert [
        line.split()[2] for line in output.splitlines() if line.startswith("$ rom-builder")
    ] == [
        "check",
        "plan",
        "build",
        "verify",
        "check",
    ]
    assert re.findall(r"\(exit code (\d)\)", output) == ["1", "0", "0", "0", "0"]
    verdicts = re.findall(r"^verdict: ([a-z-]+)", output, re.MULTILINE)
    assert verdicts == ["non-compliant", "compliant", "compliant"]
    for rule in ("ROM101", "ROM102", "ROM104", "ROM201", "ROM202", "ROM203", "ROM301"):
        assert f"fail {rule}" in output
        assert rule == "ROM202" or f"pass {rule}" in output
    assert "-ro.messaging.default=on" in output
    assert "+ro.messaging.default=off" in output
    assert f"{RESULT}: valid" in output
    assert "development-signed" in output


def test_the_commands_do_the_same_when_a_person_types_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "d"
    assert main(["demo", "--no-walk", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["Messaging-2.0.apk", PACKAGE]
    typed = [line.split() for line in capsys.readouterr().out.splitlines() if line[:2] == "  "]
    assert typed[0] == ["cd", str(folder)]
    monkeypatch.chdir(folder)
    assert [main(words[1:]) for words in typed[1:]] == [1, 0, 0, 0, 0]


def test_the_fixed_app_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--no-walk", str(tmp_path)]) == 0
    monkeypatch.chdir(tmp_path)
    assert main(["build", PACKAGE, "-p", "messaging-opt-in", "-s", "dev", "-o", RESULT]) == 1
    assert not Path(RESULT).exists()
    assert "--replace /product/priv-app/Messaging/Messaging.apk=FILE" in capsys.readouterr().err


def payload_of(package: Path) -> Payload:
    archive = ZipArchive(FileSource(package))
    return Payload(archive.open(archive.entries["payload.bin"]))


def test_the_result_differs_from_the_base_only_where_it_must(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", str(tmp_path)]) == 0
    capsys.readouterr()
    before, after = (payload_of(tmp_path / name) for name in (PACKAGE, RESULT))
    changed = {
        name
        for name in after.names
        if before.update(name).new_partition_info != after.update(name).new_partition_info
    }
    assert changed == {"product", "system", "vbmeta", "vbmeta_system"}
    old, new = (open_rom(tmp_path / name) for name in (PACKAGE, RESULT))
    assert {
        path
        for path, file in new.files.items()
        if path not in old.files
        or (file.node.kind is NodeKind.FILE and new.read(file) != old.read(old.files[path]))
    } == {
        "/product/etc/build.prop",
        "/product/priv-app/Messaging/Messaging.apk",
        "/system/etc/reference-messaging/consent_notice.txt",
        "/system/etc/reference-messaging/network_security_config.xml",
        "/system/etc/reference-messaging/service.xml",
    }
    assert old.files.keys() == new.files.keys()


def test_the_example_package_is_made_of_the_folders_beside_it(tmp_path: Path) -> None:
    rom = open_rom(EXAMPLE / PACKAGE)
    for folder in ("system", "product"):
        found = {
            mount.prefix + node.path: node
            for mount in rom.mounts
            if mount.prefix == f"payload.bin!/{folder}!/"
            for node in mount.tree.walk()
            if node.kind is NodeKind.FILE
        }
        tree = EXAMPLE / folder
        names = {p.relative_to(tree).as_posix() for p in tree.rglob("*") if p.is_file()}
        assert {node.path for node in found.values()} == names
        for name, node in found.items():
            assert rom.read(rom.by_name[name]) == (tree / node.path).read_bytes()
            assert node.xattrs["security.selinux"] == b"u:object_r:system_file:s0\0"
            assert (node.uid, node.gid, node.mtime) == (0, 0, 1625443200)


def test_the_example_package_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert main(["demo", "--no-walk", str(tmp_path / name)]) == 0
    one, two = ((tmp_path / name / PACKAGE).read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_folder_that_holds_something_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["demo", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_rest_of_the_example_meets_the_baseline(tmp_path: Path) -> None:
    assert main(["demo", "--no-walk", str(tmp_path)]) == 0
    assert main(["check", str(tmp_path / PACKAGE), "-p", "rom-baseline"]) == 0


@pytest.mark.judge("unzip")
def test_unzip_takes_both_packages(tmp_path: Path) -> None:
    assert main(["demo", str(tmp_path)]) == 0
    for name in (PACKAGE, RESULT):
        subprocess.run(["unzip", "-tqq", tmp_path / name], check=True)


@pytest.mark.judge("openssl")
def test_openssl_verifies_the_signature(tmp_path: Path) -> None:
    assert main(["demo", str(tmp_path)]) == 0
    package = (tmp_path / RESULT).read_bytes()
    footer = package[-6:]
    comment_size = int.from_bytes(footer[4:], "little")
    start = int.from_bytes(footer[:2], "little")
    (tmp_path / "cms").write_bytes(package[-start:-6])
    (tmp_path / "content").write_bytes(package[: -comment_size - 2])
    archive = ZipArchive(FileSource(tmp_path / RESULT))
    otacert = archive.read(archive.entries["META-INF/com/android/otacert"])
    assert parse_certificates(otacert)
    (tmp_path / "cert").write_bytes(otacert)
    files = ("-in", "cms", "-content", "content", "-CAfile", "cert", "-out", "verified")
    subprocess.run(
        ["openssl", "cms", "-verify", "-inform", "DER", "-binary", "-purpose", "any", *files],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )


@pytest.mark.judge("apksigner")
def test_apksigner_accepts_both_versions_of_the_app_from_one_signer(tmp_path: Path) -> None:
    assert main(["demo", "--no-walk", str(tmp_path)]) == 0
    rom = open_rom(tmp_path / PACKAGE)
    (tmp_path / "old.apk").write_bytes(
        rom.read(rom.files["/product/priv-app/Messaging/Messaging.apk"])
    )
    signers = {
        re.findall(
            r"SHA-256 digest: ([0-9a-f]{64})",
            subprocess.run(
                ["apksigner", "verify", "--print-certs", path],
                check=True,
                capture_output=True,
                text=True,
            ).stdout,
        )[0]
        for path in (tmp_path / "old.apk", tmp_path / "Messaging-2.0.apk")
    }
    assert len(signers) == 1
