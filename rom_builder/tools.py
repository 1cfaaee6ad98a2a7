"""The only place that starts another program."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence

from rom_builder.errors import ToolError

STDERR_LINES = 5
"""Lines of a failed program's error output that an error message keeps."""


def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout: float = 60.0,
    environment: Mapping[str, str] | None = None,
) -> bytes:
    """Run a program without a shell and return its standard output.

    Args:
        argv: Program and arguments; must never hold a secret.
        stdin: Bytes given on standard input.
        timeout: Seconds after which the program is killed.
        environment: The whole environment of the program; None passes the caller's on.

    Raises:
        ToolError: The program is missing, was killed or exited with anything but 0.
    """
    program = shutil.which(argv[0])
    if program is None:
        raise ToolError(f"{argv[0]}: program not found", argv=argv)
    try:
        done = subprocess.run(
            [program, *argv[1:]],
            input=stdin,
            capture_output=True,
            timeout=timeout,
            env=None if environment is None else dict(environment),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{argv[0]}: no answer after {timeout:g} s", argv=argv) from error
    except OSError as error:
        raise ToolError(f"{argv[0]}: {error.strerror}", argv=argv) from error
    if done.returncode:
        stderr = "\n".join(done.stderr.decode(errors="replace").splitlines()[-STDERR_LINES:])
        raise ToolError(
            f"{argv[0]}: exit code {done.returncode}: {stderr}",
            argv=argv,
            exit_code=done.returncode,
            stderr=stderr,
        )
    return done.stdout
