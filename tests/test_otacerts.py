"""Building with ``--replace-otacerts``: the device that installs the package takes the next one."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from types import MappingProxyType

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.build import Built, build
from rom_builder.cli import cli
from rom_builder.edits import FileData
from rom_builder.errors import BuildRefused, ImageError
from rom_builder.findings import Verdict
from rom_builder.formats.avb_descriptors import HashDescriptor, HashtreeDescriptor
from rom_builder.formats.avb_verify import verify_image
from rom_builder.formats.boot_image import open_boot_image
from rom_builder.formats.ota_verify import verify_ota_signature
from rom_builder.formats.source import FileSource
from rom_builder.formats.vbmeta import verify_vbmeta
from rom_builder.formats.x509 import parse_otacerts
from rom_builder.keys import new_key
from rom_builder.mechanisms import binding_models
from rom_builder.packing.update_certificates import plan_certificates
from rom_builder.plan import Plan
from rom_builder.policy.load import load_policies
from rom_builder.rom import Rom
from rom_builder.rom.nested import open_name
from rom_builder.rom.opening import open_rom
from rom_builder.signers.keyring import Keyring
from tests.ab_package import BLOCK, SYSTEM, erofs_image, hash_of, sealed, written
from tests.formats.builders import vbmeta
from tests.formats.builders.boot_image import boot_v0, boot_v1, vendor_boot_v4
from tests.formats.builders.cpio import archive, entry
from tests.formats.builders.device import BOOT_KEY, SALT, TOP_KEY
from tests.formats.builders.payload import Part, Spec, full_ops
from tests.kinds import SCRIPT
from tests.roms import certificate as der_of
from tests.signing_material import certificate, key, signer, write_key

TODAY = date(2026, 1, 1)
OTACERTS = "system/etc/security/otacerts.zip"
MAKER = key("rsa-2048", 1).certificate
"""Whom the base trusts."""
OURS = key("rsa-2048", 2)
AVB = new_key("avb", "rsa-2048")
TESTKEY = x509.load_der_x509_certificate(der_of("testkey"))
UNFIT = certificate(rsa.generate_private_key(65537, 3072), SHA384())


def accepted(*certificates: x509.Certificate) -> bytes:
    """An ``otacerts.zip`` as the platform's build makes it: compressed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for number, each in enumerate(certificates):
            made.writestr(f"keys/{number}.x509.pem", each.public_bytes(Encoding.PEM))
    return file.getvalue()


def ramdisk(files: Mapping[str, bytes]) -> bytes:
    return gzip.compress(archive(*(entry(n.encode(), data) for n, data in files.items())))


def recovery(otacerts: bytes, **more: bytes) -> bytes:
    """A recovery image of header version 2."""
    files = {"init": b"#!recovery", OTACERTS: otacerts, "sbin/recovery": b"\x7fELF" * 99, **more}
    return boot_v1(b"kernel" * 900, ramdisk(files), b"", b"dtbo" * 9, b"dtb" * 9)


def vendor_boot(otacerts: bytes) -> bytes:
    first = ramdisk({"first_stage_ramdisk/fstab": b"/system"})
    second = ramdisk({OTACERTS: otacerts, "res/images/font.png": b"png"})
    return vendor_boot_v4([(b"", 1, first), (b"recovery", 2, second)], b"dtb" * 99, b"a=b\n")


def hashed(name: str, image: bytes, own: rsa.RSAPrivateKey | None = None) -> tuple[bytes, bytes]:
    """Return a partition of 32 blocks and its hash descriptor."""
    item = vbmeta.hashed(name.encode(), SALT, hash_of(SALT + image), len(image))
    return vbmeta.with_footer(image, vbmeta.vbmeta(item, own), 32 * BLOCK), item


