"""``rom-builder sign``: sign with the keys of a signing profile."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rom_builder.cli.options import ask, load, today
from rom_builder.cli.plan import otacerts_option
from rom_builder.cli.reporting import print_report
from rom_builder.errors import SigningError
from rom_builder.files import write_whole

REFUSED = 1
LARGEST = 4096
"""Bytes of what is to be signed: a digest, or a padded one of RSA-8192 (1024)."""


class _PackageIsMeant(click.Group):
    """``sign ota.zip ...`` is short for ``sign package ota.zip ...``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = [DEFAULT, *args]
        return super().resolve_command(ctx, args)


DEFAULT = "package"


@click.group("sign", cls=_PackageIsMeant)
def sign() -> None:
    """Sign with the keys of a signing profile.

    Without one of the commands below, `package` is meant.

    \b
    Examples:
      rom-builder sign ota.zip -s release.yaml -o signed.zip
      rom-builder sign digest -s release.yaml -in digest.bin -out signature.bin
    """


@sign.command(DEFAULT)
@click.argument("package", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-s", "--signing", required=True, metavar="PROFILE",
    help="Signing profile: a file, or the id of a shipped one (dev: throw-away keys).",
)  # fmt: skip
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False),
    help="Package to write.",
)  # fmt: skip
@click.option(
    "-p", "--policy", "policies", multiple=True, metavar="POLICY",
    help="Sign only what meets this policy: a file, or the id of a shipped one. May be repeated.",
)  # fmt: skip
@otacerts_option
@click.option(
    "--keep-vbmeta", is_flag=True, help="Leave verified boot as it is: sign file and payload only."
)
@click.option(
    "--allow-public-key", is_flag=True,
    help="Sign even with a publicly known key, never for a release.",
)  # fmt: skip
@click.pass_context
def package(
    ctx: click.Context,
    package: Path,
    signing: str,
    output: Path,
    policies: tuple[str, ...],
    replace_otacerts: bool,
    keep_vbmeta: bool,
    allow_public_key: bool,
) -> None:
    """Sign the finished OTA package PACKAGE anew: whole file, payload and every vbmeta image.

    Partitions keep their content. The result is verified before it takes its name. A key that the
    profile keeps for some policies needs -p: the package is then held to them first.

    Exit code 0: written. 1: refused, it does not meet the policies. 2: it could not be done.

    \b
    Examples:
      rom-builder sign ota.zip -s release.yaml -o signed.zip
      rom-builder sign ota.zip -s 2027.yaml --replace-otacerts -p rom-baseline -o signed.zip
    """
    from rom_builder.build import NotCompliant
    from rom_builder.reports.text import printable
    from rom_builder.resign import resign
    from rom_builder.signers.keyring import PACKAGE, open_keyring

    loaded = load(policies) if policies else None
    decided = [policy.id for policy in loaded.policies] if loaded else []
    keys = open_keyring(
        signing,
        prompt=ask,
        policies=decided,
        allow_public_key=allow_public_key,
        roles=PACKAGE,
    )
    try:
        done = resign(
            package,
            keys,
            output,
            replace_otacerts=replace_otacerts,
            keep_vbmeta=keep_vbmeta,
            allow_public_key=allow_public_key,
            policies=loaded,
            today=today(),
            step=lambda name: click.echo(f"{name} ...", err=True),
        )
    except NotCompliant as refused:
        print_report(refused.report, "text", no_color=False)
        click.echo("refused: the package does not meet its policies; nothing was written", err=True)
        ctx.exit(REFUSED)
    for note in (*done.plan.notes, *(f"warning: {remark}" for remark in keys.remarks)):
        click.echo(printable(note), err=True)
    click.echo(f"wrote {output}", err=True)


@sign.command("digest")
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
@click.option("--allow-public-key", is_flag=True, help="Sign even with a publicly known key.")
def digest(
    words: tuple[str, ...],
    signing: str,
    role: str | None,
    source: Path | None,
    target: Path | None,
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
        _as_payload_signer(signing, role or "payload", source, target, allow_public_key)
    else:
        _as_signing_helper(signing, role, words, allow_public_key)


def _as_payload_signer(
    signing: str, role: str, source: Path, target: Path, allow_public_key: bool
) -> None:
    from rom_builder.signers.delegate import sign_file_digest

    signature = sign_file_digest(signing, role, _content(source), ask, allow_public_key)
    with write_whole(target) as file:
        file.write(signature)


def _as_signing_helper(
    signing: str, role: str | None, words: tuple[str, ...], allow_public_key: bool
) -> None:
    from rom_builder.signers.delegate import sign_block

    algorithm, public_key = words[:2]
    file = Path(words[2]) if len(words) == 3 else None
    block = _content(file) if file else sys.stdin.buffer.read(LARGEST + 1)
    if len(block) > LARGEST:
        raise SigningError(f"more than {LARGEST} bytes to sign: that is no digest")
    signature = sign_block(signing, role, algorithm, Path(public_key), block, ask, allow_public_key)
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
