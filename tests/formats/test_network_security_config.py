from __future__ import annotations

import base64
import re
import subprocess
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rom_builder.errors import ImageError
from rom_builder.formats.network_security_answers import (
    App,
    app_wide,
    evaluate_cleartext,
    pins,
    trust,
)
from rom_builder.formats.network_security_config import (
    NetworkSecurityConfig,
    parse_nsc,
    with_debug_file,
)
from rom_builder.formats.typed_xml import (
    MAX_BYTES,
    MAX_DEPTH,
    ConfigElement,
    from_axml,
    from_text_xml,
    typed_attribute,
)

PIN = base64.b64encode(bytes(32)).decode()
PIN_SET = f'<pin digest="SHA-256">{PIN}</pin>'


def config(body: str) -> NetworkSecurityConfig:
    document = f"<network-security-config>{body}</network-security-config>"
    return parse_nsc(from_text_xml(document.encode()))


def app(platform: int = 34, target: int = 34, uses_cleartext: bool | None = None) -> App:
    return App(platform, target, uses_cleartext)


BASE_NO = '<base-config cleartextTrafficPermitted="false"/>'
BASE_YES = '<base-config cleartextTrafficPermitted="true"/>'
EXAMPLE = '<domain includeSubdomains="true">example.net</domain>'
EXAMPLE_YES = f'<domain-config cleartextTrafficPermitted="true">{EXAMPLE}</domain-config>'
EXAMPLE_NO = f'<domain-config cleartextTrafficPermitted="false">{EXAMPLE}</domain-config>'
NESTED = (
    f'<domain-config cleartextTrafficPermitted="true">{EXAMPLE}'
    '<domain-config cleartextTrafficPermitted="false"><domain>a.example.net</domain>'
    "</domain-config></domain-config>"
)


@pytest.mark.parametrize(
    ("body", "who", "inside", "outside"),
    [
        pytest.param(None, app(target=27), True, True, id="unset, target 27"),
        pytest.param(None, app(target=28), False, False, id="unset, target 28"),
        pytest.param(None, app(target=27, uses_cleartext=False), False, False, id="attribute no"),
        pytest.param(None, app(uses_cleartext=True), True, True, id="attribute yes"),
        pytest.param("", app(uses_cleartext=True), False, False, id="empty file, yes ignored"),
        pytest.param("", app(target=27, uses_cleartext=False), True, True, id="no ignored"),
        pytest.param(BASE_NO + EXAMPLE_YES, app(), True, False, id="domain opens"),
        pytest.param(
            f"<domain-config>{EXAMPLE}</domain-config>{BASE_YES}", app(), True, True, id="base last"
        ),
        pytest.param(NESTED, app(), False, False, id="nested"),
        pytest.param(BASE_NO, app(22, 22), True, True, id="platform 22"),
        pytest.param(BASE_NO, app(23, 27), True, True, id="platform 23 reads no file"),
        pytest.param(BASE_NO, app(23, 34), True, True, id="platform 23, default is yes"),
        pytest.param(BASE_YES, app(23, 27, False), False, False, id="platform 23, attribute"),
        pytest.param("", app(26, 34), True, True, id="platform 26 has no target rule"),
        pytest.param(None, app(27, 34), True, True, id="platform 27 has no target rule"),
        pytest.param("", app(28, 28), False, False, id="platform 28"),
        pytest.param("", App(28, 27, instant=True), False, False, id="instant"),
        pytest.param(None, App(28, 27, True, instant=True), False, False, id="instant, yes"),
        pytest.param(EXAMPLE_NO, app(target=27), False, True, id="domain closes"),
    ],
)
def test_decision_table(body: str | None, who: App, inside: bool, outside: bool) -> None:
    parsed = None if body is None else config(body)
    first = evaluate_cleartext(parsed, who, "a.example.net")
    second = evaluate_cleartext(parsed, who, "other.org")
    assert (first.permitted, second.permitted) == (inside, outside)
    assert first.enforced is (who.platform_sdk >= 23)
    assert app_wide(parsed, who).permitted is (inside and outside)


@pytest.mark.parametrize(
    ("text", "permitted"),
    [
        *[(text, False) for text in ("false", "FALSE", "False", " false", "0", "0x0", "#00000000")],
        *[
            (text, True)
            for text in ("true", "no", "off", "@bool/x", "fAlse", "", "1", "#000", "+0")
        ],
    ],
)
def test_the_type_decides_and_not_the_text(text: str, permitted: bool) -> None:
    parsed = config(f'\n<base-config cleartextTrafficPermitted="{text}"/>')
    answer = evaluate_cleartext(parsed, app(), "example.com")
    assert answer.permitted is permitted
    assert f'base-config (line 2) says "{text}"' in answer.because


