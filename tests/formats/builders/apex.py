"""A writer of APEX modules: the standard library's zip around a signed image."""

from __future__ import annotations

import io
import json
import zipfile

from cryptography.hazmat.primitives.asymmetric import rsa

from tests.formats.builders import vbmeta
from tests.formats.builders.payload import chunk, number


def manifest(name: str = "com.android.example", version: int = 340000000) -> bytes:
    return chunk(1, name.encode()) + number(2, version) + chunk(9, b"libexample.so")


def json_manifest(name: str = "com.android.example", version: int = 290000000) -> bytes:
    return json.dumps({"name": name, "version": version}).encode()


def payload(key: rsa.RSAPrivateKey, image: bytes = b"image" * 1000) -> bytes:
    tree = vbmeta.hashtree(b"", b"salt", bytes(32), 8192, 4096, 0)
    return vbmeta.with_footer(image, vbmeta.vbmeta(tree, key), 32768)


def archive(entries: dict[str, bytes], *, deflated: bool = False) -> bytes:
    out = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", method) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return out.getvalue()
