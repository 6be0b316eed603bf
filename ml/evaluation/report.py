"""The report of a model on held-out videos: figures, curves, where it fails and on what.  JSON-able, no NaN.

`ml.evaluation.html` turns it into a page.  All intervals are 95 % percentile bootstraps that draw whole groups of
people, since two videos of one person are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ml.config import Label
from ml.evaluation import curves
from ml.evaluation.bootstrap import Bools, ComponentDraws, Floats, Ints, percentiles
from ml.evaluation.metrics import evaluate_scores, ranking_figures
from ml.evaluation.scored_video import ScoredVideo

UNKNOWN = "unknown"
MAX_ROWS = 50
"""Of a breakdown; the ones with the most videos are shown."""
MAX_MISTAKES = 12
FEW_COMPONENTS = 5
"""With fewer groups of people a bootstrap's interval is too narrow to be trusted, and is marked."""

HEIGHTS = ((240, "up to 240"), (480, "241 to 480"), (720, "481 to 720"), (1080, "721 to 1080"))
FACE_SIZES = ((32, "under 32"), (64, "32 to 63"), (128, "64 to 127"), (256, "128 to 255"))

GROUPINGS = ("dataset", "method", "compression", "resolution", "face_size")


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
    """Everything that can be said of a model from `videos`, that it was not trained on.

    `facts` are shown as they are; `history` holds an entry per epoch with `stage`, `epoch` and what of `train_loss`,
    `train_accuracy`, `val_loss`, `val_accuracy`, `val_auc` there is.  What cannot be worked out, because a class or
    every video is missing, is None, and `notes` say so in sentences.
    """
    labels = np.array([video.label for video in videos], dtype=np.int64)
    scores = np.array([video.score for video in videos], dtype=np.float64)
    components = [video.component for video in videos]
    report: dict[str, Any] = {
        "title": title,
        "facts": clean(facts),
        "threshold": float(threshold),
        "n_bootstrap": n_bootstrap,
        "summary": None,
        "classification_report": None,
        "curves": None,
        "naive": None,
        "groups": {name: [] for name in GROUPINGS},
        "mistakes": [],
        "n_mistakes": {"real": 0, "fake": 0},
        "history": clean(list(history)),
    }
    if len(videos):
        summary = evaluate_scores(
            labels, scores, threshold=threshold, n_bootstrap=n_bootstrap, seed=seed, groups=components
        )
        rng = np.random.default_rng(seed)
        draws = ComponentDraws(components, n_bootstrap, rng)
        fake = labels == Label.FAKE
        right = (scores >= threshold) == fake
        for name, among in (("accuracy", fake | ~fake), ("recall_fake", fake), ("recall_real", ~fake)):
            if summary[name]["value"] in (0.0, 1.0):
                summary[name] = _share(right, among, draws)
        if draws.n_components < 2:  # every draw is the same one: that is no interval
            for entry in summary.values():
                if isinstance(entry, dict):
                    entry["low"] = entry["high"] = None
        report |= {
            "summary": summary,
            "classification_report": classification_report(summary),
            "curves": curves.all_curves(labels, scores, draws),
            "naive": _naive(labels, scores, threshold, draws),
            "groups": {
                name: _breakdown(name, videos, labels, scores, threshold, n_bootstrap, rng) for name in GROUPINGS
            },
            "mistakes": [_mistake(videos[k]) for k in _worst(labels, scores, threshold)],
            "n_mistakes": {label.name.lower(): int((~right & (labels == label)).sum()) for label in Label},
        }
    return clean(report | {"headline": _headline(report), "notes": _notes(report, scores)})


def clean(value: Any) -> Any:
    """`value` as JSON can hold it: numbers of numpy become plain ones, NaN and infinity None, the rest its text."""
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
    """Precision, recall, F1 and support of each class, their plain mean, and their mean weighted by support.

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


def figure(value: float, interval: tuple[float, float]) -> dict[str, float | None]:
    """A value with its interval; None for what is not finite."""
    numbers = {"value": value, "low": interval[0], "high": interval[1]}
    return {key: round(number, 6) if math.isfinite(number) else None for key, number in numbers.items()}


def _share(hits: Bools, among: Bools, draws: ComponentDraws) -> dict[str, float | None]:
    value = float(hits[among].mean()) if among.any() else math.nan
    return figure(value, draws.share_interval(hits, among))


def _spread(drawn: Floats) -> tuple[float, float]:
    """The interval of a figure that is no share: none where every draw says the same, for that is not certainty."""
    low, high = percentiles(drawn, 2.5, 97.5)
    return (low, high) if high > low else (math.nan, math.nan)


def _naive(labels: Ints, scores: Floats, threshold: float, draws: ComponentDraws) -> dict[str, Any]:
    """What always giving the more frequent answer would come to, and how much better the model's accuracy is."""
    answer = Label.FAKE if 2 * int((labels == Label.FAKE).sum()) >= len(labels) else Label.REAL
    everyone = np.ones(len(labels), dtype=bool)
    naive, right = labels == answer, (scores >= threshold) == (labels == Label.FAKE)
    gain = draws.share(right, everyone) - draws.share(naive, everyone)
    both = len(set(labels.tolist())) == 2
    return {
        "answer": answer.name.lower(),
        "accuracy": _share(naive, everyone, draws),
        "balanced_accuracy": 0.5 if both else None,
        "auc": 0.5 if both else None,
        "recall_fake": float(answer == Label.FAKE),
        "recall_real": float(answer == Label.REAL),
        "accuracy_gain": figure(float(right.mean()) - float(naive.mean()), _spread(gain)),
    }


