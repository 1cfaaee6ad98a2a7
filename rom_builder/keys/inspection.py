"""Which keys a file holds or was signed with, whatever kind of file it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    load_der_public_key,
    load_pem_public_key,
    pkcs7,
)

from rom_builder.errors import ImageError, SigningError
from rom_builder.formats.cms import parse_cms
from rom_builder.formats.ota_signature import parse_ota_signature
from rom_builder.formats.otacert import OTACERT, parse_certificates, read_otacert
from rom_builder.formats.source import FileSource, Source
from rom_builder.formats.x509 import MAX_CERTIFICATE_SIZE
from rom_builder.formats.zip import ZipArchive
from rom_builder.keys import KeyFacts, certificate_facts, key_facts
from rom_builder.keys.files import PassphraseSource, read_key_file

_JAR_SIGNATURES = (".RSA", ".DSA", ".EC")


def inspect_file(path: Path, passphrase: PassphraseSource | None = None) -> list[KeyFacts]:
    """Return what can be said of every key in a file, in the order found.

    Reads certificates (PEM, DER), public keys, key files (PEM, PKCS#8, PKCS#12), OTA packages
    (otacert and whole-file signature), ``otacerts.zip`` and APKs with a JAR signature.

    Args:
        path: The file.
        passphrase: Asked only for an encrypted key file.

    Raises:
        OSError: The file cannot be opened.
        SigningError: There is no key in it, or a key file cannot be opened.
        ImageError: A zip in which something is damaged.
    """
    with closing(FileSource(path)) as source:
        if source.size >= 4 and source.read_at(0, 4) == b"PK\3\4":
            try:
                facts = list(_inspect_zip(source))
            except ImageError as error:
                raise error.within(str(path)) from error
        else:
            facts = _inspect_plain(path, source, passphrase)
    if not facts:
        raise SigningError(f"{path}: no key or certificate found")
    return facts


def _inspect_zip(source: Source) -> Iterator[KeyFacts]:
    archive = ZipArchive(source, lenient=True)
    for certificate in read_otacert(archive):
        yield certificate_facts(certificate, OTACERT)
    signature = parse_ota_signature(source)
    if signature is not None:
        for der in parse_cms(signature.cms).certificates:
            yield certificate_facts(parse_certificates(der)[0], "whole-file signature")
    for name, entry in archive.entries.items():
        if name.endswith("x509.pem"):
            for certificate in parse_certificates(archive.read(entry, MAX_CERTIFICATE_SIZE)):
                yield certificate_facts(certificate, name)
        if name.startswith("META-INF/") and name.endswith(_JAR_SIGNATURES):
            for certificate in _jar_certificates(archive.read(entry, MAX_CERTIFICATE_SIZE), name):
                yield certificate_facts(certificate, name)


def _jar_certificates(data: bytes, name: str) -> list[x509.Certificate]:
    try:
        return pkcs7.load_der_pkcs7_certificates(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ImageError("not a PKCS#7 signature", path=name) from error


def _inspect_plain(
    path: Path, source: Source, passphrase: PassphraseSource | None
) -> list[KeyFacts]:
    name = path.name
    data = source.read_at(0, min(source.size, MAX_CERTIFICATE_SIZE))
    if b"PRIVATE KEY-----" not in data:
        try:
            return [certificate_facts(found, name) for found in parse_certificates(data)]
        except ImageError:
            pass
        load = load_pem_public_key if b"-----BEGIN" in data else load_der_public_key
        try:
            return [key_facts(load(data), name)]
        except (ValueError, UnsupportedAlgorithm):
            pass
    found = read_key_file(path, passphrase)
    if found.certificate is not None:
        return [certificate_facts(found.certificate, name)]
    return [key_facts(found.private_key.public_key(), name)]
