from __future__ import annotations

import random
import re
import subprocess
import zipfile
from contextlib import suppress
from pathlib import Path
from struct import pack, unpack_from

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rom_builder.errors import ImageError
from rom_builder.formats.arsc import ResourceTable, parse_arsc, patch_value
from rom_builder.formats.arsc_writer import Reference, Resource, encode_arsc, resource_ids
from rom_builder.formats.axml import Attribute, Element
from rom_builder.formats.axml_writer import encode_axml
from rom_builder.formats.overlayable import Overlayable, OverlayablePolicy
from rom_builder.formats.resource_chunk import ValueType, encode_chunk
from rom_builder.formats.resource_config import CONFIG_SIZE, decode_config, encode_config
from rom_builder.formats.string_pool import encode_string_pool
from tests.fixtures.make_apks import APKS

MESSAGING = zipfile.ZipFile(APKS / "messaging.apk").read("resources.arsc")
SPARSE = zipfile.ZipFile(APKS / "messaging-debuggable.apk").read("resources.arsc")
SETTINGS = zipfile.ZipFile(APKS / "settings-provider.apk").read("resources.arsc")


def values(table: ResourceTable, type_name: str, name: str) -> list[tuple[str, object]]:
    """Configuration and value of a resource, as a person would write them."""
    resource_id = table.find(type_name, name)
    assert resource_id is not None
    return [(value.config, value.as_string()) for value in table.resolve(resource_id)]


# Tables of the platform's compiler


def test_resources_in_every_configuration_with_the_default_first() -> None:
    table = parse_arsc(MESSAGING)
    assert table.packages == ((0x7F, "com.example.messaging"),)
    assert values(table, "bool", "cloud_messaging_default") == [("", "false"), ("mcc310", "true")]
    assert values(table, "string", "app_name") == [
        ("", "Cloud Messaging"),
        ("de", "Nachrichten 😀"),
    ]
    assert values(table, "integer", "min_tls") == [
        ("", "12"),
        ("mcc262-mnc01-de-rDE-sw600dp-land-v26", "13"),
    ]
    assert values(table, "xml", "preferences") == [("", "res/xml/preferences.xml")]
    assert values(parse_arsc(SETTINGS), "bool", "def_backup_enabled") == [
        ("", "false"),
        ("mcc460", "true"),
    ]


def test_references_are_followed_in_every_configuration() -> None:
    table = parse_arsc(MESSAGING)
    assert values(table, "bool", "auto_resend") == [("", "false"), ("mcc310", "true")]
    resource_id = table.find("bool", "auto_resend")
    assert resource_id is not None
    (written,) = table.values(resource_id)
    assert written.reference == table.find("bool", "cloud_messaging_default")


def test_names() -> None:
    table = parse_arsc(SETTINGS)
    assert dict(table.names("bool")) == {
        "def_backup_enabled": 0x7F010000,
        "def_install_non_market_apps": 0x7F010001,
        "def_networks_available_notification_on": 0x7F010002,
    }
    assert table.name(0x7F020000) == "integer/def_screen_off_timeout"
    assert table.find("bool", "def_screen_off_timeout") is None
    assert table.find("bool", "def_backup") is None
    assert table.find("style", "def_backup_enabled") is None
    assert list(table.names("style")) == []


@pytest.mark.parametrize("resource_id", [0, 0x7F010063, 0x7F630000, 0x01010003, 0xFFFFFFFF])
def test_unknown_resource(resource_id: int) -> None:
    table = parse_arsc(SETTINGS)
    assert table.resolve(resource_id) == ()
    assert table.name(resource_id) is None


def test_array_has_items() -> None:
    table = parse_arsc(MESSAGING)
    resource_id = table.find("array", "hosts")
    assert resource_id is not None
    (bag,) = table.resolve(resource_id)
    assert bag.parent == 0
    assert [item.as_string() for _, item in bag.items] == [
        "messaging.example.com",
        "https://backup.example.com",
    ]
    with pytest.raises(ValueError, match="bag"):
        patch_value(MESSAGING, bag, ValueType.INT_BOOLEAN, 0)


