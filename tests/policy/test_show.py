from __future__ import annotations

from rom_builder.policy.load import load_policies
from rom_builder.policy.show import show

from .conftest import BINDINGS, Write

BASE = """\
schema: rom-builder/policy/v1
id: base
title: Base
services:
  - profile: chat
    data: {forbidden: [imei], allowed: [mac]}
    transport:
      min_tls: "1.2"
      hosts: ["*.example.com"]
      pins:
        - host: a.example.com
          sha256: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
          expires: 2027-12-31
    attested: {retention: {value: "none: nothing", by: "J \\"D\\"", until: 2027-12-31}}
rom: {verified_boot: required, debuggable: forbidden}
"""
TOP = """\
schema: rom-builder/policy/v1
id: top
title: Top
extends: [./base.yaml]
services:
  - profile: chat
    consent: {mode: opt-in}
"""


def test_what_is_shown_names_its_places(write: Write) -> None:
    write("base.yaml", BASE)
    write("top.yaml", TOP)
    assert show(load_policies(["top.yaml"], BINDINGS)) == (
        "schema: rom-builder/policy/v1\n"
        "id: effective\n"
        'title: "What is demanded by base, top"\n'
        "services:\n"
        "  - profile: chat  # top.yaml:6:5\n"
        "    consent:\n"
        "      mode: opt-in  # top.yaml:7:21\n"
        "    transport:\n"
        '      min_tls: "1.2"  # base.yaml:8:16\n'
        '      hosts: ["*.example.com"]  # base.yaml:9:14\n'
        "      pins: [{host: a.example.com, "
        'sha256: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", '
        "expires: 2027-12-31}]  # base.yaml:11:9\n"
        "    data:\n"
        "      forbidden: [imei]  # base.yaml:6:23\n"
        "      allowed: [mac]  # base.yaml:6:40\n"
        "    attested:\n"
        '      retention: {value: "none: nothing", by: "J \\"D\\"", until: 2027-12-31}'
        "  # base.yaml:14:27\n"
        "rom:\n"
        "  verified_boot: required  # base.yaml:15:22\n"
        "  debuggable: forbidden  # base.yaml:15:44\n"
    )


def test_what_is_shown_loads_as_the_same_policy(write: Write) -> None:
    write("base.yaml", BASE)
    write("top.yaml", TOP)
    policies = load_policies(["top.yaml"], BINDINGS)
    again = load_policies([write("shown.yaml", show(policies))], BINDINGS)
    assert again.services == policies.services
    assert again.rom == policies.rom
