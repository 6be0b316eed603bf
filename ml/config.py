"""Every threshold of the vision and learning code, in one place.

Labels are fixed for the whole product: REAL = 0, FAKE = 1.  Celeb-DF's own test list says 1 = real;
the importer inverts it, nothing else does.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import IntEnum, StrEnum
from typing import Any


class Label(IntEnum):
    """The classifier's classes; the value is the index of the logit."""

    REAL = 0
    FAKE = 1


class ReviewReason(StrEnum):
    """Why a person must see a verdict."""

    NEAR_THRESHOLD = "near_threshold"
    SUSPECT_SEGMENT = "suspect_segment"
    FEW_FACES = "few_faces"
    EXPERIMENTAL_MODEL = "experimental_model"
    SENSITIVE_FACES = "sensitive_faces"


class Assessment(StrEnum):
    """A score in words; where one ends and the next begins are measured rates (ml/model/calibration.py)."""

    LIKELY_REAL = "likely_real"
    UNCLEAR = "unclear"
    SUSPICIOUS = "suspicious"
    LIKELY_FAKE = "likely_fake"


class LooksAt(StrEnum):
    """What a network is shown of a video."""

    FACE = "face"
    """Each face of a person by itself."""
    SEQUENCE = "sequence"
    """The faces of a person together."""
    FRAMES = "frames"
    """Whole frames, with or without a face."""


class FrameCrop(StrEnum):
    """How a whole frame becomes a square."""

    CENTRE = "centre"
    """The largest square about the middle, resized."""
    NATIVE = "native"
    """The square of that many pixels about the middle, as they are; a smaller frame is enlarged until it has it."""
    SQUEEZE = "squeeze"
    """The whole frame, resized without regard to its shape."""
    LETTERBOX = "letterbox"
    """The whole frame, resized in its shape, with black bars."""


@dataclass(frozen=True)
class FrameView:
    """Which whole frames a network is shown, and how."""

    size: int
    """Side of the square, in pixels."""
    crop: FrameCrop = FrameCrop.CENTRE
    count: int = 10
    """Frames of each segment, spread evenly over it."""


class RejectionReason(StrEnum):
    """Why a detection is not a valid face."""

    LOW_PROBABILITY = "low_probability"
    TOO_SMALL = "too_small"
    OUTSIDE = "outside"
    SHORT_TRACK = "short_track"
    TOO_MANY = "too_many"
    NOT_A_FACE = "not_a_face"


LABEL_MAP: dict[str, int] = {label.name.lower(): int(label) for label in Label}


@dataclass(frozen=True)
class VideoConfig:
    """What of a file is looked at, and what is refused."""

    max_frames: int = 150
    """Frames decoded from `start` on: one segment."""
    start: int | None = None
    """Presentation time, in the stream's unit, that the segment begins at; None is the beginning."""
    key: int | None = None
    """Of the key frame that decoding begins with; None where that is the segment's first frame."""
    max_width_or_height: int = 8192
    """Pixels of the longer side."""
    max_pixels: int = 7680 * 4320
    """Pixels of one frame."""
    max_duration_s: float = 4 * 3600.0
    """Longest duration by the container; a longer file is refused before it is decoded."""
    max_probe_packets: int = 20_000
    """Packets read while looking for the first `max_frames` video packets (a bound on interleaved audio)."""


@dataclass(frozen=True)
class SegmentConfig:
    """Where in a video longer than one segment further ones are looked at (see `ml.video.segments`)."""

    max_segments: int = 8
    """Segments of a video, the first `VideoConfig.max_frames` frames included; 1 looks at nothing else."""
    candidates: int = 24
    """Key frames decoded to choose from, spread over the whole length."""
    cut_candidates: int = 6
    """Pictures at cuts between key frames that are decoded, too."""
    preroll_pixels: int = 600 * 1920 * 1080
    """Of a video that are decoded at most, only to reach segments and cuts that lie between key frames."""
    min_length_s: float = 1.0
    """A segment of a short video must have at least this much of it left."""
    cut_threshold: float = 0.18
    """Mean absolute luma difference (0 to 1) of two key frames that counts as much as the whole length between them."""
    min_brightness: float = 0.04
    """Mean luma (0 to 1) under which a picture is black."""
    min_contrast: float = 0.04
    """Standard deviation of the luma (0 to 1) under which a picture is blank."""


