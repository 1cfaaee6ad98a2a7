"""The files that every EROFS image of the tests holds, and how the fixtures were made from them."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

from rom_builder.formats.source import BytesSource

FIXTURES = Path(__file__).parent.parent / "fixtures" / "erofs"

# Options of mkfs.erofs for each fixture; tests/fixtures/make_erofs.py makes them again.
OPTIONS = {
    "plain": "-Ladam",
    "chunks": "--chunksize=4096 -Eforce-chunk-indexes",
    "lz4": "-zlz4hc -C8192",
    "lz4-blocks-512": "-b512 -zlz4hc -C2048 -Eztailpacking",
    "lz4-dedupe": "-b512 -zlz4hc -C1024 -Ededupe",
    "lz4-interlaced": "-b512 -zlz4hc -Efragments",
    "lzma": "-zlzma,level=9 -C8192",
    "lzma-dedupe": "-b512 -zlzma,level=9 -C1024 -Ededupe",
    "deflate": "-zdeflate,level=9 -C8192 -Eztailpacking",
    "deflate-dedupe": "-b512 -zdeflate,level=9 -C512 -Ededupe",
    "zstd": "-zzstd,level=19 -C8192 -Eztailpacking",
    "zstd-dedupe": "-b512 -zzstd,level=19 -C1024 -Ededupe",
    "zstd-fragments": "-zzstd,level=19 -C8192 -Eall-fragments --xattr-prefix=user.longer.",
    "device": "--chunksize=4096 --blobdev=device",  # which is not kept
    "legacy": "-zlz4hc -Elegacy-compress",
    "prefixes": "-b1024 -zlz4 --xattr-prefix=user.longer.",
}


def text(seed: str, size: int) -> bytes:
    """Return words that compress to about a fifth, the same for the same seed."""
    noise = hashlib.shake_256(seed.encode()).digest(size)
    words = [hashlib.sha256(bytes([i])).hexdigest()[: 3 + i % 7].encode() for i in range(64)]
    return b" ".join(words[byte % 64] for byte in noise)[:size]


_BIG = text("big", 7_200)
_NOISE = hashlib.shake_256(b"noise").digest(1_100)

FILES: dict[str, bytes] = {
    "app/Big.apk": _BIG + bytes(30_000) + _BIG[:3_500] + _NOISE[:300],
    "app/Copy.apk": _BIG[:300] + _BIG[1_000:6_000] + b"the end",
    "app/Sparse.img": b"head" + bytes(40_000) + b"tail",
    "bin/mixed": _BIG[:700] + _NOISE + _BIG[:700],
    "bin/ping": _NOISE[:300] * 2,
    "build.prop": b"ro.debuggable=0\n" * 300,
    "empty": b"",
    "etc/exact": b"0123456789abcdef" * 256,
    "etc/hosts": b"127.0.0.1 localhost\n",
}
LINKS = {"app/Link.apk": "Big.apk", "etc/mtab": "/proc/mounts", "long": "x/" * 900 + "y"}
FOLDERS = ["app", "bin", "etc", "tmp"]
HARD_LINK = ("bin/ping6", "bin/ping")
DEVICE = "bin/null"
ODD_NAME = b"etc/\xff\xfe name"

LABELS = {"bin/ping": "u:object_r:ping_exec:s0", "": "u:object_r:rootfs:s0"}
DEFAULT_LABEL = "u:object_r:system_file:s0"
CAPABILITIES = bytes.fromhex("0100000200200000000000000000000000000000")
EXTRA_XATTRS = {
    "etc/hosts": {"user.longer.prefix": b"one", "user.other": b"", "user.longer.two": bytes(70)}
}


def write_tree(folder: Path) -> None:
    """Write the tree, as root; without root leave out owners, labels and the device."""
    root = os.geteuid() == 0
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    (folder / os.fsdecode(ODD_NAME)).write_bytes(b"odd")
    for name, target in LINKS.items():
        (folder / name).symlink_to(target)
    (folder / HARD_LINK[0]).hardlink_to(folder / HARD_LINK[1])
    (folder / "bin/ping").chmod(0o4755)
    (folder / "tmp").chmod(0o1770)
    if not root:
        return
    os.mknod(folder / DEVICE, 0o20666, os.makedev(1, 3))
    os.chown(folder / "empty", 70_000, 2_000)
    for path in (folder, *sorted(folder.rglob("*"))):
        name = str(path.relative_to(folder)) if path != folder else ""
        label = LABELS.get(name, LABELS["bin/ping"] if name == HARD_LINK[0] else DEFAULT_LABEL)
        os.setxattr(path, "security.selinux", label.encode() + b"\0", follow_symlinks=False)
    os.setxattr(folder / "bin/ping", "security.capability", CAPABILITIES)
    for name, xattrs in EXTRA_XATTRS.items():
        for key, value in xattrs.items():
            os.setxattr(folder / name, key, value)


def fixture(name: str) -> bytes:
    """Return a committed image."""
    return gzip.decompress((FIXTURES / f"{name}.img.gz").read_bytes())


def fixture_source(name: str) -> BytesSource:
    return BytesSource(fixture(name))


def unsealed(name: str) -> bytearray:
    """Return a committed image without its superblock checksum, for tests that change it."""
    image = bytearray(fixture(name))
    image[1024 + 8] &= ~1
    return image