def test_overlayable() -> None:
    table = parse_arsc(MESSAGING)
    ids = [
        table.find(*pair)
        for pair in (
            ("bool", "cloud_messaging_default"),
            ("string", "server_url"),
            ("xml", "network_security_config"),
        )
    ]
    (overlayable,) = table.overlayables
    assert (overlayable.name, overlayable.actor) == ("MessagingConfig", "overlay://theme")
    assert {(p.flags, p.resource_ids) for p in overlayable.policies} == {
        (0x0C, (ids[0], ids[1])),
        (0x01, (ids[2],)),
    }
    assert parse_arsc(SETTINGS).overlayables == ()


def test_strings_can_be_searched() -> None:
    found = {text for _, text in parse_arsc(MESSAGING).strings.find("http://", "https://")}
    assert found == {"http://messaging.example.com/v3", "https://backup.example.com"}


def test_sparse_type() -> None:
    types = [m.start() for m in re.finditer(re.escape(pack("<HH", 0x0201, 84)), SPARSE)]
    assert any(SPARSE[offset + 9] & 1 for offset in types)
    assert values(parse_arsc(SPARSE), "string", "app_name") == [
        ("", "Cloud Messaging"),
        ("de", "Nachrichten 😀"),
    ]


# Tables built by hand: what the compiler here does not write

LAND = pack("<I", CONFIG_SIZE) + bytes(8) + b"\x02" + bytes(CONFIG_SIZE - 13)
DEFAULT = encode_config("")


def type_chunk(flags: int, offsets: bytes, count: int, entries: bytes, config: bytes) -> bytes:
    start = 20 + len(config) + len(offsets)
    header = pack("<BBHII", 1, flags, 0, count, start) + config
    return encode_chunk(0x0201, header, offsets + entries)


def table_of(
    *types: bytes, keys: tuple[str, ...] = ("a", "b", "c"), package_id: int = 0x7F
) -> bytes:
    return encode_chunk(
        2, pack("<I", 1), encode_string_pool(["text"]) + package_of(*types, keys=keys)
    )


def package_of(
    *types: bytes, keys: tuple[str, ...] = ("a", "b", "c"), package_id: int = 0x7F, shift: int = 0
) -> bytes:
    type_pool, key_pool = encode_string_pool(["bool"]), encode_string_pool(keys)
    header = pack("<I256s", package_id, "p".encode("utf-16-le"))
    header += pack("<5I", 288, 1, 288 + len(type_pool), len(keys), shift)
    return encode_chunk(0x0200, header, type_pool + key_pool + b"".join(types))


def entry(key: int, kind: int, data: int) -> bytes:
    return pack("<HHIHBBI", 8, 0, key, 8, 0, kind, data)


def compact(key: int, kind: int, data: int) -> bytes:
    return pack("<HHI", key, 8 | kind << 8, data)


def test_sparse_16_bit_and_compact_entries() -> None:
    plain = entry(0, 0x12, 1) + entry(2, 0x10, 5)
    for offsets, flags, count in (
        (pack("<3I", 0, 0xFFFFFFFF, 16), 0, 3),
        (pack("<4H", 0, 0xFFFF, 4, 0xFFFF), 2, 3),
        (pack("<4H", 0, 0, 2, 4), 1, 2),
    ):
        table = parse_arsc(table_of(type_chunk(flags, offsets, count, plain, DEFAULT)))
        assert dict(table.names("bool")) == {"a": 0x7F010000, "c": 0x7F010002}
        assert values(table, "bool", "a") == [("", "true")]
        assert values(table, "bool", "c") == [("", "5")]
        assert table.find("bool", "b") is None
    entries = compact(1, 0x12, 0xFFFFFFFF) + compact(2, 3, 0)
    data = table_of(type_chunk(2, pack("<2H", 0, 2), 2, entries, LAND))
    table = parse_arsc(data)
    assert values(table, "bool", "b") == [("land", "true")]
    assert values(table, "bool", "c") == [("land", "text")]
    (value,) = table.resolve(0x7F010000)
    patched = parse_arsc(patch_value(data, value, ValueType.INT_DEC, 9))
    assert values(patched, "bool", "b") == [("land", "9")]
    assert values(patched, "bool", "c") == [("land", "text")]