@dataclass(frozen=True)
class FaceConfig:
    """Which faces are valid, how they are linked to people, and how they are cropped.  Lengths are pixels."""

    faces_per_track: int = 10
    first_pass_frames: int = 16
    """Frames spread evenly over the video that are looked at first."""
    dense_stride: int = 3
    """When people cannot be told apart or faces are missing, every third frame is looked at next."""
    detect_long_side: int = 640
    """Detection runs on a copy with this longer side; crops come from the full frame."""
    full_scale_frames: int = 16
    full_scale_long_side: int = 1920
    """The second pass, before NO_FACE is said, runs on up to this size."""
    turned_frames: int = 6
    """Frames tried in each other view (turned, padded, lifted) before NO_FACE is said."""
    view_padding: float = 0.25
    """Border around the frame, as a share of its longer side, where faces may be larger than it or cut by its edge."""
    min_face_detect: int = 20
    """MTCNN's smallest face, in pixels of the copy that it sees."""
    min_face_coarse: int = 64
    """MTCNN's smallest face in most frames of the first pass; smaller faces cost two thirds of a detection."""
    fine_probes: int = 2
    """Frames of the first pass that are searched for the smallest faces, too, to find further people."""
    mtcnn_thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)
    min_probability: float = 0.90
    min_size: float = 12.0
    """The shorter side of a valid box, in pixels of the full frame."""
    min_inside: float = 0.6
    """Share of a valid box's area that lies inside the frame; eyes, nose and mouth must lie inside, too."""
    clear_size: float = 28.0
    """Faces of at least this size (median over the track) are clear; smaller ones must earn their place by staying."""
    min_track_faces: int = 5
    """Fewer valid faces than this are not a person (unless the video itself has fewer frames)."""
    min_track_mean_probability: float = 0.95
    min_clear_presence: float = 0.15
    """Clear faces must be seen in at least this share of the video: someone who passes by is not its subject."""
    min_small_faces: int = 8
    min_small_span: float = 0.25
    """A track of small faces needs this many, over this share of the video, and nobody twice as large as clear."""
    max_faces_per_frame: int = 40
    max_tracks: int = 8
    """People who are judged, the most prominent ones; how many are left out is said."""
    link_min_iou: float = 0.1
    link_max_centre_shift: float = 0.9
    """Face widths beyond which two boxes are never one person."""
    link_max_scale: float = 1.6
    link_max_colour_distance: float = 0.4
    """Bhattacharyya distance of the crops' hue and saturation histograms, 0 (equal) to 1."""
    link_max_gap: int = 24
    """Frames that a person may be unseen and still be the same track."""
    link_ambiguity: float = 0.6
    """A rival link with at least this share of the best link's affinity makes it ambiguous."""
    cut_threshold: float = 0.18
    """Mean absolute luma difference (0 to 1) between neighbouring frames that counts as a cut."""
    same_person_distance: float = 0.55
    """Distance of two mean embeddings (`ml.faces.recognition.embedding`) below which they are one person."""
    one_track_distance: float = 0.60
    """Of single faces' embeddings: further apart within a track, two people may be in it."""
    one_view_distance: float = 0.50
    """Such a track is taken apart into faces within this of each other (in the mean), and its parts are compared."""
    margin: float = 0.30
    """Added around the box: a crop's side is (1 + margin) times the box's longer side."""
    crop_size: int = 224
    evidence_frames: int = 6
    """Sampled frames kept for a person when no valid face was found."""
    evidence_long_side: int = 640

    @classmethod
    def sensitive(cls) -> FaceConfig:
        """Return the settings of a sensitive rescan, for a video in which nobody was found.

        Smaller, fewer and shorter faces, more frames; a track must be as sure as ever.  What it finds and costs:
        docs/measurements.md#the-sensitive-rescan.
        """
        return cls(
            first_pass_frames=32,
            dense_stride=2,
            full_scale_frames=32,
            turned_frames=12,
            min_face_detect=12,
            mtcnn_thresholds=(0.5, 0.6, 0.6),
            min_probability=0.70,
            min_size=8.0,
            min_inside=0.6,
            clear_size=20.0,
            min_track_faces=3,
            min_clear_presence=0.03,
            min_small_faces=4,
            min_small_span=0.10,
        )


