"""Write a tree of files of any size: half of each file is words, half is noise."""

from __future__ import annotations

from pathlib import Path
from random import Random

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
