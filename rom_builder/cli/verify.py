"""``rom-builder verify``: does everything in this package hold?"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from rom_builder.cli.attestation import read_attestation, show_attestation
from rom_builder.errors import ImageError, SigningError
from rom_builder.formats.avb_key import encode_public_key, parse_rsa_key
from rom_builder.formats.otacert import parse_certificates
from rom_builder.formats.source import FileSource
from rom_builder.formats.x509 import MAX_CERTIFICATE_SIZE, parse_otacerts
from rom_builder.keys import DEVELOPMENT, certificate_facts
from rom_builder.reports.text import printable
from rom_builder.verification.checks import Verification
from rom_builder.verification.package import WHOLE_FILE, verify_package
from rom_builder.verification.report import Demands, as_json

FAILED = 1
COULD_NOT = 2
WORDS = {True: "holds", False: "FAILS", None: "not checked"}


@click.command("verify")
@click.argument("package", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--cert",
    "trusted",
    multiple=True,
    metavar="CERT",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificate (PEM or DER) or otacerts.zip the device trusts; may be given several times.",
)
@click.option(
    "--avb-key",
    "avb_keys",
    multiple=True,
    metavar="KEY",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Public key (PEM, or avb_pkmd.bin) that the top vbmeta image must have; may be given "
    "several times.",
)
@click.option(
    "--quick", is_flag=True, help="Leave out what needs whole partitions: digests and hash trees."
)
@click.option(
    "--allow-public-key",
    is_flag=True,
    help="Accept a publicly known package key; the output says so.",
)
@click.option(
    "--attestation", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="Check the attestations in FILE (PACKAGE.intoto.jsonl), signed by --attestation-key.",
)  # fmt: skip
@click.option(
    "--attestation-key", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="KEY", help="Certificate or public key that must have signed the attestations.",
)  # fmt: skip
@click.option(
    "--policy", "-p", "policies", multiple=True, metavar="ID",
    help="Demand that an attestation says the package met this policy. May be repeated.",
)  # fmt: skip
@click.option(
    "--beside", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE", help="Demand that FILE, such as the bill of materials, is the attested one.",
)  # fmt: skip
@click.option(
    "-f", "--format", "form", type=click.Choice(("text", "json")), default="text",
    show_default=True, help="Format on standard output.",
)  # fmt: skip
@click.pass_context
def verify(
    context: click.Context,
    package: Path,
    trusted: tuple[Path, ...],
    avb_keys: tuple[Path, ...],
    quick: bool,
    allow_public_key: bool,
    attestation: Path | None,
    attestation_key: Path | None,
    policies: tuple[str, ...],
    beside: tuple[Path, ...],
    form: str,
) -> None:
    """Check every signature and digest in the OTA zip PACKAGE.

    The whole-file signature is checked as recovery does; in an A/B package also the payload's
    signatures, digests and rules, what is said about it, and verified boot of its partitions.

    Exit code 0: all hold. 1: something does not, or bytes that no signature covers were changed.
    2: something could not be found out.

    \b
    Examples:
      rom-builder verify ota.zip
      rom-builder verify ota.zip --cert ota.x509.pem --avb-key avb_pkmd.bin
      rom-builder verify ota.zip --cert ota.x509.pem -f json > verification.json
      rom-builder verify ota.zip --attestation ota.zip.intoto.jsonl --attestation-key audit.pem
    """
    if (attestation is None) != (attestation_key is None):
        raise click.UsageError("--attestation and --attestation-key go together")
    if attestation is None and (policies or beside):
        raise click.UsageError("--policy and --beside need --attestation")
    demands = Demands(
        [found for path in trusted for found in _read_trusted(path)],
        [_read_avb_key(path) for path in avb_keys],
        quick,
    )
    with closing(FileSource(package)) as source:
        found = verify_package(
            source,
            demands.certificates,
            avb_keys=demands.avb_keys,
            quick=quick,
            allow_public_key=allow_public_key,
        )
        size = source.size
    attested = None
    if attestation is not None and attestation_key is not None:
        attested = read_attestation(package, attestation, attestation_key, policies, beside)
    if form == "json":
        click.echo(as_json(str(package), size, found, demands, attested), nl=False)
    else:
        _show(package, found, demands)
        if attested is not None:
            show_attestation(attested)
    if found.failed or (attested is not None and attested.faults):
        context.exit(FAILED)
    if found.unknown:
        context.exit(COULD_NOT)


def _show(package: Path, found: Verification, demands: Demands) -> None:
    _show_verdict(package, found)
    _show_signer(package, found)
    if len(found.checks) > 2:
        _show_checks(found)
    if not demands.certificates and found.signature is not None:
        click.echo(
            "  checked with the certificate inside the package: this proves that it is whole, not "
            "where it comes from; give --cert to prove that"
        )
    has_vbmeta = any(check.name.startswith("vbmeta image") for check in found.checks)
    if not demands.avb_keys and has_vbmeta:
        click.echo(
            "  verified boot was checked with the key inside the package; give --avb-key to demand "
            "one"
        )
    if demands.quick and has_vbmeta:
        click.echo("  digests and hash trees of partitions were left out (--quick)")


def _show_verdict(package: Path, found: Verification) -> None:
    if found.failed:
        first = found.failed[0]
        name = "" if first.name == WHOLE_FILE else f"{first.name}: "
        click.echo(f"{package}: NOT valid: {printable(name + first.detail)}")
        if found.hint and found.signature is None:
            click.echo(f"  {found.hint}")
    elif found.unknown:
        click.echo(f"{package}: what could be checked holds, {len(found.unknown)} could not be")
    elif found.signature is not None:
        weak = certificate_facts(found.signature.certificate, str(package)).weaknesses
        click.echo(
            f"{package}: valid but weak ({', '.join(weak)})" if weak else f"{package}: valid"
        )


def _show_signer(package: Path, found: Verification) -> None:
    if found.signature is None:
        return
    facts = certificate_facts(found.signature.certificate, str(package))
    click.echo(f"  signed with  {facts.key}, {found.signature.digest_algorithm}")
    click.echo(f"  certificate  {facts.subject}")
    click.echo(f"  cert sha256  {facts.cert_sha256}")
    click.echo(f"  spki sha256  {facts.spki_sha256}")
    if facts.known is not None:
        click.echo(
            f"  PUBLICLY KNOWN KEY: {', '.join(facts.known.names)}: anyone could have signed"
        )
    if DEVELOPMENT in (facts.subject or ""):
        click.echo("  DEVELOPMENT-SIGNED: the key is a throw-away key, not for release")


def _show_checks(found: Verification) -> None:
    """Print one line for each check, its key and detail in the last column."""
    width = max(len(printable(check.name)) for check in found.checks)
    for check in found.checks:
        said = "; ".join(text for text in (check.signer, check.detail) if text)
        line = f"  {WORDS[check.ok]:<11}  {printable(check.name):<{width}}  {printable(said)}"
        click.echo(line.rstrip())


def _read_trusted(path: Path) -> list[x509.Certificate]:
    """Return the certificates of a file or of an ``otacerts.zip``."""
    with closing(FileSource(path)) as source:
        try:
            data = source.read_at(0, min(source.size, MAX_CERTIFICATE_SIZE))
            if not data.startswith(b"PK\3\4"):
                return parse_certificates(data)
            found = [parse_certificates(otacert.der)[0] for otacert in parse_otacerts(data)]
        except ImageError as error:
            raise error.within(str(path)) from error
    if not found:
        raise SigningError(f"{path}: no entry ends in x509.pem")
    return found


def _read_avb_key(path: Path) -> bytes:
    """Return the key blob of a PEM public key, of a PEM certificate, or as it is."""
    with closing(FileSource(path)) as source:
        data = source.read_at(0, min(source.size, MAX_CERTIFICATE_SIZE))
    try:
        if not data.startswith(b"-----BEGIN"):
            parse_rsa_key(data)
            return data
        if b"BEGIN CERTIFICATE" in data:
            key: object = parse_certificates(data)[0].public_key()
        else:
            key = load_pem_public_key(data)
        if not isinstance(key, rsa.RSAPublicKey):
            raise SigningError(f"{path}: verified boot takes RSA keys")
        return encode_public_key(key)
    except ImageError as error:
        raise error.within(str(path)) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SigningError(f"{path}: no public key that verified boot takes ({error})") from None
