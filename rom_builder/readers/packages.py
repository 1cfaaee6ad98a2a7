"""The apps of a ROM: where each lies, what its manifest says, and a way into its resources."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from rom_builder.errors import ImageError
from rom_builder.facts import Package
from rom_builder.findings import Location
from rom_builder.formats.arsc import ResourceTable, ResourceValue, parse_arsc
from rom_builder.formats.axml import Attribute, Element, parse_axml
from rom_builder.formats.overlay_apk import TARGET_PACKAGE
from rom_builder.formats.source import Source
from rom_builder.formats.tar_tree import inflate_gzip
from rom_builder.formats.tree import NodeKind
from rom_builder.rom import READ_LIMIT, Rom, RomFile

MANIFEST = "AndroidManifest.xml"
RESOURCES = "resources.arsc"
COMPRESSED = ".apk.gz"
"""An app that the platform unpacks when it first starts, since Android 9 (``COMPRESSED_EXTENSION``)."""

# Resource ids of manifest attributes (frameworks/base, core/res/res/values/public.xml): names in a
# compiled manifest are decoration, the platform reads these.
SHARED_USER_ID = 0x0101000B
HAS_CODE = 0x0101000C
DEBUGGABLE = 0x0101000F
MIN_SDK_VERSION = 0x0101020C
TARGET_SDK_VERSION = 0x01010270
USES_CLEARTEXT_TRAFFIC = 0x010104EC
RESTRICT_UPDATE_HASH = 0x01010526
NETWORK_SECURITY_CONFIG = 0x01010527


class Apk:
    """One installed app, read as far as it is asked for.

    Raises:
        ImageError: The file is no zip archive.
    """

    def __init__(self, rom: Rom, file: RomFile) -> None:
        self.file = file
        self.source = open_app(rom, file)
        try:
            self.archive = rom.archives.open(file.node, self.source)
        except ImageError as error:
            raise error.within(file.name) from error

    def inner(self, entry: str) -> str:
        """Return the nested name of an entry."""
        return f"{self.file.name}!/{entry}"

    def read(self, entry: str) -> bytes:
        """Return the content of an entry.

        Raises:
            ImageError: It is not there, too large or damaged.
        """
        found = self.archive.entries.get(entry)
        if found is None:
            raise ImageError("is not in the app", path=self.inner(entry))
        if entry in self.archive.repeated:
            raise ImageError(
                "is in the app more than once, and platforms differ in which counts",
                path=self.inner(entry),
            )
        try:
            return self.archive.read(found, limit=READ_LIMIT)
        except ImageError as error:
            raise error.within(self.inner(entry)) from error

    def xml(self, entry: str) -> Element:
        """Return the root of a compiled XML entry.

        Raises:
            ImageError: It is not there or damaged.
        """
        data = self.read(entry)
        try:
            return parse_axml(data)
        except ImageError as error:
            raise error.within(self.inner(entry)) from error

    @cached_property
    def manifest(self) -> Element:
        """Root of the manifest.

        Raises:
            ImageError: There is none, or it is damaged.
        """
        return self.xml(MANIFEST)

    @cached_property
    def resources(self) -> ResourceTable | None:
        """The resource table, None if the app has none.

        Raises:
            ImageError: It is damaged.
        """
        if RESOURCES not in self.archive.entries:
            return None
        try:
            return parse_arsc(self.read(RESOURCES))
        except ImageError as error:
            raise error.within(self.inner(RESOURCES)) from error

    def resolve(self, reference: int) -> tuple[ResourceValue, ...]:
        """Return every value of a resource, the default configuration first; none if it is not here."""
        return self.resources.resolve(reference) if self.resources else ()

    def boolean(self, attribute: Attribute | None) -> bool | None:
        """Return an attribute of the manifest as a boolean, through a reference if need be.

        A text is read as the package parser does (AOSP ``TypedArray.getBoolean``, then
        ``XmlUtils.convertValueToBoolean``): ``1``, ``true`` and ``TRUE`` are true, all else is false.
        None if there is no value, or none that can be found here.
        """
        if attribute is None:
            return None
        value = attribute.as_value()
        if attribute.reference is not None:
            values = self.resolve(attribute.reference)
            value = values[0].as_value() if values else None
        if isinstance(value, str):
            return value in ("1", "true", "TRUE")
        return None if value is None else bool(value)

    @property
    def package(self) -> str:
        """Package name; empty if the manifest names none."""
        attribute = self.manifest.attribute(name="package")
        return (attribute.as_string() if attribute else None) or ""

    @property
    def overlay(self) -> Element | None:
        """The ``overlay`` element of a resource overlay, None for every other app."""
        return next(iter(self.manifest.children_named("overlay")), None)

    @property
    def overlay_target(self) -> str:
        """Package whose resources the app changes; empty if it is no resource overlay."""
        attribute = self.overlay.attribute(TARGET_PACKAGE) if self.overlay else None
        return (attribute.as_string() if attribute else None) or ""

    @property
    def application(self) -> Element | None:
        """The ``application`` element, None if there is none."""
        return next(iter(self.manifest.children_named("application")), None)

    @property
    def target_sdk(self) -> int:
        """``targetSdkVersion``, else ``minSdkVersion``, else 1, of the last ``uses-sdk`` element.

        The platform processes each such element in turn, and each replaces what the one before said
        (AOSP ``ParsingPackageUtils.parseUsesSdk``).
        """
        for uses_sdk in self.manifest.children_named("uses-sdk")[-1:]:
            for resource_id in (TARGET_SDK_VERSION, MIN_SDK_VERSION):
                attribute = uses_sdk.attribute(resource_id)
                if attribute is not None:
                    values = self.resolve(attribute.reference) if attribute.reference else ()
                    return (*values, attribute)[0].as_int(0)
        return 1

    def flag(self, resource_id: int) -> bool | None:
        """Return a boolean attribute of ``application``, None if it is not set.

        Raises:
            ImageError: It refers to a resource that is not in the app, so that its value is unknown.
        """
        attribute = self.application.attribute(resource_id) if self.application else None
        value = self.boolean(attribute)
        if value is None and attribute is not None and attribute.reference is not None:
            raise ImageError(
                f"{attribute.name} refers to {attribute.reference:#010x}, which is not in the app",
                path=self.inner(MANIFEST),
                offset=attribute.offset,
            )
        return value

    @property
    def network_security_config(self) -> Attribute | None:
        """The attribute that names the app's network security config, None if it is not set."""
        application = self.application
        return application.attribute(NETWORK_SECURITY_CONFIG) if application else None

    @property
    def is_frozen(self) -> bool:
        """Whether the app has no code, lends its rights to nobody, and takes at most one update.

        That update is named by its hash (AOSP, ``restrict-update``, API 24): AOSP's own CTS shims are
        such. Others with its key could share its user id, which is nothing if it asks for nothing.

        Raises:
            ImageError: The manifest is damaged.
        """
        manifest = self.manifest
        shared = manifest.attribute(SHARED_USER_ID)
        lent = shared is not None and (
            shared.as_string() != self.package
            or any(child.name.startswith("uses-permission") for child in manifest.children)
        )
        restricted = any(
            element.attribute(RESTRICT_UPDATE_HASH) is not None
            for element in manifest.children_named("restrict-update")
        )
        has_code = self.flag(HAS_CODE) is not False or any(
            name.endswith(".dex") for name in self.archive.entries
        )
        return restricted and not has_code and not lent

    def describe(self) -> Package:
        """Return what the manifest says.

        Raises:
            ImageError: The manifest is damaged.
        """
        return Package(
            name=self.package,
            location=Location(self.inner(MANIFEST)),
            target_sdk=self.target_sdk,
            debuggable=bool(self.flag(DEBUGGABLE)),
            cleartext=self.flag(USES_CLEARTEXT_TRAFFIC),
            has_network_security_config=self.network_security_config is not None,
            privileged="/priv-app/" in (self.file.path or ""),
            overlay_target=self.overlay_target,
        )


