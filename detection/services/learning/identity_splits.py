"""Assign identities to train, val and holdout, and leave out videos that would join two splits.  Pure: no queries.

Identities linked by a fake (target and donor) or by a near-duplicate share one split.  Where the links tie most of a
data set together, as in Celeb-DF where each face was put on many others, that would leave nothing to judge with: there
each person is assigned separately, and a fake whose target and donor are in different splits is left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from detection.models import Split

OFFICIAL = {"train": Split.TRAIN, "val": Split.VAL, "test": Split.HOLDOUT}
MAX_FAMILY_SHARE = 0.35
"""A component with more than this share of a data set's videos is divided into its people."""
MIN_DIVIDED_SET = 20
"""Videos that a data set needs for that rule to apply."""

SplitAssigner = Callable[[Sequence[str], Sequence[Hashable], Mapping[str, str]], list[str]]
"""`ml.data.splits.assign_splits`: (components, strata, settled components) -> splits."""


@dataclass(frozen=True)
class LinkedVideo:
    """The identities in a video, and the split its data set gives it."""

    identity: str
    donor: str
    shot: str
    """Group of near-duplicates, or empty."""
    dataset: str
    label: str
    official: str
    """train, val or test as the data set says, or empty."""
    before: str = ""
    """The identity that the same file has as an upload, where it is a data set's by now."""

    @property
    def names(self) -> list[str]:
        """Return the names that link it to other videos, without empty ones."""
        return [name for name in (self.identity, self.donor, self.shot) if name]


def components(links: Iterable[Sequence[str]]) -> dict[str, str]:
    """Map each name to its connected component, named after the alphabetically first member."""
    neighbours: dict[str, set[str]] = defaultdict(set)
    for names in links:
        for name in names:
            neighbours[name].update(names)
    result: dict[str, str] = {}
    for start in sorted(neighbours):
        stack = [] if start in result else [start]
        while stack:
            name = stack.pop()
            if name not in result:
                result[name] = start
                stack.extend(neighbours[name] - result.keys())
    return result


def assign_identity_splits(
    videos: Sequence[LinkedVideo], settled: Mapping[str, str], assign: SplitAssigner
) -> tuple[dict[str, str], list[str | None]]:
    """Assign a split to every name and every video; no name ends up in two splits.

    Args:
        videos: What is to be split.
        settled: Splits of names assigned before; they stay.
        assign: Splits components (`ml.data.splits.assign_splits`).

    Returns:
        The split of each name, and the split of each video in order.  A video gets None, and is left out, when its
        names are in different splits, or when it is its data set's test video and would not be in the holdout.
    """
    split_of = {name: settled[name] for video in videos for name in video.names if name in settled}
    family = components(video.names for video in videos)
    person = components([n for n in (video.identity, video.shot) if n] for video in videos)
    apart = _families_to_divide(videos, family, person, split_of)
    unit = [
        (person if family[video.identity] in apart else family)[video.identity] for video in videos
    ]  # what is assigned as one
    fixed = _fixed_units(videos, unit, split_of)
    assigned = assign(unit, [(video.dataset, video.label) for video in videos], fixed)
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for video, where in zip(videos, assigned, strict=True):
        for name in (video.identity, video.shot):
            if name:
                votes[name][where] += 100  # whoever is seen decides before whoever lends a face
        if video.donor:
            votes[video.donor][where] += 1
    for name, counts in votes.items():
        split_of.setdefault(name, _most(counts))
    return split_of, [_video_split(video, split_of) for video in videos]


def _most(counts: Counter[str]) -> str:
    """Return the most frequent split, the alphabetically first of equals."""
    return min(counts, key=lambda name: (-counts[name], name))


def _video_split(video: LinkedVideo, split_of: Mapping[str, str]) -> str | None:
    splits = {split_of[name] for name in video.names}
    if len(splits) > 1:
        return None
    where = splits.pop()
    return None if video.official == "test" and where != Split.HOLDOUT else where


def _families_to_divide(
    videos: Sequence[LinkedVideo], family: Mapping[str, str], person: Mapping[str, str], settled: Mapping[str, str]
) -> set[str]:
    """Return components too large for their data set, or with people settled in different splits already."""
    size: Counter[tuple[str, str]] = Counter((family[v.identity], v.dataset) for v in videos)
    total = Counter(v.dataset for v in videos)
    people: dict[str, set[str]] = defaultdict(set)
    splits: dict[str, set[str]] = defaultdict(set)
    for video in videos:
        people[family[video.identity]].add(person[video.identity])
        splits[family[video.identity]].update(settled[name] for name in video.names if name in settled)
    return {
        root
        for (root, dataset), n in size.items()
        if len(splits[root]) > 1
        or (total[dataset] >= MIN_DIVIDED_SET and n > MAX_FAMILY_SHARE * total[dataset] and len(people[root]) >= 4)
    }


def _fixed_units(videos: Sequence[LinkedVideo], unit: Sequence[str], settled: Mapping[str, str]) -> dict[str, str]:
    """Return units whose split is known, from people settled before or from the data set's lists, test first."""
    known: dict[str, Counter[str]] = defaultdict(Counter)
    official: dict[str, set[str]] = defaultdict(set)
    listed_all: dict[str, bool] = defaultdict(lambda: True)
    with_test = {video.dataset for video in videos if video.official == "test"}
    for video, name in zip(videos, unit, strict=True):
        for who in (video.identity, video.shot):
            if who in settled:
                known[name][settled[who]] += 1
        if video.donor in settled:  # counts only where nobody who is seen is settled
            known[name][settled[video.donor]] += 0
        if video.official == "val" and video.dataset not in with_test:
            official[name].add(Split.HOLDOUT)  # a partial copy without its test list: this is the best stand-in
        elif video.official in OFFICIAL:
            official[name].add(OFFICIAL[video.official])
        else:
            listed_all[name] = False
    fixed: dict[str, str] = {}
    for name in dict.fromkeys(unit):
        if known[name]:
            fixed[name] = _most(known[name])
        elif Split.HOLDOUT in official[name]:
            fixed[name] = Split.HOLDOUT
        elif len(official[name]) == 1 and listed_all[name]:
            fixed[name] = next(iter(official[name]))
    return fixed
