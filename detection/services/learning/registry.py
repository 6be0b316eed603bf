"""Register weights as model versions, activate a version, and find one by what a person types."""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
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
from detection.models import AuditAction, FolderCheck, ModelKind, ModelVersion, Promotion, PromotionKind, TrainingRun
from detection.selectors.videos import model_before
from detection.services.jobs import orphan_files, sweeper
from detection.services.jobs.attempt_files import remove_tree
from detection.services.jobs.leases import lock_models
from detection.services.learning.gate_record import NOT_JUDGED, SHUFFLED, GateRecord
from detection.services.ops import audit
from detection.services.stored_files import StoredFiles

SUFFIXES = {
    ModelKind.NETWORK: ".safetensors",
    ModelKind.ONNX_FACE: ".onnx",
    ModelKind.ONNX_SEQUENCE: ".onnx",
    ModelKind.ONNX_FRAMES: ".onnx",
    ModelKind.ENSEMBLE: ".zip",
}
"""Of a version's file: they say how it is read."""


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
    shift: float = 0.0,
    trained_on: Sequence[str] = (),
    license: str = "",
    kind: str = ModelKind.NETWORK,
    source: str = "",
    parent: ModelVersion | None = None,
    fence: Callable[[], object] = lambda: None,
) -> ModelVersion:
    """Store a file of weights as a model version; the same file again returns the existing version.

    Args:
        file: The weights.
        name: A name for people.
        sha256: The file's hash, as the caller knows it.
        config: Architecture and preprocessing.
        metrics: Metrics on held-out videos.
        threshold: Fake probability from which a video is called fake.
        temperature: Divides the logits.
        experimental: Whether every verdict needs review.
        training_data_sha256: Hash of the training data.
        activate: Activate an installation's first model; later ones pass the gate (see `promote`).
        shift: Added to the log-odds after that; other than 0 where the version was recalibrated.
        trained_on: Identities seen in training.
        license: Terms of the weights, empty where unknown.
        kind: What it is (`ModelKind`); the caller has checked the file.
        source: Where a detector of others comes from.
        parent: The version that training started from.
        fence: Called in the transaction that adds the version; what it raises leaves neither row nor file.

    Raises:
        Refused: `hash_mismatch`, `invalid_threshold`, `invalid_temperature`.
    """
    if not 0 < threshold < 1:  # not so for NaN either
        raise Refused(
            "invalid_threshold", f"The threshold of {name[:100]} is {threshold}; it must lie between 0 and 1."
        )
    if not 0 < temperature < math.inf:
        raise Refused("invalid_temperature", f"The temperature of {name[:100]} is {temperature}; it must be above 0.")
    found = _sha256(file)
    if found != sha256:
        raise Refused("hash_mismatch", f"{file.name} has sha256 {found}, not {sha256}.")
    model = ModelVersion.objects.filter(sha256=sha256).first()
    if model is None:
        model = _create(
            file,
            fence,
            name=name[:100],
            sha256=sha256,
            config=dict(config),
            metrics=dict(metrics),
            threshold=threshold,
            temperature=temperature,
            shift=shift,
            experimental=experimental,
            training_data_sha256=training_data_sha256,
            trained_on=sorted(trained_on),
            license=license[:100],
            kind=kind,
            source=source[:300],
            parent=parent,
        )
    else:
        _mend(model, file)
    return activate_model(model=model, reason="Registered with --activate.") if activate else model


def promote(
    *, model: ModelVersion, gate: GateRecord | None, by: Any = None, force: bool = False, reason: str = ""
) -> ModelVersion:
    """Activate the model if the gate allows it (`GateRecord.refusal`), or by force with a reason.

    Raises:
        Refused: `gate_refused` with the gate's own sentence or because it learnt shuffled labels, `stale_gate` when it
            was compared with a model that is no longer active, `reason_missing`.
    """
    reason = reason.strip()
    if force:
        if not reason:
            raise Refused("reason_missing", "Forcing a model needs a reason: it is kept with the decision.")
        return activate_model(model=model, kind=PromotionKind.FORCED, by=by, reason=reason, gate=gate)
    if model.active:
        return model
    if gate is None:
        raise Refused("gate_refused", NOT_JUDGED, status=409)
    if TrainingRun.objects.filter(candidate=model, options__shuffle_labels=True).exists():
        raise Refused("gate_refused", SHUFFLED, status=409)
    return activate_model(model=model, kind=PromotionKind.GATE, by=by, reason=reason, gate=gate)


