"""What a build will change in a ROM and why, before it changes anything."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rom_builder.check import read_switch
from rom_builder.edits import AppEdit, Change, Edit, FileData, Obstacle, RamdiskEdit
from rom_builder.errors import BuildRefused, ImageError
from rom_builder.facts import Value
from rom_builder.formats.device_path import ancestors
from rom_builder.formats.system_config import ENFORCED, PRIVILEGED_SINCE
from rom_builder.formats.tree import NodeKind
from rom_builder.mechanisms import MECHANISMS
from rom_builder.mechanisms.default_permissions import ASKED
from rom_builder.mechanisms.platform_exemption import LIMITED
from rom_builder.mechanisms.privileged_permission import DENIED
from rom_builder.mechanisms.system_property import read_platform
from rom_builder.policy.load import Policies
from rom_builder.policy.models import ServicePolicy
from rom_builder.policy.profile import Binding, Profile
from rom_builder.readers.packages import Packages
from rom_builder.readers.platform_grants import not_listed
from rom_builder.readers.sysconfig import read_system_config
from rom_builder.rom import Rom
from rom_builder.rules.readings import effective
from rom_builder.templates import render_device_file

SHOWN = "preference-xml"
"""The mechanism of boxes that users see ticked."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Edits in the order of their paths, and what they cannot reach.

    Attributes:
        edits: One for each file that changes; applying them twice changes nothing more.
        obstacles: Demands that need something the user has to bring.
        notes: What the user should know before building.
        ramdisk_edits: Files that change inside boot images, which no device path names.
        wipe: Whether no byte of what is replaced or removed may stay in an image.
        resign: Whether every vbmeta image is signed anew, also where nothing in it changes.
    """

    edits: tuple[Edit, ...]
    obstacles: tuple[Obstacle, ...]
    notes: tuple[str, ...] = ()
    ramdisk_edits: tuple[RamdiskEdit, ...] = ()
    wipe: bool = False
    resign: bool = False


def plan(
    rom: Rom,
    policies: Policies,
    brought: Mapping[str, FileData],
    *,
    removed: Sequence[str] = (),
    wipe: bool = False,
) -> Plan:
    """Work out the edits after which a ROM meets its policies, as far as configuration goes.

    Args:
        rom: The base.
        policies: What is demanded.
        brought: Files that the user brings, by device path.
        removed: Device paths of files, links and whole folders that are taken out.
        wipe: Let no byte of what is replaced or removed stay in an image.

    Raises:
        ImageError: The base is damaged where it has to be read.
        BuildRefused: A file would have to go where the ROM has something else, or one that is to be
            removed is not there or is needed.
    """
    edits: dict[str, Edit] = {}
    obstacles: list[Obstacle] = []
    for path in removed:
        remove(rom, edits, path)
    for path, new in sorted(brought.items()):
        add(rom, edits, Edit(path, new, "brought by --replace or --tree"))
    edited = rom.with_edits(edits.values())
    for service, profile in policies.services:
        packages = Packages(edited)
        if service.presence == "if-present" and not installed(edited, packages, profile):
            continue
        for path in profile.files:
            if path not in brought:
                new = FileData(render_device_file(path, service, profile))
                why = f"{profile.id}: configuration that follows from the policy"
                add(rom, edits, Edit(path, new, why))
        edited = rom.with_edits(edits.values())
        obstacles += unwanted(edited, service, profile)
        obstacles += unlimited(edited, service, profile)
        for binding, values in (
            *settings(service, profile),
            *unasked(edited, service, profile),
        ):
            packages = Packages(edited)
            for change in MECHANISMS[binding.mechanism].render(edited, packages, binding, values):
                take(rom, edits, obstacles, change, profile)
            edited = rom.with_edits(edits.values())
        obstacles += absent(edited, profile)
        obstacles += undecided(edited, service, profile)
    ordered = tuple(edits[path] for path in sorted(edits))
    return Plan(ordered, tuple(dict.fromkeys(obstacles)), wipe=wipe)


def take(
    rom: Rom, edits: dict[str, Edit], obstacles: list[Obstacle], change: Change, profile: Profile
) -> None:
    """Sort a change into edits and obstacles."""
    match change:
        case Edit():
            add(rom, edits, Edit(change.path, change.new, f"{profile.id}: {change.why}"))
        case AppEdit():
            obstacles.append(
                Obstacle(
                    f"{change.path}!/{change.entry}",
                    f"{profile.id}: {change.why}; the app's signature covers it",
                    f"bring a new version of the app: --replace {change.path}=FILE",
                )
            )
        case Obstacle():
            obstacles.append(change)


def add(rom: Rom, edits: dict[str, Edit], edit: Edit) -> None:
    """Add an edit at the place that its path really leads to; nothing if it changes nothing.

    Raises:
        BuildRefused: The place is a folder, or lies below something that is not one.
    """
    path = real_path(rom, edit.path)
    there = rom.files.get(path)
    if path in edits and edits[path].new is None:
        raise BuildRefused(f"{path} is to be removed, and is needed: {edit.why}")
    if there is not None and there.node.kind is not NodeKind.FILE:
        raise BuildRefused(f"{path} is a {there.node.kind.value} in the base, not a file")
    for above in ancestors(path)[1:]:
        holder = rom.files.get(above)
        if above in edits or (holder is not None and holder.node.kind is not NodeKind.FOLDER):
            raise BuildRefused(f"{path} would lie below {above}, which is no folder")
    if edit.new is not None and there is not None and rom.read(there) == edit.new.data:
        edits.pop(path, None)
        return
    mode = edit.new
    if mode is not None and there is not None and there.node.mode is not None:
        mode = replace(mode, mode=there.node.mode)
    before = edits[path].why.split("; ") if path in edits else []
    edits[path] = Edit(path, mode, "; ".join(dict.fromkeys([*before, edit.why])))


def remove(rom: Rom, edits: dict[str, Edit], path: str) -> None:
    """Add the removal of a file, a link (not what it leads to), or a folder with all that is in it.

    Raises:
        BuildRefused: The base has no such thing, or has it only because its script makes it.
    """
    folder, name = posixpath.split(path.rstrip("/"))
    if not name:
        raise BuildRefused(f"{path!r} cannot be removed")
    found = posixpath.join(real_path(rom, folder), name)
    below = [other for other in rom.files if other.startswith(f"{found}/")]
    for gone in (found, *below):
        there = rom.files.get(gone)
        if there is None or there.tree is None:
            raise BuildRefused(f"{gone} cannot be removed: no file of the base lies there")
        edits[gone] = Edit(gone, None, "taken out by --remove")


def real_path(rom: Rom, path: str) -> str:
    """Follow links in a path as the device would; the last part may not exist yet.

    Raises:
        BuildRefused: The path is not absolute, leaves the ROM, or runs in circles.
    """
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise BuildRefused(f"{path!r} is not an absolute device path")
    try:
        return rom.resolve(path)
    except ImageError as error:
        raise BuildRefused(f"{path}: {error.message}") from error


def installed(rom: Rom, packages: Packages, profile: Profile) -> bool:
    """Say whether any part of a service is in the ROM."""
    return any(rom.find(path) for path in profile.files) or any(
        package.name in profile.packages for _, package in packages.described
    )


def settings(
    service: ServicePolicy, profile: Profile
) -> Iterator[tuple[Binding, tuple[Value, ...]]]:
    """Yield each place that no template covers, and what it is to say."""
    consent, transport = service.consent, service.transport
    if consent is not None:
        is_off = consent.mode in ("opt-in", "forbidden")
        unticked = consent.preselected == "forbidden"
        for switch in profile.switches:
            concerned = is_off or (unticked and switch.binding.mechanism == SHOWN)
            if concerned and getattr(switch.binding, "file", None) not in profile.files:
                yield switch.binding, (switch.value_off,)
    for setting in profile.settings:
        values = demanded_values(service, setting.requirement)
        if values and getattr(setting.binding, "file", None) not in profile.files:
            yield setting.binding, values
    if transport is not None and transport.cleartext == "forbidden":
        for binding in profile.transport:
            if getattr(binding, "file", None) not in profile.files:
                yield binding, ("forbidden",)
        named = {getattr(binding, "package", None) for binding in profile.transport}
        for package in profile.packages:
            if package not in named:
                yield binding_of("network-security-config", package=package), ("forbidden",)


def unwanted(rom: Rom, service: ServicePolicy, profile: Profile) -> Iterator[Obstacle]:
    """Yield what a service that must not be there is made of."""
    if service.consent is None or service.consent.mode != "forbidden":
        return
    apps = (f for f, package in Packages(rom).described if package.name in profile.packages)
    files = (rom.find(path) for path in profile.files)
    for file in (*apps, *files):
        if file is not None and file.path is not None:
            yield Obstacle(
                file.path,
                f"{profile.id}: consent.mode forbidden wants the service out of the ROM; that it is "
                "off shows nothing",
                f"take it out: --remove {file.path}",
            )


def absent(rom: Rom, profile: Profile) -> Iterator[Obstacle]:
    """Yield that no part of a service is there."""
    if not installed(rom, Packages(rom), profile):
        names = ", ".join(profile.packages) or "its files"
        yield Obstacle(
            profile.id,
            f"the policy requires this service, and the ROM has none of it ({names})",
            "bring it with --tree or --replace; or write presence: if-present in the policy",
        )


def undecided(rom: Rom, service: ServicePolicy, profile: Profile) -> Iterator[Obstacle]:
    """Yield the apps in whose code a service's default lies, where check does not look there."""
    mode = service.consent.mode if service.consent else None
    if mode in (None, "forbidden") or profile.code.sinks:
        return
    packages = Packages(rom)
    readings = (r for s in profile.switches for r in read_switch(rom, packages, profile, s))
    if effective(readings):
        return
    for file, package in packages.described:
        if package.name in profile.packages:
            yield Obstacle(
                file.path or file.name,
                f"{profile.id}: no setting that the profile names decides here whether the service is on "
                "by default: it is up to the code, and the profile has no anchors there",
                "name a setting that the service obeys in the profile (a switch with read_by), or "
                "anchors in its code",
            )


