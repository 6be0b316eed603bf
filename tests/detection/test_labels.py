"""Labels leave as a table and come in as reviews, whatever the videos are called and however often a file is read."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from detection.models import DatasetVideo, ModelVersion, Review, Verdict, Video
from detection.services.reviews import labels
from detection.services.reviews.reviews import Reading, record_review, undo_review

NAMES = (
    '=HYPERLINK("http://x")',
    "@sum",
    "-1+1",
    "\t=1",
    "'=quoted",
    "zwei\nZeilen",
    "line ends of old\rMacs",
    'sie sagt "ja", ja',
    "видео 🎬.mp4",
)


@pytest.fixture
def people(db: None) -> dict[str, User]:
    made = {name: User.objects.create_user(name) for name in ("ana", "ben", "client")}
    for name in ("ana", "ben"):
        made[name].groups.add(Group.objects.get(name="reviewer"))
    return made


def video(owner: User, number: int, name: str = "", **fields: Any) -> Video:
    return Video.objects.create(
        owner=owner, original_name=name or f"{number}.mp4", sha256=f"{number:064x}", size_bytes=1, **fields
    )


def run(command: str, *args: str) -> str:
    out = io.StringIO()
    call_command(command, *args, stdout=out, stderr=out)
    return out.getvalue()


def exported(*args: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(run("export_labels", *args), newline="")))


def imported(path: Path, content: str, *args: str) -> str:
    path.write_text(content, newline="")
    return run("import_labels", str(path), "--reviewer", "ana", *args)


def move_to_another_database(owner: User) -> None:
    """The same files, uploaded elsewhere: other ids, and nobody has said anything yet."""
    contents = list(Video.objects.order_by("created_at").values_list("sha256", "original_name"))
    Video.objects.all().delete()
    for sha256, name in contents:
        Video.objects.create(owner=owner, original_name=name, sha256=sha256, size_bytes=1)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("all_reviews", [False, True])
def test_what_is_exported_can_be_imported_elsewhere(
    people: dict[str, User], tmp_path: Path, suffix: str, all_reviews: bool
) -> None:
    said = ("real", "fake", "no_face", "unsure")
    for number, name in enumerate(NAMES):
        record_review(
            video=video(people["client"], number, name), reviewer=people["ben"], label=said[number % 4], comment=name
        )
    before = dict(Video.objects.values_list("sha256", "label"))
    file = tmp_path / f"labels.{suffix}"
    assert f"{len(NAMES)} " in run("export_labels", "--out", str(file), *(["--all-reviews"] if all_reviews else []))
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    move_to_another_database(people["client"])
    said_back = run("import_labels", str(file), "--reviewer", "ana")
    assert f"recorded: {len(NAMES)}" in said_back
    assert dict(Video.objects.values_list("sha256", "label")) == before
    assert set(Review.objects.values_list("reviewer__username", flat=True)) == {"ana"}
    if all_reviews:
        assert set(Review.objects.values_list("comment", flat=True)) == {name.strip() for name in NAMES}


def test_no_cell_of_the_csv_is_a_formula_and_json_is_left_alone(people: dict[str, User]) -> None:
    for number, name in enumerate(NAMES):
        record_review(video=video(people["client"], number, name), reviewer=people["ben"], label="fake")
    shown = [row["original_name"] for row in exported()]
    assert not [name for name in shown if name.startswith(labels.FORMULA)]
    assert [labels.restored(name) for name in shown] == list(NAMES)
    lines = run("export_labels", "--format", "jsonl").splitlines()
    assert [json.loads(line)["original_name"] for line in lines] == list(NAMES)


def test_a_row_says_where_its_label_comes_from_and_whether_people_agree(people: dict[str, User]) -> None:
    owner = people["client"]
    of_set, disputed, plain = video(owner, 1, label="fake"), video(owner, 2), video(owner, 3)
    video(owner, 4)  # nobody has labelled it
    DatasetVideo.objects.create(
        video=of_set, dataset="ff", path="a.mp4", label="fake", identity="ff1", donor="ff2", method="Deepfakes"
    )
    for reviewer, label in (("ana", "real"), ("ben", "fake"), ("ana", "real")):
        record_review(video=disputed, reviewer=people[reviewer], label=label)
    model = ModelVersion.objects.create(name="m", sha256="a" * 64, file="m", threshold=0.5)
    plain.current_verdict = Verdict.objects.create(
        video=plain, model_version=model, label="fake", fake_probability=0.75, threshold=0.5, track=0
    )
    plain.save()
    record_review(video=plain, reviewer=people["ana"], label="unsure", comment="dark")
    first, second, third = exported()
    assert (first["label"], first["label_source"], first["identity"], first["donor"], first["method"]) == (
        "fake", "dataset:ff", "ff1", "ff2", "Deepfakes",
    )  # fmt: skip
    assert (second["label_source"], second["reviewers"], second["disputed"], second["n_reviews"]) == (
        "review", "ana,ben", "yes", "3",
    )  # fmt: skip
    assert (third["disputed"], third["model_label"], third["model_probability"]) == ("no", "fake", "0.75")
    assert third["model_sha256"] == "a" * 64
    everything = exported("--all-reviews")
    assert [(row["reviewer"], row["label"]) for row in everything] == [
        ("ana", "real"), ("ben", "fake"), ("ana", "real"), ("ana", "unsure"),
    ]  # fmt: skip
    assert everything[3]["comment"] == "dark"
    # analysed anew, the same model says otherwise: what it said at the time stands beside the answer
    Verdict.objects.update(label="real", fake_probability=0.25)
    (row,) = exported("--all-reviews")[3:]
    assert (row["model_label"], row["model_probability"]) == ("fake", "0.75")


def test_every_decision_is_exported_to_the_last_field_and_only_those_that_count_come_back(
    people: dict[str, User], tmp_path: Path
) -> None:
    row = video(people["client"], 1)
    reading = Reading(role="first", queue="audit", seconds=2.5, score_shown=False)
    slip = record_review(video=row, reviewer=people["ana"], label="fake", reading=reading)
    undo_review(review=slip, by=people["ana"])
    record_review(video=row, reviewer=people["ana"], label="real", reading=Reading(role="first", queue="audit"))
    record_review(video=row, reviewer=people["ben"], label="fake", reading=Reading(role="gold", score_shown=False))
    first, undone, again, check = exported("--all-reviews")
    assert [entry["counts"] for entry in (first, undone, again, check)] == ["no", "no", "yes", "no"]
    assert (first["role"], first["queue"], first["seconds"], first["score_shown"]) == ("first", "audit", "2.5", "no")
    assert (undone["label"], undone["role"], undone["undoes"]) == ("", "undo", first["review_id"])
    assert check["role"] == "gold"
    file = tmp_path / "all.csv"
    run("export_labels", "--all-reviews", "--out", str(file))
    move_to_another_database(people["client"])
    told = run("import_labels", str(file), "--reviewer", "ben")
    assert "recorded: 1," in told
    assert "not counted: 3" in told
    assert [(review.label, review.role) for review in Review.objects.all()] == [("real", "")]


def test_since_leaves_out_what_was_labelled_before(people: dict[str, User]) -> None:
    old, new = video(people["client"], 1), video(people["client"], 2)
    now = timezone.now()
    for row, age in ((old, 9), (new, 1)):
        Review.objects.create(video=row, reviewer=people["ana"], label="fake", created_at=now - timedelta(days=age))
    Video.objects.update(label="fake")
    day = (now - timedelta(days=5)).date().isoformat()
    assert [row["sha256"] for row in exported("--since", day)] == [new.sha256]
    assert [row["sha256"] for row in exported("--since", day, "--all-reviews")] == [new.sha256]
    with pytest.raises(CommandError, match="no date"):
        run("export_labels", "--since", "2026-02-31")


def test_more_videos_cost_no_more_queries(people: dict[str, User]) -> None:
    counts = []
    for number in range(12):
        record_review(video=video(people["client"], number), reviewer=people["ana"], label="fake")
        if number in (2, 11):
            for rows in (labels.video_rows, labels.review_rows):
                with CaptureQueriesContext(connection) as captured:
                    list(rows())
                counts.append(len(captured))
    assert counts[:2] == counts[2:]


def test_a_file_can_be_read_again_and_the_last_row_of_a_video_counts(people: dict[str, User], tmp_path: Path) -> None:
    one, two = video(people["client"], 1), video(people["client"], 2)
    content = f"video_id,label\n{one.pk},real\n{two.pk},1\n{one.pk},FAKE\n"
    assert "would be recorded: 2" in imported(tmp_path / "a.csv", content, "--dry-run")
    assert not Review.objects.exists()
    assert "recorded: 2, labelled so already: 0, overruled by a later row: 1" in imported(tmp_path / "a.csv", content)
    assert "recorded: 0, labelled so already: 2" in imported(tmp_path / "a.csv", content)
    assert set(Video.objects.values_list("label", flat=True)) == {"fake"}
    assert Review.objects.count() == 2
    record_review(video=one, reviewer=people["ben"], label="real")  # what others say is theirs
    assert "recorded: 0" in imported(tmp_path / "a.csv", content)
    record_review(video=one, reviewer=people["ana"], label="real")
    assert "recorded: 1" in imported(tmp_path / "a.csv", content)


def test_after_an_interruption_nothing_is_doubled(
    people: dict[str, User], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        video(people["client"], number)
    content = "sha256,label\n" + "".join(f"{number:064x},fake\n" for number in range(6))

    def killed(**kwargs: Any) -> Review:
        if Review.objects.count() == 3:
            raise KeyboardInterrupt
        return record_review(**kwargs)

    monkeypatch.setattr(labels, "record_review", killed)
    with pytest.raises(KeyboardInterrupt):
        imported(tmp_path / "a.csv", content)
    monkeypatch.undo()
    assert "recorded: 3, labelled so already: 3" in imported(tmp_path / "a.csv", content)
    assert Review.objects.count() == 6


def test_a_hash_means_the_copies_of_all_owners_and_an_id_only_itself(people: dict[str, User], tmp_path: Path) -> None:
    mine, theirs = video(people["client"], 7), video(people["ben"], 7)
    assert "recorded: 2" in imported(tmp_path / "a.csv", f"SHA256;Label\r\n{mine.sha256.upper()};No face\r\n")
    assert "recorded: 1" in imported(tmp_path / "a.csv", f"video_id,sha256,label\n{mine.pk},{mine.sha256},real\n")
    theirs.refresh_from_db()
    mine.refresh_from_db()
    assert (mine.label, theirs.label) == ("real", "no_face")


def test_bad_rows_are_named_by_line_and_the_rest_goes_on(people: dict[str, User], tmp_path: Path) -> None:
    good = video(people["client"], 1)
    rows = [
        f'{good.pk},"real","two\nlines"', "", f"{good.pk},perhaps,", "nonsense,fake,", f"{'f' * 64},fake,",
        f"{good.pk},fake,a,b,c", "00000000-0000-0000-0000-000000000000,fake,", f"{good.pk},,",
    ]  # fmt: skip
    file = tmp_path / "a.csv"
    file.write_text("video_id,label,comment\n" + "\n".join(rows))
    out = io.StringIO()
    with pytest.raises(CommandError, match="6 rows"):
        call_command("import_labels", str(file), "--reviewer", "ana", stdout=out, stderr=out)
    said = out.getvalue()
    for line in ("line 5: The label must be", "'perhaps'", "line 6: It names no video", "line 7: It names no video",
                 "line 8: It has 5 cells", "line 9: There is no such video", "line 10: The label must be"):  # fmt: skip
        assert line in said
    assert "recorded: 1" in said
    assert Review.objects.get().comment == "two\nlines"


def test_bad_json_lines_and_bytes_spoil_their_own_row_only(people: dict[str, User], tmp_path: Path) -> None:
    good = video(people["client"], 1)
    file = tmp_path / "a.jsonl"
    lines = [b"{", b"[1]", b'{"sha256": "\xff", "label": "fake"}', b'{"video_id": null, "label": 1}', b"[" * 50_000]
    file.write_bytes(b"\n".join([*lines, json.dumps({"video_id": str(good.pk), "label": 1}).encode()]))
    out = io.StringIO()
    with pytest.raises(CommandError, match="5 rows"):
        call_command("import_labels", str(file), "--reviewer", "ana", stdout=out, stderr=out)
    assert "recorded: 1" in out.getvalue()
    good.refresh_from_db()
    assert good.label == "fake"


def test_who_may_not_review_imports_nothing(people: dict[str, User], tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(f"video_id,label\n{video(people['client'], 1).pk},fake\n")
    for name, sentence in (("client", "may not review"), ("nobody", "no user 'nobody'")):
        with pytest.raises(CommandError, match=sentence):
            run("import_labels", str(file), "--reviewer", name)
    assert not Review.objects.exists()


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "label\nfake\n"])
def test_a_file_without_the_columns_is_refused(people: dict[str, User], tmp_path: Path, content: str) -> None:
    with pytest.raises(CommandError, match="must name the columns"):
        imported(tmp_path / "a.csv", content)


def test_a_file_that_is_not_there_is_a_sentence(people: dict[str, User], tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read"):
        run("import_labels", str(tmp_path / "none.csv"), "--reviewer", "ana")
    with pytest.raises(CommandError, match="cannot be written"):
        run("export_labels", "--out", str(tmp_path / "none" / "a.csv"))
