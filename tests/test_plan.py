"""Plans: which files would change, which cannot, and what may not be brought."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from rom_builder.check import check_rom
from rom_builder.edits import Edit, FileData
from rom_builder.errors import BuildRefused, ImageError, RomBuilderError
from rom_builder.findings import Severity
from rom_builder.mechanisms import binding_models
from rom_builder.plan import plan, read_brought
from rom_builder.policy.load import Policies, load_policies
from rom_builder.policy.models import ServicePolicy
from rom_builder.policy.profile import Profile
from rom_builder.rom.opening import open_rom
from rom_builder.templates import render_device_file
from tests.cases import TODAY, files_of, load_case, policies_of
from tests.roms import App, Content, Link, write_rom

SERVICE = "/system/etc/reference-messaging/service.xml"
ROM: dict[str, Content] = {
    "/system/build.prop": "ro.build.version.sdk=30\nro.messaging.default=on\n",
    "/system/etc/hosts": "127.0.0.1 localhost\n",
    "/system/etc/reference-messaging/consent_notice.txt": "on\n",
}


def opt_in() -> Policies:
    return load_policies(["messaging-opt-in"], binding_models())


def test_files_are_made_and_properties_edited_and_a_second_plan_is_empty(tmp_path: Path) -> None:
    rom = open_rom(write_rom(tmp_path, ROM))
    made = plan(rom, opt_in(), {})
    edits = {edit.path: edit for edit in made.edits}
    assert list(edits) == sorted(edits)
    assert set(edits) >= {SERVICE, "/system/build.prop"}
    new = edits["/system/build.prop"].new
    assert new is not None
    assert new.data == b"ro.build.version.sdk=30\nro.messaging.default=off\n"
    assert plan(rom.with_edits(made.edits), opt_in(), {}).edits == ()


def test_a_service_that_is_only_policed_if_present_adds_nothing(tmp_path: Path) -> None:
    services = [
        {
            "profile": "reference-messaging",
            "presence": "if-present",
            "consent": {"mode": "opt-in"},
        }
    ]
    policies = policies_of({"policy": {"services": services}}, tmp_path / "policy")
    files: dict[str, Content] = {"/system/build.prop": "a=b\n", "/system/etc/hosts": "x"}
    absent = plan(open_rom(write_rom(tmp_path / "absent", files)), policies, {})
    assert (absent.edits, absent.obstacles) == ((), ())
    assert plan(open_rom(write_rom(tmp_path / "present", ROM)), policies, {}).edits


def test_a_file_goes_where_links_lead(tmp_path: Path) -> None:
    rom = open_rom(write_rom(tmp_path, {**ROM, "/system/config": Link("etc")}))
    made = plan(rom, opt_in(), {"/system/config/hosts": FileData(b"new")})
    assert "/system/etc/hosts" in {edit.path for edit in made.edits}
    assert "/system/config/hosts" not in {edit.path for edit in made.edits}


@pytest.mark.parametrize(
    "path", ["/system/etc", "system/etc/a", "/system/../etc/a", "/system/loop/a", "/system/a\0b"]
)
def test_a_path_that_no_file_can_have_is_refused(path: str, tmp_path: Path) -> None:
    rom = open_rom(write_rom(tmp_path, {**ROM, "/system/loop": Link("loop")}))
    with pytest.raises(BuildRefused):
        plan(rom, opt_in(), {path: FileData(b"x")})


def test_a_file_below_a_file_is_refused(tmp_path: Path) -> None:
    rom = open_rom(write_rom(tmp_path, ROM))
    with pytest.raises(BuildRefused, match="hosts"):
        plan(rom, opt_in(), {"/system/etc/hosts/a": FileData(b"x")})
    both = {"/system/etc/new": FileData(b"x"), "/system/etc/new/a": FileData(b"x")}
    with pytest.raises(BuildRefused, match="below /system/etc/new"):
        plan(rom, opt_in(), both)


def test_links_in_a_tree_are_refused(tmp_path: Path) -> None:
    write_rom(tmp_path, {"/system/a": "x", "/system/b": Link("/etc/passwd")})
    with pytest.raises(ImageError, match="only files and folders"):
        read_brought([], [tmp_path])
    (tmp_path / "system/b").unlink()
    assert read_brought([], [tmp_path]) == {"/system/a": FileData(b"x")}


def profile() -> Profile:
    return opt_in().services[0][1]


def test_a_file_without_template_is_named() -> None:
    service = ServicePolicy(profile="reference-messaging")
    with pytest.raises(RomBuilderError, match="no template"):
        render_device_file("/system/etc/none.xml", service, profile())


NASTY = st.sampled_from(["<a>", '"', "]]>", "\n", "{{ 7 * 7 }}", "{% raw %}", "&amp;", "-->", "é"])
TEXTS = st.lists(NASTY | st.text("ab<>&\"'{}%#]\n", min_size=1), min_size=1).map("".join)


@settings(max_examples=60, deadline=None)
@given(title=TEXTS, day=st.dates(date(2000, 1, 1)))
def test_no_value_breaks_out_of_its_place(title: str, day: date) -> None:
    pin = {"host": "a.example.com", "sha256": "A" * 43 + "=", "expires": day}
    service = ServicePolicy.model_validate(
        {"profile": "reference-messaging", "transport": {"pins": (pin,)}}
    )
    named = profile().model_copy(update={"title": title})
    for path in named.files:
        data = render_device_file(path, service, named)
        if path.endswith(".xml"):
            tree = etree.fromstring(data)
            assert [e.text for e in tree.iter("pin")] == ["A" * 43 + "="]
        else:
            assert data.decode().startswith(f"{title}\n")


def test_edits_that_change_nothing_are_left_out(tmp_path: Path) -> None:
    rom = open_rom(write_rom(tmp_path, ROM))
    same = {"/system/etc/hosts": FileData(b"127.0.0.1 localhost\n")}
    assert not [e for e in plan(rom, opt_in(), same).edits if e.path == "/system/etc/hosts"]
    removed = rom.with_edits([Edit("/system/etc/hosts", None, "")])
    assert removed.find("/system/etc/hosts") is None


def test_what_the_platform_gives_unasked_is_taken_back(tmp_path: Path) -> None:
    case = load_case(Path(__file__).parent / "rules" / "ROM111" / "bad.yaml")
    case["files"] |= load_case(Path(__file__).parent / "rules" / "ROM110" / "bad.yaml")["files"]
    case["files"]["/system/etc/permissions/privapp-permissions-platform.xml"] = case["files"][
        "/system/etc/permissions/privapp-permissions-platform.xml"
    ].replace("deny-permission", "permission")
    case["files"]["/product/etc/sysconfig/power.xml"] = (
        '<config><allow-in-power-save package="com.example.messenger"/></config>'
    )
    policies = policies_of(case, tmp_path / "policy")
    rom = open_rom(write_rom(tmp_path / "rom", files_of(case)))
    before = check_rom(rom, policies, today=TODAY)
    assert {f.rule for f in before.failures(Severity.ERROR)} == {"ROM110", "ROM111", "ROM112"}
    made = plan(rom, policies, {})
    assert [edit.path for edit in made.edits] == [
        "/product/etc/default-permissions/messenger.xml",
        "/product/etc/sysconfig/power.xml",
        "/system/etc/permissions/privapp-permissions-platform.xml",
    ]
    assert made.obstacles == ()
    edited = rom.with_edits(made.edits)
    assert str(check_rom(edited, policies, today=TODAY).verdict) == "compliant"
    assert plan(edited, policies, {}).edits == ()


def obstacles_of(
    folder: Path, demand: dict[str, Any], files: dict[str, Content], **profile: Any
) -> list[tuple[str, str]]:
    """Return path and hint of what a plan cannot reach for one messenger."""
    service = {"profile": "messenger", **demand}
    case = {
        "policy": {"services": [service]},
        "profile": {"id": "messenger", "packages": ["com.example.messenger"], **profile},
    }
    properties: dict[str, Content] = {"/system/build.prop": "ro.build.version.sdk=34\n"}
    rom = open_rom(write_rom(folder / "rom", {**properties, **files}))
    made = plan(rom, policies_of(case, folder / "policy"), {})
    return [(each.path, each.hint) for each in made.obstacles]


MESSENGER = "/system/priv-app/M/M.apk"


def test_a_forbidden_service_has_to_be_taken_out(tmp_path: Path) -> None:
    demand = {"presence": "if-present", "consent": {"mode": "forbidden"}}
    files: dict[str, Content] = {MESSENGER: App("com.example.messenger")}
    found = obstacles_of(tmp_path / "there", demand, files)
    assert found == [(MESSENGER, f"take it out: --remove {MESSENGER}")]
    assert obstacles_of(tmp_path / "gone", demand, {}) == []


def test_a_required_service_that_is_not_there_is_named(tmp_path: Path) -> None:
    ((path, hint),) = obstacles_of(tmp_path, {"consent": {"mode": "opt-in"}}, {})
    assert path == "messenger"
    assert "bring it with --tree" in hint


def test_a_default_that_no_setting_decides_is_named(tmp_path: Path) -> None:
    files: dict[str, Content] = {MESSENGER: App("com.example.messenger", preferences={"on": False})}
    box = {"mechanism": "preference-xml", "package": "com.example.messenger", "key": "on"}
    switch = {**box, "value_on": True, "value_off": False}
    demand = {"consent": {"mode": "opt-in"}}
    ((path, hint),) = obstacles_of(tmp_path / "box", demand, files, switches=[switch])
    assert path == MESSENGER
    assert "name a setting that the service obeys in the profile" in hint
    code = {"sinks": [{"id": "contact-lookup", "string": "externalId"}]}
    assert obstacles_of(tmp_path / "code", demand, files, switches=[switch], code=code) == []


def test_privileged_apps_that_no_list_limits_are_named(tmp_path: Path) -> None:
    demand = {"permissions": {"privileged": []}}
    app: dict[str, Content] = {MESSENGER: App("com.example.messenger")}
    ((path, hint),) = obstacles_of(tmp_path / "log", demand, app)
    assert (path, hint.partition(",")[0]) == (
        MESSENGER,
        "set ro.control_privapp_permissions=enforce",
    )
    old = {**app, "/system/build.prop": "ro.build.version.sdk=25\n"}
    ((_, hint),) = obstacles_of(tmp_path / "old", demand, old)
    assert hint.startswith(f"move the app out of priv-app: --remove {MESSENGER}")


def test_an_app_of_the_service_that_no_transport_names_is_closed_as_well(tmp_path: Path) -> None:
    closed = "<network-security-config/>"
    files: dict[str, Content] = {
        MESSENGER: App("com.example.messenger", target_sdk=27, network_security_config=closed),
        "/product/etc/x": "",
    }
    case = {
        "policy": {"services": [{"profile": "messenger", "transport": {"cleartext": "forbidden"}}]},
        "profile": {"id": "messenger", "packages": ["com.example.messenger"]},
    }
    properties: dict[str, Content] = {"/system/build.prop": "ro.build.version.sdk=34\n"}
    rom = open_rom(write_rom(tmp_path / "rom", {**properties, **files}))
    (edit,) = plan(rom, policies_of(case, tmp_path / "policy"), {}).edits
    assert edit.path.startswith("/product/overlay/com.example.messenger")
