"""Write a full A/B package around an EROFS image: ``python -m bench.synthetic_ota IMAGE PACKAGE``.

The image stands under a hash tree, its payload is cut into operations of 2 MiB that are compressed
with xz where that makes them smaller.
"""

from __future__ import annotations

import lzma
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from tests.ab_package import sealed, written
from tests.formats.builders import vbmeta as build
from tests.formats.builders.payload import BLOCK, REPLACE, REPLACE_XZ, Op, Part, Spec
from tests.signing_material import key

OPERATION = 512 * BLOCK


def write_package(path: Path, system: bytes) -> None:
    """Put an image into a signed payload and that into a package."""
    avb_key, payload_key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    tree_size = len(system) // 100 // BLOCK * BLOCK
    system, item = sealed("system", system, (len(system) // BLOCK + 64) * BLOCK + tree_size)
    images = {"system": system, "vbmeta": build.vbmeta(item, avb_key).ljust(2 * BLOCK, b"\0")}
    spec = Spec(
        [Part(name, data, operations(data)) for name, data in images.items()],
        sign=lambda digest: payload_key.sign(digest, padding.PKCS1v15(), utils.Prehashed(SHA256())),
    )
    otacert = key().certificate.public_bytes(Encoding.PEM)
    written(path, spec.build(), otacert)


def operations(image: bytes) -> list[Op]:
    found = []
    for start in range(0, len(image), OPERATION):
        data = image[start : start + OPERATION]
        packed = lzma.compress(data, check=lzma.CHECK_NONE, preset=0)
        extent = [(start // BLOCK, len(data) // BLOCK)]
        smaller = len(packed) < len(data)
        kind, blob = (REPLACE_XZ, packed) if smaller else (REPLACE, data)
        found.append(Op(kind, data, extent, blob=blob))
    return found


if __name__ == "__main__":
    write_package(Path(sys.argv[2]), Path(sys.argv[1]).read_bytes())
