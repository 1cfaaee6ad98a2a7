"""Adds files to an updater-script: the lines a new file needs, and not a byte changed elsewhere.

A file in a folder that ``package_extract_dir`` unpacks is written without a line of its own, but
its owner and mode come from calls made for other files. What is added goes behind the last call
that could set them, and in the script's own style; ``package_extract_file`` is added only where
nothing unpacks the file. Where the script would undo the file again, or cannot be followed, nothing
is edited: a phone that does not boot is worse than no package.

A program that the script runs is taken not to touch a path it is not given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rom_builder.errors import ImageError
from rom_builder.formats.device_path import ancestors, resolve
from rom_builder.formats.edify import quote
from rom_builder.formats.updater_script import (
    PERMISSION_CALLS,
    Step,
    UpdaterScript,
    extracted_by,
    parse_updater_script,
)

_HARMLESS = frozenset(
    {
        *("abort", "assert", "concat", "ifelse", "is_substring", "sleep", "stdout", "ui_print"),
        *("less_than_int", "greater_than_int", "getprop", "file_getprop", "is_mounted", "unmount"),
        *("show_progress", "set_progress", "sha1_check", "read_file", "package_extract_file"),
        *("apply_patch_check", "apply_patch_space", "wipe_cache"),
    }
)
"""Calls of AOSP's updater that change no file whatever they are given."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be installed.

    Attributes:
        zip_path: Name of its entry in the package.
        device_path: Where it is installed: absolute, no link on the way.
        uid: Owner.
        gid: Group.
        mode: Permission bits.
        label: SELinux label; None leaves it to recovery and the calls for the folder.
    """

    zip_path: str
    device_path: str
    uid: int = 0
    gid: int = 0
    mode: int = 0o644
    label: str | None = None


def with_files(script: UpdaterScript, files: Sequence[NewFile]) -> bytes:
    """Return the script that also installs ``files``; those it installs rightly add nothing.

    Raises:
        ImageError: A path that is a link or below one, a later step that removes or overwrites the
            file or may do so, or a script in which no safe place is found. Nothing is edited then.
    """
    if len({file.device_path for file in files}) != len(files):
        raise ImageError("the same device path is given twice")
    added: dict[int, list[str]] = {}
    for file in files:
        statement, lines = _lines_for(script, file)
        added.setdefault(statement, []).extend(lines)
    data = _insert(script, added)
    if data != script.data:
        edited = parse_updater_script(data)
        for file in files:
            if _lines_for(edited, file)[1]:
                raise _refuse(file, "the lines that were added do not have their effect")
    return data


def _refuse(
    file: NewFile, message: str, step: Step | None = None, hint: str | None = None
) -> ImageError:
    return ImageError(
        f"{file.device_path} cannot be added: {message}",
        offset=step.offset if step else None,
        hint=hint or "install the file at another path, or edit the script by hand",
    )


def _lines_for(script: UpdaterScript, file: NewFile) -> tuple[int, list[str]]:
    """Return the lines a file needs and the index of the statement they go behind."""
    _check(script, file)
    makes = [
        index
        for index, step in enumerate(script.steps)
        if extracted_by(step, file.zip_path) == file.device_path
    ]
    sure = [index for index in makes if not script.steps[index].conditional]
    if makes and not sure:
        step = script.steps[makes[-1]]
        raise _refuse(file, "whether it is unpacked depends on the phone", step)
    if not sure:
        return _lines_to_extract(script, file)
    made = sure[-1]
    touching = [made]
    device = _device(script, file, made)
    for index, step in enumerate(script.steps[made + 1 :], made + 1):
        harm = _harm(step, file, device)
        if harm:
            raise _refuse(file, f"a later step {harm}", step)
        if script.permits(step, file.device_path) != "no":
            touching.append(index)
    if _has_permissions(script, file, made + 1):
        return 0, []
    return _behind(script, file, touching[-1]), [_permission_line(script, file)]


def _lines_to_extract(script: UpdaterScript, file: NewFile) -> tuple[int, list[str]]:
    elsewhere = script.extracted(file.zip_path)
    if elsewhere:
        raise _refuse(
            file,
            f"the script unpacks {file.zip_path} to {elsewhere[0]}",
            hint="give the entry another name in the package",
        )
    folder = ancestors(file.device_path)[1]
    device = _device(script, file)
    point = _mount_point(script, file.device_path)
    touching: list[int] = []
    there: list[int] = []
    for index, step in enumerate(script.steps):
        if _harm(step, file, device):
            there.clear()
            touching.append(index)
        elif script.permits(step, file.device_path) != "no" or (
            step.name == "mount" and point in step.paths
        ):
            touching.append(index)
        if _needs_folder(step, folder):
            there.append(index)
    if not there:
        raise _refuse(
            file,
            f"nothing in the script shows that the folder {folder} is there",
            hint="install the file in a folder that package_extract_dir unpacks",
        )
    extract = f"package_extract_file({quote(file.zip_path)}, {quote(file.device_path)});"
    statement = _behind(script, file, max(there[0], *touching, 0))
    return statement, [extract, _permission_line(script, file)]


def _check(script: UpdaterScript, file: NewFile) -> None:
    for path, name in ((file.device_path, file.device_path), (file.zip_path, f"/{file.zip_path}")):
        if name == "/" or resolve(name, {}) != name:
            raise _refuse(file, f"{path!r} is not a plain path")
        quote(path)
    if not (0 <= file.uid < 1 << 31 and 0 <= file.gid < 1 << 31 and 0 <= file.mode <= 0o7777):
        raise _refuse(file, f"owner {file.uid}:{file.gid}, mode {file.mode:o} are not possible")
    above = ancestors(file.device_path)
    for link in script.made_links:
        step = script.steps[link.step]
        if link.path in above:
            real = script.resolve(file.device_path)
            hint = f"install it at its real path {real}"
            raise _refuse(file, f"{link.path} is a link to {link.target}", step, hint)
        if file.device_path in ancestors(link.path):
            raise _refuse(file, f"the script makes the link {link.path} below it", step)
    if script.style is None:
        raise _refuse(file, "the script sets no permissions, so its way of doing so is not known")
    if file.label is not None and script.style == "set_perm":
        hint = "leave the label out: recovery labels files by its own file_contexts"
        raise _refuse(file, "set_perm cannot set an SELinux label", hint=hint)


def _mount_point(script: UpdaterScript, path: str) -> str | None:
    """Return the longest mount point above a path that the script names."""
    above = ancestors(path)
    points = [
        point
        for step in script.steps
        if step.name in ("mount", "unmount", "format")
        for point in step.paths
        if point in above
    ]
    return max((point for point in points if point), key=len, default=None)


def _device(script: UpdaterScript, file: NewFile, until: int | None = None) -> str | None:
    """Return the device the file's partition was last mounted from before a step."""
    point = _mount_point(script, file.device_path)
    for step in reversed(script.steps[:until]):
        if step.name == "mount" and point in step.paths and len(step.args) == 4:
            return step.args[2]
    return None


