"""How a rule weighs the readings of one setting: what is set, what only looks set, what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rom_builder.facts import Facts, Reading
from rom_builder.facts.code import CodeRead
from rom_builder.findings import Evidence, Finding, Status, Strength
from rom_builder.rules.rule import Case


def evidence_of(readings: Iterable[Reading]) -> tuple[Evidence, ...]:
    """Turn readings into evidence, one each, with the places that led to the value."""
    return tuple(Evidence(r.location, stated(r), r.strength, r.chain) for r in readings)


def stated(reading: Reading) -> str:
    """Say what a reading says in one line; where nobody can tell, why."""
    if reading.doubt:
        return f"{reading.label} cannot be told: {reading.doubt}"
    return f"{reading.label} is {shown(reading)}"


def shown(reading: Reading) -> str:
    """Say a reading's value as a person would write it.

    Lists are joined with commas, booleans are ``true`` and ``false``, no value is ``not set``.
    """
    if not reading.values:
        return "not set"
    return ", ".join(
        ("true" if value else "false") if isinstance(value, bool) else str(value)
        for value in reading.values
    )


def counted(number: int, noun: str, plural: str = "") -> str:
    """Write a number with its noun.

    >>> counted(1, "place"), counted(2, "switch", "switches")
    ('1 place', '2 switches')
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def effective(readings: Iterable[Reading]) -> tuple[Reading, ...]:
    """Return the readings that the device acts on."""
    return tuple(r for r in readings if r.strength in (Strength.EFFECTIVE, Strength.CODE))


def code_examined(case: Case, facts: Facts) -> bool:
    """Say whether all the code of a service was read for the anchors of its profile."""
    read = list(facts.of(CodeRead, case.name))
    return bool(case.anatomy.code.sinks) and any(r.programs and not r.unread for r in read)


def judge_setting(
    case: Case, stated: Sequence[Reading], demanded: str, good: str, bad: str, selector: str = ""
) -> Iterator[Finding]:
    """Judge a setting that the service obeys: every place of it has to say what is demanded.

    Silent if nothing states it.
    """
    if stated:
        holds = all(reading.values == (demanded,) for reading in stated)
        yield case.finding(
            Status.PASS if holds else Status.FAIL,
            good if holds else bad,
            evidence_of(stated),
            selector=selector,
        )


def judge_list(
    case: Case, stated: Sequence[Reading], demanded: Iterable[str], good: str, bad: str
) -> Iterator[Finding]:
    """Judge a list that the service obeys: all its places together have to name what is demanded.

    Silent if nothing states it. ``bad`` has ``{}`` where it names what is missing.
    """
    named = {str(value) for reading in stated for value in reading.values}
    missing = [each for each in demanded if each not in named]
    if stated:
        yield case.finding(
            Status.FAIL if missing else Status.PASS,
            bad.format(", ".join(missing)) if missing else good,
            evidence_of(stated),
            selector=",".join(missing),
        )
