"""Labelled videos with stored faces, as an import or a reviewer leaves them, and models that are easy to beat."""

from __future__ import annotations

import hashlib
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

import cv2
import numpy as np
import torch
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from detection.models import Analysis, DatasetVideo, FaceFrame, ModelVersion, State, Video
from detection.services.learning import registry
from ml.config import ModelConfig
from ml.model.network import FaceSequenceClassifier
from ml.model.weights import WeightsInfo, read_info, save_weights
from tests.ml.packs import drawn_face
from tests.weights import TINY

FACES = 5


def stored_video(number: int, *, fake: bool, owner: str = "owner") -> Video:
    """A video whose faces are stored; those of fakes are blue.  Its id is always the same, and so is what is learnt."""
    user, _ = User.objects.get_or_create(username=owner)
    video = Video(
        id=uuid5(NAMESPACE_OID, f"{owner} {number} {fake}"),
        owner=user,
        original_name=f"{number}.mp4",
        sha256=hashlib.sha256(f"{number} {fake}".encode()).hexdigest(),
        size_bytes=1,
        status=State.SUCCEEDED,
        height=480,
        tracks=1,
        extracted_at=timezone.now(),
    )
    video.file.name = f"{video.folder}/original.mp4"
    noise = np.random.default_rng([number, fake]).integers(0, 256, (16, 17), dtype=np.uint8)
    scene = cv2.resize(noise, (170, 160), interpolation=cv2.INTER_NEAREST)
    video.thumbnail.name = default_storage.save(
        f"{video.folder}/thumbnail.jpg", ContentFile(cv2.imencode(".jpg", scene)[1].tobytes())
    )
    video.save()
    add_person(video, 0, seed=1000 * number, fake=fake)
    Analysis.objects.create(video=video, state=State.SUCCEEDED, stage="done", finished_at=timezone.now())
    return video


def add_person(video: Video, track: int, *, seed: int, fake: bool) -> None:
    """Store the faces of one more person; each stands 60 pixels right of the one before."""
    for position in range(FACES):
        crop = drawn_face(seed + position)
        crop[:, :, 2] = 255 * fake
        png = cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))[1].tobytes()
        FaceFrame.objects.create(
            video=video, track=track, position=position, frame_number=position, timestamp_s=position / 25,
            x1=60 * track, y1=0, x2=60 * track + 40, y2=50, probability=0.99,
            crop=default_storage.save(f"{video.folder}/faces/{track}-{position:02}.png", ContentFile(png)),
        )  # fmt: skip
    Video.objects.filter(pk=video.pk).update(tracks=track + 1)


def dataset(people: int, *, name: str = "lab") -> list[DatasetVideo]:
    """A real and a fake of each person."""
    rows = []
    for person in range(people):
        for fake in (False, True):
            video = stored_video(person, fake=fake, owner="dataset-import")
            label = "fake" if fake else "real"
            Video.objects.filter(id=video.id).update(label=label)
            rows.append(
                DatasetVideo.objects.create(
                    video=video,
                    dataset=name,
                    path=f"{label}/{person}.mp4",
                    label=label,
                    identity=f"{name}{person}",
                    method="blue" if fake else "",
                    compression="c23",
                )
            )
    return rows


def register_blind(folder: Path, *, active: bool = True, seed: int = 0, config: ModelConfig = TINY) -> ModelVersion:
    """A model with features and no opinion: every video gets the same score."""
    torch.manual_seed(seed)
    model = FaceSequenceClassifier(config)
    for head in (model.head, model.frame_head):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    path = folder / f"blind{seed}.safetensors"
    sha256 = save_weights(model, WeightsInfo(name=f"blind{seed}", config=config), path)
    info = read_info(path)
    return registry.register_model(
        file=path, name=info.name, sha256=sha256, config=info.config.to_dict(), metrics={}, threshold=0.5,
        temperature=1.0, experimental=True, training_data_sha256="", activate=active,
    )  # fmt: skip