def apps(rom: Rom) -> Iterator[RomFile]:
    """Yield every app of a ROM; a link named like one leads to one, whatever that is called.

    A link that leads nowhere is noted as unread: the app it stands for may be in a part of the device
    that is not in the image.
    """
    links = {}
    for path, file in sorted(rom.files.items()):
        if path.endswith(".apk") and file.node.kind is NodeKind.SYMLINK:
            target = rom.find(path)
            if target is None:
                rom.note_unread(ImageError("is a link that leads nowhere in the image"), path)
            elif target.node.kind is NodeKind.FILE and not (target.path or "").endswith(".apk"):
                links[target.name] = target
    yield from rom.with_suffix(".apk", COMPRESSED)
    yield from links.values()


def described_before(rom: Rom, file: RomFile) -> Package | None:
    """Return what the manifest of an app says if it was read before, else None."""
    node, package = rom.packages.get(id(file.node), (None, None))
    return package if node is file.node else None


def open_app(rom: Rom, file: RomFile) -> Source:
    """Return the content of an app; of a compressed one, what the platform makes of it.

    Raises:
        ImageError: It is damaged.
    """
    source = rom.open(file)
    if not file.name.endswith(COMPRESSED):
        return source
    try:
        return inflate_gzip(source)
    except ImageError as error:
        raise error.within(file.name) from error


class Packages:
    """The apps of a ROM by package name; each manifest is read once.

    Apps that cannot be read are noted in the ROM's list of unread parts.
    """

    def __init__(self, rom: Rom) -> None:
        self.rom = rom
        self.described: list[tuple[RomFile, Package]] = []
        for file in apps(rom):
            try:
                package = described_before(rom, file)
                if package is None:
                    package = Apk(rom, file).describe()
                    rom.packages[id(file.node)] = file.node, package
                self.described.append((file, package))
            except ImageError as error:
                rom.note_unread(error, file.name)

    def named(self, package: str) -> Iterator[Apk]:
        """Yield every app of that name; a ROM may hold one twice."""
        for file, described in self.described:
            if described.name == package:
                yield Apk(self.rom, file)
