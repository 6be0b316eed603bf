"""Detectors of others that look at a person's faces together, or at whole frames, go the whole way, too."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError
from django.utils import timezone
from numpy.typing import NDArray
from rest_framework.test import APIClient
from torch import nn

from detection.errors import Refused
from detection.models import Analysis, DatasetVideo, ModelVersion, Promotion, ShadowScore, State, Verdict, Video
from detection.selectors import report
from detection.selectors.segments import segments_of
from detection.services.jobs import analyses, evidence
from detection.services.jobs.verdicts import verdict_fields, without_no_persons
from detection.services.learning import registry, shadow
from ml.config import FrameView, ModelConfig
from ml.model.decision import combine
from ml.model.external.check import write_with_manifest
from ml.model.external.manifest import read_manifest
from ml.model.inference import Classifier, TrackScore
from ml.model.weights import WeightsInfo
from tests.learning import dataset, register_blind
from tests.ml.clips import write_clip
from tests.worker.test_external import SIZE, export, fit, lesson, manifest, run
from tests.worker.test_runtime import CLIPS, analyse, upload
from worker import tasks
from worker.process import runtime
from worker.report.pdf import Seal, make_pdf
from worker.stages import shadow as shadow_stage
from worker.stages.images import read_crop
from worker.stages.shown import frames_shown
from worker.stages.verdict import verdict

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_state", "silent_broker")]
FAKES = {"dataset_video__label": "fake"}


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_loaded", None)
    monkeypatch.setattr(shadow_stage, "_loaded", None)


class OverTime(nn.Module):
    """(B, 3, T, S, S) -> (B, 2): the mean of the pictures' features, and a layer on it."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        pictures = clips.transpose(1, 2).flatten(0, 1)
        features = self.network.forward_head(self.network.forward_features(pictures), pre_logits=True)
        answer: torch.Tensor = self.network.classifier(features.unflatten(0, (-1, clips.shape[2])).mean(1))
        return answer


@torch.no_grad()
def sequence_net(path: Path, faces: int) -> Path:
    """Two logits, FAKE first, of `faces` faces together."""
    torch.manual_seed(0)
    network: Any = timm.create_model("test_efficientnet", num_classes=2).eval()
    pixels, labels = lesson()
    fit(network.classifier, network.forward_head(network.forward_features(pixels), pre_logits=True), labels, fake=0)
    return export(OverTime(network).eval(), path, (1, 3, faces, SIZE, SIZE))


def scene(number: int, *, fake: bool, seed: int = 0) -> NDArray[np.uint8]:
    """A frame without a face; those of generated videos are blue."""
    image = np.random.default_rng([seed, number]).integers(40, 200, (6, 8, 3), dtype=np.uint8)
    image[:, :, 2] = 250 if fake else 10
    return image.repeat(16, axis=0).repeat(16, axis=1)


@torch.no_grad()
def frames_net(path: Path) -> Path:
    """One number, high for REAL, of a frame."""
    torch.manual_seed(0)
    network: Any = timm.create_model("test_resnet", num_classes=1).eval()
    pictures = [scene(k, fake=fake, seed=900)[:SIZE, :SIZE] for k in range(40) for fake in (False, True)]
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    last, network.fc = network.fc, nn.Identity()
    fit(last, network(pixels), torch.tensor([1.0, 0.0] * 40), fake=0)
    network.fc = last
    return export(network, path)


def with_clips(rows: list[DatasetVideo], folder: Path) -> None:
    """Give the videos of a data set files; whether they are blue is their label."""
    clips = {
        label: write_clip(folder / f"{label}.mp4", frames=12, picture=partial(scene, fake=label == "fake"))
        for label in ("real", "fake")
    }
    for row in rows:
        default_storage.save(str(row.video.file.name), ContentFile(clips[row.label].read_bytes()))
        Video.objects.filter(id=row.video_id).update(frames_decoded=12, fps=25.0)


def sent(content: bytes) -> Video:
    """An upload that no other one has the hash of."""
    video = upload(content)
    Video.objects.filter(id=video.id).update(sha256=video.id.hex * 2)
    return video


def labels() -> tuple[set[str], set[str]]:
    """Verdicts shown of the fakes and of the reals of the data set."""
    shown = Video.objects.filter(dataset_video__isnull=False)
    fakes = shown.filter(**FAKES)
    return set(fakes.values_list("verdict_label", flat=True)), set(
        shown.exclude(pk__in=fakes).values_list("verdict_label", flat=True)
    )


