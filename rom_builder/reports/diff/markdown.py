"""What differs as Markdown (GitHub's and GitLab's kind), for comments, summaries and wikis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rom_builder.diff.changes import Change, Difference, Effect, Fate
from rom_builder.reports import PLAIN, Options
from rom_builder.reports.diff import DIFFS
from rom_builder.reports.diff.words import (
    FATES,
    HEADINGS,
    answer,
    moved,
    summed,
    title,
    verdicts,
    words,
)
from rom_builder.reports.markdown import code, plain, signed
from rom_builder.reports.words import counted, image_name

SHOWN = 100
"""Failures of one fate that are listed; the JSON report has more."""


@DIFFS.register("markdown")
def diff_as_markdown(difference: Difference, options: Options = PLAIN) -> str:
    """Return what differs as Markdown; text out of an image can neither format, link nor mention."""
    del options
    return "\n".join(lines(difference)) + "\n"


def lines(difference: Difference) -> Iterator[str]:
    """Yield the whole report."""
    old, new = image_name(difference.old), image_name(difference.new)
    yield f"## {code(old)} → {code(new)}: {verdicts(difference)}"
    yield ""
    yield f"{summed(difference)}."
    yield ""
    for effect in (Effect.WORSE, Effect.BETTER, Effect.CHANGED):
        yield from table(HEADINGS[effect], [c for c in difference.changes if c.effect is effect])
    kept = [c for c in difference.changes if c.effect is Effect.SAME and c.new and c.new.harm]
    yield from table("Not changed, and not as it should be", kept)
    rows = list(moved(difference))
    if rows:
        yield "### Requirements"
        yield ""
        yield "| requirement | old | new |"
        yield "|---|---|---|"
        for row in rows:
            name = f"{row.service}: {row.name}" if row.service else row.name
            yield f"| {code(name)} | {signed(answer(row.old))} | {signed(answer(row.new))} |"
        yield ""
    for fate in Fate:
        found = difference.of(fate)
        if found:
            yield f"### {FATES[fate]}: {len(found)}"
            yield ""
            for finding in found[:SHOWN]:
                service = f"{code(finding.service)}: " if finding.service else ""
                where = f" ({code(finding.location.path)})" if finding.location.path else ""
                said = f"{service}{plain(finding.message)}{where}"
                yield f"- **{finding.rule}** {finding.severity}: {said}"
            if len(found) > SHOWN:
                yield f"- and {counted(len(found) - SHOWN, 'failure')} more"
            yield ""


def table(heading: str, changes: Iterable[Change]) -> Iterator[str]:
    """Yield a table of changes."""
    rows = list(changes)
    if not rows:
        return
    yield f"### {heading}"
    yield ""
    yield "| service | what | old | new |"
    yield "|---|---|---|---|"
    for change in rows:
        service = code(change.service) if change.service else "the ROM"
        cells = (plain(title(change)), plain(words(change.old)), plain(words(change.new)))
        yield f"| {service} | {' | '.join(cells)} |"
    yield ""
