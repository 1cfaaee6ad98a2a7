"""Write the pages of rules and mechanisms from their docstrings: ``python docs/make_rules.py``.

``docs/rules.md`` and ``docs/mechanisms.md`` list them; each has a page of its own beside. What a rule's
cases under ``tests/rules`` show is told on its page.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from rom_builder.mechanisms import MECHANISMS
from rom_builder.mechanisms.mechanism import Mechanism
from rom_builder.policy.profile import Binding
from rom_builder.rules import RULES, Rule

DOCS = Path(__file__).parent
CASES = DOCS.parent / "tests" / "rules"
PROFILES = DOCS.parent / "policies" / "profiles"
KINDS = {"good": "Passes", "bad": "Fails", "absent": "Says nothing, or that nothing is known"}

RULES_HEAD = """\
# Rules

Each rule judges one requirement of a policy. Ids are stable and never used again: ROM1xx is
consent, ROM2xx transport, ROM3xx data, ROM4xx keys and verified boot, ROM5xx the platform, ROM9xx
policies and what was not read. `rom-builder explain ROM101` prints the same; these pages are written
by `docs/make_rules.py`.

| rule | alias | requirement | what must hold |
|---|---|---|---|
"""
MECHANISMS_HEAD = """\
# Mechanisms

Each mechanism is one way of configuring Android that a profile can name: `check` reads what the device
will have, `build` writes what the policy demands. These pages are written by `docs/make_rules.py`;
[Profiles](profiles.md) says how a profile names them.

| mechanism | what it is |
|---|---|
"""


def pages() -> dict[str, str]:
    """Return every page by its path below ``docs``."""
    made = {
        "rules.md": RULES_HEAD
        + "".join(
            f"| [{rule.id}](rules/{rule.id}.md) | {rule.alias} | `{rule.requirement}` "
            f"| {rule.title} |\n"
            for rule in RULES.values()
        ),
        "mechanisms.md": MECHANISMS_HEAD
        + "".join(
            f"| [{name}](mechanisms/{name}.md) | {summary(MECHANISMS[name])} |\n"
            for name in MECHANISMS
        ),
    }
    made |= {f"rules/{rule.id}.md": rule_page(rule) for rule in RULES.values()}
    made |= {f"mechanisms/{name}.md": mechanism_page(name, MECHANISMS[name]) for name in MECHANISMS}
    return made


def rule_page(rule: Rule) -> str:
    """Return the page of one rule: what must hold, why, what mends it, what it rests on, its cases."""
    return f"""\
# {rule.id} {rule.alias}

{rule.title}.

{markdown(rule.explanation)}

- Requirement: `{rule.requirement}`
- Severity of a failure: {rule.severity}, unless said otherwise above
- Fix: {rule.fix}
- References: {"; ".join(rule.references)}
{"".join(case_list(rule.id))}
[All rules](../rules.md)
"""


def case_list(identifier: str) -> Iterator[str]:
    """Yield what the rule's cases are about, by what becomes of them."""
    for kind, title in KINDS.items():
        told = [
            yaml.safe_load(path.read_text(encoding="utf-8"))["description"]
            for path in sorted((CASES / identifier).glob(f"{kind}*.yaml"))
        ]
        if told:
            yield f"\n## {title}\n\n" + "".join(f"- {text}\n" for text in dict.fromkeys(told))


def mechanism_page(name: str, mechanism: Mechanism) -> str:
    """Return the page of one mechanism: what it is, its options, an example."""
    module = inspect.getdoc(sys.modules[type(mechanism).__module__]) or ""
    rows = "".join(
        f"| `{option}` | {'required' if field.is_required() else 'optional'} "
        f"| {said(mechanism, option)} |\n"
        for option, field in mechanism.options.model_fields.items()
        if option not in Binding.model_fields
    )
    example = next(examples(name), "")
    shown = f"\n## Example\n\nFrom a profile that is shipped:\n\n    {example}\n" if example else ""
    return f"""\
# {name}

{markdown(module)}

{markdown(inspect.getdoc(type(mechanism)) or "")}

## Options

| option | | meaning |
|---|---|---|
{rows}{shown}
[All mechanisms](../mechanisms.md)
"""


def summary(mechanism: Mechanism) -> str:
    """Return the first sentence of the module that a mechanism is in."""
    module = inspect.getdoc(sys.modules[type(mechanism).__module__]) or ""
    return markdown(" ".join(module.split("\n\n")[0].split()))


def said(mechanism: Mechanism, option: str) -> str:
    """Return what an option means: its description, or its line in the docstring."""
    field = mechanism.options.model_fields[option]
    if field.description:
        return markdown(field.description)
    found = re.search(
        rf"^ *{option}: (.+?)(?=^ *\w+: |\Z)", mechanism.options.__doc__ or "", re.M | re.S
    )
    return markdown(" ".join(found[1].split())) if found else ""


def examples(name: str) -> Iterator[str]:
    """Yield every use of a mechanism in a shipped profile, as YAML on one line."""
    for path in sorted(PROFILES.glob("*.yaml")):
        profile: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        for place in ("switches", "settings", "transport"):
            for entry in profile.get(place, ()):
                if entry.get("mechanism") == name:
                    dumped = yaml.safe_dump(entry, default_flow_style=True, sort_keys=False)
                    yield "- " + " ".join(dumped.split())


def markdown(text: str) -> str:
    """Return a docstring as Markdown: its code in one pair of marks, its tables and blocks as they are."""
    blocks = []
    for block in text.split("\n\n"):
        if re.match(r"=+ +=", block):
            blocks.append(f"```text\n{block}\n```")
            continue
        if not block.startswith("    "):
            block = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", block).replace("``", "`")
            block = re.sub(r"::$", ":", block)
        blocks.append(block)
    return "\n\n".join(blocks)


def write() -> None:
    """Write every page, and take away those of rules and mechanisms that are gone."""
    made = pages()
    for folder in ("rules", "mechanisms"):
        (DOCS / folder).mkdir(exist_ok=True)
        for path in (DOCS / folder).glob("*.md"):
            if f"{folder}/{path.name}" not in made:
                path.unlink()
    for name, text in made.items():
        (DOCS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
