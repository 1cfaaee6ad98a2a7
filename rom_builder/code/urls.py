"""URLs of a service as its code puts them together, with the files that their parts come from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from rom_builder.code.flow import constants_at
from rom_builder.code.hierarchy import OBJECT
from rom_builder.code.known import NONZERO, Value
from rom_builder.code.paths import walk
from rom_builder.code.programs import Body
from rom_builder.code.scope import Scope
from rom_builder.code.texts import STRING, Evaluator, Handed, Known
from rom_builder.code.uses import INVOKES, STATIC
from rom_builder.facts.code import CodeUrl, Step, UnresolvedUrls
from rom_builder.formats.dex_code import parameter_registers
from rom_builder.formats.dex_ids import parameters, words

URL = re.compile(r"(https?)://([^/:?#\\\s]*)[^\s\"'<>]*", re.IGNORECASE)
MAX_ROUNDS = 3
"""Methods that return a URL to each other; longer chains are not followed."""
MAX_WRAPPERS = 3
"""Methods of the app that a URL is handed through before it is sent."""
LOGS = ("Landroid/util/Log;", "Ljava/io/PrintStream;")

ALWAYS, SOMETIMES, NEVER = "always", "sometimes", "never"


class Urls:
    """The URLs of one app.

    Args:
        encrypted_by: Ends of the names of classes that encrypt a request.
        sinks: Ids of sinks by the key of the method that holds them.
    """

    def __init__(
        self,
        service: str,
        scope: Scope,
        encrypted_by: tuple[str, ...],
        sinks: Mapping[str, tuple[str, ...]],
    ) -> None:
        self._service = service
        self._scope = scope
        self._encrypted_by = encrypted_by
        self._sinks = sinks
        self._evaluator = Evaluator(scope)

    def read(self) -> Iterator[CodeUrl | UnresolvedUrls]:
        """Yield every URL that a method hands on, once per method.

        Raises:
            ImageError: Code is damaged.
        """
        seen: set[tuple[str, str]] = set()
        unresolved: list[Step] = []
        for body, handed in self._handed():
            match = URL.match(handed.text.text)
            if not match or (body.key, match[0]) in seen:
                continue
            seen.add((body.key, match[0]))
            host = match[2].rpartition("@")[2].lower().rstrip(".")
            if not host or "{}" in host or "%" in host:
                unresolved.append(Step(f"{match[0]} in {body.title}", body.place(handed.address)))
                continue
            yield CodeUrl(
                service=self._service,
                scheme=match[1].lower(),
                host=host,
                url=match[0],
                parts=handed.text.parts,
                reachable=body in self._scope.reachable,
                encrypted=self._encrypted(body, handed, MAX_WRAPPERS),
                sinks=self._sinks.get(body.key, ()),
                location=body.place(handed.address),
                method=body.title,
            )
        if unresolved:
            yield UnresolvedUrls(self._service, len(unresolved), unresolved[0])

    def _handed(self) -> Iterator[tuple[Body, Handed]]:
        """Yield what the methods hand to calls and instance fields, returned URLs followed."""
        uses = self._scope.uses
        starts = uses.methods_with(URL.match)
        for ref, numbers in uses.fields.items():
            if ref.signature == STRING:
                held = self._evaluator.field(ref)
                if any(URL.match(known.text) for known in held):
                    starts.update(site.method for site in uses.sites_of(numbers))
        done: set[str] = set()
        for _ in range(MAX_ROUNDS):
            returning: set[str] = set()
            for method in sorted(starts - done):
                done.add(method)
                body = self._scope.bodies[method]
                for handed in self._evaluator.evaluate(body).handed:
                    if handed.to is None:
                        returning.add(method)
                    elif handed.to.owner not in LOGS:
                        yield body, handed
            starts = {
                site.method
                for method in returning
                for _, site in self._scope.callers(self._scope.bodies[method])
            }

    def _encrypted(self, body: Body, handed: Handed, depth: int) -> str:
        """Say whether what is sent to a URL is encrypted by a class that the profile names."""
        to = handed.to
        if to is None or not self._encrypted_by:
            return NEVER
        if to.owner.removesuffix(";").endswith(self._encrypted_by):
            return ALWAYS
        each = next(e for e in body.code.instructions if e.address == handed.address)
        targets = self._scope.targets(each.code, to) if each.code in INVOKES else []
        callee = targets[0] if len(targets) == 1 else None
        if callee is None or not callee.is_own or not depth:
            return NEVER
        inner = self._evaluator.evaluate(callee, {handed.argument: Known(handed.text.text)}).handed
        passed = [h for h in inner if h.text.text == handed.text.text and h.to is not None]
        constants = self._constants(body, each.address)
        given: dict[int, Value] = {}
        for position, (register, _) in enumerate(parameter_registers(callee.method, callee.code)):
            if position in constants:
                given[register] = constants[position]
            elif position == handed.argument:
                given[register] = NONZERO
        walked = walk(self._scope.blocks(callee), given=given)
        reached = walked.reached(h.address for h in passed)
        answers = {
            self._encrypted(callee, h, depth - 1)
            for h in passed
            if h.address in reached and self._sends(h)
        }
        if answers <= {ALWAYS}:
            return ALWAYS if answers else NEVER
        return NEVER if answers == {NEVER} else SOMETIMES

    def _sends(self, handed: Handed) -> bool:
        """Say whether a call inside a wrapper may send; one that returns nothing logs or stores."""
        return handed.to is not None and handed.to.owner not in LOGS and handed.to.returns != "V"

    def _constants(self, body: Body, address: int) -> dict[int, int]:
        """Return the constants that a call passes, by position; null is zero."""
        found: dict[int, int] = {}
        each = next(e for e in body.code.instructions if e.address == address)
        held = constants_at(body, address)
        position = 0
        types = parameters(body.unit.ids.method(each.operand).signature)
        if each.code not in (STATIC, STATIC + 6):
            types.insert(0, OBJECT)
        for number, kind in enumerate(types):
            if position < len(each.registers) and each.registers[position] in held:
                found[number] = held[each.registers[position]]
            position += words(kind)
        return found
