"""A check of hostile and damaged images: what cannot be read is said once, clearly, and never passes."""

from __future__ import annotations

import io
import os
import random
import zipfile
from pathlib import Path

import pytest

from rom_builder.check import check
from rom_builder.errors import ImageError
from rom_builder.findings import Report, Verdict
from rom_builder.mechanisms import binding_models
from rom_builder.policy.load import Policies, load_policies
from tests.cases import TODAY, files_of, load_case
from tests.roms import App, Content, Fifo, Link, certificate, otacerts, write_rom, zipped

REFERENCE = Path(__file__).parent / "rules" / "reference.yaml"
MESSAGING = "/system/priv-app/Messaging/Messaging.apk"
JUNK = b"\3\0\10\0\xff\xff\xff\xff" + bytes(40)


@pytest.fixture(scope="module")
def policies() -> Policies:
    return load_policies(["messaging-opt-in", "rom-baseline"], binding_models())


@pytest.fixture(scope="module")
def good() -> dict[str, Content]:
    certificates = otacerts(certificate())
    files = files_of(load_case(REFERENCE))
    return {**files, "/system/etc/security/otacerts.zip": certificates}


def report_of(folder: Path, files: dict[str, Content], policies: Policies) -> Report:
    return check(write_rom(folder / "rom", files), policies, today=TODAY)


def unread(report: Report) -> list[str]:
    return [f"{part.path}: {part.reason}" for part in report.unread]


def test_the_reference_is_compliant(
    tmp_path: Path, good: dict[str, Content], policies: Policies
) -> None:
    report = report_of(tmp_path, good, policies)
    assert (report.verdict, report.unread) == (Verdict.COMPLIANT, ())


BIG = App("com.example.x", preferences={"a": True}, bools={"b": True}, code=("x",)).encode()


def with_entry(name: str, data: bytes) -> App:
    return App(
        "com.example.messaging", entries={name: data}, preferences={"cloud_messaging": False}
    )


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"", "Messaging.apk"),
        (b"PK\3\4", "Messaging.apk"),
        (bytes(10_000), "Messaging.apk"),
        (BIG[:-30], "Messaging.apk"),
        (BIG[: len(BIG) // 2], "Messaging.apk"),
        (zipped({"assets/x": b""}), "Messaging.apk!/AndroidManifest.xml"),
        (with_entry("AndroidManifest.xml", b""), "Messaging.apk!/AndroidManifest.xml"),
        (with_entry("AndroidManifest.xml", JUNK), "Messaging.apk!/AndroidManifest.xml"),
        (with_entry("AndroidManifest.xml", b"<manifest/>"), "Messaging.apk!/AndroidManifest.xml"),
        (with_entry("classes.dex", b"dex\n035\0" + bytes(200)), "Messaging.apk!/classes.dex"),
        (with_entry("classes.dex", b""), "Messaging.apk!/classes.dex"),
        (with_entry("res/xml/preferences.xml", JUNK + b"cloud_messaging"),
         "Messaging.apk!/res/xml/preferences.xml"),
        (with_entry("META-INF/CERT.RSA", b"0\x80"), "Messaging.apk!/META-INF/CERT.RSA"),
    ],
)  # fmt: skip
def test_a_damaged_app_is_one_unread_part(
    content: Content, where: str, tmp_path: Path, good: dict[str, Content], policies: Policies
) -> None:
    report = report_of(tmp_path, {**good, MESSAGING: content}, policies)
    (line,) = unread(report)
    assert line.startswith(f"system/priv-app/Messaging/{where}: ")
    assert "Error" not in line
    assert report.verdict is not Verdict.COMPLIANT


def test_a_damaged_resource_table_is_unread_when_it_is_needed(
    tmp_path: Path, good: dict[str, Content], policies: Policies
) -> None:
    app = App(
        "com.example.messaging",
        network_security_config="<network-security-config/>",
        entries={"resources.arsc": JUNK},
    )
    report = report_of(tmp_path, {**good, MESSAGING: app}, policies)
    (line,) = unread(report)
    assert line.startswith("system/priv-app/Messaging/Messaging.apk!/resources.arsc: ")


