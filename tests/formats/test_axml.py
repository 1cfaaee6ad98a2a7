from __future__ import annotations

import random
import subprocess
import zipfile
from contextlib import suppress
from pathlib import Path
from struct import pack, pack_into, unpack_from

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rom_builder.errors import ImageError
from rom_builder.formats.axml import (
    ANDROID_NAMESPACE,
    MAX_DEPTH,
    Attribute,
    Element,
    parse_axml,
    patch_attribute,
)
from rom_builder.formats.axml_writer import encode_axml
from rom_builder.formats.resource_chunk import ValueType, encode_chunk
from rom_builder.formats.string_pool import encode_string_pool
from tests.file_based import DEMO
from tests.fixtures.make_apks import APKS, FRAMEWORK
from tests.formats.androguard_manifest import differences

NAME, DEBUGGABLE, ENABLED, LABEL = 0x01010003, 0x0101000F, 0x0101000E, 0x01010001
KEY, DEFAULT_VALUE = 0x010101E8, 0x010101ED
MIN_SDK, TARGET_SDK = 0x0101020C, 0x01010270
USES_CLEARTEXT, NETWORK_SECURITY_CONFIG = 0x010104EC, 0x01010527


def read_entry(apk: str, entry: str) -> bytes:
    return zipfile.ZipFile(APKS / apk).read(entry)


MANIFEST = read_entry("messaging.apk", "AndroidManifest.xml")


def only(element: Element, name: str) -> Element:
    (found,) = (inner for inner in element.walk() if inner.name == name)
    return found


def canonical(element: Element) -> Element:
    """The element without the pool indices of its strings, attributes in a fixed order."""

    def key(attribute: Attribute) -> tuple[object, ...]:
        a = attribute
        return a.resource_id or 0, a.namespace or "", a.name, int(a.type), a.data, a.string or ""

    attributes = (a._replace(data=0 if a.type == 3 else a.data) for a in element.attributes)
    return element._replace(
        attributes=tuple(sorted(attributes, key=key)),
        children=tuple(map(canonical, element.children)),
    )


# Files of the platform's compiler


def test_manifest() -> None:
    root = parse_axml(MANIFEST)
    assert root.name == "manifest"
    package = root.attribute(name="package")
    assert package is not None
    assert (package.as_string(), package.namespace) == ("com.example.messaging", None)
    sdk = only(root, "uses-sdk").attribute(TARGET_SDK)
    assert sdk is not None
    assert (sdk.as_int(0), sdk.name, sdk.namespace) == (28, "targetSdkVersion", ANDROID_NAMESPACE)
    application = only(root, "application")
    for resource_id in (USES_CLEARTEXT, DEBUGGABLE):
        flag = application.attribute(resource_id)
        assert flag is not None
        assert flag.as_bool(True) is False
    config = application.attribute(NETWORK_SECURITY_CONFIG)
    assert config is not None
    assert config.reference == 0x7F050000
    assert application.attribute(NAME) is None
    assert [child.name for child in application.children] == ["service", "receiver"]
    assert len(application.children_named("receiver")) == 1


def test_line_and_offset_point_at_the_element() -> None:
    application = only(parse_axml(MANIFEST), "application")
    assert application.line == 5
    assert unpack_from("<HH", MANIFEST, application.offset) == (0x0102, 16)


def test_boolean_is_read_by_type_as_the_platform_does() -> None:
    data = read_entry("messaging.apk", "res/xml/network_security_config.xml")
    root = parse_axml(data)
    base, text, reference = (
        element.attribute(name="cleartextTrafficPermitted") for element in root.children
    )
    assert base is not None
    assert text is not None
    assert reference is not None
    assert (base.type, base.as_bool(True)) == (ValueType.INT_BOOLEAN, False)
    assert (text.type, text.as_string()) == (ValueType.STRING, "no")
    assert (text.as_bool(True), text.as_bool(False)) == (True, False)
    assert (reference.type, reference.reference) == (ValueType.REFERENCE, 0x7F020001)
    assert (reference.as_bool(True), reference.as_bool(False)) == (True, False)
    assert reference.as_string() is None
    domains = [element.text for element in root.walk() if element.name == "domain"]
    assert domains == ["legacy.example.com", "api.example.com", "bücher.example"]


