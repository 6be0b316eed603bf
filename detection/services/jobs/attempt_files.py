"""The files of an extraction.

Each attempt writes into its own folder, `<video.folder>/<token>/`, so that two attempts never collide, and the folder
that lost is removed whole.

What an attempt at a long video has finished of it lies in `<video.folder>/unfinished/<analysis>/` until the analysis
leaves the stage, so that the next attempt goes on from there.

Evidence on demand (`evidence`) lies beside them: `<video.folder>/heatmaps/<token>/`, `/reports/<token>/` and
`/preview/<token>.mp4`.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage

from detection.models import (
    OPEN_STATES,
    Analysis,
    EvidenceJob,
    EvidenceKind,
    FaceFrame,
    SampledFrame,
    Stage,
    State,
    Video,
)
from detection.services.jobs.results import ExtractionResult

THUMBNAIL = "thumbnail.jpg"


def longest_attempt() -> timedelta:
    """Return the time after which no worker is still at a stage that it began before."""
    return timedelta(seconds=settings.DFD_TASK_HARD_LIMIT_S + settings.DFD_LEASE_S)


def attempt_folder(video_id: UUID, token: UUID) -> str:
    """The folder in storage that this attempt at an extraction writes into."""
    return f"{Video(id=video_id).folder}/{token.hex}"


def heatmap_folder(video_id: UUID) -> str:
    """The folder in storage of the video's heat maps."""
    return f"{Video(id=video_id).folder}/heatmaps"


def heatmap_attempts(video_id: UUID) -> list[str]:
    """The folders of all attempts at heat maps that are in storage now."""
    folder = heatmap_folder(video_id)
    return [f"{folder}/{name}" for name in _list(folder)[0]]


def report_folder(video_id: UUID) -> str:
    """The folder in storage of the video's evidence reports."""
    return f"{Video(id=video_id).folder}/reports"


def preview_folder(video_id: UUID) -> str:
    """The folder in storage of the video's previews."""
    return f"{Video(id=video_id).folder}/preview"


def keep_part(*, video_id: UUID, analysis_id: UUID, name: str, data: bytes) -> None:
    """Store what an attempt has finished, for the next one."""
    path = f"{_unfinished_folder(video_id)}/{analysis_id.hex}/{name}"
    default_storage.delete(path)  # one that cannot be read
    default_storage.save(path, ContentFile(data))


def kept_part(*, video_id: UUID, analysis_id: UUID, name: str) -> bytes | None:
    """Return what an earlier attempt has stored; None without it."""
    path = f"{_unfinished_folder(video_id)}/{analysis_id.hex}/{name}"
    if not default_storage.exists(path):
        return None
    with default_storage.open(path) as file:
        return bytes(file.read())


def _unfinished_folder(video_id: UUID) -> str:
    return f"{Video(id=video_id).folder}/unfinished"


def store(
    folder: str, video_id: UUID, result: ExtractionResult
) -> tuple[str, str, list[FaceFrame], list[SampledFrame]]:
    """Write every file; return the names of clip and thumbnail, and the unsaved rows."""
    clip = ""
    if result.clip is not None:
        with result.clip.open("rb") as handle:
            clip = default_storage.save(f"{folder}/clip{result.clip.suffix}", File(handle))
    thumbnail = default_storage.save(f"{folder}/{THUMBNAIL}", ContentFile(result.thumbnail))
    faces = [
        FaceFrame(
            video_id=video_id,
            track=face.track,
            segment=face.segment,
            position=face.position,
            frame_number=face.frame_number,
            timestamp_s=face.timestamp_s,
            x1=face.box[0],
            y1=face.box[1],
            x2=face.box[2],
            y2=face.box[3],
            probability=min(max(face.probability, 0.0), 1.0),
            still=face.still,
            crop=default_storage.save(f"{folder}/faces/{face.track}-{face.position:02}.png", ContentFile(face.png)),
        )
        for face in result.faces
    ]
    frames = [
        SampledFrame(
            video_id=video_id,
            position=position,
            frame_number=frame.frame_number,
            timestamp_s=frame.timestamp_s,
            boxes=list(frame.boxes),
            image=default_storage.save(f"{folder}/frames/{position:02}.jpg", ContentFile(frame.jpeg)),
        )
        for position, frame in enumerate(result.frames)
    ]
    return clip, thumbnail, faces, frames


