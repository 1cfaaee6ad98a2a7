"""``rom-builder keys``: make signing keys and see what a key is good for."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
from cryptography.hazmat.primitives.serialization import Encoding

from rom_builder.cli.keys_log import log
from rom_builder.cli.keys_rotate import rotate
from rom_builder.cli.options import ask
from rom_builder.errors import SigningError
from rom_builder.keys import ROLES, KeyFacts, certificate_facts, new_key
from rom_builder.keys.files import (
    PassphraseFile,
    PassphrasePrompt,
    PassphraseSource,
    PassphraseVariable,
    encrypted_key,
    plain_key,
    write_new_file,
)
from rom_builder.keys.inspection import inspect_file
from rom_builder.reports.text import printable

PASSPHRASE_VARIABLE = "ROM_BUILDER_PASSPHRASE"  # noqa: S105

passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"File with the passphrase; otherwise ${PASSPHRASE_VARIABLE}, otherwise you are asked.",
)


@click.group("keys")
def keys() -> None:
    """Make, inspect and check signing keys.

    \b
    Examples:
      rom-builder keys new ota --role ota
      rom-builder keys inspect ota.x509.pem
      rom-builder keys check release.yaml
    """


@keys.command("new")
@click.argument("name", type=click.Path(path_type=Path))
@click.option("--role", type=click.Choice(ROLES), required=True, help="What the key will sign.")
@click.option("--kind", default="rsa-4096", show_default=True, help="rsa-2048, rsa-4096, p256, …")
@click.option(
    "--subject", default="rom-builder", show_default=True, help="Name in the certificate."
)
@click.option("--no-passphrase", is_flag=True, help="Write the key unencrypted.")
@passphrase_option
def new(
    name: Path,
    role: str,
    kind: str,
    subject: str,
    no_passphrase: bool,
    passphrase_file: Path | None,
) -> None:
    """Make a key, NAME.pem, and its certificate, NAME.x509.pem.

    Refuses kinds that the devices would refuse, and never overwrites a file.

    \b
    Example:
      rom-builder keys new ota --role ota --subject "Example OTA 2027"
    """
    certificate_path = _beside(name, ".x509.pem")
    key_path = _beside(name, ".pem")
    for path in (key_path, certificate_path):
        if path.exists():
            raise SigningError(f"{path}: is there already and is not overwritten")
    made = new_key(next(known for known in ROLES if known == role), kind, subject=subject)
    if no_passphrase:
        key = plain_key(made.private_key)
    else:
        source = _passphrase(passphrase_file, confirm=True)
        key = encrypted_key(made.private_key, source.read())
    certificate = made.certificate.public_bytes(Encoding.PEM)
    write_new_file(key_path, key + certificate)
    write_new_file(certificate_path, certificate, mode=0o644)
    click.echo(f"private key  {key_path}")
    click.echo(f"certificate  {certificate_path}")
    click.echo(f"spki sha256  {certificate_facts(made.certificate, '').spki_sha256}")


@keys.command("inspect")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@passphrase_option
def inspect(files: tuple[Path, ...], passphrase_file: Path | None) -> None:
    """Say what the keys in FILES are: fingerprints, fitness, whether publicly known or weak.

    Reads certificates, public and private keys, OTA packages, otacerts.zip and APKs.

    \b
    Example:
      rom-builder keys inspect ota.zip otacerts.zip ota.x509.pem
    """
    now = datetime.now(UTC)
    for path in files:
        click.echo(f"{path}:")
        for facts in inspect_file(path, _passphrase(passphrase_file, confirm=False)):
            _show(facts, now)


@keys.command("check")
@click.argument("profile")
@click.option(
    "--role", "roles", multiple=True, metavar="ROLE",
    help="Check this role of the profile only. May be repeated.",
)  # fmt: skip
@click.option(
    "--days", default=90, show_default=True, type=click.IntRange(min=0),
    help="Say so if a key ends within so many days.",
)  # fmt: skip
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to say it.",
)
@click.pass_context
def check(ctx: click.Context, profile: str, roles: tuple[str, ...], days: int, form: str) -> None:
    """Try every key of the signing profile PROFILE before a build needs it.

    Each key is asked for one signature, over a digest of nothing: it can be reached, is the one that
    the profile names, is strong, not publicly known, not at its end, and devices take it for its
    role.

    Exit code 0: all are ready. 1: something is wrong with one. 2: the profile cannot be read.

    \b
    Example:
      rom-builder keys check release.yaml
    """
    from rom_builder.signers.preflight import check_profile

    found = check_profile(profile, now=datetime.now(UTC), days=days, ask=ask, only=roles)
    if form == "json":
        click.echo(json.dumps([result.as_dict() for result in found], indent=1))
    else:
        for result in found:
            click.echo(f"{result.role}: {'FAULTY' if result.faults else 'ready'}")
            rows = [
                ("signer", result.uri),
                ("key", result.key),
                ("spki sha256", result.spki_sha256),
            ]
            rows += [("ends", result.ends)] + [("note", remark) for remark in result.remarks]
            for label, value in (*rows, *(("FAULT", fault) for fault in result.faults)):
                if value:
                    click.echo(f"    {label:<16}{printable(value)}")
    if any(result.faults for result in found):
        ctx.exit(1)


def _show(facts: KeyFacts, now: datetime) -> None:
    click.echo(f"  {facts.name}")
    rows = [("key", facts.key), ("spki sha256", facts.spki_sha256)]
    if facts.subject is not None and facts.cert_sha256 is not None:
        rows += [("subject", facts.subject), ("cert sha256", facts.cert_sha256)]
    days = facts.days_left(now)
    if facts.not_after is not None and days is not None:
        left = f"{days} days left" if days >= 0 else f"ENDED {-days} days ago"
        rows.append(("ends", f"{facts.not_after:%Y-%m-%d} ({left})"))
    rows.append(("fit for", ", ".join(r for r in ROLES if not facts.unfit[r]) or "nothing"))
    rows += [(f"not {role}", "; ".join(facts.unfit[role])) for role in ROLES if facts.unfit[role]]
    rows += [("WEAK", weakness) for weakness in facts.weaknesses]
    if facts.known is not None:
        rows.append(("PUBLICLY KNOWN", ", ".join(facts.known.names)))
    for label, value in rows:
        click.echo(f"    {label:<16}{value}")


def _beside(name: Path, suffix: str) -> Path:
    if not name.name:
        raise click.UsageError("NAME must end in a file name")
    return name.with_name(name.name + suffix)


def _passphrase(path: Path | None, *, confirm: bool) -> PassphraseSource:
    if path is not None:
        return PassphraseFile(path)
    if PASSPHRASE_VARIABLE in os.environ:
        return PassphraseVariable(PASSPHRASE_VARIABLE)
    return PassphrasePrompt(lambda: _ask(confirm=confirm))


def _ask(*, confirm: bool) -> str:
    if not sys.stdin.isatty():
        raise SigningError(
            "a passphrase is needed and there is nobody to ask",
            hint=f"give --passphrase-file or set {PASSPHRASE_VARIABLE}",
        )
    answer: str = click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    return answer


keys.add_command(log)
keys.add_command(rotate)