def test_preferences() -> None:
    root = parse_axml(read_entry("messaging.apk", "res/xml/preferences.xml"))
    found = {}
    for preference in root.children:
        key, default = preference.attribute(KEY), preference.attribute(DEFAULT_VALUE)
        assert key is not None
        assert default is not None
        found[key.as_string()] = (default.as_bool(False), default.reference, default.as_string())
    assert found == {
        "cloud_messaging_service": (True, None, "true"),
        "auto_resend": (False, 0x7F020000, None),
        "server": (False, None, "https://messaging.example.com"),
    }


@pytest.mark.parametrize(
    ("apk", "entry"),
    [
        ("messaging.apk", "AndroidManifest.xml"),
        ("messaging.apk", "res/xml/network_security_config.xml"),
        ("messaging.apk", "res/xml/preferences.xml"),
        ("settings-provider.apk", "AndroidManifest.xml"),
    ],
)
def test_compiled_file_survives_being_written_again(apk: str, entry: str) -> None:
    before = parse_axml(read_entry(apk, entry))
    assert canonical(parse_axml(encode_axml(before))) == canonical(before)


# Values


@pytest.mark.parametrize(
    ("kind", "data", "as_bool", "as_int", "as_string"),
    [
        (0x00, 0, None, None, None),
        (0x01, 0x7F010000, None, None, None),
        (0x02, 0x01010000, None, None, None),
        (0x04, 0x3F800000, None, None, None),
        (0x0F, 1, None, None, None),
        (0x10, 0, False, 0, "0"),
        (0x10, 0xFFFFFFFE, True, -2, "-2"),
        (0x11, 0x10, True, 16, "0x10"),
        (0x12, 0xFFFFFFFF, True, -1, "true"),
        (0x12, 1, True, 1, "true"),
        (0x12, 0, False, 0, "false"),
        (0x1C, 0, False, 0, None),
        (0x1F, 0xFF0000, True, 0xFF0000, None),
        (0x20, 1, None, None, None),
    ],
)
def test_typed_values(kind, data, as_bool, as_int, as_string) -> None:
    value = Attribute("a", None, None, kind, data)
    for default in (True, False):
        assert value.as_bool(default) is (default if as_bool is None else as_bool)
    assert value.as_int(77) == (77 if as_int is None else as_int)
    assert value.as_string() == as_string


def test_null_reference_refers_to_nothing() -> None:
    assert Attribute("a", None, None, ValueType.REFERENCE, 0).reference is None
    assert Attribute("a", None, None, ValueType.DYNAMIC_REFERENCE, 5).reference == 5


def test_where_an_attribute_stands_does_not_count() -> None:
    here = Attribute("a", None, None, ValueType.INT_BOOLEAN, 0, offset=1)
    there = here._replace(offset=2)
    assert here == there
    assert not (here != there)  # noqa: SIM202 - what is tested
    assert len({here, there}) == 1
    assert here != here._replace(data=1)
    assert here != tuple(here)


def test_patched_attribute() -> None:
    attribute = only(parse_axml(MANIFEST), "application").attribute(DEBUGGABLE)
    assert attribute is not None
    patched = patch_attribute(MANIFEST, attribute, ValueType.INT_BOOLEAN, 0xFFFFFFFF)
    assert len(patched) == len(MANIFEST)
    assert sum(a != b for a, b in zip(patched, MANIFEST, strict=True)) == 4
    again = only(parse_axml(patched), "application").attribute(DEBUGGABLE)
    assert again is not None
    assert again.as_bool(False) is True
    with pytest.raises(ValueError, match="not at byte"):
        patch_attribute(patched, attribute, ValueType.INT_BOOLEAN, 0)


