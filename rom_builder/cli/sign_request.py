"""``rom-builder sign show`` and ``sign attach``: signatures for a package that was built without keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rom_builder.cli.options import moment, today
from rom_builder.errors import SigningError
from rom_builder.files import write_whole

if TYPE_CHECKING:
    from rom_builder.policy.load import Policies
    from rom_builder.signers.keyring import Keyring
    from rom_builder.signers.log import SigningLog
    from rom_builder.signing_requests.request import SigningRequest


def say(name: str) -> None:
    """Tell what is being done."""
    click.echo(f"{name} ...", err=True)


def _package_of(request: Path, given: Path | None) -> Path:
    from rom_builder.signing_requests.request import SUFFIX

    if given is not None:
        return given
    package = request.with_name(request.name.removesuffix(SUFFIX))
    if package == request or not package.is_file():
        raise SigningError(f"{request}: its package does not lie beside it", hint="give --package")
    return package


def sign_requested(
    path: Path,
    package: Path | None,
    keys: Keyring,
    output: Path,
    policies: Policies | None,
    allow_public_key: bool,
    record: SigningLog | None,
) -> None:
    """Sign what a request asks for: its apps, or its package in all rounds."""
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
        step=say,
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


@click.command("show")
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


@click.command("attach")
@click.argument("package", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("signatures", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False),
    help="Package to write.",
)  # fmt: skip
@click.option(
    "--request", "given", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE", help="The request, if it is not PACKAGE.signing.json.",
)  # fmt: skip
@click.option(
    "-s", "--signing", metavar="PROFILE",
    help="Signing profile whose keys the request must name; its private keys are not asked for.",
)  # fmt: skip
@click.option(
    "--allow-public-key", is_flag=True,
    help="Attach signatures of a publicly known key, never for a release.",
)  # fmt: skip
def attach(
    package: Path,
    signatures: tuple[Path, ...],
    output: Path,
    given: Path | None,
    signing: str | None,
    allow_public_key: bool,
) -> None:
    """Put SIGNATURES made elsewhere into PACKAGE, which was built with --unsigned.

    SIGNATURES are raw signature files, or folders of *.sig: RSA PKCS#1 v1.5, or ECDSA in DER, over the
    digests of the request. Which is which is found out by verifying them. Signatures follow from one
    another; if the package waits for more, the next request is written beside it.

    A request is no proof of whose keys these are: with -s, they must be those of the profile.

    \b
    Examples:
      rom-builder sign attach ota.zip signatures -s release.yaml -o ota-avb.zip
      rom-builder sign attach ota-avb.zip payload.metadata.sig payload.data.sig -o ota-payload.zip
    """
    from rom_builder.signers.keyring import open_keyring
    from rom_builder.signing_requests.request import load_request, request_path
    from rom_builder.two_step import attach as run_attach
    from rom_builder.two_step import read_signatures

    request = load_request(given or request_path(package))
    show_request(request, err=True)
    expected = None
    if signing is not None:
        expected = open_keyring(signing, absent=True, allow_public_key=allow_public_key)
    following = run_attach(
        request,
        package,
        read_signatures(signatures),
        output,
        expected=expected,
        allow_public_key=allow_public_key,
        step=say,
    )
    if following is None:
        click.echo(f"wrote {output}, signed", err=True)
    else:
        click.echo(f"wrote {output}; next sign {request_path(output)}: {following.round}", err=True)
    if expected is None:
        click.echo(
            "the keys are those that the request names: give -s to demand a profile's", err=True
        )
