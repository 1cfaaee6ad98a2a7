"""Manifests of JAR signatures: the usual form read at once says what reading line by line says."""

from __future__ import annotations

import base64
import hashlib
import random

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.jar_manifest import JarManifest, TextDigest

MAIN = "Manifest-Version: 1.0\r\nCreated-By: a tool\r\n\r\n"


def base64_of(data: bytes, algorithm: str = "sha1") -> str:
    return base64.b64encode(hashlib.new(algorithm, data).digest()).decode()


def section(name: str, *lines: str) -> str:
    """Return a section with lines folded after 70 bytes, as tools write them."""
    text = ""
    for line in (f"Name: {name}", *lines):
        rest = line.encode()
        text += rest[:70].decode("latin-1") + "\r\n"
        for at in range(70, len(rest), 69):
            text += " " + rest[at : at + 69].decode("latin-1") + "\r\n"
    return text + "\r\n"


def parsed(*sections: str, main: str = MAIN) -> JarManifest:
    return JarManifest((main + "".join(sections)).encode("latin-1"), "META-INF/MANIFEST.MF")


NAMES = ("classes.dex", "res/a: b", "é" * 60, "x" * 300, "res/Name: x", "-Digest: y")


@pytest.mark.parametrize("spelling", ["SHA1", "SHA-1", "sha1"])
def test_digests_are_read_by_name(spelling: str) -> None:
    usual = [section(name, f"{spelling}-Digest: {base64_of(name.encode())}") for name in NAMES]
    wanted = {name: TextDigest("SHA-1", base64_of(name.encode())) for name in NAMES}

    for last in (
        (),
        (section("more", "Comment: not a digest"),),
    ):  # the last is not of the usual form
        manifest = parsed(*usual, *last)
        assert dict(manifest.digests) == wanted | ({"more": None} if last else {})
        assert manifest.names == manifest.digests.keys()
        assert all(manifest.digests[name].is_of(name.encode()) for name in NAMES)  # type: ignore[union-attr]


def test_the_strongest_digest_counts_and_an_unknown_one_does_not() -> None:
    weak, strong = f"SHA1-Digest: {base64_of(b'a')}", f"SHA-256-Digest: {base64_of(b'a', 'sha256')}"
    manifest = parsed(section("a", weak, strong), section("b", "CRC-Digest: AAAA"))

    assert manifest.digests == {"a": TextDigest("SHA-256", strong[16:]), "b": None}
    assert parsed(section("b", "CRC-Digest: AAAA")).digests == {"b": None}


def test_the_bytes_of_a_section_are_what_a_signature_file_signs() -> None:
    sections = [section(name, f"SHA1-Digest: {base64_of(b'')}") for name in NAMES]
    manifest = parsed(*sections)

    assert manifest.main_bytes == MAIN.encode()
    assert list(manifest.section_bytes.values()) == [text.encode("latin-1") for text in sections]


def test_a_name_that_repeats_the_word_takes_no_longer_than_another() -> None:
    """Looked for anew at each of the words, the end of the line would be an hour away."""
    name = "Name: " * 400_000
    assert parsed(f"Name: {name}\r\n\r\n").digests == {name: None}


@pytest.mark.parametrize("text", ["", "!", "AAA", "A===", "A" * 27 + "=\n", "é" * 28])
def test_damaged_base64_is_no_digest(text: str) -> None:
    assert not TextDigest("SHA-1", text).matches(bytes(20))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ([section("a", "SHA1-Digest: AAAA")] * 2, "'a' occurs twice"),
        ([section("a", "SHA1-Digest: AAAA"), "SHA1-Digest: AAAA\r\n\r\n"], "has no name"),
        ([section("a", "SHA1-Digest: AAAA"), "what\r\n\r\n"], "without a colon"),
        ([section("a", "SHA1-Digest: AAAA"), " b\r\n\r\n"], "follows an empty one"),
    ],
)
def test_damage_is_told(sections: list[str], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        _ = parsed(*sections).digests


def test_no_change_makes_the_two_ways_of_reading_differ() -> None:
    """A section of two digests at the end has the whole file read line by line."""
    dice = random.Random(2)
    pieces = ["\r\n", "\n", " ", ":", ": ", "Name: ", "-Digest: ", "SHA1", "=", "a", "\0", "é", ""]
    text = "".join(section(f"f{n}", f"SHA1-Digest: {base64_of(bytes([n]))}") for n in range(6))
    last = section("last", f"SHA1-Digest: {base64_of(b'')}", f"MD5-Digest: {base64_of(b'', 'md5')}")
    outcomes = []
    for _ in range(3000):
        at = dice.randrange(len(text))
        changed = text[:at] + dice.choice(pieces) + text[at + dice.randrange(3) :]
        found = []
        for more in ("", last):
            try:
                digests = dict(parsed(changed, more).digests)
            except ImageError as error:
                found.append(error.message)
            else:
                digests.pop("last", None)
                found.append(str(digests))
        if changed.endswith("\r\n\r\n"):
            assert found[0] == found[1]
            outcomes.append(found[0][0] == "{")
    assert set(outcomes) == {True, False}
