from __future__ import annotations

import re

from lxml import html
from markdown_it import MarkdownIt

from rom_builder.findings import Report
from rom_builder.reports import REPORTS
from tests.reports import samples

READER = MarkdownIt("commonmark", {"html": True}).enable("table")
"""A foreign reader with GitHub's tables, and HTML let through as GitHub does with a few elements."""
OURS = {"details", "summary", "sub"}


def page(report: Report) -> html.HtmlElement:
    return html.fragment_fromstring(READER.render(REPORTS["markdown"](report)), create_parent="div")


def test_text_of_an_image_formats_nothing(markup: Report) -> None:
    found = page(markup)
    assert not list(found.iter("a", "img", "script", "style", "del"))
    assert {element.text_content() for element in found.iter("strong")} <= {
        "Note:", "Fix:", "wins", "\u274c fail",
    }  # fmt: skip
    tags = {element.tag for element in found.iter() if isinstance(element.tag, str)}
    assert tags - OURS <= {
        "div", "h2", "h3", "h4", "p", "ul", "ol", "li", "code", "strong", "table", "thead", "tbody",
        "tr", "th", "td",
    }  # fmt: skip
    text = REPORTS["markdown"](markup)
    assert re.search(r"(?<![\\`])https?://evil", re.sub(r"`+ .*? `+", "", text)) is None
    assert " @everyone" not in re.sub(r"`+ .*? `+", "", text)


def test_one_table_a_service(full: Report) -> None:
    first, second = page(full).iter("table")
    head = [th.text_content() for th in first.iter("th")]
    assert head == ["requirement", "declared", "configured", "coded", "result"]
    row = next(tr for tr in first.iter("tr") if "transport.cleartext" in tr.text_content())
    assert [td.text_content() for td in row] == [
        "transport.cleartext", "", "not-applicable", "fail", "\u274c fail",
    ]  # fmt: skip
    assert len(list(second.iter("tr"))) == 2


def test_what_is_settled_is_folded_away(full: Report) -> None:
    text = REPORTS["markdown"](full)
    assert "<summary>5 findings settled</summary>" in text
    assert text.index("ROM105") > text.index("<details>") > text.index("ROM902")


def test_what_could_not_be_read_is_listed(full: Report) -> None:
    assert "### 1 part not read\n\n- `vendor.img`: is encrypted\n" in REPORTS["markdown"](full)


def test_a_compliant_report_says_so_in_its_first_line() -> None:
    text = REPORTS["markdown"](samples.clean())
    assert text.splitlines()[0] == "## \u2705 compliant: `ota.zip`"
    assert "to act on" not in text
