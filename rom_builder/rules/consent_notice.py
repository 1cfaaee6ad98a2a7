"""Rule ROM121: users are told what the service does before they agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from rom_builder.facts import Facts, Notice, Package
from rom_builder.findings import Evidence, Finding, Status, Strength
from rom_builder.rules.rule import Case, rule

SHOWN = 120
"""Characters of a notice that evidence quotes."""
MEANING = {
    "data": "the data that is sent",
    "recipient": "who receives it",
    "off-switch": "how to turn it off",
}


@rule(
    "ROM121",
    alias="consent-notice",
    title="The notice before consent exists in every language and names what the policy demands",
    requirement="consent.notice",
    fix="write the missing text; one inside an app needs a new version of the app, or an overlay",
    references=("GDPR Art. 13", "GDPR Art. 4(11)", "GDPR Recital 42", "MASVS-PRIVACY-3"),
)
def consent_notice(case: Case, facts: Facts) -> Iterator[Finding]:
    """Who does not know what is sent, to whom, and how to stop it cannot agree to it.

    The profile says which texts are the notice; the policy, in which languages it must exist and by
    which words it names the data, the recipient and the way to turn the service off. All texts of
    one language count together. Whether and when the notice is shown cannot be seen here, and that
    a word is there does not make a text clear: this rule finds what is missing. Where an app that
    should hold the notice is not in the ROM, or parts were not read, a missing text is unknown.
    """
    consent = case.demand.consent
    if consent is None or consent.notice is None:
        return
    demanded = consent.notice
    texts: dict[str, list[Notice]] = defaultdict(list)
    for notice in facts.of(Notice, case.name):
        texts[notice.language].append(notice)
    missing = [language for language in demanded.languages if language not in texts]
    if not case.anatomy.notices:
        yield case.finding(Status.UNKNOWN, "the profile does not say where the notice lies")
        return
    absent = {n.package for n in case.anatomy.notices if n.package} - {
        package.name for package in facts.of(Package)
    }
    if missing and (absent or facts.unread):
        where = f"in {', '.join(missing)}" if texts else "in any language"
        why = f"{', '.join(sorted(absent))} is not in the ROM" if absent else "parts were not read"
        yield case.finding(
            Status.UNKNOWN,
            f"no notice {where} was found, but {why}",
            quoted(n for notices in texts.values() for n in notices),
            selector="missing",
        )
    elif missing:
        where = f"in {', '.join(missing)}" if texts else "in any language"
        yield case.finding(
            Status.FAIL,
            f"there is no notice {where}",
            quoted(n for notices in texts.values() for n in notices),
            selector="missing",
        )
    else:
        yield case.finding(
            Status.PASS,
            f"there is a notice in {', '.join(demanded.languages)}",
            quoted(n for language in demanded.languages for n in texts[language]),
            selector="there",
        )
    for topic, words in demanded.names.items():
        silent = [
            language
            for language in demanded.languages
            if language in texts and not says(texts[language], words[language])
        ]
        if silent:
            yield case.finding(
                Status.FAIL,
                f"the notice does not name {MEANING[topic]} (in {', '.join(silent)}): none of "
                + "; ".join(", ".join(map(repr, words[language])) for language in silent),
                quoted(n for language in silent for n in texts[language]),
                selector=topic,
            )
        elif texts and not missing:
            yield case.finding(
                Status.PASS,
                f"the notice names {MEANING[topic]}",
                quoted(n for language in demanded.languages for n in texts[language]),
                selector=topic,
            )


def says(notices: list[Notice], words: tuple[str, ...]) -> bool:
    """Say whether any of the words is in any of the texts."""
    text = "\n".join(notice.text for notice in notices).casefold()
    return any(word.casefold() in text for word in words)


def quoted(notices: Iterator[Notice]) -> tuple[Evidence, ...]:
    """Return texts as evidence, shortened."""
    found = []
    for notice in notices:
        text = " ".join(notice.text.split())
        short = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
        found.append(Evidence(notice.location, f"{notice.label}: {short}", Strength.PRESENCE))
    return tuple(found)
