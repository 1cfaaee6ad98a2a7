"""Every command in a console block of the documentation is run, in order, on the example ROM.

What cannot be run here is listed with the reason. `tests/test_docs.py` holds that all of them parse, and
that the output shown in the README and the tutorial is what is printed.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from rom_builder.cli import main
from tests.file_based import write_tree
from tests.test_docs import PAGES, ROOT, blocks, name_of

NOT_RUN = {
    "CONTRIBUTING.md": {
        "make test": "runs this very test",
        "make demo": "tests/test_demo.py walks it",
    },
    "README.md": {
        "make demo": "tests/test_demo.py walks it",
        "python3 -m venv": "tests/test_ci.py installs from a checkout",
        "export": "the program is called in this process",
    },
    "docs/first-report.md": {
        "python3 -m venv": "tests/test_ci.py installs from a checkout",
        "~/rom-builder/bin/pip": "tests/test_ci.py installs from a checkout",
        "export": "the program is called in this process",
    },
    "docs/inputs.md": {"rom-builder cat factory.zip": "tests/test_containers.py opens such images"},
    "docs/packages.md": {
        "rom-builder build pine-target_files": "tests/test_image_bases.py builds from them"
    },
    "docs/key-rotation.md": {"rom-builder": "tests/test_rotation.py makes the three releases"},
    "docs/signing.md": {
        "rom-builder keys check": "its profile names an HSM, a KMS and a cloud",
        "rom-builder keys log": "tests/test_signing_log.py keeps one",
    },
    "docs/two-step.md": {
        "openssl": "tests/test_two_step.py signs the digests",
        "rom-builder sign attach": "tests/test_two_step.py attaches the signatures",
    },
}
"""Page, how a command begins, and why it is not run."""

FAILS = {
    "README.md": "check pine-4118.zip",
    "docs/auditing.md": "--isolated check|notice ota.zip",
    "docs/keys.md": "build",
    "docs/notice.md": "notice ota.zip",
    "docs/profiles.md": "check",
    "docs/reports.md": "check",
    "docs/tutorial.md": "check pine-4118.zip",
    "docs/waivers.md": "check .* --waivers|check .* --write-baseline",
}
"""Page, and its commands that end with 1, because the example ROM fails its policy; all others end with 0."""


def lines(page: Path) -> list[str]:
    """Return what is typed in the console blocks of a page, a command a line."""
    return [
        line[2:]
        for block in blocks(page, "console")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("$ ")
    ]


def reason(page: Path, line: str) -> str | None:
    """Return why a command is not run, None if it is."""
    known = NOT_RUN.get(name_of(page), {})
    return next((why for start, why in known.items() if line.startswith(start)), None)


WITH_COMMANDS = [page for page in PAGES if lines(page)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example under the names that the pages use."""
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        assert main(["demo", "--no-walk", str(folder)]) == 0
    for name in ("ota.zip", "old.zip", "pine-4119.zip"):
        shutil.copy(folder / "pine-4118.zip", folder / name)
    for name in ("old", "new", "rom"):
        write_tree(folder / name)
    shutil.copy(ROOT / "signing" / "dev.yaml", folder / "2027.yaml")
    return folder


def attested(folder: Path) -> None:
    """Make ``ota.zip`` a package that was built with attestations, and ``audit.x509.pem`` their key."""
    replaced = "/product/priv-app/Messaging/Messaging.apk=Messaging-2.0.apk"
    words = ["build", "pine-4118.zip", "-p", "messaging-opt-in", "-s", "dev", "-o", "ota.zip"]
    (folder / "ota.zip").unlink()
    assert main([*words, "--replace", replaced]) == 0
    key = Path(
        os.environ["XDG_DATA_HOME"], "rom-builder", "dev-keys", "attestation.pem"
    ).read_text()
    (folder / "audit.x509.pem").write_text(key[key.index("-----BEGIN CERTIFICATE") :])


def released(folder: Path) -> None:
    """Make ``ota.zip`` a base that meets its policy, and ``release.yaml`` a profile with its keys in files."""
    attested(folder)
    roles = []
    for role in ("ota", "avb"):
        words = ["keys", "new", role, "--role", role, "--kind", "rsa-2048", "--no-passphrase"]
        assert main(words) == 0
        roles.append(f'  {role}: {{signer: "file:{role}.pem", certificate: {role}.x509.pem}}\n')
    head = "schema: rom-builder/signing/v1\nid: release\ntitle: Release keys\nroles:\n"
    (folder / "release.yaml").write_text(head + "".join(roles))


PREPARED = {"docs/attestations.md": attested, "docs/two-step.md": released}
"""What a page speaks of and does not make."""


def write_examples(page: Path, folder: Path) -> None:
    """Write the files that a page shows, under the names that it gives them."""
    (folder / "profiles").mkdir()
    for block in blocks(page, "yaml"):
        kind = re.search(r"^schema: rom-builder/([\w-]+)/v1$", block, re.MULTILINE)
        name = re.search(r"^id: (.+)$", block, re.MULTILINE)
        assert kind is not None
        match kind[1]:
            case "waivers":
                (folder / "waivers.yaml").write_text(block)
            case "config":
                (folder / "ci").mkdir()
                (folder / "ci" / "rom-builder.yaml").write_text(block)
            case "profile" if name:
                (folder / "profiles" / f"{name[1]}.yaml").write_text(block)
            case "policy" | "signing" if name:
                (folder / f"{name[1]}.yaml").write_text(block)


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name_of)
def test_the_commands_of_a_page_run(
    page: Path,
    prepared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "work"
    shutil.copytree(prepared, folder, copy_function=os.link)
    shutil.copytree(ROOT / "examples" / "policy-tests", folder / "examples" / "policy-tests")
    write_examples(page, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("OTA_PASSPHRASE", "correct horse battery staple")
    monkeypatch.setenv("ROM_BUILDER_PASSPHRASE", "correct horse battery staple")
    if name_of(page) in PREPARED:
        PREPARED[name_of(page)](folder)
        capfd.readouterr()
    for line in lines(page):
        if reason(page, line):
            continue
        words = shlex.split(line, comments=True)
        if words[0] == "cd":
            monkeypatch.chdir(words[1])
            continue
        assert words.pop(0) == "rom-builder", line
        target = None
        if ">" in words:
            target = Path(words[-1].replace("~", str(folder), 1))
            words = words[: words.index(">")]
        code = main(words)
        said = capfd.readouterr()
        fails = bool(re.match(FAILS.get(name_of(page), "$"), " ".join(words)))
        assert code == fails, f"{line}\n{said.err}{said.out[-2000:]}"
        assert "error:" not in said.err, line
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(said.out)
            assert said.out


def test_whatever_is_not_run_is_on_its_page() -> None:
    pages = {name_of(page): lines(page) for page in WITH_COMMANDS}
    for name, known in NOT_RUN.items():
        for start in known:
            assert any(line.startswith(start) for line in pages[name]), (name, start)
