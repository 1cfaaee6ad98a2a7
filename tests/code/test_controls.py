from __future__ import annotations

import pytest

from rom_builder.code.controls import read_ticks, read_writes

from .look_alikes import scope


@pytest.mark.parametrize(
    ("name", "box", "said"),
    [
        ("box_ticked", "enable_box", "com.example.Main.refresh ticks 'enable_box' itself"),
        (
            "box_yes_by_default",
            "page_state",
            "com.example.Main.onCreate takes 'page_state' for yes where nothing is stored",
        ),
    ],
)
def test_a_box_that_code_ticks_is_found(name: str, box: str, said: str) -> None:
    (found,) = read_ticks("x", scope(name), box)
    assert (found.service, found.box, found.step.text) == ("x", box, said)
    assert found.step.location.path == f"{name}.apk!/classes.dex"


@pytest.mark.parametrize(
    ("name", "box"),
    [
        ("box_shown", "enable_box"),  # what is shown was read
        ("box_shown", "page_state"),  # with a default of no
        ("box_yes_by_default", "enable_box"),  # a yes only where one was read
        ("box_ticked", "no_such_box"),
        ("box_ticked", "old_consent"),  # a log line
    ],
)
def test_a_box_that_shows_what_was_read_is_not_ticked(name: str, box: str) -> None:
    assert list(read_ticks("x", scope(name), box)) == []


def test_code_that_can_store_a_no_is_told_from_code_that_cannot() -> None:
    found = read_writes("x", scope("box_shown"), "consent_given", "the gate")
    assert {(each.only_yes, each.step.text) for each in found} == {
        (True, "com.example.Consent.store stores 'consent_given' (always yes)"),
        (False, "com.example.Store.put stores 'consent_given' (yes or no)"),
    }
    only = read_writes("x", scope("gate_dominates"), "consent_given", "the gate")
    assert [each.only_yes for each in only] == [True]
