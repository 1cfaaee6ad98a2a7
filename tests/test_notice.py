"""The text for users: what it says of a policy, and that it does not lie about a ROM."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from lxml import etree, html

from rom_builder.cli import main
from rom_builder.notice import languages
from rom_builder.policy.models import Category, Consent, Sending
from tests.cases import files_of, load_case
from tests.roms import write_rom
from tests.rules.test_rules import FOLDER

POLICY = ["-p", "messaging-opt-in"]


@pytest.fixture(autouse=True)
def _new_year(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")  # 2026-01-01


def rom(folder: Path, case: str) -> str:
    return str(write_rom(folder / "rom", files_of(load_case(FOLDER / f"{case}.yaml"))))


def test_a_policy_alone_says_that_nothing_was_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["notice", *POLICY]) == 0
    text = capsys.readouterr().out
    for sentence in (
        "# Cloud messaging: what it does with your data",
        "- It is off until you turn it on, on a new phone and after a factory reset.\n",
        "registration of your number, lookup of your contacts, upload of your data.\n",
        "- Settings \\> Messaging \\> Cloud messaging\n",
        "- It may send: the number of whom you write to.\n",
        "- It may contact only: messaging.example.com.\n",
        "- Nothing is sent unencrypted.\n",
        "The software of a phone was not checked for this text.\n",
    ):
        assert sentence in text
    assert "checked, holds" not in text


def test_what_holds_in_a_rom_is_said_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["notice", rom(tmp_path, "reference"), *POLICY]) == 0
    text = capsys.readouterr().out
    assert "Nothing is sent unencrypted. *(checked, holds)*" in text
    assert re.search(r"was checked on 2026-01-01 \(SHA-256 [0-9a-f]{64}, messaging-opt-in\)", text)


def test_what_does_not_hold_is_said_and_fails_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["notice", rom(tmp_path, "ROM101/bad"), *POLICY]) == 1
    captured = capsys.readouterr()
    assert "after a factory reset. *(checked, does NOT hold)*" in captured.out
    assert "a sentence does not hold in this ROM" in captured.err


def test_a_promise_is_no_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = tmp_path / "own.yaml"
    policy.write_text(
        "schema: rom-builder/policy/v1\nid: own\ntitle: Own\nextends: [messaging-opt-in]\n"
        "services:\n  - profile: reference-messaging\n    attested:\n"
        "      retention: {value: 30 days, by: Jane Doe, until: 2026-12-31}\n"
    )
    assert main(["notice", rom(tmp_path, "reference"), "-p", str(policy)]) == 0
    text = capsys.readouterr().out
    assert "retention: 30 days. Jane Doe vouches for this until 2026-12-31" in text
    assert "*(promised, not checkable)*" in text


@pytest.mark.parametrize("language", languages())
@pytest.mark.parametrize("form", ["markdown", "html"])
def test_every_language_is_complete(
    language: str, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "notice"
    options = ["--language", language, "--format", form, "-o", str(out)]
    assert main(["notice", rom(tmp_path, "ROM101/bad"), *POLICY, *options]) == 1
    text = out.read_text()
    assert "{" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    assert "messaging.example.com" in text


@pytest.mark.parametrize("language", languages())
def test_every_word_of_a_policy_has_words_for_users(language: str) -> None:
    words = yaml.safe_load(languages()[language].read_text())
    assert set(words["categories"]) == set(get_args(Category))
    assert set(words["kinds"]) == set(get_args(Sending))
    modes = get_args(get_args(Consent.model_fields["mode"].annotation)[0])
    assert set(modes) <= set(words["consent"])
    upgrades = get_args(get_args(Consent.model_fields["on_upgrade"].annotation)[0])
    assert set(upgrades) == set(words["consent"]["upgrade"])


def test_the_page_is_one_file_that_loads_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["notice", *POLICY, "--format", "html", "--language", "de"]) == 0
    page = html.document_fromstring(capsys.readouterr().out)
    assert page.get("lang") == "de"
    assert page.xpath("//@src | //link | //script") == []
    assert [h.text for h in page.iter("h1")] == [
        "Cloud-Nachrichten: was der Dienst mit Ihren Daten tut"
    ]


def test_names_out_of_a_policy_become_no_markup(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "own.yaml"
    policy.write_text(
        "schema: rom-builder/policy/v1\nid: own\ntitle: Own\nservices:\n"
        "  - profile: reference-messaging\n    attested:\n"
        "      x: {value: '<b>[a](https://b)</b>', by: '*Jane*', until: 2026-12-31}\n"
    )
    assert main(["notice", "-p", str(policy)]) == 0
    assert "\\<b\\>\\[a\\](https://b)\\</b\\>. \\*Jane\\*" in capsys.readouterr().out
    assert main(["notice", "-p", str(policy), "--format", "html"]) == 0
    page = etree.HTML(capsys.readouterr().out)
    assert page.xpath("//b | //a") == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  none: These", "  nothing: These", "missing key 'none' in basis"),
        (
            "{version}",
            "{number}",
            "protection.min_tls must have these placeholders and no others: {version}",
        ),
        ("{hosts}.", "{hosts.", "must have these placeholders"),
    ],
)
def test_a_wrong_translation_is_refused(
    old: str, new: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "fr.yaml"
    path.write_text(languages()["en"].read_text().replace(old, new, 1))
    assert main(["notice", *POLICY, "--language", str(path)]) == 2
    assert message in capsys.readouterr().err


def test_what_cannot_be_told_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["notice", *POLICY, "--language", "xx"]) == 2
    assert "'xx' is none of de, en, zh" in capsys.readouterr().err
    assert main(["notice", "-p", "rom-baseline"]) == 2
    assert "speaks of no service" in capsys.readouterr().err
