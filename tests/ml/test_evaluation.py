"""The report's figures are scikit-learn's, it copes with too little data, and its page can be shown to anyone."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from ml.evaluation.html import render
from ml.evaluation.report import build_report, classification_report
from ml.evaluation.scored_video import ScoredVideo

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
HISTORY = [
    {
        "stage": stage,
        "epoch": e,
        "train_loss": 1 / e,
        "train_accuracy": 0.6 + e / 20,
        "val_accuracy": 0.6,
        "val_loss": 0.7,
    }
    for stage in ("frames", "sequence")
    for e in range(1, 5)
]


def scored(n: int = 120, *, seed: int = 0, digits: int = 6) -> list[ScoredVideo]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, size=n)
    scores = np.round(1 / (1 + np.exp(-(rng.normal(0, 1, size=n) + 1.2 * (labels - 0.4)))), digits)
    sets = ["celeb-df", "ffpp"]
    return [
        ScoredVideo(
            key=f"video {k}",
            label=int(y),
            score=float(s),
            component=f"c{rng.integers(n // 4 + 1)}",
            dataset=sets[k % 2],
            method=(["swap"], ["Deepfakes", "Face2Face"])[k % 2][k // 2 % (1 + k % 2)] if y else "",
            compression=["", "c23", "c40"][k % 3],
            height=[None, 240, 360, 720, 1080, 2160][k % 6],
            face_px=[None, 31.9, 32.0, 64.0, 128.0, 256.0][k % 6],
        )
        for k, (y, s) in enumerate(zip(labels, scores, strict=True))
    ]


def report_of(videos: list[ScoredVideo], **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"threshold": 0.5, "title": "A model", "facts": {}, "n_bootstrap": 100} | more
    found = build_report(videos, **given)
    json.dumps(found, allow_nan=False)
    return found


def arrays(videos: list[ScoredVideo]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    return np.array([v.label for v in videos]), np.array([v.score for v in videos])


# --- figures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_the_classification_report_is_scikit_learns(threshold: float) -> None:
    videos = scored()
    labels, scores = arrays(videos)
    ours = report_of(videos, threshold=threshold)["classification_report"]
    theirs = metrics.classification_report(
        labels, scores >= threshold, target_names=["real", "fake"], output_dict=True, zero_division=0
    )
    for our, their in (("real", "real"), ("fake", "fake"), ("macro", "macro avg"), ("weighted", "weighted avg")):
        for name, key in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score"), ("support", "support")):
            assert ours[our][name] == pytest.approx(theirs[their][key], abs=2e-6), (our, name)


@pytest.mark.parametrize("digits", [1, 6])
def test_the_curves_are_scikit_learns(digits: int) -> None:
    videos = scored(150, digits=digits)
    labels, scores = arrays(videos)
    curves = report_of(videos)["curves"]
    fpr, tpr, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    assert curves["roc"]["fpr"] == pytest.approx(fpr, abs=1e-5)
    assert curves["roc"]["tpr"] == pytest.approx(tpr, abs=1e-5)
    precision, recall, _ = metrics.precision_recall_curve(labels, scores)
    assert curves["pr"]["recall"] == pytest.approx(recall[::-1][1:], abs=1e-5)
    assert curves["pr"]["precision"] == pytest.approx(precision[::-1][1:], abs=1e-5)
    assert "band" not in curves["roc"]  # none held the truth as often as it said


def test_points_are_thinned_with_both_ends_kept() -> None:
    curves = report_of(scored(1000), n_bootstrap=20)["curves"]
    for curve, keys in ((curves["roc"], ("fpr", "tpr")), (curves["pr"], ("recall", "precision"))):
        for key in keys:
            assert 150 < len(curve[key]) <= 200
    assert (curves["roc"]["fpr"][0], curves["roc"]["tpr"][0]) == (0, 0)
    assert (curves["roc"]["fpr"][-1], curves["roc"]["tpr"][-1], curves["pr"]["recall"][-1]) == (1, 1, 1)


def test_reliability_and_histogram_count_every_video_once() -> None:
    videos = [*scored(99), ScoredVideo(key="sure", label=1, score=1.0, component="x")]
    labels, scores = arrays(videos)
    curves = report_of(videos)["curves"]
    assert sum(b["n"] for b in curves["reliability"]) == 100
    last = curves["reliability"][9]
    assert last["share_fake"] == pytest.approx(labels[scores >= 0.9].mean())
    given = [b for b in curves["reliability"] if b["low"] is not None]
    assert given
    assert all(b["low"] <= b["share_fake"] <= b["high"] for b in given)
    people = [len({v.component for v in videos if int(v.score * 10) == k}) for k in range(9)]
    assert all(b["low"] is None for b, n in zip(curves["reliability"], people, strict=False) if n < 5)
    assert sum(curves["histogram"]["real"]) == int((labels == 0).sum())
    assert sum(curves["histogram"]["fake"]) == int((labels == 1).sum())


def test_the_naive_answer_is_the_more_frequent_one() -> None:
    videos = [replace(v, label=int(k < 30)) for k, v in enumerate(scored(100))]
    found = report_of(videos)
    naive = found["majority_baseline"]
    assert (naive["answer"], naive["auc"], naive["recall_fake"], naive["recall_real"]) == ("real", 0.5, 0.0, 1.0)
    assert naive["accuracy"]["value"] == pytest.approx(0.7) == found["summary"]["majority_accuracy"]
    assert naive["accuracy"]["low"] < 0.7 < naive["accuracy"]["high"]
    gain = found["summary"]["accuracy"]["value"] - 0.7
    assert naive["accuracy_gain"]["value"] == pytest.approx(gain, abs=2e-6)


def test_groups_set_a_methods_fakes_against_the_reals_of_its_data_sets() -> None:
    videos = scored()
    labels, scores = arrays(videos)
    groups = report_of(videos)["groups"]
    rows = {row["name"]: row for row in groups["method"]}
    assert list(rows) == ["Deepfakes", "Face2Face", "swap"]
    mask = np.array([v.method == "Face2Face" or (v.label == 0 and v.dataset == "ffpp") for v in videos])
    row = rows["Face2Face"]
    assert (row["n_real"], row["n_fake"]) == (int((labels[mask] == 0).sum()), int((labels[mask] == 1).sum()))
    assert row["auc"]["value"] == pytest.approx(metrics.roc_auc_score(labels[mask], scores[mask]), abs=1e-6)
    assert row["n_components"] == len({v.component for v, m in zip(videos, mask, strict=True) if m})
    names = [row["name"] for row in groups["resolution"]]
    assert names == ["up to 240", "241 to 480", "481 to 720", "721 to 1080", "over 1080", "unknown"]
    names = [row["name"] for row in groups["face_size"]]
    assert names == ["under 32", "32 to 63", "64 to 127", "128 to 255", "256 and more", "unknown"]
    assert [row["name"] for row in groups["compression"]] == ["c23", "c40", "unknown"]
    assert sum(row["n"] for row in groups["dataset"]) == len(videos)


def test_a_share_without_exception_still_has_an_interval() -> None:
    videos = [replace(v, score=0.9 if v.label else 0.1, component=f"c{k % 6}") for k, v in enumerate(scored(24))]
    found = report_of(videos)
    recall = found["summary"]["recall_fake"]
    assert (recall["value"], recall["high"]) == (1.0, 1.0)
    assert 0.3 < recall["low"] < 0.9  # at most six people were found, not a thousand
    assert found["n_mistakes"] == {"real": 0, "fake": 0}
    assert "every video was answered rightly" in render(found)


def test_intervals_draw_whole_groups_of_people() -> None:
    """Ten copies of each video, linked to it, say no more than the video did."""
    few = [replace(v, component=v.key) for v in scored(40, seed=3)]
    copies = [replace(v, key=f"{v.key}/{k}") for v in few for k in range(10)]

    def width(videos: list[ScoredVideo], where: str) -> float:
        found = report_of(videos, n_bootstrap=400)
        figure = found["summary"]["auc"] if where == "summary" else found["groups"]["dataset"][0]["accuracy"]
        return float(figure["high"] - figure["low"])

    for where in ("summary", "groups"):
        assert width(copies, where) == pytest.approx(width(few, where), rel=0.35), where
        independent = [replace(v, component=v.key) for v in copies]
        assert width(independent, where) < 0.6 * width(few, where), where


def test_mistakes_are_the_surest_wrong_answers() -> None:
    videos = scored(200)
    found = report_of(videos)
    wrong = [v for v in videos if (v.score >= 0.5) != (v.label == 1)]
    assert sum(found["n_mistakes"].values()) == len(wrong)
    assert len(found["mistakes"]) == 12
    reals = [m for m in found["mistakes"] if m["label"] == "real"]
    assert [m["key"] for m in reals] == [v.key for v in sorted(wrong, key=lambda v: -v.score) if v.label == 0][:6]
    fakes = [m for m in found["mistakes"] if m["label"] == "fake"]
    assert [m["key"] for m in fakes] == [v.key for v in sorted(wrong, key=lambda v: v.score) if v.label == 1][:6]
    assert set(fakes[0]) == {"key", "name", "label", "score", "dataset", "method"}
    known = report_of([replace(video, name=f"film {video.key}.mp4") for video in videos])
    assert known["mistakes"][0]["name"] == f"film {known['mistakes'][0]['key']}.mp4"
    assert "film " in render(known)


def test_facts_and_history_become_json() -> None:
    facts = {"scores": np.float32(0.5), "bad": float("nan"), "many": (np.int64(1), {"x"}), 3: np.array([1.0, np.inf])}
    found = report_of(scored(10), facts=facts, history=[{"stage": "frames", "epoch": 1, "train_loss": float("inf")}])
    assert found["facts"] == {"scores": 0.5, "bad": None, "many": [1, ["x"]], "3": [1.0, None]}
    assert found["history"] == [{"stage": "frames", "epoch": 1, "train_loss": None}]
    render(found)


# --- too little to say anything --------------------------------------------------------------------------------------


def one(label: int, score: float, key: str = "a", component: str = "c") -> ScoredVideo:
    return ScoredVideo(key=key, label=label, score=score, component=component)


@pytest.mark.parametrize(
    ("videos", "says"),
    [
        ([], "There are no held-out videos, so nothing can be said about this model."),
        ([one(1, 0.9)], "there are no intervals"),
        ([one(0, 0.9)], "None of the videos is fake"),
        ([one(1, k / 9, str(k), str(k)) for k in range(9)], "None of the videos is real"),
        ([one(k % 2, 0.5, str(k), str(k)) for k in range(9)], "same score"),
        ([one(k % 2, (k % 2) * 1.0, str(k), str(k)) for k in range(9)], "AUC 1.00"),
        ([one(k % 2, k / 9, str(k), str(k % 2)) for k in range(9)], "Too few people for an interval"),
    ],
)
def test_degenerate_inputs_are_told_in_a_sentence(videos: list[ScoredVideo], says: str) -> None:
    found = report_of(videos)
    assert any(says in sentence for sentence in (found["headline"], *found["notes"]))
    page = render(found)
    assert all(f'<section id="{name}">' in page for name in SECTIONS)
    assert "nan" not in page.lower()


def test_the_headline_is_plain_english() -> None:
    found = report_of([replace(v, component=f"c{k % 12}") for k, v in enumerate(scored(41))])
    pattern = (
        r"On 41 held-out videos of 12 groups of people the model has AUC 0\.\d\d \(0\.\d\d to [01]\.\d\d\) "
        r"and is right in \d\d %; always answering “(fake|real)” would be right in \d\d %\."
    )
    assert re.fullmatch(pattern, found["headline"])


def test_a_model_that_guesses_is_called_one() -> None:
    rng = np.random.default_rng(2)
    videos = [replace(v, score=float(rng.random()), component=v.key) for v in scored(60)]
    assert any("guessing" in note for note in report_of(videos)["notes"])


def test_a_precision_that_nobody_can_know_is_none() -> None:
    found = report_of([one(k % 2, 0.1, str(k), str(k)) for k in range(8)])
    rows = classification_report(found["summary"])
    assert rows["fake"]["precision"] is rows["macro"]["precision"] is rows["weighted"]["precision"] is None
    assert rows["real"]["precision"] == 0.5


# --- the page --------------------------------------------------------------------------------------------------------

SECTIONS = ("facts", "figures", "training", "answers", "curves", "breakdown", "mistakes")


class Elements(HTMLParser):
    """Tags, ids, and the attributes that load something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
                self.links.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)


