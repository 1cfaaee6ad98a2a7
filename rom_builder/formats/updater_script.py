"""updater-script: what a file-based OTA package does to a phone's partitions, step by step.

The entry ``META-INF/com/google/android/updater-script``, in :mod:`~rom_builder.formats.edify`. What
the calls do, from AOSP ``bootable/recovery/updater/install.c`` (Android 4.1 to 6)::

    package_extract_dir(zip_dir, dir)        every entry below zip_dir; makes missing folders
    package_extract_file(zip_path, path)     one entry; the folder must be there
    symlink(target, link, ...)               replaces a file, fails on a folder
    set_perm(uid, gid, mode, path, ...)      follows links; a missing path stops the update
    set_perm_recursive(uid, gid, dir_mode, file_mode, path, ...)      does not follow links
    set_metadata(path, key, value, ...)      keys uid gid mode dmode fmode selabel capabilities
    set_metadata_recursive(path, key, value, ...)    owner and mode reach the targets of links too
    delete(path, ...), delete_recursive(path, ...), rename(from, to)
    mount(type, kind, device, point), unmount(point), format(type, kind, device, size, point)

Numbers of set_perm, modes and capabilities are C literals (0755, 0x1ed, 493); uid and gid of
set_metadata are decimal. :mod:`rom_builder.formats.updater_script_files` adds files to a script.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from rom_builder.errors import ImageError
from rom_builder.formats.device_path import ancestors, resolve
from rom_builder.formats.edify import Call, Statement, calls, constant, parse_edify

MAX_CALLS = 10_000
MAX_LINKS = 4_000
MAX_PATHS = 20_000

PERMISSION_CALLS = frozenset(
    {"set_perm", "set_perm_recursive", "set_metadata", "set_metadata_recursive"}
)

PERMISSION_FIELDS = ("uid", "gid", "mode", "label", "capabilities")


@dataclass(frozen=True, slots=True)
class Step:
    """One call as it is made.

    Attributes:
        name: Of the function.
        args: Values that are the same on every phone; None for the others.
        paths: Device paths it acts on, links resolved as the phone would; None where unknown.
        conditional: Whether it is made depends on the phone.
        statement: Index of the statement it belongs to.
        offset: Of the call in the script.
    """

    name: str
    args: tuple[str | None, ...]
    paths: tuple[str | None, ...]
    conditional: bool
    statement: int
    offset: int


@dataclass(frozen=True, slots=True)
class Permissions:
    """Owner, mode, SELinux label and capabilities of a file; None where the script says nothing."""

    uid: int | None = None
    gid: int | None = None
    mode: int | None = None
    label: str | None = None
    capabilities: int | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link the script makes: ``path`` in its real folder, ``target`` as written."""

    path: str
    target: str
    step: int