def test_a_value_of_the_wrong_type_is_named() -> None:
    parsed = config('<base-config cleartextTrafficPermitted="no"/>')
    assert "a string value, which the platform reads as true" in (
        evaluate_cleartext(parsed, app(), None).because
    )


def test_namespaces_count_for_all_attributes_but_one() -> None:
    parsed = config(
        '<base-config xmlns:x="urn:x" x:cleartextTrafficPermitted="false"/>'
        '<domain-config cleartextTrafficPermitted="true">'
        '<domain xmlns:x="urn:x" x:includeSubdomains="true">example.net</domain></domain-config>'
    )
    assert not evaluate_cleartext(parsed, app(), "a.example.net").permitted
    assert evaluate_cleartext(parsed, app(), "example.net").permitted


@pytest.mark.parametrize(
    ("host", "permitted"),
    [
        ("example.net", True),
        ("EXAMPLE.net.", True),
        ("a.b.example.net", True),
        ("badexample.net", False),
        ("example.net.evil.org", False),
        ("deep.example.net", False),
        ("x.deep.example.net", False),
        ("exact.deep.example.net", True),
        ("sub.only.org", False),
        ("only.org", True),
        ("", False),
        (None, False),
    ],
)
def test_hosts(host: str | None, permitted: bool) -> None:
    parsed = config(
        BASE_NO
        + EXAMPLE_YES
        + '<domain-config cleartextTrafficPermitted="false">'
        + '<domain includeSubdomains="1"> Deep.Example.net\n</domain></domain-config>'
        + '<domain-config cleartextTrafficPermitted="true"><domain>exact.deep.example.net</domain>'
        + '<domain includeSubdomains="yes">only.org</domain></domain-config>'
    )
    assert not parsed.problems
    assert evaluate_cleartext(parsed, app(), host).permitted is permitted


def test_a_host_with_a_leading_dot_is_refused_as_on_the_phone() -> None:
    with pytest.raises(ValueError, match="dot"):
        evaluate_cleartext(config(""), app(), ".example.net")


def domain_config(body: str) -> str:
    return f"<domain-config><domain>example.net</domain>{body}</domain-config>"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (BASE_NO + BASE_NO, "second <base-config>"),
        ("<base-config><domain>a.org</domain></base-config>", "<domain> in <base-config>"),
        (f"<base-config><pin-set>{PIN_SET}</pin-set></base-config>", "<pin-set> in <base-config>"),
        (f"<base-config>{EXAMPLE_NO}</base-config>", "<domain-config> in <base-config>"),
        (EXAMPLE_NO + EXAMPLE_YES, "stands in line 1 already"),
        ("<domain-config/>", "without <domain>"),
        ("<domain-config><domain/></domain-config>", "<domain> is empty"),
        ("<domain-config><domain> \n </domain></domain-config>", "<domain> is empty"),
        ("<domain-config><domain>a<b/></domain></domain-config>", "more than one text"),
        ("<domain-config><domain>a<!-- -->b</domain></domain-config>", "more than one text"),
        (domain_config("<pin-set/><pin-set/>"), "second <pin-set>"),
        (domain_config('<pin-set><pin digest="SHA-1">AA==</pin></pin-set>'), "not SHA-256"),
        (domain_config(f"<pin-set><pin>{PIN}</pin></pin-set>"), "not SHA-256"),
        (domain_config('<pin-set><pin digest="SHA-256">AAAA</pin></pin-set>'), "32 bytes"),
        (domain_config('<pin-set><pin digest="SHA-256">A</pin></pin-set>'), "32 bytes"),
        (domain_config('<pin-set><pin digest="SHA-256"/></pin-set>'), "<pin> is empty"),
        (domain_config('<pin-set expiration="2030-02-30"/>'), "expected yyyy-MM-dd"),
        (domain_config('<pin-set expiration="soon"/>'), "expected yyyy-MM-dd"),
        (domain_config('<pin-set expiration=""/>'), "expected yyyy-MM-dd"),
        ("<base-config><trust-anchors/><trust-anchors/></base-config>", "second <trust-anchors>"),
        (domain_config("<trust-anchors><certificates/></trust-anchors>"), "without src"),
        (
            domain_config('<trust-anchors><certificates src="User"/></trust-anchors>'),
            "not system or user",
        ),
        ("<debug-overrides/><debug-overrides/>", "second <debug-overrides>"),
    ],
)
def test_what_stops_the_app_is_a_problem_and_never_an_answer(body: str, message: str) -> None:
    parsed = config(body)
    assert [item.line for item in parsed.fatal()] == [1]
    assert message in parsed.problems[0].message
    for answer in (evaluate_cleartext(parsed, app(), "example.net"), app_wide(parsed, app())):
        assert (answer.permitted, answer.enforced) == (True, False)
        assert message in answer.because
    assert not pins(parsed, app(), "example.net", date(2026, 1, 1)).enforced
    assert trust(parsed, app(), "example.net").user