def test_patching_a_string_drops_its_raw_text() -> None:
    data = read_entry("messaging.apk", "res/xml/network_security_config.xml")
    attribute = parse_axml(data).children[1].attribute(name="cleartextTrafficPermitted")
    assert attribute is not None
    patched = patch_attribute(data, attribute, ValueType.INT_BOOLEAN, 0)
    again = parse_axml(patched).children[1].attribute(name="cleartextTrafficPermitted")
    assert again is not None
    assert (again.as_bool(True), again.raw) == (False, None)


# Files that are odd, but that the platform reads

POOL = ["debuggable", "true", "manifest", "name"]


def element(name: int, attributes: bytes = b"", count: int = 0, size: int = 20) -> bytes:
    head = pack("<IIHHHHHH", 0xFFFFFFFF, name, 20, size, count, 0, 0, 0)
    return encode_chunk(0x0102, pack("<II", 1, 0xFFFFFFFF), head + attributes)


END = encode_chunk(0x0103, pack("<II", 1, 0xFFFFFFFF), pack("<II", 0xFFFFFFFF, 2))
IDS = encode_chunk(0x0180, b"", pack("<I", DEBUGGABLE))
TRUE = pack("<IIIHBBI", 0xFFFFFFFF, 0, 0xFFFFFFFF, 8, 0, 0x12, 0xFFFFFFFF)


def document(*chunks: bytes, pool: list[str] = POOL, kind: int = 3) -> bytes:
    return encode_chunk(kind, b"", encode_string_pool(pool) + IDS + b"".join(chunks))


def wrong(data: bytes, offset: int, value: bytes) -> bytes:
    return data[:offset] + value + data[offset + len(value) :]


GOOD = document(element(2, TRUE, 1), END)
POOL_AT = 8
NAMESPACE_AT = GOOD.index(IDS) + len(IDS)
NAMESPACE = wrong(encode_chunk(0x0100, pack("<IIII", 1, 0, 0, 0)), 2, b"\x01\x1c")

ODD = {
    "as it should be": GOOD,
    "another root type": document(element(2, TRUE, 1), END, kind=0),
    "root header size 16": wrong(GOOD, 2, b"\x10\0"),
    "root header size 0": wrong(GOOD, 2, b"\0\0"),
    "pool header size 0x1c01": wrong(GOOD, POOL_AT + 2, b"\x01\x1c"),
    "namespace header size 0x1c01": document(NAMESPACE, element(2, TRUE, 1), END),
    "inflated string count": wrong(GOOD, POOL_AT + 8, b"\xff\xff\xff\x0f"),
    "unknown chunks": document(
        encode_chunk(0x0999, b"", b"1234"), element(2, TRUE, 1), encode_chunk(0x0888, b""), END
    ),
    "unknown node": document(encode_chunk(0x0155, b"", bytes(8)), element(2, TRUE, 1), END),
    "junk after the file": GOOD + b"junk" * 9,
    "junk after the root": document(element(2, TRUE, 1), END, b"\0\0\0\0\0\0\0\0" * 3),
    "second root": document(element(2, TRUE, 1), END, element(3), END),
    "attributes of 24 bytes": document(element(2, TRUE + bytes(4), 1, 24), END),
    "renamed attribute": document(element(2, TRUE, 1), END, pool=["x y", *POOL[1:]]),
    "nameless attribute": document(element(2, TRUE, 1), END, pool=["", *POOL[1:]]),
    "element left open": document(element(2, TRUE, 1), element(3)),
    "end before the start": document(END, element(2, TRUE, 1), END),
    "first pool is another": encode_chunk(3, b"", encode_string_pool(["z"]) + GOOD[8:]),
}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_reads_what_the_platform_reads(data: bytes) -> None:
    root = parse_axml(data)
    assert root.name == "manifest"
    flag = root.attribute(DEBUGGABLE)
    assert flag is not None
    assert flag.as_bool(False) is True


def test_name_is_matched_without_an_id_only_in_no_namespace() -> None:
    inner = (
        Attribute.of("package", "a", namespace="urn:x"),
        Attribute.of("package", "b"),
    )
    root = Element("manifest", attributes=inner)
    for found in (root, parse_axml(encode_axml(root))):
        in_none, in_any = (
            found.attribute(name="package", any_namespace=anywhere) for anywhere in (False, True)
        )
        assert in_none is not None
        assert in_any is not None
        assert in_none.as_string() == "b"
        assert found.attribute(name="nothing") is None


