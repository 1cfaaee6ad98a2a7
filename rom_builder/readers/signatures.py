"""Who vouches for what: the certificates that signed a package and its apps, or may sign updates."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from threading import Thread

from rom_builder.errors import ImageError
from rom_builder.facts import SigningCertificate
from rom_builder.facts.hygiene import AppSignature
from rom_builder.findings import Location
from rom_builder.formats.apk_signature import (
    NEWEST,
    SCHEME_SINCE,
    ApkSigner,
    read_signers,
    verify_apk,
)
from rom_builder.formats.otacert import OTACERT
from rom_builder.formats.x509 import Certificate, parse_certificate, parse_otacerts
from rom_builder.keys import publicly_known
from rom_builder.readers.packages import COMPRESSED, Apk, apps, described_before, open_app
from rom_builder.rom import Rom, RomFile

OTACERTS = "/system/etc/security/otacerts.zip"
MAX_CERTIFICATES_SIZE = 4 << 20
SHIM_MODULE = "com.android.apex.cts.shim"
"""The APEX module that apexd updates by hash only, and that may hold nothing but CTS shims
(``apexd/apex_shim.cpp``)."""
MAX_WORKERS = 8
"""Apps whose signatures are verified at once; each takes a few MiB."""


def read_signing_certificates(rom: Rom, sdk: int | None) -> Iterator[SigningCertificate]:
    """Yield every certificate of the package, of ``otacerts.zip`` and of each app and APEX module.

    Apps' signatures are read, not verified: whose key an app names is the question here. What cannot
    be read is noted in the ROM's list of unread parts.

    Args:
        rom: The ROM.
        sdk: Its API level: a digest is told of the signatures that this platform looks at; None if it
            is not known, then of all.
    """
    yield from read_update_certificates(rom)
    for file in (*apps(rom), *rom.with_suffix(".apex", ".capex")):
        use = "apex" if file.name.endswith(("apex", "capex")) else "apk"
        try:
            source = open_app(rom, file)
            signers = read_signers(rom.archives.open(file.node, source), source)
            for signer in signers:
                digest = (
                    "".join(signer.digest_algorithms[:1]) if decides(signer, signers, sdk) else ""
                )
                found = fact(use, signer.certificates[0], digest, file.name)
                yield replace(found, frozen=is_frozen(rom, file)) if found.known_as else found
        except ImageError as error:
            note_unread(rom, error, file.name)


def is_frozen(rom: Rom, file: RomFile) -> bool:
    """Say whether an app or module has no code and takes no update but one that it names by hash."""
    if not file.name.endswith(("apex", "capex")):
        try:
            return Apk(rom, file).is_frozen
        except ImageError:
            return False  # whoever reads manifests tells of it
    module = rom.modules.get(file.name)
    return module is not None and module.manifest.name == SHIM_MODULE


def read_app_signatures(rom: Rom, sdk: int | None) -> Iterator[AppSignature]:
    """Start to verify each app's and module's signatures; return what the platform makes of them.

    All content is hashed, of several apps at once and while the caller does something else: to inflate
    and to hash leaves the interpreter to other threads. An interrupt does not wait for them.

    Args:
        rom: The ROM.
        sdk: Its API level; None if it is not known: then all platforms from 24 on have to accept
            an app.
    """
    files = {file.name: file for file in (*apps(rom), *rom.with_suffix(".apex", ".capex"))}
    judged: dict[str, Future[AppSignature]] = {name: Future() for name in files}
    # Taken from its end: the largest first, so that none is left alone at the end.
    waiting = sorted(files.values(), key=lambda file: file.node.size)

    def run() -> None:
        while waiting:
            with suppress(IndexError):
                file = waiting.pop()
                try:
                    judged[file.name].set_result(_app_signature(rom, file, sdk))
                except BaseException as error:
                    judged[file.name].set_exception(error)

    for _ in range(min(len(files), os.cpu_count() or 1, MAX_WORKERS)):
        Thread(target=run, daemon=True).start()
    return _in_order(rom, judged)


def _in_order(rom: Rom, judged: Mapping[str, Future[AppSignature]]) -> Iterator[AppSignature]:
    for number, signature in enumerate(judged.values()):
        rom.step("verifying signatures", number, len(judged))
        yield signature.result()


def _app_signature(rom: Rom, file: RomFile, sdk: int | None) -> AppSignature:
    low, high = (SCHEME_SINCE["v2"], NEWEST) if sdk is None else (sdk, sdk)
    try:
        apk = Apk(rom, file)
        target = (described_before(rom, file) or apk).target_sdk
        verdict = verify_apk(
            apk.archive,
            apk.source,
            min_sdk=low,
            max_sdk=high,
            target_sdk=target,
            preinstalled=file.name.endswith((".apk", COMPRESSED)),
        )
        schemes, faults = verdict.schemes, verdict.faults
    except ImageError as error:
        schemes, faults = (), (f"it cannot be read: {error.message}",)
    return AppSignature(schemes, faults, Location(file.name))


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


def decides(signer: ApkSigner, signers: Iterable[ApkSigner], sdk: int | None) -> bool:
    """Say whether a platform looks at this signer of an app."""
    if sdk is None:
        return True
    known = [each.scheme for each in signers if SCHEME_SINCE[each.scheme] <= sdk]
    return bool(known) and signer.scheme == max(known)


def read_accepted(rom: Rom) -> list[Certificate]:
    """Return the certificates that the ROM's device accepts updates from.

    Empty if there is no ``otacerts.zip``; one that cannot be read is noted as unread.
    """
    file = rom.find(OTACERTS)
    if file is None:
        return []
    try:
        return parse_otacerts(rom.read(file, MAX_CERTIFICATES_SIZE))
    except ImageError as error:
        note_unread(rom, error, file.name)
        return []


def note_unread(rom: Rom, error: ImageError, name: str) -> None:
    """Record that an archive could not be read; what the error names is an entry of it."""
    if error.path and not error.path.startswith(name):
        error = ImageError(error.message, path=f"{name}!/{error.path}", offset=error.offset)
    rom.note_unread(error, name)


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