@pytest.mark.slow
def test_a_detector_of_sequences_goes_the_whole_way(tmp_path: Path) -> None:
    register_blind(tmp_path)
    dataset(60)
    model = sequence_net(tmp_path / "over-time.onnx", faces=8)  # the videos have five faces each
    says = {"looks_at": "sequence", "shape": "BCTHW", "pictures": 8, "fewer": "last"}
    with pytest.raises(CommandError, match=r"Is FAKE the other output\?.*\(worse_than_chance\)"):
        run("register_model", model, "--manifest", manifest(tmp_path / "wrong.json", **says, fake=1))
    with pytest.raises(CommandError, match=r"Are its `pictures` 8\? \(wrong_input\)"):
        run("register_model", model, "--manifest", manifest(tmp_path / "long.json", **says | {"pictures": 16}))
    said = run("register_model", model, "--manifest", manifest(tmp_path / "over-time.json", **says))
    assert "Calibrated on" in said
    version = ModelVersion.objects.get(name="over-time")
    assert (version.kind, version.config["manifest"]["pictures"], version.config["manifest"]["shape"]) == (
        "onnx_sequence",
        8,
        "BCTHW",
    )
    assert "Passed" in run("promote", "over-time")
    assert "120 verdicts" in run("rescore")
    assert labels() == ({"fake"}, {"real"})
    assert "AUC" in run("evaluate", "active", "--bootstrap", "50", "--out", tmp_path / "report")

    analysis = analyse(sent((CLIPS / "two-people.mp4").read_bytes()))
    assert analysis.state == State.SUCCEEDED, analysis.last_error
    verdict, video = analysis.verdict, analysis.video
    assert verdict is not None
    assert [len(person["frames"]) for person in verdict.people] == [10, 10]
    assert {frame["fake_probability"] for person in verdict.people for frame in person["frames"]} == {None}
    crops = [np.asarray(read_crop(str(face.crop.name))) for face in video.faces.filter(track=verdict.track)]
    again = Classifier.load(registry.local_weights(model=version), device="cpu").score([crops])[0]
    assert verdict.fake_probability == pytest.approx(again.fake_probability, abs=1e-9)

    client, admin = APIClient(), User.objects.create_superuser("root")
    client.force_authenticate(video.owner)
    faces = client.get(f"/api/v1/videos/{video.id}/faces/").json()["results"]
    assert {face["fake_probability"] for face in faces} == {None}
    told = client.get(f"/api/v1/videos/{video.id}/").json()["verdict"]
    assert (told["track"], told["frames"], len(told["faces"])) == (verdict.track, None, 2)
    with pytest.raises(Refused, match="looks at all faces of a person together") as refused:
        evidence.request(video=Video.objects.get(id=video.id), kind="heatmaps", by=admin)
    assert refused.value.code == "no_heatmaps"
    assert "No face has a score".lower() in page(admin, video).lower()
    assert b"%PDF" in pdf_of(video, admin)

    with pytest.raises(CommandError, match=r"looks at whole sequences or frames.*\(invalid_ensemble\)"):
        run("register_model", "--mean", "over-time", "blind0")
    run("rollback")
    assert "121 verdicts" in run("rescore")
    assert [entry.kind for entry in Promotion.objects.order_by("created_at")] == ["first", "gate", "rollback"]


