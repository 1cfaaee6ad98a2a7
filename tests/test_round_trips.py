"""What ``build`` writes, ``check`` finds in effect: every mechanism, on every platform."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from rom_builder.build import NotCompliant, build
from rom_builder.check import check
from rom_builder.cli import main
from rom_builder.edits import FileData
from rom_builder.findings import Report, Severity, Status, Strength, Verdict
from rom_builder.mechanisms import MECHANISMS, binding_models
from rom_builder.mechanisms.overlay_render import android
from rom_builder.plan import Plan, plan
from rom_builder.policy.load import Policies, load_policies
from rom_builder.rom.opening import open_rom
from rom_builder.signers.keyring import Keyring, PartitionSigners
from tests.ab_package import SYSTEM, ab_package
from tests.cases import TODAY
from tests.roms import App, Content, write_rom
from tests.round_trips import (
    APP,
    CONTACTS,
    FRAMEWORK,
    ICON,
    PACKAGE,
    PHONE_STATE,
    PLATFORMS,
    PRIVILEGED_APP,
    SERVICE_FILE,
    TRIPS,
    Trip,
    app,
    network_config,
)
from tests.signing_material import key, signer, write_key

SCRIPT = """format("ext4", "EMMC", "/dev/block/system", "0", "/system");
mount("ext4", "EMMC", "/dev/block/system", "/system");
package_extract_dir("system", "/system");
set_metadata_recursive("/system", "uid", 0, "gid", 0, "dmode", 0755, "fmode", 0644);
symlink("/system/vendor", "/vendor");
symlink("/system/product", "/product");
"""


@cache
def keys() -> Keyring:
    """Throw-away keys, small ones: their size is no matter here."""
    return Keyring(ota=signer(key("rsa-2048")), apk=signer(key("p256", 1)))


def base(folder: Path, sdk: int, files: Mapping[str, Content], *, enforced: bool = True) -> Path:
    """Write a file-based package, unpacked."""
    properties = f"ro.build.version.sdk={sdk}\nro.product.device=pine\n"
    if enforced:
        properties += "ro.control_privapp_permissions=enforce\n"
    return write_rom(
        folder,
        {
            "META-INF/com/google/android/updater-script": SCRIPT,
            "/system/build.prop": properties,
            "/system/vendor/build.prop": "ro.vendor.a=b\n",
            "/system/product/etc/build.prop": "ro.product.a=b\n",
            **files,
        },
    )


def policies(folder: Path, demand: Mapping[str, Any], profile: Mapping[str, Any]) -> Policies:
    """Write and load a policy on one service."""
    service = {
        "schema": "rom-builder/profile/v1",
        "id": "messenger",
        "title": "A messenger",
        **profile,
    }
    policy = {
        "schema": "rom-builder/policy/v1",
        "id": "policy",
        "title": "What is demanded",
        "services": [{"profile": "messenger", **demand}],
    }
    (folder / "profiles").mkdir(parents=True)
    (folder / "profiles" / "messenger.yaml").write_text(yaml.safe_dump(service))
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy))
    return load_policies([folder / "policy.yaml"], binding_models())


def status(report: Report, requirement: str) -> Status:
    (found,) = [each.status for each in report.requirements if each.name == requirement]
    return found


def brought(files: Mapping[str, Content]) -> dict[str, FileData]:
    """Return files as ``--replace`` brings them."""
    return {path: FileData(as_bytes(content)) for path, content in files.items()}


def as_bytes(content: Content) -> bytes:
    assert isinstance(content, App | str | bytes)
    return content if isinstance(content, bytes) else content.encode()


def planned(path: Path, demanded: Policies) -> Plan:
    return plan(open_rom(path), demanded, {})


def test_every_mechanism_makes_the_round_trip() -> None:
    assert {name.partition("/")[0] for name in TRIPS} == set(MECHANISMS)


CASES = [
    pytest.param(trip, sdk, id=f"{name}-{sdk}") for name, trip in TRIPS.items() for sdk in PLATFORMS
]


@pytest.mark.parametrize(("trip", "sdk"), CASES)
def test_what_build_writes_is_in_effect(trip: Trip, sdk: int, tmp_path: Path) -> None:
    rom = base(tmp_path / "rom", sdk, trip.files)
    strict = policies(tmp_path / "strict", trip.demand, trip.profile)
    output = tmp_path / "out.zip"
    before = check(rom, strict, today=TODAY)
    assert status(before, trip.requirement) is (
        Status.UNKNOWN if sdk < trip.silent_below else Status.FAIL
    )
    files: dict[str, FileData] = {}
    removed: tuple[str, ...] = ()
    refused = trip.refused_on(sdk)
    if refused is not None:
        with pytest.raises(NotCompliant) as caught:
            build(rom, strict, keys(), output, brought={}, today=TODAY)
        assert not output.exists()
        assert caught.value.plan.obstacles
        for each in caught.value.plan.obstacles:
            assert refused.why in each.why
            assert refused.hint in each.hint
        if refused.brought is None:
            return
        files, removed = brought(refused.brought), refused.removed
    built = build(rom, strict, keys(), output, brought=files, removed=removed, today=TODAY)
    assert built.plan.edits
    assert built.plan.obstacles == ()
    after = check(output, strict, today=TODAY)
    assert after.verdict is Verdict.COMPLIANT
    assert status(after, trip.requirement) is Status.PASS
    spoken = [each for each in after.findings if each.rule == trip.rule]
    assert spoken
    for finding in spoken:
        assert finding.status is Status.PASS
        assert {each.strength for each in finding.evidence} == {Strength.EFFECTIVE}
    again = planned(output, strict)
    assert (again.edits, again.obstacles) == ((), ())


@pytest.mark.parametrize("sdk", [23, 29, 36])
@pytest.mark.parametrize("trip", TRIPS.values(), ids=TRIPS)
def test_what_a_lax_policy_builds_fails_the_strict_one(
    trip: Trip, sdk: int, tmp_path: Path
) -> None:
    rom = base(tmp_path / "rom", sdk, trip.files)
    strict = policies(tmp_path / "strict", trip.demand, trip.profile)
    lax = policies(tmp_path / "lax", trip.lax, trip.profile)
    output = tmp_path / "out.zip"
    built = build(rom, lax, keys(), output, brought={}, today=TODAY)
    assert built.plan.obstacles == ()
    assert check(output, lax, today=TODAY).verdict is Verdict.COMPLIANT
    report = check(output, strict, today=TODAY)
    assert report.verdict is Verdict.NON_COMPLIANT
    assert status(report, trip.requirement) is Status.FAIL
    assert trip.rule in {each.rule for each in report.failures(Severity.ERROR)}


BY_FILES = [
    name
    for name in TRIPS
    if name.startswith(("default-perm", "platform-ex", "privileged-perm", "initial-package"))
]
"""What files in ``etc`` of a partition configure."""


@pytest.mark.judge("mkfs.erofs", "fsck.erofs")
def test_files_of_the_platform_are_in_effect_on_a_phone_with_slots(tmp_path: Path) -> None:
    """One A/B package, all such mechanisms at once: as switches, and as demands of the policy."""
    trips = [TRIPS[name] for name in BY_FILES]
    files: dict[str, Content] = {path: data for trip in trips for path, data in trip.files.items()}
    del files[APP]
    files[PRIVILEGED_APP] = app(permissions=(CONTACTS, PHONE_STATE), components=ICON)
    profile = {
        "packages": [PACKAGE],
        "switches": [each for trip in trips for each in trip.profile.get("switches", ())],
    }
    permissions = {"pre_granted": "forbidden", "exemptions": "forbidden", "privileged": []}
    demand = {"consent": {"mode": "opt-in"}, "permissions": permissions}
    strict = policies(tmp_path / "strict", demand, profile)
    lax = policies(tmp_path / "lax", {"consent": {"mode": "opt-out"}}, profile)
    maker = key("rsa-2048")
    rom = ab_package(
        tmp_path,
        {
            **SYSTEM,
            "system/build.prop": SYSTEM["system/build.prop"]
            + b"ro.control_privapp_permissions=enforce\n",
            **{path.lstrip("/"): as_bytes(content) for path, content in files.items()},
        },
        key=maker.private_key,  # type: ignore[arg-type]
        otacert=maker.certificate.public_bytes(Encoding.PEM),
    )
    sealing = replace(keys(), avb=PartitionSigners(signer(key("rsa-2048", 2))))
    outputs = []
    for name, demanded in (("lax", lax), ("strict", strict)):
        outputs.append(tmp_path / f"{name}.zip")
        build(rom, demanded, sealing, outputs[-1], brought={}, today=TODAY)
        assert check(outputs[-1], demanded, today=TODAY).verdict is Verdict.COMPLIANT
    rules = {"ROM101", "ROM110", "ROM111", "ROM112"}
    failed = check(outputs[0], strict, today=TODAY).failures(Severity.ERROR)
    assert {each.rule for each in failed} >= rules
    spoken = [f for f in check(outputs[1], strict, today=TODAY).findings if f.rule in rules]
    assert {f.rule for f in spoken} == rules
    assert {f.status for f in spoken} == {Status.PASS}
    assert {e.strength for f in spoken for e in f.evidence} == {Strength.EFFECTIVE}


# Whatever a policy says

QUICK = [phase for phase in Phase if phase is not Phase.explain]
"""To explain a failure takes minutes here."""

SECTIONS = st.fixed_dictionaries(
    {},
    optional={
        "consent": st.fixed_dictionaries(
            {"mode": st.sampled_from(["opt-in", "opt-in", "opt-out", "forbidden"])},
            optional={"preselected": st.sampled_from(["forbidden", "allowed"])},
        ),
        "transport": st.fixed_dictionaries(
            {"cleartext": st.sampled_from(["forbidden", "allowed"])}
        ),
        "permissions": st.fixed_dictionaries(
            {"pre_granted": st.sampled_from(["forbidden", "allowed"])},
            optional={
                "exemptions": st.sampled_from(["forbidden", "allowed"]),
                "privileged": st.sampled_from([[], [PHONE_STATE]]),
            },
        ),
    },
)
SWITCHES = sorted(
    name
    for name, trip in TRIPS.items()
    if "switches" in trip.profile and name not in ("carrier-config", "resource-bool/settings")
)
"""Those of the app itself."""


@st.composite
def roms(draw: st.DrawFn) -> dict[str, Content]:
    """A phone with the app in some state, and with files of the platform that speak of it or do not."""
    permitted = draw(st.sampled_from([None, True, True, False]))
    path = draw(st.sampled_from([APP, PRIVILEGED_APP]))
    states = draw(
        st.fixed_dictionaries({name: st.booleans() for name in ("file", "property", "box")})
    )
    both = {"": draw(st.booleans()), "mcc310": draw(st.booleans())}
    content = App(
        PACKAGE,
        target_sdk=draw(st.sampled_from([22, 27, 29, 29, 34, 34])),
        cleartext=draw(st.sampled_from([None, True, False])),
        network_security_config=None if permitted is None else network_config(permitted=permitted),
        permissions=tuple(draw(st.sets(st.sampled_from([CONTACTS, PHONE_STATE])))),
        bools={"messaging": both},
        integers={"messaging": draw(st.sampled_from([0, 2]))},
        strings={"messaging": draw(st.sampled_from(["on", "off"]))},
        components={**ICON, "receiver": {".Boot": {"enabled": draw(st.booleans())}}},
        preferences={"messaging": states["box"]},
    )
    state = "on" if states["file"] else "off"
    files: dict[str, Content] = {
        FRAMEWORK: App(
            "android",
            bools={"config_stopSystemPackagesByDefault": draw(st.booleans())},
            integers={"config_userTypePackageWhitelistMode": draw(st.sampled_from([0, 29]))},
        ),
        SERVICE_FILE: f'<service><consent default="{state}" preselected="allowed"/></service>',
        "/system/etc/prop.default": f"persist.messaging={'on' if states['property'] else 'off'}\n",
    }
    for trip in (TRIPS[name] for name in BY_FILES):
        for file, text in trip.files.items():
            if file.endswith(".xml") and draw(st.booleans()):
                files[file] = text  # noqa: PERF403
    if draw(st.integers(0, 9)):
        files[path] = content
    return files


@pytest.fixture(scope="module")
def signing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signing profile with two keys in files."""
    folder = tmp_path_factory.mktemp("signing")
    roles = {}
    for role, made in (("ota", key("rsa-2048")), ("apk", key("p256", 1))):
        (folder / role).mkdir()
        write_key(folder / role, made)
        roles[role] = {"signer": f"file:{role}/key.pem", "certificate": f"{role}/key.x509.pem"}
    profile = {"schema": "rom-builder/signing/v1", "id": "test", "title": "Keys", "roles": roles}
    (folder / "signing.yaml").write_text(yaml.safe_dump(profile))
    return folder / "signing.yaml"


