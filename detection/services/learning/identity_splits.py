"""On which side of the split each identity stands, and which videos may be used at all.  Pure: no database.

Everybody who is linked, by a fake (target and donor) or by a near-duplicate, stands on one side.  Where the links tie
most of a data set together, as in Celeb-DF where each face was put on many others, that would leave nothing to judge
with: there the people are dealt one by one, and a fake whose two people stand apart is left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

TRAIN, VAL, HOLDOUT = "train", "val", "holdout"
OFFICIAL = {"train": TRAIN, "val": VAL, "test": HOLDOUT}
SWALLOWS = 0.35
"""A family with more than this share of a data set's videos is not dealt as a whole."""
SMALL_SET = 20
"""Videos under which a data set is too small for that."""

Deal = Callable[[Sequence[str], Sequence[Hashable], Mapping[str, str]], list[str]]
"""`ml.data.splits.assign_splits`: (components, strata, settled components) -> sides."""


@dataclass(frozen=True)
class Linked:
    """Who is in a video, and what its data set says."""

    identity: str
    donor: str
    shot: str
    """Group of near-duplicates, or empty."""
    dataset: str
    label: str
    official: str
    """train, val or test as the data set says, or empty."""

    @property
    def names(self) -> list[str]:
        return [name for name in (self.identity, self.donor, self.shot) if name]


def components(links: Iterable[Sequence[str]]) -> dict[str, str]:
    """Name -> the first name, in alphabetical order, of all that it is linked with."""
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


def deal_sides(
    videos: Sequence[Linked], settled: Mapping[str, str], deal: Deal
) -> tuple[dict[str, str], list[str | None]]:
    """(side of every name, side of every video or None where it must be left out).

    `settled` names keep their side.  A data set's own test video is never on another side than the holdout.
    """
    side = {name: settled[name] for video in videos for name in video.names if name in settled}
    family = components(video.names for video in videos)
    person = components([n for n in (video.identity, video.shot) if n] for video in videos)
    apart = _families_to_part(videos, family, person, side)
    unit = [
        (person if family[video.identity] in apart else family)[video.identity] for video in videos
    ]  # what is dealt as one
    fixed = _fixed_units(videos, unit, side)
    dealt = deal(unit, [(video.dataset, video.label) for video in videos], fixed)
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for video, where in zip(videos, dealt, strict=True):
        for name in (video.identity, video.shot):
            if name:
                votes[name][where] += 100  # whoever is seen decides before whoever lends a face
        if video.donor:
            votes[video.donor][where] += 1
    for name, counts in votes.items():
        side.setdefault(name, _most(counts))
    return side, [_side_of(video, side) for video in videos]


def _most(counts: Counter[str]) -> str:
    """The commonest; of equals the first in the alphabet."""
    return min(counts, key=lambda name: (-counts[name], name))


def _side_of(video: Linked, side: Mapping[str, str]) -> str | None:
    sides = {side[name] for name in video.names}
    if len(sides) > 1:
        return None
    where = sides.pop()
    return None if video.official == "test" and where != HOLDOUT else where


def _families_to_part(
    videos: Sequence[Linked], family: Mapping[str, str], person: Mapping[str, str], settled: Mapping[str, str]
) -> set[str]:
    """Families that would swallow a data set, or in which people are settled on different sides already."""
    size: Counter[tuple[str, str]] = Counter((family[v.identity], v.dataset) for v in videos)
    total = Counter(v.dataset for v in videos)
    people: dict[str, set[str]] = defaultdict(set)
    sides: dict[str, set[str]] = defaultdict(set)
    for video in videos:
        people[family[video.identity]].add(person[video.identity])
        sides[family[video.identity]].update(settled[name] for name in video.names if name in settled)
    return {
        root
        for (root, dataset), n in size.items()
        if len(sides[root]) > 1
        or (total[dataset] >= SMALL_SET and n > SWALLOWS * total[dataset] and len(people[root]) >= 4)
    }


def _fixed_units(videos: Sequence[Linked], unit: Sequence[str], settled: Mapping[str, str]) -> dict[str, str]:
    """Units whose side is known: from people settled before, or from the data set's own lists, test before all."""
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
            official[name].add(HOLDOUT)  # a partial copy without its test list: this is the best stand-in
        elif video.official in OFFICIAL:
            official[name].add(OFFICIAL[video.official])
        else:
            listed_all[name] = False
    fixed: dict[str, str] = {}
    for name in dict.fromkeys(unit):
        if known[name]:
            fixed[name] = _most(known[name])
        elif HOLDOUT in official[name]:
            fixed[name] = HOLDOUT
        elif len(official[name]) == 1 and listed_all[name]:
            fixed[name] = next(iter(official[name]))
    return fixed
