from __future__ import annotations

import pytest

from rom_builder.code.choices import read_constant_choices
from rom_builder.code.consent import Effort, Findings, PathsTo
from rom_builder.code.gates import Gates
from rom_builder.facts.code import Outcome
from rom_builder.policy.profile import Gate

from .look_alikes import BOOT, SERVICE, scope

GATES = (Gate(string="consent_given"),)


def follow(
    name: str,
    *,
    automatic: bool = False,
    gates: tuple[Gate, ...] = GATES,
    sink: str = "externalId",
) -> Findings:
    app = scope(name, SERVICE, BOOT) if name.startswith("boot") else scope(name)
    (site,) = app.uses.strings[sink]
    paths = PathsTo(app, Gates(app, gates), frozenset(range(len(gates))), automatic, Effort())
    return paths.follow(app.bodies[site.method], [site.address])


@pytest.mark.parametrize(
    "name",
    ["gate_dominates", "gate_negated_twice", "gate_through_local", "gate_wrapped", "gate_in_caller",
     "exception_path_ends", "loop_gate_each_time", "loop_gate_before", "runnable", "own_interface",
     "switch_asked", "switch_on_answer", "early_return", "two_sinks_behind_gate", "flattened", "jumps"],
)  # fmt: skip
def test_consent_on_every_path_is_found(name: str) -> None:
    found = follow(name)
    assert found.outcome is Outcome.ASKED
    assert {step.text for step in found.asked} == {
        "com.example.LookupService.onHandleIntent goes on only if it is allowed"
    }


def test_consent_may_be_asked_for_in_the_method_that_is_called() -> None:
    found = follow("gate_in_callee")
    assert found.outcome is Outcome.ASKED
    assert [step.text for step in found.asked] == [
        "com.example.Sending.sendIfAllowed goes on only if it is allowed"
    ]


def test_one_gate_before_two_sinks_counts_for_what_stands_behind_it() -> None:
    for name, outcome in (
        ("two_sinks_behind_gate", Outcome.ASKED),
        ("two_sinks_one_gate", Outcome.NOT_ASKED),
    ):
        assert follow(name).outcome is Outcome.ASKED
        assert follow(name, sink="simId").outcome is outcome


@pytest.mark.parametrize(
    "name",
    ["gate_on_one_path", "gate_after_sink", "gate_result_ignored", "gate_inverted",
     "writer_is_no_gate", "gate_always_yes", "exception_path", "loop_gate_at_end", "switch", "runnable_not_asked",
     "gate_in_one_caller", "handler_sent", "early_return_of_others", "gate_in_callee_ignored",
     "flattened_not_asked"],
)  # fmt: skip
def test_a_path_without_consent_is_shown_from_its_start(name: str) -> None:
    found = follow(name)
    assert found.outcome is Outcome.NOT_ASKED
    assert found.path is not None
    start = "onCreate" if name == "gate_in_one_caller" else "onHandleIntent"
    assert found.path[0].text == (
        f"the system calls com.example.LookupService.{start} "
        "of the service com.example.LookupService"
    )
    assert found.path[-1].text.endswith("gets here")
    assert all(step.location.path == f"{name}.apk!/classes.dex" for step in found.path)


def test_the_steps_of_a_path_follow_calls_and_creations() -> None:
    found = follow("runnable_not_asked")
    assert [step.text for step in found.path or ()] == [
        "the system calls com.example.LookupService.onHandleIntent "
        "of the service com.example.LookupService",
        "com.example.LookupService.onHandleIntent creates com.example.Task, whose run then runs",
        "com.example.Task.run calls com.example.Lookup.query",
        "com.example.Lookup.query gets here",
    ]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("reflection", "nothing that was read calls com.example.Lookup.query"),
        (
            "foreign_interface",
            "nothing that was read calls com.example.Task.work, of vendor.Plugin",
        ),
        (
            "gate_kept_in_field",
            "com.example.LookupService.onHandleIntent relies on an answer that was kept in a field",
        ),
        ("handler", "which messages reach com.example.Task.handleMessage is not known"),
    ],
)
def test_what_cannot_be_followed_is_unknown_and_said(name: str, why: str) -> None:
    found = follow(name)
    assert found.outcome is Outcome.UNKNOWN
    assert [step.text for step in found.unknown] == [why]


def test_a_call_can_be_a_gate() -> None:
    gates = (Gate(call="com.example.Consent.isOn"),)
    assert follow("gate_dominates", gates=gates).outcome is Outcome.ASKED
    assert follow("gate_inverted", gates=gates).outcome is Outcome.NOT_ASKED


def test_another_setting_is_no_gate() -> None:
    assert follow("gate_dominates", gates=(Gate(string="theme"),)).outcome is Outcome.NOT_ASKED


def test_only_starts_without_a_user_count_as_automatic() -> None:
    found = follow("boot", automatic=True)
    assert found.outcome is Outcome.NOT_ASKED
    assert found.path is not None
    assert found.path[0].text == (
        "android.intent.action.BOOT_COMPLETED makes the system call "
        "com.example.BootReceiver.onReceive"
    )
    assert follow("boot_asked", automatic=True).outcome is Outcome.ASKED
    assert follow("gate_result_ignored", automatic=True).outcome is Outcome.UNREACHED


def test_a_service_that_others_can_start_is_a_start_of_its_own() -> None:
    assert follow("boot_asked").outcome is Outcome.NOT_ASKED


def test_a_constant_passed_as_a_choice_is_found_at_the_call() -> None:
    (found,) = read_constant_choices("x", scope("choice"), "extra_manually")
    assert found.step.text == (
        "com.example.LookupService.onHandleIntent passes a constant yes as 'extra_manually' "
        "to com.example.Activation.activate"
    )
    assert not found.by_user
