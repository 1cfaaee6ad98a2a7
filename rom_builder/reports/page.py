"""Pages of one file: a template of ``templates/report/`` with its styles and its script inside.

The page asks nobody for anything: its Content-Security-Policy allows the one style sheet and the one
script that stand in it, by their SHA-256, and nothing else. Text is escaped by the template engine.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from rom_builder.reports.words import printable
from rom_builder.resources import data_folder


def render_page(template: str, values: dict[str, Any]) -> str:
    """Return a page as HTML.

    Args:
        template: Name of a file in ``templates/report/``; it extends ``page.html.j2``.
        values: What the template names; texts out of an image go in as they are.
    """
    import jinja2  # late: takes longer to import than the rest of a report takes to write
    import markupsafe

    folder = data_folder("templates") / "report"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
    styles = (folder / "page.css").read_text()
    script = (folder / "page.js").read_text()
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src '{digest(styles)}'",
            f"script-src '{digest(script)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    return environment.get_template(template).render(
        **values,
        styles=markupsafe.Markup(styles),  # noqa: S704 - a file of ours
        script=markupsafe.Markup(script),  # noqa: S704 - a file of ours
        content_security_policy=policy,
    )


def shown(value: object) -> object:
    """Return what a template writes: numbers and markup as they are, the rest without controls."""
    if isinstance(value, int | float) or hasattr(value, "__html__"):
        return value
    return printable(str(value))


def digest(text: str) -> str:
    """Return the source expression of an inline style or script (CSP Level 3, hash-source)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
