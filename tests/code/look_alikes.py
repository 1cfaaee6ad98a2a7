"""The look-alikes under ``tests/fixtures/dex`` as programs with a manifest."""

from __future__ import annotations

from pathlib import Path

from rom_builder.code.programs import Component, Program, Unit
from rom_builder.code.scope import Scope
from rom_builder.formats.dex import parse_dex

DEX = Path(__file__).parent.parent / "fixtures" / "dex"

SERVICE = Component("service", "Lcom/example/LookupService;", True, ("com.example.LOOK_UP",))
BOOT = Component(
    "receiver",
    "Lcom/example/BootReceiver;",
    True,
    ("android.intent.action.BOOT_COMPLETED",),
)


def program(name: str, *components: Component) -> Program:
    unit = Unit(f"{name}.apk!/classes.dex", parse_dex((DEX / f"{name}.dex").read_bytes()))
    return Program(f"{name}.apk", [unit], components)


def scope(name: str, *components: Component, library: str | None = None) -> Scope:
    libraries = [program(library)] if library else []
    return Scope(program(name, *(components or (SERVICE,))), libraries)
