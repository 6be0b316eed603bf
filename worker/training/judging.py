"""The gate's answer on a candidate: what the models say of the snapshot's holdout, and who may be compared on what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from detection.models import ModelKind, ModelVersion, Snapshot
from detection.services.learning import holdout_looks, registry
from detection.services.learning.gate_record import GateRecord
from detection.services.learning.snapshots import SnapshotItem
from ml.config import Label
from ml.data.splits import HOLDOUT
from ml.evaluation.promotion_gate import TOO_SMALL, compare, compare_alone, enough
from ml.evaluation.scored_video import ScoredVideo
from ml.model.inference import choose_device
from ml.model.network import FaceSequenceClassifier
from ml.model.weights import WeightsInfo, load_weights
from ml.progress import ProgressCallback
from ml.training.feature_cache import FeatureCache
from ml.training.fit import FitOptions, scored_split
from worker.training.snapshot_pack import feature_folder, shown_to, with_faces, with_original

FIRST = "No model is active, and there are too few held-out videos to judge by: it is the first, on trust."


def load_version(version: ModelVersion) -> tuple[FaceSequenceClassifier, WeightsInfo]:
    """The registered weights, checked by their hash, on the device that training uses."""
    model, info = load_weights(registry.local_weights(model=version), sha256=version.sha256)
    return model.to(choose_device()), info


def score_holdout(
    version: ModelVersion, items: Sequence[SnapshotItem], *, on_progress: ProgressCallback | None = None
) -> list[ScoredVideo]:
    """The holdout videos among the items as this version scores them.  Raises PackError."""
    model, info = load_version(version)
    pack = shown_to(model, items, on_progress=on_progress)
    features = FeatureCache(feature_folder(), model)
    return scored_split(
        model,
        pack,
        HOLDOUT,
        features,
        FitOptions(),
        temperature=info.temperature,
        shift=info.shift,
        on_progress=on_progress,
    )


@dataclass(frozen=True)
class GateAnswer:
    """The gate's answer as it is kept with a run or a promotion, and the challenger's scores behind it."""

    gate: GateRecord
    videos: list[ScoredVideo]


def judge(
    candidate: ModelVersion,
    champion: ModelVersion | None,
    items: Sequence[SnapshotItem],
    *,
    snapshot: Snapshot,
    on_progress: ProgressCallback | None = None,
) -> GateAnswer:
    """Ask the gate: both models on the snapshot's holdout, less the people that either was trained on.

    Videos without a face are among them where both look at whole frames, or the only one does.  Where one of two does,
    they are compared on the others, and what it says of these is told apart.

    The look at the holdout is noted before its answer is known (`holdout_looks`), unless there are too few people to
    answer.
    """
    seen = {*candidate.trained_on, *(champion.trained_on if champion else ())}
    of_frames = [one for one in (candidate, champion) if one and one.kind == ModelKind.ONNX_FRAMES]
    alike = len(of_frames) == (1 if champion is None else 2)
    holdout = [item for item in items if item.split == HOLDOUT]
    held = holdout if alike else with_faces(holdout)
    clean = [item for item in held if not {item.identity, item.donor} & seen]
    unseen = len(clean)
    if of_frames:
        clean = with_original(clean)
    beyond = None
    if of_frames and not alike:
        rest = [item for item in holdout if not item.tracks and not {item.identity, item.donor} & seen]
        beyond = _beyond(of_frames[0], with_original(rest), on_progress=on_progress)
    against = str(champion.id) if champion else None
    facts: dict[str, Any] = {
        "challenger": str(candidate.id),
        "excluded_seen_in_training": len(held) - unseen,
    }
    if unseen != len(clean):
        facts["excluded_without_file"] = unseen - len(clean)
    if beyond:
        facts["without_face"] = beyond.facts
    if champion is None and not clean:
        return GateAnswer(GateRecord(True, FIRST, against, facts | {"code": "first"}), [])
    if not clean:
        sentence = (
            "Refused: there is no held-out video of people that neither model was trained on."
            " Import a data set, or label more videos, and try again."
        )
        if unseen:
            sentence = (
                "Refused: the files of all held-out videos are gone, and this model looks at whole frames."
                " Import a data set, or label more videos, and try again."
            )
        elif beyond:
            sentence = (
                "Refused: there is no held-out video with a face, of people that neither model was trained on, and"
                " one of the two models needs a face."
            )
        sentence += beyond.sentence if beyond else ""
        return GateAnswer(GateRecord(False, sentence, against, facts | {"code": TOO_SMALL}), [])
    mine = score_holdout(candidate, clean, on_progress=on_progress)
    look = 1
    if enough(mine):
        groups = len({video.component for video in mine})
        look = holdout_looks.take_look(snapshot=snapshot, candidate=candidate, champion=champion, groups=groups)
    if champion is None:
        result = compare_alone(mine, threshold=candidate.threshold, look=look)
        if result.code == TOO_SMALL:
            facts |= result.to_dict() | {"code": "first"}
            return GateAnswer(_record(True, FIRST, against, facts), mine)
    else:
        theirs = {video.key: video for video in score_holdout(champion, clean, on_progress=on_progress)}
        result = compare(
            [theirs[video.key] for video in mine],
            mine,
            champion_threshold=champion.threshold,
            candidate_threshold=candidate.threshold,
            look=look,
        )
    sentence = result.sentence + (beyond.sentence if beyond else "")
    return GateAnswer(_record(result.passed, sentence, against, facts | result.to_dict()), mine)


@dataclass(frozen=True)
class Counted:
    """How many videos of each label a model calls what they are."""

    n_real: int
    n_fake: int
    real_called_real: int
    fake_called_fake: int

    def __str__(self) -> str:
        return (
            f"{self.real_called_real} of {self.n_real} real ones called real, {self.fake_called_fake} of"
            f" {self.n_fake} fake ones called fake"
        )


def counted(videos: Sequence[ScoredVideo], *, threshold: float) -> Counted:
    """Count the videos that are called what they are."""
    called = Counter((video.label, int(video.score >= threshold)) for video in videos)
    of = Counter(video.label for video in videos)
    real, fake = int(Label.REAL), int(Label.FAKE)
    return Counted(of[real], of[fake], called[real, real], called[fake, fake])


@dataclass(frozen=True)
class _Beyond:
    """What a model of whole frames says of held-out videos without a face, which the other one cannot judge."""

    sentence: str
    facts: dict[str, Any]


def _beyond(
    version: ModelVersion, items: Sequence[SnapshotItem], *, on_progress: ProgressCallback | None
) -> _Beyond | None:
    if not items:
        return None
    found = counted(score_holdout(version, items, on_progress=on_progress), threshold=version.threshold)
    sentence = f" Beyond these, {version} judges {len(items)} held-out videos without a face: {found}."
    return _Beyond(sentence, {"model": str(version.id), **asdict(found)})


def _record(passed: bool, sentence: str, champion: str | None, facts: dict[str, Any]) -> GateRecord:
    rest = {key: fact for key, fact in facts.items() if key not in ("passed", "sentence")}
    return GateRecord(passed=passed, sentence=sentence, champion=champion, facts=rest)