@pytest.mark.slow
def test_a_detector_of_whole_frames_goes_the_whole_way_and_judges_a_video_without_a_face(tmp_path: Path) -> None:
    blind = register_blind(tmp_path)
    with_clips(dataset(60), tmp_path)
    model = frames_net(tmp_path / "generated.onnx")
    says = {"looks_at": "frames", "crop": "squeeze", "pictures": 4}
    with pytest.raises(CommandError, match=r"Is FAKE the other output\?.*\(worse_than_chance\)"):
        run("register_model", model, "--manifest", manifest(tmp_path / "wrong.json", **says, fake="high"))
    right = manifest(tmp_path / "generated.json", **says, fake="low")
    assert "Calibrated on" in run("register_model", model, "--manifest", right)
    version = ModelVersion.objects.get(name="generated")
    assert (version.kind, version.config["manifest"]["crop"]) == ("onnx_frames", "squeeze")

    clip = write_clip(tmp_path / "made.mp4", frames=20, picture=lambda n: scene(n, fake=True, seed=5)).read_bytes()
    faceless = sent(clip)
    assert analyse(faceless).state == State.NO_FACE

    assert "Passed" in run("promote", "generated")
    assert "121 verdicts" in run("rescore"), "the one without a face among them"
    assert labels() == ({"fake"}, {"real"})
    faceless.refresh_from_db()
    assert (faceless.status, faceless.verdict_label, faceless.tracks) == (State.SUCCEEDED, "fake", 0)
    report_folder = tmp_path / "report"
    assert "AUC" in run("evaluate", "active", "--bootstrap", "50", "--out", report_folder)
    assert "data:image/jpeg" not in (report_folder / "report.html").read_text()
    assert not list((tmp_path / "var" / "training" / "packs").glob("frames-*")), "whole frames are kept nowhere"

    other = sent(clip)
    analysis = analyse(other)
    assert (analysis.state, analysis.stage) == (State.SUCCEEDED, "done"), analysis.last_error
    verdict = analysis.verdict
    assert verdict is not None
    assert (verdict.label, verdict.people, verdict.segments, verdict.deciding_track) == ("fake", [], None, None)
    assert verdict.frames is not None
    assert [frame["frame_number"] for frame in verdict.frames] == [0, 6, 13, 19]
    assert min(frame["fake_probability"] for frame in verdict.frames) > 0.5
    assert "few_faces" not in verdict.review_reasons

    client, admin = APIClient(), User.objects.create_superuser("root")
    client.force_authenticate(other.owner)
    task = client.get(f"/api/v1/tasks/{analysis.id}/").json()
    assert (task["state"], task["verdict"]["faces"], task["verdict"]["track"]) == ("succeeded", [], None)
    assert [round(frame["timestamp"], 2) for frame in task["verdict"]["frames"]] == [0, 0.24, 0.52, 0.76]
    with pytest.raises(Refused, match="looks at whole frames"):
        evidence.request(video=Video.objects.get(id=other.id), kind="heatmaps", by=admin)
    assert "no person has a score" in page(admin, other)
    assert b"%PDF" in pdf_of(other, admin)

    run("rollback")
    said = run("rescore")
    assert "2 videos have no face, which this model needs" in said
    assert "120 verdicts" in said
    other.refresh_from_db()
    assert (other.status, other.current_verdict, other.needs_review) == (State.NO_FACE, None, True)
    assert ModelVersion.objects.get(active=True) == blind
    registry.promote(model=version, gate=None, force=True, reason="again")
    before = Verdict.objects.count()
    assert "122 verdicts" in run("rescore"), "shown again"
    assert Verdict.objects.count() == before


@pytest.fixture
def by_hand(tmp_path: Path) -> ModelVersion:
    """A detector of whole frames that is active."""
    model = frames_net(tmp_path / "generated.onnx")
    said = manifest(tmp_path / "generated.json", looks_at="frames", pictures=4, fake="low")
    run("register_model", model, "--manifest", said, "--activate")
    return ModelVersion.objects.get(name="generated")


@pytest.mark.slow
def test_whole_frames_of_what_is_gone_or_changed_meanwhile_are_an_answer_and_no_crash(
    by_hand: ModelVersion, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "made.mp4", frames=20, picture=lambda n: scene(n, fake=True)).read_bytes()

    def extracted() -> Analysis:
        analysis = analyses.queue_analysis(video=sent(clip))
        tasks.extract_faces(str(analysis.id))
        analysis.refresh_from_db()
        assert (analysis.state, analysis.stage, analysis.video.tracks) == (State.QUEUED, "classify", 0)
        return analysis

    def classified(analysis: Analysis) -> Analysis:
        tasks.classify_video(str(analysis.id))
        analysis.refresh_from_db()
        return analysis

    expired, damaged, late = extracted(), extracted(), extracted()
    Video.objects.filter(id=expired.video_id).update(original_removed_at=timezone.now())
    assert (classified(expired).state, expired.error_code) == (State.FAILED, "original_expired")
    Path(default_storage.path(str(damaged.video.clip.name))).write_bytes(b"no video")
    assert (classified(damaged).state, damaged.error_code) == (State.FAILED, "not_a_video")
    assert "1 videos cannot be read" in refused_rescore()
    damaged.video.delete()

    # the model that is active by now needs a face
    faces = register_blind(tmp_path, active=False)
    run("promote", faces.name, "--force", "--reason", "faces again")
    assert (classified(late).state, late.error_code, late.verdict) == (State.NO_FACE, "", None)
    late.video.refresh_from_db()
    assert (late.video.status, late.video.needs_review) == (State.NO_FACE, True)