class Alignment(StrEnum):
    """What happens to a stored crop before the network sees it."""

    NONE = "none"
    """The square about the detector's box as it is stored: weights of before crops were levelled."""
    LANDMARKS_68 = "landmarks68"
    """Levelled and framed by 68 landmarks, see `ml.faces.alignment`."""


@dataclass(frozen=True)
class ModelConfig:
    """Architecture and preprocessing; stored with every set of weights, so that each is scored with its own."""

    backbone: str = "resnext50_32x4d"
    """Any name that `timm.create_model` knows."""
    members: int = 1
    """Backbones of that name side by side, each trained by itself; their features stand one after another."""
    feature_dim: int = 2048
    """Numbers that the backbones give for a face; `ml.model.network.model_config` asks them."""
    frame_hidden: int = 0
    """Units of the hidden layer that the frame head has beside its linear one; 0: none."""
    lstm_hidden: int = 128
    lstm_layers: int = 1
    dropout: float = 0.4
    frame_mean: bool = False
    """Whether the sequence's logits are the mean of its frames' plus what the recurrence adds to it."""
    input_size: int = 112
    """Side of the square the network sees, in pixels."""
    alignment: Alignment = Alignment.LANDMARKS_68
    mirror: bool = False
    """Whether a score is the mean over the faces and their mirror images."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    label_map: dict[str, int] = field(default_factory=lambda: dict(LABEL_MAP))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ModelConfig:
        """Read what `to_dict` wrote, of this and earlier versions.  Raises TypeError or ValueError."""
        known: dict[str, Any] = {k: tuple(v) if k in ("mean", "std") else v for k, v in data.items()}
        if "arch" in known:  # its name before there were backbones of other families
            known["backbone"] = known.pop("arch")
        known["alignment"] = Alignment(known.get("alignment", Alignment.NONE))
        return cls(**known)


@dataclass(frozen=True)
class DecisionConfig:
    """When a verdict needs review (`ml.model.decision.decide`), and where a score gets another word."""

    uncertain_margin: float = 0.15
    """A probability this close to the threshold is `near_threshold`."""
    few_faces: int = 10
    """A sequence of fewer faces than this is `few_faces`."""
    likely_real_fakes: float = 0.10
    """Share of the validation's fakes that may be called LIKELY_REAL."""
    likely_fake_reals: float = 0.02
    """Share of the validation's reals that may be called LIKELY_FAKE."""
    experimental_auc: float = 0.70
    """A version whose held-out AUC has a lower bound under this is experimental."""
    experimental_min_groups: int = 10
    """Effective groups of people, real and fake each, that a version must be judged on; else it is experimental."""
    experimental_min_videos: int = 20
    """Held-out videos, real and fake each, that a version must be judged on; else it is experimental."""


MIN_GROUPS = 5.0
"""Effective groups of people, of each label that a metric depends on, below which it gets no interval."""
MIN_GROUPS_BALANCED = 8.0
"""Balanced accuracy takes more groups: where all of few people of one label are answered rightly, it looks too sure."""


@dataclass(frozen=True)
class GateConfig:
    """What a candidate must show in the promotion gate (`ml.evaluation.promotion_gate`)."""

    min_real: int = 5
    min_fake: int = 5
    min_groups: float = MIN_GROUPS
    """Effective groups of people, of each label; fewer cannot tell how the next person will fare."""
    alpha: float = 0.05
    """What chance may win in all looks at one holdout together."""
    max_recall_loss: float = 0.05
    """Fake recall may not be lower by more than this with 95 % confidence.

    Unless the champion's own answers cannot be told from guessing: who calls everything fake misses none.
    """

    def alpha_of(self, look: int) -> float:
        """Return the share of `alpha` that the look (1 is the first) may spend; all looks together spend `alpha`."""
        return self.alpha / (look * (look + 1))
