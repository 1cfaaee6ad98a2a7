"""The names of what a policy demands: ``consent.default``, ``rom.public_keys``, ``attested/retention``."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.policy.models import RomPolicy, Section, ServicePolicy

SECTIONS = ("consent", "transport", "data", "permissions", "apps")
PERMISSIVE = frozenset(("allowed", "optional", "any"))
"""Values that state on purpose that nothing is demanded."""
QUALIFIERS = frozenset(("consent.applies_to",))
"""Fields that say how another one is meant."""
_RENAMED = {"consent.mode": "consent.default"}
"""Fields whose requirement has another name than they have in the file."""


def demanded(service: ServicePolicy) -> Iterator[str]:
    """Yield the name of each requirement that a service's policy states, in the file's order."""
    yield "presence"
    for name in SECTIONS:
        yield from _stated(name, getattr(service, name))
    for statement in sorted(service.attested):
        yield f"attested/{statement}"


def demanded_of_rom(rom: RomPolicy | None) -> Iterator[str]:
    """Yield the name of each requirement on the ROM as a whole."""
    yield from _stated("rom", rom)


def written_as(name: str) -> str:
    """Return the field, below its service or the file, that states a requirement.

    >>> written_as("consent.default")
    'consent.mode'
    >>> written_as("attested/retention")
    'attested.retention'
    """
    fields = {requirement: field for field, requirement in _RENAMED.items()}
    return fields.get(name, name).replace("/", ".")


def _stated(name: str, section: Section | None) -> Iterator[str]:
    """Yield what each field of a section demands, unless it has its default or permits all."""
    for field, info in type(section).model_fields.items() if section is not None else ():
        value = getattr(section, field)
        path = f"{name}.{field}"
        permitted = isinstance(value, str) and value in PERMISSIVE
        if value != info.default and not permitted and path not in QUALIFIERS:
            yield _RENAMED.get(path, path)