@pytest.mark.slow
def test_in_shadow_each_kind_is_asked_for_what_it_can_judge(by_hand: ModelVersion, tmp_path: Path) -> None:
    faces = register_blind(tmp_path, active=False)
    clip = write_clip(tmp_path / "made.mp4", frames=20, picture=lambda n: scene(n, fake=True)).read_bytes()
    trial = shadow.start(model=faces)
    assert analyse(sent(clip)).state == State.SUCCEEDED
    assert shadow.pending(trial_id=trial.id, limit=5) == [], "nobody is in it"
    with_face = analyse(sent((CLIPS / "one-person.mp4").read_bytes()))
    tasks.score_shadow(str(trial.id))
    assert set(ShadowScore.objects.values_list("video", flat=True)) == {with_face.video_id}
    shadow.stop(model=faces)

    run("promote", faces.name, "--force", "--reason", "faces again")
    trial = shadow.start(model=by_hand)
    again = analyse(sent((CLIPS / "one-person.mp4").read_bytes()))
    tasks.score_shadow(str(trial.id))
    score = ShadowScore.objects.get(model_version=by_hand)
    assert (score.video_id, score.champion) == (again.video_id, faces)
    assert score.fake_probability is not None


def test_frames_of_later_segments_are_read_from_their_own_clips_and_a_damaged_one_is_left_out(tmp_path: Path) -> None:
    def stored(name: str, *, fake: bool) -> str:
        clip = write_clip(tmp_path / name, frames=12, picture=partial(scene, fake=fake))
        return default_storage.save(f"clips/{name}", ContentFile(clip.read_bytes()))

    video = Video(fps=25.0)
    video.file.name = default_storage.save("clips/upload.mp4", ContentFile(b"not read: the clip is"))
    video.clip.name = stored("first.mp4", fake=False)
    bad = default_storage.save("clips/bad.mp4", ContentFile(b"no video"))
    video.segments = [
        {"start_s": 0.0, "end_s": 0.48, "clip": ""},
        {"start_s": 10.0, "end_s": 10.48, "clip": bad},
        {"start_s": 20.0, "end_s": 20.48, "clip": ""},
        {"start_s": 30.0, "end_s": 30.48, "clip": stored("last.mp4", fake=True)},
    ]
    shown = frames_shown(video, FrameView(SIZE, count=2))
    assert [(part.segment, part.frames) for part in shown.frames] == [
        (0, ((0, 0.0), (11, 0.44))),
        (3, ((750, 30.0), (761, 30.44))),
    ]
    info = WeightsInfo("m", ModelConfig(), threshold=0.6, experimental=False)
    scores = [TrackScore(0.2, (0.1, 0.3)), TrackScore(0.9, (0.8, 0.95))]
    made = verdict(ModelVersion(), SimpleNamespace(info=info), shown, scores)  # type: ignore[arg-type]
    assert made.fake_probability == combine([0.2, 0.9])
    assert made.segments == [
        {"segment": 0, "fake_probability": 0.2, "people": []},
        {"segment": 3, "fake_probability": 0.9, "people": []},
    ]
    assert made.frames is not None
    assert [(frame["segment"], frame["fake_probability"]) for frame in made.frames] == [
        (0, 0.1), (0, 0.3), (3, 0.8), (3, 0.95),
    ]  # fmt: skip
    row = Verdict(**verdict_fields(made, now=timezone.now()))
    assert [part.fake_probability for part in segments_of(Video(segments=video.segments, frames_decoded=12), row)] == [
        0.2, None, None, 0.9,
    ]  # fmt: skip
    assert not without_no_persons(row, {"0": "not_a_person"}), "no person decided it"


@pytest.mark.slow
def test_files_are_analysed_by_whole_frames_without_a_server(tmp_path: Path) -> None:
    said = read_manifest(manifest(tmp_path / "m.json", looks_at="frames", pictures=3, fake="low"))
    write_with_manifest(frames_net(tmp_path / "m.onnx"), said, tmp_path / "made.onnx")
    answer = json.loads(run("analyze", CLIPS / "no-face.mp4", "--weights", tmp_path / "made.onnx", "--json"))
    assert (answer["state"], answer["faces"], answer["error"]) == ("succeeded", [], None)
    assert answer["segments"][0]["fake_probability"] == answer["verdict"]["fake_probability"]
    assert (answer["verdict"]["track"], len(answer["verdict"]["frames"])) == (None, 3)


def refused_rescore() -> str:
    with pytest.raises(CommandError) as refused:
        run("rescore")
    return str(refused.value)


def page(user: User, video: Video) -> str:
    from django.test import Client

    client = Client()
    client.force_login(user)
    answer = client.get(f"/admin/detection/video/{video.id}/change/")
    assert answer.status_code == 200
    return answer.content.decode()


def pdf_of(video: Video, user: User) -> bytes:
    video = Video.objects.select_related("owner", "current_verdict__model_version").get(id=video.id)
    told = report.contents(video=video, user=user, heatmaps={}, made_at=timezone.now())
    return make_pdf(told.document, {}, Seal("ab" * 32))
