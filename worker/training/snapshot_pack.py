"""What training, promotion and evaluation share: a snapshot, and a pack of what a model is shown of it.

Everything heavy that is worth keeping (packs, features) lies below `var/training`, and can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
from django.conf import settings
from django.core.files.storage import default_storage
from numpy.typing import NDArray

from detection.models import Snapshot, Video
from detection.services.jobs.perceptual_hashes import files_of
from detection.services.learning import snapshots
from detection.services.learning.snapshots import SnapshotItem
from detection.services.stored_files import is_away
from ml.config import FrameView, Label
from ml.data.crop_pack import CropRow, Pack, PackError, PackWriter
from ml.data.erasure import videos_in
from ml.data.splits import assign_splits
from ml.model.network import FaceSequenceClassifier
from ml.progress import ProgressCallback
from ml.resource_limits import limited
from worker.stages import erasure, perceptual_hashes
from worker.stages.shown import frames_shown, reading_errors
from worker.stages.watchdog import file_limits

KEEP_PACKS = 3
PRINT_BATCH = 200


def root() -> Path:
    """This machine's folder of packs, features and checkpoints."""
    folder: Path = settings.VAR_DIR / "training"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def feature_folder() -> Path:
    """Where the features of packs are cached."""
    return root() / "features"


# --- snapshot --------------------------------------------------------------------------------------------------------


def freeze(
    *,
    seed: int,
    seen: Iterable[str],
    on_progress: ProgressCallback | None = None,
    fence: Callable[[], object] = lambda: None,
) -> Snapshot:
    """Give every labelled video its hashes, then freeze the snapshot of today's labels.

    `fence` is called before the snapshot is committed; what it raises leaves none.
    """
    missing = snapshots.without_hashes()
    for start in range(0, len(missing), PRINT_BATCH):
        perceptual_hashes.fill(files_of(missing[start : start + PRINT_BATCH]))
        if on_progress:
            on_progress("fingerprints", min(1.0, (start + PRINT_BATCH) / len(missing)))
    return snapshots.freeze_snapshot(
        assign=lambda components, strata, fixed: assign_splits(components, strata, fixed=fixed, seed=seed),
        seen=seen,
        fence=fence,
    )


def pack_of(items: Sequence[SnapshotItem], *, on_progress: ProgressCallback | None = None) -> Pack:
    """One file with the crops of the items, made once.  Raises PackError when a crop is gone or nothing is left."""
    drop_outdated_packs()
    digest = hashlib.sha256(repr([_packed(item) for item in items]).encode())
    path = root() / "packs" / f"{digest.hexdigest()[:32]}.safetensors"
    erasure.register()  # before a face is cached here
    if not path.is_file():
        writer = PackWriter()
        for number, item in enumerate(items, 1):
            _add(writer, item)
            if on_progress:
                on_progress("packing faces", number / len(items))
        writer.write(path)
    path.touch()
    for old in sorted(path.parent.glob("*.safetensors"), key=lambda p: p.stat().st_mtime)[:-KEEP_PACKS]:
        old.unlink(missing_ok=True)
    return Pack(path)


def frames_pack_of(
    items: Sequence[SnapshotItem], view: FrameView, *, on_progress: ProgressCallback | None = None
) -> Pack:
    """One file with whole frames of the items' clips, decoded now and kept nowhere.  Raises PackError.

    Its file is removed at once, and read as long as the pack is.
    """
    erasure.register()
    writer = PackWriter()
    videos = Video.objects.in_bulk([UUID(item.video) for item in items])
    for number, item in enumerate(items, 1):
        _add_frames(writer, item, videos.get(UUID(item.video)), view)
        if on_progress:
            on_progress("decoding frames", number / len(items))
    path = writer.write(root() / "packs" / f"frames-{uuid4().hex}.safetensors")
    try:
        return Pack(path)
    finally:
        path.unlink(missing_ok=True)


def with_faces(items: Sequence[SnapshotItem]) -> list[SnapshotItem]:
    """Return the items that models of faces learn from and judge."""
    return [item for item in items if item.tracks]


def judged_by(network: FaceSequenceClassifier, items: Sequence[SnapshotItem]) -> list[SnapshotItem]:
    """Return the items that the network can judge: those with faces, or of whole frames all whose file is there."""
    return with_faces(items) if network.frame_view is None else with_original(items)


