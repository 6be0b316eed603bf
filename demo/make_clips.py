"""Make the demo clips from pictures with a free licence: `python -m demo.make_clips [FOLDER]`.

The clips are committed, so nobody has to run this; it is here so that anybody can see what they are.  The pictures
are the ones that scikit-image ships: the portrait of the astronaut Eileen Collins (NASA, public domain) and a cup of
coffee (CC0).  Each clip is 156 frames of H.264, 640x360 at 30 frames/s, made by moving, turning and lighting a
picture, so that decoding and face detection are a real job.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
from skimage import data as pictures

Image = npt.NDArray[np.uint8]
"""height x width x 3, RGB."""

WIDTH, HEIGHT, FPS, FRAMES = 640, 360, 30, 156
CLIPS_DIR = Path(__file__).resolve().parent / "clips"

# Where the portrait's face is, in pixels of the 512x512 picture.
FACE_CENTRE = (224.0, 118.0)
FACE_AXES = (40.0, 54.0)


def camera(picture: Image, t: float, *, centre: tuple[float, float], zoom: float, size: tuple[int, int]) -> Image:
    """A hand-held look at `picture` at time `t` (0 to 1): slow pan, zoom, roll, and light that comes and goes.

    `zoom` is output pixels per picture pixel; `size` is (width, height) of the result.
    """
    turn = 2 * math.pi * t
    scale = zoom * (1 + 0.10 * math.sin(turn))
    x = centre[0] + 22 * math.sin(turn + 0.4)
    y = centre[1] + 9 * math.sin(2 * turn)
    matrix = cv2.getRotationMatrix2D((x, y), 5 * math.sin(turn + 1.0), scale)
    matrix[:, 2] += np.array([size[0] / 2 - x, size[1] / 2 - y])
    moved = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    light = 0.95 + 0.15 * math.sin(turn + 2.0)
    across = np.linspace(light - 0.10, light + 0.10, size[0], dtype=np.float32)[None, :, None]
    return np.clip(moved.astype(np.float32) * across, 0, 255).astype(np.uint8)


def stretch(picture: Image, *, wide: float, tall: float) -> Image:
    """The same picture with a wider and longer face: a smooth warp around `FACE_CENTRE`, nothing far from it moves."""
    height, width = picture.shape[:2]
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    dx, dy = xs - FACE_CENTRE[0], ys - FACE_CENTRE[1]
    near = np.exp(-((dx / 90) ** 2 + (dy / 110) ** 2))
    return cv2.remap(
        picture,
        xs - dx * near * (1 - 1 / wide),
        ys - dy * near * (1 - 1 / tall),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT,
    ).astype(np.uint8)


def tint(picture: Image, gains: tuple[float, float, float], *, gamma: float = 1.0) -> Image:
    """Other light and skin: a gain for each of R, G, B after a gamma curve."""
    levels = (picture.astype(np.float32) / 255) ** gamma * np.array(gains, dtype=np.float32)
    return (np.clip(levels, 0, 1) * 255).astype(np.uint8)


def derived_person(portrait: Image) -> Image:
    """The second person: the portrait mirrored, with another face shape, skin and suit.  Not another human being."""
    other = tint(stretch(portrait, wide=1.22, tall=0.94), (0.78, 0.70, 0.72), gamma=1.5)
    hsv = cv2.cvtColor(other, cv2.COLOR_RGB2HSV)
    suit = hsv[..., 1] > 150
    suit[: int(FACE_CENTRE[1] + 66)] = False  # hair keeps its colour
    hsv[..., 0] = np.where(suit, (hsv[..., 0].astype(np.int16) + 100) % 180, hsv[..., 0]).astype(np.uint8)
    return np.ascontiguousarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[:, ::-1]).astype(np.uint8)


def one_person() -> Iterator[Image]:
    portrait: Image = pictures.astronaut()
    for index in range(FRAMES):
        yield camera(portrait, index / FRAMES, centre=(232, 150), zoom=1.5, size=(WIDTH, HEIGHT))


def two_people() -> Iterator[Image]:
    """A call with two tiles, each moving in its own time."""
    portrait: Image = pictures.astronaut()
    other = derived_person(portrait)
    half = (WIDTH // 2, HEIGHT)
    for index in range(FRAMES):
        t = index / FRAMES
        left = camera(portrait, t, centre=(226, 160), zoom=1.3, size=half)
        right = camera(other, t + 0.37, centre=(286, 150), zoom=1.15, size=half)
        yield np.hstack([left, right])


def no_face() -> Iterator[Image]:
    cup: Image = pictures.coffee()
    for index in range(FRAMES):
        yield camera(cup, index / FRAMES, centre=(280, 190), zoom=1.25, size=(WIDTH, HEIGHT))


def blended_fake() -> Iterator[Image]:
    """A self-blended face (the idea of Shiohara & Yamasaki, CVPR 2022), with the flicker of a frame-by-frame swap.

    The face is replaced by a warped, recoloured and blurred copy of itself under a soft mask, a little differently in
    every frame.
    """
    portrait: Image = pictures.astronaut()
    rng = np.random.default_rng(7)
    source = tint(stretch(portrait, wide=1.10, tall=1.04), (1.05, 0.93, 0.86), gamma=1.1)
    source = cv2.GaussianBlur(source, (0, 0), 1.1).astype(np.uint8)
    for index in range(FRAMES):
        disc = np.zeros(portrait.shape[:2], dtype=np.float32)
        centre = (round(FACE_CENTRE[0] + rng.normal(0, 0.8)), round(FACE_CENTRE[1] + 6 + rng.normal(0, 0.8)))
        cv2.ellipse(disc, centre, (int(FACE_AXES[0]), int(FACE_AXES[1])), 0, 0, 360, 1.0, -1)
        mask = cv2.GaussianBlur(disc, (0, 0), 4.0)[..., None]
        jitter = np.array([[1, 0, rng.normal(0, 1.0)], [0, 1, rng.normal(0, 1.0)]])
        copy = cv2.warpAffine(source, jitter, (512, 512), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        pasted = np.clip(copy.astype(np.float32) * rng.normal(1.0, 0.02), 0, 255)
        blended = (mask * pasted + (1 - mask) * portrait.astype(np.float32)).astype(np.uint8)
        yield camera(blended, index / FRAMES, centre=(232, 150), zoom=1.5, size=(WIDTH, HEIGHT))


CLIPS: dict[str, Callable[[], Iterator[Image]]] = {
    "one-person.mp4": one_person,
    "two-people.mp4": two_people,
    "no-face.mp4": no_face,
    "blended-fake.mp4": blended_fake,
}


def write_clip(path: Path, frames: Iterator[Image], *, crf: int = 27) -> int:
    """H.264 in MP4 that every browser plays.  Returns the file's size in bytes."""
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryslow", "g": "60"}
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", nargs="?", type=Path, default=CLIPS_DIR)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in CLIPS.items():
        print(f"{name}: {write_clip(folder / name, make()):,} bytes")


if __name__ == "__main__":
    main()
