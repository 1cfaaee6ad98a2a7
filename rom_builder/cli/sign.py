"""``rom-builder sign``: sign with the keys of a signing profile."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rom_builder.cli.options import ask, load, log_option, moment, signing_log, today
from rom_builder.cli.plan import otacerts_option
from rom_builder.cli.reporting import print_report
from rom_builder.errors import SigningError
from rom_builder.files import write_whole

if TYPE_CHECKING:
    from rom_builder.policy.load import Policies
    from rom_builder.signers.keyring import Keyring
    from rom_builder.signers.log import SigningLog
    from rom_builder.signing_requests.request import SigningRequest

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
            _sign_request(package, unsigned, keys, output, loaded, allow_public_key, record)
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
                step=_say,
            ).plan.notes
    except NotCompliant as refused:
        print_report(refused.report, "text", no_color=False)
        click.echo("refused: the package does not meet its policies; nothing was written", err=True)
        ctx.exit(REFUSED)
    for note in (*notes, *(f"warning: {remark}" for remark in keys.remarks)):
        click.echo(printable(note), err=True)
    click.echo(f"wrote {output}", err=True)


def _say(name: str) -> None:
    click.echo(f"{name} ...", err=True)


def _is_request(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1) == b"{"


def _package_of(request: Path, given: Path | None) -> Path:
    from rom_builder.signing_requests.request import SUFFIX

    if given is not None:
        return given
    package = request.with_name(request.name.removesuffix(SUFFIX))
    if package == request or not package.is_file():
        raise SigningError(f"{request}: its package does not lie beside it", hint="give --package")
    return package


def _sign_request(
    path: Path,
    package: Path | None,
    keys: Keyring,
    output: Path,
    policies: Policies | None,
    allow_public_key: bool,
    record: SigningLog | None,
) -> None:
    from rom_builder.cli.build import LOCAL_BUILDER
    from rom_builder.provenance.proof import Proof
    from rom_builder.signing_requests.request import load_request
    from rom_builder.two_step import sign_apps, sign_request

    request = load_request(path)
    show_request(request, err=True)
    if request.package is None:
        sign_apps(request, keys, output)
        return
    sign_request(
        request,
        _package_of(path, package),
        keys,
        output,
        policies=policies,
        proof=Proof(LOCAL_BUILDER, moment(), record),
        today=today(),
        allow_public_key=allow_public_key,
        step=_say,
    )
    if keys.attestation is not None and policies is None:
        click.echo("no attestations: give the policies with -p", err=True)


def show_request(request: SigningRequest, *, err: bool = False) -> None:
    """Print what a request asks for."""
    from rom_builder.reports.text import printable

    def say(text: str) -> None:
        click.echo(printable(text), err=err)

    package = request.package
    say(f"package   {package.name}, {package.size} bytes" if package else "package   not made yet")
    if package:
        say(f"          sha256 {package.sha256}")
    say(f"base      {request.base.name}, sha256 {request.base.sha256}")
    for file in request.brought:
        say(f"brought   {file.name}, sha256 {file.sha256}")
    for policy in request.policies:
        say(f"policy    {policy.name}, sha256 {policy.sha256}")
    say(f"verdict   {request.verdict}, says the build")
    for item in request.digests:
        key = request.keys[item.role]
        say(f"sign      {item.id}: {item.what}")
        say(f"          {item.algorithm} {item.digest}")
        say(f"          with {item.role}: {key.kind}, {key.spki_sha256}")
    if request.later:
        say(f"later     {', '.join(request.later)}")


@sign.command("show")
@click.argument("request", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--digests", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Also write each digest into DIR, as ID.bin, for a program that signs.",
)  # fmt: skip
def show(request: Path, digests: Path | None) -> None:
    """Show what the signing request REQUEST asks for. Nothing is signed.

    What is shown is what the request says; `sign` and `sign attach` compare it with the package.

    \b
    Example:
      rom-builder sign show ota.zip.signing.json --digests to-sign
    """
    from rom_builder.signing_requests.request import load_request

    loaded = load_request(request)
    show_request(loaded)
    if digests is not None:
        digests.mkdir(parents=True, exist_ok=True)
        for item in loaded.digests:
            with write_whole(digests / f"{item.id}.bin") as file:
                file.write(bytes.fromhex(item.digest))


@sign.command("attach")
@click.argument("package", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("signatures", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False),
    help="Package to write.",
)  # fmt: skip
@click.option(
    "--request", "request_path", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE", help="The request, if it is not PACKAGE.signing.json.",
)  # fmt: skip
def attach(
    package: Path, signatures: tuple[Path, ...], output: Path, request_path: Path | None
) -> None:
    """Put SIGNATURES made elsewhere into PACKAGE, which was built with --unsigned.

    SIGNATURES are raw signature files, or folders of *.sig: RSA PKCS#1 v1.5, or ECDSA in DER, over the
    digests of the request. Which is which is found out by verifying them. Signatures follow from one
    another; if the package waits for more, the next request is written beside it.

    \b
    Examples:
      rom-builder sign attach ota.zip signatures -o ota-avb.zip
      rom-builder sign attach ota-avb.zip payload.metadata.sig payload.data.sig -o ota-payload.zip
    """
    from rom_builder.signing_requests.request import SUFFIX, load_request
    from rom_builder.two_step import attach as run_attach
    from rom_builder.two_step import read_signatures

    request = load_request(request_path or package.with_name(package.name + SUFFIX))
    show_request(request, err=True)
    following = run_attach(request, package, read_signatures(signatures), output, step=_say)
    if following is None:
        click.echo(f"wrote {output}, signed", err=True)
    else:
        click.echo(f"wrote {output}; next sign {output}{SUFFIX}: {following.round}", err=True)


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
