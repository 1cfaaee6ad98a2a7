from __future__ import annotations

import gzip
import io
import tarfile

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.source import BytesSource
from rom_builder.formats.tar_tree import TarTree, detect_gzip, detect_tar, inflate_gzip
from rom_builder.formats.tree import NodeKind
from tests.formats.damage import survives


def tar(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def named(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, target, 0o640
    return member


GOOD = tar(
    [
        (named("images/boot.img"), b"boot" * 300),
        (named("images/link", tarfile.SYMTYPE, "boot.img"), b""),
    ]
)


def test_members_are_nodes_with_their_folders() -> None:
    tree = TarTree(BytesSource(GOOD))
    nodes = {node.path: node for node in tree.walk()}
    assert list(nodes) == ["images", "images/boot.img", "images/link"]
    assert nodes["images"].kind is NodeKind.FOLDER
    assert nodes["images/link"].target == "boot.img"
    boot = nodes["images/boot.img"]
    assert (boot.size, boot.mode) == (1200, 0o640)
    assert tree.open(boot).read_at(1196, 4) == b"boot"
    assert tree.unread == []


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../evil", ".."])
def test_names_that_leave_the_archive_are_noted(name: str) -> None:
    tree = TarTree(BytesSource(tar([(named(name), b"x"), (named("good"), b"y")])))
    assert [node.path for node in tree.walk()] == ["good"]
    assert len(tree.unread) == 1


def test_a_name_twice_and_a_hard_link_are_noted() -> None:
    members = [(named("a"), b"1"), (named("a"), b"2"), (named("b", tarfile.LNKTYPE, "a"), b"")]
    tree = TarTree(BytesSource(tar(members)))
    assert [node.path for node in tree.walk()] == ["a"]
    assert [part.path for part in tree.unread] == ["a", "b"]


def test_gzip_members_are_laid_end_to_end() -> None:
    packed = gzip.compress(GOOD[:700]) + gzip.compress(GOOD[700:])
    assert detect_gzip(packed[:16])
    inflated = inflate_gzip(BytesSource(packed))
    assert inflated.read_at(0, inflated.size) == GOOD
    assert detect_tar(GOOD[:512])


def test_damaged_gzip_is_refused() -> None:
    packed = gzip.compress(GOOD)
    for data in (packed[:-9], packed[:40], packed[:60] + b"\xff" * 40 + packed[100:]):
        with pytest.raises(ImageError):
            inflate_gzip(BytesSource(data))


def test_only_image_errors_escape_damage() -> None:
    def read(data: bytes) -> None:
        tree = TarTree(BytesSource(data))
        for node in tree.walk():
            if node.kind is NodeKind.FILE:
                source = tree.open(node)
                source.read_at(0, source.size)

    survives(read, GOOD, count=300)
