from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rom_builder.errors import ImageError
from rom_builder.formats.hashtree import (
    ALGORITHMS,
    Hashtree,
    build_hashtree,
    compare_hashtree,
    hashtree_size,
    update_hashtree,
)
from rom_builder.formats.source import BytesSource
from tests.formats.damage import noise

SALT = bytes(range(32))
BLOCK = 4096
TWO_LEVELS = noise(130 * BLOCK)


def veritysetup(tmp_path: Path, image: bytes, algorithm: str, salt: bytes) -> tuple[str, bytes]:
    (tmp_path / "image").write_bytes(image)
    tool = shutil.which("veritysetup", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    done = subprocess.run(
        [tool or "veritysetup", "format", "--no-superblock", "--format=1", f"--hash={algorithm}",
         f"--salt={salt.hex() or '-'}", tmp_path / "image", tmp_path / "tree"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    root = next(line.split()[-1] for line in done.stdout.splitlines() if line[:4] == "Root")
    return root, (tmp_path / "tree").read_bytes()


@pytest.mark.judge("veritysetup")
@pytest.mark.parametrize("blocks", [1, 2, 128, 129, 300])
@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "sha512"])
def test_veritysetup_makes_the_same_tree(tmp_path: Path, blocks: int, algorithm: str) -> None:
    image = noise(blocks * BLOCK)
    ours = build_hashtree(BytesSource(image), SALT, algorithm)
    root, tree = veritysetup(tmp_path, image, algorithm, SALT)
    assert ours.root_digest.hex() == root
    assert ours.tree == tree[: len(ours.tree)]
    assert not tree[len(ours.tree) :].strip(b"\0")


@pytest.mark.judge("veritysetup")
def test_veritysetup_makes_the_same_tree_of_three_levels_without_salt(tmp_path: Path) -> None:
    image = bytes(128 * 128 * BLOCK) + noise(BLOCK)
    ours = build_hashtree(BytesSource(image))
    assert (ours.root_digest.hex(), ours.tree) == veritysetup(tmp_path, image, "sha256", b"")
    assert len(ours.tree) == hashtree_size(len(image)) == (129 + 2 + 1) * BLOCK


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_tree_follows_its_definition(algorithm: str) -> None:
    def digest(block: bytes) -> bytes:
        if algorithm == "blake2b-256":
            return hashlib.blake2b(SALT + block, digest_size=32).digest()
        return hashlib.new(algorithm, SALT + block).digest()

    image = noise(2 * BLOCK + 5)
    width = {"sha1": 32, "sha512": 64}.get(algorithm, 32)
    blocks = image[:BLOCK], image[BLOCK : 2 * BLOCK], image[2 * BLOCK :].ljust(BLOCK, b"\0")
    tree = b"".join(digest(block).ljust(width, b"\0") for block in blocks).ljust(BLOCK, b"\0")
    built = build_hashtree(BytesSource(image), SALT, algorithm)
    assert built.tree == tree
    assert built.root_digest == digest(tree)
    assert len(tree) == hashtree_size(len(image), len(built.root_digest))


def verify(image: bytes, tree: bytes, root_digest: bytes) -> None:
    """Compare an image with its salted tree, and that with its root digest."""
    expected = build_hashtree(BytesSource(image), SALT)
    compare_hashtree(Hashtree(root_digest, tree), expected, len(image))


def test_an_image_of_one_block_has_an_empty_tree() -> None:
    built = build_hashtree(BytesSource(b"x"), SALT)
    assert built.tree == b""
    assert built.root_digest == hashlib.sha256(SALT + b"x" + bytes(BLOCK - 1)).digest()
    verify(b"x", b"", built.root_digest)
    with pytest.raises(ImageError, match="root digest"):
        verify(b"y", b"", built.root_digest)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(TWO_LEVELS) - 1), st.binary(max_size=9000)), max_size=4),
    st.sampled_from(["sha256", "sha1"]),
)
def test_an_updated_tree_is_that_of_the_changed_image(
    writes: list[tuple[int, bytes]], algorithm: str
) -> None:
    before = build_hashtree(BytesSource(TWO_LEVELS), SALT, algorithm)
    image = bytearray(TWO_LEVELS)
    changed = []
    for offset, data in writes:
        data = data[: len(image) - offset]
        image[offset : offset + len(data)] = data
        changed.append((offset, len(data)))
    source = BytesSource(bytes(image))
    updated = update_hashtree(before.tree, changed, source, SALT, algorithm)
    assert updated == build_hashtree(source, SALT, algorithm)


def test_an_update_of_a_tree_of_another_image_is_refused() -> None:
    tree = build_hashtree(BytesSource(TWO_LEVELS)).tree
    with pytest.raises(ImageError, match=r"hash tree of 12288 bytes, an image of \d+ has one of"):
        update_hashtree(tree, [], BytesSource(TWO_LEVELS[: 100 * BLOCK]))
    for outside in (-1, 5), (0, -1), (len(TWO_LEVELS) - 1, 2):
        with pytest.raises(ImageError, match="outside the image"):
            update_hashtree(tree, [outside], BytesSource(TWO_LEVELS))


def test_no_flipped_byte_verifies() -> None:
    good = build_hashtree(BytesSource(TWO_LEVELS), SALT)
    verify(TWO_LEVELS, good.tree, good.root_digest)
    for position in (0, 77 * BLOCK + 9, len(TWO_LEVELS) - 1):
        bad = bytearray(TWO_LEVELS)
        bad[position] ^= 1
        with pytest.raises(ImageError, match=f"block {position // BLOCK} of the image") as caught:
            verify(bytes(bad), good.tree, good.root_digest)
        assert caught.value.offset == position // BLOCK * BLOCK
    for position in (0, 70, BLOCK, len(good.tree) - 1):
        tree = bytearray(good.tree)
        tree[position] ^= 1
        with pytest.raises(ImageError):
            verify(TWO_LEVELS, bytes(tree), good.root_digest)
    with pytest.raises(ImageError, match="hash tree of 4096 bytes, expected 12288"):
        verify(TWO_LEVELS, good.tree[:BLOCK], good.root_digest)
    with pytest.raises(ImageError, match="root digest"):
        verify(TWO_LEVELS, good.tree, bytes(32))


def test_what_cannot_be_hashed_is_refused() -> None:
    with pytest.raises(ImageError, match="empty image"):
        build_hashtree(BytesSource(b""))
    with pytest.raises(ImageError, match="unknown hash algorithm 'md5'"):
        build_hashtree(BytesSource(b"x"), algorithm="md5")
