"""Write trees of files of any size: half words and half noise, or what a partition consists of."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from random import Random

from bench.synthetic_rom import write_app

WORDS = b" ".join(b"%x" % (number * 2654435761 % 2**32) for number in range(4096))


def write_tree(folder: Path, *, mebibytes: int, files: int, seed: int = 1) -> None:
    """Write ``files`` files of together about ``mebibytes``, most of them small, as ROMs have them."""
    random = Random(seed)  # noqa: S311 - made-up content
    weights = [random.paretovariate(1.2) for _ in range(files)]
    for number, weight in enumerate(weights):
        path = folder / "system" / f"folder{number % 97}" / f"file{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = int(weight / sum(weights) * (mebibytes << 20))
        words = (WORDS * (size // 2 // len(WORDS) + 1))[: size // 2]
        path.write_bytes(words + random.randbytes(size - len(words)))
    (folder / "system" / "build.prop").write_text("ro.build.version.sdk=34\nro.debuggable=0\n")


MIXED = 24 << 20
"""Bytes of mixed content that the files of a partition are cut from: more than a dictionary of xz."""
BUILD_PROP = """\
ro.build.version.sdk=34
ro.build.version.release=14
ro.build.version.incremental=100
ro.build.version.security_patch=2024-06-05
ro.build.date.utc=1700000000
ro.build.type=user
ro.build.tags=release-keys
ro.debuggable=0
ro.product.device=pine
ro.build.fingerprint=example/pine/pine:14/UP1A/100:user/release-keys
"""


def write_partition(
    folder: Path, name: str, *, mebibytes: int, apps: int, seed: int, tree: Path | None = None
) -> None:
    """Write the files of a partition: a third of the bytes in apps, most other files small.

    Args:
        folder: Where; must not exist yet.
        name: The partition; ``system`` is the root of the device, with its files in ``system``.
        apps: Number of apps.
        seed: Another number gives other files.
        tree: A folder whose files give the content, instead of made-up code, text and noise.
    """
    random = Random(seed)  # noqa: S311 - made-up content
    content = mixed(random, MIXED) if tree is None else taken(tree, random, MIXED)
    top = folder / "system" if name == "system" else folder
    (top / "etc").mkdir(parents=True)
    prefix = "" if name == "system" else f".{name}"
    (top / "build.prop").write_text(BUILD_PROP.replace("ro.", f"ro{prefix}."))
    for number in range(apps):
        size = (mebibytes << 20) // (3 * apps)
        path = top / "app" / f"App{name}{number}" / f"App{name}{number}.apk"
        path.parent.mkdir(parents=True)
        write_app(path, seed=seed * 1000 + number, strings=6000, filling=cut(content, random, size))
    files = mebibytes * 2
    weights = [random.paretovariate(1.2) for _ in range(files)]
    for number, weight in enumerate(weights):
        path = top / "lib" / f"folder{number % 97}" / f"file{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = int(weight / sum(weights) * (mebibytes << 20) * 2 / 3)
        with path.open("wb") as file:
            while size > 0:
                piece = cut(content, random, min(size, 1 << 20))
                file.write(piece)
                size -= len(piece)


def cut(content: bytes, random: Random, size: int) -> bytes:
    """Return ``size`` bytes of ``content`` from anywhere, at most all."""
    size = min(size, len(content))
    start = random.randrange(len(content) - size + 1)
    return content[start : start + size]


def taken(tree: Path, random: Random, size: int) -> bytes:
    """Return ``size`` bytes of the files of a folder, or as many as they have."""
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    random.shuffle(files)
    found = bytearray()
    for path in files:
        found += path.read_bytes()
        if len(found) >= size:
            break
    return bytes(found[:size])


def mixed(random: Random, size: int) -> bytes:
    """Return text, code and noise in pieces of some kilobytes; xz makes about 0.6 of it.

    Real system images give 0.4 to 0.9, the less the more of their apps are compressed.
    """
    letters = b"abcdefghijklmnopqrstuvwxyz._/"
    vocabulary = [bytes(random.choices(letters, k=random.randint(3, 14))) for _ in range(20000)]
    frequent = list(accumulate(1 / (rank + 10) for rank in range(len(vocabulary))))
    skewed = bytes(int(255 * (value / 256) ** 3) for value in range(256))
    found = bytearray()
    while len(found) < size:
        length = random.randint(2000, 40000)
        kind = random.random()
        if kind < 0.35:
            found += random.randbytes(length)
        elif kind < 0.7:
            found += b" ".join(random.choices(vocabulary, cum_weights=frequent, k=length // 9))
        else:  # instructions of four bytes: registers, a small operand, a condition
            count = length // 4
            code = bytearray(4 * count)
            code[0::4] = random.randbytes(count).translate(skewed)
            code[1::4] = random.randbytes(count).translate(skewed)
            code[3::4] = random.choices(b"\xe5\xe1\xe0\xe2", k=count)
            found += code
    return bytes(found[:size])
