"""Videos whose label may teach, each content once: what a snapshot is made of."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detection.models import DatasetVideo, FaceFrame, Review, ReviewLabel, Video
from detection.services.reviews.consensus import TEACHING, Answer, Consensus, settle


@dataclass(frozen=True)
class Candidate:
    """A video with one known label."""

    video: Video
    label: str
    identity: str
    donor: str
    dataset: DatasetVideo | None
    reviewers: tuple[str, ...]
    people: dict[str, str]
    """What is settled of people by themselves, {track: PersonLabel}."""


def labelled_ids() -> set[Any]:
    """Return the ids of all videos with a label that may teach."""
    reviewed = Review.objects.effective().filter(label__in=TEACHING).values_list("video_id", flat=True).distinct()
    return {*reviewed, *DatasetVideo.objects.values_list("video_id", flat=True)}


def labelled_videos() -> tuple[list[Candidate], list[Candidate], Counter[str]]:
    """Return videos with one known label and stored faces, those with a file instead, and counts of the rest by reason.

    Those without stored faces count as left out, too: of what models of faces learn from, they are.
    """
    answers: dict[Any, list[Answer]] = defaultdict(list)
    outdated: set[Any] = set()
    wanted = ("video_id", "reviewer__username", "label", "role", "people", "people_version", "video__people_version")
    rows = Review.objects.effective().order_by("created_at", "id").values_list(*wanted)
    for video_id, reviewer, label, role, people, version, present in rows.iterator():
        if people and (version or 0) != (present or 0):
            outdated.add(video_id)
            people = None
        answers[video_id].append(Answer(reviewer, label, role, people))
    datasets = {row.video_id: row for row in DatasetVideo.objects.all().iterator()}
    with_faces = set(FaceFrame.objects.filter(position=0, track=0).values_list("video_id", flat=True))
    left_out: Counter[str] = Counter()
    found: list[Candidate] = []
    faceless: list[Candidate] = []
    ids = {*answers, *datasets}
    for video in Video.objects.filter(id__in=ids).order_by("id").iterator():
        row = datasets.get(video.id)
        consensus = settle(answers.get(video.id, ()), dataset_label=row.label if row else "")
        if consensus.disputed:
            left_out["disputed"] += 1
        elif consensus.label == ReviewLabel.NO_FACE:
            left_out["called no face"] += 1
        elif consensus.label not in TEACHING:
            left_out["unsure"] += 1
        elif video.id not in with_faces:
            left_out["without stored faces"] += 1
            if video.extracted_at is not None and video.original_removed_at is None:
                faceless.append(_candidate(video, row, consensus))
        elif video.id in outdated and not consensus.people and (video.tracks or 0) > 1:
            left_out["people found anew since they were answered for"] += 1
        else:
            found.append(_candidate(video, row, consensus))
    return _once_each(found, left_out), _once_each(faceless, Counter()), left_out


def _once_each(candidates: Sequence[Candidate], left_out: Counter[str]) -> list[Candidate]:
    """Return one candidate of each content, and none where its copies (of other owners) are labelled differently."""
    copies: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        copies[candidate.video.sha256].append(candidate)
    kept = set()
    for same in copies.values():
        if len({copy.label for copy in same}) > 1:
            left_out["labelled otherwise where the same file was sent again"] += len(same)
            continue
        first = min(
            same, key=lambda copy: (copy.dataset is None, not copy.people, copy.video.created_at, copy.video.id)
        )
        left_out["the same file as another"] += len(same) - 1
        kept.add(first.video.id)
    return [candidate for candidate in candidates if candidate.video.id in kept]


def upload_name(video: Video) -> str:
    """Return the identity of whoever is in an upload: people in uploads have no names."""
    return f"upload {video.sha256[:32]}"


def _candidate(video: Video, row: DatasetVideo | None, consensus: Consensus) -> Candidate:
    said_by = tuple(sorted(str(one.reviewer) for one in consensus.answers if one.label == consensus.label))
    identity = row.identity if row else upload_name(video)
    donor = row.donor if row else ""
    return Candidate(video, consensus.label, identity, donor, row, said_by, consensus.people)
