"""The report of a model on held-out videos: metrics, curves, where it fails and on what.  JSON-able, no NaN.

`ml.evaluation.html` turns it into a page.  All intervals are 95 % ones of `ml.evaluation.bootstrap`, which draws whole
groups of people, since two videos of one person are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ml.config import MIN_GROUPS, DecisionConfig, Label
from ml.evaluation import curves
from ml.evaluation.bootstrap import Bools, ClusterBootstrap, Floats, Ints
from ml.evaluation.metrics import evaluate_draws, metric, ranking_metrics
from ml.evaluation.scored_video import ScoredVideo

UNKNOWN = "unknown"
MAX_ROWS = 50
"""Rows of a breakdown; the ones with the most videos are shown."""
MAX_MISTAKES = 12

HEIGHTS = ((240, "up to 240"), (480, "241 to 480"), (720, "481 to 720"), (1080, "721 to 1080"))
FACE_SIZES = ((32, "under 32"), (64, "32 to 63"), (128, "64 to 127"), (256, "128 to 255"))

GROUPINGS = ("dataset", "method", "compression", "resolution", "face_size")


SUMMARY = ("auc", "accuracy", "balanced_accuracy", "recall_fake", "recall_real")


def build_report(
    videos: Sequence[ScoredVideo],
    *,
    threshold: float,
    title: str,
    facts: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]] = (),
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Evaluate a model on `videos` that it was not trained on.

    Args:
        videos: Held-out videos with the model's scores; may be empty.
        threshold: The probability from which a video is called fake.
        title: Of the page.
        facts: Shown as they are.
        history: An entry per epoch with `stage`, `epoch` and what of `train_loss`, `train_accuracy`, `val_loss`,
            `val_accuracy`, `val_auc` there is.
        n_bootstrap: Draws behind the intervals.
        seed: Of the draws.

    Returns:
        JSON-able.  What cannot be worked out, because a label or every video is missing, is None, and `notes` say so in
        sentences.
    """
    report: dict[str, Any] = {
        "title": title,
        "facts": clean(facts),
        "threshold": float(threshold),
        "n_bootstrap": n_bootstrap,
        "summary": None,
        "classification_report": None,
        "curves": None,
        "majority_baseline": None,
        "groups": {name: [] for name in GROUPINGS},
        "mistakes": [],
        "n_mistakes": {"real": 0, "fake": 0},
        "history": clean(list(history)),
    }
    labels, scores = arrays(videos)
    if len(videos):
        draws = _draws(videos, labels, n_bootstrap, seed)
        summary = evaluate_draws(labels, scores, threshold, draws)
        right = (scores >= threshold) == (labels == Label.FAKE)
        report |= {
            "summary": summary,
            "classification_report": classification_report(summary),
            "curves": curves.all_curves(labels, scores, draws),
            "majority_baseline": _majority_baseline(labels, scores, threshold, draws),
            "groups": {name: _breakdown(name, videos, threshold, n_bootstrap, seed) for name in GROUPINGS},
            "mistakes": [_mistake(videos[k]) for k in _worst(labels, scores, threshold)],
            "n_mistakes": {label.name.lower(): int((~right & (labels == label)).sum()) for label in Label},
        }
    return clean(report | {"headline": _headline(report), "notes": _notes(report, scores)})


def video_metrics(videos: Sequence[ScoredVideo], *, threshold: float, n_bootstrap: int) -> dict[str, Any]:
    """Evaluate `videos` in all, by source and by forgery method, for weights to carry; empty without videos."""
    if not videos:
        return {}
    labels, _ = arrays(videos)

    def evaluated(mask: Bools) -> dict[str, Any]:
        chosen = [video for video, keep in zip(videos, mask, strict=True) if keep]
        y, s = arrays(chosen)
        return evaluate_draws(y, s, threshold, _draws(chosen, y, n_bootstrap, 0))

    overall = evaluated(np.ones(len(videos), dtype=bool))
    return {
        "summary": {name: overall[name] for name in (*SUMMARY, "majority_accuracy")},
        "videos": overall,
        "by_source": {name: evaluated(mask) for name, mask in masks_by("dataset", videos, labels).items()},
        "by_method": {
            name: evaluated(mask) for name, mask in masks_by("method", videos, labels).items() if name != UNKNOWN
        },
    }


