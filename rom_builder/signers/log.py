"""The signing log: what was signed with which key, one JSON object a line, each bound to the one before.

========== ==========================================================================================
field      meaning
========== ==========================================================================================
time       RFC 3339, UTC, to the second
role       whose key signed: ``ota``, ``avb.vbmeta_system`` ...
key_spki   SHA-256 of the key's SubjectPublicKeyInfo
algorithm  ``sha256`` or ``sha512``
digest     what was signed
artifact   name of the file that the signature is for
run_id     of the CI, empty if there is none
actor      who started it
policy_sha256  SHA-256 of each policy that decided on it
previous   SHA-256 of the line before without its end; zeros in the first
========== ==========================================================================================

Lines are ASCII, their keys sorted, without spaces, so that no byte of one is free. A line that was
changed, taken out, put in or moved breaks the chain. That lines are missing at the end, or the last one was
changed, shows only against a head, the SHA-256 of the last line, that was kept elsewhere: attestations
repeat it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from rom_builder.errors import SigningError
from rom_builder.keys import spki_sha256
from rom_builder.signers.signer import CheckedSigner, SigningDigest

GENESIS = "0" * 64
"""What the first line has as the one before."""
MAX_LINE = 16384
"""Bytes of a line, its end included."""

Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, StringConstraints(max_length=1000)]


class Entry(BaseModel):
    """One line."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    time: Annotated[
        str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")
    ]
    role: Text
    key_spki: Hex
    algorithm: Literal["sha256", "sha512"]
    digest: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64}|[0-9a-f]{128})$")]
    artifact: Text
    run_id: Text
    actor: Text
    policy_sha256: tuple[Hex, ...]
    previous: Hex

    def encode(self) -> bytes:
        """Return the line without its end."""
        data = self.model_dump(mode="json")
        return json.dumps(data, sort_keys=True, separators=(",", ":")).encode("ascii")


@dataclass(frozen=True, slots=True)
class SigningLog:
    """Where signatures of one run are recorded.

    Attributes:
        path: The log.
        artifact: Name of what is signed.
        run_id: Of the CI.
        actor: Who started it.
        policies: SHA-256 of the policies that decided.
    """

    path: Path
    artifact: str
    run_id: str = ""
    actor: str = ""
    policies: tuple[str, ...] = ()

    def record(
        self, role: str, signer: CheckedSigner, digest: bytes, algorithm: SigningDigest
    ) -> None:
        """Add a line, on the disk before this returns; writers wait for one another.

        Raises:
            SigningError: The log ends in the middle of a line, or in something else.
            OSError: It cannot be written.
        """
        with _locked(self.path) as file:
            entry = Entry(
                time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                role=role,
                key_spki=spki_sha256(signer.public_key),
                algorithm=algorithm,
                digest=digest.hex(),
                artifact=self.artifact[:1000],
                run_id=self.run_id[:1000],
                actor=self.actor[:1000],
                policy_sha256=self.policies,
                previous=_last(file, self.path),
            )
            line = entry.encode() + b"\n"
            if len(line) > MAX_LINE:
                raise SigningError(f"{self.path}: an entry would have {len(line)} bytes")
            file.seek(0, os.SEEK_END)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def head(self) -> str:
        """Return the SHA-256 of the last line, zeros if there is none.

        Raises:
            SigningError: As :meth:`record`.
        """
        with _locked(self.path) as file:
            return _last(file, self.path)


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """Open a log for one writer at a time, and make it if it is not there."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if file.seek(0, os.SEEK_END) == 0:
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        yield file


def _last(file: BinaryIO, path: Path) -> str:
    """Return the SHA-256 of the last line, which must be one."""
    size = file.seek(0, os.SEEK_END)
    if not size:
        return GENESIS
    file.seek(max(size - MAX_LINE, 0))
    data = file.read(MAX_LINE)
    line = data[:-1].rpartition(b"\n")[2]
    if not data.endswith(b"\n") or _parsed(line) is None:
        raise SigningError(
            f"{path}: does not end in an entry; nothing is added to a damaged log",
            hint=f"see rom-builder keys log verify {path}; keep it, and start another",
        )
    return hashlib.sha256(line).hexdigest()


def _parsed(line: bytes) -> Entry | None:
    """Return a line's entry, None if the line is not exactly what one is written as."""
    try:
        entry = Entry.model_validate_json(line)
    except ValidationError:
        return None
    return entry if entry.encode() == line else None


@dataclass(frozen=True, slots=True)
class VerifiedLog:
    """A log whose chain holds.

    Attributes:
        entries: How many lines there are.
        head: SHA-256 of the last one.
        after: How many lines follow the one that was asked for, None if none was.
    """

    entries: int
    head: str
    after: int | None = None


def read_log(path: Path) -> Iterator[Entry]:
    """Yield the entries of a log, each held to the one before it.

    Raises:
        SigningError: The chain is broken; the message says in which line.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        for entry, _ in parse_log(file, str(path)):
            yield entry


def parse_log(file: BinaryIO, path: str) -> Iterator[tuple[Entry, str]]:
    """Yield the entries of a log with the SHA-256 of their lines; messages name it ``path``.

    Raises:
        SigningError: As :func:`read_log`.
    """
    previous = GENESIS
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), b""), 1):
        where = f"{path}: line {number}"
        if not line.endswith(b"\n"):
            raise SigningError(f"{where}: ends in the middle, or is too long")
        entry = _parsed(line[:-1])
        if entry is None:
            raise SigningError(f"{where}: is not an entry as one is written")
        if entry.previous != previous:
            raise SigningError(
                f"{where}: does not follow the line before: a line was changed, taken out, put in "
                "or moved"
            )
        previous = hashlib.sha256(line[:-1]).hexdigest()
        yield entry, previous


def verify_log(path: Path, head: str | None = None) -> VerifiedLog:
    """Check the chain of a log.

    Args:
        path: The log.
        head: SHA-256 of a line that it must hold, from an attestation or an earlier look.

    Raises:
        SigningError: The chain is broken, or it does not hold that line.
        OSError: It cannot be read.
    """
    count, last, found = 0, GENESIS, 0 if head == GENESIS else None
    with path.open("rb") as file:
        for count, (_, last) in enumerate(parse_log(file, str(path)), 1):
            if last == head:
                found = count
    if head is not None and found is None:
        raise SigningError(
            f"{path}: does not hold the line {head[:16]}…: it was cut off at the end, or is another log"
        )
    return VerifiedLog(count, last, None if found is None else count - found)
