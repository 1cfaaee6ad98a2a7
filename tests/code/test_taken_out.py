"""Code that was taken out of its app means the same as inside, however Android rewrote it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from rom_builder.code.endpoints import read_endpoints, watch
from rom_builder.code.reading import read_service_code
from rom_builder.facts.code import ConsentCheck, Outcome
from rom_builder.findings import Layer, Location, Status, Verdict
from rom_builder.policy.profile import Profile
from rom_builder.readers.packages import Packages
from rom_builder.rom import Rom
from rom_builder.rom.opening import open_rom
from tests.formats.builders.cdex import vdex
from tests.formats.builders.dex import Class, Method, dex
from tests.formats.builders.oat import oat
from tests.roms import zipped

from .look_alikes import DEX
from .test_reading import PROFILE
from .test_renaming import report, verdicts

VDEX = "system/app/LookAlike/oat/arm64/LookAlike.vdex"
CODE = (DEX / "gate_after_sink.dex").read_bytes()
FORMS = {
    "Android 8.0": vdex("006", [CODE], quick=True),
    "Android 8.1": vdex("010", [CODE], quick=True),
    "Android 9": vdex("019", [CODE], as_compact=True, quick=True),
    "Android 10": vdex("021", [CODE], as_compact=True, quick=True),
    "Android 10, plain": vdex("021", [CODE]),
    "Android 12": vdex("027", [CODE], as_compact=True),
}

OATS = {
    "039": "arm/LookAlike.odex",
    "045": "arm/LookAlike.odex",
    "064": "oat/arm64/LookAlike.odex",
    "079": "oat/arm64/LookAlike.odex",
    "088": "oat/arm64/LookAlike.odex",
}
"""Where Android 5 to 7 put compiled code, by its version."""

OF_NOBODY = dex([Class("Lnobody/A;", methods=(Method("m"),))])
"""Another file of the app, so that two share their data."""


def opened(folder: Path, container: bytes | None, place: str = "") -> Rom:
    files = folder / "system" / "app" / "LookAlike"
    (files / "oat" / "arm64").mkdir(parents=True)
    entries = {"AndroidManifest.xml": (DEX / "AndroidManifest.xml").read_bytes()}
    if container is None:
        entries["classes.dex"] = CODE
    elif place:
        (files / place).parent.mkdir(exist_ok=True)
        (files / place).write_bytes(container)
    else:
        (files / "oat" / "arm64" / "LookAlike.odex").write_bytes(b"\x7fELF")
        (folder / VDEX).write_bytes(container)
    (files / "LookAlike.apk").write_bytes(zipped(entries))
    return open_rom(folder)


def consent_checks(rom: Rom) -> list[ConsentCheck]:
    profile = Profile.model_validate_json(json.dumps(yaml.safe_load(PROFILE)))
    facts = read_service_code(rom, Packages(rom), profile, {})
    return [fact for fact in facts if isinstance(fact, ConsentCheck)]


@pytest.mark.parametrize("form", FORMS)
def test_it_says_the_same_and_its_evidence_lies_in_the_container(tmp_path: Path, form: str) -> None:
    inside = opened(tmp_path / "inside", None)
    beside = opened(tmp_path / "beside", FORMS[form])
    plain, other = consent_checks(inside), consent_checks(beside)
    assert plain
    assert not beside.unread
    assert [(c.outcome, c.automatic) for c in plain] == [(c.outcome, c.automatic) for c in other]
    container = FORMS[form]
    start = max(container.find(b"dex\n035"), container.find(b"cdex001"))
    for one, two in zip(plain, other, strict=True):
        for here, there in zip(places(one), places(two), strict=True):
            assert there.path == f"{VDEX}!/classes.dex"
            assert here.offset is not None
            assert there.offset is not None
            # const-string, which nothing rewrites, with its operand
            if CODE[here.offset] == 0x1A:
                at = start + there.offset
                assert container[at : at + 4] == CODE[here.offset : here.offset + 4]


def places(check: ConsentCheck) -> list[Location]:
    return [check.location, *(step.location for step in check.steps)]


@pytest.mark.parametrize(
    "name",
    ["box_ticked", "choice", "exception_path", "handler_sent", "identifiers", "reflection",
     "runnable", "switch_asked", "trust_all", "urls"],
)  # fmt: skip
def test_verdicts_do_not_hang_on_where_the_code_lies(tmp_path: Path, name: str) -> None:
    code = (DEX / f"{name}.dex").read_bytes()
    found = []
    containers = (None, vdex("021", [OF_NOBODY, code], as_compact=True, quick=True))
    for number, container in enumerate(containers):
        (tmp_path / str(number)).mkdir()
        found.append(report(tmp_path / str(number), name, DEX, {}, container))
    inside, beside = found
    assert verdicts(inside) == verdicts(beside)
    assert beside.unread == ()


def test_code_that_cannot_be_restored_is_unread_not_guessed(tmp_path: Path) -> None:
    whole = bytearray(FORMS["Android 10"])
    whole[-4:] = b"\xff" * 4
    rom = opened(tmp_path, bytes(whole))
    assert consent_checks(rom) == []
    (part,) = rom.unread
    assert "quickening data run past their end" in part.reason
    assert part.path == VDEX


@pytest.mark.parametrize("version", ["010", "021"])
def test_addresses_of_a_service_are_found_in_code_that_another_app_had(
    tmp_path: Path, version: str
) -> None:
    url = "http://api.example.com/v1"
    texts = (url, "http://elsewhere.example.org/")
    method = Method("m", code=lambda ids: [0x001A, ids(url), 0x000E], texts=texts)
    other = dex([Class("Lother/A;", methods=(method,))])
    container = vdex(version, [OF_NOBODY, other], as_compact=version == "021", quick=True)
    rom = opened(tmp_path, container)
    profile = Profile.model_validate_json(json.dumps(yaml.safe_load(PROFILE)))
    somebody = profile.model_copy(update={"packages": ("com.example.other",), "code_files": ()})
    watched = watch(somebody, somebody.hosts, rom, Packages(rom))
    (found,) = read_endpoints(rom, [watched])
    assert (found.url, found.own) == (url, False)
    assert found.location.path == f"{VDEX}!/classes2.dex"
    start = container.rindex(b"cdex001" if version == "021" else b"dex\n035")
    assert found.location.offset is not None
    assert container[start + found.location.offset + 1 :].startswith(url.encode())
    assert not rom.unread


def test_an_app_without_any_code_is_unread_only_if_it_is_the_service(tmp_path: Path) -> None:
    rom = opened(tmp_path, b"vdex021\0" + b"000\0" + bytes(16))
    profile = Profile.model_validate_json(json.dumps(yaml.safe_load(PROFILE)))
    somebody = profile.model_copy(update={"packages": ("com.example.other",), "code_files": ()})
    packages = Packages(rom)
    assert list(read_endpoints(rom, [watch(somebody, somebody.hosts, rom, packages)])) == []
    assert not rom.unread
    assert list(read_endpoints(rom, [watch(profile, profile.hosts, rom, packages)])) == []
    assert [part.reason for part in rom.unread] == ["holds no code, and its app neither"]


@pytest.mark.parametrize("version", OATS)
def test_compiled_code_says_the_same_and_is_where_the_evidence_says(
    tmp_path: Path, version: str
) -> None:
    inside = opened(tmp_path / "inside", None)
    whole = oat(version, [OF_NOBODY, CODE], wide=version > "060")
    beside = opened(tmp_path / "beside", whole, OATS[version])
    plain, other = consent_checks(inside), consent_checks(beside)
    assert plain
    assert not beside.unread
    assert [(c.outcome, c.automatic) for c in plain] == [(c.outcome, c.automatic) for c in other]
    start = whole.index(CODE)
    for one, two in zip(plain, other, strict=True):
        for here, there in zip(places(one), places(two), strict=True):
            assert there.path == f"system/app/LookAlike/{OATS[version]}!/classes2.dex"
            assert there.offset == here.offset is not None
            assert whole[start + there.offset :][:4] == CODE[here.offset :][:4]


@pytest.mark.parametrize("version", ["045", "079"])
@pytest.mark.parametrize(
    "name",
    ["box_ticked", "choice", "exception_path", "handler_sent", "identifiers", "reflection",
     "runnable", "switch_asked", "trust_all", "urls"],
)  # fmt: skip
def test_verdicts_do_not_hang_on_whether_code_was_compiled(
    tmp_path: Path, name: str, version: str
) -> None:
    code = (DEX / f"{name}.dex").read_bytes()
    library = (DEX / "library.dex").read_bytes()
    jars = ["/system/framework/core.jar", "/system/framework/vendor.jar"]
    (tmp_path / "inside").mkdir()
    (tmp_path / "beside").mkdir()
    inside = report(tmp_path / "inside", name, DEX, {})
    beside = report(
        tmp_path / "beside",
        name,
        DEX,
        {},
        oat(version, [OF_NOBODY, code]),
        place=OATS[version],
        boot=oat(version, [OF_NOBODY, library], locations=jars),
    )
    assert verdicts(inside) == verdicts(beside)
    assert beside.unread == ()


SLOTS = ["boot_asked", "box_shown", "gate_kept_in_field", "handler_sent", "identifiers", "urls"]
"""What calls, reads or writes something by a slot once it is quickened."""


@pytest.mark.parametrize("name", SLOTS)
def test_nothing_passes_where_calls_name_slots_only(tmp_path: Path, name: str) -> None:
    code = (DEX / f"{name}.dex").read_bytes()
    compiled = oat("064", [code], quick=True)
    found = report(tmp_path, name, DEX, {}, compiled, place=OATS["064"])
    assert not [f for f in found.findings if f.layer is Layer.CODED and f.status is Status.PASS]
    (part,) = found.unread
    assert part.path == f"system/app/{OATS['064']}!/classes.dex"
    assert "what some operations call, read or write is not in the file" in part.reason
    assert found.verdict is not Verdict.COMPLIANT


@pytest.mark.parametrize(
    "name", [*SLOTS, "box_ticked", "box_yes_by_default", "choice", "allow_all"]
)
def test_nothing_fails_that_did_not_before_calls_named_slots(tmp_path: Path, name: str) -> None:
    code = (DEX / f"{name}.dex").read_bytes()
    failed = []
    for quick in (False, True):
        (tmp_path / str(quick)).mkdir()
        compiled = oat("088", [code], quick=quick)
        found = report(tmp_path / str(quick), name, DEX, {}, compiled, place=OATS["088"])
        coded = [f for f in found.findings if f.layer is Layer.CODED and f.status is Status.FAIL]
        failed.append({(f.rule, f.selector, f.message) for f in coded})
    assert failed[1] <= failed[0]


@pytest.mark.parametrize("name", ["boot_asked", "handler_sent", "switch_asked"])
def test_consent_is_unknown_where_calls_name_slots_only(tmp_path: Path, name: str) -> None:
    code = (DEX / f"{name}.dex").read_bytes()
    found = {}
    for quick in (False, True):
        rom = opened(tmp_path / str(quick), oat("064", [code], quick=quick), OATS["064"])
        found[quick] = {check.outcome for check in consent_checks(rom)}
        assert len(rom.unread) == quick
    assert found[True] == {Outcome.UNKNOWN} != found[False]


def test_a_jar_that_boot_oat_does_not_hold_is_unread(tmp_path: Path) -> None:
    boot = oat("064", [OF_NOBODY], locations=["/system/framework/core.jar"])
    found = report(tmp_path, "urls", DEX, {}, boot=boot)
    assert {(part.path, part.reason) for part in found.unread} == {
        ("system/framework/arm/boot.oat", "holds no code of vendor.jar")
    }