def why_experimental(metrics: Mapping[str, Any], config: DecisionConfig | None = None) -> str:
    """Say why verdicts of a model with these `video_metrics` still need a person; empty when they do not.

    Few people decide nothing about the next one, so besides a lower bound of the AUC there must be a minimum of groups
    of people and of videos on both sides (`DecisionConfig`).
    """
    config = config or DecisionConfig()
    found = metrics.get("videos") or {}
    for side in ("real", "fake"):
        people, videos = found.get(f"groups_{side}") or 0, found.get(f"n_{side}") or 0
        if people < config.experimental_min_groups or videos < config.experimental_min_videos:
            return (
                f"It was judged on {videos} {side} held-out videos of {people:.0f} groups of people; "
                f"{config.experimental_min_videos} videos of {config.experimental_min_groups} groups are needed."
            )
    low = (found.get("auc") or {}).get("low")
    if low is None or low < config.experimental_auc:
        bound = "unknown" if low is None else f"{low:.2f}"
        return f"The lower bound of its held-out AUC is {bound}; {config.experimental_auc:.2f} is needed."
    return ""


def arrays(videos: Sequence[ScoredVideo]) -> tuple[Ints, Floats]:
    """Return (labels, scores) of N videos, (N,) each."""
    return (
        np.array([video.label for video in videos], dtype=np.int64),
        np.array([video.score for video in videos], dtype=np.float64),
    )


def _draws(videos: Sequence[ScoredVideo], labels: Ints, n_bootstrap: int, seed: int) -> ClusterBootstrap:
    return ClusterBootstrap([v.component for v in videos], labels, n_bootstrap, np.random.default_rng(seed))