def test_an_encrypted_entry_is_unread(
    tmp_path: Path, good: dict[str, Content], policies: Policies
) -> None:
    data = bytearray(zipped({"AndroidManifest.xml": b"x", "classes.dex": b"y"}))
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    report = report_of(tmp_path, {**good, "/system/app/E.apk": bytes(data)}, policies)
    assert report.unread
    assert all(part.path.startswith("system/app/E.apk") for part in report.unread)


@pytest.mark.parametrize(
    ("files", "lines"),
    [
        ({"/system/app/X.apk": Link("/etc/passwd")}, 1),
        ({"/system/app/X.apk": Link("../../../../../../etc/hostname")}, 1),
        ({"/system/app/X.apk": Link("X.apk")}, 1),
        ({"/system/app/X.apk": Link("Y.apk"), "/system/app/Y.apk": Link("X.apk")}, 2),
        ({"/system/app/loop": Link("."), "/system/app/deep": Link("loop/loop/loop")}, 0),
        ({"/system/build.prop.bak": Link("/nowhere")}, 0),
        ({"/system/app/X.apk": Fifo()}, 0),
        ({"/system/etc/fifo": Fifo(), "/system/app/X.apk": Link("../etc/fifo")}, 0),
    ],
)
def test_links_and_devices_lead_nowhere_and_never_hang(
    files: dict[str, Content],
    lines: int,
    tmp_path: Path,
    good: dict[str, Content],
    policies: Policies,
) -> None:
    report = report_of(tmp_path, {**good, **files}, policies)
    assert len(report.unread) == lines
    assert all("link" in part.reason for part in report.unread)


def test_a_service_file_that_is_a_fifo_is_unread(
    tmp_path: Path, good: dict[str, Content], policies: Policies
) -> None:
    path = "/system/etc/reference-messaging/service.xml"
    report = report_of(tmp_path, {**good, path: Fifo()}, policies)
    assert unread(report) == [f"{path[1:]}: is a fifo, not a file"]


def test_nothing_outside_the_folder_is_read(
    tmp_path: Path, good: dict[str, Content], policies: Policies
) -> None:
    (tmp_path / "outside.xml").write_text(
        '<messaging-service><consent default="off"/></messaging-service>'
    )
    path = "/system/etc/reference-messaging/service.xml"
    for target in (str(tmp_path / "outside.xml"), "../../../../outside.xml"):
        folder = tmp_path / target.replace("/", "_")
        report = report_of(folder, {**good, path: Link(target)}, policies)
        assert "outside.xml" not in " ".join(str(f.location) for f in report.findings)
        assert report.verdict is not Verdict.COMPLIANT


def test_an_app_behind_a_link_is_an_app(
    tmp_path: Path, good: dict[str, Content], policies: Policies
) -> None:
    hidden = App("com.example.hidden", debuggable=True)
    files = {
        **good,
        "/system/etc/hidden.bin": hidden,
        "/system/app/H.apk": Link("../etc/hidden.bin"),
    }
    report = report_of(tmp_path, files, policies)
    assert any(
        "com.example.hidden is debuggable" in e.text for f in report.findings for e in f.evidence
    )


def test_an_app_behind_a_link_is_searched_for_addresses(
    tmp_path: Path, good: dict[str, Content], policies: Policies
) -> None:
    app = App("com.example.messaging", code=("http://messaging.example.com/v1",))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in zipfile.ZipFile(io.BytesIO(app.encode())).infolist():
            archive.writestr(entry.filename, zipfile.ZipFile(io.BytesIO(app.encode())).read(entry))
    files = {**good, "/system/etc/m.bin": packed.getvalue(), MESSAGING: Link("/system/etc/m.bin")}
    report = report_of(tmp_path, files, policies)
    assert any(f.rule == "ROM202" for f in report.findings)


def test_an_unreadable_file_is_unread(
    tmp_path: Path, good: dict[str, Content], policies: Policies
) -> None:
    rom = write_rom(tmp_path / "rom", good)
    path = rom / "system/etc/secret"
    path.write_text("x")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads every file")
    report = check(rom, policies, today=TODAY)
    assert unread(report) == ["system/etc/secret: Permission denied"]


