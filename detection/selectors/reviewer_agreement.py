"""Statistics of reviewers: agreement beyond chance, accuracy on known answers, overturned answers, pace.

Agreement and accuracy count blind answers only, given before the model's score was seen.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any
from uuid import UUID

from detection.models import Review, ReviewLabel, ReviewRole, VerdictLabel, label_of

MOST_ROWS = 20_000
"""Newest answers of a period that are read; more would keep a page waiting."""
FEW_PAIRS = 20
"""Pairs below which a kappa says little, and is marked."""
READINGS = (ReviewRole.FIRST, ReviewRole.SHEET, ReviewRole.SECOND)
Z95 = 1.959964


@dataclass(frozen=True)
class Share:
    """`hits` of `n`, with Wilson's 95 % interval (Wilson 1927)."""

    hits: int
    n: int

    @property
    def value(self) -> float | None:
        """Return the share, or None without any."""
        return self.hits / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        """Return (low, high); (0, 1) without any."""
        if not self.n:
            return 0.0, 1.0
        p, n, z = self.hits / self.n, self.n, Z95
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Kappa:
    """Cohen's kappa: 1 is perfect agreement, 0 is chance; None where it is undefined."""

    pairs: int
    agreed: int
    value: float | None
    low: float | None
    high: float | None

    @property
    def few(self) -> bool:
        """Return whether there are too few pairs to mean much."""
        return self.pairs < FEW_PAIRS


@dataclass
class Reader:
    """One reviewer's counts over the period, or everybody's (empty name)."""

    name: str
    answers: int = 0
    seconds: list[float] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    gold_right: int = 0
    gold: int = 0
    overturned: int = 0
    settled: int = 0

    @property
    def pace(self) -> float | None:
        """Return the median seconds from seeing a video to answering."""
        return median(self.seconds) if self.seconds else None

    @property
    def kappa(self) -> Kappa:
        """Return the agreement with second readers."""
        return kappa(self.pairs)

    @property
    def on_gold(self) -> Share:
        """Return the share of right answers on known answers."""
        return Share(self.gold_right, self.gold)

    @property
    def overturn(self) -> Share:
        """Return the share of overturned answers among those on settled videos."""
        return Share(self.overturned, self.settled)


@dataclass(frozen=True)
class Said:
    """An answer: a label for the video, and of people by themselves, {track: PersonLabel}, as of a `people_version`."""

    label: str
    people: Mapping[str, str]
    version: int

    def pairs_with(self, other: Said) -> list[tuple[str, str]]:
        """Return what both say: a pair for each person whom both answered for by themselves, else one for the video."""
        return [(self.people[track], other.people[track]) for track in self._both(other)] or [(self.label, other.label)]

    def contradicts(self, known: Said) -> bool:
        """Return whether the label is another, or one of the people is, where both answered for them."""
        return self.label != known.label or any(self.people[t] != known.people[t] for t in self._both(known))

    def _both(self, other: Said) -> list[str]:
        same = self.version == other.version
        return sorted(self.people.keys() & other.people.keys()) if same else []


@dataclass(frozen=True)
class Agreement:
    """Statistics of a period.  `audit`: how often the model agreed with people on randomly drawn videos."""

    overall: Reader
    readers: tuple[Reader, ...]
    audit: Share
    cut: bool


def kappa(pairs: Sequence[tuple[str, str]]) -> Kappa:
    """Return Cohen's kappa of pairs of answers (Cohen 1960), with the interval of its large-sample standard error."""
    n = len(pairs)
    agreed = sum(a == b for a, b in pairs)
    if not n:
        return Kappa(0, 0, None, None, None)
    firsts, seconds = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    observed = agreed / n
    chance = sum(firsts[label] * seconds[label] for label in firsts) / (n * n)
    if chance >= 1.0:  # everybody always says the same one thing: nothing to agree on beyond chance
        return Kappa(n, agreed, None, None, None)
    value = (observed - chance) / (1 - chance)
    half = Z95 * math.sqrt(observed * (1 - observed) / n) / (1 - chance)
    return Kappa(n, agreed, value, max(-1.0, value - half), min(1.0, value + half))


