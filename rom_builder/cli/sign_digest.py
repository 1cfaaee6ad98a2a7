"""``rom-builder sign digest``: the external signer of AOSP's tools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rom_builder.cli.options import ask, log_option, signing_log
from rom_builder.errors import SigningError
from rom_builder.files import write_whole

if TYPE_CHECKING:
    from rom_builder.signers.log import SigningLog

LARGEST = 4096
"""Bytes of what is to be signed: a digest, or a padded one of RSA-8192 (1024)."""


@click.command("digest")
@click.argument("words", nargs=-1, metavar="[ALGORITHM PUBLIC_KEY [FILE]]")
@click.option(
    "-s", "--signing", required=True, metavar="PROFILE",
    help="Signing profile: a file, or the id of a shipped one.",
)  # fmt: skip
@click.option(
    "--role", metavar="ROLE",
    help="Whose key signs: payload by default; for avbtool the avb role that has PUBLIC_KEY.",
)  # fmt: skip
@click.option(
    "-in", "source", type=click.Path(path_type=Path), metavar="FILE",
    help="File with the digest: 32 bytes of SHA-256, or 64 of SHA-512.",
)  # fmt: skip
@click.option(
    "-out", "target", type=click.Path(path_type=Path), metavar="FILE",
    help="File for the signature.",
)  # fmt: skip
@log_option
@click.option("--allow-public-key", is_flag=True, help="Sign even with a publicly known key.")
def digest(
    words: tuple[str, ...],
    signing: str,
    role: str | None,
    source: Path | None,
    target: Path | None,
    log: Path | None,
    allow_public_key: bool,
) -> None:
    """Sign a digest, as AOSP's tools ask their external signers to.

    \b
    With -in and -out: the payload signer of ota_from_target_files:
      --payload_signer rom-builder
      --payload_signer_args "sign digest -s release.yaml"
      --payload_signer_maximum_signature_size 512

    With ALGORITHM and PUBLIC_KEY: the signing helper of avbtool, which gives the padded digest on
    standard input; with FILE: its signing helper with files. avbtool calls a helper without options,
    so put them into a script of one line:

    \b
      #!/bin/sh
      exec rom-builder sign digest -s /etc/release.yaml "$@"

    \b
    Example:
      rom-builder sign digest -s release.yaml -in digest.bin -out signature.bin
    """
    if (source is None) != (target is None) or (source is not None) == bool(words):
        raise click.UsageError("give -in and -out, or ALGORITHM and PUBLIC_KEY")
    if len(words) not in (0, 2, 3):
        raise click.UsageError("avbtool gives ALGORITHM PUBLIC_KEY, or ALGORITHM PUBLIC_KEY FILE")
    if source is not None and target is not None:
        record = signing_log(log, signing, source)
        _as_payload_signer(signing, role or "payload", source, target, allow_public_key, record)
    else:
        record = signing_log(log, signing, Path("digest"))
        _as_signing_helper(signing, role, words, allow_public_key, record)


def _as_payload_signer(
    signing: str,
    role: str,
    source: Path,
    target: Path,
    allow_public_key: bool,
    record: SigningLog | None,
) -> None:
    from rom_builder.signers.delegate import sign_file_digest

    signature = sign_file_digest(signing, role, _content(source), ask, allow_public_key, record)
    with write_whole(target) as file:
        file.write(signature)


def _as_signing_helper(
    signing: str,
    role: str | None,
    words: tuple[str, ...],
    allow_public_key: bool,
    record: SigningLog | None,
) -> None:
    from rom_builder.signers.delegate import sign_block

    algorithm, public_key = words[:2]
    file = Path(words[2]) if len(words) == 3 else None
    block = _content(file) if file else sys.stdin.buffer.read(LARGEST + 1)
    if len(block) > LARGEST:
        raise SigningError(f"more than {LARGEST} bytes to sign: that is no digest")
    signature = sign_block(
        signing, role, algorithm, Path(public_key), block, ask, allow_public_key, record
    )
    if file is None:
        sys.stdout.buffer.write(signature)
        return
    with file.open("r+b") as opened:  # avbtool reads through the handle that it has: no new file
        opened.write(signature)
        opened.truncate()


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise SigningError(f"{path}: larger than {LARGEST} bytes: that is no digest")
    return data
