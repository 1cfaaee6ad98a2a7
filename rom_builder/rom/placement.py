"""Where the device has what an input names: the mount point of each container of files."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache

from rom_builder.formats.updater_script import UpdaterScript
from rom_builder.rom.containers import MOUNTED, Partition

PASSING = ("/dev/", "/tmp/")  # noqa: S108 - of the device
"""Where a script puts images and programs on their way: nothing stays there as a file."""

Place = Callable[[str], str | None]
"""From a name in a container to the device path, None for what is not installed."""

TARGET_FILES = {"ROOT": "", "DATA": "/data"} | {name.upper(): f"/{name}" for name in MOUNTED}
"""Top folders of a target-files package."""
APP_FOLDERS = ("app", "priv-app", "overlay")
"""Folders of a partition in which the platform looks for apps."""
UNPACKED = (*MOUNTED, "data")
"""Top folders of an unpacked ROM that are partitions of their own."""


def nowhere(_: str) -> None:
    """Place a file nowhere: it is not installed."""


def below(point: str) -> Place:
    """Place files below a mount point."""
    return lambda name: f"{point}/{name}"


def of_package(names: Collection[str], script: UpdaterScript | None) -> Place:
    """Return where a folder, zip or tar has its files.

    A package's script says it. A target-files package has a folder for each partition, in capitals.
    An unpacked ROM is told by its folders: ``system/system`` means that ``system/`` is the root file
    system (system-as-root); a ``build.prop`` beside ``app`` means that the folder is the system
    partition itself; any other folder that is named as a partition, or has apps where a partition has
    them, is one. All of it may lie in one folder more, as in the archives that GitHub makes.
    """
    if script is not None:

        @cache
        def by_script(name: str) -> str | None:
            places = reversed(script.extracted(name))
            return next((path for path in places if not path.startswith(PASSING)), None)

        return by_script
    tops = {name.split("/", 1)[0] for name in names}
    if is_target_files(names):
        return _target_files
    if "system" not in tops and "build.prop" in tops and tops & {"app", "priv-app", "framework"}:
        return lambda name: f"/system/{name}"
    if len(tops) == 1 and not tops & {*UNPACKED, *TARGET_FILES, "META-INF"}:
        return _of_wrapped(f"{min(tops)}/", names)
    root = "system/system" in names
    partitions = {*UNPACKED, *tops_with_apps(names)}

    def by_folder(name: str) -> str | None:
        top, _, rest = name.partition("/")
        if top == "system" and root:
            return f"/{rest}" if rest else None
        return f"/{name}" if top in partitions else None

    return by_folder


def tops_with_apps(names: Collection[str]) -> set[str]:
    """Return the top folders that have apps or overlays where a vendor's own partition has them."""
    parts = (name.split("/") for name in names if name.endswith(".apk"))
    return {each[0] for each in parts if len(each) > 2 and each[1] in APP_FOLDERS}


def _of_wrapped(wrapper: str, names: Collection[str]) -> Place:
    place = of_package({name.removeprefix(wrapper) for name in names if name != wrapper[:-1]}, None)
    return lambda name: place(name.removeprefix(wrapper)) if name.startswith(wrapper) else None


def is_target_files(names: Collection[str]) -> bool:
    """Say whether files are those of a target-files package.

    ``META/misc_info.txt`` alone may lie beside the images of a build to tell how they were made.
    """
    return "META/misc_info.txt" in names and any(
        name.startswith(("IMAGES/", "RADIO/", "BOOT/", *(f"{top}/" for top in TARGET_FILES)))
        for name in names
    )


def _target_files(name: str) -> str | None:
    top, _, rest = name.partition("/")
    if top not in TARGET_FILES:
        return None
    folder = TARGET_FILES[top]
    return f"{folder}/{rest}" if rest else folder or None


def of_partition(partition: Partition, names: Collection[str]) -> str | None:
    """Return the mount point of a partition image, ``""`` for the root; None if it has none.

    The system image is the root file system if it holds a ``system`` folder with a ``build.prop``. An
    image that has no known name is told by what it holds.
    """
    if partition.boot is not None:
        return None
    name = partition.name if partition.name in MOUNTED else guess(names)
    if name == "system" and "system/build.prop" in names:
        return ""
    return f"/{name}" if name else None


def of_vendor(partition: Partition, names: Collection[str]) -> str | None:
    """Return the mount point of a partition of the vendor's own that has apps, None if it has none."""
    has_apps = bool(tops_with_apps([f"{partition.name}/{name}" for name in names]))
    return f"/{partition.name}" if partition.name not in MOUNTED and has_apps else None


def guess(names: Collection[str]) -> str | None:
    """Return the partition that a file system looks like, None if like none."""
    if "system/build.prop" in names or ("build.prop" in names and "framework" in names):
        return "system"
    if "build.prop" in names and "lib/hw" in names:
        return "vendor"
    return "product" if "etc/build.prop" in names and "overlay" in names else None
