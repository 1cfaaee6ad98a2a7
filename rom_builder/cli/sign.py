"""``rom-builder sign``: sign with the keys of a signing profile."""

from __future__ import annotations

from pathlib import Path

import click

from rom_builder.cli.options import ask, load, log_option, signing_log, today
from rom_builder.cli.plan import otacerts_option
from rom_builder.cli.reporting import print_report
from rom_builder.cli.sign_digest import digest
from rom_builder.cli.sign_request import attach, say, show, sign_requested

REFUSED = 1


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
      rom-builder sign package ota.zip -s release.yaml -o signed.zip
      rom-builder sign digest -s release.yaml -in digest.bin -out signature.bin
    """


@sign.command(DEFAULT)
@click.argument("package", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-s", "--signing", required=True, metavar="PROFILE",
    help="Signing profile: a file, or the id of a shipped one (dev: throw-away keys).",
)  # fmt: skip
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path),
    help="Package to write; for a request for apps, the folder of signatures.",
)  # fmt: skip
@click.option(
    "--package", "unsigned", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE", help="The unsigned package of a request, if it does not lie beside it.",
)  # fmt: skip
@click.option(
    "-p", "--policy", "policies", multiple=True, metavar="POLICY",
    help="Sign only what meets this policy: a file, or the id of a shipped one. May be repeated.",
)  # fmt: skip
@otacerts_option
@log_option
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
    unsigned: Path | None,
    policies: tuple[str, ...],
    replace_otacerts: bool,
    log: Path | None,
    keep_vbmeta: bool,
    allow_public_key: bool,
) -> None:
    """Sign PACKAGE: a finished OTA package anew, or what a signing request asks for.

    Of a finished package, the whole file, the payload and every vbmeta image are signed with the keys
    of the profile; partitions keep their content.

    Of a request (PACKAGE.signing.json of `build --unsigned`), every digest is computed again from the
    package beside it and shown before anything is signed. All rounds are done at once.

    The result is verified before it takes its name. A key that the profile keeps for some policies
    needs -p: the package is then held to them first.

    Exit code 0: written. 1: refused, it does not meet the policies. 2: it could not be done.

    \b
    Examples:
      rom-builder sign package ota.zip -s release.yaml -o signed.zip
      rom-builder sign package ota.zip -s 2027.yaml --replace-otacerts -p rom-baseline -o signed.zip
      rom-builder sign package ota.zip.signing.json -s release.yaml -o signed.zip
    """
    from rom_builder.build import NotCompliant
    from rom_builder.reports.text import printable
    from rom_builder.resign import resign
    from rom_builder.signers.keyring import BUILD, PACKAGE, logged, open_keyring

    loaded = load(policies) if policies else None
    decided = [policy.id for policy in loaded.policies] if loaded else []
    is_request = _is_request(package)
    if is_request and (replace_otacerts or keep_vbmeta):
        raise click.UsageError(
            "a request says what is signed: no --replace-otacerts, --keep-vbmeta"
        )
    keys = open_keyring(
        signing,
        prompt=ask,
        policies=decided,
        allow_public_key=allow_public_key,
        roles=BUILD if is_request else PACKAGE,
    )
    digests = [policy.sha256 for policy in loaded.policies] if loaded else []
    record = signing_log(log, signing, output, digests)
    if record is not None:
        keys = logged(keys, record)
    notes: tuple[str, ...] = ()
    try:
        if is_request:
            sign_requested(package, unsigned, keys, output, loaded, allow_public_key, record)
        else:
            notes = resign(
                package,
                keys,
                output,
                replace_otacerts=replace_otacerts,
                keep_vbmeta=keep_vbmeta,
                allow_public_key=allow_public_key,
                policies=loaded,
                today=today(),
                step=say,
            ).plan.notes
    except NotCompliant as refused:
        print_report(refused.report, "text", no_color=False)
        click.echo("refused: the package does not meet its policies; nothing was written", err=True)
        ctx.exit(REFUSED)
    for note in (*notes, *(f"warning: {remark}" for remark in keys.remarks)):
        click.echo(printable(note), err=True)
    click.echo(f"wrote {output}", err=True)


def _is_request(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1) == b"{"


for _command in (show, attach, digest):
    sign.add_command(_command)
