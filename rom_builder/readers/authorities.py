"""The certificate authorities that every app trusts, and the sets that they are compared with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rom_builder.errors import ImageError, PolicyError
from rom_builder.facts.hygiene import Authority, AuthorityReference
from rom_builder.findings import Location
from rom_builder.formats.tree import NodeKind
from rom_builder.formats.x509 import (
    MAX_CERTIFICATE_SIZE,
    Certificate,
    parse_certificate,
    parse_certificates,
)
from rom_builder.policy.load import Policies
from rom_builder.policy.merge import Statement
from rom_builder.resources import data_folder
from rom_builder.rom import Rom

STORES = ("/system/etc/security/cacerts/", "/apex/com.android.conscrypt/cacerts/")
"""The system's store, and the one that takes its place from Android 14 on if it is there."""
MAX_BUNDLE_SIZE = 16 << 20
MAX_FILES = 5000
"""Files of a reference folder that are read."""
RELEASES = {28: "9", 29: "10", 30: "11", 31: "12", 32: "12", 33: "13"}
"""Release of each API level whose set is known here."""
FIELD = "certificate_authorities.reference"


@dataclass(frozen=True, slots=True)
class AospAuthority:
    """A certificate that AOSP's ``system/ca-certificates`` has or had in ``files/``.

    Attributes:
        sha256: SHA-256 of the certificate, hexadecimal.
        subject: Its name.
        releases: Releases that have it; none if it was taken out of all of them.
    """

    sha256: str
    subject: str
    releases: tuple[str, ...]


@cache
def aosp_authorities() -> tuple[AospAuthority, ...]:
    """Return every certificate of ``policies/references/aosp-authorities.json``."""
    path = data_folder("policies") / "references" / "aosp-authorities.json"
    rows = json.loads(path.read_bytes())["certificates"]
    return tuple(
        AospAuthority(row["sha256"], row["subject"], tuple(row["releases"])) for row in rows
    )


def read_authorities(rom: Rom) -> Iterator[Authority]:
    """Yield every certificate of the ROM's stores; what cannot be read is noted as unread."""
    for path, file in sorted(rom.files.items()):
        if not path.startswith(STORES) or file.node.kind is not NodeKind.FILE:
            continue
        try:
            found = parse_certificate(rom.read(file, MAX_CERTIFICATE_SIZE))
        except ImageError as error:
            rom.note_unread(error, file.name)
            continue
        yield Authority(
            found.subject, found.cert_sha256, found.not_after.date(), Location(file.name)
        )


def read_reference(policies: Policies, sdk: int | None) -> AuthorityReference | None:
    """Return the set that the policies name; None if they demand nothing of authorities.

    Args:
        policies: What is demanded.
        sdk: API level of the ROM.

    Raises:
        PolicyError: The file or folder that a policy names cannot be read, or no such release is
            known.
    """
    demanded = policies.rom.certificate_authorities if policies.rom else None
    if demanded is None:
        return None
    also = frozenset(demanded.also)
    aosp = {known.sha256: known.subject for known in aosp_authorities()}
    if demanded.reference is None:
        names = {digest: aosp.get(digest, digest) for digest in demanded.also}
        return AuthorityReference("the list in the policy", "", names, also, {})
    statement = policies.requirements["rom"][FIELD]
    if demanded.reference == "aosp" or demanded.reference.startswith("aosp-"):
        release = demanded.reference.removeprefix("aosp").removeprefix("-")
        return _of_aosp(release or RELEASES.get(sdk or 0, ""), sdk, also, aosp, statement)
    folder = Path(statement.document.file).parent
    path = folder / demanded.reference
    try:
        names = {each.cert_sha256: each.subject for each in _certificates(path)}
    except (OSError, ImageError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.message
        raise PolicyError([statement.problem(f"{path}: {reason}")]) from error
    return AuthorityReference(demanded.reference, "", names, also, {})


def _of_aosp(
    release: str,
    sdk: int | None,
    also: frozenset[str],
    aosp: Mapping[str, str],
    statement: Statement,
) -> AuthorityReference:
    names = {each.sha256: each.subject for each in aosp_authorities() if release in each.releases}
    if names:
        return AuthorityReference(f"AOSP {release}", "", names, also, aosp)
    known = ", ".join(f"aosp-{each}" for each in dict.fromkeys(RELEASES.values()))
    if release:
        raise PolicyError([statement.problem(f"no set of AOSP {release} is known; known: {known}")])
    level = "the API level of the ROM is unknown" if sdk is None else f"none is known for API {sdk}"
    return AuthorityReference("", f"{level}; name one: {known}", {}, also, aosp)


def _certificates(path: Path) -> Iterator[Certificate]:
    """Yield the certificates of a PEM or DER file, or of every file of a folder.

    Raises:
        ImageError: A file is none of these, too large, or there are too many.
        OSError: It cannot be read.
    """
    files = sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path]
    if not files or len(files) > MAX_FILES:
        raise ImageError(f"holds {len(files)} files, 1 to {MAX_FILES} are read")
    for file in files:
        if file.stat().st_size > MAX_BUNDLE_SIZE:
            raise ImageError(f"{file.name} has more than {MAX_BUNDLE_SIZE} bytes")
        try:
            yield from parse_certificates(file.read_bytes())
        except ImageError as error:
            raise ImageError(f"{file.name} {error.message}") from error