def _harm(step: Step, file: NewFile, device: str | None) -> str | None:
    """Return how a step made behind the file could undo it, or None."""
    path = file.device_path
    above = ancestors(path)
    name = step.name
    unknown = "acts on a path that depends on the phone" if None in step.paths else None
    if name in PERMISSION_CALLS:
        return None
    if name == "delete":
        return "deletes it" if path in step.paths else unknown
    if name in ("delete_recursive", "rename", "symlink"):
        return f"removes or replaces it ({name})" if _any(step.paths, above) else unknown
    if name in ("package_extract_file", "package_extract_dir") and len(step.args) == 2:
        if extracted_by(step, file.zip_path) == path:
            return None
        reached = step.paths[0] in (above[1:] if name == "package_extract_dir" else above[:1])
        return f"may overwrite it with an entry of {step.args[0]}" if reached else unknown
    if name in ("format", "write_raw_image", "block_image_update"):
        place = {"format": 2, "write_raw_image": 1, "block_image_update": 0}[name]
        target = step.args[place] if place < len(step.args) else None
        same = target is None or target == device or _any(step.paths, above)
        return f"overwrites its partition ({name})" if same else unknown
    if name == "mount":
        source = step.args[2] if len(step.args) == 4 else None
        hidden = _any(step.paths, above) and (device is None or source != device)
        return "mounts another partition over it" if hidden else unknown
    if name == "apply_patch":
        return "patches it" if path in step.paths else unknown
    if name in _HARMLESS:
        return None
    return f"runs {name} on it" if _names(step, above) and not _mount_program(step) else None


