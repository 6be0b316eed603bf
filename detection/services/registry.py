"""Model versions: register a file of weights, make one active, find one by what a person types."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction
from django.utils import timezone

from detection import dispatch
from detection.errors import Refused
from detection.models import ModelVersion
from detection.services import sweeper


def register_model(
    *,
    file: Path,
    name: str,
    sha256: str,
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    threshold: float,
    temperature: float,
    experimental: bool,
    training_data_sha256: str,
    activate: bool,
) -> ModelVersion:
    """Store the file and its facts; the same file again is the version that exists.

    Raises Refused when the file is not the one whose sha256 is given.
    """
    found = _sha256(file)
    if found != sha256:
        raise Refused("hash_mismatch", f"{file.name} has sha256 {found}, not {sha256}.")
    model = ModelVersion.objects.filter(sha256=sha256).first()
    if model is None:
        model = _create(
            file,
            name=name[:100],
            sha256=sha256,
            config=dict(config),
            metrics=dict(metrics),
            threshold=threshold,
            temperature=temperature,
            experimental=experimental,
            training_data_sha256=training_data_sha256,
        )
    else:
        _mend(model, file)
    return activate_model(model=model) if activate else model


def activate_model(*, model: ModelVersion) -> ModelVersion:
    """From now on verdicts are this version's.  Analyses that waited for a model go on."""
    with transaction.atomic():
        # All of them, in one order: two activations at once must neither deadlock nor both find the same one active.
        rows = {row.id: row for row in ModelVersion.objects.select_for_update().order_by("id")}
        ModelVersion.objects.filter(active=True).exclude(id=model.id).update(active=False)
        model = rows[model.id]
        if not model.active:
            model.active, model.promoted_at = True, timezone.now()
            model.save(update_fields=["active", "promoted_at"])
        sweeper.wake_waiting()
        transaction.on_commit(dispatch.wake_sweeper, robust=True)
    return model


def find_model(*, reference: str) -> ModelVersion:
    """By id, name, or the beginning of its sha256 (at least 4 digits).  Raises Refused when none or several fit."""
    try:
        by_id = ModelVersion.objects.filter(id=UUID(reference))
    except ValueError:
        by_id = ModelVersion.objects.none()
    by_hash = ModelVersion.objects.none()
    if len(reference) >= 4:
        by_hash = ModelVersion.objects.filter(sha256__startswith=reference.lower())
    for candidates in (by_id, ModelVersion.objects.filter(name=reference), by_hash):
        found = list(candidates[:2])
        if len(found) == 1:
            return found[0]
        if found:
            raise Refused("ambiguous_model", f"Several models fit {reference!r}; give the id or more of the sha256.")
    raise Refused("unknown_model", f"No model is called {reference!r}.", status=404)


def local_weights(*, model: ModelVersion) -> Path:
    """A copy of the version's file on this machine's disk, named by its sha256 and checked by it.

    Raises OSError when storage does not have the file, Refused when it is not the one that was registered.
    """
    folder: Path = settings.VAR_DIR / "cache"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{model.sha256}.safetensors"
    if path.is_file() and _sha256(path) == model.sha256:
        return path
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".partial", delete=False) as partial:
        fetched = Path(partial.name)
        try:
            with default_storage.open(str(model.file.name)) as source:
                shutil.copyfileobj(source, partial, 1024 * 1024)
            partial.flush()
            found = _sha256(fetched)
            if found != model.sha256:
                raise Refused(
                    "hash_mismatch",
                    f"The stored weights of {model.name!r} have sha256 {found}, not {model.sha256}."
                    f" Register the file again.",
                )
            fetched.replace(path)
        finally:
            fetched.unlink(missing_ok=True)
    return path


def _mend(model: ModelVersion, file: Path) -> None:
    """Registering again is how a stored file that was lost or damaged is brought back."""
    try:
        with default_storage.open(str(model.file.name)) as handle:
            sound = hashlib.file_digest(handle, "sha256").hexdigest() == model.sha256
    except OSError:
        sound = False
    if not sound:
        default_storage.delete(str(model.file.name))
        with file.open("rb") as handle:
            stored = default_storage.save(f"models/{model.sha256}.safetensors", File(handle))
        model.file.name = stored
        model.save(update_fields=["file"])


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _create(file: Path, **fields: Any) -> ModelVersion:
    """The row and its file; whoever comes second with the same file gets the first one's row."""
    with file.open("rb") as handle:
        stored = default_storage.save(f"models/{fields['sha256']}.safetensors", File(handle))
    try:
        with transaction.atomic():
            return ModelVersion.objects.create(file=stored, **fields)
    except IntegrityError:
        default_storage.delete(stored)
        return ModelVersion.objects.get(sha256=fields["sha256"])