def clean(value: Any) -> Any:
    """Turn `value` into what JSON can hold: plain numbers, None for NaN and infinity, text for the rest."""
    if isinstance(value, Mapping):
        return {str(key): clean(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return clean(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(inner) for inner in value]
    if isinstance(value, np.generic):
        return clean(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def classification_report(summary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Average the summary's precision, recall and F1 by label, plainly and weighted by support.

    A precision is None where nothing was called by that class's name, and so is the mean that would need it.
    """
    names = ("precision", "recall", "f1")
    classes = [label.name.lower() for label in Label]
    support = {name: int(summary[f"n_{name}"]) for name in classes}
    found: dict[str, dict[str, Any]] = {
        name: {n: summary[f"{n}_{name}"]["value"] for n in names} | {"support": support[name]} for name in classes
    }
    means = {"macro": dict.fromkeys(classes, 1.0), "weighted": {name: float(n) for name, n in support.items()}}
    rows: dict[str, dict[str, Any]] = {}
    for mean, weights in means.items():
        rows[mean] = {"support": sum(support.values())}
        for name in names:
            parts = [(found[c][name], weights[c]) for c in classes if weights[c]]
            total = sum(weight for _, weight in parts)
            known = all(value is not None for value, _ in parts)
            rows[mean][name] = round(sum(value * weight for value, weight in parts) / total, 6) if known else None
    return found | rows


def masks_by(grouping: str, videos: Sequence[ScoredVideo], labels: Ints) -> dict[str, Bools]:
    """Choose each group's videos: name -> (N,) mask.

    A forgery method has no reals, so its fakes are set against the reals of the data sets it occurs in.
    """
    names = np.array([_name_of(grouping, video) for video in videos], dtype=object)
    if grouping != "method":
        return {name: names == name for name in _in_order(grouping, set(names))}
    sets = np.array([video.dataset for video in videos], dtype=object).astype(str)
    real: Bools = labels == Label.REAL
    masks: dict[str, Bools] = {}
    for name in sorted(set(names[~real])):
        fakes = (names == name) & ~real
        masks[name] = fakes | (real & np.isin(sets, sets[fakes]))
    return masks


def _majority_baseline(labels: Ints, scores: Floats, threshold: float, draws: ClusterBootstrap) -> dict[str, Any]:
    """Evaluate always giving the more frequent answer, and how much better the model's accuracy is."""
    answer = Label.FAKE if 2 * int((labels == Label.FAKE).sum()) >= len(labels) else Label.REAL
    everyone = np.ones(len(labels), dtype=bool)
    majority, right = labels == answer, (scores >= threshold) == (labels == Label.FAKE)
    gain = float(right.mean()) - float(majority.mean())
    drawn = draws.rate(right, everyone) - draws.rate(majority, everyone)
    low, high = draws.difference_interval(gain, drawn, among=everyone)
    both = len(set(labels.tolist())) == 2
    return {
        "answer": answer.name.lower(),
        "accuracy": metric(float(majority.mean()), draws.rate_interval(majority, everyone)),
        "balanced_accuracy": 0.5 if both else None,
        "auc": 0.5 if both else None,
        "recall_fake": float(answer == Label.FAKE),
        "recall_real": float(answer == Label.REAL),
        # no difference at all in any draw is not certainty
        "accuracy_gain": metric(gain, (low, high) if high > low else (math.nan, math.nan)),
    }


def _breakdown(
    grouping: str, videos: Sequence[ScoredVideo], threshold: float, n_bootstrap: int, seed: int
) -> list[dict[str, Any]]:
    labels, _ = arrays(videos)
    masks = masks_by(grouping, videos, labels)
    largest = sorted(masks, key=lambda name: -int(masks[name].sum()))[:MAX_ROWS]
    return [
        {"name": name} | _row([videos[int(k)] for k in np.flatnonzero(mask)], threshold, n_bootstrap, seed)
        for name, mask in masks.items()
        if name in largest
    ]


def _row(videos: Sequence[ScoredVideo], threshold: float, n_bootstrap: int, seed: int) -> dict[str, Any]:
    labels, scores = arrays(videos)
    draws = _draws(videos, labels, n_bootstrap, seed)
    real, fake = labels == Label.REAL, labels == Label.FAKE
    right = (scores >= threshold) == fake
    auc = ranking_metrics(labels, scores)[0]

    def rate(among: Bools) -> dict[str, float | None]:
        value = float(right[among].mean()) if among.any() else math.nan
        return metric(value, draws.rate_interval(right, among))

    return {
        "n": len(labels),
        "n_real": int(real.sum()),
        "n_fake": int(fake.sum()),
        "n_components": draws.n_groups,
        "few": draws.effective(real | fake) < MIN_GROUPS,
        "auc": metric(auc, draws.interval(auc, draws.auc(labels, scores))),
        "accuracy": rate(real | fake),
        "recall_fake": rate(fake),
        "recall_real": rate(real),
    }


def _name_of(grouping: str, video: ScoredVideo) -> str:
    if grouping == "resolution":
        if video.height is None:
            return UNKNOWN
        return next((name for top, name in HEIGHTS if video.height <= top), "over 1080")
    if grouping == "face_size":
        if video.face_px is None:
            return UNKNOWN
        return next((name for top, name in FACE_SIZES if video.face_px < top), "256 and more")
    return str(getattr(video, grouping)) or UNKNOWN


def _in_order(grouping: str, names: set[str]) -> list[str]:
    """Sort sizes from small to large, other names by alphabet, unknown last."""
    sizes = {"resolution": [*(n for _, n in HEIGHTS), "over 1080"]}
    sizes["face_size"] = [*(n for _, n in FACE_SIZES), "256 and more"]

    def place(name: str) -> tuple[bool, int, str]:
        known = grouping in sizes and name != UNKNOWN
        return name == UNKNOWN, sizes[grouping].index(name) if known else 0, name

    return sorted(names, key=place)


def _worst(labels: Ints, scores: Floats, threshold: float) -> list[int]:
    """Choose wrong answers, the surest first: half reals and half fakes, as far as there are so many of each."""
    reals = np.flatnonzero((labels == Label.REAL) & (scores >= threshold))
    fakes = np.flatnonzero((labels == Label.FAKE) & (scores < threshold))
    reals, fakes = reals[np.argsort(-scores[reals], kind="stable")], fakes[np.argsort(scores[fakes], kind="stable")]
    half = MAX_MISTAKES // 2
    n_reals = min(len(reals), max(half, MAX_MISTAKES - len(fakes)))
    return [int(k) for k in (*reals[:n_reals], *fakes[: MAX_MISTAKES - n_reals])]


def _mistake(video: ScoredVideo) -> dict[str, Any]:
    return {
        "key": video.key,
        "name": video.name or video.key,
        "label": Label(video.label).name.lower(),
        "score": round(float(video.score), 6),
        "dataset": video.dataset,
        "method": video.method,
    }


def _headline(report: Mapping[str, Any]) -> str:
    summary, majority = report["summary"], report["majority_baseline"]
    if not summary:
        return "There are no held-out videos, so nothing can be said about this model."
    on = f"On {_count(summary['n'], 'held-out video')} of {_count(summary['n_groups'], 'group')} of people the model"
    auc, accuracy = summary["auc"], summary["accuracy"]
    baseline = f"always answering “{majority['answer']}” would be right in {percent(majority['accuracy']['value'])}"
    if auc["value"] is None:
        return f"{on} is right in {percent(accuracy['value'])}; {baseline}, since all of them are {majority['answer']}."
    metrics = f"has AUC {auc['value']:.2f}{between(auc)} and is right in {percent(accuracy['value'])}"
    return f"{on} {metrics}; {baseline}."


def _notes(report: Mapping[str, Any], scores: Floats) -> list[str]:
    """Say what a reader must know before trusting the metrics."""
    summary, majority = report["summary"], report["majority_baseline"]
    if not summary:
        return []
    notes = []
    missing = [name for name in ("real", "fake") if not summary[f"n_{name}"]]
    if missing:
        notes.append(
            f"None of the videos is {missing[0]}: AUC, curves and comparisons of the two cannot be worked out."
        )
    few = [name for name in ("real", "fake") if 0 < summary[f"groups_{name}"] < MIN_GROUPS]
    if summary["n_groups"] < 2:
        notes.append(
            "All videos are of one group of people, so there are no intervals: other people may fare otherwise."
        )
    elif few:
        people = " and ".join(f"the {name} videos are of {summary[f'groups_{name}']:.1f}" for name in few)
        notes.append(
            f"Too few people for an interval: counted by their videos, {people} groups of people, and "
            f"{MIN_GROUPS:.0f} are needed. Other people may fare otherwise."
        )
    if len(scores) > 1 and float(np.ptp(scores)) == 0.0:
        notes.append("The model gives every video the same score, so it tells nothing apart.")
    elif not missing and summary["auc"]["low"] is not None:
        auc, gain = summary["auc"], majority["accuracy_gain"]
        if auc["low"] <= 0.5:
            notes.append("Its AUC cannot be told from guessing (0.50) on so few videos.")
        if gain["low"] is not None and gain["low"] <= 0:
            notes.append(f"Its accuracy is not certainly better than always answering “{majority['answer']}”.")
    return notes


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def percent(value: float | None) -> str:
    """Render a share in percent, or say that it is unknown."""
    return "an unknown share" if value is None else f"{100 * value:.0f} %"


def between(entry: Mapping[str, float | None]) -> str:
    """Put the interval in brackets, with a space before; nothing where there is none."""
    return "" if entry["low"] is None else f" ({entry['low']:.2f} to {entry['high']:.2f})"
