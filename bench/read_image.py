"""The program that is measured: read an image whole, every file with its attributes."""

from __future__ import annotations

import sys
from pathlib import Path

from rom_builder.formats.source import FileSource, Source
from rom_builder.formats.tree import NodeKind

STEP = 4 << 20


def drained(source: Source) -> int:
    """Read a source from start to end; return its size."""
    for offset in range(0, source.size, STEP):
        source.read_at(offset, min(STEP, source.size - offset))
    return source.size


def main(kind: str, path: Path) -> None:
    source = FileSource(path)
    if kind == "sparse":
        from rom_builder.formats.sparse import SparseImage

        print(f"{drained(SparseImage(source))} bytes")
        return
    if kind == "ext4":
        from rom_builder.formats.ext4 import open_ext4 as open_tree
    else:
        from rom_builder.formats.erofs import open_erofs as open_tree  # type: ignore[assignment]
    tree = open_tree(source)
    nodes = size = attributes = 0
    for node in tree.walk():
        nodes += 1
        attributes += len(node.xattrs)
        if node.kind is NodeKind.FILE:
            size += drained(tree.open(node))
    if tree.unread:
        raise SystemExit(f"not read: {tree.unread[0]}")
    print(f"{nodes} nodes, {attributes} attributes, {size} bytes")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