def hostile_page() -> str:
    videos = [
        replace(v, key=f"{EVIL} {k}", dataset=EVIL, method=EVIL if v.label else "", compression=EVIL)
        for k, v in enumerate(scored(80))
    ]
    history = [*HISTORY, {"stage": EVIL, "epoch": 1, "train_loss": 1.0, "val_loss": 0.5}]
    found = report_of(videos, title=EVIL, facts={EVIL: EVIL, "nested": {EVIL: [EVIL]}}, history=history)
    return render(found, lambda key: [np.full((224, 180, 3), 90, dtype=np.uint8)] * 9)


def test_hostile_names_stay_text() -> None:
    page = hostile_page()
    elements = Elements(page)
    assert "script" not in elements.tags
    assert not elements.handlers
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") > 20
    assert "default-src 'none'" in page


def test_the_page_is_complete_in_itself() -> None:
    page = hostile_page()
    elements = Elements(page)
    assert not re.findall(r"https?://", page.replace("http://www.w3.org/", ""))
    assert not re.findall(r"@import|url\((?!#)", page)
    assert {"link", "iframe", "object", "embed", "base"}.isdisjoint(elements.tags)
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in elements.links)
    assert len(elements.ids) == len(set(elements.ids))
    assert {link[1:] for link in elements.links if link.startswith("#")} <= set(elements.ids)


