"""Rule ROM303: what is sent is not made of data that the policy forbids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.facts.code import AnchorFound, DataRead, Step
from rom_builder.findings import Finding, Layer, Status
from rom_builder.rules.code_evidence import evidence
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM303",
    alias="identifiers-in-code",
    title="The code that assembles what is sent reads no data of a forbidden kind",
    requirement="data.forbidden",
    fix="take these reads out of the code that assembles the request",
    references=(
        "GDPR Art. 5(1)(c)",
        "GDPR Art. 25(1)",
        "CRA Annex I Part I (2)(g)",
        "MASVS-PRIVACY-1",
        "MASVS-PRIVACY-2",
        "CWE-359",
    ),
)
def identifiers_in_code(case: Case, facts: Facts) -> Iterator[Finding]:
    """The methods that hold a sink of the profile, and what they call, ask for no forbidden data.

    One finding for each kind of data and kind of sending. An unsalted hash of a number or serial
    can be undone by trying all of them, so it counts as the number itself, and is named. Where a
    sink of the profile is in the code, what the profile says that it sends counts as well. That
    nothing is found proves nothing, as data may be read elsewhere and handed over: then this rule
    is silent.
    """
    data = case.demand.data
    if data is None or not data.forbidden:
        return
    found: dict[tuple[str, str], list[DataRead]] = defaultdict(list)
    for read in facts.of(DataRead, case.name):
        if read.category in data.forbidden:
            found[read.sink, read.category].append(read)
    for (sink, category), reads in sorted(found.items()):
        hashed = sorted({read.hashed for read in reads if read.hashed})
        through = f", through {' and '.join(hashed)}" if hashed else ""
        apis = ", ".join(sorted({read.api.rpartition(".")[2] for read in reads}))
        yield case.finding(
            Status.FAIL,
            f"the code for {sink} reads {category} ({apis}){through}",
            tuple(dict.fromkeys(e for read in reads for e in evidence(read.steps[-1:]))),
            layer=Layer.CODED,
            selector=f"{sink} {category}",
        )
    anchors = [a for a in facts.of(AnchorFound, case.name) if a.role == "sink" and a.methods]
    told: dict[tuple[str, str], list[Step]] = defaultdict(list)
    for stated in case.anatomy.code.sinks:
        for anchor in anchors:
            if (anchor.sink, anchor.anchor) == (stated.id, stated.label):
                for kind in set(stated.sends) & set(data.forbidden):
                    told[stated.id, kind] += anchor.methods
    for sending, places in sorted(told.items()):
        if sending not in found:
            yield case.finding(
                Status.FAIL,
                f"{sending[0]} is in the code, and the profile says that it sends {sending[1]}",
                evidence(places),
                layer=Layer.CODED,
                selector=" ".join(sending),
            )
