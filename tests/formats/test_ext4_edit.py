"""Edits of ext4 images: what was asked for and nothing else, and e2fsck has nothing to say."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rom_builder.errors import ImageError
from rom_builder.formats.ext4 import open_ext4, plan_edits
from rom_builder.formats.image_edit import FileChange
from rom_builder.formats.source import BytesSource, Pieces
from tests.formats.ext4_images import LAYOUTS, items_of, judge, make, share_blocks
from tests.formats.image_model import (
    applied,
    change_lists,
    changed_items,
    check_mounted,
    run,
)
from tests.formats.images import fixture

FIXTURES = ["ext4-android.img", "ext4-checksums.img", "ext4-inline.img"]
MESSAGING = FileChange("etc/messaging/deep/er/messaging.xml", b"<messaging/>\n" * 9, mtime=5)
CHANGES = [
    MESSAGING,
    FileChange("build.prop", b"ro.debuggable=0\n" * 600),
    FileChange("bin/run-as", b"new", mode=0o755, capabilities=b""),  # has another name
    FileChange("link60", None),
    FileChange("link300", None),
    FileChange("bare disk", None),
    FileChange("deep/er/file", None),
    FileChange("deep/er", None),
    FileChange("names/!first", b""),
    FileChange("names/00-", None),
    FileChange("names/40-" + "n" * 40, b"x" * 70_000),
    FileChange("hole", b"::1\n", label="u:object_r:hosts:s0", mtime=3_000_000_000, uid=100_000),
    FileChange("empty folder", None),
    FileChange("n" * 255, b"z" * 4096),
    FileChange("inline", b"q" * 50),
    FileChange("spotted", None),
    FileChange("big", b"", xattrs={"user.note": b"v" * 600}, capabilities=b"\1\0\0\2" + bytes(16)),
]


def edited(image: bytes, changes: list[FileChange], **options: bool) -> bytes:
    return applied(plan_edits(BytesSource(image), changes, **options), BytesSource(image))


def with_times_that_fit(layout: str) -> list[FileChange]:
    if layout != "small-inodes":
        return CHANGES
    return [c if c.path != "hole" else FileChange("hole", b"::1\n", mtime=7) for c in CHANGES]


@pytest.mark.parametrize("wipe", [False, True])
@pytest.mark.parametrize("name", FIXTURES)
def test_an_edit_does_what_it_says_and_nothing_else(name: str, wipe: bool) -> None:
    image = fixture(name)
    before = items_of(image)
    after = items_of(edited(image, CHANGES, wipe=wipe))
    assert after == changed_items(before, CHANGES, after)
    assert after["deep/other-name"] == before["deep/other-name"]  # of the old bin/run-as
    made = after["etc/messaging/deep/er"]
    assert (made.xattrs, made.about) == (before[""].xattrs, before[""].about)
    assert after[MESSAGING.path].about == (0o644, 0, 0, 5)


@pytest.mark.judge("e2fsck")
@pytest.mark.judge("mkfs.ext4")
@pytest.mark.judge("debugfs")
@pytest.mark.judge("mount")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_kernel_and_e2fsck_agree(layout: str, tmp_path: Path) -> None:
    image = make(tmp_path, LAYOUTS[layout])
    judge(image, tmp_path / "old.img")
    before = items_of(image)
    changes = with_times_that_fit(layout)
    result = edited(image, changes, wipe=True)
    judge(result, tmp_path / "new.img")
    after = items_of(result)
    assert after == changed_items(before, changes, after)
    assert len(result) == len(image)
    said = run("debugfs", "-R", f"cat /{MESSAGING.path}", tmp_path / "new.img")
    assert "<messaging/>\n" * 9 in said
    check_mounted(tmp_path / "new.img", after, tmp_path / "mnt")
    back = [FileChange(change.path, None) for change in changes if change.path in after]
    judge(edited(result, back), tmp_path / "back.img")


@pytest.mark.judge("e2fsck")
@pytest.mark.judge("mkfs.ext4")
@pytest.mark.judge("debugfs")
@pytest.mark.parametrize(("feature", "count"), [("metadata_csum", 600), ("^metadata_csum", 550)])
def test_hashed_folders(feature: str, count: int, tmp_path: Path) -> None:
    # 4 names a block and about 120 blocks an index block: two levels
    options = ["-b", "1024", "-O", f"^has_journal,{feature}"]
    image = make(tmp_path, options, size="6M", names=count)
    flags = "Flags: 0x81000"  # extents, index
    assert flags in run("debugfs", "-R", "stat /names", tmp_path / "image")
    names = [f"names/more{number:05}{'x' * 200}" for number in range(0, count, 7)]
    result = edited(image, [FileChange(name, None) for name in names])
    judge(result, tmp_path / "removed.img")
    # names that go leave the index right
    assert flags in run("debugfs", "-R", "stat /names", tmp_path / "removed.img")
    changes = [FileChange(f"names/new{number}", b"n") for number in range(100)]
    result = edited(result, [*changes, FileChange("names/folder/file", b"")])
    judge(result, tmp_path / "added.img")
    check_mounted(tmp_path / "added.img", items_of(result), tmp_path / "mnt")


@pytest.mark.judge("e2fsck")
@pytest.mark.judge("mkfs.ext4")
@pytest.mark.parametrize("layout", ["plain", "checksums", "checksums-32", "uninit", "no-flex"])
def test_a_full_image_grows(layout: str, tmp_path: Path) -> None:
    options = [*LAYOUTS[layout][:-1], LAYOUTS[layout][-1] + ",^resize_inode"]
    image = make(tmp_path, options, size="2M")
    content = b"grown" * 700_000
    changes = [FileChange("bin/large", content), FileChange("new/folder/small", b"1")]
    plan = plan_edits(BytesSource(image), changes)
    result = applied(plan, BytesSource(image))
    judge(result, tmp_path / "grown.img")
    assert len(image) + 1_500_000 < len(result) == plan.size < len(image) + len(content) + 500_000
    after = items_of(result)
    assert after == changed_items(items_of(image), changes, after)
    assert sum(map(len, plan.changed)) >= plan.size - len(image)
    assert plan.changed[-1].stop == plan.size
    check_mounted(tmp_path / "grown.img", after, tmp_path / "mnt")
    again = edited(result, [FileChange("bin/large", content * 2)])
    judge(again, tmp_path / "again.img")
    with pytest.raises(ImageError, match="are allowed"):
        plan_edits(BytesSource(image), changes, size_limit=len(image))
    with pytest.raises(ImageError, match="other bytes follow"):
        plan_edits(BytesSource(image + b"hashtree"), changes)
    assert len(edited(image + bytes(5000), changes)) == plan.size


@pytest.mark.judge("e2fsck")
@pytest.mark.judge("mkfs.ext4")
def test_an_image_that_cannot_grow_is_refused(tmp_path: Path) -> None:
    image = make(
        tmp_path, ["-b", "1024", "-g", "512", "-O", "^has_journal,resize_inode"], size="1M"
    )
    refused = []
    for size in range(100_000, 2_000_000, 200_000):
        try:
            result = edited(image, [FileChange("bin/large", bytes(size))])
        except ImageError as error:
            refused.append(str(error))
        else:
            judge(result, tmp_path / "grown.img")
    assert refused
    assert {reason for reason in refused if "would need a superblock" not in reason} == set()


@pytest.mark.judge("e2fsck")
@pytest.mark.judge("mkfs.ext4")
def test_every_inode_in_use(tmp_path: Path) -> None:
    image = make(tmp_path, LAYOUTS["checksums"])
    changes = [FileChange(f"many/{number}", b"") for number in range(200)]
    free = open_ext4(BytesSource(image)).superblock.free_inodes
    judge(edited(image, [FileChange(f"many/{n}", b"") for n in range(free - 1)]), tmp_path / "all")
    with pytest.raises(ImageError, match="every inode is in use"):
        edited(image, [FileChange(f"many/{number}", b"") for number in range(free)])
    judge(edited(image, changes), tmp_path / "many")


@pytest.mark.judge("e2fsck")
@pytest.mark.judge("mkfs.ext4")
@pytest.mark.judge("debugfs")
def test_content_in_many_extents(tmp_path: Path) -> None:
    image = make(tmp_path, ["-b", "1024", "-O", "^has_journal,metadata_csum"], size="4M")
    chips = [FileChange(f"chips/{number:04}", b"c" * 1024) for number in range(250)]
    image = edited(image, chips)
    image = edited(image, list(map(_gone, chips[::2])))
    free = open_ext4(BytesSource(image)).superblock.free_blocks
    content = bytes(range(1, 251)) * ((free - 5) * 1024 // 250)
    result = edited(image, [FileChange("large", content)])
    judge(result, tmp_path / "large.img")
    after = items_of(result)
    assert after["large"].content == content
    said = run("debugfs", "-R", "ex /large", tmp_path / "large.img")
    assert said.count("\n 1/") > 85  # more than one block of extents
    result = edited(result, [FileChange("large", None)])
    judge(result, tmp_path / "gone.img")
    assert open_ext4(BytesSource(result)).superblock.free_blocks == free


def _gone(change: FileChange) -> FileChange:
    return FileChange(change.path, None)


@pytest.mark.judge("e2fsck")
@pytest.mark.judge("mkfs.ext4")
@pytest.mark.judge("debugfs")
def test_shared_blocks_stay_with_the_other_file(tmp_path: Path) -> None:
    image = make(tmp_path, LAYOUTS["plain"])
    content = b"shared between two files" * 2000
    image = edited(image, [FileChange("bin/first", content), FileChange("deep/twin", content)])
    image = share_blocks(image, tmp_path / "shared.img", "bin/first", "deep/twin")
    judge(image, tmp_path / "shared.img")
    before = items_of(image)
    for changes in (
        [FileChange("bin/first", None)],
        [FileChange("deep/twin", b"other" * 3000)],
        [FileChange("deep/twin", content * 30)],
        [FileChange("new", bytes(100_000))],
    ):
        plan = plan_edits(BytesSource(image), changes, wipe=True)
        result = applied(plan, BytesSource(image))
        judge(result, tmp_path / "edited.img")
        assert items_of(result) == changed_items(before, changes, items_of(result))
        if changes[0].path != "new":
            assert [(r.path, r.size) for r in plan.remains] == [(changes[0].path, 12 * 4096)]
    both = [FileChange("bin/first", None), FileChange("deep/twin", b"")]
    plan = plan_edits(BytesSource(image), both, wipe=True)
    result = applied(plan, BytesSource(image))
    judge(result, tmp_path / "edited.img")
    assert plan.remains == ()
    assert content[:100] in image
    assert content[:100] not in result


def test_wiped_content_is_gone() -> None:
    image = fixture("ext4-android.img")
    content = bytes(range(256)) * 30
    assert content[:4096] in image
    changes = [FileChange("deep/er/file", None)]
    assert content[:4096] in edited(image, changes)
    result = edited(image, changes, wipe=True)
    assert content[:64] not in result
    assert items_of(result) == changed_items(items_of(image), changes, {})


def test_few_blocks_change_for_a_small_edit() -> None:
    image = fixture("ext4-android.img")
    plan = plan_edits(BytesSource(image), [FileChange("bin/new", b"new")])
    # superblock and descriptors, two bitmaps, inodes, names, content
    assert len(plan.changed_blocks()) <= 8
    assert plan.size == plan.old_size
    assert plan_edits(BytesSource(image), []).writes == ()
    assert edited(image, CHANGES) == edited(image, CHANGES[::-1])


def test_content_from_a_source_is_not_read_at_once() -> None:
    image = fixture("ext4-checksums.img")
    content = Pieces([(BytesSource(b"a"), 1), (None, 50_000)])
    after = items_of(edited(image, [FileChange("etc/x", content)]))
    assert after["etc/x"].content == b"a" + bytes(50_000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([FileChange("link", b"")], "symlink cannot be replaced"),
        ([FileChange("null", b"")], "device cannot be replaced"),
        ([FileChange("bin", None)], "still holds"),
        ([FileChange("none", None)], "not there"),
        ([FileChange("x", b"", xattrs={"user.x": bytes(5000)})], "do not fit"),
        ([FileChange("x", b"", xattrs={"odd.x": b""})], "cannot be stored"),
        ([FileChange("x", b"", mtime=1 << 34)], "time"),
        ([FileChange("x", Pieces([(None, 1 << 44)]))], "descriptors is full"),
    ],
)
def test_what_cannot_be_done_is_refused(changes: list[FileChange], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        plan_edits(BytesSource(fixture("ext4-android.img")), changes)


def test_images_that_cannot_be_edited_are_refused() -> None:
    with pytest.raises(ImageError, match="only images with extents"):
        edited(fixture("ext2.img"), [MESSAGING])
    image = fixture("ext4-android.img")
    for offset, value, message in (
        (96, 0x4, "journal holds"),
        (96, 0x10000, "encrypt"),
        (100, 0x100, "quota"),
        (58, 2, "damaged or in use"),
    ):
        (word,) = struct.unpack_from("<H", image, 1024 + offset)
        flagged = bytearray(image)
        struct.pack_into("<I" if value >> 16 else "<H", flagged, 1024 + offset, word | value)
        with pytest.raises(ImageError, match=message):
            edited(bytes(flagged), [MESSAGING])
    with pytest.raises(ImageError, match="AVB footer"):
        edited(image + bytes(4032) + b"AVBf" + bytes(60), [MESSAGING])
    with pytest.raises(ImageError, match="image ends"):
        edited(image[:-4096], [MESSAGING])


@pytest.mark.parametrize("name", FIXTURES)
def test_damage_is_refused_or_harmless(name: str) -> None:
    rng = random.Random(name)
    image = fixture(name)
    used = [i for i in range(0, len(image), 16) if any(image[i : i + 16])]
    for _ in range(30):
        damaged = bytearray(image)
        for _ in range(rng.choice((1, 1, 5))):
            damaged[rng.choice(used) + rng.randrange(16)] = rng.randrange(256)
        try:
            plan = plan_edits(BytesSource(bytes(damaged)), CHANGES, wipe=True)
        except ImageError:
            continue
        after = items_of(applied(plan, BytesSource(bytes(damaged))))
        assert MESSAGING.path in after


@pytest.mark.judge("e2fsck")
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), name=st.sampled_from(FIXTURES))
def test_any_sequence_of_edits(
    data: st.DataObject, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    image = fixture(name)
    items = items_of(image)
    for _ in range(3):
        shown = {path: item for path, item in items.items() if path != "lost+found"}
        changes = data.draw(change_lists(shown, sizes=(0, 1, 100, 4096, 4097, 40_000, 900_000)))
        wipe = data.draw(st.booleans())
        try:
            image = edited(image, changes, wipe=wipe)
        except ImageError as error:
            assert "file and a folder" in str(error)
            continue
        after = items_of(image)
        assert after == changed_items(items, changes, after)
        items = after
        judge(image, tmp_path_factory.getbasetemp() / "random.img")
