"""The bundle of an evidence report: what is in it, and what the check says of one that was manipulated."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from detection.evidence_report import bundle, signing
from detection.evidence_report.chain import entry_hash
from detection.evidence_report.verification import check
from tests.at_once import at_once
from tests.bundles import KNOWN, MANIPULATED, THEIRS, made, repacked, says, set_to, trail


def test_a_report_is_accepted_and_says_what_it_is_of() -> None:
    checked = check(made(), known=KNOWN, original_sha256=hashlib.sha256(b"video").hexdigest())
    assert checked.problems == ()
    assert checked.fingerprint == hashlib.sha256(KNOWN[0].raw).hexdigest()
    assert checked.facts["video"]["id"] == "v"


@pytest.mark.parametrize("case", MANIPULATED)
def test_each_manipulation_is_named(case: str) -> None:
    change, sentences = MANIPULATED[case]
    assert says(repacked(change)) == sentences


def test_a_foreign_key_is_named_with_its_fingerprint_and_accepted_where_it_is_known() -> None:
    foreign = signing.public_key_of(THEIRS)
    (sentence,) = says(made(THEIRS))
    assert sentence.startswith(
        f"It is signed by a key that is not known here, with the fingerprint {foreign.fingerprint}."
    )
    assert check(made(THEIRS), known=[*KNOWN, foreign]).problems == ()


def test_an_entry_that_its_signer_took_out_is_missed_by_the_chain() -> None:
    values, _ = trail()
    del values["entries"][1]
    assert says(made(changes={"audit.json": bundle.to_json(values)})) == ["Entry 4 of the audit log is missing."]
    values, _ = trail()
    values["entries"][1]["facts"] = {}
    values["entries"][1]["hash"] = entry_hash(values["entries"][1])
    assert says(made(changes={"audit.json": bundle.to_json(values)})) == [
        "Entry 4 of the audit log is not the one that the chain has in its place."
    ]


def test_no_byte_of_a_report_can_be_changed() -> None:
    data = bytearray(made())
    for position in range(len(data)):
        data[position] ^= 1
        assert says(bytes(data)), position
        data[position] ^= 1
    assert says(bytes(data)) == []
    for longer in (b"x" + bytes(data), bytes(data) + b"x", bytes(data)[:-1], b""):
        assert len(says(longer)) == 1


def test_other_archives_and_hostile_names_are_refused_in_a_sentence() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in bundle.unpack(made()).items():
            archive.writestr(name, content)
    assert says(packed.getvalue()) == ["The archive was packed anew: a report is stored without compression."]
    twice = made()
    start = twice[: twice.index(b"PK\x03\x04", 4)]
    assert says(start + twice) == ["The archive has two files of the name manifest.json."]
    (sentence,) = says(repacked(set_to("../../a\x1b[31m<script>", b"")))
    assert sentence == "../../a?[31m<script> was added after the signing."
    assert says(b"%PDF-1.7") == ["This is no evidence report: it does not begin as a zip archive does."]


def test_any_zip_tool_reads_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(made())) as archive:
        assert archive.testzip() is None
        assert archive.read("faces/1-00.png") == b"one"
        assert archive.namelist()[:2] == ["manifest.json", "signature.json"]


# --- the key ---------------------------------------------------------------------------------------------------------


def test_the_key_is_made_once_readable_by_its_owner_only(tmp_path: Path, settings: Any) -> None:
    settings.VAR_DIR = tmp_path
    keys = at_once(lambda n: signing.current_key())
    assert len(set(keys)) == 1
    (path,) = tmp_path.iterdir()
    assert (path.name, stat.S_IMODE(path.stat().st_mode)) == ("signing_key", 0o600)
    assert len(base64.b64decode(path.read_text())) == 32


def test_a_report_of_before_a_rotation_stays_verifiable(tmp_path: Path, settings: Any) -> None:
    settings.VAR_DIR = tmp_path
    settings.DFD_SIGNING_KEY = base64.b64encode(bytes(range(32))).decode()
    path = tmp_path / "report.zip"
    path.write_bytes(made())
    assert command(path).startswith(f"OK: as it was signed with the key {KNOWN[0].fingerprint}")
    settings.DFD_SIGNING_KEY = base64.b64encode(bytes(32)).decode()
    with pytest.raises(CommandError, match="a key that is not known here"):
        command(path)
    assert command(path, "--key", KNOWN[0].text).startswith("OK")
    settings.DFD_SIGNING_OLD_KEYS = [KNOWN[0].text]
    assert command(path).startswith("OK")
    assert [line.split()[0] for line in command("--keys").splitlines()] == [
        signing.public_key_of(THEIRS).text, KNOWN[0].text,
    ]  # fmt: skip
    assert os.listdir(tmp_path) == ["report.zip"]  # the environment's key is nowhere written down


def test_the_command_compares_the_video_and_names_what_is_wrong(tmp_path: Path, settings: Any) -> None:
    settings.DFD_SIGNING_KEY = base64.b64encode(bytes(range(32))).decode()
    report, video = tmp_path / "report.zip", tmp_path / "video.mp4"
    report.write_bytes(made())
    video.write_bytes(b"video")
    assert command(report, "--original", video).startswith("OK")
    video.write_bytes(b"another")
    with pytest.raises(CommandError, match="The video is not the one that this report is of"):
        command(report, "--original", video)
    report.write_bytes(repacked(lambda files: files.pop("faces/1-00.png")))
    with pytest.raises(CommandError, match=r"not to be trusted\.\nfaces/1-00\.png is missing"):
        command(report)
    for absent in (tmp_path / "none.zip", tmp_path):
        with pytest.raises(CommandError, match="cannot be read"):
            command(absent)


def command(*arguments: Any) -> str:
    out = io.StringIO()
    call_command("verify_report", *map(str, arguments), stdout=out)
    return out.getvalue()
