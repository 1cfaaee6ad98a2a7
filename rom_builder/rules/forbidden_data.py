"""Rule ROM301: the service does not send what the policy forbids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from rom_builder.facts import Facts
from rom_builder.facts.code import DataRead
from rom_builder.findings import Finding, Layer, Severity, Status
from rom_builder.rules.code_evidence import evidence
from rom_builder.rules.readings import effective, evidence_of, judge_list
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM301",
    alias="forbidden-data",
    title="The service sends no data of a forbidden kind",
    requirement="data.forbidden",
    fix="forbid these kinds in the service's configuration, or take them out of its code",
    references=(
        "GDPR Art. 5(1)(c)",
        "GDPR Art. 25(1)",
        "CRA Annex I Part I (2)(g)",
        "MASVS-PRIVACY-1",
        "CWE-359",
    ),
)
def forbidden_data(case: Case, facts: Facts) -> Iterator[Finding]:
    """Identifiers, contacts and content that the policy forbids do not leave the device.

    A service that obeys a configuration file passes when the file forbids every kind that the policy
    forbids. For any other service what is sent is in its code and in its traffic; where neither was
    examined the answer is unknown.
    """
    data = case.demand.data
    if data is None or not data.forbidden:
        return
    stated = effective(facts.readings(case.name, "data.forbidden"))
    yield from judge_list(
        case,
        stated,
        data.forbidden,
        "the configuration forbids every kind demanded",
        "the service's configuration does not forbid {}",
    )
    if case.anatomy.code.sinks or not stated:
        yield case.finding(
            Status.UNKNOWN, "what the code sends was not established", layer=Layer.CODED
        )


@rule(
    "ROM302",
    alias="undeclared-data",
    title="The service sends only the kinds of data the policy allows",
    requirement="data.allowed",
    fix="allow only the policy's kinds in the service's configuration",
    references=("GDPR Art. 5(1)(b)", "GDPR Art. 5(1)(c)", "MASVS-PRIVACY-1", "CWE-359"),
)
def undeclared_data(case: Case, facts: Facts) -> Iterator[Finding]:
    """The list of what the service may send is not longer than the policy's.

    Only a configuration that the service obeys can show it; otherwise the answer is unknown. What
    the code that assembles a request reads, and the policy neither allows nor forbids, earns a
    warning: that it is read there does not prove that it is sent (what is forbidden is ROM303's).
    """
    data = case.demand.data
    if data is None or not data.allowed:
        return
    stated = effective(facts.readings(case.name, "data.allowed"))
    extra = sorted(
        {str(value) for r in stated for value in r.values} - {str(kind) for kind in data.allowed}
    )
    if not stated:
        yield case.finding(Status.UNKNOWN, "what the service may send was not established")
    elif extra:
        yield case.finding(
            Status.FAIL,
            f"the configuration also allows {', '.join(extra)}",
            evidence_of(stated),
            selector=",".join(extra),
        )
    else:
        yield case.finding(
            Status.PASS, "the configuration allows nothing more", evidence_of(stated)
        )
    read: dict[str, list[DataRead]] = defaultdict(list)
    for each in facts.of(DataRead, case.name):
        if each.category not in (*data.allowed, *data.forbidden):
            read[each.category].append(each)
    for category, reads in sorted(read.items()):
        sinks = ", ".join(sorted({each.sink for each in reads}))
        yield case.finding(
            Status.FAIL,
            f"the code for {sinks} reads {category}, which the policy neither allows nor forbids",
            tuple(dict.fromkeys(e for each in reads for e in evidence(each.steps[-1:]))),
            layer=Layer.CODED,
            severity=Severity.WARNING,
            selector=category,
        )
