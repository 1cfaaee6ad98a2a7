"""Constants that are passed on where a choice of the user should be."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.code.flow import constants_at
from rom_builder.code.operations import by_slot, defines
from rom_builder.code.programs import Body
from rom_builder.code.scope import Scope
from rom_builder.code.uses import INVOKES
from rom_builder.facts.code import ConstantChoice, Step
from rom_builder.formats.dex_code import parameter_registers
from rom_builder.formats.dex_instructions import Instruction


def read_constant_choices(service: str, scope: Scope, name: str) -> Iterator[ConstantChoice]:
    """Yield each call that passes the constant true as the choice of that name.

    The choice is what is handed over together with its name (``putExtra(name, choice)``). If it is
    a parameter of the method, the method's callers are looked at.

    Raises:
        ImageError: Code is damaged.
    """
    for site in scope.uses.strings.get(name, ()):
        body = scope.bodies[site.method]
        call = call_with(body, site.address)
        if call is None or not _takes_a_choice(body, call):
            continue
        choice = call.registers[-1]
        if constants_at(body, call.address).get(choice) == 1:
            what = f"{body.title} passes a constant yes as {name!r}"
            yield _constant(service, scope, name, body, Step(what, body.place(call.address)))
            continue
        position = _parameter(body, choice)
        if position is None:
            continue
        for _, caller in scope.callers(body):
            calling = scope.bodies[caller.method]
            each = next(e for e in calling.code.instructions if e.address == caller.address)
            passed = each.registers[position : position + 1]
            if passed and constants_at(calling, caller.address).get(passed[0]) == 1:
                what = f"{calling.title} passes a constant yes as {name!r} to {body.title}"
                step = Step(what, calling.place(caller.address))
                yield _constant(service, scope, name, calling, step)


def _constant(service: str, scope: Scope, name: str, body: Body, step: Step) -> ConstantChoice:
    outer = body.method.ref.owner.partition("$")[0].rstrip(";") + ";"
    component = scope.program.by_class.get(outer)
    by_user = component is not None and component.kind == "activity"
    return ConstantChoice(service, name, by_user, step)


def call_with(body: Body, address: int) -> Instruction | None:
    """Return the first call that takes the string at an address, None if it goes elsewhere first."""
    register: int | None = None
    body.unit.spend(len(body.code.units))
    for each in body.code.instructions:
        if each.address == address:
            register = each.registers[0]
        elif register is not None:
            if each.code in INVOKES and register in each.registers:
                return each
            if by_slot(each.name) and register in each.registers:
                return None
            if each.registers[:1] == (register,) and defines(each.name):
                return None
    return None


def _takes_a_choice(body: Body, call: Instruction) -> bool:
    """Say whether the last argument of a call is a yes or no."""
    return body.unit.ids.method(call.operand).signature.partition(")")[0].endswith("Z")


def _parameter(body: Body, register: int) -> int | None:
    """Return which of a call's registers becomes a parameter that is never written."""
    held = [first for first, _ in parameter_registers(body.method, body.code)]
    written = any(
        each.registers[:1] == (register,)
        and each.name.startswith(("const", "move", "iget", "sget"))
        for each in body.code.instructions
    )
    return register - held[0] if held and register >= held[0] and not written else None
