"""``rom-builder build``."""

from __future__ import annotations

from pathlib import Path

import click

from rom_builder.cli.options import (
    ask,
    exceptions_of,
    load,
    log_option,
    moment,
    policy_option,
    signing_log,
    today,
    waiver_options,
)
from rom_builder.cli.plan import (
    added_otacert_option,
    dropped_otacert_option,
    otacerts_option,
    remove_option,
    replace_option,
    tree_option,
    wipe_option,
)
from rom_builder.cli.reporting import (
    format_option,
    no_color_option,
    outputs_option,
    print_report,
    targets_of,
    write_reports,
)

REFUSED = 1
LOCAL_BUILDER = "urn:rom-builder:local"
"""Who builds where nobody says: some machine."""


@click.command()
@click.argument("base", type=click.Path(path_type=Path))
@policy_option
@click.option(
    "-s", "--signing", required=True, metavar="PROFILE",
    help="Signing profile: a file, or the id of a shipped one (dev: throw-away keys).",
)  # fmt: skip
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False),
    help="Package to write.",
)  # fmt: skip
@replace_option
@tree_option
@remove_option
@wipe_option
@otacerts_option
@added_otacert_option
@dropped_otacert_option
@format_option
@outputs_option("--report", "the report on the package, refused or not,")
@no_color_option
@waiver_options
@click.option(
    "--builder-id", default=LOCAL_BUILDER, show_default=True, metavar="URI",
    help="Who builds, for the attestations.",
)  # fmt: skip
@log_option
@click.option(
    "--unsigned", is_flag=True,
    help="Ask no signer: write the package without signatures, and OUTPUT.signing.json, which says what "
    "has to be signed with which key.",
)  # fmt: skip
@click.option(
    "--signatures", multiple=True, type=click.Path(exists=True, path_type=Path), metavar="PATH",
    help="With --unsigned: signatures of apps that an earlier run asked for; a file, or a folder of "
    "*.sig. May be repeated.",
)  # fmt: skip
@click.option(
    "--allow-public-key", is_flag=True,
    help="Sign even with a publicly known key, never for a release; the report says so.",
)  # fmt: skip
@click.pass_context
def build(
    ctx: click.Context,
    base: Path,
    policies: tuple[str, ...],
    signing: str,
    output: Path,
    replacements: tuple[tuple[str, Path], ...],
    trees: tuple[Path, ...],
    removed: tuple[str, ...],
    wipe: bool,
    replace_otacerts: bool,
    added: tuple[Path, ...],
    dropped: tuple[Path, ...],
    form: str,
    outputs: tuple[str, ...],
    no_color: bool,
    waivers: tuple[Path, ...],
    no_waivers: bool,
    strict_waivers: bool,
    builder_id: str,
    log: Path | None,
    unsigned: bool,
    signatures: tuple[Path, ...],
    allow_public_key: bool,
) -> None:
    """Write a signed OTA package from BASE that meets its policies, or nothing.

    BASE is a full A/B package, a target-files package, a folder of partition images (these two give
    a full A/B package), or a file-based or full block-based package, packed or unpacked. The result
    is checked like a stranger's package before it is signed; if it is not compliant no file is
    written.

    The signing profile needs the role ota, avb for a base with verified boot, and apk where the
    plan adds a resource overlay. With the role attestation, a bill of materials and signed statements
    on where the package came from and which policies it met are written beside it.

    Exit code 0: written. 1: refused, the result would not meet its policies. 2: it could not be done.

    \b
    Examples:
      rom-builder build ota.zip -p messaging-opt-in -s dev -o signed.zip
      rom-builder build pine-target_files.zip -p messaging-opt-in -s dev -o signed.zip
      rom-builder build ota.zip -p messaging-opt-in -s release.yaml --unsigned -o ota-unsigned.zip
    """
    from rom_builder.build import NotCompliant
    from rom_builder.build import build as run_build
    from rom_builder.plan import read_brought
    from rom_builder.provenance.proof import Proof
    from rom_builder.reports.text import printable
    from rom_builder.signers.keyring import logged, open_keyring
    from rom_builder.signers.profile import read_certificate
    from rom_builder.two_step import with_app_signatures

    targets = targets_of(outputs, "--report")
    loaded = load(policies)
    exceptions = exceptions_of(waivers, no_waivers, strict_waivers)
    decided = [policy.id for policy in loaded.policies]
    if (added or dropped) and not replace_otacerts:
        raise click.UsageError("--otacert and --drop-otacert go with --replace-otacerts")
    if signatures and not unsigned:
        raise click.UsageError("--signatures goes with --unsigned")
    keys = open_keyring(
        signing,
        prompt=ask,
        policies=decided,
        allow_public_key=allow_public_key,
        absent=unsigned,
    )
    if signatures:
        keys = with_app_signatures(keys, signatures)
    record = signing_log(log, signing, output, [policy.sha256 for policy in loaded.policies])
    if record is not None:
        keys = logged(keys, record)
    try:
        built = run_build(
            base,
            loaded,
            keys,
            output,
            brought=read_brought(replacements, trees),
            removed=removed,
            wipe=wipe,
            today=today(),
            allow_public_key=allow_public_key,
            replace_otacerts=replace_otacerts,
            added_otacerts=[read_certificate(path) for path in added],
            dropped_otacerts=[read_certificate(path) for path in dropped],
            exceptions=exceptions,
            proof=Proof(builder_id, moment(), record),
            step=lambda name: click.echo(f"{name} ...", err=True),
        )
    except NotCompliant as refused:
        write_reports(refused.report, targets)
        print_report(refused.report, form, no_color=no_color)
        for obstacle in refused.plan.obstacles:
            click.echo(f"needed: {obstacle.path}: {obstacle.why}\n  {obstacle.hint}", err=True)
        click.echo(f"refused: {refused.message}", err=True)
        ctx.exit(REFUSED)
    write_reports(built.report, targets)
    print_report(built.report, form, no_color=no_color)
    for remark in keys.remarks:
        click.echo(f"warning: {printable(remark)}", err=True)
    changed = len(built.plan.edits) + len(built.plan.ramdisk_edits)
    if built.unsigned:
        click.echo(
            f"wrote {output}, unsigned: {changed} files changed; sign {output}.signing.json",
            err=True,
        )
        return
    click.echo(f"wrote {output}: {changed} files changed", err=True)
