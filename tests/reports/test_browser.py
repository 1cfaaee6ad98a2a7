"""The HTML report in a real browser: keyboard, filter, dark and print, and nothing leaves the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rom_builder.findings import Report
from rom_builder.reports import REPORTS
from tests.judges import judge
from tests.reports import samples
from tests.reports.browser import Browser, browser

pytestmark = pytest.mark.judge("chromium", "chromedriver")
TAB, DOWN, UP, END, HOME, ESCAPE, ENTER = (
    "\ue004", "\ue015", "\ue013", "\ue010", "\ue011", "\ue00c", "\ue007",
)  # fmt: skip
SHOWN = "return [...document.querySelectorAll('li.finding')].filter(e => !e.hidden).length"
STATUS = "return document.getElementById('shown').textContent"


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    (folder / "full.html").write_text(REPORTS["html"](samples.full()))
    (folder / "clean.html").write_text(REPORTS["html"](samples.clean()))
    (folder / "long.html").write_text(REPORTS["html"](samples.many(5000)))
    return folder


def type_into_search(chromium: Browser, text: str) -> None:
    chromium.run("document.getElementById('search').focus()")
    chromium.press(text)
    chromium.wait("return document.getElementById('shown').textContent.includes(' of ')")


def test_nothing_is_asked_for_and_nothing_complained_of(
    chromium: Browser, pages: Path, markup: Report, evil: Report, tmp_path: Path
) -> None:
    for name, report in (("markup", markup), ("evil", evil)):
        (tmp_path / f"{name}.html").write_text(REPORTS["html"](report))
    for path in (*sorted(pages.iterdir()), *sorted(tmp_path.iterdir())):
        chromium.open(path)
        chromium.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert "privacy report" in chromium.driver.title
        assert chromium.requests() == []
        assert chromium.complaints() == []


def test_a_request_would_be_seen_and_stopped(
    chromium: Browser, pages: Path, tmp_path: Path
) -> None:
    """The control of the test above: a page without a policy asks; one with ours does not."""
    image = '<img src="http://127.0.0.1:9/a.png"><script>document.title = "owned"</script>'
    (tmp_path / "free.html").write_text(f"<title>x</title>{image}")
    chromium.open(tmp_path / "free.html")
    assert chromium.requests() == ["http://127.0.0.1:9/a.png"]
    assert chromium.driver.title == "owned"
    chromium.complaints()
    ours = (pages / "full.html").read_text().replace("<main", f"{image}<main")
    (tmp_path / "planted.html").write_text(ours)
    chromium.open(tmp_path / "planted.html")
    assert chromium.driver.title != "owned"
    assert any("Content Security Policy" in line for line in chromium.complaints())


def test_the_keyboard_reaches_everything(chromium: Browser, pages: Path) -> None:
    chromium.open(pages / "full.html")
    chromium.press(TAB)
    assert chromium.focused() == "Skip to the findings"
    chromium.press(ENTER)
    assert chromium.run("return location.hash") == "#findings"
    chromium.press(TAB)
    assert chromium.focused() == "search"
    chromium.press(DOWN)
    assert chromium.focused().startswith("ROM101 ")
    chromium.press(DOWN)
    assert chromium.focused().startswith("ROM208 ")
    was_open = "return document.activeElement.parentElement.open"
    assert chromium.run(was_open) is True
    chromium.press(ENTER)
    assert chromium.run(was_open) is False
    chromium.press(END)
    last = chromium.focused()
    chromium.press(DOWN)
    assert chromium.focused() == last
    chromium.press(HOME, UP)
    assert chromium.focused() == "search"
    chromium.open(pages / "full.html")
    stops: list[str] = []
    while "fold" not in stops:
        assert len(stops) < 60, stops
        chromium.press(TAB)
        stops.append(chromium.focused())
    assert {"theme", "search", "service", "requirement", "unfold"} < set(stops)


def test_the_focus_can_be_seen(chromium: Browser, pages: Path) -> None:
    chromium.open(pages / "full.html")
    chromium.press(TAB, TAB)
    style = "const s = getComputedStyle(document.activeElement); return [s.outlineStyle, s.outlineWidth]"
    assert chromium.run(style) == ["solid", "3px"]


def test_search_narrows_and_escape_clears(chromium: Browser, pages: Path) -> None:
    chromium.open(pages / "full.html")
    total = chromium.run(SHOWN)
    assert chromium.run(STATUS) == f"{total} findings"
    type_into_search(chromium, "B.EXAMPLE.com http")
    assert chromium.run(SHOWN) == 1
    assert chromium.run(STATUS) == f"1 of {total} findings"
    groups = "return [...document.querySelectorAll('.group')].filter(g => !g.hidden).length"
    assert chromium.run(groups) == 1
    chromium.press(ESCAPE)
    assert chromium.run(SHOWN) == total
    type_into_search(chromium, "nothing says this")
    assert chromium.run(SHOWN) == 0
    assert chromium.run("return document.getElementById('none').checkVisibility()")
    chromium.run("document.getElementById('again').click()")
    chromium.wait(f"{SHOWN} === {total}")


def test_kinds_services_and_requirements_filter(chromium: Browser, pages: Path) -> None:
    chromium.open(pages / "full.html")
    chromium.run("document.querySelector('input[value=fail]').click()")
    assert chromium.run(SHOWN) == 9
    chromium.run("document.querySelector('#filter [type=reset]').click()")
    chromium.wait(f"{SHOWN} === 12")
    change = (
        "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
        "e.dispatchEvent(new Event('change', {bubbles: true}))"
    )
    chromium.run(change, "service", "")
    assert chromium.run(SHOWN) == 2
    chromium.run(change, "service", "*")
    chromium.run(change, "requirement", "transport.cleartext")
    assert chromium.run(SHOWN) == 3


def test_a_number_in_the_matrix_leads_to_its_findings(chromium: Browser, pages: Path) -> None:
    chromium.open(pages / "full.html")
    chromium.run(
        "document.querySelector('a.to-findings[data-requirement=\"consent.default\"]').click()"
    )
    assert chromium.run(SHOWN) == 1
    assert chromium.run("return document.getElementById('requirement').value") == "consent.default"


def test_a_link_to_a_finding_opens_it(chromium: Browser, pages: Path, full: Report) -> None:
    waived = next(f for f in full.findings if f.suppression)
    chromium.open(pages / "full.html")
    chromium.run(f"location.hash = '#f-{waived.fingerprint}'")
    visible = f"return document.getElementById('f-{waived.fingerprint}').checkVisibility()"
    chromium.wait(visible)
    evidence = f"return document.querySelector('#f-{waived.fingerprint} .evidence').open"
    assert chromium.run(evidence)


def test_light_and_dark_follow_the_system_and_the_button(chromium: Browser, pages: Path) -> None:
    paper = "return getComputedStyle(document.body).backgroundColor"
    chromium.open(pages / "full.html")
    light = chromium.run(paper)
    chromium.run("document.getElementById('theme').click()")
    dark = chromium.run(paper)
    assert dark != light
    chromium.open(pages / "full.html", scheme="dark")
    assert chromium.run(paper) == dark
    assert chromium.run("return document.getElementById('theme').textContent") == "Light"
    chromium.run("document.getElementById('theme').click()")
    assert chromium.run(paper) == light


def test_paper_is_light_whole_and_without_controls(chromium: Browser, pages: Path) -> None:
    chromium.open(pages / "full.html", scheme="dark", kind="print")
    assert (
        chromium.run("return getComputedStyle(document.body).backgroundColor")
        == "rgb(255, 255, 255)"
    )
    hidden = "return !document.querySelector(arguments[0]).checkVisibility()"
    for selector in ("#filter", ".top", ".skip"):
        assert chromium.run(hidden, selector), selector
    chromium.run("window.dispatchEvent(new Event('beforeprint'))")
    closed = "return document.querySelectorAll('details.group:not([open]), details.evidence:not([open])').length"
    assert chromium.run(closed) == 0
    chromium.run("window.dispatchEvent(new Event('afterprint'))")
    assert chromium.run(closed) > 0


def test_without_a_script_everything_is_there(
    chromium: Browser, full: Report, pages: Path, tmp_path: Path
) -> None:
    text = (pages / "full.html").read_text()
    start = text.rindex("<script>")
    (tmp_path / "plain.html").write_text(text[:start] + text[text.index("</script>", start) :])
    chromium.open(tmp_path / "plain.html")
    assert not chromium.run("return document.getElementById('filter').checkVisibility()")
    chromium.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    seen = chromium.run(
        "return [...document.querySelectorAll('.message')].filter(e => e.checkVisibility())"
        ".map(e => e.textContent).join('\\n')"
    )
    for finding in full.findings:
        assert finding.message in seen


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_page(chromium: Browser, pages: Path, width: int) -> None:
    chromium.open(pages / "full.html", width=width)
    chromium.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert chromium.run("return document.documentElement.scrollWidth") <= width


def test_five_thousand_findings_filter_at_once(chromium: Browser, pages: Path) -> None:
    chromium.open(pages / "long.html")
    assert chromium.run(STATUS) == "5000 findings"
    type_into_search(chromium, "number 4321)")
    assert chromium.run(SHOWN) == 1
    visible = "return [...document.querySelectorAll('li.finding')].filter(e => e.checkVisibility()).length"
    assert chromium.run(visible) == 1  # its group was opened
    chromium.press(ESCAPE)
    assert chromium.run(SHOWN) == 5000
    chromium.run("document.querySelector('input[value=fail]').click()")
    assert 0 < chromium.run(SHOWN) < 5000


@pytest.mark.judge("axe-core")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["full", "clean"])
def test_axe_finds_nothing_that_keeps_people_out(
    chromium: Browser, pages: Path, name: str, scheme: str
) -> None:
    chromium.open(pages / f"{name}.html", scheme=scheme)
    chromium.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    chromium.run(Path(judge("axe-core") or "").read_text())
    found = chromium.driver.execute_async_script(
        "const done = arguments[0];"
        "axe.run(document, {resultTypes: ['violations']}).then(r => done(r.violations.map(v =>"
        " [v.id, v.impact, v.nodes.slice(0, 3).map(n => n.html)])))"
    )
    assert found == []


@pytest.mark.judge("axe-core")
def test_axe_is_awake(chromium: Browser, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text("<title>x</title><img src='data:,'><input>")
    chromium.open(tmp_path / "bad.html")
    chromium.run(Path(judge("axe-core") or "").read_text())
    found = chromium.driver.execute_async_script(
        "const done = arguments[0]; axe.run().then(r => done(r.violations.map(v => v.id)))"
    )
    assert {"image-alt", "label", "html-has-lang"} <= set(found)
