"""Cases of rules: a policy, a profile, a tiny ROM and what a check must say, in one YAML file.

::

    description: One sentence: what is special here.
    like: good.yaml            # start from another case of the folder; what follows is merged over it
    policy:                    # inline, without schema, id and title; or the id of a shipped policy
      services:
        - profile: reference-messaging
          consent: {mode: opt-in}
    profile: {id: ..., ...}    # inline, without schema and title; leave it out for a shipped one
    today: 2026-01-01          # day on which dates are judged
    beside: {ca/a.pem: {certificate: {of: release}}}    # files beside the policy
    files:
      /system/build.prop: |
        ro.build.version.sdk=29
      /system/etc/a.xml: {replace: {'default="off"': 'default="on"'}}   # change a file of `like`
      /system/etc/b: {link: ../c}
      /system/etc/c: {utf16: text} | {hex: 00ff} | {dex: [strings]} | {zip: {name: text}}
                     | {certificates: [{of: release}]} | {certificate: {of: testkey, name: x}} | {fifo: true}
      /vbmeta.img: {vbmeta: {covers: [system], chains: {boot: private}, key: private, flags: 0}}
                   # keys: private, other, public (AVB's own test key), none
      /system/app/X.apk: {fixture: messaging.apk}     # of tests/fixtures/apks; signed: signs it
      /system/etc/d: null                             # not there
    apks:
      /system/app/X.apk: {package: com.example.messaging, target_sdk: 28, ...}   # tests.roms.App
                         # its `entries` are contents as above, {classes.dex: {fixture: ...}}
      /system/app/Y.apk: {like: /system/app/X.apk, package: com.example.y}
    waivers:                   # entries of a waiver file
      - {rule: ROM101, reason: ten characters or more, expires: 2026-02-01, approved_by: Jane Doe}
    baseline:                  # entries of a baseline
      0123456789abcdef: {rule: ROM101, path: system/x, observations: 1}
    expect:                    # of each rule named here, these findings and no others
      - {rule: ROM101, status: pass, severity: error, message: off by default, evidence: service.xml}
      - {rule: ROM103, status: silent}
    requirements: {consent.default: pass}             # rows of the report
    verdict: compliant
    unread: [X.apk]                                   # one text for each unread part, in order

Maps are merged, all else replaced, null takes away; ``message`` and ``evidence`` are parts of the text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import date
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric import rsa

from rom_builder.check import check
from rom_builder.findings import Finding, Report
from rom_builder.formats.avb_key import encode_public_key
from rom_builder.mechanisms import binding_models
from rom_builder.policy.load import Policies, load_policies
from rom_builder.waivers.apply import Exceptions
from rom_builder.waivers.baseline import load_baseline
from rom_builder.waivers.models import load_waivers
from tests.fixtures.make_apks import APKS
from tests.formats.builders import vbmeta
from tests.roms import (
    App,
    Content,
    Fifo,
    Link,
    certificate,
    dex,
    otacerts,
    pem,
    sign_v2,
    write_rom,
    zipped,
)

TODAY = date(2026, 1, 1)
KEYS = {
    "description", "like", "policy", "profile", "today", "beside", "files", "apks", "expect", "requirements",
    "verdict", "unread", "waivers", "baseline",
}  # fmt: skip
EXPECT_KEYS = {"rule", "status", "severity", "message", "evidence", "service", "layer"}


def load_case(path: Path) -> dict[str, Any]:
    """Return a case with all that it is like merged in."""
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    if unknown := set(case) - KEYS:
        raise ValueError(f"{path}: unknown keys {sorted(unknown)}")
    like = case.pop("like", None)
    if like is None:
        return case
    base = load_case(path.parent / like)
    for key in ("expect", "requirements", "verdict", "unread"):
        base.pop(key, None)
    return merged(base, case)


def merged(base: Any, change: Any) -> Any:
    """Merge maps, replace all else; ``{replace: {old: new}}`` changes a text."""
    if isinstance(change, dict) and set(change) == {"replace"} and isinstance(base, str):
        for old, new in change["replace"].items():
            if old not in base:
                raise ValueError(f"{old!r} is not in the text that is to be changed")
            base = base.replace(old, new)
        return base
    if isinstance(base, dict) and isinstance(change, dict):
        return {
            key: merged(base.get(key), change[key]) if key in change else base[key]
            for key in (*base, *(key for key in change if key not in base))
        }
    return change


def files_of(case: dict[str, Any]) -> dict[str, Content]:
    """Return the files and apps of a case."""
    files = {
        name: content_of(value)
        for name, value in case.get("files", {}).items()
        if value is not None
    }
    apks = case.get("apks", {})
    known = {field.name for field in fields(App)}
    for name, words in apks.items():
        if words is None:
            continue
        words = dict(words)
        words = {**apks[words.pop("like")], **words} if "like" in words else words
        if unknown := set(words) - known:
            raise ValueError(f"{name}: unknown keys {sorted(unknown)}")
        for listed in {"code", "permissions"} & set(words):
            words[listed] = tuple(words[listed])
        if "entries" in words:
            words["entries"] = {entry: content_of(v) for entry, v in words["entries"].items()}
        files[name] = App(**words)
    return files


def content_of(value: Any) -> Content:
    """Return what a file of a case holds."""
    if isinstance(value, str):
        return value
    ((kind, given),) = value.items()
    match kind:
        case "link":
            return Link(given)
        case "fifo":
            return Fifo()
        case "utf16":
            return given.encode("utf-16-le")
        case "hex":
            return bytes.fromhex(given)
        case "dex":
            return dex(given)
        case "fixture":
            return (APKS / given).read_bytes()
        case "signed":
            return sign_v2((APKS / given).read_bytes())
        case "certificate":
            return pem(certificate(**given))
        case "certificates":
            return otacerts(*(certificate(**each) for each in given))
        case "vbmeta":
            return vbmeta_image(**given)
        case "zip":
            entries = {name: content_of(inner) for name, inner in given.items()}
            return zipped({n: e.encode() if isinstance(e, str) else e for n, e in entries.items()})  # type: ignore[misc]
    raise ValueError(f"unknown kind of file {kind!r}")


def vbmeta_image(
    covers: Sequence[str] = (),
    chains: Mapping[str, str] = MappingProxyType({}),
    key: str = "private",
    flags: int = 0,
) -> bytes:
    """Return a vbmeta image, signed unless ``key`` is none; nobody here can sign with ``public``."""
    items = [vbmeta.hashtree(name.encode(), b"", bytes(32), 4096, 4096, 0) for name in covers]
    for place, (name, of) in enumerate(chains.items(), 1):
        blob = avb_test_key() if of == "public" else vbmeta.key_blob(avb_key(of))
        items.append(vbmeta.chain(name.encode(), place, blob))
    return vbmeta.vbmeta(b"".join(items), None if key == "none" else avb_key(key), flags=flags)


@cache
def avb_key(name: str) -> rsa.RSAPrivateKey:
    """Make a key, the same for the same name."""
    return rsa.generate_private_key(65537, 2048)


def avb_test_key() -> bytes:
    """AVB's own 4096-bit test key as a blob; the file has its modulus."""
    text = (Path(__file__).parent / "fixtures" / "avb_testkey_rsa4096.txt").read_text()
    modulus = int(text.replace("\n", ""), 16)
    return encode_public_key(rsa.RSAPublicNumbers(65537, modulus).public_key())