@dataclass(frozen=True)
class UpdaterScript:
    """A parsed script.

    Attributes:
        data: Its bytes.
        statements: In order, with byte offsets.
        steps: Every call in the order in which it is made.
        made_links: Every link the script makes, in order, also those it removes later.
    """

    data: bytes
    statements: tuple[Statement, ...]
    steps: tuple[Step, ...]
    made_links: tuple[Link, ...] = field(repr=False)

    @cached_property
    def _targets(self) -> dict[str, str]:
        return {link.path: link.target for link in self.made_links}

    @cached_property
    def links(self) -> dict[str, str]:
        """Links that are there in the end: path of the link to its target as written."""
        gone: dict[str, int] = {}
        gone_below: dict[str, int] = {}
        for index, step in enumerate(self.steps):
            if step.conditional or step.name not in ("delete", "delete_recursive", "format"):
                continue
            for path in step.paths:
                if path is not None:
                    (gone if step.name == "delete" else gone_below)[path] = index
        return {
            link.path: link.target
            for link in self.made_links
            if gone.get(link.path, -1) < link.step
            and all(gone_below.get(above, -1) < link.step for above in ancestors(link.path))
        }

    @property
    def style(self) -> Literal["set_perm", "set_metadata"] | None:
        """The kind of permission call it uses last; None if it sets no permissions."""
        for step in reversed(self.steps):
            if step.name in PERMISSION_CALLS:
                return "set_metadata" if "metadata" in step.name else "set_perm"
        return None

    @property
    def mounts(self) -> dict[str, str]:
        """Mount point to the device mounted there, the last one if there are several."""
        return {
            step.paths[0]: step.args[2]
            for step in self.steps
            if step.name == "mount" and len(step.args) == 4 and step.paths[0] and step.args[2]
        }

    @property
    def formats(self) -> tuple[str, ...]:
        """Devices that are formatted, in order."""
        return tuple(
            step.args[2]
            for step in self.steps
            if step.name == "format" and len(step.args) > 2 and step.args[2]
        )

    @property
    def deletes(self) -> tuple[str, ...]:
        """Paths that are deleted, alone or with everything below them, in order."""
        names = ("delete", "delete_recursive")
        return tuple(
            path for step in self.steps if step.name in names for path in step.paths if path
        )

    @cached_property
    def _extractions(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.name.startswith("package_extract_"))

    def extracted(self, zip_path: str) -> tuple[str, ...]:
        """Return where an entry of the package is written, in order, each place once."""
        places: dict[str, None] = {}
        for step in self._extractions:
            place = extracted_by(step, zip_path)
            if place is not None:
                places[place] = None
        return tuple(places)

    def zip_path_for(self, device_path: str) -> str | None:
        """Return the entry that ends up at ``device_path``: of the last extraction reaching it."""
        path = self.resolve(device_path)
        for step in reversed(self.steps):
            if step.conditional or not step.paths or step.paths[0] is None or not step.args[0]:
                continue
            if step.name == "package_extract_file" and step.paths[0] == path:
                return step.args[0]
            if step.name == "package_extract_dir" and step.paths[0] in ancestors(path)[1:]:
                rest = path[len(step.paths[0].rstrip("/")) + 1 :]
                return f"{step.args[0].strip('/')}/{rest}"
        return None

    def resolve(self, device_path: str) -> str:
        """Return ``device_path`` with the links the script makes followed.

        Raises:
            ImageError: Links in a circle, or not an absolute path.
        """
        path = resolve(device_path, self._targets) if device_path.startswith("/") else None
        if path is None:
            raise ImageError(f"{device_path[:200]!r} leads nowhere: links in a circle or no path")
        return path

    def permissions(
        self, device_path: str, *, directory: bool = False, since: int = 0
    ) -> Permissions:
        """Return what the script makes of a path's permissions in the end.

        Args:
            device_path: A file or folder; a link stands for its target.
            directory: It is a folder.
            since: Index of the first step that counts: the one that makes the file, if known.

        Raises:
            ImageError: It depends on the phone.
        """
        path = self.resolve(device_path)
        found = Permissions()
        doubts: dict[str, Step] = {}
        for step in self.steps[since:]:
            reached = self.permits(step, path)
            if reached == "no":
                continue
            changes = _changes(step, directory, through_link=reached == "through a link")
            if reached == "maybe" or changes is None:
                doubts.update(dict.fromkeys(_fields(step), step))
                continue
            found = _over(found, changes)
            for name in PERMISSION_FIELDS:
                if getattr(changes, name) is not None:
                    doubts.pop(name, None)
        for name, step in doubts.items():
            raise ImageError(
                f"the {name} that {step.name} gives {path} depends on the phone", offset=step.offset
            )
        return found

    def permits(self, step: Step, path: str) -> Literal["no", "yes", "through a link", "maybe"]:
        """Return whether a step sets the permissions of a resolved path."""
        if step.name not in PERMISSION_CALLS:
            return "no"
        if None in step.paths:
            return "maybe"
        above = ancestors(path)
        for root in step.paths:
            if not step.name.endswith("_recursive"):
                if root == path:
                    return "maybe" if step.conditional else "yes"
            elif root in above and root not in self._targets:
                return "maybe" if step.conditional else "yes"
        if step.name == "set_metadata_recursive":
            reached = self._above_links_to.get(path, set())
            if any(root in reached for root in step.paths):
                return "maybe" if step.conditional else "through a link"
        return "no"

    @cached_property
    def _above_links_to(self) -> dict[str, set[str]]:
        """Resolved target to the links that lead to it and the folders above them."""
        found: dict[str, set[str]] = {}
        for link in self._targets:
            path = resolve(link, self._targets)
            if path is not None:
                found.setdefault(path, set()).update(ancestors(link))
        return found


def parse_updater_script(data: bytes) -> UpdaterScript:
    """Return the steps of an updater-script.

    Raises:
        ImageError: Not edify, a link that is not the same on every phone, or beyond
            :data:`MAX_CALLS`, :data:`MAX_LINKS` or :data:`MAX_PATHS`.
    """
    statements = parse_edify(data)
    steps: list[Step] = []
    links: dict[str, str] = {}
    made: list[Link] = []
    path_count = 0
    for index, statement in enumerate(statements):
        for call, conditional in calls(statement.expression):
            if len(steps) >= MAX_CALLS:
                raise ImageError(f"more than {MAX_CALLS} calls", offset=call.start)
            args = tuple(constant(arg) for arg in call.args)
            paths = tuple(_paths(call.name, args, links))
            path_count += len(paths)
            if path_count > MAX_PATHS:
                raise ImageError(f"more than {MAX_PATHS} paths", offset=call.start)
            steps.append(Step(call.name, args, paths, conditional, index, call.start))
            if call.name == "symlink" and args:
                made += _new_links(call, args[0], paths, links, len(steps) - 1)
    return UpdaterScript(data, statements, tuple(steps), tuple(made))


