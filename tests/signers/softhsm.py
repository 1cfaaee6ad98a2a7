"""A SoftHSM token of a test: made by its own tools, keys brought in by them."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.keys import NewKey
from rom_builder.keys.files import plain_key

PIN = "pin-5eb1c7a9"
LIBRARIES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
)
MODULE = next((path for path in LIBRARIES if Path(path).is_file()), LIBRARIES[0])


@dataclass(frozen=True)
class SoftHsm:
    """A folder with tokens; ``environment`` makes the module use them."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"SOFTHSM2_CONF": str(self.folder / "softhsm2.conf")}

    def run(self, *arguments: str | Path) -> str:
        command = ["softhsm2-util", *map(str, arguments)]
        environment = {"PATH": "/usr/bin:/usr/local/bin", **self.environment}
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        return done.stdout

    def token(self, label: str, keys: Mapping[str, NewKey]) -> None:
        """Make a token with keys; ids count from 1."""
        made = self.run(
            *("--init-token", "--free", "--label", label, "--so-pin", "so-pin-99", "--pin", PIN)
        )
        slot = made.rpartition("slot ")[2].strip()
        for number, (name, new) in enumerate(keys.items(), 1):
            self.add(slot, name, f"{number:02x}", new)

    def slot(self, label: str) -> str:
        """Return the number of the slot that holds a token."""
        slots = self.run("--show-slots").split("\nSlot ")[1:]
        return next(s.split()[0] for s in slots if f"Label:            {label}" in s)

    def add(self, slot: str, name: str, key_id: str, made: NewKey) -> None:
        path = self.folder / "import.pem"
        path.write_bytes(plain_key(made.private_key))
        self.run("--import", path, "--slot", slot, "--label", name, "--id", key_id, "--pin", PIN)
        path.unlink()
        certificate = made.certificate.public_bytes(Encoding.PEM)
        (self.folder / f"{name}.x509.pem").write_bytes(certificate)


@cache
def softhsm() -> SoftHsm:
    """The one SoftHSM of this process, which reads its configuration only once; ends with it."""
    folder = Path(tempfile.mkdtemp(prefix="softhsm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "tokens").mkdir(parents=True)
    (folder / "softhsm2.conf").write_text(
        f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    made = SoftHsm(folder)
    os.environ.update(made.environment)
    return made