def test_a_name_that_is_not_utf_8_is_unread(
    tmp_path: Path, good: dict[str, Content], policies: Policies
) -> None:
    rom = write_rom(tmp_path / "rom", good)
    try:
        Path(os.fsdecode(os.fsencode(rom) + b"/system/etc/\xff.apk")).write_text("x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (line,) = unread(check(rom, policies, today=TODAY))
    assert line.endswith("the name is not UTF-8")


def test_half_characters_in_an_app_do_no_harm(
    tmp_path: Path, good: dict[str, Content], policies: Policies
) -> None:
    from rom_builder.reports import REPORTS

    app = App("com.example.messaging", code=("http://a\ud83d.messaging.example.com/\ud83d",))
    report = report_of(tmp_path, {**good, MESSAGING: app}, policies)
    for name in REPORTS:
        assert REPORTS[name](report).encode()
    assert all(f.fingerprint for f in report.findings)


def test_a_damaged_otacerts_names_the_entry(
    tmp_path: Path, good: dict[str, Content], policies: Policies
) -> None:
    path = "/system/etc/security/otacerts.zip"
    report = report_of(tmp_path, {**good, path: zipped({"a.x509.pem": b"junk"})}, policies)
    (line,) = unread(report)
    assert line.startswith("system/etc/security/otacerts.zip!/a.x509.pem: ")


def test_damaged_compiled_code_beside_an_app_is_unread(
    tmp_path: Path, good: dict[str, Content], policies: Policies
) -> None:
    app = App("com.example.messaging", preferences={"cloud_messaging": False})
    odex = "/system/priv-app/Messaging/oat/arm64/Messaging.odex"
    report = report_of(tmp_path, {**good, MESSAGING: app, odex: b"\x7fELF"}, policies)
    assert unread(report) == [f"{odex[1:]}: not a little-endian ELF file (at byte 0x0)"]


def test_any_flipped_byte_of_an_app_is_no_crash(
    tmp_path: Path, good: dict[str, Content], policies: Policies
) -> None:
    app = good[MESSAGING]
    assert isinstance(app, App)
    data = app.encode()
    rng = random.Random(7)
    files = dict(good)
    for number in range(60):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        files[f"/system/app/D{number}.apk"] = bytes(damaged)
    report = report_of(tmp_path, files, policies)
    assert report.findings


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"PK\3\4", "no zip archive|end"),
        (b"\x7fELF" + bytes(99), "unknown kind"),
        (zipped({"a": b"x" * 100})[:-20], "end"),
    ],
)
def test_an_image_that_is_none_is_an_image_error(
    content: bytes, message: str, tmp_path: Path, policies: Policies
) -> None:
    path = tmp_path / "image.zip"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=message) as caught:
        check(path, policies, today=TODAY)
    assert str(caught.value).startswith(str(path))


def test_a_fifo_as_image_is_an_image_error(tmp_path: Path, policies: Policies) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ImageError, match="neither a file nor a folder"):
        check(tmp_path / "fifo", policies, today=TODAY)


def test_the_same_folder_gives_the_same_report(
    tmp_path: Path, good: dict[str, Content], policies: Policies
) -> None:
    files = {**good, **{f"/system/app/B{i}.apk": b"x" * i for i in range(9)}}
    rom = write_rom(tmp_path / "rom", files)
    first, second = (check(rom, policies, today=TODAY) for _ in range(2))
    assert first == second
    assert len(first.unread) == 9


def test_the_digest_tells_trees_apart(
    tmp_path: Path, good: dict[str, Content], policies: Policies
) -> None:
    digests = set()
    extra: list[dict[str, Content]] = [
        {}, {"/system/x": "a"}, {"/system/x": "b"}, {"/system/y": "a"}, {"/system/x": Link("a")},
    ]  # fmt: skip
    for number, files in enumerate(extra):
        digests.add(report_of(tmp_path / str(number), {**good, **files}, policies).image.sha256)
    assert len(digests) == len(extra)
