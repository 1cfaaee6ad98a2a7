"""Rule ROM501: the ROM and its apps are not open to a debugger."""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.facts import Facts, Package
from rom_builder.findings import Evidence, Finding, Location, Status, Strength
from rom_builder.rules.readings import counted
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM501",
    alias="debuggable-build",
    title="Neither the build nor an app is debuggable",
    requirement="rom.debuggable",
    scope="rom",
    fix="release a user build with ro.debuggable=0 and without android:debuggable apps",
    references=("CRA Annex I Part I (2)(j)", "ETSI EN 303 645 5.6-1", "MASWE-0067", "CWE-489"),
)
def debuggable_build(case: Case, facts: Facts) -> Iterator[Finding]:
    """A debuggable build or app hands its data to whoever holds the cable.

    ``ro.debuggable`` decides for the build; it often lies in the boot image's ramdisk. Where it was not
    found a ``user`` build type alone does not pass. Apps with ``android:debuggable`` fail in any build.
    """
    if case.rom is None or case.rom.debuggable != "forbidden":
        return
    apps = tuple(
        Evidence(p.location, f"{p.name} is debuggable", Strength.EFFECTIVE)
        for p in facts.of(Package)
        if p.debuggable
    )
    if apps:
        yield case.finding(Status.FAIL, counted(len(apps), "debuggable app"), apps, selector="apps")
    properties = facts.platform.properties
    seen = tuple(
        Evidence(properties[key][1], f"{key}={properties[key][0]}", Strength.EFFECTIVE)
        for key in ("ro.debuggable", "ro.build.type")
        if key in properties
    )
    flag, kind = facts.platform.get("ro.debuggable"), facts.platform.get("ro.build.type")
    if flag == "1" or kind in ("eng", "userdebug"):
        yield case.finding(Status.FAIL, "the build is debuggable", seen, selector="build")
    elif flag == "0":
        yield case.finding(Status.PASS, "the build is not debuggable", seen)
    else:
        yield case.finding(
            Status.UNKNOWN,
            "ro.debuggable is not in any property file that could be read",
            seen or (Evidence(Location(""), "no property file", Strength.PRESENCE),),
            fix="give an image that includes the boot ramdisk or a property file with ro.debuggable",
        )
