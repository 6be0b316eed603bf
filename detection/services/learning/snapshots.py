"""Training-set snapshots: which videos train, validate and are held out, frozen and hashed.

A label counts when `detection.services.reviews.consensus` says real or fake; unsure, no-face and disputed ones do not,
nor do owners' opinions; and once a content, however many owners have sent it (`labelled_videos`).  Whose faces of the
video teach, and as what: `people_taught`.  Identities get their split once and for good (`IdentitySide`), so that the
holdout is the same for every model; videos that would join two splits are left out.  People in uploads have no names,
so perceptual hashes are compared: uploads that show the same shot or the same face are one group of people.

Labelled videos without stored faces are in it for models of whole frames.  They get their splits after the others,
which are as they would be without them.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction

from detection.models import IdentitySide, Snapshot, Split, VerdictLabel, Video
from detection.services.jobs import orphan_files
from detection.services.jobs.attempt_files import remove_tree
from detection.services.jobs.perceptual_hashes import without_prints
from detection.services.learning.identity_splits import (
    LinkedVideo,
    SplitAssigner,
    assign_identity_splits,
    components,
)
from detection.services.learning.labelled_videos import Candidate, labelled_ids, labelled_videos, upload_name
from detection.services.learning.linked_videos import near_duplicates, same_faces
from detection.services.learning.people_taught import Taught, sequences_of, taught
from detection.services.stored_files import StoredFiles

UPLOADS = "uploads"
"""The data set's name for videos that people have labelled here."""


@dataclass(frozen=True)
class SnapshotItem:
    """One video of a snapshot: a line of its manifest, where `split` has the key `side`."""

    video: str
    sha256: str
    label: str
    split: str
    component: str
    identity: str
    donor: str
    dataset: str
    path: str
    method: str
    compression: str
    height: int
    labelled_by: tuple[str, ...]
    """Reviewers whose answer this label is; empty where it is the data set's."""
    tracks: tuple[tuple[tuple[str, float], ...], ...]
    """By person: (name of the crop in storage, longer side of the box in pixels), in time order; empty where no faces
    are stored."""
    people: tuple[str, ...] = ()
    """Labels as `tracks`, where reviewers answered for people by themselves; empty: all have the video's."""
    segments: tuple[int, ...] = ()
    """The segment of each of `tracks`; empty: the video has one."""

    def label_of(self, sequence: int) -> str:
        """Return the label of one of `tracks`."""
        return self.people[sequence] if self.people else self.label

    def segment_of(self, sequence: int) -> int:
        """Return the segment that one of `tracks` is of."""
        return self.segments[sequence] if self.segments else 0

    def to_line(self) -> str:
        """Return the manifest's line, a JSON object with sorted keys."""
        body = asdict(self)
        body["side"] = body.pop("split")
        for later in ("people", "segments"):
            if not body[later]:  # as it was written before there were any: the same labels are the same snapshot
                del body[later]
        return json.dumps(body, sort_keys=True) + "\n"

    @classmethod
    def from_line(cls, line: str) -> SnapshotItem:
        """Read what `to_line` wrote."""
        body = json.loads(line)
        body["split"] = body.pop("side")
        body["labelled_by"] = tuple(body["labelled_by"])
        body["tracks"] = tuple(tuple((name, float(size)) for name, size in track) for track in body["tracks"])
        body["people"] = tuple(body.get("people", ()))
        body["segments"] = tuple(body.get("segments", ()))
        return cls(**body)


@dataclass
class Summary:
    """Counts of what is used and what was left out; shown before training and stored with the snapshot."""

    sides: dict[str, dict[str, int]] = field(default_factory=dict)
    """Real and fake videos by split; the key is an old name that is stored."""
    datasets: dict[str, dict[str, int]] = field(default_factory=dict)
    reviewers: dict[str, int] = field(default_factory=dict)
    """Videos whose label is this person's answer."""
    by_review: int = 0
    by_dataset: int = 0
    by_person: dict[str, int] = field(default_factory=dict)
    """People who teach by what was said of them by themselves, by label."""
    components: int = 0
    frames_only: dict[str, dict[str, int]] = field(default_factory=dict)
    """As `sides`, of videos without stored faces, which only models of whole frames can judge; all else counts none of
    them."""
    left_out: dict[str, int] = field(default_factory=dict)


