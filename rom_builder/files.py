"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def write_whole(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the name ``path`` only when the block ends without error.

    It is written under a temporary name in the same folder, synced and renamed; on any error,
    interrupts included, nothing stays behind and an older file of that name is untouched.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        os.close(descriptor)
        with Path(name).open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, mode & ~umask)  # noqa: PTH101 - mkstemp names a string
        os.replace(name, path)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)  # noqa: PTH108
        raise
