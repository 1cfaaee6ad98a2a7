"""What can be known of the value in a register or a field, while a method is walked."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import NamedTuple, Protocol

from rom_builder.formats.dex_instructions import Instruction


class Answer(NamedTuple):
    """The result of a gate: true means yes, unless negated.

    Attributes:
        gate: Which gate of the profile.
        stored: It was kept in a field, and may have changed since.
    """

    gate: int
    negated: bool = False
    stored: bool = False

    @property
    def no(self) -> int:
        """The value that stands for a no."""
        return 1 if self.negated else 0


class Text(NamedTuple):
    """A string constant that a gate reads by."""

    gate: int


class Loaded(NamedTuple):
    """The value of a field: the register that holds its object (-1 for static), and its index."""

    holder: int
    field: int


class NonZero:
    """A value known to be true or not null; there is only :data:`NONZERO`."""

    def __repr__(self) -> str:
        return "nonzero"


NONZERO = NonZero()

Value = int | Answer | Text | Loaded | NonZero
Known = dict[int | tuple[int, int], Value]
"""What is known: of registers, by number, and of fields, by holder and index."""


class Oracle(Protocol):
    """What is asked, on a walk, about what stands outside the method."""

    @property
    def quiet(self) -> Container[int]:
        """Operands of calls whose results are not known, whatever is passed: not asked about."""

    def result(
        self, call: Instruction, known: Mapping[int | tuple[int, int], Value]
    ) -> Value | None:
        """Return what is known of the result of a call, given what is known of its arguments."""

    def text(self, index: int) -> Value:
        """Return what a string constant is, by its index."""

    def field(self, index: int) -> Value | None:
        """Return what is known of the value of a boolean field, by its index."""


class Silent:
    """An oracle that knows nothing."""

    quiet: Container[int] = range(1 << 32)

    def result(self, call: Instruction, known: Mapping[int | tuple[int, int], Value]) -> None:
        """Know nothing of a call."""

    def text(self, index: int) -> Value:
        """Know of a string constant that it is not null."""
        del index
        return NONZERO

    def field(self, index: int) -> None:
        """Know nothing of a field."""
