"""Our verdict on signed APKs is apksigner's: good, stripped, mixed and tampered ones."""

from __future__ import annotations

import io
import shutil
import subprocess
import warnings
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import pkcs7

from rom_builder.errors import ImageError
from rom_builder.formats.apk_signature import NEWEST, ApkVerdict, verify_apk
from rom_builder.formats.apk_signing import sign_apk
from rom_builder.formats.source import BytesSource
from rom_builder.formats.zip import ZipArchive
from tests.formats.test_apk_signature import (
    Identity,
    cms_by,
    identities,
    packed,
    with_jar_signature,
)
from tests.roms import App

__all__ = ["identities"]

JUDGE = Path(__file__).parent.parent / "fixtures" / "ApkJudge.java"
JARS = ("/usr/share/java/apksigner.jar", "/usr/share/java/apksig.jar")
RANGES = (
    (16, 19),
    (18, 23),
    (19, 23),
    (21, NEWEST),
    (24, 27),
    (28, 28),
    (24, NEWEST),
    (30, NEWEST),
    (34, 34),
)
V2, V3 = (0x7109871A).to_bytes(4, "little"), (0xF05368C0).to_bytes(4, "little")
PADDING = (0x42726577).to_bytes(4, "little")
FILES = {"classes.dex": bytes(1000), "res/a": b"a"}


def files(target: int = 29) -> dict[str, bytes]:
    app = zipfile.ZipFile(io.BytesIO(App("com.example.a", target, 18, signer=None).encode()))
    return {"AndroidManifest.xml": app.read("AndroidManifest.xml"), **FILES}


def v1(who: Identity, target: int = 29, announced: str = "", *options: pkcs7.PKCS7Options) -> bytes:
    return packed(with_jar_signature(files(target), cms_by(who, *options), announced=announced))


def v2_v3(unsigned: bytes, who: Identity) -> bytes:
    return sign_apk(unsigned, who.der, who.sign)


def flipped(data: bytes, what: bytes, by: int = 0) -> bytes:
    at = data.index(what) + by
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def rebuilt(data: bytes, **changes: bytes) -> bytes:
    """Write an APK anew with other entries, as somebody without the key would."""
    old = zipfile.ZipFile(io.BytesIO(data))
    entries = {name: old.read(name) for name in old.namelist()}
    return packed({**entries, **changes})


