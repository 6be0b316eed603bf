"""Videos of data sets: how they come in, and that they end after extraction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.storage import default_storage
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from detection.errors import Refused
from detection.models import (
    Analysis,
    DatasetVideo,
    FaceFrame,
    IdentitySide,
    ModelVersion,
    Stage,
    State,
    UploadKey,
    Video,
)
from detection.services.jobs import analyses
from detection.services.learning import datasets, snapshots
from detection.services.learning.datasets import Registered, dataset_owner, register_item
from detection.services.uploads import uploads
from tests.detection.conftest import Doorbell, claimed, extraction, stored_files, verdict

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_state")]
CONTENT = b"\x00\x00\x00\x20ftypisom" + b"x" * 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "set"
    path.mkdir()
    return path


def register(folder: Path, relative: str = "a.mp4", content: bytes | None = None, **facts: Any) -> Registered:
    file = folder / relative
    if content is not None or not file.exists():
        file.write_bytes(CONTENT if content is None else content)
    given = {"dataset": "set", "label": "fake", "identity": "set_a", "name": relative} | facts
    return register_item(owner=dataset_owner(), file=file, relative=relative, **given)


def refusal(folder: Path, *arguments: Any, **facts: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        register(folder, *arguments, **facts)
    return caught.value


# --- in --------------------------------------------------------------------------------------------------------------


def test_nobody_can_log_in_as_the_owner() -> None:
    owner = User.objects.get(pk=dataset_owner().pk)
    assert dataset_owner() == owner
    assert (owner.username, owner.is_staff, owner.is_superuser) == ("dataset-import", False, False)
    assert not owner.has_usable_password()


def test_a_file_is_copied_labelled_and_queued_without_telling_anyone(
    folder: Path, doorbell: Doorbell, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        done = register(folder, donor="set_b", method="swap", compression="c23", official_split="val")
    video = Video.objects.get(pk=done.video.pk)
    assert (done.outcome, video.label, video.needs_review, video.status) == ("new", "fake", False, State.QUEUED)
    assert (video.owner.username, video.original_name) == ("dataset-import", "a.mp4")
    assert stored_files(video) == {"original.mp4"}
    assert (folder / "a.mp4").read_bytes() == CONTENT, "the data set keeps its file"
    row = video.dataset_video
    assert (row.dataset, row.path, row.label, row.identity, row.donor) == ("set", "a.mp4", "fake", "set_a", "set_b")
    assert (row.method, row.compression, row.official_split) == ("swap", "c23", "val")
    analysis = Analysis.objects.get()
    assert (analysis.state, analysis.stage, analysis.published_at) == (State.QUEUED, Stage.EXTRACT, None)
    assert doorbell.rung == []
    assert not UploadKey.objects.exists()
    assert datasets.open_extractions(dataset="set") == [(analysis.id, video.id)]


def test_again_is_known_and_another_path_of_the_same_content_a_duplicate(folder: Path) -> None:
    first, again = register(folder), register(folder)
    copy = register(folder, "b.mp4")
    other = register(folder, dataset="other")
    assert [again.outcome, copy.outcome, other.outcome] == ["known", "duplicate", "duplicate"]
    assert {first.video, again.video, copy.video, other.video} == {Video.objects.get()}
    assert Analysis.objects.count() == DatasetVideo.objects.count() == 1


@pytest.mark.parametrize(
    ("arguments", "facts", "words"),
    [
        ((), {"label": "real"}, "a.mp4 is real, but the same video is here as fake (set: a.mp4)"),
        (("b.mp4",), {"label": "real"}, "b.mp4 is real, but"),
        (("a.mp4", CONTENT + b"!"), {}, "another content"),
    ],
)
def test_what_contradicts_what_is_here_is_refused_and_changes_nothing(
    folder: Path, arguments: tuple[Any, ...], facts: dict[str, Any], words: str
) -> None:
    done = register(folder)
    refused = refusal(folder, *arguments, **facts)
    assert refused.code == "label_conflict"
    assert words in refused.detail
    assert Video.objects.get() == done.video
    assert len(default_storage.listdir("videos")[0]) == 1


def test_a_list_that_came_later_is_heeded_and_a_test_video_stays_one(folder: Path) -> None:
    register(folder)
    register(folder, official_split="train", donor="set_b")
    assert DatasetVideo.objects.values_list("official_split", "donor").get() == ("train", "set_b")
    register(folder, "copy.mp4", official_split="test", dataset="other")
    assert DatasetVideo.objects.values_list("dataset", "official_split").get() == ("set", "test")
    register(folder, official_split="train")
    assert DatasetVideo.objects.values_list("official_split", flat=True).get() == "test"


def test_who_was_learnt_from_is_not_held_out_under_another_name(folder: Path) -> None:
    """A list has a name for each file, a later one says who is in it: a model was judged on what it had learnt."""
    for number, split in enumerate(("train", "holdout", "val")):
        done = register(folder, f"{number}.mp4", CONTENT + bytes([number]), identity=f"set_{number}")
        Video.objects.filter(pk=done.video.pk).update(status=State.SUCCEEDED)
        FaceFrame.objects.create(
            video=done.video, track=0, position=0, frame_number=0, timestamp_s=0, crop="c", x1=0, y1=0, x2=9, y2=9,
            probability=1,
        )  # fmt: skip
        IdentitySide.objects.create(name=f"set_{number}", side=split)
    for number in (1, 2, 0):  # in whatever order
        register(folder, f"{number}.mp4", identity="set_ana")
        assert IdentitySide.objects.filter(name="set_ana").exists() == (number != 1)
    snapshot = snapshots.freeze_snapshot(
        assign=lambda units, strata, fixed: [fixed.get(unit, "holdout") for unit in units]
    )
    items = snapshots.read_snapshot(snapshot=snapshot)
    assert {(item.identity, item.split) for item in items} == {("set_ana", "train")}
    assert len(items) == 3
    IdentitySide.objects.create(name="set_ben", side="holdout")
    register(folder, "0.mp4", identity="set_ben")  # it was somebody else
    assert IdentitySide.objects.get(name="set_ben").side == "train"


@pytest.mark.parametrize(
    ("content", "facts", "code"),
    [
        (b"", {}, "empty_file"),
        (b"#!/bin/sh\n", {}, "not_a_video"),
        (CONTENT, {"label": "maybe"}, "invalid_item"),
        (CONTENT, {"identity": "x" * 161}, "invalid_item"),
        (CONTENT, {"donor": "\udcff"}, "invalid_item"),
    ],
)
def test_what_no_upload_may_be_no_data_sets_video_may_be(
    folder: Path, content: bytes, facts: dict[str, Any], code: str
) -> None:
    assert refusal(folder, "a.mp4", content, **facts).code == code
    assert not Video.objects.exists()


def test_data_sets_have_no_quota(folder: Path, settings: Any) -> None:
    settings.DFD_MAX_VIDEOS_IN_FLIGHT = 1
    for number in range(3):
        assert register(folder, f"{number}.mp4", CONTENT + b"%d" % number).outcome == "new"


def test_registering_costs_the_same_however_much_is_here(folder: Path) -> None:
    def queries(name: str, content: bytes) -> int:
        owner = dataset_owner()
        (folder / name).write_bytes(content)
        with CaptureQueriesContext(
            connection,
        ) as caught:
            register_item(
                owner=owner, file=folder / name, name=name, dataset="set", relative=name, label="real", identity=name
            )
        return len(caught)

    first = queries("0.mp4", CONTENT)
    for number in range(1, 6):
        queries(f"{number}.mp4", CONTENT + b"%d" % number)
    # One of them notes the folder before the file is written, so that no cleaner takes it for a leftover.
    assert queries("9.mp4", CONTENT + b"9") == first <= 16
    assert queries("9.mp4", CONTENT + b"9") == 1, "what is known costs one look"


def test_what_a_killed_import_had_copied_is_removed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = register(folder).video

    def killed(**arguments: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(uploads, "remove_tree", lambda folder: None)  # as of a process that is not there any more
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
    monkeypatch.setattr(datasets, "queue_analysis", killed)
    with pytest.raises(SystemExit):
        register(folder, "b.mp4", CONTENT + b"b")
    monkeypatch.undo()
    assert len(default_storage.listdir("videos")[0]) == 2
    assert datasets.remove_unfinished() == 1
    assert default_storage.listdir("videos")[0] == [str(kept.pk)]
    assert datasets.remove_unfinished() == 0


# --- its way through the jobs ----------------------------------------------------------------------------------------


def test_it_ends_after_extraction_without_a_verdict_and_wakes_nobody(
    folder: Path, tmp_path: Path, model: ModelVersion, doorbell: Doorbell, django_capture_on_commit_callbacks: Any
) -> None:
    video = register(folder).video
    with django_capture_on_commit_callbacks(execute=True):
        analyses.finish_extraction(claim=claimed(Analysis.objects.get()), result=extraction(tmp_path))
    analysis = Analysis.objects.get()
    video.refresh_from_db()
    assert (analysis.state, analysis.stage, analysis.progress) == (State.SUCCEEDED, Stage.DONE, 100)
    assert (analysis.finished_at is not None, analysis.verdict, analysis.timings) == (True, None, {"extract": 1.0})
    assert (video.status, video.needs_review, video.verdict_label, video.label) == ("succeeded", False, "", "fake")
    assert video.faces.count() == 3
    assert doorbell.rung == []
    assert datasets.open_extractions(dataset="set") == []
    assert [row.status for row in datasets.import_statuses(dataset="set")] == ["succeeded"]


def test_without_a_face_it_waits_for_nobody(folder: Path, tmp_path: Path) -> None:
    video = register(folder).video
    analyses.finish_no_face(claim=claimed(Analysis.objects.get()), result=extraction(tmp_path, tracks=0))
    video.refresh_from_db()
    assert (video.status, video.needs_review) == (State.NO_FACE, False)


def test_extracting_again_takes_the_verdict_on_the_old_faces_away(
    folder: Path, tmp_path: Path, model: ModelVersion
) -> None:
    video = register(folder).video
    analyses.finish_extraction(claim=claimed(Analysis.objects.get()), result=extraction(tmp_path))
    scored = analyses.queue_analysis(video=video)
    analyses.finish_classification(claim=claimed(scored, Stage.CLASSIFY), result=verdict(model))
    video.refresh_from_db()
    assert video.verdict_label == "fake"
    again = analyses.queue_analysis(video=video, reuse_faces=False)
    analyses.finish_extraction(claim=claimed(again), result=extraction(tmp_path))
    video.refresh_from_db()
    assert (video.status, video.verdict_label, video.fake_probability) == (State.SUCCEEDED, "", None)


def test_an_import_that_is_stopped_gives_the_work_back_in_silence(
    folder: Path, doorbell: Doorbell, django_capture_on_commit_callbacks: Any
) -> None:
    register(folder)
    with django_capture_on_commit_callbacks(execute=True):
        analyses.release(claim=claimed(Analysis.objects.get()), error="", counts=False)
    assert (Analysis.objects.get().state, doorbell.rung) == (State.QUEUED, [])


def test_the_api_and_the_admin_show_one_that_has_no_verdict(folder: Path, tmp_path: Path, settings: Any) -> None:
    video = register(folder).video
    analyses.finish_extraction(claim=claimed(Analysis.objects.get()), result=extraction(tmp_path))
    person = User.objects.create_superuser("root")
    api = APIClient()
    api.force_authenticate(person)
    shown = api.get(f"/api/v1/videos/{video.pk}/").json()
    assert (shown["status"], shown["verdict"], shown["label"], shown["needs_review"]) == (
        "succeeded", None, "fake", False,
    )  # fmt: skip
    assert api.get(f"/api/v1/tasks/{shown['task']['id']}/").json()["verdict"] is None
    assert api.get(f"/api/v1/videos/{video.pk}/faces/").json()["results"][0]["fake_probability"] is None

    browser = Client()
    browser.force_login(person)
    for page in ("", f"detection/video/{video.pk}/change/", "detection/video/", "detection/prediction/",
                 "detection/analysis/", "detection/analysis/?state__exact=succeeded"):  # fmt: skip
        answer = browser.get(f"/admin/{page}")
        assert answer.status_code == 200, page
    assert "a.mp4" in browser.get("/admin/detection/video/").content.decode()


def test_deleting_the_video_takes_what_the_set_says_of_it_along(folder: Path) -> None:
    uploads.delete_video(video=register(folder).video)
    assert not DatasetVideo.objects.exists()
    assert register(folder).outcome == "new"
