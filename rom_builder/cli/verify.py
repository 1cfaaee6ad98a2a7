"""``rom-builder verify``: would recovery accept this package?"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click
from cryptography import x509

from rom_builder.errors import ImageError, RomBuilderError, SigningError
from rom_builder.formats.cms import parse_cms
from rom_builder.formats.ota_signature import parse_ota_signature, verify_ota_signature
from rom_builder.formats.otacert import parse_certificates
from rom_builder.formats.source import FileSource, Source
from rom_builder.formats.x509 import MAX_CERTIFICATE_SIZE, parse_otacerts
from rom_builder.formats.zip import ZipArchive
from rom_builder.key_inspection import OTACERT
from rom_builder.keys import DEVELOPMENT, certificate_facts


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
@click.pass_context
def verify(context: click.Context, package: Path, trusted: tuple[Path, ...]) -> None:
    """Check the whole-file signature of the OTA zip PACKAGE as recovery does.

    Exit code 0: recovery would accept it. 1: it would not, or bytes that no signature covers were
    changed. 2: could not be found out.

    \b
    Examples:
      rom-builder verify ota.zip
      rom-builder verify ota.zip --cert ota.x509.pem
    """
    with closing(FileSource(package)) as source:
        certificates = [found for path in trusted for found in _read_trusted(path)]
        try:
            verified = verify_ota_signature(source, certificates or _embedded(source))
        except (ImageError, SigningError) as error:
            _reject(context, package, error)
            return
    facts = certificate_facts(verified.certificate, str(package))
    verdict = f"valid but weak ({', '.join(facts.weaknesses)})" if facts.weaknesses else "valid"
    click.echo(f"{package}: {verdict}")
    click.echo(f"  signed with  {facts.key}, {verified.digest_algorithm}")
    click.echo(f"  certificate  {facts.subject}")
    click.echo(f"  cert sha256  {facts.cert_sha256}")
    click.echo(f"  spki sha256  {facts.spki_sha256}")
    if facts.known is not None:
        click.echo(
            f"  PUBLICLY KNOWN KEY: {', '.join(facts.known.names)}: anyone could have signed"
        )
    if DEVELOPMENT in (facts.subject or ""):
        click.echo("  DEVELOPMENT-SIGNED: the key is a throw-away key, not for release")
    if not trusted:
        click.echo(
            "  checked with the certificate inside the package: this proves that it is whole, not "
            "where it comes from; give --cert to prove that"
        )


def _reject(context: click.Context, package: Path, error: RomBuilderError) -> None:
    click.echo(f"{package}: NOT valid: {error}")
    if error.hint:
        click.echo(f"  {error.hint}")
    context.exit(1)


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


def _embedded(source: Source) -> list[x509.Certificate]:
    """Return the otacert of a package, or else the certificate inside its signature."""
    signature = parse_ota_signature(source)
    if signature is None:
        return []
    entry = ZipArchive(source).entries.get(OTACERT)
    if entry is not None:
        return parse_certificates(ZipArchive(source).read(entry, MAX_CERTIFICATE_SIZE))
    return [
        found for der in parse_cms(signature.cms).certificates for found in parse_certificates(der)
    ]
