"""Reports put together by hand: one with everything a format has to show, and one that is long."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from rom_builder.findings import (
    Evidence,
    Finding,
    Host,
    Image,
    Layer,
    Link,
    Location,
    Report,
    Requirement,
    Severity,
    Status,
    Strength,
    Suppression,
    sorted_findings,
)
from rom_builder.formats.tree import Unread

SERVICE = "reference-messaging"
POLICY = "policies/messaging.yaml"
WAIVER = Suppression(
    "waiver",
    "the next release drops the old server",
    approved_by="Jane Doe",
    ticket="PRIV-7",
    expires=date(2026, 6, 30),
    where=".rom-builder/waivers.yaml:2:3",
)
BASELINE = Suppression("baseline", "in the baseline of May", where="baseline.json:9:1")
CHAIN = (
    Link(Location("system/etc/reference-messaging/service.xml", line=3), 'default="off"'),
    Link(Location("product/overlay/Messaging.apk!/resources.arsc", 96), "bool/default_on is true"),
)


def finding(
    rule: str,
    alias: str,
    status: Status,
    requirement: str,
    message: str,
    evidence: tuple[Evidence, ...],
    severity: Severity = Severity.ERROR,
    service: str | None = SERVICE,
    layer: Layer = Layer.CONFIGURED,
    suppression: Suppression | None = None,
    selector: str = "",
) -> Finding:
    mended = status in (Status.FAIL, Status.UNKNOWN)
    return Finding(
        rule, alias, status, severity, service, requirement, layer, message, evidence,
        f"mend {requirement}" if mended else "", selector, suppression,
    )  # fmt: skip


def seen(path: str, text: str, strength: Strength = Strength.EFFECTIVE, **more: int) -> Evidence:
    return Evidence(Location(path, more.get("offset"), more.get("line")), text, strength)


def full() -> Report:
    """A report with every status and severity, waived and known findings, a chain, and the rest."""
    dex = "system/app/Messaging.apk!/classes.dex"
    overlaid = Evidence(CHAIN[-1].location, "the default is on", Strength.EFFECTIVE, CHAIN)
    findings = (
        finding("ROM101", "messaging-default-opt-in", Status.FAIL, "consent.default",
                "the messaging service is on by default", (overlaid,)),
        finding("ROM208", "service-url-over-http-in-code", Status.FAIL, "transport.cleartext",
                "the code sends to a.example.com over http: http://a.example.com/{} and 7 more",
                tuple(seen(dex, f"http://a.example.com/{n}", Strength.CODE, offset=n)
                      for n in range(8)), layer=Layer.CODED, selector="a.example.com"),
        finding("ROM401", "publicly-known-key", Status.FAIL, "rom.public_keys",
                "the package is signed with a publicly known key",
                (seen("META-INF/com/android/otacert", "AOSP testkey"),), Severity.CRITICAL, None),
        finding("ROM202", "service-host-over-http", Status.FAIL, "transport.cleartext",
                "b.example.com is addressed over http in 1 place",
                (seen(dex, "http://b.example.com/", Strength.PRESENCE, offset=77),),
                Severity.WARNING, layer=Layer.CODED, selector="b.example.com"),
        finding("ROM207", "host-not-in-policy", Status.FAIL, "transport.hosts",
                "the programs spell out 1 host that the policy does not name",
                (seen(dex, "https://c.example.org/", Strength.PRESENCE, offset=78),),
                Severity.NOTE, layer=Layer.CODED, selector="programs"),
        finding("ROM204", "user-ca-trusted", Status.FAIL, "transport.user_ca",
                "com.example.messaging trusts the user's authorities",
                (seen("system/app/Messaging.apk!/res/xml/nsc.xml", '<certificates src="user">',
                      line=4),), suppression=WAIVER),
        finding("ROM203", "tls-minimum", Status.FAIL, "transport.min_tls",
                "API level 17 does not offer TLS 1.2",
                (seen("system/build.prop", "Android API level 17", Strength.PRESENCE, line=10),),
                suppression=BASELINE),
        finding("ROM302", "undeclared-data", Status.UNKNOWN, "data.allowed",
                "what the service may send was not established",
                (seen("", "nothing in the image speaks of it", Strength.PRESENCE),)),
        finding("ROM902", "unread-parts", Status.UNKNOWN, "rom.readable",
                "1 part of the image could not be read",
                (seen("vendor.img", "is encrypted", Strength.PRESENCE),), service=None),
        finding("ROM105", "service-missing", Status.PASS, "presence", "the service is in the ROM",
                (seen("system/app/Messaging.apk", "com.example.messaging", Strength.PRESENCE),)),
        finding("ROM901", "attested-statement", Status.ATTESTED, "attested",
                "Jane Doe states retention: none, until 2027-12-31",
                (seen("", "retention: none", Strength.ATTESTATION),), layer=Layer.DECLARED,
                selector="retention"),
        finding("ROM201", "cleartext-permitted", Status.NOT_APPLICABLE, "transport.cleartext",
                "Android below API 24 does not restrict cleartext",
                (seen("system/build.prop", "Android API level 17", Strength.PRESENCE, line=10),)),
    )  # fmt: skip
    requirements = (
        row("presence", Status.PASS, 6, configured=Status.PASS),
        row("consent.default", Status.FAIL, 9, configured=Status.FAIL),
        row("consent.on_upgrade", Status.UNKNOWN, 10),
        row("transport.cleartext", Status.FAIL, 12, configured=Status.NOT_APPLICABLE,
            coded=Status.FAIL),
        row("transport.min_tls", Status.FAIL, 13, configured=Status.FAIL),
        replace(row("transport.user_ca", Status.FAIL, 14, configured=Status.FAIL), waived=True),
        row("transport.hosts", Status.PASS, 15, configured=Status.PASS),
        row("data.allowed", Status.UNKNOWN, 18, configured=Status.UNKNOWN),
        row("attested/retention", Status.ATTESTED, 20, declared=Status.ATTESTED),
        replace(row("rom.public_keys", Status.FAIL, 23, configured=Status.FAIL), service=None),
    )  # fmt: skip
    return Report(
        image=Image("out/ota.zip", "file-based OTA", "5f" * 32,
                    "Example/phone/phone:4.2.2/JDQ39/7:user/release-keys"),
        policies=(("messaging", "Messaging is off until the user turns it on"),),
        requirements=requirements,
        findings=sorted_findings(findings),
        unread=(Unread("vendor.img", "is encrypted"),),
        notes=("development-signed",),
        hosts=(
            Host(SERVICE, "a.example.com", True, Strength.CODE, 1, 8, 2),
            Host(SERVICE, "b.example.com", True, Strength.CODE, 4, 0, 0),
            Host(SERVICE, "c.example.org", False, Strength.CODE, 1, 0, 0),
        ),
    )  # fmt: skip


def row(name: str, status: Status, line: int, **layers: Status) -> Requirement:
    by_layer = {Layer(layer): answer for layer, answer in layers.items()}
    return Requirement(SERVICE, name, status, by_layer, f"{POLICY}:{line}:7")


def many(number: int) -> Report:
    """A report of that many findings, 25 of them to one rule and service."""
    sample = full()
    findings = []
    for index in range(number):
        model = sample.findings[index // 25 % len(sample.findings)]
        path = f"system/app/App{index}.apk!/classes.dex"
        evidence = tuple(
            replace(e, location=Location(path, index + n)) for n, e in enumerate(model.evidence)
        )
        findings.append(
            replace(
                model,
                service=f"service-{index // 300}",
                message=f"{model.message} (number {index})",
                evidence=evidence,
                selector=str(index),
            )
        )
    return replace(sample, findings=sorted_findings(findings))


def clean() -> Report:
    """A compliant report without a finding to act on."""
    sample = full()
    return replace(
        sample,
        findings=tuple(f for f in sample.findings if f.status is Status.PASS),
        requirements=tuple(r for r in sample.requirements if r.status is Status.PASS),
        unread=(),
        notes=(),
        hosts=(),
    )