def agreement(*, since: datetime, most: int = MOST_ROWS) -> Agreement:
    """Return statistics of the newest `most` answers since then; four queries however many there are."""
    wanted = (
        "video_id", "reviewer__username", "label", "role", "score_shown", "seconds", "queue", "model_probability",
        "model_version__threshold",
    )  # fmt: skip
    recent = Review.objects.not_undone().by_reviewers().filter(created_at__gte=since)
    rows = list(recent.order_by("-created_at", "-id").values_list(*wanted)[:most])
    overall = Reader("")
    readers: dict[str, Reader] = defaultdict(lambda: Reader(""))
    audit_right = audit = 0
    for _, name, label, role, shown, seconds, queue, score, threshold in rows:
        for reader in (overall, _named(readers, name)):
            reader.answers += 1
            if seconds is not None and role != ReviewRole.LIST:
                reader.seconds.append(seconds)
        drawn = queue == "audit" and role == ReviewRole.FIRST and not shown
        if drawn and label in VerdictLabel.values and score is not None and threshold is not None:
            audit += 1
            audit_right += label == label_of(score, threshold)  # as it was when the answer came
    _add_pairs(since, most, overall, readers)
    _add_gold(since, most, overall, readers)
    named = tuple(sorted(readers.values(), key=lambda reader: (-reader.answers, reader.name)))
    return Agreement(overall=overall, readers=named, audit=Share(audit_right, audit), cut=len(rows) == most)


def _add_pairs(since: datetime, most: int, overall: Reader, readers: dict[str, Reader]) -> None:
    """Add pairs of readings of videos that were read again or settled in the period; the first reading may be older."""
    again = Review.objects.filter(role__in=(ReviewRole.SECOND, ReviewRole.ADJUDICATION), created_at__gte=since)
    newest = again.order_by("-created_at").values("video")[:most]
    # Which of their answers count is told apart here: asked for by role, a database would read all of that role.
    rows = Review.objects.not_undone().filter(video__in=newest).order_by("created_at", "id")
    by_video: dict[UUID, list[tuple[str, Said, str]]] = defaultdict(list)
    for video_id, name, label, role, shown, people, version in rows.values_list(
        "video_id", "reviewer__username", "label", "role", "score_shown", "people", "people_version"
    ):
        if role == ReviewRole.ADJUDICATION or (role in READINGS and not shown):
            by_video[video_id].append((name, Said(label, people or {}, version or 0), role))
    for answers in by_video.values():
        readings = _one_each((name, said) for name, said, role in answers if role != ReviewRole.ADJUDICATION)
        if len(readings) > 1:
            (first, a), (second, b) = readings[:2]
            for pair in a.pairs_with(b):
                overall.pairs.append(pair)
                _named(readers, first).pairs.append(pair)
                _named(readers, second).pairs.append((pair[1], pair[0]))
        settled = [said for _, said, role in answers if role == ReviewRole.ADJUDICATION]
        if not settled or settled[-1].label == ReviewLabel.UNSURE:
            continue
        for name, said in readings:
            for reader in (overall, _named(readers, name)):
                reader.settled += 1
                reader.overturned += said.contradicts(settled[-1])


def _add_gold(since: datetime, most: int, overall: Reader, readers: dict[str, Reader]) -> None:
    rows = Review.objects.not_undone().filter(role=ReviewRole.GOLD, score_shown=False, created_at__gte=since)
    rows = rows.filter(video__gold__isnull=False)  # one that proved wrong is no known answer any more
    answer, known = ("label", "people", "people_version"), "video__gold__"
    wanted = ("reviewer__username", *answer, *(f"{known}{name}" for name in answer))
    for name, *values in rows.order_by("-created_at").values_list(*wanted)[:most]:
        said, right = (Said(label, people or {}, version or 0) for label, people, version in (values[:3], values[3:]))
        for reader in (overall, _named(readers, name)):
            reader.gold += 1
            reader.gold_right += not said.contradicts(right)


def _one_each(answers: Iterable[tuple[str, Said]]) -> list[tuple[str, Said]]:
    """Return each reviewer's first answer."""
    found: dict[str, Said] = {}
    for name, said in answers:
        found.setdefault(name, said)
    return list(found.items())


def _named(readers: dict[str, Reader], name: Any) -> Reader:
    reader = readers[name]
    reader.name = name
    return reader
