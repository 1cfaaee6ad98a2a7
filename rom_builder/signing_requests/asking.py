"""Ask for the signatures of keys that are not here."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rom_builder.edits import FileData
from rom_builder.errors import SigningError
from rom_builder.files import write_whole
from rom_builder.plan import Plan
from rom_builder.policy.load import Policies
from rom_builder.provenance.proof import Proof, brought_files
from rom_builder.rom import Rom
from rom_builder.signers.absent import AbsentSigner
from rom_builder.signers.apk import app_digests
from rom_builder.signers.keyring import Keyring, PartitionSigners
from rom_builder.signers.signer import CheckedSigner, verifies
from rom_builder.signing_requests.pending import Pending, later_rounds, pending_round
from rom_builder.signing_requests.request import (
    RequestedApp,
    RequestedDigest,
    RequestedFile,
    SigningRequest,
    request_path,
    requested_key,
)

SCHEMA: Literal["rom-builder/signing-request/v1"] = "rom-builder/signing-request/v1"


class AppsFirst(SigningError):
    """An app has to be signed before its package can be made."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What a request says besides its digests.

    Attributes:
        verdict: Of the build.
        policies: What it held the package to.
        base: What the package was made from.
        brought: Files that the user brought.
        builder: URI of who built.
    """

    verdict: str
    policies: tuple[RequestedFile, ...]
    base: RequestedFile
    brought: tuple[RequestedFile, ...]
    builder: str


def request_for(rom: Rom, name: str, keys: Keyring, asking: Asking) -> SigningRequest | None:
    """Return the request for the next round of signatures of a package; None if it is signed.

    Args:
        rom: The package.
        name: What it is called.
        keys: Those that it was made for.
        asking: What else to say.

    Raises:
        ImageError: The package is damaged.
    """
    found = pending_round(rom)
    if not found:
        return None
    digests, wanted = [], {}
    for item in found:
        role, key = holder(item, keys)
        wanted[role] = requested_key(key)
        digests.append(
            RequestedDigest(
                id=item.id,
                role=role,
                what=item.what,
                algorithm=item.algorithm,
                digest=item.digest.hex(),
            )
        )
    return SigningRequest(
        version=SCHEMA,
        round=found[0].round,
        later=later_rounds(rom, found[0].round),
        package=RequestedFile(name=name, sha256=rom.sha256, size=rom.path.stat().st_size),
        digests=tuple(digests),
        keys=wanted | {"ota": requested_key(keys.ota), "payload": requested_key(keys.payload)},
        verdict=asking.verdict,
        policies=asking.policies,
        base=asking.base,
        brought=asking.brought,
        builder=asking.builder,
    )


def holder(item: Pending, keys: Keyring) -> tuple[str, CheckedSigner]:
    """Return the role whose key has to sign something, and the key.

    Raises:
        SigningError: There is none.
    """
    if item.round == "payload":
        return "payload", keys.payload
    if item.round == "ota":
        return "ota", keys.ota
    signer = keys.avb.for_partition(item.partition) if keys.avb else None
    if signer is None:
        raise SigningError(
            f"there is no key for the vbmeta image of {item.partition}",
            hint=f"add roles.avb, or roles.avb.{item.partition}, to the signing profile",
        )
    own = isinstance(keys.avb, PartitionSigners) and item.partition in keys.avb.by_partition
    return (f"avb.{item.partition}" if own else "avb"), signer


def asked_by(
    policies: Policies,
    base: RequestedFile,
    brought: Mapping[str, FileData],
    proof: Proof | None,
) -> Asking:
    """Return what a build says in its request.

    Args:
        policies: What it holds the package to.
        base: What it makes the package from.
        brought: Files that the user brings.
        proof: Who builds.
    """
    return Asking(
        "not judged yet",
        tuple(RequestedFile(name=item.id, sha256=item.sha256) for item in policies.policies),
        base,
        tuple(RequestedFile(name=item.name, sha256=item.sha256) for item in brought_files(brought)),
        proof.builder if proof else "",
    )


def write_request(package: Path, request: SigningRequest) -> None:
    """Write the request beside a package."""
    with write_whole(request_path(package)) as file:
        file.write(request.encode())


def refuse_unsigned_apps(made: Plan, keys: Keyring, output: Path, asking: Asking) -> None:
    """Go on if no new app of a plan waits for a signature of an absent key; else ask for it.

    Raises:
        AppsFirst: One does; the request was written.
        SigningError: There is no key for them.
    """
    apps = {
        edit.path: edit.new.data
        for edit in made.edits
        if edit.new is not None and edit.new.unsigned_app
    }
    signer = keys.apk
    if not apps or signer is None:
        return
    has = signer.signer.signatures if isinstance(signer.signer, AbsentSigner) else ()
    digests = []
    for number, (path, data) in enumerate(sorted(apps.items()), 1):
        for scheme, digest in zip(("v2", "v3"), app_digests(data, signer), strict=True):
            if any(verifies(signer.public_key, item, digest, "sha256") for item in has):
                continue
            what = f"{path}, signature scheme {scheme}"
            digests.append(
                RequestedDigest(
                    id=f"apk.{number}.{scheme}",
                    role="apk",
                    what=what,
                    algorithm="sha256",
                    digest=digest.hex(),
                )
            )
    if not digests:
        return
    request = SigningRequest(
        version=SCHEMA,
        round="apk",
        later=("avb", "payload", "ota"),
        package=None,
        digests=tuple(digests),
        keys={"apk": requested_key(signer)},
        verdict=asking.verdict,
        policies=asking.policies,
        base=asking.base,
        brought=asking.brought,
        builder=asking.builder,
        apps=tuple(
            RequestedApp(path=path, content=base64.b64encode(data).decode())
            for path, data in sorted(apps.items())
        ),
    )
    write_request(output, request)
    raise AppsFirst(
        f"{len(apps)} apps that the plan adds have to be signed before there is a package: wrote "
        f"{request_path(output)}",
        hint="sign it, then build again with --signatures",
    )