def rollback(*, by: Any = None, reason: str = "") -> ModelVersion:
    """Activate the model that was active before the present one.

    A second rollback goes back one further: the history is the list of promotions without those rolled back.

    Raises:
        Refused: `nothing_before`.
    """
    with transaction.atomic():
        lock_models()  # what was before is looked at under the lock under which it comes back
        before = model_before()
        if before is None:
            raise Refused("nothing_before", "There is no earlier model to go back to.", status=409)
        return activate_model(model=before, kind=PromotionKind.ROLLBACK, by=by, reason=reason)


def activate_model(
    *,
    model: ModelVersion,
    kind: PromotionKind | None = None,
    by: Any = None,
    reason: str = "",
    gate: GateRecord | None = None,
) -> ModelVersion:
    """Make `model` the active version and release analyses that wait for a model.

    Raises:
        Refused: when `kind` says that it passed the gate and `gate` does not, or not against the active model.
    """
    with transaction.atomic():
        lock_models()  # two activations at once must not both find the same one active
        rows = {row.id: row for row in ModelVersion.objects.select_for_update(no_key=True).order_by("id")}
        previous = next((row for row in rows.values() if row.active), None)
        if kind == PromotionKind.GATE and gate and (refusal := gate.refusal(previous)):
            raise Refused(*refusal, status=409)
        ModelVersion.objects.filter(active=True).exclude(id=model.id).update(active=False)
        model = rows[model.id]
        promotion: Promotion | None = None
        if not model.active:
            model.active, model.promoted_at = True, timezone.now()
            model.save(update_fields=["active", "promoted_at"])
            promotion = Promotion.objects.create(
                model_version=model,
                previous=previous,
                kind=kind or (PromotionKind.FORCED if previous else PromotionKind.FIRST),
                by=by,
                reason=reason[:500],
                gate=gate.to_json() if gate else {},
            )
        sweeper.wake_waiting()
        transaction.on_commit(dispatch.wake_sweeper, robust=True)
        if promotion:
            facts = {"kind": str(promotion.kind), "previous": str(previous.id) if previous else None}
            audit.record(AuditAction.MODEL_ACTIVATED, subject=f"model:{model.id}", by=by, facts=facts)
    return model


def find_model(*, reference: str) -> ModelVersion:
    """Find a version by id, name, or the beginning of its sha256 (at least 4 digits).

    Raises:
        Refused: `unknown_model`, `ambiguous_model`.
    """
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
    """Return a local copy of the version's file, named by its sha256 and checked against it.

    Raises:
        OSError: when storage does not have the file.
        Refused: `hash_mismatch` when it is not the file that was registered.
    """
    folder: Path = settings.VAR_DIR / "cache"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / _file_name(model.sha256, model.kind)
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
    """Replace a stored file that was lost or damaged."""
    try:
        with default_storage.open(str(model.file.name)) as handle:
            sound = hashlib.file_digest(handle, "sha256").hexdigest() == model.sha256
    except OSError:
        sound = False
    if not sound:
        damaged = str(model.file.name)
        check, folder = _new_folder()
        with StoredFiles(lambda: remove_tree(folder)) as files, file.open("rb") as handle:
            model.file.name = default_storage.save(f"{folder}/{_file_name(model.sha256, model.kind)}", File(handle))
            with files.transaction():
                model.save(update_fields=["file"])
                orphan_files.claim(check)
        default_storage.delete(damaged)


def _new_folder() -> tuple[FolderCheck, str]:
    check = orphan_files.watch_folder(below="models")
    return check, check.path


def _file_name(sha256: str, kind: str) -> str:
    return f"{sha256}{SUFFIXES[ModelKind(kind)]}"


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _create(file: Path, fence: Callable[[], object], **fields: Any) -> ModelVersion:
    """Store file and row; of two registrations of one file the second gets the first one's row."""
    check, folder = _new_folder()
    try:
        with StoredFiles(lambda: remove_tree(folder)) as files, file.open("rb") as handle:
            name = _file_name(fields["sha256"], fields["kind"])
            stored = default_storage.save(f"{folder}/{name}", File(handle))
            with files.transaction():
                fence()
                model = ModelVersion.objects.create(file=stored, **fields)
                orphan_files.claim(check)
    except IntegrityError:
        return ModelVersion.objects.get(sha256=fields["sha256"])
    return model
