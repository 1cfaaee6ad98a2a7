"""The only place that starts another program."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

from rom_builder.errors import ToolError

STDERR_LINES = 5
"""Lines of a failed program's error output that an error message keeps."""
LARGEST_OUTPUT = 64 << 20
"""Bytes of standard output after which a program is stopped, unless the caller expects fewer."""
_KEPT_STDERR = 1 << 16
_PIECE = 1 << 16


def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout: float = 60.0,
    environment: Mapping[str, str] | None = None,
    largest: int = LARGEST_OUTPUT,
) -> bytes:
    """Run a program without a shell and return its standard output.

    The program and whatever it starts are killed when the time is up or the output is too long, so
    that neither a hanging nor an endlessly talking program holds up its caller.

    Args:
        argv: Program and arguments; must never hold a secret.
        stdin: Bytes given on standard input.
        timeout: Seconds after which the program is killed.
        environment: The whole environment of the program; None passes the caller's on.
        largest: Bytes of standard output that are taken.

    Raises:
        ToolError: The program is missing, was killed or exited with anything but 0.
    """
    program = shutil.which(argv[0])
    if program is None:
        raise ToolError(f"{argv[0]}: program not found", argv=argv)
    try:
        process = subprocess.Popen(
            [program, *argv[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if environment is None else dict(environment),
            start_new_session=True,
        )
    except OSError as error:
        raise ToolError(f"{argv[0]}: {error.strerror}", argv=argv) from error
    with process:
        try:
            stdout, said = _communicate(process, argv, stdin, time.monotonic() + timeout, largest)
            process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise ToolError(f"{argv[0]}: no answer after {timeout:g} s", argv=argv) from error
        finally:
            # Whatever it left running has no business any more.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        stderr = "\n".join(said.decode(errors="replace").splitlines()[-STDERR_LINES:])
        raise ToolError(
            f"{argv[0]}: exit code {process.returncode}: {stderr}",
            argv=argv,
            exit_code=process.returncode,
            stderr=stderr,
        )
    return stdout


def _communicate(
    process: subprocess.Popen[bytes],
    argv: Sequence[str],
    stdin: bytes,
    deadline: float,
    largest: int,
) -> tuple[bytes, bytes]:
    """Feed a program and return its output and the end of its error output, until both are closed.

    Raises:
        subprocess.TimeoutExpired: The deadline passed.
        ToolError: It wrote more than ``largest`` bytes.
    """
    assert process.stdin is not None  # noqa: S101 - all three are pipes
    assert process.stdout is not None  # noqa: S101
    assert process.stderr is not None  # noqa: S101
    stdout, stderr = bytearray(), bytearray()
    rest = memoryview(stdin)
    os.set_blocking(process.stdin.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdin, selectors.EVENT_WRITE)
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(argv, 0)
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    rest = rest[_fed(key.fd, rest) :]
                    if not rest:
                        selector.unregister(process.stdin)
                        _close(process.stdin)
                    continue
                piece = os.read(key.fd, _PIECE)
                if not piece:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    stdout += piece
                    if len(stdout) > largest:
                        raise ToolError(
                            f"{argv[0]}: wrote more than {largest} bytes and was stopped", argv=argv
                        )
                else:
                    stderr = (stderr + piece)[-_KEPT_STDERR:]
    return bytes(stdout), bytes(stderr)


def _fed(descriptor: int, data: memoryview) -> int:
    """Write what fits into a pipe; a program that does not read gets no more, which is its choice."""
    try:
        return os.write(descriptor, data[:_PIECE])
    except BlockingIOError:
        return 0
    except BrokenPipeError:
        return len(data)


def _close(stream: object) -> None:
    with contextlib.suppress(OSError):
        stream.close()  # type: ignore[attr-defined]
