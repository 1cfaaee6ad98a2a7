"""The documentation as a site: it builds without a warning, is whole, and asks for nothing from outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from lxml import html

from tests.test_docs import ROOT

FETCHED = "//script/@src | //link[not(@rel='canonical')]/@href | //img/@src | //iframe/@src"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    offline = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, **offline, "NO_MKDOCS_2_WARNING": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout
    return folder


def test_every_page_is_there_and_none_fetches_anything(site: Path) -> None:
    written = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    for page in written:
        text = (site / page.with_suffix(".html")).read_text()
        for address in html.fromstring(text).xpath(FETCHED):
            assert not re.match(r"https?:|//", address), (page, address)
    for style in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:|//)", style.read_text()), style


def test_lists_and_tables_are_not_taken_for_text(site: Path) -> None:
    for page in [*site.glob("*.html"), *site.glob("*/*.html")]:
        for paragraph in html.fromstring(page.read_text()).xpath("//article//p"):
            text = paragraph.text_content()
            assert not re.search(r"^(- |\d+\. |\| |```)", text, re.MULTILINE), (page.name, text)


def test_the_site_has_the_help_of_every_command_and_the_changes(site: Path) -> None:
    commands = html.fromstring((site / "commands.html").read_text())
    assert {"rom-builder-check", "rom-builder-keys-new"} <= set(commands.xpath("//h2/@id"))
    assert "Unreleased" in (site / "changes.html").read_text()
    assert not list(site.rglob("*.py"))


def test_the_navigation_has_four_parts() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    nav = yaml.safe_load(re.sub(r"!!python.*", "", text))["nav"]
    assert [next(iter(part)) for part in nav] == [
        "Start",
        "Tutorial",
        "How to",
        "Reference",
        "Explanation",
    ]
