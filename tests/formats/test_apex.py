import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from rom_builder.errors import ImageError
from rom_builder.formats.apex import Apex, is_apex
from rom_builder.formats.source import BytesSource
from rom_builder.formats.zip import ZipArchive
from tests.formats.builders import apex as build
from tests.formats.builders.vbmeta import key_blob, vbmeta, with_footer
from tests.formats.damage import survives

KEY = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
ENTRIES = {
    "apex_manifest.pb": build.manifest(),
    "AndroidManifest.xml": b"",
    "apex_payload.img": build.payload(KEY),
    "apex_pubkey": key_blob(KEY),
}
GOOD = build.archive(ENTRIES)
OUTSIDE = {name: ENTRIES[name] for name in ("apex_manifest.pb", "apex_pubkey")}


def opened(data: bytes) -> Apex:
    return Apex(BytesSource(data))


def capex(entries: dict[str, bytes] = OUTSIDE, inner: bytes = GOOD) -> Apex:
    return opened(build.archive({**entries, "original_apex": inner}, deflated=True))


def test_an_apex_is_read_and_its_payload_verifies() -> None:
    assert is_apex(ZipArchive(BytesSource(GOOD)))
    apex = opened(GOOD)
    assert (apex.manifest.name, apex.manifest.version) == ("com.android.example", 340000000)
    assert apex.manifest.jni_libs == ("libexample.so",)
    assert not apex.is_compressed
    assert apex.payload().read_at(0, 5) == b"image"
    assert apex.verify_payload().public_key == apex.public_key == key_blob(KEY)


def test_the_json_manifest_of_android_10_is_read() -> None:
    entries = {"apex_manifest.json": build.json_manifest(), "apex_payload.img": b""}
    apex = opened(build.archive(entries))
    assert (apex.manifest.name, apex.manifest.version) == ("com.android.example", 290000000)


def test_a_compressed_apex_holds_the_original() -> None:
    outer = capex()
    assert outer.is_compressed
    with pytest.raises(ImageError, match="lies in its original"):
        outer.payload()
    inner = outer.original()
    assert not inner.is_compressed
    inner.verify_payload()
    with pytest.raises(ImageError, match="not compressed"):
        inner.original()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"apex_manifest.pb": build.manifest(name="other")}, "differs in name"),
        ({"apex_manifest.pb": build.manifest(version=1)}, "differs in version"),
        ({"apex_pubkey": key_blob(OTHER)}, "differs in public key"),
    ],
)
def test_a_compressed_apex_that_differs_from_its_original_is_refused(
    change: dict[str, bytes], message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        capex({**OUTSIDE, **change}).original()


def test_a_compressed_apex_in_another_is_refused() -> None:
    inner = build.archive({**OUTSIDE, "original_apex": GOOD})
    with pytest.raises(ImageError, match="another compressed APEX"):
        capex(inner=inner).original()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"apex_pubkey": key_blob(OTHER)}, "is signed with key"),
        ({"apex_pubkey": b""}, "no public key"),
        ({"apex_payload.img": with_footer(b"x", vbmeta(b""), 8192)}, "not signed"),
        ({"apex_payload.img": with_footer(b"x", vbmeta(b"", KEY), 8192)}, "no hashtree"),
        ({"apex_payload.img": bytes(8192)}, "not a vbmeta image"),
    ],
)
def test_a_payload_that_is_not_signed_with_its_key_is_refused(
    change: dict[str, bytes], message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        opened(build.archive({**ENTRIES, **change})).verify_payload()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"classes.dex": b""}, "no APEX"),
        ({"apex_payload.img": b""}, "no APEX"),
        ({"apex_manifest.pb": b"", "apex_payload.img": b""}, "no name"),
        ({"apex_manifest.pb": b"\xff", "apex_payload.img": b""}, "damaged protobuf"),
        ({"apex_manifest.json": b"[" * 100_000, "apex_payload.img": b""}, "damaged APEX manifest"),
        ({"apex_manifest.json": b"[]", "apex_payload.img": b""}, "no name and version"),
        ({"apex_manifest.pb": bytes(1 << 21), "apex_payload.img": b""}, "at most 1048576"),
    ],
)
def test_damage_is_named(entries: dict[str, bytes], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        opened(build.archive(entries))


def test_random_damage_raises_only_image_error() -> None:
    assert survives(lambda data: opened(data).verify_payload(), GOOD) > 40
    packed = build.archive({**OUTSIDE, "original_apex": GOOD}, deflated=True)
    assert survives(lambda data: opened(data).original().verify_payload(), packed) > 100
