"""What is said of people leaves with the labels and comes in again, also where people are numbered otherwise."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command

from detection.models import FaceFrame, Review, Video
from detection.services.reviews import people_text
from detection.services.reviews.people import PeopleAnswer
from detection.services.reviews.people_text import Said
from detection.services.reviews.reviews import record_review

pytestmark = pytest.mark.django_db
CELL = "0:fake@3,20,25 1:not_a_person@3,80,25"


@pytest.fixture
def people(db: None) -> dict[str, User]:
    made = {name: User.objects.create_user(name) for name in ("ana", "ben", "client")}
    for name in ("ana", "ben"):
        made[name].groups.add(Group.objects.get(name="reviewer"))
    return made


def video(owner: User, *tracks: int) -> Video:
    """Its people stand beside each other, and have these numbers from the left to the right."""
    row = Video.objects.create(owner=owner, original_name="a.mp4", sha256="a" * 64, size_bytes=1, tracks=len(tracks))
    for place, track in enumerate(tracks):
        for position in range(2):
            FaceFrame.objects.create(
                video=row, track=track, position=position, frame_number=3 + position, timestamp_s=0.1 * position,
                x1=60 * place, x2=60 * place + 40, y1=0, y2=50, probability=0.99, crop=f"{track}{position}.png",
            )  # fmt: skip
    return row


def run(command: str, *args: str) -> str:
    out = io.StringIO()
    call_command(command, *args, stdout=out, stderr=out)
    return out.getvalue()


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("which", [[], ["--all-reviews"]])
@pytest.mark.parametrize("there", [(0, 1), (1, 0), (5, 0, 2)])
def test_what_is_exported_is_said_of_the_same_people_elsewhere(
    people: dict[str, User], tmp_path: Path, suffix: str, which: list[str], there: tuple[int, ...]
) -> None:
    one = video(people["client"], 0, 1)
    record_review(video=one, reviewer=people["ben"], people=PeopleAnswer({0: "fake", 1: "not_a_person"}))
    text = run("export_labels", "--format", suffix, *which)
    if suffix == "csv":
        (row,) = csv.DictReader(io.StringIO(text, newline=""))
        assert row["people"] == CELL
    else:
        assert json.loads(text)["people"] == CELL
    file = tmp_path / f"labels.{suffix}"
    file.write_text(text, newline="")
    one.delete()
    video(people["client"], *there)
    assert "recorded: 1" in run("import_labels", str(file), "--reviewer", "ana")
    kept = Review.objects.get()
    assert (kept.label, kept.people) == ("fake", {str(there[0]): "fake", str(there[1]): "not_a_person"})
    assert "recorded: 0, labelled so already: 1" in run("import_labels", str(file), "--reviewer", "ana")
    assert Review.objects.count() == 1


def test_where_the_people_are_others_by_now_only_the_label_leaves(people: dict[str, User], tmp_path: Path) -> None:
    one = video(people["client"], 0, 1)
    record_review(video=one, reviewer=people["ben"], people=PeopleAnswer({0: "fake", 1: "real"}))
    Video.objects.update(people_version=1, person_labels=None)
    (row,) = csv.DictReader(io.StringIO(run("export_labels"), newline=""))
    assert (row["label"], row["people"]) == ("fake", "")
    text = run("export_labels", "--all-reviews")
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert (row["people"], row["people_hold"]) == ("0:fake 1:real", "no")
    (tmp_path / "labels.csv").write_text(text, newline="")
    assert "recorded: 1" in run("import_labels", str(tmp_path / "labels.csv"), "--reviewer", "ana")
    assert Review.objects.get(reviewer=people["ana"]).people is None


@pytest.mark.parametrize(
    ("label", "cell", "said"),
    [
        ("", "0:real", "Answer for every person"),
        ("real", "0:fake", "cannot be real"),
        ("", "7:fake", "There is no person 7"),
        ("", "0:no_face", "is no person"),
        ("", "0:fake 0:real", "named twice"),
        ("fake", "0:fake@3,5000,5000", "no one face is where person 0 was"),
        ("fake", "0:fake@3,20,25 1:real@3,20,25", "are the same"),
        ("", "x" * 5000, "is no person"),
        ("", "", "it is empty"),
    ],
)
def test_a_cell_that_cannot_be_used_is_said(
    people: dict[str, User], tmp_path: Path, label: str, cell: str, said: str
) -> None:
    video(people["client"], 0, 1)
    file = tmp_path / "labels.csv"
    out = io.StringIO()
    csv.writer(out).writerows([("sha256", "label", "people"), ("a" * 64, label, cell)])
    file.write_text(out.getvalue(), newline="")
    errors = io.StringIO()
    with pytest.raises(CommandError):
        call_command("import_labels", str(file), "--reviewer", "ana", stdout=io.StringIO(), stderr=errors)
    assert said in errors.getvalue()
    assert not Review.objects.exists()


def test_by_hand_numbers_will_do_and_the_label_follows(people: dict[str, User], tmp_path: Path) -> None:
    video(people["client"], 0, 1)
    (tmp_path / "labels.csv").write_text(f"sha256,label,people\n{'a' * 64},,1:FAKE\n")
    assert "recorded: 1" in run("import_labels", str(tmp_path / "labels.csv"), "--reviewer", "ana")
    assert (Review.objects.get().label, Review.objects.get().people) == ("fake", {"1": "fake"})


def test_a_cell_is_read_as_it_was_written() -> None:
    said: dict[str, Any] = {"10": "real", "2": "unsure"}
    cell = people_text.written(said, {"2": (7, 1, 2)})
    assert cell == "2:unsure@7,1,2 10:real"
    assert people_text.read(cell) == (Said(2, "unsure", (7, 1, 2)), Said(10, "real", None))
    assert people_text.read("  ") == ()