def unlimited(rom: Rom, service: ServicePolicy, profile: Profile) -> Iterator[Obstacle]:
    """Yield the privileged apps of a service that no list of permissions limits."""
    if service.permissions is None or service.permissions.privileged is None:
        return
    platform = read_platform(rom)
    because = not_listed(platform.sdk, platform.get(ENFORCED))
    for file, package in Packages(rom).described:
        if because and package.name in profile.packages and package.privileged:
            path = file.path or file.name
            hint = f"move the app out of priv-app: --remove {path}, and bring it to an app folder"
            if platform.sdk is None or platform.sdk >= PRIVILEGED_SINCE:
                hint = f"set {ENFORCED}=enforce, and list what every privileged app needs"
            yield Obstacle(
                path,
                f"{profile.id}: {package.name} is to have no privileged permission but those that the "
                f"policy lists, but {because}",
                hint,
            )


def unasked(
    rom: Rom, service: ServicePolicy, profile: Profile
) -> Iterator[tuple[Binding, tuple[Value, ...]]]:
    """Yield the places at which the platform gives the service's apps what it must not, for each app."""
    permissions = service.permissions
    if permissions is None:
        return
    for package in profile.packages:
        if permissions.pre_granted == "forbidden":
            yield binding_of("default-permissions", package=package), (ASKED,)
        if permissions.exemptions == "forbidden":
            yield binding_of("platform-exemption", package=package), (LIMITED,)
    if permissions.privileged is not None:
        for package, permission in privileged_permissions(rom, profile.packages):
            if permission not in permissions.privileged:
                binding = binding_of(
                    "privileged-permission", package=package, permission=permission
                )
                yield binding, (DENIED,)