# Damage


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not fit"),
        (b"<?xml version='1.0'?>", "are left"),
        (GOOD[:-1], "are left"),
        (document(), "without a root"),
        (document(END), "without a root"),
        (encode_chunk(3, b"", element(2)), "is no string"),
        (document(element(99)), "is no string"),
        (document(element(2, TRUE, 2)), "do not fit their element"),
        (document(element(2, TRUE, 0xFFFF, 0)), "do not fit their element"),
        (document(wrong(element(2), 2, b"\x01\x1c")), "header size 7169"),
        (document(wrong(element(2), 4, b"\0\0\0\0")), "are left"),
        (document(*[element(2)] * (MAX_DEPTH + 1)), "levels"),
    ],
)
def test_damage_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        parse_axml(data)


def test_error_tells_the_byte() -> None:
    data = document(element(2), element(99))
    with pytest.raises(ImageError) as caught:
        parse_axml(data)
    assert caught.value.offset == data.rindex(element(99))


def test_deepest_file_is_read_and_written() -> None:
    data = document(*[element(2)] * MAX_DEPTH)
    root = parse_axml(data)
    assert sum(1 for _ in root.walk()) == MAX_DEPTH
    assert parse_axml(encode_axml(root)) == root


def test_only_image_errors_escape_damage() -> None:
    rng = random.Random(5)
    for original in (GOOD, MANIFEST):
        for _ in range(400):
            data = bytearray(original)
            for _ in range(rng.randint(1, 4)):
                data[rng.randrange(len(data))] = rng.choice([0, 1, 0x7F, 0xFF, rng.randrange(256)])
            if rng.random() < 0.3:
                del data[rng.randrange(8, len(data)) :]
                pack_into("<I", data, 4, len(data))
            with suppress(ImageError):
                list(parse_axml(bytes(data)).walk())


# Writing

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)
ATTRIBUTES = st.builds(
    Attribute.of,
    TEXTS,
    st.one_of(st.booleans(), st.integers(-(2**31), 2**31 - 1), TEXTS, st.just("")),
    st.one_of(st.none(), st.integers(0x01010000, 0x0101FFFF)),
    st.one_of(st.none(), TEXTS),
)
ELEMENTS = st.recursive(
    st.builds(
        lambda name, attributes, text: Element(name, attributes=tuple(attributes), text=text),
        TEXTS,
        st.lists(ATTRIBUTES, max_size=3),
        TEXTS,
    ),
    lambda inner: st.builds(
        lambda name, namespace, children: Element(name, namespace, children=tuple(children)),
        TEXTS,
        st.one_of(st.none(), TEXTS),
        st.lists(inner, max_size=3),
    ),
    max_leaves=6,
)


@given(ELEMENTS)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(root: Element) -> None:
    data = encode_axml(root)
    assert canonical(parse_axml(data)) == canonical(root)
    assert encode_axml(root) == data


def test_attributes_are_sorted_by_id_and_their_names_come_first() -> None:
    ids = [MIN_SDK, NAME, LABEL, None, KEY]
    root = Element("a", attributes=tuple(Attribute.of(f"n{i}", i, i) for i in ids if i))
    root = root._replace(attributes=(Attribute.of("aaa", True), *root.attributes))
    data = encode_axml(root)
    written = [attribute.resource_id for attribute in parse_axml(data).attributes]
    assert written == [LABEL, NAME, KEY, MIN_SDK, None]
    ids_at = data.index(pack("<HH", 0x0180, 8))
    assert unpack_from("<4I", data, ids_at + 8) == (LABEL, NAME, KEY, MIN_SDK)


def test_style_attribute_can_be_found_by_its_place() -> None:
    attributes = (Attribute.of("style", "s"), Attribute.of("id", 7, 0x010100D0))
    data = encode_axml(Element("view", attributes=attributes))
    head = parse_axml(data).offset + 16
    assert unpack_from("<3H", data, head + 14) == (1, 0, 2)