def test_several_packages() -> None:
    one = type_chunk(0, pack("<I", 0), 1, entry(0, 0x12, 0), DEFAULT)
    body = package_of(one, package_id=0x10) + package_of(one, package_id=0x7F)
    table = parse_arsc(encode_chunk(2, pack("<I", 2), encode_string_pool([]) + body))
    assert table.packages == ((0x10, "p"), (0x7F, "p"))
    assert [resource_id for _, resource_id in table.names("bool")] == [0x10010000, 0x7F010000]
    assert table.resolve(0x10010000) == table.resolve(0x7F010000) != ()


def test_type_ids_of_a_split_are_shifted() -> None:
    header = pack("<BBHII", 3, 0, 0, 1, 88) + DEFAULT
    chunk = encode_chunk(0x0201, header, pack("<I", 0) + entry(0, 0x12, 1))
    body = encode_string_pool([]) + package_of(chunk, shift=2)
    table = parse_arsc(encode_chunk(2, pack("<I", 1), body))
    assert table.find("bool", "a") == 0x7F030000
    assert table.name(0x7F030000) == "bool/a"


def test_both_configurations_of_a_reference_are_told() -> None:
    table = parse_arsc(
        encode_arsc(
            "p",
            [
                Resource("bool", "a", Reference("bool/b"), "mcc310"),
                Resource("bool", "a", Reference(0x01110000)),
                Resource("bool", "b", False),
                Resource("bool", "b", True, "de"),
            ],
        )
    )
    found = [(v.config, v.reference or v.as_string()) for v in table.resolve(0x7F010000)]
    assert found == [("", 0x01110000), ("mcc310", "false"), ("mcc310, de", "true")]


def test_circle_of_references_is_refused() -> None:
    circle = [Resource("bool", a, Reference(f"bool/{b}")) for a, b in ("ab", "bc", "ca", "da")]
    table = parse_arsc(encode_arsc("p", circle))
    with pytest.raises(ImageError, match="refers to itself"):
        table.resolve(0x7F010003)


def test_references_that_fan_out_are_refused() -> None:
    configs = ["", *(f"mcc{n}" for n in range(100, 109))]
    chain = [
        Resource("bool", f"b{n}", Reference(f"bool/b{n + 1}"), config)
        for n in range(6)
        for config in configs
    ]
    table = parse_arsc(encode_arsc("p", [*chain, Resource("bool", "b6", True)]))
    with pytest.raises(ImageError, match="over 10000 values"):
        table.resolve(0x7F010000)


# Configurations


@pytest.mark.parametrize(
    "qualifiers",
    ["", "mcc310", "mcc310-mnc260", "mcc310-mnc00", "mnc04", "de", "de-rUS", "mcc262-mnc01-de-rDE"],
)
def test_configuration_written_and_read(qualifiers: str) -> None:
    assert decode_config(encode_config(qualifiers)) == qualifiers


@pytest.mark.parametrize("bad", ["v21", "de-mcc310", "mcc", "mcc31", "de_US", "-de", "de-rDE-land"])
def test_configuration_that_cannot_be_written(bad: str) -> None:
    with pytest.raises(ValueError, match="configuration"):
        encode_config(bad)


def test_configuration_of_other_kinds() -> None:
    packed = bytearray(encode_config(""))
    packed[8:10] = bytes.fromhex("ad05")  # "fil": three letters of five bits
    assert decode_config(bytes(packed)) == "fil"
    packed[36:40] = b"Latn"
    assert decode_config(bytes(packed)) == "b+fil+Latn"
    packed[12] = 9
    assert decode_config(bytes(packed)) == "b+fil+Latn-orientation=9"
    assert decode_config(encode_config("de") + b"\1") == "de-unknown=01"
    assert decode_config(encode_config("de")[:28]) == "de"
    assert decode_config(b"") == ""


# Patching


def test_patched_value_is_the_only_change() -> None:
    table = parse_arsc(SETTINGS)
    _, other = table.resolve(0x7F010000)
    patched = patch_value(SETTINGS, other, ValueType.INT_BOOLEAN, 0)
    assert values(parse_arsc(patched), "bool", "def_backup_enabled") == [
        ("", "false"),
        ("mcc460", "false"),
    ]
    assert sum(a != b for a, b in zip(patched, SETTINGS, strict=True)) == 4
    with pytest.raises(ValueError, match="not at byte"):
        patch_value(patched, other, ValueType.INT_BOOLEAN, 0)


