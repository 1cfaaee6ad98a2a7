"""Consent on paths in forms that the fixtures written in smali do not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from rom_builder.facts.code import ConsentCheck, Outcome
from tests.formats.builders.dex import Class, Ids, Method

from .test_hostile import READS, RETURN, SENDS, facts, outcomes, send, sending, service


def asked(ids: Ids) -> list[int]:
    """v0 = true, v1 = getBoolean("consent_given", false)"""
    return [
        0x1012,  # const/4 v0, 1
        0x0412,  # const/4 v4, 0
        0x0212,  # const/4 v2, 0
        *(0x031A, ids("consent_given")),  # const-string v3
        *(0x3072, ids(READS), 0x0432),  # invoke-interface {v2, v3, v4}
        0x010A,  # move-result v1
    ]


@pytest.mark.parametrize(
    ("left_right", "also"),
    [(0x1032, 0x0038), (0x0132, 0x0038), (0x1032, 0x0139), (0x0132, 0x0139)],
    ids=["constant first", "answer first", "constant first, asked twice", "asked twice"],
)
def test_a_no_is_known_of_the_answer_not_of_what_it_is_compared_with(
    tmp_path: Path, left_right: int, also: int
) -> None:
    def code(ids: Ids) -> list[int]:
        return [
            *asked(ids),
            *(left_right, 10),  # if-eq with the constant: a yes goes to the last return
            *(also, 7),  # if-eqz v0 or if-nez v1: neither is so; what is sent is sent without
            *send(ids),
            *RETURN,
            *RETURN,
        ]

    found, unread = facts(tmp_path, [service(sending(code, registers=7))])
    assert not unread
    assert outcomes(found) == {Outcome.NOT_ASKED}


def calling(
    name: str, signature: str, *calls: str, creates: str = "", static: bool = False
) -> Method:
    """A method that creates a class, if any is given, and calls static methods without arguments."""

    def code(ids: Ids) -> list[int]:
        made = [0x0022, ids(f"type {creates}")] if creates else []
        return [*made, *(unit for call in calls for unit in (0x0071, ids(call), 0)), *RETURN]

    return Method(name, signature, 4, code, static, calls)


RECEIVER = "Lcom/example/BootReceiver;"
HANDLER = "Lcom/example/Wakes;"
STARTER = "Lcom/example/Starts;"
SENDER = "Lcom/example/Sender;"
ACTIVITY = "Lcom/example/Main;"
POST = "Lcom/example/Wakes;->sendEmptyMessage()V"


def test_what_a_handler_leads_back_to_is_followed_from_elsewhere_as_well(tmp_path: Path) -> None:
    """At boot a handler is made and, beside it, sent; its own messages come from a page only."""
    sends = f"{SENDER}->now()V"
    classes = [
        Class(HANDLER, "Landroid/os/Handler;", (
            calling("handleMessage", "(Landroid/os/Message;)V", sends),
            calling("wake", "()V", POST, static=True),
        )),
        Class(STARTER, methods=(calling("go", "()V", sends, creates=HANDLER, static=True),)),
        Class(RECEIVER, "Landroid/content/BroadcastReceiver;", (
            calling("onReceive", "(Landroid/content/Context;Landroid/content/Intent;)V",
                    f"{STARTER}->go()V"),
        )),
        Class(ACTIVITY, "Landroid/app/Activity;", (
            calling("onClick", "(Landroid/view/View;)V", f"{HANDLER}->wake()V"),
        )),
        Class(SENDER, methods=(
            Method("now", "()V", 1, lambda ids: [*send(ids), *RETURN], True, (SENDS,),
                   ("externalId",)),
        )),
    ]  # fmt: skip
    found, unread = facts(tmp_path, classes)
    assert not unread
    (check,) = [f for f in found if isinstance(f, ConsentCheck) and f.automatic]
    assert check.outcome is Outcome.NOT_ASKED
    assert [step.text.partition(" ")[0] for step in check.steps][-2:] == [
        "com.example.Starts.go", "com.example.Sender.now",
    ]  # fmt: skip
