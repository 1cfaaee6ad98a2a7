"""What differs as one page that loads nothing."""

from __future__ import annotations

from rom_builder import __version__
from rom_builder.diff.changes import Difference, Effect, Fate
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
from rom_builder.reports.page import render_page
from rom_builder.reports.words import image_name, sentence

BADGES = {
    Effect.WORSE: "fail",
    Effect.BETTER: "pass",
    Effect.CHANGED: "unknown",
    Effect.SAME: "warning",
}
"""Kind of the report's own whose colour and sign each effect has."""
SHOWN = 500
"""Failures of one fate that the page lists; the JSON report has more."""


@DIFFS.register("html")
def diff_as_html(difference: Difference, options: Options = PLAIN) -> str:
    """Return what differs as an HTML page."""
    del options
    kept = [c for c in difference.changes if c.effect is Effect.SAME and c.new and c.new.harm]
    sections = [
        (effect, HEADINGS[effect], [c for c in difference.changes if c.effect is effect])
        for effect in (Effect.WORSE, Effect.BETTER, Effect.CHANGED)
    ]
    sections.append((Effect.SAME, "Not changed, and not as it should be", kept))
    return render_page(
        "diff.html.j2",
        {
            "version": __version__,
            "difference": difference,
            "old": image_name(difference.old),
            "new": image_name(difference.new),
            "verdict": str(difference.new.verdict),
            "said": verdicts(difference),
            "summed": summed(difference),
            "sections": [
                (BADGES[effect], heading, changes)
                for effect, heading, changes in sections
                if changes
            ],
            "moved": list(moved(difference)),
            "fates": [
                (FATES[fate], found[:SHOWN], len(found) - SHOWN)
                for fate in Fate
                if (found := difference.of(fate))
            ],
            "title": title,
            "words": words,
            "answer": answer,
            "sentence": sentence,
        },
    )