# Writing

RESOURCES = [
    Resource("bool", "cloud_messaging_default", False),
    Resource("bool", "cloud_messaging_default", True, "mcc310-mnc260"),
    Resource("bool", "auto", Reference("bool/cloud_messaging_default")),
    Resource("integer", "min_tls", -12),
    Resource("string", "server_url", "https://messaging.example.com"),
    Resource("string", "server_url", "https://de.example.com/ü", "de-rDE"),
    Resource("xml", "network_security_config", "res/xml/network_security_config.xml"),
]
IDS = resource_ids(RESOURCES)
POLICY = OverlayablePolicy(0x0A, (IDS["bool/auto"], IDS["integer/min_tls"]))
OVERLAYABLE = Overlayable("Config", "overlay://theme", (POLICY,))


def test_what_is_written_is_read() -> None:
    data = encode_arsc("com.example.messaging", RESOURCES, overlayables=[OVERLAYABLE])
    table = parse_arsc(data)
    assert table.packages == ((0x7F, "com.example.messaging"),)
    assert {name: table.find(*name.split("/")) for name in IDS} == IDS
    assert table.overlayables == (OVERLAYABLE,)
    assert values(table, "bool", "auto") == [("", "false"), ("mcc310-mnc260", "true")]
    assert values(table, "integer", "min_tls") == [("", "-12")]
    assert values(table, "string", "server_url") == [
        ("", "https://messaging.example.com"),
        ("de-rDE", "https://de.example.com/ü"),
    ]


def test_order_of_resources_does_not_matter() -> None:
    assert encode_arsc("p", RESOURCES[::-1]) == encode_arsc("p", RESOURCES)