def test_the_page_has_every_section_chart_and_face() -> None:
    asked: list[str] = []

    def faces(key: str) -> list[NDArray[np.uint8]]:
        asked.append(key)
        return [np.zeros((50, 60, 3), dtype=np.uint8)] * (7 if len(asked) == 1 else 0)

    found = report_of(scored(), history=HISTORY, facts={"Model": "seventh", "sha256": "ab" * 32})
    page = render(found, faces)
    for name in SECTIONS:
        assert f'<section id="{name}">' in page
    for text in (
        "Confusion matrix", "Classification report", "ROC curve", "Precision and recall", "Reliability diagram",
        "Histogram of scores", "By method", "By face size", "Worst mistakes", "Against the naive answer",
        "Stage 1: single frames", "Stage 2: sequences of faces", "seventh", "ab" * 32, "Face2Face",
    ):  # fmt: skip
        assert text in page, text
    assert asked == [mistake["key"] for mistake in found["mistakes"]]
    assert page.count('<img src="data:image/jpeg;base64,') == 5
    assert page.count('<svg class="chart"') == 4 + 4
    assert len(re.findall(r'<svg class="chart" [^>]*role="img" aria-label="[^"]{20,}"', page)) == 8
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert not re.search(r"#0[1-6]0[1-6]0[1-6]", page), "a stand-in colour is left in a chart"


def test_the_same_report_gives_the_same_page_after_a_trip_through_json() -> None:
    found = report_of(scored(), history=HISTORY)
    assert render(found) == render(json.loads(json.dumps(found)))