def ab_base(folder: Path, otacerts: bytes, boots: Mapping[str, bytes]) -> Path:
    """Write an A/B package; boot is chained to vbmeta, other boot images are described in it."""
    system = erofs_image(folder, {**SYSTEM, OTACERTS: otacerts})
    images, items = {}, b""
    images["system"], item = sealed("system", system, (len(system) // BLOCK + 64) * BLOCK)
    items += item
    for name, image in boots.items():
        own = BOOT_KEY if name == "boot" else None
        images[name], item = hashed(name, image, own)
        items += vbmeta.chain(b"boot", 3, vbmeta.key_blob(BOOT_KEY)) if own else item
    images["vbmeta"] = vbmeta.vbmeta(items, TOP_KEY, rollback_index=9).ljust(4 * BLOCK, b"\0")
    maker = key("rsa-2048", 1).private_key
    assert isinstance(maker, rsa.RSAPrivateKey)
    spec = Spec(
        [Part(name, data, full_ops(data, [8, 0], 64)) for name, data in sorted(images.items())],
        sign=lambda digest: maker.sign(digest, padding.PKCS1v15(), utils.Prehashed(SHA256())),
    )
    return written(folder / "base.zip", spec.build(), MAKER.public_bytes(Encoding.PEM))


PERMISSIONS = b'set_perm_recursive(0, 0, 0755, 0644, "/system");\n'


def file_base(folder: Path, files: Mapping[str, bytes], script: bytes = SCRIPT) -> Path:
    path = folder / "base.zip"
    with zipfile.ZipFile(path, "w") as made:
        script = script.replace(b"unmount", PERMISSIONS + b"unmount", 1)
        made.writestr("META-INF/com/google/android/updater-script", script)
        made.writestr("system/build.prop", SYSTEM["system/build.prop"])
        for name, data in files.items():
            made.writestr(name, data)
    return path


def built(
    base: Path, *, replace: bool = True, brought: Mapping[str, FileData] = MappingProxyType({})
) -> Built:
    return build(
        base,
        load_policies(["rom-baseline"], binding_models()),
        Keyring(signer(OURS), avb=signer(AVB)),
        base.with_name("built.zip"),
        brought=dict(brought),
        today=TODAY,
        replace_otacerts=replace,
    )


def subjects(rom: Rom, name: str) -> set[str]:
    source = open_name(rom, name)
    return {each.subject for each in parse_otacerts(source.read_at(0, source.size))}


def subject(*certificates: x509.Certificate) -> set[str]:
    return {each.subject.rfc4514_string() for each in certificates}


def verify_boot(rom: Rom) -> set[str]:
    """Hold every partition to the descriptors of every vbmeta image; return what was covered."""
    partitions = {part.name: part for part in rom.contents.partitions.values()}
    covered = set()
    for part in partitions.values():
        if part.vbmeta is not None and part.vbmeta.public_key:
            verify_vbmeta(part.vbmeta)
        for item in part.vbmeta.descriptors if part.vbmeta else ():
            if isinstance(item, HashDescriptor | HashtreeDescriptor):
                verify_image(partitions[item.partition_name].source, item)
                covered.add(item.partition_name)
    return covered


@pytest.mark.judge("mkfs.erofs")
def test_every_copy_of_an_ab_package_gets_the_certificate(tmp_path: Path) -> None:
    base = ab_base(
        tmp_path,
        accepted(MAKER),
        {
            "boot": boot_v0(b"kernel" * 99, ramdisk({"init": b"#!", OTACERTS: accepted(MAKER)})),
            "recovery": recovery(accepted(MAKER, TESTKEY)),
            "vendor_boot": vendor_boot(accepted(MAKER, UNFIT)),
        },
    )
    made = built(base)
    assert made.report.verdict is Verdict.COMPLIANT
    verify_ota_signature(FileSource(made.path), [OURS.certificate])
    rom = open_rom(made.path)
    names = [
        f"payload.bin!/{name}{middle}!/{OTACERTS}"
        for name, middle in (
            ("system", ""),
            ("boot", "!/ramdisk"),
            ("recovery", "!/ramdisk"),
            ("vendor_boot", "!/ramdisk"),
        )
    ]
    for name in names:
        assert subjects(rom, name) == subject(MAKER, OURS.certificate), name
    assert verify_boot(rom) == {"system", "boot", "recovery", "vendor_boot"}
    assert [edit.name for edit in made.plan.ramdisk_edits] == names[1:]
    whys = {edit.name: edit.why for edit in made.plan.ramdisk_edits}
    assert "removes CN=testkey (publicly known: " in whys[names[2]]
    assert "recovery cannot use it: " in whys[names[3]]
    assert rom.unread == []


@pytest.mark.judge("mkfs.erofs")
def test_the_rest_of_a_ramdisk_and_its_image_stays(tmp_path: Path) -> None:
    base = ab_base(
        tmp_path,
        accepted(MAKER),
        {"recovery": recovery(accepted(MAKER)), "vendor_boot": vendor_boot(accepted(MAKER))},
    )
    before, after = open_rom(base), open_rom(built(base).path)

    def contents(rom: Rom) -> dict[str, bytes]:
        return {
            name: rom.read(file)
            for name, file in rom.by_name.items()
            if "!/ramdisk!/" in name and file.node.kind.value == "file"
        }

    old, new = contents(before), contents(after)
    assert {name for name in old | new if old.get(name) != new.get(name)} == {
        f"payload.bin!/{name}!/ramdisk!/{OTACERTS}" for name in ("recovery", "vendor_boot")
    }
    for name in ("recovery", "vendor_boot"):
        path = f"payload.bin!/{name}"
        one, two = (
            open_boot_image(rom.contents.partitions[path].source) for rom in (before, after)
        )
        for section in ("kernel", "recovery_dtbo", "dtb", "bootconfig"):
            sources = [getattr(image, section) for image in (one, two)]
            assert len({s and s.read_at(0, s.size) for s in sources}) == 1, section
        assert [(r.name, r.kind) for r in one.ramdisks] == [(r.name, r.kind) for r in two.ramdisks]


@pytest.mark.judge("mkfs.erofs")
def test_a_base_that_has_the_certificate_needs_no_edit(tmp_path: Path) -> None:
    there = accepted(MAKER, OURS.certificate)
    made = built(ab_base(tmp_path, there, {"recovery": recovery(there)}))
    assert made.plan.edits == ()
    assert made.plan.ramdisk_edits == ()
    assert made.plan.notes == ()


def test_a_file_based_package_gets_it_in_the_system_and_in_recovery(tmp_path: Path) -> None:
    base = file_base(
        tmp_path,
        {
            "boot.img": boot_v0(b"kernel", ramdisk({"init.rc": b"on boot\n"})),
            "recovery.img": recovery(accepted(MAKER)),
            OTACERTS: accepted(MAKER),
        },
    )
    made = built(base)
    assert made.report.verdict is Verdict.COMPLIANT
    rom = open_rom(made.path)
    for name in (OTACERTS, f"recovery.img!/ramdisk!/{OTACERTS}"):
        assert subjects(rom, name) == subject(MAKER, OURS.certificate), name
    boots = [open_name(each, "boot.img") for each in (open_rom(base), rom)]
    assert len({boot.read_at(0, boot.size) for boot in boots}) == 1


def test_a_package_without_recovery_says_that_recovery_keeps_its_own(tmp_path: Path) -> None:
    files = {"boot.img": b"", OTACERTS: accepted(MAKER), "system/recovery-from-boot.p": b"BSDIFF40"}
    made = built(file_base(tmp_path, files))
    assert subjects(open_rom(made.path), OTACERTS) == subject(MAKER, OURS.certificate)
    notes = "\n".join(made.plan.notes)
    assert "recovery keeps the certificates that it has on the device" in notes
    assert "/system/recovery-from-boot.p: the device makes its recovery from this" in notes
    assert "one that has the package accepts the next" in notes


def test_publicly_known_and_unfit_certificates_are_removed(tmp_path: Path) -> None:
    made = built(file_base(tmp_path, {"boot.img": b"", OTACERTS: accepted(TESTKEY, UNFIT, MAKER)}))
    assert subjects(open_rom(made.path), OTACERTS) == subject(MAKER, OURS.certificate)
    (edit,) = [edit for edit in made.plan.edits if edit.path == f"/{OTACERTS}"]
    assert "keeps CN=Test 1; adds CN=Test 2; removes CN=testkey (publicly known: " in edit.why
    assert "CN=Odd (recovery cannot use it: its signature algorithm is " in edit.why


def test_a_list_that_the_user_brings_is_renewed_like_the_base_s(tmp_path: Path) -> None:
    base = file_base(tmp_path, {"boot.img": b"", OTACERTS: accepted(MAKER)})
    other = key("rsa-2048", 3).certificate
    made = built(base, brought={f"/{OTACERTS}": FileData(accepted(other, TESTKEY))})
    assert subjects(open_rom(made.path), OTACERTS) == subject(other, OURS.certificate)


def test_a_base_without_the_file_gets_one(tmp_path: Path) -> None:
    script = SCRIPT.replace(
        b"unmount(", b'set_perm_recursive(0, 0, 0755, 0644, "/system");\nunmount('
    )
    made = built(file_base(tmp_path, {"boot.img": b""}, script))
    assert subjects(open_rom(made.path), OTACERTS) == subject(OURS.certificate)


def test_building_again_on_the_result_changes_nothing_more(tmp_path: Path) -> None:
    first = built(file_base(tmp_path, {"boot.img": b"", OTACERTS: accepted(MAKER)}))
    first.path.rename(tmp_path / "base.zip")
    assert built(tmp_path / "base.zip").plan.edits == ()


def test_without_the_option_the_list_stays_and_the_danger_is_told(tmp_path: Path) -> None:
    base = file_base(
        tmp_path,
        {
            "boot.img": b"",
            "recovery.img": recovery(accepted(UNFIT, MAKER)),
            OTACERTS: accepted(MAKER),
        },
    )
    made = built(base, replace=False)
    assert subjects(open_rom(made.path), OTACERTS) == subject(MAKER)
    danger, stranger = made.report.notes[-2:]
    assert danger.startswith(f"WARNING: recovery.img!/ramdisk!/{OTACERTS}!/keys/0.x509.pem: ")
    assert "takes no package at all" in danger
    assert "would refuse the next one that this key signs" in stranger


def test_a_damaged_list_in_a_ramdisk_is_told(tmp_path: Path) -> None:
    files = {"recovery.img": recovery(b"no archive"), OTACERTS: accepted(MAKER)}
    base = file_base(tmp_path, files)
    assert any(
        note.startswith("WARNING: recovery cannot read its list of certificates: recovery.img!/")
        for note in built(base, replace=False).plan.notes
    )
    with pytest.raises(ImageError, match=r"^recovery\.img!/ramdisk!/system/etc/security/otacerts"):
        built(base)


def test_a_certificate_that_recovery_refuses_is_not_written(tmp_path: Path) -> None:
    odd = certificate(rsa.generate_private_key(65537, 3072), SHA256())
    rom = open_rom(file_base(tmp_path, {"boot.img": b"", OTACERTS: accepted(MAKER)}))
    with pytest.raises(BuildRefused, match="recovery cannot use .* 3072 bits"):
        plan_certificates(rom, Plan((), ()), odd)


def test_an_image_that_cannot_be_sealed_is_left_and_named(tmp_path: Path) -> None:
    image, _ = hashed("recovery", recovery(accepted(MAKER)))
    made = built(file_base(tmp_path, {"recovery.img": image, OTACERTS: accepted(MAKER)}))
    assert made.plan.ramdisk_edits == ()
    (note,) = [note for note in made.plan.notes if note.startswith("recovery.img!/")]
    assert "stays as it is: verified boot covers its image" in note


def test_keys_of_an_old_recovery_are_left_and_named(tmp_path: Path) -> None:
    old = boot_v0(b"kernel", ramdisk({"res/keys": b"v2 {64,0x1,{1},{2}}\n"}))
    made = built(file_base(tmp_path, {"recovery.img": old, OTACERTS: accepted(MAKER)}))
    (note,) = [note for note in made.plan.notes if "res/keys" in note]
    assert note.startswith("recovery.img!/ramdisk!/res/keys stays as it is")


def test_plan_shows_what_build_does(tmp_path: Path) -> None:
    files = {"recovery.img": recovery(accepted(MAKER)), OTACERTS: accepted(TESTKEY)}
    base = file_base(tmp_path, files)
    write_key(tmp_path, OURS)
    profile = tmp_path / "signing.yaml"
    profile.write_text(
        "schema: rom-builder/signing/v1\nid: test\ntitle: Test\nroles:\n"
        "  ota: {signer: 'file:key.pem', certificate: key.x509.pem}\n"
    )
    arguments = ["plan", str(base), "-p", "rom-baseline", "--replace-otacerts"]
    refused = CliRunner().invoke(cli, arguments)
    assert refused.exit_code == 2
    assert "--replace-otacerts needs --signing" in refused.output
    shown = CliRunner().invoke(cli, [*arguments, "-s", str(profile)])
    assert shown.exit_code == 0, shown.output
    assert f"# replace /{OTACERTS}: --replace-otacerts: adds CN=Test 2; removes " in shown.output
    assert f"# replace recovery.img!/ramdisk!/{OTACERTS}: --replace-otacerts: keeps" in shown.output
    assert "2 files would change" in shown.output
