"""Labelled videos without a face: models of whole frames are calibrated, judged and evaluated on them, others not."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError
from django.utils import timezone

from detection.models import Analysis, DatasetVideo, IdentitySide, ModelVersion, Snapshot, State, Verdict, Video
from detection.services.jobs import analyses
from detection.services.learning import datasets, snapshots
from detection.services.learning.snapshots import SnapshotItem
from ml.model.weights import load_weights
from tests.learning import dataset, register_blind
from tests.ml.clips import write_clip
from tests.worker.test_external import manifest, run
from tests.worker.test_external_kinds import forgotten, frames_net, scene, with_clips
from worker import tasks
from worker.training import judging, snapshot_pack

__all__ = ["forgotten"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_state", "silent_broker")]
SAYS = {"looks_at": "frames", "crop": "squeeze", "pictures": 2}


def without_a_face(people: int, folder: Path) -> list[DatasetVideo]:
    """A real and a generated scene of each place, as an import leaves them that found no face."""
    owner = datasets.dataset_owner()
    clips = {
        fake: write_clip(folder / f"scene-{fake}.mp4", frames=8, picture=partial(scene, fake=fake)).read_bytes()
        for fake in (False, True)
    }
    rows = []
    for number in range(people):
        for fake, clip in clips.items():
            label = "fake" if fake else "real"
            video = Video(
                owner_id=owner.pk, original_name=f"{number}.mp4", sha256=f"{number:032x}{int(fake):032x}",
                size_bytes=len(clip), status=State.NO_FACE, label=label, height=96, tracks=0, fps=25.0,
                frames_decoded=8, extracted_at=timezone.now(),
            )  # fmt: skip
            video.file.name = default_storage.save(f"{video.folder}/original.mp4", ContentFile(clip))
            noise = np.random.default_rng([number, fake, 7]).integers(0, 256, (16, 17), dtype=np.uint8)
            picture = cv2.imencode(".jpg", cv2.resize(noise, (170, 160), interpolation=cv2.INTER_NEAREST))[1]
            video.thumbnail.name = default_storage.save(f"{video.folder}/t.jpg", ContentFile(picture.tobytes()))
            video.save()
            Analysis.objects.create(video=video, state=State.NO_FACE, stage="done", finished_at=timezone.now())
            rows.append(
                DatasetVideo.objects.create(
                    video=video, dataset="scenes", path=f"{label}/{number}.mp4", label=label, identity=f"place{number}"
                )
            )
    return rows


def frozen() -> tuple[Snapshot, list[SnapshotItem]]:
    snapshot = snapshot_pack.freeze(seed=0, seen=())
    return snapshot, snapshots.read_snapshot(snapshot=snapshot)


def test_they_are_in_the_snapshot_and_those_with_a_face_are_in_it_as_without_them(tmp_path: Path) -> None:
    people = dataset(12)
    scenes = without_a_face(8, tmp_path)
    DatasetVideo.objects.filter(pk=scenes[0].pk).update(identity=people[0].identity)
    DatasetVideo.objects.filter(pk=scenes[2].pk).update(donor="lab3")
    Video.objects.filter(pk=scenes[5].video_id).update(original_removed_at=timezone.now())
    snapshot, items = frozen()
    faceless = {item.video: item for item in items if not item.tracks}
    assert str(scenes[5].video_id) not in faceless
    with_face = [item for item in items if item.tracks]
    by_identity = {item.identity: item for item in with_face}
    for scene_, other in ((scenes[0], people[0].identity), (scenes[2], "lab3")):
        item = faceless[str(scene_.video_id)]
        assert (item.split, item.component) == (by_identity[other].split, by_identity[other].component)
    assert len(faceless) == 15
    counts = snapshot.summary["frames_only"].values()
    assert sum(sum(of_side.values()) for of_side in counts) == 15
    assert snapshot.summary["left_out"] == {"without stored faces": 16}, "of what models of faces learn from"
    assert snapshot.summary["by_dataset"] == len(with_face) == 24

    # one that joins two splits is left out, and takes nobody along
    apart = [one for one in with_face if one.split != faceless[str(scenes[0].video_id)].split]
    DatasetVideo.objects.filter(pk=scenes[0].pk).update(donor=apart[0].identity)
    _, again = frozen()
    assert {item.video for item in items} - {item.video for item in again} == {str(scenes[0].video_id)}

    IdentitySide.objects.all().delete()
    for row in scenes:
        row.video.delete()
    _, alone = frozen()
    assert alone == with_face


@pytest.mark.slow
def test_a_model_of_whole_frames_is_calibrated_and_judged_on_them_and_compared_on_what_both_can_judge(
    tmp_path: Path,
) -> None:
    blind = register_blind(tmp_path)
    without_a_face(48, tmp_path)
    model = frames_net(tmp_path / "generated.onnx")
    with pytest.raises(CommandError, match=r"Is FAKE the other output\?.*\(worse_than_chance\)"):
        run("register_model", model, "--manifest", manifest(tmp_path / "wrong.json", **SAYS, fake="high"))
    said = run("register_model", model, "--manifest", manifest(tmp_path / "generated.json", **SAYS, fake="low"))
    _, items = frozen()
    count = {split: sum(item.split == split for item in items) for split in ("val", "holdout")}
    assert f"Calibrated on {count['val']} labelled videos" in said
    version = ModelVersion.objects.get(name="generated")
    told = f"judges {count['holdout']} held-out videos without a face: {count['holdout'] // 2} of"

    # with none that shows a face there is nothing to compare them on
    with pytest.raises(CommandError, match=r"no held-out video with a face.*Beyond these, generated") as refused:
        run("promote", "generated")
    assert told in str(refused.value)
    alone = judging.judge(version, None, items, snapshot=Snapshot.objects.latest("created_at"))
    assert (alone.gate.passed, alone.gate.facts["n_videos"]) == (True, count["holdout"])

    with_clips(dataset(48), tmp_path)
    snapshot, items = frozen()
    both = [item for item in items if item.split == "holdout" and item.tracks]
    answer = judging.judge(version, blind, items, snapshot=snapshot).gate
    assert (answer.passed, answer.facts["n_videos"]) == (True, len(both))
    half = count["holdout"] // 2
    right = {"n_real": half, "n_fake": half, "real_called_real": half, "fake_called_fake": half}
    assert answer.facts["without_face"] == {"model": str(version.id), **right}
    assert told in answer.sentence
    back = judging.judge(blind, version, items, snapshot=snapshot).gate
    assert (back.passed, back.facts["n_videos"]) == (False, len(both))
    assert back.facts["without_face"] == answer.facts["without_face"], "what would be lost"

    said = run(
        "register_model", model, "--manifest", manifest(tmp_path / "second.json", **SAYS | {"pictures": 3}, fake="low")
    )
    second = ModelVersion.objects.exclude(pk__in=(blind.pk, version.pk)).get()
    assert "Calibrated on" in said
    same = judging.judge(second, version, items, snapshot=snapshot).gate
    assert same.facts["n_videos"] == len(both) + count["holdout"]
    assert "without_face" not in same.facts

    out = tmp_path / "report"
    assert f"Among them {count['holdout']} without a face: {half} of {half} real" in run(
        "evaluate", "generated", "--bootstrap", "20", "--out", out
    )
    assert json.loads((out / "report.json").read_text())["summary"]["n"] == len(both) + count["holdout"]
    network, _ = load_weights(tmp_path / "blind0.safetensors")
    assert snapshot_pack.judged_by(network, items) == [item for item in items if item.tracks]


@pytest.mark.slow
def test_an_imported_video_without_a_face_gets_its_verdict_from_a_model_of_whole_frames(
    tmp_path: Path, settings: Any
) -> None:
    model = frames_net(tmp_path / "generated.onnx")
    said = manifest(tmp_path / "generated.json", **SAYS, fake="low")
    run("register_model", model, "--manifest", said, "--activate")
    for label in ("real", "fake"):
        clip = write_clip(tmp_path / f"{label}.mp4", frames=12, picture=partial(scene, fake=label == "fake"))
        (tmp_path / "set" / label).mkdir(parents=True)
        shutil.copy(clip, tmp_path / "set" / label / "0.mp4")
    settings.VAR_DIR.mkdir(exist_ok=True)
    told: dict[str, Any] = json.loads(run("import_dataset", tmp_path / "set", "--workers", "0", "--json"))
    assert (told["with_faces"], sorted(told["without_face"])) == (0, ["fake/0.mp4", "real/0.mp4"])
    for analysis in Analysis.objects.all():
        assert (analysis.state, analysis.stage) == (State.QUEUED, "classify")
        tasks.classify_video(str(analysis.id))
    videos = Video.objects.filter(dataset_video__isnull=False).order_by("label")
    assert list(videos.values_list("label", "verdict_label", "status")) == [
        ("fake", "fake", State.SUCCEEDED),
        ("real", "real", State.SUCCEEDED),
    ]
    assert Verdict.objects.filter(frames__isnull=False).count() == 2

    # analysed again, while a model that needs a face takes over: labelled, so nobody has to look at it
    analysis = analyses.queue_analysis(video=videos[0], reuse_faces=False)
    tasks.extract_faces(str(analysis.id))
    faces = register_blind(tmp_path, active=False)
    run("promote", faces.name, "--force", "--reason", "faces again")
    tasks.classify_video(str(analysis.id))
    video = Video.objects.get(pk=analysis.video_id)
    assert (video.status, video.current_verdict, video.needs_review) == (State.NO_FACE, None, False)
    told = json.loads(run("import_dataset", tmp_path / "set", "--workers", "0", "--json"))
    assert (told["known"], sorted(told["without_face"])) == (2, ["fake/0.mp4", "real/0.mp4"])
