"""Programs are started without a shell, and none of them holds up or floods its caller."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from rom_builder.errors import ToolError
from rom_builder.tools import run


def script(folder: Path, text: str) -> str:
    path = folder / "program"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return str(path)


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    echo = script(tmp_path, "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())")
    assert run([echo], stdin=data) == data


def test_a_program_that_does_not_read_its_input_is_no_error(tmp_path: Path) -> None:
    assert run([script(tmp_path, "print('done')")], stdin=bytes(1 << 20)) == b"done\n"


def test_the_end_of_the_error_output_is_kept(tmp_path: Path) -> None:
    text = "import sys\nfor n in range(9): print('line', n, file=sys.stderr)\nsys.exit(3)"
    with pytest.raises(ToolError, match="exit code 3") as caught:
        run([script(tmp_path, text)])
    assert caught.value.exit_code == 3
    assert caught.value.stderr.splitlines() == [f"line {n}" for n in range(4, 9)]


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ToolError, match="no-such-program: program not found"):
        run(["no-such-program"])


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    child = tmp_path / "child"
    text = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(child)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)"
    )
    start = time.monotonic()
    with pytest.raises(ToolError, match="no answer after 2 s"):
        run([script(tmp_path, text)], timeout=2)
    assert time.monotonic() - start < 60
    assert gone(int(child.read_text()))


def gone(pid: int) -> bool:
    """Whether a process ends within a few seconds; one that nobody waited for counts as ended."""
    for _ in range(100):
        try:
            if ") Z" in Path(f"/proc/{pid}/stat").read_text():
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_a_program_that_never_stops_talking_is_stopped(tmp_path: Path) -> None:
    text = "import sys\nwhile True: sys.stdout.buffer.write(bytes(65536))"
    with pytest.raises(ToolError, match="wrote more than 1000 bytes"):
        run([script(tmp_path, text)], largest=1000)


def test_endless_error_output_takes_no_memory(tmp_path: Path) -> None:
    text = "import sys\nfor _ in range(2000): sys.stderr.write('x' * 4096 + '\\n')\nsys.exit(1)"
    with pytest.raises(ToolError) as caught:
        run([script(tmp_path, text)])
    assert len(caught.value.stderr) < 5 * 4200
