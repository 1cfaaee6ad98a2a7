"""Controls that turn a service on and off: is one ticked by code, can what is stored be a no."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.code.choices import call_with
from rom_builder.code.flow import constants_at
from rom_builder.code.gates import WRITES, reads
from rom_builder.code.operations import by_slot, defines
from rom_builder.code.programs import Body
from rom_builder.code.scope import Scope
from rom_builder.code.uses import INVOKES
from rom_builder.facts.code import BoxTicked, GateWritten, Step
from rom_builder.formats.dex_ids import parameters
from rom_builder.formats.dex_instructions import Instruction

FINDS = ("findPreference", "findViewWithTag")
"""Calls that return a control by its key."""
TICKS = ("setChecked", "setDefaultValue")
"""Calls that set the state of a control."""


def read_ticks(service: str, scope: Scope, name: str) -> Iterator[BoxTicked]:
    """Yield where code ticks a control by itself.

    That is: it reads the state kept under the name with a default of yes; or it finds the control
    by its key and passes the constant yes to ``setChecked`` on every path through the method. A
    yes on some paths only shows a state that was tested before, and does not count.

    Raises:
        ImageError: Code is damaged.
    """
    found: dict[Step, None] = {}
    for site in scope.uses.strings.get(name, ()):
        body = scope.bodies[site.method]
        call = call_with(body, site.address)
        if call is None:
            continue
        ref = body.unit.ids.method(call.operand)
        kinds = parameters(ref.signature)
        if kinds[-1:] == ["Z"] and ref.returns == "Z" and reads(ref):
            if constants_at(body, call.address).get(call.registers[-1]) == 1:
                what = f"{body.title} takes {name!r} for yes where nothing is stored"
                found[Step(what, body.place(call.address))] = None
        elif ref.name in FINDS:
            found.update(dict.fromkeys(_ticked(scope, body, call, name)))
    for step in found:
        yield BoxTicked(service, name, step)


def _ticked(scope: Scope, body: Body, finds: Instruction, name: str) -> Iterator[Step]:
    """Yield where a control that was found is given the constant yes, whatever was tested."""
    field = _kept_in(body, finds)
    nest = body.method.ref.owner.partition("$")[0].rstrip(";")
    near = [name for name in scope.own if name.startswith((f"{nest};", f"{nest}$"))]
    for other in (other for name in near for other in scope.bodies_of(name)):
        if other is not body and not field:
            continue
        for each in other.code.instructions:
            if each.code not in INVOKES or len(each.registers) != 2:
                continue
            ref = other.unit.ids.method(each.operand)
            if ref.name not in TICKS or not _is_control(other, each, finds, field, other is body):
                continue
            certain = constants_at(other, each.address).get(each.registers[1]) == 1
            if certain and _always_passes(other, each.address):
                what = f"{other.title} ticks {name!r} itself"
                yield Step(what, other.place(each.address))


def _kept_in(body: Body, finds: Instruction) -> str | None:
    """Return the key of the field that a control is stored in right after it was found."""
    held: int | None = None
    for each in body.code.instructions:
        if each.address <= finds.address:
            continue
        if each.name == "move-result-object" and held is None:
            held = each.registers[0]
        elif each.name == "iput-object" and each.registers[0] == held:
            return body.unit.ids.field(each.operand).key
        elif (
            each.code in INVOKES
            or by_slot(each.name)
            or each.name.startswith(("if", "goto", "return"))
        ):
            return None
    return None


def _is_control(
    body: Body, call: Instruction, finds: Instruction, field: str | None, same: bool
) -> bool:
    """Say whether a call's object is the control: fresh from its look-up, or from its field."""
    holder = call.registers[0]
    before = [e for e in body.code.instructions if e.address < call.address]
    for each in reversed(before):
        if each.name == "iget-object" and each.registers[0] == holder:
            return body.unit.ids.field(each.operand).key == field
        if each.name == "move-result-object" and each.registers[0] == holder:
            return same and each.address == finds.address + finds.size
        if each.registers[:1] == (holder,) and defines(each.name):
            return False
    return False


def _always_passes(body: Body, address: int) -> bool:
    """Say whether every way through a method that returns passes an address."""
    graph = body.graph()
    seen, queue = {0}, [0]
    for at in queue:
        if at == address:
            continue
        if graph.at[at].name.startswith("return"):
            return False
        for after in graph.next[at]:
            if after not in seen:
                seen.add(after)
                queue.append(after)
    return address in seen


def read_writes(service: str, scope: Scope, name: str, gate: str) -> Iterator[GateWritten]:
    """Yield where code stores the setting of that name, and whether it can store a no.

    Raises:
        ImageError: Code is damaged.
    """
    for site in scope.uses.strings.get(name, ()):
        body = scope.bodies[site.method]
        call = call_with(body, site.address)
        if call is None:
            continue
        ref = body.unit.ids.method(call.operand)
        if not ref.name.lower().startswith(WRITES):
            continue
        removes = ref.name.lower().startswith("remove")
        value = constants_at(body, call.address).get(call.registers[-1])
        yes = not removes and value is not None and value != 0
        what = f"{body.title} stores {name!r} ({'always yes' if yes else 'yes or no'})"
        yield GateWritten(service, gate, yes, Step(what, body.place(call.address)))
