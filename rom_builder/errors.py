"""What can go wrong, by who can mend it.

::

    RomBuilderError(message, *, hint=None)   shown as one line, then the hint
    + PolicyError      a policy, profile or configuration file is wrong: every problem, with line and column
    + ImageError       an image is damaged, hostile or of an unknown kind: path and byte offset
    + SigningError     a key is absent, wrong, expired, publicly known or refused
    + ToolError        an external program is missing or failed
    + BuildRefused     the package would not meet its policy, or the base cannot be edited safely

Findings and unread parts of a ROM are values (:mod:`rom_builder.findings`), never exceptions.
Mistakes of the programmer stay ``ValueError`` and ``AssertionError``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class RomBuilderError(Exception):
    """Base of every error that a user can act on.

    Args:
        message: One line: what is wrong and where.
        hint: What to do about it, one line.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a text file; line and column count from 1."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class PolicyError(RomBuilderError):
    """A policy, profile or signing profile is wrong; holds every problem found, in file order."""

    def __init__(self, problems: Sequence[Problem], *, hint: str | None = None) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)), hint=hint)


class ImageError(RomBuilderError):
    """An image, package or file inside one is damaged, hostile or of an unknown kind.

    Args:
        message: What is wrong, with the value found and the value expected.
        path: Where, as a nested name such as ``rom.zip!/system/app/X.apk!/AndroidManifest.xml``.
        offset: Byte offset inside ``path`` at which it was noticed.
        hint: What to do about it.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        offset: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.path = path
        self.offset = offset

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        at = f" (at byte {self.offset:#x})" if self.offset is not None else ""
        return f"{where}{self.message}{at}"

    def within(self, path: str) -> ImageError:
        """Return the same error with ``path`` as its place, keeping a place that is already known."""
        if self.path:
            return self
        return ImageError(self.message, path=path, offset=self.offset, hint=self.hint)


class SigningError(RomBuilderError):
    """A key or certificate is absent, wrong, expired, publicly known or refused."""


class ToolError(RomBuilderError):
    """An external program is missing or failed.

    Args:
        message: What was being done.
        argv: The command that was run; never holds a secret.
        exit_code: Its exit code, None if it could not be started.
        stderr: The last lines it wrote.
    """

    def __init__(
        self,
        message: str,
        *,
        argv: Sequence[str] = (),
        exit_code: int | None = None,
        stderr: str = "",
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.argv = tuple(argv)
        self.exit_code = exit_code
        self.stderr = stderr


class BuildRefused(RomBuilderError):
    """Nothing was written, because the package would not meet its policy or could not be made safely."""
