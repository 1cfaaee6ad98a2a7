"""A build that is killed at any moment: no package, or the whole one."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rom_builder.cli import main
from rom_builder.files import write_whole

EXAMPLE = Path(__file__).parent.parent / "examples" / "demo"
APP = f"/product/priv-app/Messaging/Messaging.apk={EXAMPLE / 'Messaging-2.0.apk'}"
PROOF = {"out.zip.cdx.json", "out.zip.intoto.jsonl"}
"""What appears beside a package, and before it."""
STEPS = ("open", "plan", "pack", "check", "sign", "verify", "attest")
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
MOMENTS = {
    **{
        f"step {step}": f"""
echo = click.echo
def tell(text='', **more):
    echo(text, **more)
    if text == '{step} ...': {KILL}
click.echo = tell
"""
        for step in STEPS
    },
    "half of the payload": f"""
from rom_builder.formats.payload.writer import PayloadWriter
whole = PayloadWriter.pieces
def pieces(self):
    for number, piece in enumerate(whole(self)):
        if number == 4: {KILL}
        yield piece
PayloadWriter.pieces = pieces
""",
    "a partition half copied": f"""
import rom_builder.formats.source as module
import rom_builder.packing.partitions as user
whole = module.spooled
def spooled(pieces):
    def some():
        for piece in pieces:
            yield piece[:1000]
            {KILL}
    return whole(some())
user.spooled = spooled
""",
    "before the file is on the disk": f"os.fsync = lambda _: {KILL}",
    "before it gets its name": f"os.replace = lambda *_: {KILL}",
    "after it got its name": f"""
replace = os.replace
def renamed(*names):
    replace(*names)
    if str(names[1]).endswith('out.zip'): {KILL}
os.replace = renamed
""",
    "after its attestations got theirs": f"""
replace = os.replace
def renamed(*names):
    replace(*names)
    if str(names[1]).endswith('.intoto.jsonl'): {KILL}
os.replace = renamed
""",
}
"""What kills the build, as lines of a program that runs before it."""


def words(output: Path) -> list[str]:
    return [
        *("build", str(EXAMPLE / "pine-4118.zip"), "-p", "messaging-opt-in", "-s", "dev"),
        *("--replace", APP, "-o", str(output)),
    ]


def start(output: Path, program: str = "") -> subprocess.Popen[bytes]:
    setup = "import os, signal, click\nfrom rom_builder.cli import run\n"
    command = [sys.executable, "-c", f"{setup}{program}\nrun()", *words(output)]
    folder = {"TMPDIR": str(output.parent / "tmp")}
    (output.parent / "tmp").mkdir(exist_ok=True)
    return subprocess.Popen(
        command, env={**os.environ, **folder}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def assert_nothing_or_whole(output: Path, older: bytes | None = None) -> None:
    """Nothing has the output's name, or the older file, or a whole package; the rest is named."""
    left = names_beside(output) - {output.name, *PROOF}
    assert all(name.startswith(f".{output.name}.") and name.endswith(".part") for name in left)
    assert len(left) <= 2
    assert list((output.parent / "tmp").iterdir()) == []
    if output.exists() and output.read_bytes() != older:
        assert main(["verify", str(output)]) == 0
        assert main(["check", str(output), "-p", "messaging-opt-in"]) == 0
        assert_is_proved(output)


def names_beside(output: Path) -> set[str]:
    return {path.name for path in output.parent.iterdir()} - {"tmp"}


def assert_is_proved(output: Path) -> None:
    """Every statement beside a package is about that package."""
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    lines = output.with_name("out.zip.intoto.jsonl").read_bytes().splitlines()
    for line in lines:
        statement = json.loads(base64.b64decode(json.loads(line)["payload"]))
        assert statement["subject"][0]["digest"]["sha256"] == digest
    assert len(lines) == 2


@pytest.mark.parametrize("moment", MOMENTS)
def test_no_moment_leaves_half_a_package(moment: str, tmp_path: Path) -> None:
    output = tmp_path / "out.zip"
    output.write_bytes(b"older")
    assert start(output, MOMENTS[moment]).wait() == -signal.SIGKILL
    assert (output.read_bytes() == b"older") is (moment != "after it got its name")
    assert_nothing_or_whole(output, b"older")
    # The next build removes what the killed one left.
    assert main(words(output)) == 0
    assert names_beside(output) == {output.name, *PROOF}
    assert main(["verify", str(output)]) == 0
    assert_is_proved(output)


def test_no_random_time_leaves_half_a_package(tmp_path: Path) -> None:
    output = tmp_path / "out.zip"
    begun = time.monotonic()
    assert start(output).wait() == 0
    whole = time.monotonic() - begun
    output.unlink()
    chance = random.Random(4118)
    for _ in range(8):
        build = start(output)
        time.sleep(whole * chance.uniform(0.2, 1.1))
        build.kill()
        build.wait()
        assert_nothing_or_whole(output)
        output.unlink(missing_ok=True)


def test_a_file_that_another_process_writes_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.zip"
    with write_whole(path) as first:
        first.write(b"first")
        with write_whole(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
        assert len(list(tmp_path.iterdir())) == 2
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_only_files_of_that_name_are_removed(tmp_path: Path) -> None:
    stale = tmp_path / ".out.zip.abcdefgh.part"
    others = [tmp_path / ".out.zip.part.txt", tmp_path / ".other.zip.abcdefgh.part", tmp_path / "x"]
    for path in (stale, *others):
        path.write_bytes(b"")
    with write_whole(tmp_path / "out.zip") as file:
        file.write(b"new")
    assert set(tmp_path.iterdir()) == {*others, tmp_path / "out.zip"}