def twice(data: bytes) -> bytes:
    """Add an entry of a name that is there already."""
    file = io.BytesIO(data)
    with warnings.catch_warnings(), zipfile.ZipFile(file, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("res/a", b"a")
    return file.getvalue()


def after(prefix: bytes, data: bytes) -> bytes:
    """Put bytes before an archive and mend its offsets."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        file.write(prefix)
        with zipfile.ZipFile(file, "a") as new:
            for name in old.namelist():
                new.writestr(old.getinfo(name), old.read(name))
    return file.getvalue()


def rotated(folder: Path, old: Identity, new: Identity) -> bytes:
    """Let apksigner rotate a key: v1 and v2 by the old one, v3 by the new one with a lineage."""
    (old_key, old_pem), (new_key, new_pem) = old.write(folder, "old"), new.write(folder, "new")
    unsigned, path, lineage = folder / "u.apk", folder / "r.apk", folder / "lineage"
    unsigned.write_bytes(packed(files()))
    first, next_ = ("--key", old_key, "--cert", old_pem), ("--key", new_key, "--cert", new_pem)
    for words in (
        ("rotate", "--out", lineage, "--old-signer", *first, "--new-signer", *next_),
        (
            "sign", *first, "--next-signer", *next_, "--lineage", lineage, "--out", path,
            "--min-sdk-version", 18, "--v1-signing-enabled", "true", unsigned,
        ),
    ):  # fmt: skip
        subprocess.run(["apksigner", *map(str, words)], check=True, capture_output=True)
    return path.read_bytes()


def battery(ids: dict[str, Identity], folder: Path) -> dict[str, bytes]:
    rsa, other, ec = ids["RSA-2048"], ids["RSA-4096"], ids["P-256"]
    unsigned = packed(files())
    both = v2_v3(v1(rsa, announced="X-Android-APK-Signed: 2, 3\r\n"), rsa)
    later = v2_v3(unsigned, rsa)
    turned = rotated(folder, rsa, ec)
    return {
        "unsigned": unsigned,
        "v1 rsa": v1(rsa),
        "v1 ec": v1(ec),
        "v1 rsa, no attributes": v1(rsa, 29, "", pkcs7.PKCS7Options.NoAttributes),
        "v1 ec, no attributes": v1(ec, 29, "", pkcs7.PKCS7Options.NoAttributes),
        "v1 only, target 30": v1(rsa, target=30),
        "v1 only, target 35": v1(rsa, target=35),
        "v1, changed entry": rebuilt(v1(rsa), **{"res/a": b"b"}),
        "v1, new entry": rebuilt(v1(rsa), new=b"b"),
        "v1, new entry named like a signature file": rebuilt(v1(rsa), **{"META-INF/Sig-x": b"b"}),
        "v1, new entry in meta-inf": rebuilt(v1(rsa), **{"meta-inf/X.SF": b"b"}),
        "v1, new entry beside the signature": rebuilt(v1(rsa), **{"META-INF/X.OSIG": b"b"}),
        "v2 v3 rsa": later,
        "v2 v3 rsa 4096": v2_v3(unsigned, other),
        "v2 v3 ec, several chunks": v2_v3(packed({**files(), "b": bytes(1_200_000)}), ec),
        "v2 v3, changed entry": flipped(later, b"res/aa", 5),
        "v2 v3, changed directory": flipped(later, b"PK\1\2", 4),
        "v2 stripped to padding": later.replace(V2, PADDING),
        "v3 stripped to padding": later.replace(V3, PADDING),
        "v1 v2 v3": both,
        "v1 v2 v3, all later stripped": rebuilt(both),
        "v1 v2 v3, v2 stripped": both.replace(V2, PADDING),
        "v1 v2 v3, v3 stripped": both.replace(V3, PADDING),
        "v1 v2 v3, v1 changed": v2_v3(rebuilt(v1(rsa), **{"res/a": b"b"}), rsa),
        "v1 by one, v2 v3 by another": v2_v3(v1(rsa), other),
        "rotated": turned,
        "rotated, v3 stripped": turned.replace(V3, PADDING),
        "rotated, lineage changed": flipped(turned, ec.der, len(ec.der) - 4),
        "overlong by a byte": later + b"x",
        "v1, entry twice": twice(v1(rsa)),
    }


def verdict(data: bytes, min_sdk: int, max_sdk: int, target: int) -> ApkVerdict | None:
    source = BytesSource(data)
    try:
        archive = ZipArchive(source, lenient=True)
        return verify_apk(archive, source, min_sdk=min_sdk, max_sdk=max_sdk, target_sdk=target)
    except ImageError:
        return None


@pytest.mark.judge("apksigner")
@pytest.mark.judge("javac")
def test_apksigner_gives_the_same_verdicts(identities: dict[str, Identity], tmp_path: Path) -> None:
    apks = battery(identities, tmp_path)
    words, asked = [], []
    for number, (name, data) in enumerate(apks.items()):
        path = tmp_path / f"{number}.apk"
        path.write_bytes(data)
        for low, high in RANGES:
            words += [str(low), str(high), str(path)]
            asked.append((name, low, high))
    java = shutil.which("java")
    assert java
    said = subprocess.run(
        [java, "-XX:TieredStopAtLevel=1", "-cp", ":".join(JARS), JUDGE, *words],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    different = []
    for (name, low, high), line in zip(asked, said, strict=True):
        target = int(name[-2:]) if "target" in name else 29
        ours = verdict(apks[name], low, high, target)
        good = ours is not None and not ours.faults
        mine = " ".join(("good", *ours.schemes)) if ours and good else "bad"
        if mine != line.partition(" |")[0]:
            different.append(
                f"{name}, {low} to {high}: {mine} {ours and ours.faults}, they: {line}"
            )
    assert not different, "\n".join(different)
    assert sum(line.startswith("good") for line in said) > 50
    assert sum(line.startswith("bad") for line in said) > 50


def test_a_program_before_a_signed_archive_is_noticed(identities: dict[str, Identity]) -> None:
    """CVE-2017-13156, where we are stricter than apksigner: Android 5 to 8.0 ran the DEX file."""
    good = v1(identities["RSA-2048"])
    smuggled = after(b"dex\n035\0" + bytes(100), good)
    ours = verdict(smuggled, 21, 21, 29)
    assert ours is not None
    assert ours.faults == ("v1: what stands before the first entry is not signed",)
    ours = verdict(after(b"", good), 21, 21, 29)
    assert ours is not None
    assert ours.faults == ()


def test_a_file_in_a_folder_of_meta_inf_is_noticed(identities: dict[str, Identity]) -> None:
    """Stricter than apksigner, which lets anything into META-INF: apps load services from there."""
    ours = verdict(rebuilt(v1(identities["RSA-2048"]), **{"META-INF/services/x": b"y"}), 24, 24, 29)
    assert ours is not None
    assert ours.faults == ("'META-INF/services/x' has no digest in the manifest",)