def _breakdown(
    grouping: str,
    videos: Sequence[ScoredVideo],
    labels: Ints,
    scores: Floats,
    threshold: float,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    names = np.array([_name_of(grouping, video) for video in videos], dtype=object)
    masks: dict[str, Bools] = {}
    if grouping == "method":
        # a method has no reals: its fakes are set against the reals of the data sets it occurs in
        sets = np.array([video.dataset for video in videos], dtype=object)
        real = labels == Label.REAL
        for name in sorted(set(names[~real])):
            fakes = (names == name) & ~real
            masks[name] = fakes | (real & np.isin(sets.astype(str), sets[fakes].astype(str)))
    else:
        masks = {name: names == name for name in _in_order(grouping, set(names))}
    largest = sorted(masks, key=lambda name: -int(masks[name].sum()))[:MAX_ROWS]
    return [
        {"name": name} | _row(mask, videos, labels, scores, threshold, n_bootstrap, rng)
        for name, mask in masks.items()
        if name in largest
    ]


def _row(
    mask: Bools,
    videos: Sequence[ScoredVideo],
    labels: Ints,
    scores: Floats,
    threshold: float,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    y, s = labels[mask], scores[mask]
    draws = ComponentDraws([videos[int(k)].component for k in np.flatnonzero(mask)], n_bootstrap, rng)
    real, fake = y == Label.REAL, y == Label.FAKE
    right = (s >= threshold) == fake
    n = draws.n_components
    return {
        "n": len(y),
        "n_real": int(real.sum()),
        "n_fake": int(fake.sum()),
        "n_components": n,
        "few": n < FEW_COMPONENTS,
        "auc": figure(ranking_figures(y, s)[0], _spread(draws.auc(y, s))),
        "accuracy": _share(right, real | fake, draws),
        "recall_fake": _share(right, fake, draws),
        "recall_real": _share(right, real, draws),
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
    """Sizes from small to large, other names by alphabet, unknown last."""
    sizes = {"resolution": [*(n for _, n in HEIGHTS), "over 1080"]}
    sizes["face_size"] = [*(n for _, n in FACE_SIZES), "256 and more"]

    def place(name: str) -> tuple[bool, int, str]:
        known = grouping in sizes and name != UNKNOWN
        return name == UNKNOWN, sizes[grouping].index(name) if known else 0, name

    return sorted(names, key=place)


def _worst(labels: Ints, scores: Floats, threshold: float) -> list[int]:
    """Wrong answers, the surest first: half of them reals and half fakes, as far as there are so many of each."""
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
    summary, naive = report["summary"], report["naive"]
    if not summary:
        return "There are no held-out videos, so nothing can be said about this model."
    on = f"On {_count(summary['n'], 'held-out video')} of {_count(summary['n_groups'], 'group')} of people the model"
    auc, accuracy = summary["auc"], summary["accuracy"]
    said = f"always answering “{naive['answer']}” would be right in {percent(naive['accuracy']['value'])}"
    if auc["value"] is None:
        return f"{on} is right in {percent(accuracy['value'])}; {said}, since all of them are {naive['answer']}."
    figures = f"has AUC {auc['value']:.2f}{between(auc)} and is right in {percent(accuracy['value'])}"
    return f"{on} {figures}; {said}."


def _notes(report: Mapping[str, Any], scores: Floats) -> list[str]:
    """What a reader must know before trusting the figures."""
    summary, naive = report["summary"], report["naive"]
    if not summary:
        return []
    notes = []
    missing = [name for name in ("real", "fake") if not summary[f"n_{name}"]]
    if missing:
        notes.append(
            f"None of the videos is {missing[0]}: AUC, curves and comparisons of the two cannot be worked out."
        )
    if summary["n_groups"] < 2:
        notes.append(
            "All videos are of one group of people, so there are no intervals: other people may fare otherwise."
        )
    elif summary["n_groups"] < FEW_COMPONENTS:
        notes.append(
            f"There are only {summary['n_groups']} groups of people: the intervals are too narrow to be trusted."
        )
    if len(scores) > 1 and float(np.ptp(scores)) == 0.0:
        notes.append("The model gives every video the same score, so it tells nothing apart.")
    elif not missing and summary["auc"]["low"] is not None:
        auc, gain = summary["auc"], naive["accuracy_gain"]
        if auc["low"] <= 0.5:
            notes.append("Its AUC cannot be told from guessing (0.50) on so few videos.")
        if gain["low"] is not None and gain["low"] <= 0:
            notes.append(f"Its accuracy is not certainly better than always answering “{naive['answer']}”.")
    return notes


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def percent(value: float | None) -> str:
    return "an unknown share" if value is None else f"{100 * value:.0f} %"


def between(figure: Mapping[str, float | None]) -> str:
    """The interval in brackets, with a space before; nothing where there is none."""
    return "" if figure["low"] is None else f" ({figure['low']:.2f} to {figure['high']:.2f})"
