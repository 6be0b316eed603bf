"""Register videos of data sets: labelled from the start, all of one system user, not scored on import.

They are stored and queued by the same steps as an upload, but without quota and without waking a worker: the importing
command extracts the faces itself.  A note in the folder `importing` names what a killed import was copying.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import UUID

import structlog
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import AbstractBaseUser
from django.core.files.base import File
from django.db import IntegrityError, models, transaction

from detection.errors import Refused
from detection.models import (
    OPEN_STATES,
    Analysis,
    DatasetVideo,
    IdentitySide,
    Split,
    Stage,
    VerdictLabel,
    Video,
)
from detection.services.jobs.analyses import queue_analysis
from detection.services.jobs.attempt_files import remove_tree
from detection.services.uploads import uploads
from detection.services.validation import is_storable

log = structlog.get_logger(__name__)

OWNER = "dataset-import"
LABEL_CONFLICT = "label_conflict"
_FACTS = ("identity", "donor", "method", "compression", "official_split")
TEST = "test"
LEARNT_FROM = (Split.TRAIN, Split.VAL, Split.HOLDOUT)
"""The splits, the one that is learnt from most first."""


@dataclass(frozen=True)
class Registered:
    """`known`: this file of this set was imported before.  `duplicate`: its content was, under the path of `video`."""

    video: Video
    outcome: Literal["new", "known", "duplicate"]


def dataset_owner() -> AbstractBaseUser:
    """Return the system user that owns every data set's videos; nobody can log in as it."""
    owner, _ = get_user_model().objects.get_or_create(username=OWNER, defaults={"password": make_password(None)})
    return owner


def register_item(
    *,
    owner: AbstractBaseUser,
    file: Path,
    name: str,
    dataset: str,
    relative: str,
    label: str,
    identity: str,
    donor: str = "",
    method: str = "",
    compression: str = "",
    official_split: str = "",
) -> Registered:
    """Copy a file into storage as a labelled video and queue its extraction, or return the video it is already.

    Raises:
        Refused: as an upload (`empty_file`, `file_too_large`, `not_a_video`), `invalid_item`, and `label_conflict` when
            the same content or path exists with another label, or the path with another content.
    """
    row = DatasetVideo(
        dataset=dataset, path=relative, label=label, identity=identity, donor=donor, method=method,
        compression=compression, official_split=official_split,
    )  # fmt: skip
    _check(row)
    with file.open("rb") as handle:
        upload = File(handle, name=name)
        kind = uploads.check_content(upload)
        sha256 = uploads.content_sha256(upload)
        known = _known(owner, row, sha256)
        if known is not None:
            return known
        video = Video(
            owner_id=owner.pk,
            original_name=uploads.display_name(name),
            sha256=sha256,
            size_bytes=upload.size,
            label=label,
        )

        def write() -> None:
            video.save(force_insert=True)
            row.video = video
            row.save(force_insert=True)
            queue_analysis(video=video, wake=False)

        try:
            with _noted(video):
                uploads.store_video(video=video, upload=upload, kind=kind, write=write)
        except IntegrityError:  # another import was first
            known = _known(owner, row, sha256)
            if known is None:
                raise
            return known
    return Registered(video=video, outcome="new")


def remove_unfinished() -> int:
    """Delete what a killed import copied but did not register; call only while no other import runs here."""
    removed = 0
    for note in _notes_folder().iterdir():
        try:
            video = Video(id=UUID(note.name))
        except ValueError:
            continue
        if not Video.objects.filter(pk=video.pk).exists():
            remove_tree(video.folder)
            removed += 1
        note.unlink(missing_ok=True)
    return removed


# --- how an import stands ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ImportStatus:
    """The status of one imported video, with the error of its newest analysis."""

    video_id: UUID
    path: str
    status: str
    error_code: str
    error_detail: str
    tracks: int | None
    """People found; None where faces have not been looked for."""


def open_extractions(*, dataset: str) -> list[tuple[UUID, UUID]]:
    """Return (analysis, video) of the set's videos whose faces are still to be extracted, oldest first."""
    rows = Analysis.objects.filter(
        video__dataset_video__dataset=dataset, state__in=OPEN_STATES, stage=Stage.EXTRACT
    ).order_by("created_at", "id")
    return list(rows.values_list("id", "video_id"))