def test_a_mistake_in_debug_overrides_only_stops_a_debuggable_app() -> None:
    parsed = config(BASE_NO + "<debug-overrides><domain>a.org</domain></debug-overrides>")
    assert not parsed.fatal()
    assert parsed.fatal(debuggable=True)
    assert not evaluate_cleartext(parsed, app(), "a.org").permitted
    assert not evaluate_cleartext(parsed, App(34, 34, debuggable=True), "a.org").enforced


def test_a_foreign_root_is_a_problem() -> None:
    assert parse_nsc(from_text_xml(b"<manifest/>")).fatal()


def test_unknown_elements_and_attributes_are_skipped() -> None:
    parsed = config(
        "<new-thing><base-config/></new-thing>"
        '<base-config cleartextTrafficPermitted="false" new="1">'
        '<certificateTransparency enabled="true"/></base-config>'
    )
    assert not parsed.problems
    assert not evaluate_cleartext(parsed, app(), "a.org").permitted


USER = '<trust-anchors><certificates src="user" overridePins="true"/></trust-anchors>'


@pytest.mark.parametrize(
    ("body", "who", "system", "user"),
    [
        (None, app(23, 34), True, True),
        (None, app(24, 23), True, True),
        (None, app(24, 24), True, False),
        ("", app(34, 23), True, True),
        ("", App(34, 23, privileged=True), True, False),
        ("", App(27, 23, privileged=True), True, True),
        (f"<base-config>{USER}</base-config>", app(), False, True),
        ("<base-config><trust-anchors/></base-config>", app(34, 23), False, False),
        (
            f"<base-config>{USER}</base-config>{domain_config('<trust-anchors/>')}",
            app(),
            False,
            False,
        ),
        (f"<base-config>{USER}</base-config>{domain_config('')}", app(), False, True),
        (f"<debug-overrides>{USER}</debug-overrides>", app(), True, False),
        (f"<debug-overrides>{USER}</debug-overrides>", App(34, 34, debuggable=True), True, True),
    ],
)
def test_trust(body: str | None, who: App, system: bool, user: bool) -> None:
    answer = trust(None if body is None else config(body), who, "example.net")
    assert (answer.system, answer.user) == (system, user)


def test_trust_names_resources_and_what_overrides_pins() -> None:
    parsed = config(
        '<base-config><trust-anchors><certificates src="@raw/ca"/><certificates src="wfa"/>'
        '<certificates src="system" overridePins="yes"/></trust-anchors></base-config>'
        '<debug-overrides><trust-anchors><certificates src="@raw/proxy"/></trust-anchors>'
        "</debug-overrides>"
    )
    answer = trust(parsed, App(34, 34, debuggable=True), "a.org")
    assert answer.resources == ("@raw/ca", "@raw/proxy")
    assert (answer.wfa, answer.overrides_pins) == (True, ("@raw/proxy",))
    assert trust(parsed, app(), "a.org").resources == ("@raw/ca",)


def debug_file(body: str) -> ConfigElement:
    return from_text_xml(f"<network-security-config>{body}</network-security-config>".encode())


def test_a_debuggable_app_reads_the_debug_file_only_without_overrides_of_its_own() -> None:
    debuggable = App(34, 34, debuggable=True)
    extra = debug_file(f"{BASE_YES}{BASE_YES}<debug-overrides>{USER}</debug-overrides>")
    both = with_debug_file(config(""), extra)
    assert trust(both, debuggable, None).user
    assert not trust(both, app(), None).user
    assert not evaluate_cleartext(both, debuggable, None).permitted
    own = with_debug_file(config("<debug-overrides/>"), extra)
    assert not trust(own, debuggable, None).user


