"""Absolute paths on a phone, with symbolic links followed as the kernel follows them."""

from __future__ import annotations

from collections.abc import Mapping

MAX_NAMES = 256
"""Folders and links on the way to one path; real paths stay below 20."""

PATH_MAX = 4096
"""Bytes of a path with its NUL (Linux ``limits.h``)."""

MAX_LINK_HOPS = 40
"""Links the kernel follows in one path (Linux ``MAXSYMLINKS``)."""


def resolve(path: str, links: Mapping[str, str], *, follow: bool = True) -> str | None:
    """Return an absolute path without links, ``.``, ``..`` and doubled slashes.

    Args:
        path: Relative ones start at the root, where the updater runs.
        links: Path of a link, itself resolved but for its last name, to its target.
        follow: The last name as well.

    Returns:
        None for links in a circle, an empty path, and one longer than the kernel takes.
    """
    if not path or len(path) >= PATH_MAX:
        return None
    waiting = path.split("/")[::-1]
    if len(waiting) > MAX_NAMES:
        return None
    done: list[str] = []
    hops = names = 0
    while waiting:
        names += 1
        name = waiting.pop()
        if name in ("", "."):
            continue
        if name == "..":
            del done[-1:]
            continue
        done.append(name)
        target = links.get("/" + "/".join(done))
        if target is None or (not follow and not any(waiting)):
            continue
        hops += 1
        if hops > MAX_LINK_HOPS or len(target) >= PATH_MAX:
            return None
        done = [] if target.startswith("/") else done[:-1]
        waiting += target.split("/")[::-1]
        if len(waiting) + names > MAX_NAMES:
            return None
    return "/" + "/".join(done)


def ancestors(path: str) -> tuple[str, ...]:
    """Return a path and the folders above it, nearest first.

    >>> ancestors("/system/app")
    ('/system/app', '/system', '/')
    """
    parts = path.strip("/").split("/") if path != "/" else []
    return tuple("/" + "/".join(parts[:count]) for count in range(len(parts), -1, -1))
