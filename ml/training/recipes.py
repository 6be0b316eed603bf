"""Recipes: everything that a training of shipped weights is made of, in one place.

    python -m ml.train PACK --out DIR --recipe baseline

`docs/measurements.md` has what each choice was measured against.  The pack comes from `python -m ml.data prepare`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Recipe:
    """Defaults of `ml.train`'s options; what is given on the command line goes before them."""

    backbone: str
    size: int
    """Side of the network's input, in pixels."""
    crops: int
    """Seen in the frame stage, self-blended ones included."""
    batch_size: int
    lr: float
    ema: float
    """Decay per step of the average of weights that is the result."""
    source_weights: tuple[tuple[str, float], ...]
    """Share of the groups (real, self-blended, and a forgery where the source has any) drawn from each source."""
    mirror: bool = False
    """Mirror images at inference cost as much as a second member, and gave less (DFDC 0.881 to 0.890)."""
    start: str = "imagenet"
    """imagenet or scratch."""
    workers: int = 1
    steps_per_epoch: int = 250
    sequence_epochs: int = 0
    """None: on so few videos the recurrence learns the videos.  Its scores of one clip encoded anew differed by 0.3."""
    sequence_draws: int = 1024
    bootstrap: int = 1000

    def for_cuda(self) -> Recipe:
        """Return the same recipe for a GPU: more pixels, a wider backbone, larger batches, ten times the crops."""
        return replace(
            self,
            backbone="tf_efficientnet_lite2",
            size=224,
            crops=10 * self.crops,
            batch_size=4 * self.batch_size,
            lr=2 * self.lr,
            workers=8,
        )

    def for_smoke(self) -> Recipe:
        """Return the same recipe in a minute: few crops of few pixels.  It proves the way, not the weights."""
        return replace(
            self, size=96, crops=1536, batch_size=32, ema=0.9, steps_per_epoch=16, source_weights=(),
            sequence_draws=256, bootstrap=100,
        )  # fmt: skip


BASELINE = Recipe(
    backbone="tf_efficientnet_lite0",
    size=160,
    crops=250_000,
    batch_size=64,
    lr=6e-4,
    ema=0.998,
    source_weights=(
        # Real forgeries teach a set.
        ("dfdc", 0.44),
        ("ffpp", 0.13),
        ("ffppframes", 0.02),
        ("celeb-df", 0.035),
        ("stylegan", 0.03),
        # Self-blended ones teach forgery, and every kind of real faces needs some of its own.
        ("talker", 0.09),
        ("web_colour", 0.065),
        ("other", 0.065),
        ("voxceleb", 0.05),
        ("ytf", 0.035),
        ("ffhq", 0.025),
        ("amfd", 0.025),
    ),
)
RECIPES = {"baseline": BASELINE}
