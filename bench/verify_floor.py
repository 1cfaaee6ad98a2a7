"""Do what no verifier can do without: ``python -m bench.verify_floor PACKAGE``.

Every operation of the payload is decoded and the file is hashed once, on all processors. No partition is
hashed, no tree, parity or signature checked.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from bench.ota_floor import DECODERS, PIECE
from rom_builder.formats.payload import OperationType, Payload
from rom_builder.formats.payload.manifest import InstallOperation
from rom_builder.formats.source import FileSource
from rom_builder.formats.zip import ZipArchive


def main(package: Path) -> None:
    archive = ZipArchive(FileSource(package))
    payload = Payload(archive.open(archive.entries["payload.bin"]))

    def decode(operation: InstallOperation) -> int:
        start = payload.blob_offset + (operation.data_offset or 0)
        data = payload.source.read_at(start, operation.data_length or 0)
        return len(DECODERS[OperationType(operation.type or 0)](data))

    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[object]] = deque([pool.submit(digest_of, package)])
        for update in payload.manifest.partitions:
            for operation in update.operations:
                if len(waiting) > 2 * workers:
                    waiting.popleft().result()
                waiting.append(pool.submit(decode, operation))
        for future in waiting:
            future.result()


def digest_of(package: Path) -> bytes:
    digest = hashlib.sha256()
    with package.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.digest()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