def _any(paths: Iterable[str | None], above: tuple[str, ...]) -> bool:
    return any(path in above for path in paths)


def _names(step: Step, above: tuple[str, ...]) -> bool:
    """Return whether a call of an unknown kind is given a path or a folder above it."""
    program = step.name == "run_program"
    args = step.args[1:] if program else step.args
    if program and None in args:
        return True
    words = [word for arg in args if arg for word in re.findall(r"/[^\s\"'=:;,()&|<>]+", arg)]
    # A pattern such as /system/app/* stands for everything in its folder.
    folders = [re.split(r"[*?\[{]", word)[0].rstrip("/") or "/" for word in words]
    return any(folder in above for folder in folders)


def _mount_program(step: Step) -> str | None:
    """Return ``mount`` or ``umount`` if the step runs that program."""
    if step.name != "run_program":
        return None
    for arg in step.args[:2]:
        name = (arg or "").rpartition("/")[2]
        if name in ("mount", "umount"):
            return name
    return None


def _needs_folder(step: Step, folder: str) -> bool:
    """Return whether a step makes a folder or stops the update where it is missing."""
    if step.conditional or not step.paths or None in step.paths:
        return False
    if step.name in ("package_extract_dir", "mount", "set_perm"):
        return folder in step.paths
    if step.name.startswith("set_metadata"):
        return folder in step.paths
    if step.name == "symlink":
        return any(folder in ancestors(path)[1:] for path in step.paths if path)
    return False


def _has_permissions(script: UpdaterScript, file: NewFile, since: int) -> bool:
    """Whether a line of the file's own sets them: one for its folder may be changed for others."""
    own = (
        step
        for step in script.steps[since:]
        if step.name in ("set_perm", "set_metadata") and file.device_path in step.paths
    )
    if not any(own):
        return False
    try:
        found = script.permissions(file.device_path, since=since)
    except ImageError:
        return False
    return (
        (found.uid, found.gid, found.mode) == (file.uid, file.gid, file.mode)
        and file.label in (None, found.label)
        and not found.capabilities
    )


def _behind(script: UpdaterScript, file: NewFile, index: int) -> int:
    """Return the statement of a step if the file's partition is mounted at its end."""
    point = _mount_point(script, file.device_path)
    statement = script.steps[index].statement
    mounted = True
    for step in script.steps:
        if step.statement > statement:
            break
        unmounts = step.name == "unmount" or _mount_program(step) == "umount"
        mounts = step.name == "mount" or _mount_program(step) == "mount"
        if not (unmounts or mounts):
            continue
        if point in step.paths or point in step.args or None in step.paths:
            mounted = mounts
    if not mounted:
        raise _refuse(
            file, f"{point} is unmounted where its permissions would go", script.steps[index]
        )
    return statement


def _permission_line(script: UpdaterScript, file: NewFile) -> str:
    path = quote(file.device_path)
    if script.style == "set_perm":
        return f"set_perm({file.uid}, {file.gid}, 0{file.mode:o}, {path});"
    line = f'set_metadata({path}, "uid", {file.uid}, "gid", {file.gid}, "mode", 0{file.mode:o}'
    if any("capabilities" in step.args for step in script.steps if step.name in PERMISSION_CALLS):
        line += ', "capabilities", 0x0'
    if file.label is not None:
        line += f', "selabel", {quote(file.label)}'
    return f"{line});"


def _insert(script: UpdaterScript, added: dict[int, list[str]]) -> bytes:
    data = script.data
    line_end = b"\r\n" if b"\r\n" in data else b"\n"
    parts = []
    position = 0
    for index, lines in sorted(added.items()):
        if not lines:
            continue
        statement = script.statements[index]
        written = line_end.join(line.encode() for line in lines)
        rest = re.compile(rb"[ \t\r]*(#[^\n]*)?\n").match(data, statement.end)
        if statement.closed and rest:
            place, written = rest.end(), written + line_end
        else:
            place = statement.end
            written = (b"" if statement.closed else b";") + line_end + written
        parts += [data[position:place], written]
        position = place
    return b"".join([*parts, data[position:]])