def store_segments(folder: str, result: ExtractionResult) -> list[dict[str, Any]] | None:
    """Write the clips of later segments; returns `Video.segments`."""
    if not result.segments:
        return None
    stored = []
    for number, segment in enumerate(result.segments):
        clip = ""
        if segment.clip is not None:
            with segment.clip.open("rb") as handle:
                clip = default_storage.save(f"{folder}/segments/{number:02}{segment.clip.suffix}", File(handle))
        stored.append({"start_s": segment.start_s, "end_s": segment.end_s, "clip": clip})
    return stored


def prune(video_id: UUID) -> None:
    """Delete the folders of attempts that no row names and no running claim covers; call it after the commit."""
    folder = Video(id=video_id).folder
    # Folders, then claims, then rows: whoever has a folder had claimed before, and who gives up the claim by
    # succeeding names the folder in the same transaction.
    found = _list(folder)[0]
    folders = [name for name in found if _is_attempt(name)]
    if "unfinished" in found:
        _prune_unfinished(video_id)
    running = Analysis.objects.filter(video_id=video_id, state=State.RUNNING).values_list("token", flat=True)
    keep = {token.hex for token in running if token is not None}
    # The retention policy may have removed either.
    named = Video.objects.filter(id=video_id).values_list("thumbnail", "clip", "segments").first()
    if named is None:
        return
    thumbnail, clip, segments = named
    keep |= {PurePosixPath(name).parent.name for name in (thumbnail, clip) if name}
    keep |= {PurePosixPath(part["clip"]).parent.parent.name for part in segments or () if part["clip"]}
    for name in folders:
        if name not in keep:
            remove_tree(f"{folder}/{name}")
    prune_evidence(video_id)


def _prune_unfinished(video_id: UUID) -> None:
    extracting = Analysis.objects.filter(video_id=video_id, state__in=OPEN_STATES, stage=Stage.EXTRACT)
    keep = {pk.hex for pk in extracting.values_list("pk", flat=True)}
    folder = _unfinished_folder(video_id)
    for name in _list(folder)[0]:
        if name not in keep:
            remove_tree(f"{folder}/{name}")
    if not keep:
        remove_tree(folder)


def outdate_evidence(video_id: UUID) -> None:
    """Drop evidence of faces and clip that are being replaced, and restart what is being made.

    Call it in the transaction that replaces them; `prune` then deletes the files.
    """
    jobs = EvidenceJob.objects.filter(video_id=video_id)
    jobs.exclude(state__in=OPEN_STATES).delete()
    jobs.filter(state=State.RUNNING).update(
        state=State.QUEUED, token=None, lease_until=None, published_at=None, attempts=0
    )
    Video.objects.filter(id=video_id).update(preview="")


def prune_evidence(video_id: UUID) -> None:
    """Delete heat maps, previews and reports that no row names and no job writes; call it after the commit."""
    heatmaps, previews, reports = heatmap_folder(video_id), preview_folder(video_id), report_folder(video_id)
    # The files first: whoever writes one has claimed before, so the rows that are read then know of it.
    folders, files, reported = _list(heatmaps)[0], _list(previews)[1], _list(reports)[0]
    if not folders and not files and not reported:
        return
    jobs = EvidenceJob.objects.filter(video_id=video_id)
    made = jobs.filter(kind=EvidenceKind.HEATMAPS, state=State.SUCCEEDED).order_by("-created_at", "-id")
    ready = jobs.filter(kind=EvidenceKind.REPORT, state=State.SUCCEEDED)
    tokens = [
        *jobs.filter(state=State.RUNNING).values_list("token", flat=True),
        *made.values_list("token", flat=True)[:1],
        *ready.values_list("token", flat=True),
    ]
    keep = {token.hex for token in tokens if token is not None}
    preview = Video.objects.filter(id=video_id).values_list("preview", flat=True).first()
    for name in folders:
        if name not in keep:
            remove_tree(f"{heatmaps}/{name}")
    for name in reported:
        if name not in keep:
            remove_tree(f"{reports}/{name}")
    for name in files:
        if f"{previews}/{name}" != preview and PurePosixPath(name).stem not in keep:
            default_storage.delete(f"{previews}/{name}")


def remove_tree(folder: str) -> None:
    """Delete a folder of the storage with its contents; a missing folder is fine."""
    folders, files = _list(folder)
    for name in files:
        default_storage.delete(f"{folder}/{name}")
    for name in folders:
        remove_tree(f"{folder}/{name}")
    default_storage.delete(folder)  # an empty directory, where the storage has such a thing


def _list(folder: str) -> tuple[list[str], list[str]]:
    try:
        return default_storage.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return [], []


def _is_attempt(name: str) -> bool:
    try:
        UUID(hex=name)
    except ValueError:
        return False
    return True
