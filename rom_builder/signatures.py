"""Who vouches for what: the certificates that signed a package and its apps, or may sign updates."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.errors import ImageError
from rom_builder.facts import SigningCertificate
from rom_builder.findings import Location
from rom_builder.formats.apk_signature import read_signers
from rom_builder.formats.x509 import Certificate, parse_certificate, parse_otacerts
from rom_builder.formats.zip import ZipArchive
from rom_builder.keys import publicly_known
from rom_builder.rom import Rom

OTACERT = "META-INF/com/android/otacert"
OTACERTS = "/system/etc/security/otacerts.zip"
MAX_CERTIFICATES_SIZE = 4 << 20


def read_signing_certificates(rom: Rom) -> Iterator[SigningCertificate]:
    """Yield every certificate of the package, of ``otacerts.zip`` and of each app and APEX module.

    Apps' signatures are read, not verified: whose key an app names is the question here. What cannot
    be read is noted in the ROM's list of unread parts.
    """
    yield from read_update_certificates(rom)
    for file in rom.with_suffix(".apk", ".apex", ".capex"):
        try:
            source = rom.open(file)
            for signer in read_signers(ZipArchive(source, lenient=True), source):
                digest = signer.digest_algorithms[0] if signer.digest_algorithms else ""
                use = "apk" if file.name.endswith(".apk") else "apex"
                yield fact(use, signer.certificates[0], digest, file.name)
        except ImageError as error:
            rom.note_unread(error, file.name)


def read_update_certificates(rom: Rom) -> Iterator[SigningCertificate]:
    """Yield the certificate of the package and those of ``otacerts.zip``."""
    package = rom.by_name.get(OTACERT)
    if package is not None:
        try:
            certificate = parse_certificate(rom.read(package, MAX_CERTIFICATES_SIZE))
            yield fact("package", certificate, certificate.signature_digest, OTACERT)
        except ImageError as error:
            rom.note_unread(error, OTACERT)
    otacerts = rom.find(OTACERTS)
    if otacerts is not None:
        for certificate in read_accepted(rom):
            yield fact("otacert", certificate, certificate.signature_digest, otacerts.name)


def read_accepted(rom: Rom) -> list[Certificate]:
    """Return the certificates that the ROM's device accepts updates from.

    None if there is no ``otacerts.zip``; one that cannot be read is noted as unread.
    """
    file = rom.find(OTACERTS)
    if file is None:
        return []
    try:
        return parse_otacerts(rom.read(file, MAX_CERTIFICATES_SIZE))
    except ImageError as error:
        rom.note_unread(error, file.name)
        return []


def fact(use: str, certificate: Certificate, digest: str, name: str) -> SigningCertificate:
    """Say what a certificate is and whether its key is publicly known."""
    known = publicly_known(certificate.spki_sha256)
    return SigningCertificate(
        use=use,
        subject=certificate.subject,
        key=certificate.key_kind,
        spki_sha256=certificate.spki_sha256,
        cert_sha1=certificate.cert_sha1,
        known_as=known.names[0] if known else None,
        digest=digest,
        location=Location(name),
    )
