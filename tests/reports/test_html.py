from __future__ import annotations

import base64
import hashlib
import re

from lxml import html

from rom_builder.findings import Report, Status
from rom_builder.reports import REPORTS
from tests.reports import samples


def page(report: Report) -> html.HtmlElement:
    return html.document_fromstring(REPORTS["html"](report))


def words(element: html.HtmlElement) -> str:
    return " ".join(" ".join(element.itertext()).split())


def test_it_is_one_file_that_names_nothing_outside(full: Report, markup: Report) -> None:
    for report in (full, markup):
        text = REPORTS["html"](report)
        found = page(report)
        assert {link.get("href") for link in found.iter("link")} == {"data:,"}
        for element in found.iter():
            for name in ("src", "srcset", "action", "formaction", "background", "data", "poster"):
                assert element.get(name) is None
            href = element.get("href")
            assert href is None or href.startswith("#") or href == "data:,"
        styles = "".join(style.text or "" for style in found.iter("style"))
        assert not re.search(r"url\(|@import", styles)
        script = "".join(element.text or "" for element in found.iter("script"))
        assert not re.search(r"fetch|XMLHttp|WebSocket|import\(|innerHTML|eval|https?:", script)
        assert "style=" not in text.replace("style-src=", "")


def test_its_policy_allows_its_own_script_and_style_only(full: Report) -> None:
    found = page(full)
    (policy,) = [m.get("content") for m in found.iter("meta") if m.get("http-equiv")]
    assert policy is not None
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    assert directives["default-src"] == "'none'"
    assert "unsafe" not in policy
    for directive, tag in (("style-src", "style"), ("script-src", "script")):
        (element,) = found.iter(tag)
        digest = base64.b64encode(hashlib.sha256((element.text or "").encode()).digest()).decode()
        assert directives[directive] == f"'sha256-{digest}'"


def test_text_of_an_image_becomes_no_element(full: Report, markup: Report) -> None:
    kinds = {element.tag for element in page(full).iter() if isinstance(element.tag, str)}
    found = page(markup)
    assert {element.tag for element in found.iter() if isinstance(element.tag, str)} <= kinds
    assert len(list(found.iter("script"))) == 1
    assert not any(name.startswith("on") for element in found.iter() for name in element.attrib)


def test_the_verdict_and_why_come_first(full: Report) -> None:
    found = page(full)
    (heading,) = found.iter("h1")
    assert words(heading) == "ota.zip Not compliant"
    (why,) = found.find_class("why")
    assert words(why).startswith("3 findings failed, 2 requirements unknown, 1 part not read")
    facts = words(found.find_class("facts")[0])
    for fact in ("out/ota.zip", full.image.sha256, full.image.description, "messaging"):
        assert fact in facts
    (clean,) = page(samples.clean()).iter("h1")
    assert words(clean) == "ota.zip Compliant"


def test_the_matrix_is_service_by_requirement_by_layer(full: Report) -> None:
    first, second = page(full).find_class("matrix")
    assert words(next(first.iter("caption"))) == "reference-messaging"
    assert words(next(second.iter("caption"))) == "The whole ROM"
    head = [words(th) for th in next(first.iter("thead")).iter("th")]
    assert [text.split()[0] for text in head] == [
        "Requirement", "Declared", "Configured", "Coded", "Result", "Findings",
    ]  # fmt: skip
    rows = {words(next(tr.iter("code"))): tr for tr in next(first.iter("tbody")).iter("tr")}
    assert list(rows) == [r.name for r in full.requirements if r.service]
    cells = [words(td) for td in rows["transport.cleartext"].iter("td")]
    assert cells == ["no evidence", "not applicable", "failed", "failed", "3"]
    assert [words(td) for td in rows["consent.on_upgrade"].iter("td")][-2:] == ["unknown", "0"]


def test_findings_have_evidence_chain_remedy_and_excuse(full: Report) -> None:
    cards = {card.get("id"): card for card in page(full).find_class("finding")}
    assert len(cards) == len(full.findings)
    for finding in full.findings:
        card = cards[f"f-{finding.fingerprint}"]
        text = words(card)
        assert finding.message in text
        assert finding.fingerprint in text
        assert len(card.find_class("observations")[0].findall("li")) == len(finding.evidence)
        for evidence in finding.evidence:
            assert str(evidence.location) in text
        if finding.suppression:
            assert finding.suppression.reason in text
        assert ("demanded at" in text) is (finding.requirement != "rom.readable")
    (chained,) = page(full).find_class("chain")
    steps = [words(li) for li in chained.iter("li")]
    assert steps[0] == 'system/etc/reference-messaging/service.xml:3 default="off"'
    assert steps[1].endswith("bool/default_on is true wins")


def test_what_is_to_be_acted_on_is_open_and_comes_first(full: Report) -> None:
    groups = page(full).find_class("group")
    opened = ["open" in group.attrib for group in groups]
    assert opened == sorted(opened, reverse=True)
    for group, is_open in zip(groups, opened, strict=True):
        kinds = {card.get("data-kind") for card in group.find_class("finding")}
        assert (kinds <= {"fail", "warning", "note", "unknown"}) is is_open


def test_a_long_report_is_closed_at_first() -> None:
    groups = page(samples.many(400)).find_class("group")
    assert len(groups) > 10
    assert not any("open" in group.attrib for group in groups)


def test_charts_say_their_numbers_in_words(full: Report) -> None:
    bars = {
        words(bar.find_class("bar-label")[0]): words(bar.find_class("bar-numbers")[0])
        for bar in page(full).find_class("bar")
        if bar.find_class("bar-label")
    }
    assert bars == {
        "The whole ROM": "1 critical 1 unknown",
        "reference-messaging": "2 errors 1 warning 1 note 1 unknown",
        "a.example.com": "8 unencrypted 2 not certain 1 encrypted",
        "b.example.com": "4 encrypted",
        "1 other host": "1 encrypted",
    }
    requirements = page(full).find_class("bar-numbers")[0]
    assert words(requirements) == "4 failed 2 unknown 2 passed 1 attested 1 waived"
    for drawing in page(full).find_class("bar-drawing"):
        assert drawing.get("aria-hidden") == "true"


def test_bars_of_a_chart_share_one_scale(full: Report) -> None:
    widths = [
        [float(rect.get("width", "").removesuffix("%")) for rect in bar.find_class("fill")]
        for bar in page(full).find_class("bar")
    ]
    a_host = widths[3]
    assert sum(a_host) == 100
    assert a_host[0] == 72.73
    assert widths[4] == [36.36]


def test_what_could_not_be_read_and_what_the_rules_rest_on(full: Report) -> None:
    found = page(full)
    assert "vendor.img is encrypted" in words(found.get_element_by_id("unread"))
    references = words(found.get_element_by_id("references"))
    assert "GDPR Art. 25(2)" in references
    assert "ROM101 failed" in references
    assert "CWE-319" in references
    assert page(samples.clean()).find(".//section[@id='unread']") is None


def test_every_status_is_explained(full: Report) -> None:
    reading = words(page(full).get_element_by_id("reading"))
    for status in Status:
        assert (
            str(status).replace("-", " ").replace("fail", "failed").replace("pass", "passed")
            in reading
        )
