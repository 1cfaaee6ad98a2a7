"""What differs in the formats of CI systems: the new ROM's report, in which only new failures count."""

from __future__ import annotations

import json
from dataclasses import replace

from rom_builder.diff.changes import Difference, Fate
from rom_builder.reports import PLAIN, REPORTS, Options
from rom_builder.reports.diff import DIFFS
from rom_builder.reports.sarif import Run


@DIFFS.register("junit")
def diff_as_junit(difference: Difference, options: Options = PLAIN) -> str:
    """Return JUnit XML: new failures fail, those that were there before are skipped."""
    return REPORTS["junit"](difference.as_report, options)


@DIFFS.register("gitlab")
def diff_as_gitlab(difference: Difference, options: Options = PLAIN) -> str:
    """Return GitLab's code quality report of the new failures."""
    return REPORTS["gitlab"](difference.as_report, options)


@DIFFS.register("github")
def diff_as_github(difference: Difference, options: Options = PLAIN) -> str:
    """Return GitHub annotations of the new failures."""
    return REPORTS["github"](difference.as_report, options)


@DIFFS.register("sarif")
def diff_as_sarif(difference: Difference, options: Options = PLAIN) -> str:
    """Return SARIF with the ``baselineState`` of each result: new, unchanged, absent (fixed)."""
    new_ones = {id(finding) for finding in difference.of(Fate.NEW)}
    document = json.loads(REPORTS["sarif"](difference.new, replace(options, suppressed=True)))
    (run,) = document["runs"]
    shown = Run(difference.new, replace(options, suppressed=True)).shown
    for result, (finding, _) in zip(run["results"], shown, strict=True):
        was_there = finding.failed and id(finding) not in new_ones
        result["baselineState"] = "unchanged" if was_there else "new"
    fixed = replace(difference.old, findings=difference.of(Fate.FIXED))
    gone = json.loads(REPORTS["sarif"](fixed, options))["runs"][0]
    indices = {rule["id"]: index for index, rule in enumerate(run["tool"]["driver"]["rules"])}
    for result in gone["results"]:
        if result["ruleId"] in indices:
            result["ruleIndex"] = indices[result["ruleId"]]
            run["results"].append({**result, "baselineState": "absent"})
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"