def _new_links(
    call: Call,
    target: str | None,
    paths: tuple[str | None, ...],
    links: dict[str, str],
    step: int,
) -> Iterator[Link]:
    for path in paths:
        if path is None or target is None:
            raise ImageError("a link that differs from phone to phone", offset=call.start)
        if len(links) >= MAX_LINKS:
            raise ImageError(f"more than {MAX_LINKS} links", offset=call.start)
        links[path] = target
        yield Link(path, target, step)


_PATH_ARGS: dict[str, tuple[int, int | None, bool]] = {
    "package_extract_dir": (1, 2, True),
    "package_extract_file": (1, 2, True),
    "symlink": (1, None, False),
    "set_perm": (3, None, True),
    "set_perm_recursive": (4, None, False),
    "set_metadata": (0, 1, True),
    "set_metadata_recursive": (0, 1, False),
    "delete": (0, None, False),
    "delete_recursive": (0, None, False),
    "rename": (0, 2, False),
    "mount": (3, 4, True),
    "unmount": (0, 1, True),
    "format": (4, 5, True),
    "apply_patch": (0, 2, True),
}
"""Which arguments are device paths, and whether the last name is followed if it is a link."""


def _paths(name: str, args: tuple[str | None, ...], links: dict[str, str]) -> Iterator[str | None]:
    start, stop, follow = _PATH_ARGS.get(name, (0, 0, False))
    for arg in args[start:stop]:
        yield None if arg is None else resolve(arg, links, follow=follow)


def extracted_by(step: Step, zip_path: str) -> str | None:
    """Return where a step writes an entry of the package, or None."""
    if not step.paths or step.paths[0] is None or step.args[0] is None:
        return None
    source = step.args[0]
    if step.name == "package_extract_file":
        return step.paths[0] if source == zip_path else None
    if step.name != "package_extract_dir":
        return None
    prefix = source.rstrip("/") + "/" if source else ""
    if not zip_path.startswith(prefix) or zip_path == prefix:
        return None
    return f"{step.paths[0].rstrip('/')}/{zip_path[len(prefix) :]}"


def number(text: str | None) -> int | None:
    """Return a C integer literal as ``strtoul`` with base 0 reads it, or None.

    >>> number("0755") == 0o755
    True
    """
    if text is None or len(text) > 24:
        return None
    if re.fullmatch(r"0[0-7]*", text):
        return int(text, 8)
    if re.fullmatch(r"0[xX][0-9A-Fa-f]+", text):
        return int(text, 16)
    return int(text) if re.fullmatch(r"[1-9][0-9]*", text) else None


def _changes(step: Step, directory: bool, through_link: bool) -> Permissions | None:
    """Return what a step that reaches a path changes there, or None if that is not known."""
    if not step.name.startswith("set_metadata"):
        mode = step.args[2 if directory or step.name == "set_perm" else 3]
        uid, gid, bits = number(step.args[0]), number(step.args[1]), number(mode)
        return None if uid is None or gid is None or bits is None else Permissions(uid, gid, bits)
    pairs = step.args[1:]
    if len(pairs) % 2 or None in pairs:
        return None
    values = dict(zip(pairs[::2], pairs[1::2], strict=True))
    if through_link:
        values = {key: value for key, value in values.items() if key in ("uid", "gid", "mode")}
    # The mode for files or folders alone is applied behind the one for both.
    mode_key = "dmode" if directory else "fmode"
    mode = values.get(mode_key if mode_key in values else "mode")
    capabilities = None if directory else values.get("capabilities")
    texts = (values.get("uid"), values.get("gid"), mode, capabilities)
    decimal = all(text is None or re.fullmatch("[0-9]{1,10}", text) for text in texts[:2])
    if not decimal or any(text is not None and number(text) is None for text in texts[2:]):
        return None
    return Permissions(
        uid=None if texts[0] is None else int(texts[0]),
        gid=None if texts[1] is None else int(texts[1]),
        mode=number(mode),
        label=values.get("selabel"),
        capabilities=number(capabilities),
    )


def _fields(step: Step) -> tuple[str, ...]:
    """Return the permissions that a step may change whatever its arguments are."""
    metadata = step.name.startswith("set_metadata")
    return PERMISSION_FIELDS if metadata else PERMISSION_FIELDS[:3]


def _over(below: Permissions, above: Permissions) -> Permissions:
    """Return the permissions after those ``above`` were set."""
    changes = {name: getattr(above, name) for name in PERMISSION_FIELDS}
    return replace(below, **{name: value for name, value in changes.items() if value is not None})