def test_a_mistake_in_the_debug_file_stops_a_debuggable_app_only() -> None:
    both = with_debug_file(config(BASE_NO), debug_file("<debug-overrides/>" * 2))
    assert both.fatal(debuggable=True)
    assert not both.fatal()


@pytest.mark.parametrize(
    ("expiration", "day", "enforced"),
    [
        ("2026-06-01", date(2026, 5, 31), True),
        ("2026-06-01", date(2026, 6, 1), False),
        ("2026-6-1", date(2026, 6, 1), False),
        ("2026-06-01T12:00", date(2026, 5, 31), True),
        ("12026-06-01", date(2026, 6, 1), True),
    ],
)
def test_pins_end_as_the_day_begins(expiration: str, day: date, enforced: bool) -> None:
    parsed = config(domain_config(f'<pin-set expiration="{expiration}">{PIN_SET}</pin-set>'))
    answer = pins(parsed, app(), "example.net", day)
    assert answer.digests == (bytes(32),)
    assert (answer.enforced, answer.expired) == (enforced, not enforced)
    assert not pins(parsed, app(), "other.org", day).digests
    assert not pins(parsed, app(platform=23), "example.net", day).enforced


def test_an_empty_pin_set_replaces_the_outer_one() -> None:
    inner = "<domain-config><domain>a.example.net</domain>{}</domain-config>"
    outer = f"<pin-set>{PIN_SET}</pin-set>"
    today = date(2026, 1, 1)
    inherited = config(domain_config(outer + inner.format("")))
    emptied = config(domain_config(outer + inner.format("<pin-set/>")))
    assert pins(inherited, app(), "a.example.net", today).enforced
    assert not pins(emptied, app(), "a.example.net", today).enforced


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<a>",
        b"\x00\x01",
        b'<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>',
        b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1),
        b"<a>" * 5000 + b"</a>" * 5000,
        b" " * (MAX_BYTES + 1),
        b'<?xml version="1.0" encoding="no-such"?><a/>',
    ],
)
def test_damaged_text_is_an_image_error(document: bytes) -> None:
    with pytest.raises(ImageError):
        from_text_xml(document)


@pytest.mark.parametrize(
    "declaration",
    [
        b'<?xml version="2.0" encoding="utf-8"?>',
        b"\xef\xbb\xbf<?xml  version = '9'?>",
        b"<?xml version=''?>",
    ],
)
def test_the_version_of_xml_is_ignored_as_android_does(declaration: bytes) -> None:
    """Qualcomm's permission files of Android 9 to 13 say 2.0, and phones read them."""
    root = from_text_xml(declaration + b"<a b=\"version='2.0'\"><c/></a>")
    assert (root.name, root.attributes[0].text, len(root.children)) == ("a", "version='2.0'", 1)


@dataclass
class Attribute:
    name: str
    namespace: str | None
    type: int
    data: int
    raw: str | None = None
    string: str | None = None


@dataclass
class Element:
    name: str
    attributes: tuple[Attribute, ...] = ()
    children: tuple[Element, ...] = ()
    text: str = ""
    line: int = 0


@pytest.mark.parametrize(
    ("type_", "data", "permitted"),
    [
        (0x12, 0, False),
        (0x12, 0xFFFFFFFF, True),
        (0x10, 0, False),
        (0x1F, 0, False),
        (0x03, 0, True),
        (0x01, 0, True),
        (0x04, 0, True),
        (0x20, 0, True),
    ],
)
def test_binary_values_are_read_by_type(type_: int, data: int, permitted: bool) -> None:
    value = Attribute("cleartextTrafficPermitted", None, type_, data, string="false")
    root = Element("network-security-config", children=(Element("base-config", (value,), line=7),))
    answer = evaluate_cleartext(parse_nsc(from_axml(root)), app(), "a.org")
    assert answer.permitted is permitted
    assert "line 7" in answer.because


def test_binary_sources_and_domains() -> None:
    source = Attribute("src", None, 0x01, 0x7F020000)
    anchors = Element("trust-anchors", children=(Element("certificates", (source,)),))
    domain = Element("domain", text="A.org")
    entry = Element("domain-config", children=(domain, anchors))
    root = Element("network-security-config", children=(entry,))
    parsed = parse_nsc(from_axml(root))
    assert not parsed.problems
    assert trust(parsed, app(), "a.org").resources == ("@0x7f020000",)