def privileged_permissions(rom: Rom, packages: Sequence[str]) -> list[tuple[str, str]]:
    """Return the privileged permissions that apps are given, as package and permission."""
    return sorted(
        {
            (entry.package, permission)
            for config in read_system_config(rom)
            for entry in config.entries
            if entry.package in packages and config.obeyed(entry)
            for permission, given in entry.permissions
            if given
        }
    )


def binding_of(mechanism: str, **options: str) -> Binding:
    """Return a place that no profile has to name, as a profile would name it."""
    return MECHANISMS[mechanism].options.model_validate({"mechanism": mechanism, **options})


def demanded_values(service: ServicePolicy, requirement: str) -> tuple[str, ...]:
    """Return what a policy demands for one requirement, in its own words; empty if nothing.

    >>> from rom_builder.policy.models import Consent, ServicePolicy
    >>> demanded_values(ServicePolicy(profile="x", consent=Consent(mode="opt-in")), "consent.before")
    ()
    """
    section, _, name = requirement.partition(".")
    value = getattr(getattr(service, section, None), name, None)
    if value is None:
        return ()
    if requirement == "transport.pins":
        return tuple(pin.sha256 for pin in value)
    return (value,) if isinstance(value, str) else tuple(map(str, value))


def read_brought(
    replacements: Sequence[tuple[str, Path]], trees: Sequence[Path]
) -> dict[str, FileData]:
    """Read the files that the user brings.

    Args:
        replacements: Device path and file of each ``--replace``.
        trees: Folders shaped like the device, of ``--tree``; links in them are refused.

    Raises:
        ImageError: A file cannot be read or is no regular file.
    """
    brought: dict[str, FileData] = {}
    for tree in trees:
        if not tree.is_dir():
            raise ImageError("is not a folder", path=str(tree))
        for file in sorted(tree.rglob("*")):
            if file.is_symlink() or not (file.is_file() or file.is_dir()):
                raise ImageError("only files and folders can be brought", path=str(file))
            if file.is_file():
                brought[posixpath.join("/", file.relative_to(tree).as_posix())] = file_data(file)
    for path, file in replacements:
        brought[path] = file_data(file)
    return brought


def file_data(file: Path) -> FileData:
    """Read one file that the user brings; a program stays executable."""
    try:
        executable = file.stat().st_mode & 0o111
        return FileData(file.read_bytes(), 0o755 if executable else 0o644)
    except OSError as error:
        raise ImageError(error.strerror or "cannot be read", path=str(file)) from error
