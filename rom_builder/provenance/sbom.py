"""What a ROM consists of, as a CycloneDX 1.6 bill of materials: partitions, apps and modules."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rom_builder import __version__
from rom_builder.errors import ImageError
from rom_builder.formats.apk_signature import read_signers
from rom_builder.formats.source import Source
from rom_builder.mechanisms.system_property import read_platform
from rom_builder.readers.packages import Apk, apps, open_app
from rom_builder.reports.text import printable
from rom_builder.rom import Rom, RomFile, digest_of
from rom_builder.rom.containers import inner

if TYPE_CHECKING:
    from cyclonedx.model import HashType, Property
    from cyclonedx.model.component import Component

# Resource ids of manifest attributes (frameworks/base, core/res/res/values/public.xml).
VERSION_CODE = 0x0101021B
VERSION_NAME = 0x0101021C
VERSION_CODE_MAJOR = 0x01010576

PREFIX = "rom-builder:"
"""What the names of our properties start with."""
MODULES = (".apex", ".capex")
HASHED = (".apk", *MODULES)
"""Ends of the names of files whose digest is given."""
_TOUCHED = 256 << 10


def sbom(
    rom: Rom, sha256: str, moment: datetime, parts: Sequence[Component] | None = None
) -> bytes:
    """Return the bill of materials of a ROM; the same ROM and moment give the same bytes.

    Args:
        rom: The ROM.
        sha256: Its digest, in hexadecimal digits.
        moment: When it is made.
        parts: What :func:`components` gives, if it is at hand.

    Raises:
        ImageError: The ROM is damaged where it has to be read.
    """
    # Late: a library for this alone.
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    platform = read_platform(rom)
    version = platform.get("ro.build.version.incremental") or sha256[:16]
    device = platform.get("ro.product.device") or platform.get("ro.product.system.device")
    root = Component(
        name=printable(device or rom.path.name),
        version=printable(version),
        type=ComponentType.FIRMWARE,
        bom_ref="rom",
        description=printable(platform.get("ro.build.fingerprint") or "") or None,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)],
    )
    tool = Component(name="rom-builder", version=__version__, type=ComponentType.APPLICATION)
    bom = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"rom:sha256:{sha256}"),
        components=components(rom) if parts is None else parts,
    )
    bom.metadata.timestamp = moment.astimezone(UTC)
    bom.metadata.component = root
    bom.metadata.tools.components.add(tool)
    bom.register_dependency(root, list(bom.components))
    text: str = JsonV1Dot6(bom).output_as_string(indent=2)
    return text.encode() + b"\n"


def components(rom: Rom) -> list[Component]:
    """Return everything that a ROM consists of.

    Raises:
        ImageError: The ROM is damaged where it has to be read.
    """
    return [*partitions(rom), *programs(rom)]


def read_ahead(rom: Rom) -> None:
    """Touch what a bill of materials gives digests of, so that it is decoded when it is read.

    Whoever is in a hurry goes first. What cannot be read is left to whoever reads it.
    """
    for file in rom.with_suffix(*HASHED):
        with suppress(ImageError):
            source = rom.open(file)
            for end in (*range(1, source.size, _TOUCHED), source.size):
                rom.contents.operations.give_way()
                source.read_at(end - 1, 1)


def partitions(rom: Rom) -> Iterator[Component]:
    """Yield every partition image; those of a payload with the digest that a device demands."""
    from cyclonedx.model.component import Component, ComponentType

    demanded = {
        inner(path, update.partition_name or ""): update.new_partition_info.hash
        for path, payload in rom.contents.payloads.items()
        for update in payload.manifest.partitions
        if update.new_partition_info is not None
    }
    for name, partition in sorted(rom.contents.partitions.items()):
        yield Component(
            name=printable(partition.name + (f"_{partition.slot}" if partition.slot else "")),
            type=ComponentType.FIRMWARE,
            bom_ref=f"partition:{printable(name)}",
            hashes=hashed(partition.source, demanded.get(name)),
            properties=properties({"path": name, "size": str(partition.source.size)}),
        )


def programs(rom: Rom) -> Iterator[Component]:
    """Yield every app and APEX module, one that cannot be read with what is known of it."""
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    for file in apps(rom):
        package, version, code = identity(rom, file)
        name = printable(package or file.name.rpartition("/")[2])
        yield Component(
            name=name,
            version=printable(version) if version else None,
            type=ComponentType.APPLICATION,
            bom_ref=f"file:{printable(file.name)}",
            purl=PackageURL("generic", None, name, printable(version) or None) if package else None,
            hashes=hashed(rom.open(file)),
            properties=properties(
                {"path": file.path or file.name, "version-code": code, **signers(rom, file)}
            ),
        )
    for file in rom.with_suffix(*MODULES):
        yield Component(
            name=printable(file.name.rpartition("/")[2].rpartition(".")[0]),
            type=ComponentType.PLATFORM,
            bom_ref=f"file:{printable(file.name)}",
            hashes=hashed(rom.open(file)),
            properties=properties({"path": file.path or file.name, **signers(rom, file)}),
        )


def identity(rom: Rom, file: RomFile) -> tuple[str, str, str]:
    """Return package name, version name and version code of an app; empty where not readable."""
    try:
        apk = Apk(rom, file)
        attribute = apk.manifest.attribute(VERSION_NAME)
        name = attribute.as_string() if attribute else None
        if attribute is not None and attribute.reference is not None:
            values = apk.resolve(attribute.reference)
            value = values[0].as_value() if values else None
            name = value if isinstance(value, str) else None
        code, major = (apk.manifest.attribute(key) for key in (VERSION_CODE, VERSION_CODE_MAJOR))
        number = (major.as_int(0) << 32 if major else 0) + (code.as_int(0) if code else 0)
        return apk.package, name or "", str(number) if code else ""
    except ImageError as error:
        rom.note_unread(error, file.name)
        return "", "", ""


def signers(rom: Rom, file: RomFile) -> dict[str, str]:
    """Return the fingerprints of the certificates that an app names, each once."""
    try:
        source = open_app(rom, file)
        archive = rom.archives.open(file.node, source)
        found = [signer.certificates[0] for signer in read_signers(archive, source)]
    except ImageError as error:
        rom.note_unread(error, file.name)
        return {}
    prints = dict.fromkeys(certificate.spki_sha256 for certificate in found)
    return {"signer-spki-sha256": " ".join(prints)} if prints else {}


def hashed(source: Source, known: bytes | None = None) -> list[HashType]:
    """Return the SHA-256 of some content, as the bill of materials has it; computed if not known."""
    from cyclonedx.model import HashAlgorithm, HashType

    content = known.hex() if known else digest_of(source)
    return [HashType(alg=HashAlgorithm.SHA_256, content=content)]


def properties(values: dict[str, str]) -> list[Property]:
    """Return those values that there are, as properties."""
    from cyclonedx.model import Property

    return [
        Property(name=PREFIX + name, value=printable(value))
        for name, value in values.items()
        if value
    ]
