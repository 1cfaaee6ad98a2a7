"""Make the apps of the demo ROM; ``make_package`` then puts them into its package.

Needs aapt2, smali, apksigner and the API 29 framework resources: ``apt install aapt libsmali-java
apksigner android-framework-res``. Run it as ``python -m examples.demo.make_files``. The keys are
made for one run and never written into the tree, so the signatures differ from run to run; both
versions of the messaging app are signed with one key, as an update has to be.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rom_builder.formats.source import FileSource
from rom_builder.formats.zip import ZipArchive
from rom_builder.formats.zip_writer import ZipWriter
from rom_builder.keys import NewKey, new_key

FRAMEWORK = "/usr/share/android-framework-res/framework-res.apk"
HERE = Path(__file__).parent
XMLNS = 'xmlns:android="http://schemas.android.com/apk/res/android"'

MESSAGING_MANIFEST = """
<manifest {xmlns} package="com.example.messaging"
    android:versionCode="{code}" android:versionName="{name}">
  <uses-sdk android:minSdkVersion="28" android:targetSdkVersion="30"/>
  <uses-permission android:name="android.permission.INTERNET"/>
  <uses-permission android:name="android.permission.READ_PRIVILEGED_PHONE_STATE"/>
  <application android:label="@string/app_name" android:allowBackup="false"
      android:networkSecurityConfig="@xml/network_security_config">
    <activity android:name=".SettingsActivity" android:exported="true"/>
    <service android:name=".SyncService" android:exported="false"/>
    <receiver android:name=".BootReceiver" android:exported="true">
      <intent-filter><action android:name="android.intent.action.BOOT_COMPLETED"/></intent-filter>
    </receiver>
  </application>
</manifest>
"""
NETWORK_SECURITY_CONFIG = """
<network-security-config>
  <base-config cleartextTrafficPermitted="{permitted}">
    <trust-anchors><certificates src="system"/></trust-anchors>
  </base-config>
</network-security-config>
"""
SETTINGS = """
<PreferenceScreen {xmlns}>
  <SwitchPreference android:key="cloud_messaging" android:defaultValue="{ticked}"
      android:title="@string/app_name"/>
</PreferenceScreen>
"""
MESSAGING_SMALI = """
.class public Lcom/example/messaging/Servers;
.super Ljava/lang/Object;
.field public static final LOOKUP:Ljava/lang/String; = "{scheme}://messaging.example.com/v1/lookup"
.field public static final SEND:Ljava/lang/String; = "{scheme}://messaging.example.com/v1/send"
"""
NOTES_MANIFEST = f"""
<manifest {XMLNS} package="com.example.notes"
    android:versionCode="3" android:versionName="1.2">
  <uses-sdk android:minSdkVersion="28" android:targetSdkVersion="30"/>
  <application android:label="@string/app_name">
    <activity android:name=".NotesActivity" android:exported="true"/>
  </application>
</manifest>
"""
NOTES_SMALI = """
.class public Lcom/example/notes/NotesActivity;
.super Landroid/app/Activity;
.field public static final HELP:Ljava/lang/String; = "https://help.example.org/notes"
"""


def make_messaging(path: Path, key: NewKey, *, name: str, code: int, good: bool) -> None:
    """Make one version of the messaging app: on and open, or opt-in and encrypted."""
    resources = {
        "values/values": '<resources><string name="app_name">Cloud messaging</string></resources>',
        "xml/network_security_config": NETWORK_SECURITY_CONFIG.format(
            permitted="false" if good else "true"
        ),
        "xml/settings": SETTINGS.format(xmlns=XMLNS, ticked="false" if good else "true"),
    }
    manifest = MESSAGING_MANIFEST.format(xmlns=XMLNS, code=code, name=name)
    make_apk(
        path, key, manifest, resources, MESSAGING_SMALI.format(scheme="https" if good else "http")
    )


def make_apk(path: Path, key: NewKey, manifest: str, resources: dict[str, str], smali: str) -> None:
    """Make one app, signed with APK Signature Scheme v3."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        files = {f"res/{name}.xml": text for name, text in resources.items()}
        for name, text in {**files, "AndroidManifest.xml": manifest, "code.smali": smali}.items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_text(text.strip() + "\n")
        run(work, "aapt2", "compile", "--dir", "res", "-o", "res.zip")
        run(
            work, "aapt2", "link", "-I", FRAMEWORK, "--manifest", "AndroidManifest.xml",
            "--no-version-vectors", "-o", "linked.apk", "res.zip",
        )  # fmt: skip
        run(work, "smali", "assemble", "-o", "classes.dex", "code.smali")
        linked = ZipArchive(FileSource(work / "linked.apk"))
        with (work / "unsigned.apk").open("wb") as file:
            apk = ZipWriter(file)
            for name, entry in sorted(linked.entries.items()):
                stored = name == "resources.arsc"  # Android maps it into memory
                apk.add(name, linked.read(entry), compress=not stored, align=4)
            apk.add("classes.dex", (work / "classes.dex").read_bytes(), compress=True)
            apk.close()
        pk8, certificate = work / "key.pk8", work / "key.x509.pem"
        pk8.write_bytes(
            key.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        )
        certificate.write_bytes(key.certificate.public_bytes(Encoding.PEM))
        run(
            work, "apksigner", "sign", "--key", str(pk8), "--cert", str(certificate),
            "--v1-signing-enabled", "false", "--v2-signing-enabled", "false",
            "--out", str(path.resolve()), "unsigned.apk",
        )  # fmt: skip
    path.with_name(f"{path.name}.idsig").unlink(missing_ok=True)


def run(folder: Path, *command: str) -> None:
    """Run a program in a folder."""
    subprocess.run(command, cwd=folder, check=True)


def main() -> None:
    """Make all files anew."""
    app_key = new_key("apk", "p256", subject="Example maker: apps of pine")
    notes = HERE / "system" / "system" / "app" / "Notes" / "Notes.apk"
    values = {"values/values": '<resources><string name="app_name">Notes</string></resources>'}
    make_apk(notes, app_key, NOTES_MANIFEST, values, NOTES_SMALI)
    old = HERE / "product" / "priv-app" / "Messaging" / "Messaging.apk"
    make_messaging(old, app_key, name="1.4", code=14, good=False)
    make_messaging(HERE / "Messaging-2.0.apk", app_key, name="2.0", code=20, good=True)


if __name__ == "__main__":
    main()