def import_statuses(*, dataset: str) -> list[ImportStatus]:
    """Return the status of every video of the set, by path."""
    rows = DatasetVideo.objects.filter(dataset=dataset).order_by("path")
    return [
        ImportStatus(video_id, path, status, code or "", detail or "", tracks)
        for video_id, path, status, code, detail, tracks in rows.values_list(
            "video_id",
            "path",
            "video__status",
            "video__current_analysis__error_code",
            "video__current_analysis__error_detail",
            "video__tracks",
        )
    ]


# --- inside ----------------------------------------------------------------------------------------------------------


def _known(owner: AbstractBaseUser, row: DatasetVideo, sha256: str) -> Registered | None:
    same_path = DatasetVideo.objects.select_related("video").filter(dataset=row.dataset, path=row.path).first()
    if same_path is not None:
        if same_path.video.sha256 != sha256:
            raise _conflict(
                f"{row.path} of {row.dataset} has another content than when it was imported. Delete the old video in"
                f" the admin, or import the set under another name with --name."
            )
        _check_label(row, same_path)
        _refresh(same_path, row)
        return Registered(video=same_path.video, outcome="known")
    video = Video.objects.select_related("dataset_video").filter(owner_id=owner.pk, sha256=sha256).first()
    if video is None:
        return None
    same_content: DatasetVideo | None = getattr(video, "dataset_video", None)
    if same_content is None:
        raise _conflict(
            f"{row.path} is here as an upload of {OWNER}. Delete that video in the admin, then import again."
        )
    _check_label(row, same_content)
    if row.official_split == TEST != same_content.official_split:
        # Whatever the other path said: a video that any set tests with is never learnt from.
        DatasetVideo.objects.filter(pk=same_content.pk).update(official_split=TEST)
    return Registered(video=video, outcome="duplicate")


def _check_label(row: DatasetVideo, here: DatasetVideo) -> None:
    if here.label != row.label:
        raise _conflict(
            f"{row.path} is {row.label}, but the same video is here as {here.label} ({here.dataset}: {here.path})."
            f" Find out which is right; delete the other video, or correct the data set."
        )


def _conflict(sentence: str) -> Refused:
    return Refused(LABEL_CONFLICT, sentence, status=409)


def _refresh(here: DatasetVideo, row: DatasetVideo) -> None:
    """Update what a later list says: it may name more test videos."""
    changes = {name: getattr(row, name) for name in _FACTS if getattr(row, name) != getattr(here, name)}
    if here.official_split == TEST:
        changes.pop("official_split", None)  # once a test video, always one
    if changes:
        with transaction.atomic():
            if "identity" in changes:
                _carry_split(here.identity, row.identity)
            DatasetVideo.objects.filter(pk=here.pk).update(**changes)


def _carry_split(old: str, new: str) -> None:
    """Keep whoever was learnt from out of the holdout, where a list now calls them otherwise, or as somebody else."""
    splits = dict(IdentitySide.objects.filter(name__in=(old, new)).values_list("name", "side"))
    if splits.get(old, Split.HOLDOUT) != Split.HOLDOUT:
        split = min(splits.values(), key=LEARNT_FROM.index)
        IdentitySide.objects.update_or_create(name=new, defaults={"side": split})


def _check(row: DatasetVideo) -> None:
    """Raise Refused unless every database can store the row."""
    if row.label not in VerdictLabel.values:
        raise Refused("invalid_item", f"The label must be one of {', '.join(VerdictLabel.values)}.")
    for field in ("dataset", "path", *_FACTS):
        column = DatasetVideo._meta.get_field(field)
        text = str(getattr(row, field))
        assert isinstance(column, models.CharField)
        if len(text) > (column.max_length or 0) or not is_storable(text):
            raise Refused(
                "invalid_item",
                f"Its {field} has more than {column.max_length} characters, or a NUL. Give it a shorter name.",
            )


def _notes_folder() -> Path:
    folder: Path = settings.VAR_DIR / "importing"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


@contextmanager
def _noted(video: Video) -> Iterator[None]:
    """Keep a note with the video's id while its file is copied, so that the next import can clean up after a kill."""
    note = _notes_folder() / str(video.pk)
    note.touch()
    try:
        yield
    finally:
        note.unlink(missing_ok=True)
