"""The signing log: every signature, bound to the one before, and any tampering seen."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rom_builder.cli import main
from rom_builder.errors import SigningError
from rom_builder.signers.log import SigningLog, read_log, verify_log
from tests.file_based import write_package
from tests.signing_material import key, signer
from tests.test_proof import statements
from tests.two_step import BROUGHT, KEYS, OPT_IN, build, write_profiles

SIGNER = signer(key("p256"))


def written(path: Path, count: int = 5) -> list[bytes]:
    log = SigningLog(path, "ota.zip", "run 7", "ci", ("ab" * 32,))
    for number in range(count):
        log.record("ota", SIGNER, hashlib.sha256(bytes([number])).digest(), "sha256")
    return path.read_bytes().splitlines(keepends=True)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return written(tmp_path_factory.mktemp("log") / "log")


def digest(line: bytes) -> str:
    return hashlib.sha256(line.rstrip(b"\n")).hexdigest()


def test_a_whole_log_holds(lines: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(lines))
    found = verify_log(path, digest(lines[1]))
    assert (found.entries, found.head, found.after) == (5, digest(lines[-1]), 3)
    first = next(read_log(path))
    assert (first.role, first.artifact, first.run_id, first.actor) == (
        "ota",
        "ota.zip",
        "run 7",
        "ci",
    )


anything = settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])


def refused(path: Path, content: bytes, head: str | None = None) -> None:
    path.write_bytes(content)
    with pytest.raises(SigningError):
        verify_log(path, head)


@anything
@given(data=st.data())
def test_any_changed_byte_is_seen(data: st.DataObject, lines: list[bytes], tmp_path: Path) -> None:
    """Given the head; without it the last line could be written anew, as if it had been so."""
    content = bytearray(b"".join(lines))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    refused(tmp_path / "log", bytes(content), digest(lines[-1]))


@anything
@given(data=st.data())
def test_removed_moved_repeated_and_inserted_lines_are_seen(
    data: st.DataObject, lines: list[bytes], tmp_path: Path
) -> None:
    head = digest(lines[-1])
    other = list(lines)
    at = data.draw(st.integers(0, len(lines) - 1))
    match data.draw(st.sampled_from(["remove", "move", "repeat", "insert", "cut"])):
        case "remove":
            del other[at]
        case "move":
            other.insert(data.draw(st.integers(0, len(lines) - 2)), other.pop(at))
        case "repeat":
            other.insert(at, other[at])
        case "insert":
            entry = json.loads(other[at])
            entry["artifact"] = "another.zip"
            made = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode() + b"\n"
            other.insert(at, made)
        case "cut":
            other = [b"".join(lines)[: data.draw(st.integers(0, sum(map(len, lines)) - 1))]]
    if other == lines:
        return
    refused(tmp_path / "log", b"".join(other), head)


def test_a_cut_at_a_line_shows_only_against_a_head(
    lines: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(lines[:3]))
    assert main(["keys", "log", "verify", str(path)]) == 0
    assert "would not show" in capsys.readouterr().out
    assert main(["keys", "log", "verify", str(path), "--head", digest(lines[4])]) == 1
    assert "cut off at the end, or is another log" in capsys.readouterr().out
    assert main(["keys", "log", "show", str(path)]) == 0
    assert capsys.readouterr().out.count("ota.zip  by ci run 7") == 3


def test_nothing_is_added_to_a_damaged_log(lines: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "log"
    for content in (lines[0][:-1], lines[0] + b"{}\n", b"x" * 20_000):
        path.write_bytes(content)
        with pytest.raises(SigningError, match="does not end in an entry"):
            written(path, 1)
        assert path.read_bytes() == content


def _write(path: Path) -> None:
    written(path, 25)


def test_writers_at_the_same_time_make_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "log"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(path,)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert verify_log(path).entries == 100


# A build and its log


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795348800")
    monkeypatch.setenv("ROM_BUILDER_RUN_ID", "run-7")
    monkeypatch.setenv("ROM_BUILDER_ACTOR", "release bot")
    write_package(tmp_path / "base.zip")
    return write_profiles(tmp_path, {"ota": KEYS["ota"], "attestation": key("p256", 5)})


def test_a_build_records_each_signature_and_attests_the_head(
    profiles: Path, tmp_path: Path
) -> None:
    log, output = tmp_path / "signing.log", tmp_path / "out.zip"
    options = (*OPT_IN, *BROUGHT, "--signing-log", str(log))
    assert build(tmp_path / "base.zip", profiles / "with.yaml", output, *options) == 0
    entries = list(read_log(log))
    assert [entry.role for entry in entries] == ["ota", "attestation", "attestation"]
    assert {(e.artifact, e.run_id, e.actor) for e in entries} == {
        ("out.zip", "run-7", "release bot")
    }
    origin, _ = statements(tmp_path / "out.zip.intoto.jsonl")
    head = origin["predicate"]["buildDefinition"]["internalParameters"]["signingLog"]["head"]
    first = log.read_bytes().splitlines(keepends=True)[0]
    assert head == digest(first)
    assert main(["keys", "log", "verify", str(log), "--head", head]) == 0


def test_a_profile_or_a_variable_names_the_log(
    profiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, options = tmp_path / "base.zip", (*OPT_IN, *BROUGHT)
    assert build(base, profiles / "with.yaml", tmp_path / "1.zip", *options) == 0
    said = yaml.safe_load((profiles / "with.yaml").read_text())
    (profiles / "with.yaml").write_text(yaml.safe_dump({**said, "log": "here.log"}))
    assert build(base, profiles / "with.yaml", tmp_path / "2.zip", *options) == 0
    assert {entry.artifact for entry in read_log(profiles / "here.log")} == {"2.zip"}
    monkeypatch.setenv("ROM_BUILDER_SIGNING_LOG", str(tmp_path / "there.log"))
    words = ["sign", str(tmp_path / "1.zip"), "-s", str(profiles / "with.yaml")]
    assert main([*words, "-o", str(tmp_path / "3.zip")]) == 0
    assert [entry.artifact for entry in read_log(tmp_path / "there.log")] == ["3.zip"]


def test_without_room_for_the_record_nothing_is_written(
    profiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "signing.log").write_text("not a log\n")
    options = (*OPT_IN, *BROUGHT, "--signing-log", str(tmp_path / "signing.log"))
    output = tmp_path / "out.zip"
    assert build(tmp_path / "base.zip", profiles / "with.yaml", output, *options) == 2
    assert "does not end in an entry" in capsys.readouterr().err
    assert not output.exists()
