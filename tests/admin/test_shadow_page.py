"""The page of a version in shadow, and the first page's sentence on how good the active model is here."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from detection import dispatch
from detection.models import LocalFigures, ModelVersion, ShadowScore, ShadowTrial, TrainingRun
from tests.admin.conftest import Rows

pytestmark = pytest.mark.django_db

MODELS = "/admin/detection/modelversion/"


@pytest.fixture
def candidate(rows: Rows) -> ModelVersion:
    rows.model()
    return rows.model("candidate", active=False)


def metric(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


def figures(value: float) -> dict[str, Any]:
    names = ("auc", "accuracy", "recall_fake", "recall_real", "brier")
    bins = {name: metric(value) for name in names} | {"ece": {"value": 0.1, "low": None, "high": None}}
    return bins | {"n_real": 40, "n_fake": 22, "n_groups": 51}


def reliability(share: float) -> list[dict[str, Any]]:
    empty = {"from": 0.0, "to": 0.1, "n": 0, "mean_score": None, "share_fake": None, "low": None, "high": None}
    return [empty, {"from": 0.1, "to": 0.2, "n": 62, "mean_score": 0.15, "share_fake": share, "low": 0.1, "high": 0.4}]


def test_a_senior_reviewer_puts_a_version_into_shadow_sees_how_it_compares_and_ends_it(
    rows: Rows, candidate: ModelVersion
) -> None:
    client = Client()
    client.force_login(rows.user("sen", "senior_reviewer", staff=True))
    page = f"{MODELS}{candidate.pk}/shadow/"
    assert "Put into shadow" in client.get(page).content.decode()
    assert page in client.get(f"{MODELS}{candidate.pk}/change/").content.decode()
    assert client.post(page, {"to": "on"}).status_code == 302
    trial = ShadowTrial.objects.get()
    assert trial.started_by is not None
    assert client.post(page, {"to": "on"}).status_code == 409
    assert client.post(page, {"to": "sideways"}).status_code == 409
    active = ModelVersion.objects.get(active=True)
    for k, (old, new) in enumerate([(0.2, 0.3), (0.2, 0.8), (0.9, 0.1), (0.9, None)]):
        video = rows.with_verdict(f"{k}.mp4", model=active, score=old)
        ShadowScore.objects.create(
            video=video, model_version=candidate, fake_probability=new, champion=active, champion_probability=old,
            label="" if new is None else "fake" if new >= 0.5 else "real", seconds=0.5, champion_seconds=0.25,
            champion_label="fake" if old >= 0.5 else "real",
        )  # fmt: skip
    trial.figures = {
        "champion": str(active.pk), "n": 62, "enough": True, "candidate": figures(0.83), "active": figures(0.71),
        "difference": {name: metric(0.12) for name in ("auc", "accuracy", "recall_fake", "recall_real")},
        "reliability": {"candidate": reliability(0.25), "active": reliability(0.5)},
    }  # fmt: skip
    trial.measured_at = timezone.now()
    trial.save()
    shown = client.get(page).content.decode()
    for text in (
        "<strong>1</strong> of 3 (33.3 %)", "1 that the active model calls real", "1 that the active model calls fake",
        "median 0.500", "active model: median 0.250", "0.830 (0.780 to 0.880)", "+0.120 (+0.070 to +0.170)",
        "25 % of 62 (10 to 40 %)", "On 62 videos (40 real, 22 fake) of 51 groups of people",
    ):  # fmt: skip
        assert text in shown, text
    assert client.post(page, {"to": "off"}).status_code == 302
    assert "Switched off by sen." in client.get(page).content.decode()
    assert client.post(page, {"to": "forget"}).status_code == 302
    assert not ShadowScore.objects.exists()


def test_reviewers_neither_see_nor_change_it(rows: Rows, candidate: ModelVersion, review_client: Client) -> None:
    page = f"{MODELS}{candidate.pk}/shadow/"
    assert review_client.get(page).status_code == 403
    assert review_client.post(page, {"to": "on"}).status_code == 403
    assert page not in review_client.get(f"{MODELS}{candidate.pk}/change/").content.decode()
    assert not ShadowTrial.objects.exists()


def test_figures_against_a_model_that_is_no_longer_active_are_not_shown(
    rows: Rows, candidate: ModelVersion, root_client: Client
) -> None:
    ShadowTrial.objects.create(
        model_version=candidate, figures={"champion": "somebody else", "n": 3}, measured_at=timezone.now()
    )
    shown = root_client.get(f"{MODELS}{candidate.pk}/shadow/").content.decode()
    assert "Not compared on the random audit yet" in shown


def test_the_first_page_says_how_good_the_active_model_is_here(rows: Rows, root_client: Client) -> None:
    model = rows.model()
    assert "How good it is here is not known yet" in root_client.get("/admin/").content.decode()
    counts = {"n": 30, "n_real": 20, "n_fake": 10, "n_groups": 4, "needs_videos": 20, "needs_groups": 5}
    row = LocalFigures.objects.create(
        model_version=model, measured_at=timezone.now(), figures=counts | {"enough": False}
    )
    shown = root_client.get("/admin/").content.decode()
    assert "Not enough labels yet to say how good it is here: 20 real and 10 fake videos" in shown
    row.figures = counts | {"enough": True, "accuracy": metric(0.9), "recall_fake": metric(0.8)}
    row.save()
    shown = root_client.get("/admin/").content.decode()
    assert "Here it is right about 90.0 % (95 % interval 85.0 to 95.0 %) of the videos, on 30" in shown
    assert "Of the fakes it finds 80.0 % (95 % interval 75.0 to 85.0 %)" in shown


def test_a_model_owner_queues_a_recalibration(
    rows: Rows, review_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_publish", lambda task, args: True)
    owner_client = Client()
    owner_client.force_login(rows.user("olga", "model_owner", staff=True))
    model = rows.model()
    page = f"{MODELS}{model.pk}/recalibrate/"
    assert review_client.get(page).status_code == 403
    assert page in owner_client.get(f"{MODELS}{model.pk}/change/").content.decode()
    assert "from the random audit" in owner_client.get(page).content.decode()
    assert owner_client.post(page, {"false_alarms": "2"}).status_code == 200
    assert not TrainingRun.objects.exists()
    response = owner_client.post(page, {"false_alarms": "0.05", "name": "ours"})
    run = TrainingRun.objects.get()
    assert run.options == {"recalibrate": str(model.pk), "name": "ours", "false_alarms": 0.05, "fake_recall": None}
    shown = owner_client.get(response["Location"]).content.decode()
    assert "Recalibration" in shown
    assert "no weight changes" in shown
    again = owner_client.post(page, {"false_alarms": "0.05"})
    assert "has not ended yet" in again.content.decode()
