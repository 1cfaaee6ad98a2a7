"""Rule ROM403: the device checks what it boots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rom_builder.facts import Facts, VerifiedBoot
from rom_builder.findings import Evidence, Finding, Location, Severity, Status, Strength
from rom_builder.formats.vbmeta import TOP
from rom_builder.rules.readings import counted
from rom_builder.rules.rule import Case, rule

CRITICAL = (
    "boot", "init_boot", "vendor_boot", "vendor_kernel_boot", "recovery",
    "system", "system_ext", "product", "vendor", "odm",
    "system_dlkm", "vendor_dlkm", "odm_dlkm", "mi_ext", "my_product", "my_region", "my_stock",
    "my_heytap", "my_carrier", "my_company", "my_engineering", "my_manifest", "my_preload",
    "my_bigball", "prism", "optics", "hw_product",
)  # fmt: skip
"""Partitions with code that a device runs: each has to be reached from the top vbmeta image."""


@rule(
    "ROM403",
    alias="verified-boot",
    title="Verified boot covers the ROM",
    requirement="rom.verified_boot",
    scope="rom",
    severity=Severity.CRITICAL,
    fix="sign every partition with AVB under a private key and leave verification on",
    references=("CRA Annex I Part I (2)(f)", "Android CDD 9.10", "CWE-1326"),
)
def verified_boot(case: Case, facts: Facts) -> Iterator[Finding]:
    """From the top vbmeta image every partition with code is reached, by signatures that hold.

    The top image and every one it chains to are signed with a key that is not publicly known, carry no
    flag that switches verification off, and verify; a chained image has the key its descriptor
    names. Every partition of the input that holds code has a hash or hashtree in one of them. APEX
    modules are signed with the key they carry. Digests of partition contents are not computed again.

    An input without vbmeta image shows nothing; then the answer is unknown.
    """
    if case.rom is None or case.rom.verified_boot != "required":
        return
    images = list(facts.of(VerifiedBoot))
    partitions = [image for image in images if image.role == "partition"]
    walks = [walk(top, partitions, facts) for top in tops(partitions)]
    modules = Walk()
    for image in images:
        if image.role == "module" and image.trust != "signed":
            judge_signature(image, modules)
    for each in (*walks, modules):
        if each.faults:
            yield case.finding(
                Status.FAIL,
                f"verified boot has {counted(len(each.faults), 'fault')}: {each.faults[0].text}",
                tuple(each.faults),
                selector=each.selector,
            )
        elif each.unknown:
            yield case.finding(
                Status.UNKNOWN,
                "a part of verified boot is not in the input",
                tuple(each.unknown),
                selector=each.selector,
                fix="give the package with every vbmeta image and partition",
            )
    if not walks:
        yield case.finding(Status.UNKNOWN, "the input holds no top vbmeta image")
    elif not any(each.faults or each.unknown for each in (*walks, modules)):
        yield case.finding(
            Status.PASS,
            f"{counted(len(walks[0].reached), 'partition')} verified from the top vbmeta image on",
            tuple(evidence for each in walks for evidence in each.seen),
        )


@dataclass(slots=True)
class Walk:
    """What was met on the way down from one top vbmeta image."""

    selector: str = "modules"
    reached: set[str] = field(default_factory=set)
    seen: list[Evidence] = field(default_factory=list)
    faults: list[Evidence] = field(default_factory=list)
    unknown: list[Evidence] = field(default_factory=list)

    def fault(self, location: Location, text: str) -> None:
        """Note what fails."""
        self.faults.append(Evidence(location, text, Strength.EFFECTIVE))

    def not_seen(self, location: Location, text: str) -> None:
        """Note what cannot be told."""
        self.unknown.append(Evidence(location, text, Strength.PRESENCE))


def tops(images: list[VerifiedBoot]) -> list[VerifiedBoot]:
    """Return the image that verification starts from in each slot.

    That is the ``vbmeta`` partition, or without one a boot image that speaks of other partitions.
    """
    found = [image for image in images if image.image == TOP]
    return found or [
        image
        for image in images
        if image.image == "boot" and (image.chained or set(image.covered) - {"boot"})
    ]


def walk(top: VerifiedBoot, images: list[VerifiedBoot], facts: Facts) -> Walk:
    """Follow every chain from a top image, and look for the partitions that nothing leads to."""
    found = Walk(f"slot {top.slot}" if top.slot else "")
    by_name = {image.image: image for image in images if image.slot in ("", top.slot)}
    by_name |= {image.image: image for image in images if image.slot == top.slot}
    waiting, met = [top], {top.image}
    while waiting:
        image = waiting.pop()
        judge_signature(image, found)
        found.reached |= set(image.covered)
        found.seen.append(
            Evidence(image.location, f"{image.image}: {shown(image)}", Strength.EFFECTIVE)
        )
        for name, key in sorted(image.chained.items()):
            if name not in met:
                met.add(name)
                follow(image, name, key, by_name, found, waiting)
    present = {name for name, slot in facts.partitions if slot in ("", top.slot)}
    for name in CRITICAL:
        if name in present - found.reached:
            if found.unknown:
                found.not_seen(top.location, f"whether {name} is covered cannot be told")
            else:
                found.fault(top.location, f"no hash or hashtree covers {name}")
    return found


def follow(
    image: VerifiedBoot,
    name: str,
    key: str,
    by_name: Mapping[str, VerifiedBoot],
    found: Walk,
    waiting: list[VerifiedBoot],
) -> None:
    """Go on with the image that a chain descriptor names, if it has the key that is demanded."""
    chained = by_name.get(name)
    if chained is None:
        found.not_seen(
            image.location, f"{name}, to which {image.image} chains, is not in the input"
        )
    elif chained.key_sha1 != key and chained.trust != "unsigned":
        found.fault(
            chained.location,
            f"{name} is signed with key {chained.key_sha1}, {image.image} demands {key}",
        )
    else:
        waiting.append(chained)


def judge_signature(image: VerifiedBoot, found: Walk) -> None:
    """Note what is wrong with one image's signature, key and flags."""
    if image.trust == "unsigned":
        found.fault(image.location, f"{image.image} is not signed (algorithm NONE)")
    elif image.trust == "invalid":
        found.fault(image.location, f"the signature of {image.image} does not hold: {image.fault}")
    elif image.trust == "unverified":
        found.not_seen(image.location, f"the signature of {image.image}: {image.fault}")
    if image.flags:
        meaning = " and ".join(
            text
            for bit, text in ((1, "hashtrees are off"), (2, "verification is off"))
            if image.flags & bit
        )
        flags = f"flags {image.flags}" + (f", {meaning}" if meaning else "")
        found.fault(image.location, f"{image.image} has {flags}")
    if image.known_as:
        found.fault(image.location, f"the key of {image.image} is publicly known: {image.known_as}")


def shown(image: VerifiedBoot) -> str:
    """Say in a few words what an image is signed with."""
    return f"{image.algorithm}, key {image.key_sha1}, rollback index {image.rollback_index}"
