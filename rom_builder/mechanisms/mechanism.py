"""What a mechanism is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from rom_builder.edits import Change
from rom_builder.facts import Value
from rom_builder.findings import Link, Location, Strength
from rom_builder.policy.profile import Binding
from rom_builder.readers.packages import Packages
from rom_builder.registry import Registry
from rom_builder.rom import Rom


@dataclass(frozen=True, slots=True)
class Found:
    """What one place in a ROM says.

    Attributes:
        label: The setting in words.
        values: What is set; empty if the place exists and sets nothing.
        strength: What the place proves.
        chain: The places that led to the value, the last one wins; empty where one decides.
        doubt: Why nobody can tell the value from the ROM; there are no values then.
    """

    label: str
    values: tuple[Value, ...]
    location: Location
    strength: Strength
    chain: tuple[Link, ...] = ()
    doubt: str = ""


class Mechanism(Protocol):
    """One way of configuring a service."""

    @property
    def options(self) -> type[Binding]:
        """Model of what a profile says to use it."""
        ...

    def read(self, rom: Rom, packages: Packages, binding: Any) -> Iterator[Found]:
        """Yield what the ROM sets for one binding of a profile.

        Raises:
            ImageError: A file that must be read is damaged.
        """
        ...

    def render(
        self, rom: Rom, packages: Packages, binding: Any, values: tuple[Value, ...]
    ) -> Iterator[Change]:
        """Yield the edits after which :meth:`read` finds ``values``; none if it does already.

        What no edit of configuration can reach is an :class:`rom_builder.edits.Obstacle`.

        Raises:
            ImageError: A file that must be read is damaged.
        """
        ...


MECHANISMS: Registry[Mechanism] = Registry("rom_builder.mechanisms")
K = TypeVar("K", bound=Callable[[], Mechanism])


def mechanism(name: str) -> Callable[[K], K]:
    """Register a class, made once, as the mechanism ``name``."""

    def join(kind: K) -> K:
        MECHANISMS.register(name)(kind())
        return kind

    return join


def binding_models() -> dict[str, type[Binding]]:
    """Return the option model of each mechanism, by name, for loading profiles."""
    return {name: mechanism.options for name, mechanism in MECHANISMS.items()}