def freeze_snapshot(
    *, assign: SplitAssigner, seen: Iterable[str] = (), fence: Callable[[], object] = lambda: None
) -> Snapshot:
    """Return a snapshot of what is labelled now, the same one again if nothing has changed.

    Args:
        assign: Assigns splits to components of people (`ml.data.splits.assign_splits`).
        seen: Identities that the model to be compared with was trained on; they train, or it would be judged on them.
        fence: Called at the end of the transaction; what it raises leaves neither rows nor a file.

    Every video must have its perceptual hash (see `without_hashes`).  New identities get their split in the same
    transaction.
    """
    check = orphan_files.watch_folder(below="snapshots")
    folder = check.path
    with StoredFiles(lambda: remove_tree(folder)) as files:
        with files.transaction():
            snapshot = _frozen(folder, assign, set(seen))
            fence()
            orphan_files.claim(check)
        if not str(snapshot.manifest.name).startswith(f"{folder}/"):  # it was here before, or another's is the same
            remove_tree(folder)
    return snapshot


def _frozen(folder: str, assign: SplitAssigner, seen: set[str]) -> Snapshot:
    candidates, faceless, left_out = labelled_videos()
    items = _assign(candidates, assign, seen, left_out)
    items += _assign_faceless(faceless, candidates, items, assign, seen)
    content = "".join(item.to_line() for item in items).encode()
    sha256 = hashlib.sha256(content).hexdigest()
    snapshot = Snapshot.objects.filter(sha256=sha256).first()
    if snapshot is not None and _is_sound(snapshot):
        return snapshot
    name = default_storage.save(f"{folder}/{sha256}.jsonl", ContentFile(content))
    if snapshot is not None:  # storage has lost or damaged its manifest, and this is the same
        snapshot.manifest.name = name
        snapshot.save(update_fields=["manifest"])
        return snapshot
    try:
        with transaction.atomic():
            return Snapshot.objects.create(sha256=sha256, manifest=name, summary=_summary(items, left_out))
    except IntegrityError:  # two at once; the other's file is the same
        return Snapshot.objects.get(sha256=sha256)


def read_snapshot(*, snapshot: Snapshot) -> list[SnapshotItem]:
    """Return the manifest's items.

    Raises:
        OSError: when storage has lost the manifest.
        ValueError: when it is not what was frozen.
    """
    return [SnapshotItem.from_line(line) for line in _manifest(snapshot).decode().splitlines()]


def _manifest(snapshot: Snapshot) -> bytes:
    """Return what was frozen.  Raises as `read_snapshot`."""
    with default_storage.open(str(snapshot.manifest.name)) as handle:
        content: bytes = handle.read()
    if hashlib.sha256(content).hexdigest() != snapshot.sha256:
        raise ValueError(f"The manifest of snapshot {snapshot} is damaged; freeze a new one.")
    return content


def _is_sound(snapshot: Snapshot) -> bool:
    try:
        _manifest(snapshot)
    except (FileNotFoundError, ValueError):
        return False
    return True


def without_hashes() -> list[Video]:
    """Return labelled videos that still need their perceptual hashes."""
    return list(without_prints().filter(id__in=labelled_ids()).only("id", "thumbnail").order_by("id"))


# --- splits ----------------------------------------------------------------------------------------------------------


def _assign(
    candidates: Sequence[Candidate], assign: SplitAssigner, seen: set[str], left_out: Counter[str]
) -> list[SnapshotItem]:
    """Return the items with their splits, and count in `left_out` what would join two, or has nobody who teaches."""
    videos = _linked(candidates)
    splits = _splits(videos, assign, seen)
    kept = [k for k, split in enumerate(splits) if split is not None]
    component = components(videos[k].names for k in kept)
    sequences = sequences_of([candidates[k].video for k in kept])
    items = []
    for k in kept:
        c = candidates[k]
        teaches = taught(sequences[c.video.id], c.label, c.people, str(splits[k]))
        if not teaches.tracks:
            left_out["nobody says which person is forged"] += 1
            continue
        of_people = bool(c.people) and splits[k] != Split.HOLDOUT
        items.append(_item(c, str(splits[k]), component[c.identity], teaches, of_people=of_people))
    left_out["joins people of two sides, or a test video of someone who trains"] += len(videos) - len(kept)
    return items


