"""Measure ``inspect`` and ``check`` of a full A/B package: time and peak memory.

The package is made around a tree of files: EROFS (lz4hc) under a hash tree, its payload cut into
operations of 2 MiB that are compressed with xz where that makes them smaller.
"""

from __future__ import annotations

import argparse
import lzma
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from bench.measure import cost, report, table
from bench.synthetic_tree import write_tree
from tests.ab_package import sealed, written
from tests.formats.builders import vbmeta as build
from tests.formats.builders.payload import BLOCK, REPLACE, REPLACE_XZ, Op, Part, Spec
from tests.signing_material import key

OPERATION = 512 * BLOCK
GOAL = 300
"""MiB that reading a package may take at its peak."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.inspect_ota", description=__doc__)
    parser.add_argument(
        "tree", nargs="?", type=Path, help="a /system; a synthetic one if not given"
    )
    parser.add_argument("--package", type=Path, help="a package that exists, instead of a tree")
    parser.add_argument("--keep", type=Path, help="where to leave the package that was made")
    parser.add_argument("--mebibytes", type=int, default=300, help="size of the synthetic tree")
    parser.add_argument("--files", type=int, default=3000, help="files of the synthetic tree")
    parser.add_argument("--policy", default="rom-baseline")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="add the result to bench/results/")
    arguments = parser.parse_args()
    if arguments.package is None and shutil.which("mkfs.erofs") is None:
        print("packages are not measured: mkfs.erofs not found")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure(arguments.package or made(folder, arguments), arguments)


def made(folder: Path, arguments: argparse.Namespace) -> Path:
    """Write the package."""
    root = folder / "root"
    if arguments.tree is None:
        write_tree(root, mebibytes=arguments.mebibytes, files=arguments.files)
    else:
        shutil.copytree(arguments.tree, root / "system", symlinks=True)
    image = folder / "system.img"
    command = ("mkfs.erofs", "-zlz4hc", "--all-root", image, root)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    package = package_of(folder, image.read_bytes())
    if arguments.keep:
        shutil.copyfile(package, arguments.keep)
    return package


def package_of(folder: Path, system: bytes) -> Path:
    """Put an image into a signed payload and that into a package."""
    avb_key, payload_key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    tree_size = len(system) // 100 // BLOCK * BLOCK
    system, item = sealed("system", system, (len(system) // BLOCK + 64) * BLOCK + tree_size)
    images = {"system": system, "vbmeta": build.vbmeta(item, avb_key).ljust(2 * BLOCK, b"\0")}
    spec = Spec(
        [Part(name, data, operations(data)) for name, data in images.items()],
        sign=lambda digest: payload_key.sign(digest, padding.PKCS1v15(), utils.Prehashed(SHA256())),
    )
    otacert = key().certificate.public_bytes(Encoding.PEM)
    return written(folder / "base.zip", spec.build(), otacert)


def operations(image: bytes) -> list[Op]:
    found = []
    for start in range(0, len(image), OPERATION):
        data = image[start : start + OPERATION]
        packed = lzma.compress(data, check=lzma.CHECK_NONE, preset=0)
        extent = [(start // BLOCK, len(data) // BLOCK)]
        smaller = len(packed) < len(data)
        kind, blob = (REPLACE_XZ, packed) if smaller else (REPLACE, data)
        found.append(Op(kind, data, extent, blob=blob))
    return found


def measure(package: Path, arguments: argparse.Namespace) -> None:
    program = (sys.executable, "-m", "rom_builder")
    costs = [
        cost("inspect", (*program, "inspect", str(package)), runs=arguments.runs),
        cost(
            f"check -p {arguments.policy}",
            (*program, "check", str(package), "-p", arguments.policy),
            runs=arguments.runs,
            expected=(0, 1, 2),
        ),
    ]
    peak = max(each.peak_mib for each in costs)
    verdict = "kept" if peak <= GOAL else "MISSED"
    lines = [*table(costs), "", f"Peak memory: {peak:.0f} MiB, goal at most {GOAL} MiB: {verdict}."]
    title = f"a full A/B package of {package.stat().st_size / 2**20:.0f} MiB"
    report(title, lines, save=arguments.save)


if __name__ == "__main__":
    main()