@settings(
    deadline=None,
    max_examples=40,
    phases=QUICK,
    suppress_health_check=list(HealthCheck),
)
@given(
    sdk=st.sampled_from([*PLATFORMS, *range(26, 37)]),
    files=roms(),
    demand=SECTIONS,
    named=st.sets(st.sampled_from(SWITCHES), min_size=1, max_size=4),
    presence=st.sampled_from(["required", "if-present"]),
    enforced=st.booleans(),
)
def test_what_plan_accepts_is_built_and_passes_and_what_it_refuses_is_not_written(
    sdk: int,
    files: dict[str, Content],
    demand: dict[str, Any],
    named: set[str],
    presence: str,
    enforced: bool,
    signing: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("case")
    profile = {
        "packages": [PACKAGE],
        "switches": [TRIPS[name].profile["switches"][0] for name in sorted(named)],
        "settings": TRIPS["preference-xml"].profile["settings"],
    }
    rom = base(folder / "rom", sdk, files, enforced=enforced)
    policies(folder / "policy", {"presence": presence, **demand}, profile)
    policy, output = str(folder / "policy" / "policy.yaml"), folder / "out.zip"
    strict = load_policies([policy], binding_models())
    assert main(["plan", str(rom), "-p", policy]) == 0
    made = planned(rom, strict)
    code = main(["build", str(rom), "-p", policy, "-s", str(signing), "-o", str(output)])
    event(f"{'refused' if made.obstacles else 'accepted'}, {len(made.edits)} edits")
    # A box that disagrees is a warning where nobody forbids it to be ticked.
    is_advice = demand.get("consent", {}).get("preselected") != "forbidden"
    needed = [o for o in made.obstacles if not (is_advice and "preference" in o.why)]
    if needed:
        assert code == 1
        assert not output.exists()
        return
    assert code == 0
    assert main(["check", str(output), "-p", policy]) == 0
    again = planned(output, strict)
    assert (again.edits, again.obstacles) == ((), made.obstacles)


def test_the_documentation_says_from_which_platform_on_each_is_set() -> None:
    text = (Path(__file__).parent.parent / "docs" / "profiles.md").read_text()
    table = text.partition("### On which platforms\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z-]+)`.*?\| ([^|]+) \|", table, re.MULTILINE)
    stated = dict(rows)
    assert set(stated) == set(MECHANISMS)
    for name, trip in TRIPS.items():
        first = max((each.below for each in trip.refused), default=PLATFORMS.start)
        words = stated[name.partition("/")[0]]
        if first not in PLATFORMS:
            assert words == "none"
        elif name != "network-security-config/file":
            assert words == (
                "all"
                if first == PLATFORMS.start
                else f"{android(first)[8:].split(' ')[0]} and later"
            )
