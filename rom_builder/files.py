"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".part"
"""Ends the name of a file that is being written: ``.NAME.xxxxxxxx.part``."""


@contextlib.contextmanager
def write_whole(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the name ``path`` only when the block ends without error.

    It is written under a temporary name in the same folder, synced and renamed; on any error,
    interrupts included, nothing stays behind and an older file of that name is untouched. A process
    that is killed leaves the temporary file: the next one that writes ``path`` removes it.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    remove_left_behind(path)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=SUFFIX)
    try:
        os.close(descriptor)
        with Path(name).open("r+b") as file:
            # Held until the process ends, however it ends: whoever can take it knows that it did.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
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


def remove_left_behind(path: Path) -> None:
    """Remove temporary files of ``path`` whose writers are gone."""
    with contextlib.suppress(OSError):
        for left in path.parent.iterdir():
            if left.name.startswith(f".{path.name}.") and left.name.endswith(SUFFIX):
                with contextlib.suppress(OSError), left.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    left.unlink()