def policies_of(case: dict[str, Any], folder: Path) -> Policies:
    """Write the policy and the profile of a case to a folder and load them."""
    policy, profile = case["policy"], case.get("profile")
    if isinstance(policy, str):
        return load_policies([policy], binding_models())
    (folder / "profiles").mkdir(parents=True, exist_ok=True)
    for name, value in case.get("beside", {}).items():
        content = content_of(value)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(
            content if isinstance(content, bytes) else str(content).encode()
        )
    path = folder / "case.yaml"
    head = {"schema": "rom-builder/policy/v1", "id": "case", "title": "The case's policy"}
    path.write_text(yaml.safe_dump({**head, **stated(policy)}))
    if profile is not None:
        head = {"schema": "rom-builder/profile/v1", "title": "The case's service"}
        (folder / "profiles" / f"{profile['id']}.yaml").write_text(
            yaml.safe_dump({**head, **stated(profile)})
        )
    return load_policies([path], binding_models())


def stated(value: Any) -> Any:
    """Leave out what a case took out of the one it is like, by setting it to null."""
    if isinstance(value, dict):
        return {key: stated(inner) for key, inner in value.items() if inner is not None}
    return value


def check_case(case: dict[str, Any], folder: Path) -> Report:
    """Check the ROM of a case, written below a folder, against its policy."""
    policies = policies_of(case, folder / "policy")
    rom = write_rom(folder / "rom", files_of(case))
    exceptions = exceptions_of(case, folder)
    return check(rom, policies, today=case.get("today", TODAY), exceptions=exceptions)


