"""The example ROM as a package of phones without slots: files, and a script that puts them in place."""

from __future__ import annotations

from pathlib import Path

from rom_builder.formats.zip_writer import ZipWriter

DEMO = Path(__file__).parent.parent / "examples" / "demo"
FIXTURE = Path(__file__).parent / "fixtures" / "file_based"
FIXED_APP = DEMO / "Messaging-2.0.apk"
BUILD_PROP = b"\n# Messaging is on from the first start\nro.messaging.default=on\n"


def file_based() -> dict[str, bytes]:
    """Return the entries of the package by name, sorted: all apps and settings lie in the system."""
    trees = {"system": DEMO / "system" / "system", "": FIXTURE}
    files = {
        f"{top}/{path.relative_to(tree).as_posix()}".lstrip("/"): path.read_bytes()
        for top, tree in trees.items()
        for path in tree.rglob("*")
        if path.is_file()
    }
    product = DEMO / "product"
    for path in (*(product / "priv-app").rglob("*"), *(product / "etc/permissions").iterdir()):
        if path.is_file():
            files[f"system/{path.relative_to(product).as_posix()}"] = path.read_bytes()
    files["system/build.prop"] += BUILD_PROP
    return dict(sorted(files.items()))


def write_tree(folder: Path) -> Path:
    """Write the package unpacked."""
    for name, data in file_based().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def write_package(path: Path) -> Path:
    """Write the package, unsigned."""
    with path.open("w+b") as file:
        package = ZipWriter(file)
        for name, data in file_based().items():
            package.add(name, data, compress=True)
        package.close()
    return path
