from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rom_builder.cli.profile import profile
from tests.code.test_reading import PROFILE, make_rom


def run(folder: Path, name: str, text: str = PROFILE) -> Result:
    path = folder / "look-alike.yaml"
    path.write_text(text)
    return CliRunner().invoke(profile, ["test", str(path), str(make_rom(folder, name))])


def test_anchors_are_shown_with_their_places(tmp_path: Path) -> None:
    result = run(tmp_path, "choice")
    assert result.exit_code == 0
    assert "gate: string 'consent_given': 2 places\n" in result.output
    assert "sink contact-lookup: string 'externalId': 1 place\n" in result.output
    assert (
        "    com.example.Lookup.query  system/app/LookAlike.apk!/classes.dex @ 0x" in result.output
    )
    assert "consent before contact-lookup (all starts): not-asked\n" in result.output


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (PROFILE.replace("externalId", "internalId"), 1),
        (PROFILE.replace("[com.example]", "[com.example.other]"), 1),
        (PROFILE.replace("[com.example]", "[x]").replace("vendor.jar", "none.jar"), 2),
    ],
    ids=["no_such_anchor", "library_only", "no_program"],
)
def test_what_is_not_there_shows_in_the_exit_code(tmp_path: Path, text: str, code: int) -> None:
    result = run(tmp_path, "choice", text)
    assert result.exit_code == code
    assert "found nowhere" in result.output


def test_what_the_code_shows_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    read = run(tmp_path / "a", "identifiers").output
    assert (
        "data for contact-lookup: imei (android.telephony.TelephonyManager.getDeviceId), "
        "through an unsalted hash (com.vendor.Coder.hash)\n" in read
    )
    urls = run(tmp_path / "b", "urls").output
    assert "address: http://api.example.com/pass/v3/user@id\n" in urls
    assert "addresses known only at run time: 1, such as http://{}/gslb" in urls
    trust = run(tmp_path / "c", "trust_all").output
    assert "trust: com.example.Dead.verify accepts any host name (nothing leads there)" in trust