def _assign_faceless(
    faceless: Sequence[Candidate],
    others: Sequence[Candidate],
    items: Sequence[SnapshotItem],
    assign: SplitAssigner,
    seen: set[str],
) -> list[SnapshotItem]:
    """Return items without faces, after `others` have their splits: in those of the people and shots they share.

    What would join two splits is left out, of these videos only.
    """
    if not faceless:
        return []
    candidates = [*others, *faceless]
    videos = _linked(candidates)
    splits = _splits(videos, assign, seen)
    kept = [k for k, split in enumerate(splits) if split is not None]
    family = components(videos[k].names for k in kept)
    named = {family[item.identity]: item.component for item in reversed(items) if item.identity in family}
    return [
        _item(candidates[k], str(splits[k]), named.get(family[candidates[k].identity], family[candidates[k].identity]))
        for k in kept
        if k >= len(others)
    ]


def _linked(candidates: Sequence[Candidate]) -> list[LinkedVideo]:
    shots = near_duplicates(
        [(str(c.video.id), c.video.sha256, c.video.fingerprint) for c in candidates],
        same_faces({c.video.id: c.dataset is None for c in candidates}),
    )
    return [
        LinkedVideo(
            identity=c.identity,
            donor=c.donor,
            shot=shots.get(str(c.video.id), ""),
            dataset=c.dataset.dataset if c.dataset else UPLOADS,
            label=c.label,
            official=c.dataset.official_split if c.dataset else "",
            before=upload_name(c.video) if c.dataset else "",
        )
        for c in candidates
    ]


def _splits(videos: Sequence[LinkedVideo], assign: SplitAssigner, seen: set[str]) -> list[str | None]:
    """Return each video's split, and store those of names that had none."""
    wanted = {name for video in videos for name in (*video.names, video.before) if name}
    settled = {row.name: row.side for row in IdentitySide.objects.all().iterator() if row.name in wanted}
    known = dict.fromkeys(wanted & seen, str(Split.TRAIN)) | settled
    learnt = {name: split for name, split in known.items() if split != Split.HOLDOUT}
    by_file = {video.identity: learnt[video.before] for video in videos if video.before in learnt}
    split_of, splits = assign_identity_splits(videos, by_file | known, assign)
    for k, video in enumerate(videos):
        if splits[k] == Split.HOLDOUT and video.before in learnt:  # and who is in it is held out
            splits[k] = None
    fresh = [IdentitySide(name=name, side=split) for name, split in sorted(split_of.items()) if name not in settled]
    IdentitySide.objects.bulk_create(fresh, ignore_conflicts=True)
    return splits


def _item(
    c: Candidate, split: str, component: str, teaches: Taught | None = None, *, of_people: bool = False
) -> SnapshotItem:
    row = c.dataset
    return SnapshotItem(
        video=str(c.video.id),
        sha256=c.video.sha256,
        label=c.label,
        split=split,
        component=component,
        identity=c.identity,
        donor=c.donor,
        dataset=row.dataset if row else UPLOADS,
        path=row.path if row else c.video.original_name,
        method=row.method if row and row.label == c.label else "",
        compression=row.compression if row else "",
        height=c.video.height or 0,
        labelled_by=c.reviewers,
        tracks=teaches.tracks if teaches else (),
        people=teaches.labels if teaches and of_people else (),
        segments=teaches.segments if teaches and any(teaches.segments) else (),
    )


# --- what a manifest holds -------------------------------------------------------------------------------------------


def _summary(items: Sequence[SnapshotItem], left_out: Counter[str]) -> dict[str, Any]:
    summary = Summary(left_out={reason: n for reason, n in sorted(left_out.items()) if n})
    for item in items:
        if not item.tracks:
            counts = summary.frames_only.setdefault(item.split, dict.fromkeys(VerdictLabel.values, 0))
            counts[item.label] += 1
            continue
        split = summary.sides.setdefault(item.split, dict.fromkeys(VerdictLabel.values, 0))
        split[item.label] += 1
        counts = summary.datasets.setdefault(item.dataset, dict.fromkeys(VerdictLabel.values, 0))
        counts[item.label] += 1
        for label in item.people:
            summary.by_person[label] = summary.by_person.get(label, 0) + 1
        if item.labelled_by:
            summary.by_review += item.dataset == UPLOADS
            for name in item.labelled_by:
                summary.reviewers[name] = summary.reviewers.get(name, 0) + 1
        summary.by_dataset += item.dataset != UPLOADS
    summary.components = len({item.component for item in items if item.tracks})
    return asdict(summary)