def with_original(items: Sequence[SnapshotItem]) -> list[SnapshotItem]:
    """Return the items whose file is still there, for a model that looks at whole frames."""
    there: set[str] = set()
    for start in range(0, len(items), PRINT_BATCH):
        part = [item.video for item in items[start : start + PRINT_BATCH]]
        rows = Video.objects.filter(pk__in=part, original_removed_at=None, extracted_at__isnull=False)
        there |= {str(pk) for pk in rows.values_list("pk", flat=True)}
    return [item for item in items if item.video in there]


def shown_to(
    network: FaceSequenceClassifier, items: Sequence[SnapshotItem], *, on_progress: ProgressCallback | None = None
) -> Pack:
    """What the network is shown of the items: their faces, or their frames.  Raises PackError."""
    if network.frame_view is None:
        return pack_of(items, on_progress=on_progress)
    return frames_pack_of(items, network.frame_view, on_progress=on_progress)


def _packed(item: SnapshotItem) -> tuple[object, ...]:
    """What of an item is in its pack; without labels of people, and segments, it is named as before there were any."""
    whole = (item.video, item.label, item.split, item.component, item.tracks)
    later = tuple(one for one in (item.people, item.segments) if one)
    return (*whole, *later)


def drop_outdated_packs() -> None:
    """Packs with faces of videos that are gone by now, where no sweeper sees this machine's disk."""
    for path in (root() / "packs").glob("*.safetensors"):
        try:
            names = sorted(videos_in(path))
        except (OSError, ValueError):
            continue  # no pack: reading it says so
        parts = [names[start : start + PRINT_BATCH] for start in range(0, len(names), PRINT_BATCH)]
        rows = Video.objects.filter(pictures_removed_at=None)
        if any(rows.filter(pk__in=part).count() < len(part) for part in parts):
            path.unlink(missing_ok=True)


def _add(writer: PackWriter, item: SnapshotItem) -> None:
    for track, faces in enumerate(item.tracks):
        label = Label[item.label_of(track).upper()]
        for order, (name, size) in enumerate(faces):
            try:
                with default_storage.open(name) as handle:
                    image = handle.read()
            except OSError as error:
                if is_away(error):  # not this face's trouble: nothing is to be deleted for it
                    raise
                raise PackError(
                    f"A face of video {item.video} is gone from storage; analyse the video again, or delete it."
                ) from error
            row = _row(
                item,
                label,
                sequence=f"{item.video}#{track}",
                order=order,
                face_px=size,
                segment=item.segment_of(track),
            )
            writer.add_encoded(image, row)


def _add_frames(writer: PackWriter, item: SnapshotItem, video: Video | None, view: FrameView) -> None:
    if video is None:
        raise PackError(f"Video {item.video} was deleted meanwhile; try again.")
    try:
        with limited(file_limits()):
            shown = frames_shown(video, view)
    except reading_errors() as error:
        if is_away(error):
            raise
        raise PackError(
            f"The clip of video {item.video} cannot be read ({error}); analyse the video again, or delete it."
        ) from error
    label = Label[item.label.upper()]
    for part, pictures in zip(shown.frames, shown.pictures, strict=True):
        for (frame_number, _), picture in zip(part.frames, pictures, strict=True):
            row = _row(
                item,
                label,
                sequence=f"{item.video}#frames{part.segment}",
                order=frame_number,
                face_px=0.0,
                segment=part.segment,
            )
            writer.add_crop(picture, row)


def _row(item: SnapshotItem, label: Label, *, sequence: str, order: int, face_px: float, segment: int) -> CropRow:
    return CropRow(
        label=int(label),
        group=item.identity,
        source=item.dataset,
        donor=item.donor,
        method=item.method if label == Label[item.label.upper()] else "",
        split=item.split,
        sequence=sequence,
        order=order,
        origin=item.path,
        video=item.video,
        compression=item.compression,
        height=item.height,
        face_px=face_px,
        component=item.component,
        segment=segment,
    )


# --- reports ---------------------------------------------------------------------------------------------------------


def faces_in(pack: Pack) -> Callable[[str], list[NDArray[np.uint8]]]:
    """For a report: a video's first person's faces, by the video's key."""
    first: dict[str, list[int]] = {}
    for indices in pack.sequences().values():
        row = pack.rows[indices[0]]
        first.setdefault(row.video or row.sequence, indices)
    return partial(_faces, pack, first)


def _faces(pack: Pack, first: dict[str, list[int]], key: str) -> list[NDArray[np.uint8]]:
    return [pack.crop(i) for i in first.get(key, [])]


def forget_checkpoints(folder: Path) -> None:
    """What a run that has ended need not keep."""
    shutil.rmtree(folder, ignore_errors=True)
