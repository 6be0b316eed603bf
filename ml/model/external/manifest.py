"""What somebody says of their model: what it is shown and how its answer is meant."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ml.config import Alignment, FrameCrop, FrameView, LooksAt, ModelConfig

FORMAT = 1
MAX_BYTES = 64 * 1024
MIN_SIZE, MAX_SIZE = 16, 1024
MAX_TEXT = 300
MAX_PICTURES = 64
ONE = "NCHW"
TOGETHER = ("BTCHW", "BCTHW")
SPREAD, LAST = "spread", "last"
BACKBONE = "onnx"
"""In a `ModelConfig`: the network is the file."""


_SEES = {"face": "one face at a time", "sequence": "a person's faces together", "frames": "whole frames"}


class ModelRefused(Exception):  # an answer about the file, not a malfunction: hence no Error in its name
    """The model or its manifest is refused; `code` is stable for programs, `detail` is a sentence for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class Manifest:
    """A classifier of face crops, of a person's faces together, or of whole frames.

    The names are the keys of the JSON file.
    """

    name: str
    license: str
    """SPDX name, or whatever its terms are called."""
    source: str
    """Where it comes from: an address or a sentence."""
    input: str
    """Name of the only input, float32 in the order of `shape`."""
    size: int
    """Side of the square that it is shown, in pixels."""
    output: str
    """Name of the output that is read: (N, classes), (N, 1) or (N,)."""
    fake: int | str
    """Which of the classes is FAKE, counted from 0; of a single number "high" or "low", whichever means FAKE."""
    output_kind: str = "logits"
    """`logits` or `probabilities`."""
    colour: str = "RGB"
    """`RGB` or `BGR`."""
    pixel_max: int = 1
    """1 where pixels go from 0 to 1 before mean and deviation, 255 where they go from 0 to 255."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Subtracted, in the order of `colour`."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Divided by."""
    crop: str = ""
    """Of faces `none` (if nothing is said): a square about the detected face, 30 % larger than the longer side of its
    box; or `landmarks68`: levelled and framed by the face.  Of whole frames one of `ml.config.FrameCrop`, `centre` if
    nothing is said."""
    mirror: bool = False
    """Whether a score is the mean over the pictures and their mirror images."""
    threshold: float = 0.5
    """Fake probability from which a video is called fake."""
    temperature: float = 1.0
    """Divides the logits."""
    shift: float = 0.0
    """Added to the log-odds of FAKE after that: written by a recalibration."""
    trained_on: tuple[str, ...] = ()
    """People that it was trained on: they may not judge it."""
    looks_at: str = LooksAt.FACE.value
    """Of `ml.config.LooksAt`."""
    shape: str = ""
    """`NCHW`: each picture by itself, N = 1 or any; of faces and frames if nothing is said.  `BTCHW` or `BCTHW`: T
    pictures together, B = 1 or any; of sequences always, of frames where it is a clip that is judged."""
    pictures: int | None = None
    """Of a sequence its T, None for as many faces as there are; of whole frames how many a segment are looked at, 10 if
    nothing is said."""
    fewer: str = SPREAD
    """What it is shown together where there are fewer pictures than `pictures`: `spread`, each as often as the others,
    in their order; `last`, the last one again and again."""
    format: int = FORMAT
    metrics: dict[str, Any] = field(default_factory=dict)
    """Written by the calibration, never read from a person's file."""
    model_bytes: int = 0
    """Size of the model in front of the manifest, likewise."""

    def to_json(self) -> str:
        """Return it as it is stored with the model."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)

    def config(self) -> ModelConfig:
        """Return the preprocessing, in the product's terms: RGB from 0 to 1."""
        turn = 1 if self.colour == "RGB" else -1
        mean, std = (tuple(x / self.pixel_max for x in values[::turn]) for values in (self.mean, self.std))
        return ModelConfig(
            backbone=BACKBONE,
            feature_dim=1,
            lstm_hidden=1,
            frame_mean=True,
            input_size=self.size,
            alignment=Alignment.NONE if self.frame_view else Alignment(self.crop),
            mirror=self.mirror,
            mean=(mean[0], mean[1], mean[2]),
            std=(std[0], std[1], std[2]),
        )

    @property
    def together(self) -> bool:
        """Whether the pictures are shown together."""
        return self.shape in TOGETHER

    @property
    def frame_view(self) -> FrameView | None:
        """Which whole frames it is shown; None where it is shown faces."""
        if self.looks_at != LooksAt.FRAMES:
            return None
        return FrameView(self.size, FrameCrop(self.crop), self.pictures or FrameView.count)


def read_manifest(path: Path) -> Manifest:
    """Read a person's file.  Raises ModelRefused: `invalid_manifest`."""
    try:
        with path.open("rb") as handle:
            text = handle.read(MAX_BYTES + 1)
    except OSError as error:
        raise ModelRefused("invalid_manifest", f"The manifest cannot be read: {error.strerror}.") from error
    if len(text) > MAX_BYTES:
        raise ModelRefused("invalid_manifest", f"The manifest is larger than {MAX_BYTES // 1024} kB.")
    manifest = parse_manifest(text)
    for key in ("metrics", "model_bytes"):
        if getattr(manifest, key):
            raise _invalid(f"`{key}` is not yours to say: it is found out here")
    return manifest


