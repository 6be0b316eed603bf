"""Training, promotions and data sets in the admin: who sees what, who starts and decides what, and what it costs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.utils import timezone

from detection.admin.charts.training_history import charts
from detection.models import (
    DatasetVideo,
    IdentitySide,
    ModelVersion,
    Promotion,
    PromotionKind,
    RunState,
    Snapshot,
    TrainingRun,
)
from detection.services.learning import registry
from detection.services.ops import accounts
from tests.admin.conftest import Rows
from tests.admin.test_hostile import NAME, TRACES
from tests.admin.test_lists import queries

Login = Callable[[User], Client]
RUNS, MODELS = "/admin/detection/trainingrun/", "/admin/detection/modelversion/"
LISTS = [RUNS, MODELS, "/admin/detection/promotion/", "/admin/detection/datasetvideo/"]
FORM = {"mode": "frozen", "name": "", "seed": "3", "fake_recall": "0.9", "promote": "on"}
HISTORY = [
    {"stage": "sequence", "epoch": epoch, "train_loss": 0.7 / epoch, "train_accuracy": 0.5 + epoch / 20,
     "val_loss": 0.7 - epoch / 30, "val_accuracy": 0.5, "val_auc": 0.55}
    for epoch in range(1, 6)
]  # fmt: skip


@pytest.fixture
def owner_client(rows: Rows, as_user: Login) -> Client:
    return as_user(rows.user("olga", "model_owner", staff=True))


def gate(passed: bool = True, champion: ModelVersion | None = None, sentence: str = "") -> dict[str, Any]:
    figure = {"champion": 0.6, "challenger": 0.7, "difference": 0.1, "low": 0.02, "high": 0.2,
              "challenger_low": 0.6, "challenger_high": 0.8}  # fmt: skip
    return {
        "passed": passed,
        "code": "won" if passed else "not_better",
        "sentence": sentence or ("Passed: it is better." if passed else "Refused: it is not better."),
        "champion": str(champion.pk) if champion else None,
        "n_videos": 40, "n_real": 20, "n_fake": 20, "n_components": 9,
        "figures": {"auc": figure},
    }  # fmt: skip


def make_run(state: str = RunState.SUCCEEDED, **fields: Any) -> TrainingRun:
    ended = state not in (RunState.QUEUED, RunState.RUNNING)
    defaults: dict[str, Any] = {
        "options": {"full": False, "seed": 1},
        "history": HISTORY,
        "finished_at": timezone.now() if ended else None,
        "progress": 100 if ended else 40,
        "phase": "" if ended else "heads, epoch 3",
        "metrics": {"videos": {"auc": {"value": 0.71, "low": 0.62, "high": 0.8}}},
        "message": "It is over." if ended else "",
    }
    return TrainingRun.objects.create(state=state, **(defaults | fields))


def snapshot(text: str = "ff", number: int = 0) -> Snapshot:
    counts = {"real": 11, "fake": 12}
    return Snapshot.objects.create(
        sha256=hashlib.sha256(f"{text}{number}".encode()).hexdigest(),
        manifest="snapshots/x.jsonl",
        summary={"sides": {"train": counts, "holdout": counts}, "datasets": {text: counts}, "reviewers": {text: 4},
                 "left_out": {text: 2}, "components": 9, "by_review": 1, "by_dataset": 22},
    )  # fmt: skip


def fill(rows: Rows, count: int, start: int = 0, name: str = "model") -> None:
    user = rows.user(f"user{start}")
    for number in range(start, start + count):
        model = rows.model(f"{name}{number}", active=False)
        make_run(candidate=model, requested_by=user, snapshot=snapshot(name, number), gate=gate(sentence=name))
        Promotion.objects.create(model_version=model, previous=model, kind=PromotionKind.FORCED, by=user, reason=name)
        DatasetVideo.objects.create(
            video=rows.video(f"{number}"), dataset="ff", path=f"{name}{number}", label="fake", identity=f"ff{number}"
        )


def test_a_list_of_30_rows_asks_as_many_questions_as_one_of_3(rows: Rows, root_client: Client) -> None:
    fill(rows, 3)
    few = {url: queries(root_client, url) for url in LISTS}
    fill(rows, 27, start=3)
    assert {url: queries(root_client, url) for url in LISTS} == few
    assert max(few.values()) <= 20


def test_the_pages_open_before_there_is_anything_and_say_what_to_do(root_client: Client) -> None:
    for url in LISTS:
        assert root_client.get(url).status_code == 200, url
    assert "manage.py retrain" in root_client.get(RUNS).content.decode()
    assert "import_dataset" in root_client.get(LISTS[3]).content.decode()


def test_the_page_of_a_run_shows_everything(rows: Rows, owner_client: Client) -> None:
    model, before = rows.model("candidate", active=False), rows.model("champion")
    run = make_run(
        candidate=model,
        parent=before,
        snapshot=snapshot("celeb"),
        gate=gate(champion=before),
        last_error="Traceback: x",
    )
    page = owner_client.get(f"{RUNS}{run.pk}/change/").content.decode()
    for text in ("the backbone stays as it is",
                 "celeb", "Passed: it is better.", "+0.100", "0.71 (0.62 to 0.8)", "It is over.",
                 "Traceback: x", f"/modelversion/{model.pk}/", f"/modelversion/{before.pk}/", "Seed", "<polyline",
                 "epoch 5, validation: 0.533"):  # fmt: skip
        assert text in page, text
    assert queries(owner_client, f"{RUNS}{run.pk}/change/") <= 16


@pytest.mark.parametrize("state", RunState.values)
def test_the_page_of_a_run_opens_in_every_state(rows: Rows, owner_client: Client, state: str) -> None:
    run = make_run(state, history=[])
    page = owner_client.get(f"{RUNS}{run.pk}/change/").content.decode()
    assert RunState(state).label in page
    assert ("data-live-url" in page) == (state in ("queued", "running"))


def test_the_last_error_is_for_those_who_may_start_a_run(rows: Rows, as_user: Login) -> None:
    user = rows.user("watcher", staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_trainingrun"))
    run = make_run(RunState.FAILED, last_error="Traceback: secret path")
    page = as_user(user).get(f"{RUNS}{run.pk}/change/")
    assert page.status_code == 200
    assert "secret path" not in page.content.decode()


def test_an_open_run_tells_how_far_it_is(rows: Rows, owner_client: Client) -> None:
    run = make_run(RunState.RUNNING)
    assert f'data-live-url="{RUNS}{run.pk}/live/"' in owner_client.get(RUNS).content.decode()
    answer = owner_client.get(f"{RUNS}{run.pk}/live/").json()
    assert answer == {
        "id": str(run.pk), "open": True, "state": "running", "state_text": "Running", "phase": "heads, epoch 3",
        "progress": 40, "epochs": 5,
    }  # fmt: skip
    assert "<polyline" in owner_client.get(f"{RUNS}{run.pk}/live/?charts").json()["charts"]


def test_what_strangers_have_named_is_shown_as_text(rows: Rows, root_client: Client) -> None:
    fill(rows, 2, name=NAME[:60])
    run = make_run(
        RunState.RUNNING,
        options={"name": NAME, NAME: NAME, "full": True},
        snapshot=snapshot(NAME, 99),
        gate=gate(sentence=NAME) | {"figures": {NAME: {"challenger": NAME}}},
        metrics={NAME: {NAME: NAME}, "videos": {"auc": NAME}},
        phase=NAME[:80],
        message=NAME,
        last_error=NAME,
        history=[*HISTORY, {"stage": "frames", "epoch": NAME, "val_loss": NAME, "train_loss": 0.5}, NAME, None],
    )
    model = ModelVersion.objects.filter(runs__isnull=False)[0]
    promotion = Promotion.objects.all()[0]
    for url in (*LISTS, f"{RUNS}{run.pk}/change/", f"{MODELS}{model.pk}/change/", f"{MODELS}{model.pk}/promote/",
                f"{MODELS}rollback/", f"/admin/detection/promotion/{promotion.pk}/change/"):  # fmt: skip
        response = root_client.get(url)
        assert response.status_code == 200, url
        for trace in TRACES:
            assert trace not in response.content.decode(), (url, trace)
    answer = root_client.get(f"{RUNS}{run.pk}/live/?charts").json()
    assert "<script" not in answer["charts"]


@pytest.mark.parametrize(
    "history", [None, "x", {}, [1], [{"stage": "sequence", "train_loss": float("nan"), "val_loss": 1e300}]]
)
def test_a_history_that_does_not_fit_draws_nothing(history: Any) -> None:
    assert charts(history) == []


def test_one_epoch_and_equal_losses_can_be_drawn() -> None:
    for entries in ([HISTORY[0]], [{"stage": "frames", "epoch": 1, "train_loss": 0.0}] * 2):
        for chart in charts(entries):
            dots = [dot for line in chart.lines for dot in line.dots]
            assert dots
            assert all(0 <= dot.x <= chart.width and 0 <= dot.y <= chart.height for dot in dots)


# --- starting --------------------------------------------------------------------------------------------------------


def test_a_model_owner_starts_a_retraining(rows: Rows, owner_client: Client) -> None:
    assert "Start a retraining" in owner_client.get(RUNS).content.decode()
    assert owner_client.get(f"{RUNS}start/").status_code == 200
    response = owner_client.post(f"{RUNS}start/", FORM | {"name": "autumn", "mode": "full"})
    run = TrainingRun.objects.get()
    assert response["Location"] == f"{RUNS}{run.pk}/change/"
    assert run.options == {"name": "autumn", "full": True, "seed": 3, "fake_recall": 0.9, "promote": True}
    assert (run.state, str(run.requested_by)) == (RunState.QUEUED, "olga")
    refused = owner_client.post(f"{RUNS}start/", FORM)
    assert "has not ended yet" in refused.content.decode()
    assert TrainingRun.objects.count() == 1


def test_the_form_knows_the_options_of_a_run(owner_client: Client) -> None:
    from worker.training.run import RunOptions

    owner_client.post(f"{RUNS}start/", FORM)
    options = TrainingRun.objects.get().options
    chosen = RunOptions.from_dict(options)
    assert {key: getattr(chosen, key) for key in options} == options
    assert chosen.fake_recall == 0.9


@pytest.mark.parametrize(
    "wrong",
    [{"seed": "-1"}, {"seed": "x"}, {"seed": str(2**31)}, {"fake_recall": "0"}, {"fake_recall": "1.1"},
     {"fake_recall": "nan"}, {"mode": "other"}, {"name": "x" * 101}, {"name": "a\x00b"}],
)  # fmt: skip
def test_a_form_that_is_wrong_starts_nothing(owner_client: Client, wrong: dict[str, str]) -> None:
    response = owner_client.post(f"{RUNS}start/", FORM | wrong)
    assert 'class="dfd-error"' in response.content.decode()
    assert not TrainingRun.objects.exists()


def test_who_may_start_but_not_promote_does_not_promote_by_way_of_a_run(rows: Rows, as_user: Login) -> None:
    user = rows.user("starter", staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=("view_trainingrun", "add_trainingrun")))
    as_user(user).post(f"{RUNS}start/", FORM)
    assert TrainingRun.objects.get().options["promote"] is False


# --- reports ---------------------------------------------------------------------------------------------------------


def test_a_report_is_served_with_a_strict_policy_and_only_to_who_may_see_it(
    rows: Rows, owner_client: Client, review_client: Client
) -> None:
    run = make_run()
    assert owner_client.get(f"{RUNS}{run.pk}/report/").status_code == 404
    for name, content in (("html", b"<h1>Report</h1>"), ("json", b"{}")):
        stored = default_storage.save(f"reports/{run.pk}/report.{name}", ContentFile(content))
        if name == "html":
            TrainingRun.objects.filter(pk=run.pk).update(report=stored)
    page = owner_client.get(f"{RUNS}{run.pk}/report/")
    assert b"".join(page.streaming_content) == b"<h1>Report</h1>"  # type: ignore[attr-defined]
    assert page["Content-Type"] == "text/html; charset=utf-8"
    assert page["Content-Security-Policy"].startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert page["X-Content-Type-Options"] == "nosniff"
    figures = owner_client.get(f"{RUNS}{run.pk}/report.json")
    assert json.loads(b"".join(figures.streaming_content)) == {}  # type: ignore[attr-defined]
    assert figures["Content-Disposition"].startswith("attachment")
    for client in (review_client, Client()):
        for url in ("report/", "report.json", "live/", "change/"):
            assert client.get(f"{RUNS}{run.pk}/{url}").status_code in (302, 403), url
    assert review_client.get(f"{RUNS}{run.pk}/report/").status_code == 403
    default_storage.delete(f"reports/{run.pk}/report.html")
    assert owner_client.get(f"{RUNS}{run.pk}/report/").status_code == 404


# --- who may ---------------------------------------------------------------------------------------------------------


def test_a_reviewer_sees_models_but_no_training_and_decides_nothing(rows: Rows, review_client: Client) -> None:
    model = rows.model(active=False)
    menu = review_client.get("/admin/").content.decode()
    for url in (RUNS, *LISTS[2:], f"{RUNS}start/"):
        assert review_client.get(url).status_code == 403, url
        assert url not in menu
    assert MODELS in menu
    assert review_client.post(f"{RUNS}start/", FORM).status_code == 403
    for url in (f"{model.pk}/promote/", "rollback/"):
        assert review_client.get(MODELS + url).status_code == 403
        assert review_client.post(MODELS + url, {"force": "1", "reason": "me"}).status_code == 403
    assert not TrainingRun.objects.exists()
    assert not Promotion.objects.exists()


def test_the_role_of_a_model_owner_is_given_by_the_command_line(rows: Rows, as_user: Login) -> None:
    accounts.create_token(username="olga", role="model_owner")
    client = as_user(User.objects.get(username="olga"))
    for url in (*LISTS, f"{RUNS}start/", "/admin/detection/video/", "/admin/detection/review/"):
        assert client.get(url).status_code == 200, url
    assert client.get("/admin/auth/user/").status_code == 403


# --- promoting -------------------------------------------------------------------------------------------------------


def test_a_model_that_passed_the_gate_is_promoted(rows: Rows, owner_client: Client) -> None:
    champion, model = rows.model("champion"), rows.model("candidate", active=False)
    make_run(candidate=model, gate=gate(champion=champion))
    assert f"{MODELS}{model.pk}/promote/" in owner_client.get(MODELS).content.decode()
    assert "Passed: it is better." in owner_client.get(f"{MODELS}{model.pk}/change/").content.decode()
    page = owner_client.get(f"{MODELS}{model.pk}/promote/").content.decode()
    assert "Promote by force" not in page
    owner_client.post(f"{MODELS}{model.pk}/promote/")
    promotion = Promotion.objects.get()
    assert (promotion.kind, promotion.previous, str(promotion.by)) == (PromotionKind.GATE, champion, "olga")
    assert promotion.gate["passed"] is True
    assert ModelVersion.objects.get(active=True) == model
    assert "Promoted: it passed the gate." in owner_client.get(f"{MODELS}{model.pk}/history/").content.decode()
    shown = owner_client.get(f"{MODELS}{model.pk}/change/").content.decode()
    assert "Passed the gate" in shown
    assert "Passed: it is better." in owner_client.get("/admin/detection/promotion/").content.decode()


@pytest.mark.parametrize("why", ["no run", "refused", "other champion", "shuffled"])
def test_without_the_gate_it_takes_force_and_a_reason(rows: Rows, owner_client: Client, why: str) -> None:
    champion, model = rows.model("champion"), rows.model("candidate", active=False)
    if why == "refused":
        make_run(candidate=model, gate=gate(False, champion))
    elif why == "other champion":
        make_run(candidate=model, gate=gate(True, rows.model("earlier", active=False)))
    elif why == "shuffled":
        make_run(candidate=model, gate=gate(True, champion), options={"shuffle_labels": True})
    url = f"{MODELS}{model.pk}/promote/"
    assert "Promote by force" in owner_client.get(url).content.decode()
    for body in ({}, {"force": "1"}, {"force": "1", "reason": " "}, {"force": "1", "reason": "x" * 501}):
        assert owner_client.post(url, body).status_code == 409, body
    assert ModelVersion.objects.get(active=True) == champion
    owner_client.post(url, {"force": "1", "reason": "The holdout is too small."})
    assert ModelVersion.objects.get(active=True) == model
    promotion = Promotion.objects.get()
    assert (promotion.kind, promotion.reason) == (PromotionKind.FORCED, "The holdout is too small.")
    history = owner_client.get(f"{MODELS}{model.pk}/history/").content.decode()
    assert "Promoted by force: The holdout is too small." in history


def test_a_rollback_names_the_model_before_and_goes_back_to_it(rows: Rows, owner_client: Client) -> None:
    models = [rows.model(name, active=False) for name in ("first", "second", "third")]
    url = f"{MODELS}rollback/"
    assert "no earlier model" in owner_client.get(url).content.decode()
    assert owner_client.post(url).status_code == 409
    for model in models:
        registry.activate_model(model=model)
    for back in ("second", "first"):
        assert f'<dd class="dfd-strong">{back} (' in owner_client.get(url).content.decode()
        owner_client.post(url, {"reason": "complaints"})
        assert ModelVersion.objects.get(active=True).name == back
    assert owner_client.post(url).status_code == 409
    newest = Promotion.objects.all()[0]
    assert (newest.kind, newest.reason, str(newest.by)) == (PromotionKind.ROLLBACK, "complaints", "olga")
    history = owner_client.get(f"{MODELS}{models[0].pk}/history/").content.decode()
    assert "Rolled back to this model: complaints" in history


# --- data sets -------------------------------------------------------------------------------------------------------


def test_data_sets_are_found_by_set_label_split_and_the_beginning_of_the_path(rows: Rows, owner_client: Client) -> None:
    made = {}
    for path, dataset, label, split in (
        ("real/a_1.mp4", "ff", "real", "train"),
        ("fake/a_1.mp4", "ff", "fake", "test"),
        ("real/ab1.mp4", "cdf", "real", ""),
    ):
        video = rows.video(path)
        made[path] = video
        DatasetVideo.objects.create(
            video=video, dataset=dataset, path=path, label=label, identity=path, official_split=split
        )
    IdentitySide.objects.create(name="real/a_1.mp4", side="holdout")
    assert "Holdout" in owner_client.get(LISTS[3]).content.decode()
    for query, expected in {
        "": set(made),
        "dataset=ff": {"real/a_1.mp4", "fake/a_1.mp4"},
        "label__exact=real": {"real/a_1.mp4", "real/ab1.mp4"},
        "split=test": {"fake/a_1.mp4"},
        "split=none": {"real/ab1.mp4"},
        "q=real/a_": {"real/a_1.mp4"},
        "q=real/": {"real/a_1.mp4", "real/ab1.mp4"},
        "q=a_1": set(),
        "q=%00": set(made),
    }.items():
        page = owner_client.get(f"{LISTS[3]}?{query}").content.decode()
        assert {path for path, video in made.items() if f"/video/{video.pk}/change/" in page} == expected, query
