"""Edits of EROFS images: what was asked for and nothing else, whatever made the image."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rom_builder.errors import ImageError
from rom_builder.formats.erofs import open_erofs, plan_edits
from rom_builder.formats.image_edit import FileChange
from rom_builder.formats.source import BytesSource, FileSource, Pieces
from rom_builder.formats.tree import NodeKind
from tests.formats.erofs_tree import (
    DEFAULT_LABEL,
    FILES,
    OPTIONS,
    fixture,
    fixture_source,
    write_tree,
)
from tests.formats.image_model import (
    Items,
    applied,
    change_lists,
    changed_items,
    check_mounted,
    read_items,
    run,
)

EDITABLE = sorted(OPTIONS.keys() - {"device"})
BLOCK_4096 = ["plain", "chunks", "lz4", "legacy", "lzma"]  # fsck.erofs 1.5 reads these

CHANGES = [
    FileChange("etc/messaging/deep/er/messaging.xml", b"<messaging/>\n" * 9, mtime=1_700_000_000),
    FileChange("build.prop", b"ro.debuggable=0\n" * 600),
    FileChange("bin/ping", b"new ping", mode=0o755, capabilities=b""),
    FileChange("etc/mtab", None),
    FileChange("app/Big.apk", None),
    FileChange("etc/!first", b""),
    FileChange("etc/hosts", b"::1 localhost\n", label="u:object_r:hosts:s0", uid=100_000),
    FileChange("tmp", None),
    FileChange("n" * 255, b"z" * 4096),
    FileChange("bin/su", b"#!", capabilities=b"\1\0\0\2" + bytes(16), mode=0o4750),
]


def items_of(image: bytes) -> Items:
    return read_items(open_erofs(BytesSource(image)))


def edited(image: bytes, changes: list[FileChange], **options: bool) -> bytes:
    return applied(plan_edits(BytesSource(image), changes, **options), BytesSource(image))


@pytest.mark.parametrize("wipe", [False, True])
@pytest.mark.parametrize("name", EDITABLE)
def test_an_edit_does_what_it_says_and_nothing_else(name: str, wipe: bool) -> None:
    image = fixture(name)
    before = items_of(image)
    after = items_of(edited(image, CHANGES, wipe=wipe))
    assert after == changed_items(before, CHANGES, after)
    label = {"security.selinux": DEFAULT_LABEL.encode() + b"\0"}
    assert after["etc/messaging"].xattrs == label
    assert after["etc/messaging"].about == (0o755, 0, 0, before["etc"].mtime)
    assert after["etc/messaging/deep/er/messaging.xml"].xattrs == label
    assert after["etc/messaging/deep/er/messaging.xml"].about == (0o644, 0, 0, 1_700_000_000)
    assert after["bin/ping6"] == before["bin/ping6"]  # the other name of the old file


@pytest.mark.parametrize("name", EDITABLE)
def test_old_bytes_change_only_in_superblock_and_touched_inodes(name: str) -> None:
    image = fixture(name)
    tree = open_erofs(BytesSource(image))
    changes = [FileChange("etc/new", b"1"), FileChange("bin/ping", b"2")]
    result = edited(image, changes)
    start = tree.superblock.metadata_offset
    places = [range(1024 + 4, 1024 + 40)]
    for node in tree.walk():
        if node.path in ("etc", "bin", "bin/ping"):
            assert node.inode is not None
            places.append(range(start + 32 * node.inode, start + 32 * node.inode + 64))
    differing = [i for i, (a, b) in enumerate(zip(image, result, strict=False)) if a != b]
    assert [i for i in differing if not any(i in place for place in places)] == []


def test_a_plan_tells_what_changes() -> None:
    image = fixture("lz4")
    plan = plan_edits(BytesSource(image), [FileChange("etc/new", b"new")])
    result = applied(plan, BytesSource(image))
    assert (plan.old_size, plan.size) == (len(image), len(result))
    assert plan.size - plan.old_size == 2 * 4096  # one block of inodes, one folder
    assert plan.changed == tuple(range(w.offset, w.end) for w in plan.writes)
    blocks = plan.changed_blocks()
    for number in range(len(result) // 4096):
        part = slice(4096 * number, 4096 * number + 4096)
        assert (number in blocks) == (image[part] != result[part])
    counts = struct.unpack_from("<Q12xI", result, 1024 + 16)
    old_counts = struct.unpack_from("<Q12xI", image, 1024 + 16)
    assert counts == (old_counts[0] + 1, len(result) // 4096)


def test_a_plan_is_written_to_a_file_that_holds_the_image(tmp_path: Path) -> None:
    image = fixture("plain")
    plan = plan_edits(BytesSource(image), CHANGES, wipe=True)
    path = tmp_path / "system.img"
    path.write_bytes(image)
    with path.open("r+b") as file:
        plan.write(file)
    assert path.read_bytes() == applied(plan, BytesSource(image))
    with path.open("r+b") as file, pytest.raises(ImageError, match="not the one"):
        plan.write(file)
    assert path.read_bytes() == applied(plan, BytesSource(image))
    with pytest.raises(ImageError, match="not the one"):
        plan.apply(BytesSource(image[:2000] + b"?" + image[2001:]))


def test_the_same_changes_give_the_same_bytes_in_any_order() -> None:
    image = fixture("zstd")
    assert edited(image, CHANGES) == edited(image, CHANGES[::-1])
    assert edited(image, []) == image


def test_an_edited_image_can_be_edited() -> None:
    image = fixture("deflate")
    before = items_of(image)
    for number in range(4):
        image = edited(image, [FileChange("etc/count", b"%d" % number), FileChange("d/f", b"")])
    after = items_of(image)
    assert after.keys() == {*before, "etc/count", "d", "d/f"}
    assert after["etc/count"].content == b"3"
    gone = [FileChange("etc/count", None), FileChange("d", None), FileChange("d/f", None)]
    assert items_of(edited(image, gone)) == before


def test_many_files_in_one_folder() -> None:
    changes = [FileChange(f"etc/many/{'n' * (i % 50)}{i}", b"%d" % i) for i in range(1500)]
    after = items_of(edited(fixture("lz4-blocks-512"), changes))
    assert {p: i.content for p, i in after.items() if p.startswith("etc/many/")} == {
        change.path: change.data for change in changes
    }


def test_content_of_any_size_from_a_source() -> None:
    image = fixture("prefixes")  # blocks of 1 KiB
    sizes = [0, 1, 800, 880, 930, 1023, 1024, 1025, 2047, 2048, 5000, 1 << 20]
    changes = [FileChange(f"s/{n}", Pieces([(BytesSource(b"a" * n), n)])) for n in sizes]
    after = items_of(edited(image, changes))
    assert [len(after[f"s/{n}"].content.rstrip(b"a")) for n in sizes] == [0] * len(sizes)
    assert [len(after[f"s/{n}"].content) for n in sizes] == sizes


def test_labels_come_from_the_caller_the_neighbour_or_the_folder() -> None:
    image = fixture("plain")

    def label_of(path: str, kind: NodeKind) -> str | None:
        return f"u:object_r:{kind.value}:s0" if path.startswith("known") else None

    changes = [FileChange("known/a", b""), FileChange("bin/pinh", b""), FileChange("tmp/x", b"")]
    plan = plan_edits(BytesSource(image), changes, label_of=label_of)
    after = items_of(applied(plan, BytesSource(image)))
    labels = {path: after[path].xattrs["security.selinux"] for path in after}
    assert labels["known"] == b"u:object_r:folder:s0\0"
    assert labels["known/a"] == b"u:object_r:file:s0\0"
    assert labels["bin/pinh"] == labels["bin/ping"] != labels["bin/mixed"]
    assert "security.capability" not in after["bin/pinh"].xattrs
    assert labels["tmp/x"] == labels["tmp"]


def test_bytes_behind_the_file_system_stay() -> None:
    image = fixture("lz4") + os.urandom(5000)
    result = edited(image, CHANGES)
    assert result[28672 : len(image)] == image[28672:]
    assert items_of(result).keys() == items_of(edited(fixture("lz4"), CHANGES)).keys()


def test_wiped_content_is_gone() -> None:
    big, hosts = FILES["app/Big.apk"], FILES["etc/hosts"]
    image = fixture("plain")
    own = big[6_100:7_100]  # no other file has this part
    assert own in image
    assert hosts in image
    changes = [FileChange("app/Big.apk", None), FileChange("etc/hosts", b"other")]
    plan = plan_edits(BytesSource(image), changes, wipe=True)
    result = applied(plan, BytesSource(image))
    assert plan.remains == ()
    assert hosts not in result
    assert not any(own[i : i + 32] in result for i in range(0, 968, 32))
    kept = items_of(result)["app/Copy.apk"]
    assert kept == items_of(image)["app/Copy.apk"]


def test_content_that_others_use_is_not_wiped_but_told() -> None:
    image = fixture("zstd-dedupe")
    plan = plan_edits(BytesSource(image), [FileChange("app/Big.apk", None)], wipe=True)
    assert [(r.path, r.size > 0) for r in plan.remains] == [("app/Big.apk", True)]
    image = fixture("zstd-fragments")
    plan = plan_edits(BytesSource(image), [FileChange("app/Big.apk", None)], wipe=True)
    assert [(r.path, r.size) for r in plan.remains] == [("app/Big.apk", len(FILES["app/Big.apk"]))]
    image = fixture("plain")  # bin/ping6 still has it
    plan = plan_edits(BytesSource(image), [FileChange("bin/ping", None)], wipe=True)
    assert FILES["bin/ping"] in applied(plan, BytesSource(image))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([FileChange("app/Link.apk", b"")], "symlink cannot be replaced"),
        ([FileChange("app", b"")], "folder cannot be replaced"),
        ([FileChange("app/Link.apk/x", b"")], "symlink is no folder"),
        ([FileChange("build.prop/x", b"")], "file is no folder"),
        ([FileChange("none", None)], "not there"),
        ([FileChange("app", None)], "still holds"),
        ([FileChange("tmp", None), FileChange("tmp/x", b"")], "removed"),
        ([FileChange("x", b""), FileChange("x/y", b"")], "a file and a folder"),
        ([FileChange("x/y", b""), FileChange("x", b"")], "a file and a folder"),
        ([FileChange("/etc/x", b"")], "not a path"),
        ([FileChange("etc/../x", b"")], "not a path"),
        ([FileChange("", None)], "not a path"),
        ([FileChange("n" * 256, b"")], "not a path"),
        ([FileChange("a\0b", b"")], "not a path"),
        ([FileChange("\ud800", b"")], "no Unicode"),
        ([FileChange("x", b"", xattrs={"user.x": bytes(5000)})], "more than a block"),
        ([FileChange("x", b"", xattrs={"odd.x": b""})], "cannot be stored"),
    ],
)
def test_what_cannot_be_done_is_refused(changes: list[FileChange], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        plan_edits(fixture_source("lz4"), changes)


def test_mistakes_of_the_caller() -> None:
    with pytest.raises(ValueError, match="twice"):
        plan_edits(fixture_source("lz4"), [FileChange("x", b""), FileChange("x", None)])
    with pytest.raises(ValueError, match="mode"):
        FileChange("x", b"", mode=0o100644)


def test_images_that_cannot_be_edited_are_refused() -> None:
    with pytest.raises(ImageError, match="extra devices"):
        plan_edits(fixture_source("device"), [FileChange("x", b"")])
    image = fixture("lz4")
    with pytest.raises(ImageError, match="may have|allowed"):
        plan_edits(BytesSource(image), [FileChange("x", b"")], size_limit=len(image))
    with pytest.raises(ImageError, match="AVB footer"):
        plan_edits(BytesSource(image + bytes(4032) + b"AVBf" + bytes(60)), [])


@pytest.mark.parametrize("name", ["lz4-dedupe", "prefixes", "plain"])
def test_damage_is_refused_or_harmless(name: str) -> None:
    rng = random.Random(name)
    image = fixture(name)
    image = image[:1032] + bytes([image[1032] & ~1]) + image[1033:]  # without checksum
    for _ in range(150):
        damaged = bytearray(image)
        for _ in range(rng.choice((1, 3, 20))):
            damaged[rng.randrange(1024, min(len(image), 24_576))] = rng.randrange(256)
        size = rng.choice((len(image), len(image), rng.randrange(len(image))))
        try:
            plan = plan_edits(BytesSource(bytes(damaged[:size])), CHANGES, wipe=True)
        except ImageError:
            continue
        after = open_erofs(plan.apply(BytesSource(bytes(damaged[:size]))))
        assert {node.path for node in after.walk()} >= {"etc/messaging", "build.prop"}
        assert after.unread == []


@pytest.mark.judge("fsck.erofs")
@pytest.mark.judge("mount")
@pytest.mark.parametrize("name", EDITABLE)
def test_kernel_and_fsck_agree(name: str, tmp_path: Path) -> None:
    image = edited(fixture(name), CHANGES, wipe=True)
    path = tmp_path / "edited.img"
    path.write_bytes(image)
    if name in BLOCK_4096:
        assert "<E>" not in run("fsck.erofs", path)
    check_mounted(path, items_of(image), tmp_path / "mnt")


@pytest.mark.judge("mkfs.erofs")
@pytest.mark.judge("fsck.erofs")
@pytest.mark.judge("dump.erofs")
@pytest.mark.parametrize("options", ["", "-zlz4hc -C65536", "--chunksize=4096", "-x-1"])
def test_images_of_mkfs(options: str, tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    write_tree(folder)
    (folder / "many").mkdir()
    for number in range(400):
        (folder / f"many/{'name' * (number % 9)}{number}").write_bytes(b"%d" % number)
    path = tmp_path / "system.img"
    run("mkfs.erofs", *options.split(), path, folder)
    changes = [*CHANGES, FileChange("many/a", b"a"), FileChange("many/name1", b"1")]
    plan = plan_edits(FileSource(path), changes, wipe=True)
    before = read_items(open_erofs(FileSource(path)))
    with path.open("r+b") as file:
        plan.write(file)
    after = read_items(open_erofs(FileSource(path)))
    assert after == changed_items(before, changes, after)
    assert "<E>" not in run("fsck.erofs", path)
    dump = run("dump.erofs", "--path=/etc/messaging/deep/er/messaging.xml", path)
    assert "Size: 117" in dump
    check_mounted(path, after, tmp_path / "mnt")


@pytest.mark.judge("fsck.erofs")
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), name=st.sampled_from(BLOCK_4096))
def test_any_sequence_of_edits(
    data: st.DataObject, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    image = fixture(name)
    items = items_of(image)
    for _ in range(3):
        changes = data.draw(change_lists(items, sizes=(0, 1, 100, 3900, 4096, 4097, 9000)))
        wipe = data.draw(st.booleans())
        try:
            image = edited(image, changes, wipe=wipe)
        except ImageError as error:
            assert "file and a folder" in str(error)
            continue
        after = items_of(image)
        assert after == changed_items(items, changes, after)
        items = after
    path = tmp_path_factory.getbasetemp() / "random.img"
    path.write_bytes(image)
    assert "<E>" not in run("fsck.erofs", path)
