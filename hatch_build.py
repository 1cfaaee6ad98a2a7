"""Refuse to build a wheel or sdist that holds a private key, whatever its file is called.

pyproject.toml leaves key files out by their names; this looks into what was really written.
"""

from __future__ import annotations

import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PEM_KEY = re.compile(
    rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----\r?\n(?:[A-Za-z-]+: .*\r?\n|\r?\n)*"
    rb"[A-Za-z0-9+/=]{32}"
)
"""A header with a body; the header alone stands in documentation and tests."""
DER_KEY = re.compile(
    rb"\x30(?:[\x00-\x80]|\x81.|\x82..)"  # SEQUENCE; 0x80: of indefinite length
    rb"(?:\x02\x01[\x00\x01\x03]"  # version of PKCS#8, PKCS#1 (0), SEC 1 (1), PKCS#12 (3)
    rb"|\x30.\x06[\x09\x0a]\x2a\x86\x48\x86\xf7\x0d\x01[\x05\x0c])",  # encrypted: RFC 8018, 7292
    re.DOTALL,
)
JAVA_KEYSTORE = b"\xfe\xed\xfe\xed"


class RefusePrivateKeys(BuildHookInterface[Any]):
    """Reads the finished artifact; one that holds a key is deleted and the build fails."""

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        del version, build_data
        artifact = Path(artifact_path)
        found = [name for name, data in contents(artifact) if holds_private_key(data)]
        if found:
            artifact.unlink()
            raise SystemExit(f"a private key must not be shipped: {', '.join(found)}")


def contents(artifact: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file of a wheel or sdist."""
    if artifact.suffix == ".whl":
        with zipfile.ZipFile(artifact) as wheel:
            for name in wheel.namelist():
                yield name, wheel.read(name)
    else:
        with tarfile.open(artifact) as sdist:
            for member in sdist:
                file = sdist.extractfile(member)
                if file is not None:
                    yield member.name, file.read()


def holds_private_key(data: bytes) -> bool:
    """Say whether a file is or holds a private key: PEM anywhere in it, DER or a key store whole.

    A key inside a compressed file or an archive is not seen.
    """
    return bool(PEM_KEY.search(data) or DER_KEY.match(data) or data.startswith(JAVA_KEYSTORE))
