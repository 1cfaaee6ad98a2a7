"""Packages, what signs them, and what comes back from where keys are."""

from __future__ import annotations

import io
from contextlib import suppress
from functools import cache

from cryptography.x509 import Certificate

from fuzz.fuzz import seeds
from fuzz.targets.target import MAX_FILES, MAX_READ, drain, drain_tree, each, target
from rom_builder.errors import ImageError, SigningError
from rom_builder.formats.ab_metadata import (
    CareMap,
    OtaMetadata,
    legacy_metadata,
    parse_property_files,
    verify_property_files,
)
from rom_builder.formats.apex import Apex
from rom_builder.formats.apk_signature import read_signers
from rom_builder.formats.cms import parse_cms
from rom_builder.formats.jar_signature import read_jar_signers
from rom_builder.formats.ota_metadata import parse_ota_metadata
from rom_builder.formats.ota_signature import parse_ota_signature
from rom_builder.formats.ota_verify import verify_ota_signature
from rom_builder.formats.otacert import parse_certificates, recovery_fitness
from rom_builder.formats.payload.properties import parse_payload_properties
from rom_builder.formats.source import BytesSource
from rom_builder.formats.target_files import dynamic_partitions, parse_ab_partitions, parse_info
from rom_builder.formats.x509 import parse_certificate, parse_otacerts
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_tree import ZipTree
from rom_builder.signers.log import parse_log
from rom_builder.signing_requests.request import parse_request, public_half
from rom_builder.verification.package import verify_package
from rom_builder.verification.report import Demands, as_json


@target("zip")
def _(data: bytes) -> None:
    each(lambda lenient=lenient: _unzip(data, lenient) for lenient in (False, True))


def _unzip(data: bytes, lenient: bool) -> None:
    archive = ZipArchive(BytesSource(data), lenient=lenient)
    for entry in list(archive.entries.values())[:MAX_FILES]:
        each(
            (
                lambda entry=entry: archive.read(entry, MAX_READ),
                lambda entry=entry: drain(archive.open(entry)),
            )
        )
    drain_tree(ZipTree(archive))


@target("apk-signature")
def _(data: bytes) -> None:
    source = BytesSource(data)
    archive = ZipArchive(source, lenient=True)
    each(
        (
            lambda: read_signers(archive, source, verify=True),
            lambda: read_signers(archive, source),
            lambda: read_jar_signers(archive, verify=True),
        )
    )


@target("ota-signature")
def _(data: bytes) -> None:
    source = BytesSource(data)
    found = parse_ota_signature(source)
    if found is not None:
        with suppress(SigningError):
            verify_ota_signature(source, trusted())


@target("package")
def _(data: bytes) -> None:
    found = verify_package(BytesSource(data))
    as_json("ota.zip", len(data), found, Demands(), None)
    if found.failed:
        raise ImageError(found.failed[0].detail)


@cache
def trusted() -> list[Certificate]:
    """Return the certificates of the corpus: packages of the corpus are signed with them."""
    return [one for data in seeds("x509") for one in parse_certificates(data)]


@target("cms")
def _(data: bytes) -> None:
    parse_cms(data)


@target("x509")
def _(data: bytes) -> None:
    each((lambda: parse_certificate(data), lambda: parse_otacerts(data), lambda: _otacert(data)))


def _otacert(data: bytes) -> None:
    for certificate in parse_certificates(data):
        recovery_fitness(certificate)


@target("apex")
def _(data: bytes) -> None:
    apex = Apex(BytesSource(data))
    each((apex.verify_payload, lambda: drain(apex.payload()), apex.original))


@target("ota-metadata")
def _(data: bytes) -> None:
    for value in parse_ota_metadata(data).values():
        each((lambda value=value: verify_property_files(value, {}, 1 << 30),))


@target("ab-metadata")
def _(data: bytes) -> None:
    each((lambda: legacy_metadata(OtaMetadata.parse(data)), lambda: CareMap.parse(data)))


@target("property-files")
def _(data: bytes) -> None:
    parse_property_files(data.decode("latin-1"))


@target("payload-properties")
def _(data: bytes) -> None:
    parse_payload_properties(data)


@target("target-files")
def _(data: bytes) -> None:
    each((lambda: dynamic_partitions(parse_info(data)), lambda: parse_ab_partitions(data)))


@target("signing-request")
def _(data: bytes) -> None:
    try:
        request = parse_request(data, "request")
    except SigningError as error:
        raise ImageError(error.message) from error
    request.encode()
    for app in request.apps:
        with suppress(SigningError):
            drain(BytesSource(app.data))
    for role, key in request.keys.items():
        with suppress(SigningError):
            public_half(role, key)


@target("signing-log")
def _(data: bytes) -> None:
    try:
        for entry, _line in parse_log(io.BytesIO(data), "log"):
            entry.encode()
    except SigningError as error:
        raise ImageError(error.message) from error
