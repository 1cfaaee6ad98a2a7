"""A room's list of what lives in it; modules join with a decorator and are found by import."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Named members of one package, sorted by name.

    On first use every module of the package is imported, so that a new file is enough to add a
    member: no list to edit, no entry point.

    Args:
        package: Dotted name of the package whose modules register themselves.
    """

    def __init__(self, package: str) -> None:
        self._package = package
        self._members: dict[str, T] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that adds what it decorates under ``name``.

        Raises:
            ValueError: The name is taken.
        """

        def join(member: T) -> T:
            if name in self._members:
                raise ValueError(f"{self._package}: {name!r} is registered twice")
            self._members[name] = member
            return member

        return join

    def _load(self) -> dict[str, T]:
        if not self._loaded:
            self._loaded = True
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self._package}.{module.name}")
        return self._members

    def __getitem__(self, name: str) -> T:
        return self._load()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._load()))

    def __len__(self) -> int:
        return len(self._load())