NAMES = st.text(st.sampled_from("abc_"), min_size=1, max_size=4)


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["bool", "string", "xml"]), NAMES, st.sampled_from(["", "de"])),
        st.one_of(st.booleans(), st.integers(-(2**31), 2**31 - 1), st.text(max_size=8)),
        max_size=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_table_written_is_read(written: dict[tuple[str, str, str], bool | int | str]) -> None:
    resources = [
        Resource(kind, name, value, config) for (kind, name, config), value in written.items()
    ]
    table = parse_arsc(encode_arsc("p", resources))
    found = {}
    for kind in ("bool", "string", "xml"):
        for name, resource_id in table.names(kind):
            for value in table.resolve(resource_id):
                found[kind, name, value.config] = value.as_string()
    as_text = {True: "true", False: "false"}
    assert found == {
        key: as_text[value] if isinstance(value, bool) else str(value)
        for key, value in written.items()
    }  # fmt: skip


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ([Resource("bool", "a", True), Resource("bool", "a", False)], "twice"),
        ([Resource("bool", "a", Reference("bool/b"))], "no resource bool/b"),
        ([Resource("bool", "a", True, "v21")], "configuration"),
        ([Resource(f"t{n}", "a", True) for n in range(256)], "255 types"),
    ],
)
def test_tables_that_cannot_be_written(resources: list[Resource], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_arsc("p", resources)
    with pytest.raises(ValueError, match="longer"):
        encode_arsc("p" * 128, [])


def written_apk(folder: Path) -> Path:
    manifest = Element(
        "manifest",
        attributes=(Attribute.of("package", "com.example.messaging"),),
        children=(Element("application"),),
    )
    path = folder / "written.apk"
    with zipfile.ZipFile(path, "w") as apk:
        apk.writestr("AndroidManifest.xml", encode_axml(manifest))
        table = encode_arsc("com.example.messaging", RESOURCES, overlayables=[OVERLAYABLE])
        apk.writestr("resources.arsc", table)
        apk.writestr("res/xml/network_security_config.xml", encode_axml(Element("empty")))
    return path


@pytest.mark.judge("aapt2")
def test_aapt2_reads_what_is_written(tmp_path: Path) -> None:
    command = ["aapt2", "dump", "resources", written_apk(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stderr == ""
    assert [line.strip() for line in result.stdout.splitlines()] == [
        "Binary APK",
        "Package name=com.example.messaging id=7f",
        "type bool id=01 entryCount=2",
        "resource 0x7f010000 bool/auto",
        "() @bool/cloud_messaging_default",
        "resource 0x7f010001 bool/cloud_messaging_default",
        "() false",
        "(mcc310-mnc260) true",
        "type integer id=02 entryCount=1",
        "resource 0x7f020000 integer/min_tls",
        "() -12",
        "type string id=03 entryCount=1",
        "resource 0x7f030000 string/server_url",
        '() "https://messaging.example.com"',
        '(de-rDE) "https://de.example.com/ü"',
        "type xml id=04 entryCount=1",
        "resource 0x7f040000 xml/network_security_config",
        "() (file) res/xml/network_security_config.xml type=XML",
    ]


@pytest.mark.judge("aapt")
def test_aapt_reads_what_is_written(tmp_path: Path) -> None:
    command = ["aapt", "dump", "--values", "resources", written_apk(tmp_path)]
    dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "spec resource 0x7f010001 com.example.messaging:bool/cloud_messaging_default: " in dump
    assert "flags=0x00000003" in dump  # it differs by mcc and mnc
    assert "config mcc310-mnc260:" in dump
    assert '(string16) "https://de.example.com/ü"' in dump


def test_androguard_reads_the_same_table() -> None:
    androguard = pytest.importorskip("androguard.core.axml")
    for data in (MESSAGING, SETTINGS):
        theirs, table = androguard.ARSCParser(data), parse_arsc(data)
        assert theirs.get_packages_names() == [name for _, name in table.packages]
        for type_name in ("bool", "string", "integer", "xml"):
            for _, resource_id in table.names(type_name):
                count = len(theirs.get_res_configs(resource_id, fallback=False))
                assert len(table.values(resource_id)) == count


# Damage


def use(data: bytes) -> None:
    """Read everything a table has to say."""
    table = parse_arsc(data)
    for type_name in ("bool", "string", "array", "xml"):
        for name, resource_id in table.names(type_name):
            table.find(type_name, name)
            table.name(resource_id)
            table.resolve(resource_id)
    list(table.strings)
    list(table.strings.find("http"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not fit"),
        (b"<resources/>", "are left"),
        (MESSAGING[:-1], "are left"),
        (encode_chunk(3, pack("<I", 0)), "not a resource table"),
        (encode_chunk(2, pack("<I", 0)), "without strings"),
        (table_of(encode_chunk(0x0201, bytes(4))), "type chunk"),
        (table_of(type_chunk(0, b"", 99, b"", DEFAULT)), "do not fit their chunk"),
        (table_of(type_chunk(0, pack("<I", 4), 1, entry(0, 1, 1), DEFAULT)), "says it has 0 bytes"),
        (table_of(type_chunk(0, pack("<I", 12), 1, entry(0, 1, 1), DEFAULT)), "past the end"),
        (table_of(type_chunk(0, pack("<I", 0xFFFFFF00), 1, b"", DEFAULT)), "past the end"),
        (
            table_of(
                type_chunk(0, pack("<I", 0), 1, pack("<HHIII", 16, 1, 0, 0, 1 << 31), DEFAULT)
            ),
            "do not fit their bag",
        ),
        (table_of(encode_chunk(0x0204, bytes(8))), "overlayable"),
        (table_of(encode_chunk(0x0204, bytes(1024), encode_chunk(0x0205, b""))), "policy"),
        (
            table_of(encode_chunk(0x0204, bytes(1024), encode_chunk(0x0205, pack("<II", 1, 9)))),
            "ids do not fit",
        ),
    ],
)
def test_damage_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        use(data)


@pytest.mark.parametrize("original", [MESSAGING, SPARSE, SETTINGS])
def test_only_image_errors_escape_damage(original: bytes) -> None:
    rng = random.Random(11)
    package_at = 12 + unpack_from("<I", original, 16)[0]
    for _ in range(200):
        data = bytearray(original)
        for _ in range(rng.randint(1, 5)):
            start = rng.choice([0, package_at, package_at + 288])
            data[rng.randrange(start, len(data))] = rng.choice([0, 1, 8, 0xFF, rng.randrange(256)])
        if rng.random() < 0.2:
            del data[rng.randrange(8, len(data)) :]
            data[4:8] = pack("<I", len(data))
        with suppress(ImageError):
            use(bytes(data))
