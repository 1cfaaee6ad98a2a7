"""What ``mkdocs.yml`` needs besides: pages of rules in the navigation, a page of commands, the changes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from rom_builder.cli import cli
from rom_builder.cli.man import commands

TOP = Path(__file__).parent.parent
LISTS = {"Rules": "rules", "Mechanisms": "mechanisms"}
"""Sections of the navigation, and the folders of generated pages that belong there."""
OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)#]+)(#[^)]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of rules and mechanisms behind their lists."""
    sections: list[dict[str, Any]] = next(
        entry["Reference"] for entry in config.nav or [] if "Reference" in entry
    )
    for section in sections:
        for title, folder in LISTS.items():
            if title in section:
                pages = sorted((TOP / "docs" / folder).glob("*.md"))
                section[title] += [{page.stem: f"{folder}/{page.name}"} for page in pages]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what each command says of itself, and the changes, which stand at the top of the repository."""
    text = (TOP / "CHANGELOG.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "changes.md", content=text.replace("](docs/", "](")))
    files.append(File.generated(config, "commands.md", content="".join(command_page())))
    return files


def command_page() -> Iterator[str]:
    """Yield the page of commands: the help of each, a group before its own."""
    yield "# Commands\n\nWhat `--help` says. `rom-builder man` prints the same as a manual page,\n"
    yield "`rom-builder completion bash` the script that completes commands in a shell.\n"
    for path, command in [((), cli), *commands(cli, ())]:
        name = " ".join(("rom-builder", *path))
        context = click.Context(
            command, info_name=name, terminal_width=100, help_option_names=["-h", "--help"]
        )
        yield f"\n## {name}\n\n```text\n{command.get_help(context)}\n```\n"


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Name what is in the repository and not on the site, instead of a link that leads nowhere."""
    if "/" in page.file.src_uri:
        return markdown
    return OUTSIDE.sub(lambda match: named(match[1], match[2]), markdown)


def named(text: str, path: str) -> str:
    """Say a file of the repository by its path."""
    return f"`{path}`" if text.strip("`") == path else f"{text} (`{path}`)"