def exceptions_of(case: dict[str, Any], folder: Path) -> Exceptions:
    """Write the waivers and the baseline of a case to a folder and load them."""
    waivers, baseline = folder / "waivers.yaml", folder / "baseline.json"
    if "waivers" in case:
        head = {"schema": "rom-builder/waivers/v1"}
        waivers.write_text(yaml.safe_dump({**head, "waivers": case["waivers"]}))
    if "baseline" in case:
        baseline.write_text(
            json.dumps({"schema": "rom-builder/baseline/v1", "findings": case["baseline"]})
        )
    return Exceptions(
        load_waivers((waivers,) if "waivers" in case else ()),
        load_baseline(baseline) if "baseline" in case else None,
    )


def differences(case: dict[str, Any], report: Report) -> list[str]:
    """Return how a report differs from what a case expects; empty if it does not."""
    expected = case["expect"]
    said = []
    for each in expected:
        if unknown := set(each) - EXPECT_KEYS:
            raise ValueError(f"unknown keys in expect: {sorted(unknown)}")
    for rule in dict.fromkeys(each["rule"] for each in expected):
        wanted = [e for e in expected if e["rule"] == rule and e["status"] != "silent"]
        found = [f for f in report.findings if f.rule == rule]
        for each in wanted:
            match = next((f for f in found if matches(each, f)), None)
            if match is None:
                said.append(f"missing: {each}")
            else:
                found.remove(match)
        said += [f"not expected: {told(f)}" for f in found]
    rows = {row.name: str(row.status) for row in report.requirements}
    for name, status in case.get("requirements", {}).items():
        if rows.get(name) != status:
            said.append(f"requirement {name} is {rows.get(name)}, not {status}")
    if "verdict" in case and str(report.verdict) != case["verdict"]:
        said.append(f"the verdict is {report.verdict}, not {case['verdict']}")
    unread = [f"{part.path}: {part.reason}" for part in report.unread]
    texts = case.get("unread", [])
    if len(texts) != len(unread) or any(t not in u for t, u in zip(texts, unread, strict=False)):
        said.append(f"unread is {unread}, not {texts}")
    return said


def matches(expected: dict[str, str], finding: Finding) -> bool:
    """Say whether a finding is the one that is expected."""
    evidence = "\n".join(f"{e.location}: {e.text}" for e in finding.evidence)
    return (
        str(finding.status) == expected["status"]
        and str(finding.severity) == expected.get("severity", str(finding.severity))
        and str(finding.layer) == expected.get("layer", str(finding.layer))
        and finding.service == expected.get("service", finding.service)
        and expected.get("message", "") in finding.message
        and expected.get("evidence", "") in evidence
    )


def told(finding: Finding) -> str:
    """Say a finding in one line."""
    evidence = "; ".join(f"{e.location}: {e.text}" for e in finding.evidence)
    return f"{finding.rule} {finding.status} {finding.severity}: {finding.message} [{evidence}]"