def parse_manifest(text: str | bytes) -> Manifest:
    """Read JSON.  Raises ModelRefused: `invalid_manifest`, `not_supported`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid("it is no JSON") from error
    if not isinstance(value, Mapping):
        raise _invalid("it is no JSON object")
    known = {one.name for one in fields(Manifest)}
    if unknown := sorted(str(key)[:40] for key in value.keys() - known):
        raise _invalid(f"it has {', '.join(unknown[:5])}, which nothing is known of")
    needed = {"name", "license", "source", "input", "size", "output", "fake"}
    if missing := sorted(needed - value.keys()):
        raise _invalid(f"it does not say {', '.join(missing)}")
    values = dict(value)
    for key in ("mean", "std", "trained_on"):
        if key in values:
            if not isinstance(values[key], list):
                raise _invalid(f"`{key}` must be a list")
            values[key] = tuple(values[key])
    looks_at = values.get("looks_at", Manifest.looks_at)
    if looks_at not in list(LooksAt):
        raise ModelRefused(
            "not_supported", f"The model looks at {str(looks_at)[:40]!r}; there are face, sequence and frames."
        )
    if looks_at != LooksAt.SEQUENCE:
        values["shape"] = values.get("shape") or ONE
    if looks_at == LooksAt.FRAMES and values.get("pictures") is None:
        values["pictures"] = FrameView.count
    values["crop"] = values.get("crop") or (FrameCrop.CENTRE if looks_at == LooksAt.FRAMES else Alignment.NONE).value
    manifest = Manifest(**values)
    _check(manifest)
    return manifest


def _check(m: Manifest) -> None:
    if m.format != FORMAT:
        raise _invalid(f"`format` must be {FORMAT}")
    for key in ("name", "license", "source", "input", "output"):
        text = getattr(m, key)
        if not isinstance(text, str) or not text.strip() or len(text) > MAX_TEXT or "\x00" in text:
            raise _invalid(f"`{key}` must be a text of 1 to {MAX_TEXT} characters")
    if not _whole(m.size) or not MIN_SIZE <= m.size <= MAX_SIZE:
        raise _invalid(f"`size` must be a whole number from {MIN_SIZE} to {MAX_SIZE}")
    if not (_whole(m.fake) and isinstance(m.fake, int) and 0 <= m.fake < 10_000) and m.fake not in ("high", "low"):
        raise _invalid('`fake` must be the number of a class, counted from 0, or "high" or "low"')
    whole = m.looks_at == LooksAt.FRAMES
    shapes = {LooksAt.FACE: (ONE,), LooksAt.SEQUENCE: TOGETHER, LooksAt.FRAMES: (ONE, *TOGETHER)}
    for key, allowed in (
        ("output_kind", ("logits", "probabilities")),
        ("colour", ("RGB", "BGR")),
        ("crop", tuple(one.value for one in (FrameCrop if whole else Alignment))),
        ("shape", shapes[LooksAt(m.looks_at)]),
        ("fewer", (SPREAD, LAST)),
    ):
        if getattr(m, key) not in allowed:
            raise _invalid(f"`{key}` must be {' or '.join(allowed)} for a model that looks at {_SEES[m.looks_at]}")
    if m.looks_at == LooksAt.FACE and m.pictures is not None:
        raise _invalid("`pictures` is not for a model that looks at one face at a time")
    if m.pictures is not None and not (_whole(m.pictures) and 1 <= m.pictures <= MAX_PICTURES):
        raise _invalid(f"`pictures` must be a whole number from 1 to {MAX_PICTURES}")
    if not _whole(m.pixel_max) or m.pixel_max not in (1, 255):
        raise _invalid("`pixel_max` must be 1 or 255")
    if len(m.mean) != 3 or not all(_number(x) for x in m.mean):
        raise _invalid("`mean` must be three numbers")
    if len(m.std) != 3 or not all(_number(x) and x > 1e-6 for x in m.std):
        raise _invalid("`std` must be three numbers above 0")
    if not isinstance(m.mirror, bool):
        raise _invalid("`mirror` must be true or false")
    if not _number(m.threshold) or not 0 < m.threshold < 1:
        raise _invalid("`threshold` must be a number between 0 and 1")
    if not _number(m.temperature) or not 0.01 <= m.temperature <= 100:
        raise _invalid("`temperature` must be a number from 0.01 to 100")
    if not _number(m.shift) or abs(m.shift) > 50:
        raise _invalid("`shift` must be a number from -50 to 50")
    if not all(isinstance(who, str) and 0 < len(who) <= 160 for who in m.trained_on):
        raise _invalid("`trained_on` must be names of people")
    if not isinstance(m.metrics, dict) or not _whole(m.model_bytes):
        raise _invalid("`metrics` must be an object, and `model_bytes` a whole number")


def _invalid(why: str) -> ModelRefused:
    return ModelRefused("invalid_manifest", f"The manifest cannot be used: {why}.")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
