"""Write docs/rules.md from the rules themselves: ``python docs/make_rules.py``."""

from __future__ import annotations

from pathlib import Path

from rom_builder.rules import RULES, Rule

PAGE = Path(__file__).with_name("rules.md")

HEAD = """\
# Rules

Each rule judges one requirement of a policy. Ids are stable and never used again: ROM1xx is
consent, ROM2xx transport, ROM3xx data, ROM4xx keys and verified boot, ROM5xx the platform, ROM9xx
policies and what was not read. `rom-builder explain ROM101` prints the same; this page is written
by `docs/make_rules.py`.
"""


def rules_page() -> str:
    """Return the page: a table of all rules, then each of them."""
    rows = [
        f"| [{rule.id}](#{anchor(rule)}) | {rule.alias} | `{rule.requirement}` |"
        for rule in RULES.values()
    ]
    table = "\n".join(["| rule | alias | requirement |", "|---|---|---|", *rows])
    return "\n".join([HEAD, table, "", *map(section, RULES.values())])


def anchor(rule: Rule) -> str:
    """Return the address of a rule's heading."""
    return f"{rule.id.lower()}-{rule.alias}"


def section(rule: Rule) -> str:
    """Return one rule: what must hold, why, what mends it, what it rests on."""
    return f"""\
## {rule.id} {rule.alias}

{rule.title}.

{rule.explanation.replace("``", "`")}

- Requirement: `{rule.requirement}`
- Severity of a failure: {rule.severity}, unless said otherwise above
- Fix: {rule.fix}
- References: {"; ".join(rule.references)}
"""


if __name__ == "__main__":
    PAGE.write_text(rules_page())
