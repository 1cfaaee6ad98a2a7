"""How rules turn facts about code into evidence, and paths to what sends into findings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from rom_builder.facts import Facts, Reading
from rom_builder.facts.code import AnchorFound, CodeRead, ConsentCheck, Outcome, Step
from rom_builder.findings import Evidence, Finding, Layer, Severity, Status, Strength
from rom_builder.rules.readings import code_examined
from rom_builder.rules.rule import Case


def evidence(steps: Iterable[Step]) -> tuple[Evidence, ...]:
    """Return steps of a path as evidence, one each."""
    return tuple(Evidence(step.location, step.text, Strength.CODE) for step in steps)


def steps_of(checks: Iterable[ConsentCheck]) -> tuple[Evidence, ...]:
    """Return the paths, or the consent checks, of several places."""
    return tuple(dict.fromkeys(e for check in checks for e in evidence(check.steps)))


def unread_code(case: Case, facts: Facts) -> tuple[str, ...]:
    """Return the files of the service whose code was not read."""
    return tuple(name for read in facts.of(CodeRead, case.name) for name in read.unread)


def gates_found(case: Case, facts: Facts, sending: str) -> bool:
    """Say whether any gate that the profile names for a kind of sending is in the code at all."""
    labels = {g.label for g in case.anatomy.code.gates if not g.sinks or sending in g.sinks}
    return any(
        found.methods
        for found in facts.of(AnchorFound, case.name)
        if found.role == "gate" and found.anchor in labels
    )


def anchors_found(case: Case, facts: Facts, role: str) -> tuple[Step, ...]:
    """Return where the profile's anchors of one role are in the code."""
    return tuple(
        step
        for found in facts.of(AnchorFound, case.name)
        if found.role == role
        for step in found.methods
    )


def controls_in_code(case: Case, facts: Facts, controls: Collection[Reading]) -> tuple[Step, ...]:
    """Return where the code uses the controls of settings pages; empty unless it was all examined.

    Every control has to be one that the profile also names as a box in code.
    """
    keys = {box.string for box in case.anatomy.code.boxes}
    named = [keys & set(control.label.split()) for control in controls]
    if not all(named) or not code_examined(case, facts):
        return ()
    labels = {f"string {key!r}" for found in named for key in found}
    return tuple(
        step
        for found in facts.of(AnchorFound, case.name)
        if found.role == "box" and found.anchor in labels
        for step in found.methods
    )


def judge_paths(
    case: Case,
    facts: Facts,
    sending: str,
    checks: Collection[ConsentCheck],
    *,
    open_ends: Collection[Outcome],
    needs_gate: bool,
    failed: str,
    unknown: str,
    passed: str,
) -> Iterator[Finding]:
    """Judge one kind of sending by the paths that lead to it.

    Args:
        case: What is judged.
        facts: What is known.
        sending: Label of the profile's sinks.
        checks: What stands on the paths.
        open_ends: Outcomes that leave the answer open.
        needs_gate: Without any of the profile's gates in the code nothing is known, even where no
            path fails.
        failed: What happens on a path without a check; ``sending`` goes before it.
        unknown: Said when a path could not be followed.
        passed: Said when all is well.
    """
    unasked = [check for check in checks if check.outcome is Outcome.NOT_ASKED]
    left_open = [check for check in checks if check.outcome in open_ends]
    if not checks or ((needs_gate or unasked) and not gates_found(case, facts, sending)):
        status, message = (
            Status.UNKNOWN,
            f"no {'gate' if checks else 'sink'} of the profile for {sending} was found in the code",
        )
        shown: tuple[Evidence, ...] = ()
    elif unasked:
        status, message = Status.FAIL, f"{sending} {failed}: {unasked[0].steps[0].text}"
        shown = steps_of(unasked)
    elif left_open or unread_code(case, facts):
        status, message = Status.UNKNOWN, unknown
        shown = tuple(e for check in left_open for e in evidence(check.unknown or check.steps))
    else:
        status, message = Status.PASS, passed
        shown = steps_of(checks)
    yield case.finding(status, message, shown, layer=Layer.CODED, selector=sending)
    if status is Status.PASS:
        yield from other_agreement(case, checks, sending)


def other_agreement(case: Case, checks: Iterable[ConsentCheck], sending: str) -> Iterator[Finding]:
    """Warn where the consent that is asked for was given to something else."""
    others = sorted({other for check in checks for other in check.agrees_to})
    if others:
        yield case.finding(
            Status.FAIL,
            f"what allows {sending} is the user's agreement to {', '.join(others)}",
            steps_of(checks),
            layer=Layer.CODED,
            severity=Severity.WARNING,
            selector=f"{sending} by other agreement",
        )
