"""A full A/B package from a target-files package, and from partition images alone."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.cli import main
from rom_builder.formats.ab_metadata import PAYLOAD_NAME, CareMap, CarePartition, OtaMetadata
from rom_builder.formats.payload import Payload
from rom_builder.formats.payload.manifest import ApexInfo, ApexMetadata
from rom_builder.formats.source import FileSource
from rom_builder.formats.vbmeta import read_vbmeta
from rom_builder.formats.x509 import parse_otacerts
from rom_builder.formats.zip import ZipArchive
from rom_builder.rom.opening import open_rom
from rom_builder.signers.keyring import open_keyring
from tests.ab_package import SYSTEM, images
from tests.formats.builders import vbmeta as build
from tests.formats.builders.device import TOP_KEY
from tests.formats.builders.sparse import raw, sparse_image
from tests.formats.builders.super_image import FIRST_SECTOR, SECTOR, Lp
from tests.formats.damage import noise

pytestmark = pytest.mark.judge("mkfs.erofs")

EXAMPLE = Path(__file__).parent.parent / "examples" / "demo"
POLICY = ("-p", "messaging-opt-in", "-p", "rom-baseline")
MODEM = noise(3 * 4096 - 100, 8)
DYNAMIC = b"""\
super_partition_groups=pine_dynamic
super_pine_dynamic_group_size=4194304
super_pine_dynamic_partition_list=system
virtual_ab=true
virtual_ab_compression=true
virtual_ab_compression_method=lz4
virtual_ab_cow_version=3
virtual_ab_compression_factor=65536
"""
META = {
    "META/ab_partitions.txt": b"boot\nmodem\nsystem\nvbmeta\nvbmeta_system\n",
    "META/misc_info.txt": b"ab_update=true\nuse_dynamic_partitions=true\navb_enable=true\n",
    "META/dynamic_partitions_info.txt": DYNAMIC,
    "META/update_engine_config.txt": b"PAYLOAD_MAJOR_VERSION=2\nPAYLOAD_MINOR_VERSION=8\n",
    "META/postinstall_config.txt": b"RUN_POSTINSTALL_system=true\n"
    b"POSTINSTALL_PATH_system=system/bin/otapreopt_script\nFILESYSTEM_TYPE_system=erofs\n"
    b"POSTINSTALL_OPTIONAL_system=true\n",
    "META/apex_info.pb": ApexMetadata((ApexInfo("com.android.example", 7, True, 4096),)).encode(),
    "META/care_map.pb": CareMap((CarePartition("system", "2,0,20", "x", "y"),)).encode(),
}
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def partitions(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def target_files(partitions: Files) -> Files:
    """Return the entries of a target-files package; system is sparse, and its folder is stale."""
    files = META | {f"IMAGES/{name}.img": data for name, data in partitions.items()}
    files["IMAGES/system.img"] = sparse_image(raw(partitions["system"]))
    return files | {"RADIO/modem.img": MODEM, "SYSTEM/etc/hosts": b"an older build\n"}


def zipped(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def unpacked(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def build_from(base: Path, *options: str) -> tuple[int, Path]:
    output = base.parent / "out.zip"
    code = main(["build", str(base), *POLICY, "-s", "dev", "-o", str(output), *options])
    return code, output


def built(base: Path, *options: str) -> Path:
    code, output = build_from(base, *options)
    assert code == 0
    assert main(["verify", str(output)]) == 0
    assert main(["check", str(output), *POLICY]) == 0
    return output


def refused(base: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """Return what build says of a base that it refuses; plan says the same."""
    before = sorted(base.parent.rglob("*"))
    code, output = build_from(base, *options)
    assert code == 2
    assert not output.exists()
    assert sorted(base.parent.rglob("*")) == before
    return capsys.readouterr().err


def payload_of(package: Path) -> Payload:
    archive = ZipArchive(FileSource(package))
    return Payload(archive.open(archive.entries[PAYLOAD_NAME]))


@pytest.mark.parametrize("write", [zipped, unpacked])
def test_a_target_files_package_gives_a_whole_package(
    write: Callable[[Path, Files], Path], target_files: Files, partitions: Files, tmp_path: Path
) -> None:
    base = write(tmp_path / "pine-target_files.zip", target_files)
    assert main(["check", str(base), *POLICY]) == 1
    package = built(base)
    payload = payload_of(package)
    manifest = payload.manifest
    assert payload.names == ("boot", "modem", "system", "vbmeta", "vbmeta_system")
    assert (manifest.max_timestamp, manifest.security_patch_level) == (1700000000, "2024-06-05")
    layout = manifest.dynamic_partition_metadata
    assert layout is not None
    assert layout.groups[0].partition_names == ("system",)
    assert (layout.groups[0].name, layout.groups[0].size) == ("pine_dynamic", 4194304)
    assert (layout.snapshot_enabled, layout.vabc_enabled) == (True, True)
    assert (layout.vabc_compression_param, layout.cow_version) == ("lz4", 3)
    assert layout.compression_factor == 65536
    assert manifest.apex_info[0].package_name == "com.android.example"
    system = payload.update("system")
    assert system.run_postinstall
    assert system.postinstall_optional
    assert system.postinstall_path == "system/bin/otapreopt_script"
    assert system.filesystem_type == "erofs"
    size = (system.new_partition_info and system.new_partition_info.size) or 0
    assert 1 << 21 < (system.estimate_cow_size or 0) < (1 << 21) + size
    assert system.estimate_op_count_max == size // 4096
    assert payload.update("boot").estimate_cow_size is None
    assert payload.partition("boot").read_at(0, len(partitions["boot"])) == partitions["boot"]
    assert payload.partition("modem").read_at(0, 3 * 4096) == MODEM + bytes(100)
    for name, index in (("vbmeta", 9), ("vbmeta_system", 7)):
        assert read_vbmeta(payload.partition(name)).rollback_index == index


def test_the_images_count_and_not_the_folders(target_files: Files, tmp_path: Path) -> None:
    """A folder beside an image may be stale; where there is no image, or no readable one, it counts."""
    rom = open_rom(zipped(tmp_path / "tf.zip", target_files))
    assert rom.read(rom.files["/system/etc/hosts"]) == SYSTEM["system/etc/hosts"]
    assert rom.files["/system/etc/hosts"].name == "IMAGES/system.img!/system/etc/hosts"
    target_files |= {"VENDOR/etc/x": b"x"}
    del target_files["IMAGES/system.img"]
    rom = open_rom(zipped(tmp_path / "tf.zip", target_files))
    assert rom.read(rom.files["/system/etc/hosts"]) == b"an older build\n"
    assert rom.read(rom.files["/vendor/etc/x"]) == b"x"


def test_its_metadata_is_that_of_the_build(target_files: Files, tmp_path: Path) -> None:
    target_files["META/misc_info.txt"] += b"ota_override_device=pine,spruce\n"
    package = built(zipped(tmp_path / "tf.zip", target_files))
    archive = ZipArchive(FileSource(package))
    metadata = OtaMetadata.parse(archive.read(archive.entries["META-INF/com/android/metadata.pb"]))
    after = metadata.postcondition
    assert after is not None
    assert after.build == ("example/pine/pine:14/UP1A/100:user/release-keys",)
    assert (after.build_incremental, after.sdk_level, after.timestamp) == ("100", "34", 1700000000)
    text = archive.read(archive.entries["META-INF/com/android/metadata"]).decode()
    assert "ota-type=AB\n" in text
    assert "pre-device=pine,spruce\n" in text
    assert "post-timestamp=1700000000\n" in text
    assert archive.read(archive.entries["apex_info.pb"]) == META["META/apex_info.pb"]
    care = CareMap.parse(archive.read(archive.entries["care_map.pb"]))
    assert care.partitions[0].ranges != "2,0,20"  # those of the edited image
    names = list(archive.entries)
    assert names[2:] == [*sorted(names[2:-1]), "META-INF/com/android/otacert"]


def test_a_folder_of_images_gives_the_same_payload(
    target_files: Files, partitions: Files, tmp_path: Path
) -> None:
    first = built(zipped(tmp_path / "tf.zip", target_files))
    first = first.rename(tmp_path / "first.zip")
    files = {f"{name}.img": data for name, data in partitions.items()}
    files |= {name: data for name, data in META.items() if "pb" not in name}
    files["META/postinstall_config.txt"] = META["META/postinstall_config.txt"]
    files |= {"modem.img": MODEM, "userdata.img": bytes(4096)}
    second = built(unpacked(tmp_path / "images", files))
    before, after = payload_of(first).manifest, payload_of(second).manifest
    assert after.partitions == before.partitions
    assert after.dynamic_partition_metadata == before.dynamic_partition_metadata


def test_the_same_images_give_the_same_bytes(target_files: Files, tmp_path: Path) -> None:
    base = zipped(tmp_path / "tf.zip", target_files)
    first = built(base).read_bytes()
    assert built(base).read_bytes() == first


GROUPS = [("default", 0, 0), ("main_a", 0, 1 << 22), ("main_b", 0, 1 << 22)]
NAMES = [("system_a", 1, 1), ("system_b", 1, 2), ("odm_a", 1, 1), ("odm_b", 1, 2)]


def test_super_metadata_tells_groups(partitions: Files, tmp_path: Path) -> None:
    system = partitions["system"]
    extents = [[(len(system) // SECTOR, 0, FIRST_SECTOR, 0)], [], [], []]
    full = Lp(NAMES, extents, GROUPS).image({FIRST_SECTOR: system})
    empty = Lp(NAMES[:2], [[], []], GROUPS).empty_image()
    loose = {f"{name}.img": data for name, data in partitions.items()}
    for name, files in {
        "super": {k: v for k, v in loose.items() if k != "system.img"} | {"super.img": full},
        "empty": loose | {"super_empty.img": empty},
    }.items():
        package = built(unpacked(tmp_path / name, files))
        layout = payload_of(package).manifest.dynamic_partition_metadata
        assert layout is not None
        assert [(g.name, g.size, g.partition_names) for g in layout.groups] == [
            ("main", 1 << 22, ("system",))
        ]
        assert (layout.snapshot_enabled, bool(layout.vabc_enabled)) == (True, False)


def test_a_partition_of_super_without_image_is_refused(
    partitions: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {f"{name}.img": data for name, data in partitions.items()}
    files["super_empty.img"] = Lp(NAMES, [[], [], [], []], GROUPS).empty_image()
    error = refused(unpacked(tmp_path / "images", files), capsys)
    assert "the group main holds the partition odm" in error
    assert "add odm.img" in error


def test_partitions_that_no_update_writes_are_left_out(
    partitions: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {f"{name}.img": data for name, data in partitions.items()}
    files |= {"misc_info.txt": b"", "userdata.img": bytes(4096)}
    package = built(unpacked(tmp_path / "images", files))
    assert payload_of(package).names == tuple(sorted(partitions))
    assert payload_of(package).manifest.dynamic_partition_metadata is None
    assert "no update holds userdata" in capsys.readouterr().out


def test_images_without_what_they_do_not_tell_are_refused(
    partitions: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {f"{name}.img": data for name, data in partitions.items()}
    error = refused(unpacked(tmp_path / "images", files), capsys)
    assert "nothing tells which partitions lie in super" in error
    assert "super_empty.img" in error


def test_an_image_that_may_or_may_not_be_updated_is_refused(
    partitions: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {f"{name}.img": data for name, data in partitions.items()} | {"modem.img": MODEM}
    error = refused(unpacked(tmp_path / "images", files | {"misc_info.txt": b""}), capsys)
    assert "whether an update writes modem cannot be told" in error
    assert "ab_partitions.txt" in error


def test_two_images_of_one_partition_are_refused(
    partitions: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {f"{name}.img": data for name, data in partitions.items()} | {"misc_info.txt": b""}
    files["old/boot.img"] = partitions["boot"]
    error = refused(unpacked(tmp_path / "images", files), capsys)
    assert "two images of boot: boot.img and old/boot.img" in error


BROKEN: dict[str, tuple[Callable[[Files], object], str]] = {
    "no image but a folder": (
        lambda f: f.pop("IMAGES/system.img") and f.update({"SYSTEM/build.prop": b"a=b\n"}),
        "only the folder SYSTEM/",
    ),
    "no image at all": (lambda f: f.pop("RADIO/modem.img"), "there is no IMAGES/modem.img"),
    "no slots": (lambda f: f.pop("META/ab_partitions.txt"), "this device has no slots"),
    "listed twice": (
        lambda f: f.update({"META/ab_partitions.txt": b"boot\nboot\n"}),
        "partition boot is listed 2 times",
    ),
    "major version": (
        lambda f: f.update({"META/update_engine_config.txt": b"PAYLOAD_MAJOR_VERSION=3\n"}),
        "only version 2",
    ),
    "retrofit": (
        lambda f: f.update({"META/misc_info.txt": b"dynamic_partition_retrofit=true\n"}),
        "second payload",
    ),
    "group without size": (
        lambda f: f.update({"META/dynamic_partitions_info.txt": b"super_partition_groups=x\n"}),
        "META/dynamic_partitions_info.txt: super_x_group_size is missing",
    ),
    "group names a partition without image": (
        lambda f: f.update({"META/dynamic_partitions_info.txt": DYNAMIC.replace(b"=system", b"=system odm")}),
        "holds the partition odm, and the base has no image",
    ),
    "full group": (
        lambda f: f.update({"META/dynamic_partitions_info.txt": DYNAMIC.replace(b"4194304", b"65536")}),
        "group pine_dynamic take",
    ),
    "image of another build": (
        lambda f: f.update({"IMAGES/boot.img": changed(f["IMAGES/boot.img"], 4200)}),
        "IMAGES/boot.img: is not the image that boot describes",
    ),
    "tampered vbmeta": (
        lambda f: f.update({"IMAGES/vbmeta.img": changed(f["IMAGES/vbmeta.img"], 300)}),
        "vbmeta",
    ),
    "verification switched off": (
        lambda f: f.update({"IMAGES/vbmeta.img": build.vbmeta(b"", TOP_KEY, flags=2)}),
        "flags 2",
    ),
}  # fmt: skip


def changed(data: bytes, offset: int) -> bytes:
    return data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_target_files_package_is_refused(
    name: str, target_files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, message = BROKEN[name]
    spoil(target_files)
    code, output = build_from(zipped(tmp_path / "tf.zip", target_files))
    said = capsys.readouterr()
    assert code in (1, 2)
    assert message in said.err + said.out
    assert [path.name for path in tmp_path.iterdir()] == ["tf.zip"]
    assert not output.exists()


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("ro.build.date.utc=1700000000\n", "ro.build.date.utc"),
        ("ro.build.version.incremental=100\n", "ro.build.version.incremental"),
        ("ro.product.device=pine\n", "ro.product.device"),
        ("ro.build.fingerprint=example/pine/pine:14/UP1A/100:user/release-keys\n", "ro.product.brand"),
    ],
)  # fmt: skip
def test_what_no_build_prop_says_is_named(
    line: str, missing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prop = SYSTEM["system/build.prop"].replace(line.encode(), b"")
    folder = tmp_path / "work"
    folder.mkdir()
    files = {
        f"{name}.img": data
        for name, data in images(folder, SYSTEM | {"system/build.prop": prop}).items()
    }
    base = unpacked(tmp_path / "images", files | {"misc_info.txt": b""})
    assert f"no build.prop of the base says {missing}" in refused(base, capsys)


def test_plan_refuses_what_build_refuses(
    partitions: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {f"{name}.img": data for name, data in partitions.items()}
    base = unpacked(tmp_path / "images", files)
    assert main(["plan", str(base), *POLICY]) == 2
    assert "nothing tells which partitions lie in super" in capsys.readouterr().err


def test_plan_shows_what_build_changes(
    target_files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = zipped(tmp_path / "tf.zip", target_files)
    assert main(["plan", str(base), *POLICY]) == 0
    assert "+ro.messaging.default=off" in capsys.readouterr().out


@pytest.mark.parametrize("folder", ["", "IMAGES/"])
def test_the_next_update_is_accepted_where_it_is_asked_for(folder: str, tmp_path: Path) -> None:
    """The certificate goes into the system and into recovery's ramdisk of the boot image."""
    example = payload_of(EXAMPLE / "pine-4118.zip")
    files = {
        f"{folder}{name}.img": example.partition(name).read_at(0, example.partition(name).size)
        for name in example.names
    }
    layout = DYNAMIC.replace(b"=system\n", b"=product system\n").replace(b"4194304", b"8388608")
    files |= META | {"META/dynamic_partitions_info.txt": layout}
    files["META/ab_partitions.txt"] = "".join(f"{name}\n" for name in example.names).encode()
    app = f"/product/priv-app/Messaging/Messaging.apk={EXAMPLE / 'Messaging-2.0.apk'}"
    base = unpacked(tmp_path / "base", files)
    package = built(base, "--replace", app, "--replace-otacerts")
    certificate = open_keyring("dev").ota.certificate
    rom = open_rom(package)
    copies = [
        file for name, file in rom.by_name.items() if name.endswith("/etc/security/otacerts.zip")
    ]
    assert len(copies) == 2
    for file in copies:
        found = [item.der for item in parse_otacerts(rom.read(file))]
        assert certificate.public_bytes(Encoding.DER) in found
