from __future__ import annotations

import pytest

from rom_builder.errors import PolicyError
from rom_builder.policy.profile import Binding, Profile, load_profile

from .conftest import BINDINGS, Toy, Write

HEAD = "schema: rom-builder/profile/v1\nid: chat\ntitle: Chat\n"  # three lines


def read(write: Write, text: str) -> Profile:
    return load_profile(write("p.yaml", HEAD + text), BINDINGS)


def test_options_of_the_mechanism_stand_beside_the_common_keys(write: Write) -> None:
    profile = read(
        write,
        "packages: [com.example.chat, android]\n"
        "files: [/system/etc/chat.xml]\n"
        "switches:\n"
        "  - {mechanism: toy, key: on, slot: 1, value_on: true, value_off: 0, read_by: com.x}\n"
        "settings: [{mechanism: toy, key: tls, requirement: transport.min_tls}]\n"
        "transport: [{mechanism: toy, key: nsc}]\n"
        "code: {gates: [{string: g}], sinks: [{id: look-up, string: s, sends: [imei]}]}\n"
        'hosts: [a.example.com, "*.example.org"]\n'
        'code_files: ["/system/framework/*.jar"]\n',
    )
    (switch,) = profile.switches
    assert switch.binding == Toy(mechanism="toy", key="on", slot=1)
    assert (switch.value_on, switch.value_off, switch.read_by) == (True, 0, "com.x")
    assert profile.settings[0].binding == Toy(mechanism="toy", key="tls")
    assert profile.transport == (Toy(mechanism="toy", key="nsc"),)
    assert isinstance(profile.transport[0], Binding)
    assert profile.code.sinks[0].sends == ("imei",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("switches: [{mechanism: tyo, key: a, value_on: a, value_off: b}]",
         ["4:24: unknown mechanism 'tyo'; did you mean 'toy'?"]),
        ("switches: [{mechanism: xml, key: a, value_on: a, value_off: b}]",
         ["4:24: unknown mechanism 'xml'; known: toy"]),
        ("switches: [{mechanism: [toy], key: a, value_on: a, value_off: b}]",
         ["4:24: unknown mechanism ('toy',); known: toy"]),
        ("switches: [{kye: a, value_on: a, value_off: b}]",
         ["4:12: missing key 'mechanism' in switches[0]"]),
        ("switches: [{mechanism: toy, kye: a, value_on: a, value_off: b}]",
         ["4:12: missing key 'key' in switches[0]",
          "4:29: unknown key 'kye'; did you mean 'key'?"]),
        ("switches: [{mechanism: toy, key: a, valu_on: a, value_off: b}]",
         ["4:12: missing key 'value_on' in switches[0]",
          "4:37: unknown key 'valu_on'; did you mean 'value_on'?"]),
        ("switches: [{mechanism: toy, key: a, slot: 01, value_on: 1.5, value_off: [b]}]",
         ["4:43: '01' is text here; write a plain decimal number without leading zero",
          "4:57: must be text, true, false or a whole number",
          "4:73: must be text, true, false or a whole number"]),
        ("switches: [{mechanism: toy, key: a, value_on: x, value_off: x}]",
         ["4:61: is the same as value_on"]),
        ("switches: [{binding: {mechanism: toy, key: a}, value_on: a, value_off: b}]",
         ["4:22: unknown key 'binding'; write its keys beside the others"]),
        ("switches: [toy]", ["4:12: must be keys with values, not 'toy'"]),
        ("settings: [{mechanism: toy, key: a, requirement: consent.mode}]",
         ["4:50: 'consent.mode' is not one of consent.default, consent.preselected,"
          " consent.before, consent.on_upgrade, transport.cleartext, transport.min_tls,"
          " transport.user_ca, transport.hosts, transport.pins, data.forbidden, data.allowed;"
          " did you mean 'consent.default'?"]),
        ("transport: [{mechanism: toy, key: a, value_on: b}]",
         ["4:38: unknown key 'value_on'; known here: mechanism, key, slot"]),
        ("transport: [{mechanism: toy, key: a, slto: 1}]",
         ["4:38: unknown key 'slto'; did you mean 'slot'?"]),
        ("transport: [toy]", ["4:13: must be keys with values, not 'toy'"]),
        ("packages: [com/example]",
         ["4:12: 'com/example' is not a package name such as 'com.example'"]),
        ("files: [etc/chat.xml, /a/../b, /a//b, /a/, /..]",
         ["4:9: 'etc/chat.xml' is not a device path such as '/system/etc/example.xml'",
          "4:23: '/a/../b' is not a device path such as '/system/etc/example.xml'",
          "4:32: '/a//b' is not a device path such as '/system/etc/example.xml'",
          "4:39: '/a/' is not a device path such as '/system/etc/example.xml'",
          "4:44: '/..' is not a device path such as '/system/etc/example.xml'"]),
        ("code: {gates: [{sinks: [a]}], sinks: [{id: a, string: x, call: a.B.c}]}",
         ["4:16: needs one of string and call", "4:39: needs one of string and call"]),
        ("code: {gates: [{call: isOn}]}",
         ["4:23: 'isOn' is not a method such as 'com.example.Client.send'"]),
        ("code: {sinks: [{id: a, strng: x, sends: [imie]}]}",
         ["4:24: unknown key 'strng'; did you mean 'string'?",
          "4:42: 'imie' is not one of imei, imsi, iccid, own-number, recipient-number, contacts,"
          " message-body, location, cell, carrier-name, mac, serial, android-id, wifi-ssid,"
          " app-usage; did you mean 'imei'?"]),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_place(write: Write, text: str, expected: list[str]) -> None:
    with pytest.raises(PolicyError) as refused:
        read(write, text)
    assert [str(problem) for problem in refused.value.problems] == [
        f"p.yaml:{problem}" for problem in expected
    ]
