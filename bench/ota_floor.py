"""Do what no builder can do without: ``python -m bench.ota_floor PACKAGE PARTITION OUTPUT``.

The package is copied and hashed as often as its format hashes it: the whole file, the payload, the payload
without its signatures. The edited partition is decoded and hashed twice, whole and under its hash
tree. Nothing is edited, encoded, checked or signed; one thread does it all.
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import os
import sys
from pathlib import Path

from rom_builder.formats.payload import OperationType, Payload
from rom_builder.formats.source import FileSource
from rom_builder.formats.zip import ZipArchive

DECODERS = {
    OperationType.REPLACE: bytes,
    OperationType.REPLACE_BZ: bz2.decompress,
    OperationType.REPLACE_XZ: lzma.decompress,
}
PIECE = 1 << 20


def main(package: Path, partition: str, output: Path) -> None:
    passes = [hashlib.sha256() for _ in range(3)]
    with package.open("rb") as source, output.open("wb") as file:
        while piece := source.read(PIECE):
            for digest in passes:
                digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    archive = ZipArchive(FileSource(package))
    payload = Payload(archive.open(archive.entries["payload.bin"]))
    passes = [hashlib.sha256() for _ in range(2)]
    for operation in payload.update(partition).operations:
        start = payload.blob_offset + (operation.data_offset or 0)
        data = payload.source.read_at(start, operation.data_length or 0)
        content = DECODERS[OperationType(operation.type or 0)](data)
        for digest in passes:
            digest.update(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