OVERLAY = Element(
    "manifest",
    attributes=(
        Attribute.of("package", "com.example.rro"),
        Attribute.of("versionCode", 3, 0x0101021B),
    ),
    children=(
        Element("uses-sdk", attributes=(Attribute.of("targetSdkVersion", 29, TARGET_SDK),)),
        Element(
            "overlay",
            attributes=(
                Attribute.of("isStatic", True, 0x0101055A),
                Attribute.of("targetPackage", "com.example.messaging", 0x01010021),
                Attribute.of("priority", 900, 0x0101001C),
            ),
        ),
        Element("application", attributes=(Attribute.of("hasCode", False, 0x0101000C),)),
    ),
)  # fmt: skip


def written_apk(folder: Path) -> Path:
    path = folder / "overlay.apk"
    with zipfile.ZipFile(path, "w") as apk:
        apk.writestr("AndroidManifest.xml", encode_axml(OVERLAY))
    return path


@pytest.mark.judge("aapt")
def test_aapt_reads_what_is_written(tmp_path: Path) -> None:
    command = ["aapt", "dump", "xmltree", written_apk(tmp_path), "AndroidManifest.xml"]
    dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in (
        f"N: android={ANDROID_NAMESPACE}",
        'A: package="com.example.rro" (Raw: "com.example.rro")',
        "A: android:targetSdkVersion(0x01010270)=(type 0x10)0x1d",
        'A: android:targetPackage(0x01010021)="com.example.messaging"',
        "A: android:priority(0x0101001c)=(type 0x10)0x384",
        "A: android:isStatic(0x0101055a)=(type 0x12)0xffffffff",
        "A: android:hasCode(0x0101000c)=(type 0x12)0x0",
    ):
        assert line in dump


@pytest.mark.judge("aapt2")
def test_aapt2_reads_what_is_written(tmp_path: Path) -> None:
    command = ["aapt2", "dump", "badging", written_apk(tmp_path)]
    dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "package: name='com.example.rro' versionCode='3'" in dump
    assert "targetSdkVersion:'29'" in dump


def xml_of(apk: Path, *folders: str) -> dict[str, bytes]:
    """Return the manifest of an app and all compiled XML below some of its folders."""
    with zipfile.ZipFile(apk) as archive:
        names = [name for name in archive.namelist() if name.endswith(".xml")]
        found = [
            name for name in names if name == "AndroidManifest.xml" or name.startswith(folders)
        ]
        return {name: archive.read(name) for name in found}


@pytest.mark.parametrize(
    ("apk", "folders"),
    [
        *(pytest.param(path, "res/", id=path.name) for path in sorted(APKS.glob("*.apk"))),
        *(
            pytest.param(path, "res/", id=f"demo-{path.name}")
            for path in sorted(DEMO.rglob("*.apk"))
        ),
        pytest.param(
            Path(FRAMEWORK), "res/xml/", id="framework", marks=pytest.mark.judge(FRAMEWORK)
        ),
    ],
)
def test_androguard_reads_the_same(apk: Path, folders: str) -> None:
    pytest.importorskip("androguard.core.axml")
    pytest.importorskip("loguru").logger.disable("androguard")
    files = xml_of(apk, folders)
    assert "AndroidManifest.xml" in files
    assert {name: found for name, data in files.items() if (found := list(differences(data)))} == {}


def test_androguard_names_an_attribute_by_its_id_and_we_as_the_file_does() -> None:
    """The one difference in 176 manifests of two ROMs: an id that Android 4 used for another name."""
    pytest.importorskip("androguard.core.axml")
    lying = Element("manifest", attributes=(Attribute.of("primaryUserOnly", True, DEBUGGABLE),))
    (difference,) = differences(encode_axml(lying))
    assert "('primaryUserOnly', 'true')], androguard: [('debuggable', 'true')]" in difference
    found = parse_axml(encode_axml(lying)).attribute(DEBUGGABLE)
    assert found is not None