def test_binary_depth_is_bounded() -> None:
    root = Element("a")
    for _ in range(MAX_DEPTH):
        root = Element("a", children=(root,))
    with pytest.raises(ImageError):
        from_axml(root)


TEXTS = [
    *("true", "True", "TRUE", "tRue", "false", " false ", "no", "off", "yes", "", "0", "-5", "010"),
    *("+5", "0x0", "0xffffffff", "0X1F", "-0x1", "0x", "0x1ffffffff", "2147483647", "2147483648"),
    *("-2147483648", "1.5", "12dp", "5%", "#000", "#0000", "#00000000", "#12", "#fffff", "@null"),
    *("@empty", "@raw/ca", "2030-01-01", "true false", "1 0"),
]


@pytest.mark.judge("aapt2")
@pytest.mark.judge("aapt")
def test_typing_agrees_with_the_resource_compiler(tmp_path: Path) -> None:
    for folder in ("xml", "raw"):
        (tmp_path / "res" / folder).mkdir(parents=True)
    (tmp_path / "res/raw/ca").write_text("x")
    attributes = " ".join(f'a{index}="{text}"' for index, text in enumerate(TEXTS))
    (tmp_path / "res/xml/t.xml").write_text(f"<a {attributes}/>")
    (tmp_path / "AndroidManifest.xml").write_text(
        '<manifest package="x.y"><application/></manifest>'
    )
    for command in (
        "aapt2 compile --dir res -o c.zip",
        "aapt2 link --manifest AndroidManifest.xml -o o.apk c.zip",
        "aapt dump xmltree o.apk res/xml/t.xml",
    ):
        done = subprocess.run(
            command.split(), cwd=tmp_path, check=True, capture_output=True, text=True
        )
    compiled = dict(re.findall(r"A: (a\d+)=(.*)", done.stdout))
    for index, text in enumerate(TEXTS):
        found = re.match(r"\(type 0x1[0-9a-f]\)(0x[0-9a-f]+)", compiled[f"a{index}"])
        for default in (True, False):
            expected = int(found[1], 16) != 0 if found else default
            assert typed_attribute("a", text).boolean(default) is expected, text


NAMES = st.sampled_from(
    [
        *("base-config", "domain-config", "domain", "pin-set", "pin", "trust-anchors"),
        *("certificates", "debug-overrides", "other"),
    ]
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(
        ["cleartextTrafficPermitted", "includeSubdomains", "src", "digest", "expiration"]
    ),
    st.sampled_from(["true", "no", "@raw/a", "system", "SHA-256", "2030-01-01", "9-9-9", "0"]),
    max_size=2,
)
TREES = st.recursive(
    st.tuples(NAMES, ATTRIBUTES, st.sampled_from(["", "a.org", " b ", PIN, "A="]), st.just(())),
    lambda children: st.tuples(
        NAMES, ATTRIBUTES, st.just("a.org"), st.lists(children, max_size=4).map(tuple)
    ),
    max_leaves=12,
)


def render(tree: tuple[str, dict[str, str], str, tuple[object, ...]]) -> str:
    name, attributes, text, children = tree
    inside = text + "".join(render(child) for child in children)  # type: ignore[arg-type]
    spelled = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f"<{name}{spelled}>{inside}</{name}>"


@settings(deadline=None)
@given(st.lists(TREES, max_size=4), st.sampled_from([22, 23, 24, 28, 34]), st.booleans())
def test_every_file_has_an_answer(trees: list[object], level: int, debuggable: bool) -> None:
    parsed = config("".join(render(tree) for tree in trees))  # type: ignore[arg-type]
    who = App(level, level, debuggable=debuggable)
    whole = app_wide(parsed, who)
    one = evaluate_cleartext(parsed, who, "a.org")
    assert one.enforced is whole.enforced
    assert one.permitted or not whole.permitted
    trust(parsed, who, "a.org")
    pins(parsed, who, "a.org", date(2026, 1, 1))


@given(st.binary(max_size=100), st.integers(0, 200))
def test_only_image_errors_escape(noise: bytes, at: int) -> None:
    document = f"<network-security-config>{BASE_NO}{NESTED}</network-security-config>".encode()
    damaged = document[:at] + noise + document[at + len(noise) :]
    for data in (noise, damaged):
        try:
            parse_nsc(from_text_xml(data))
        except ImageError:
            continue
