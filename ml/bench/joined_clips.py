"""False alarms on long videos: `python -m ml.bench.joined_clips FOLDER...`, where all videos of the folders are real.

The clips are brought to one size and encoding, and judged one by one.  Then they are joined, in random order and
without encoding anything again, to long videos of `--clips` clips each, which are judged as the product judges them.
Compared are the shares that are called fake, at the weights' threshold, and at those thresholds that call a tenth, a
fifth and so on of the single clips fake: weights that have seen the clips in training call hardly any of them fake at
their own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ml.analyze import analyze
from ml.config import SegmentConfig
from ml.data.catalog.files import VIDEO_SUFFIXES
from ml.faces.detector import FaceDetector
from ml.model.decision import Decision
from ml.model.inference import Classifier
from ml.model.weights import BASELINE
from ml.video.decode import decode
from ml.video.errors import VideoError

WIDTH, HEIGHT, FPS = 640, 480, 25
SINGLE_SHARES = (0.05, 0.1, 0.2, 0.3)
"""Of the single clips that thresholds call fake, beside the weights' own."""


def normalise(path: Path, out: Path) -> Path:
    """Write `out` (MP4): the first frames of a video, letterboxed to WIDTH x HEIGHT at FPS, in H.264.

    Raises ml.video.errors.VideoError for a file that cannot be judged.
    """
    with av.open(str(out), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "18", "threads": "1"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in decode(path):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(_letterboxed(frame.rgb()), format="rgb24")))
        container.mux(stream.encode(None))
    return out


def _letterboxed(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    scale = min(WIDTH / width, HEIGHT / height)
    size = max(2, round(width * scale)), max(2, round(height * scale))
    canvas = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    x, y = (WIDTH - size[0]) // 2, (HEIGHT - size[1]) // 2
    canvas[y : y + size[1], x : x + size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return canvas


def join(clips: Sequence[Path], out: Path) -> Path:
    """Write the clips of `normalise` one after another into `out`; packets are copied."""
    with av.open(str(out), "w") as target:
        copy: av.VideoStream | None = None
        offset = 0
        for clip in clips:
            with av.open(str(clip)) as source:
                stream = source.streams.video[0]
                assert stream.time_base is not None
                if copy is None:
                    copy = target.add_stream_from_template(stream)
                end = offset
                for packet in source.demux(stream):
                    if packet.dts is None or packet.pts is None:
                        continue
                    end = max(end, offset + packet.pts + round(Fraction(1, FPS) / stream.time_base))
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = copy
                    target.mux(packet)
                offset = end
    return out


def decision_on(path: Path, detector: FaceDetector, classifier: Classifier, segments: SegmentConfig) -> Decision | None:
    """Return the decision on a video; None where nobody is found."""
    judgement = analyze(path, classifier, detector=detector, segments=segments).judgement
    return judgement.decision if judgement else None


def long_videos(clips: Sequence[Path], folder: Path, *, count: int, length: int, seed: int) -> Iterator[Path]:
    """Yield `count` videos of `length` different clips, drawn at random; each is gone when the next one is made."""
    draw = np.random.default_rng(seed)
    for _ in range(count):
        chosen = draw.permutation(len(clips))[:length]
        path = join([clips[k] for k in chosen], folder / "long.mp4")
        yield path
        path.unlink()


def summary(singles: Sequence[float], joined: Sequence[float], threshold: float) -> dict[str, Any]:
    """Compare the shares of real videos that are called fake, from their fake probabilities.

    `at`: one row a threshold, the first at the weights' own.
    """
    thresholds = [threshold, *(float(np.quantile(singles, 1 - share, method="higher")) for share in SINGLE_SHARES)]
    rows = []
    for at in thresholds:
        one, many = (sum(score >= at for score in scores) / len(scores) for scores in (singles, joined))
        rows.append({"threshold": round(at, 3), "single": round(one, 4), "joined": round(many, 4)})
    return {"single_clips": len(singles), "joined_videos": len(joined), "at": rows}


def measure(
    files: Sequence[Path],
    classifier: Classifier,
    *,
    count: int,
    length: int,
    segments: SegmentConfig | None = None,
    seed: int = 1,
) -> dict[str, Any]:
    """Judge the clips alone and joined; see `summary`.  Clips without a face or a picture are left out.

    Raises ValueError where none is left.
    """
    detector, segments = FaceDetector(), segments or SegmentConfig()
    clips, singles = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, path in enumerate(tqdm(files, desc="clips", disable=None)):
            try:
                clip = normalise(path, folder / f"{number}.mp4")
            except VideoError:
                continue
            decision = decision_on(clip, detector, classifier, segments)
            if decision:
                clips.append(clip)
                singles.append(decision.fake_probability)
        if not clips:
            raise ValueError("no clip shows a face")
        joined, uncorrected, seen = [], [], []
        videos = long_videos(clips, folder, count=count, length=length, seed=seed)
        for path in tqdm(videos, desc="videos", total=count, disable=None):
            decision = decision_on(path, detector, classifier, segments)
            if decision:
                scores = [round(part.fake_probability, 3) for part in decision.segments]
                tqdm.write(f"{decision.fake_probability:.3f} of {scores}", file=sys.stderr)
                joined.append(decision.fake_probability)
                uncorrected.append(max(part.fake_probability for part in decision.segments))
                seen.append(len(decision.segments))
    without = summary(singles, uncorrected, classifier.info.threshold)["at"]
    found = summary(singles, joined, classifier.info.threshold)
    for row, other in zip(found["at"], without, strict=True):
        row["joined_without_rule"] = other["joined"]
    return found | {"clips_a_video": min(length, len(clips)), "segments_with_people": round(float(np.mean(seen)), 1)}


def main() -> int:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m ml.bench.joined_clips", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="+", help="real videos, searched with what lies below")
    parser.add_argument("--weights", type=Path, default=BASELINE)
    parser.add_argument("--videos", type=int, default=30, help="long videos to make (default: 30)")
    parser.add_argument("--clips", type=int, default=30, help="clips in each of them (default: 30)")
    parser.add_argument("--sample", type=int, help="take so many of the real clips (default: all)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    files = sorted(p for folder in options.folder for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
    if options.sample:
        files = [
            files[k] for k in sorted(np.random.default_rng(options.seed).permutation(len(files))[: options.sample])
        ]
    classifier = Classifier.load(options.weights)
    print(
        json.dumps(measure(files, classifier, count=options.videos, length=options.clips, seed=options.seed), indent=2)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
