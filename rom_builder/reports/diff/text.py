"""What differs, for people at a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rom_builder.diff.changes import Difference, Effect, Fate
from rom_builder.findings import Severity
from rom_builder.reports import PLAIN, Options
from rom_builder.reports.diff import DIFFS
from rom_builder.reports.diff.words import (
    FATES,
    HEADINGS,
    LESSER,
    answer,
    moved,
    summed,
    title,
    verdicts,
    words,
)
from rom_builder.reports.text import Text
from rom_builder.reports.words import counted, printable, sentence

STYLES = {
    Effect.WORSE: "fail",
    Effect.BETTER: "pass",
    Effect.CHANGED: "unknown",
    Effect.SAME: "dim",
}
SIGNS = {Effect.WORSE: "-", Effect.BETTER: "+", Effect.CHANGED: "~", Effect.SAME: "="}
FATE_STYLES = {Fate.NEW: "fail", Fate.FIXED: "pass", Fate.UNCHANGED: "unknown"}


@DIFFS.register("text")
def diff_as_text(difference: Difference, options: Options = PLAIN) -> str:
    """Return what differs as text: what is worse, better, changed and not fixed."""
    return "\n".join(lines(difference, Text(options.color, options.width))) + "\n"


def lines(difference: Difference, text: Text) -> Iterator[str]:
    """Yield the whole report."""
    for word, report in (("old", difference.old), ("new", difference.new)):
        build = f"  {printable(report.image.description)}" if report.image.description else ""
        yield text.paint(f"{word}: {printable(report.image.path)}", "bold") + build
    for effect, group in groupby(difference.changes, key=lambda change: change.effect):
        changes = list(group)
        if effect is Effect.SAME:
            harmful = [c for c in changes if c.new is not None and c.new.harm]
            if harmful:
                yield ""
                yield text.paint("Not changed, and not as it should be", "bold")
            for change in harmful:
                said = f"{title(change)}: {words(change.new)}"
                yield text.wrapped(f"= {prefix(change.service)}{printable(said)}", "  ")
            continue
        yield ""
        yield text.paint(HEADINGS[effect], "bold")
        for change in changes:
            said = f"{title(change)}: {words(change.old)} -> {words(change.new)}"
            line = f"{SIGNS[effect]} {prefix(change.service)}{printable(said)}"
            yield text.paint(text.wrapped(line, "  "), STYLES[effect])
    rows = list(moved(difference))
    if rows:
        yield ""
        yield text.paint("Requirements", "bold")
        width = max(len(row.name) for row in rows)
        for row in rows:
            name = f"{row.name:<{width}}"
            yield f"  {prefix(row.service)}{name}  {answer(row.old)} -> {answer(row.new)}"
    for fate in Fate:
        found = difference.of(fate)
        if not found:
            continue
        grave = [f for f in found if f.severity >= Severity.ERROR]
        yield ""
        yield text.paint(f"{FATES[fate]}: {len(found)}", FATE_STYLES[fate])
        for finding in grave:
            yield text.wrapped(f"{finding.rule} [{finding.severity}] {sentence(finding)}", "  ")
        if len(found) > len(grave):
            yield f"  and {counted(len(found) - len(grave), LESSER)}"
    for word, report in (("old", difference.old), ("new", difference.new)):
        if report.unread:
            yield ""
            yield text.paint(f"not read in the {word} image: {len(report.unread)}", "unknown")
    yield ""
    verdict = text.paint(verdicts(difference), str(difference.new.verdict))
    yield f"verdict: {verdict}: {summed(difference)}"


def prefix(service: str | None) -> str:
    """Return the service that a line speaks of."""
    return f"{printable(service)}: " if service else ""
