"""Recipes: everything that a training of shipped weights is made of, in one place.

    python -m ml.train PACK --out DIR --recipe baseline

trains two networks one after the other, `blended` and `forged`, and ships the mean of both: on one backbone the two
tasks cost each other what each learns alone.  At the end their common head gets a hidden layer and is fitted anew, so
that HEVC, HDR and tilted heads are not taken for forgeries.

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
    head_weights: tuple[float, float] = (0.5, 0.5)
    """Weights of the heads for self-blended and for forged faces (`ml.training.frame_stage`).

    Their sum is the part of the member in the mean that ships.
    """
    blended_share: float = 1.0
    """Share of the groups with a forgery that carry a self-blended face, too."""
    mild_share: float = 0.0
    """Share of the groups that are augmented mildly: strong changes hide the traces of real forgeries."""
    mirror: bool = False
    """Score mirror images, too; a second member costs as much and gives more."""
    start: str = "imagenet"
    """imagenet or scratch."""
    workers: int = 1
    steps_per_epoch: int = 250
    refit_crops: int = 33_000
    """Augmented crops that the head of all members is fitted to at the end (`ml.training.head_refit`); 0: it is not."""
    refit_recordings: int = 4_000
    refit_hidden: int = 128
    refit_stay: float = 3.0
    refit_invariance: float = 0.7
    refit_steps: int = 500
    sequence_epochs: int = 0
    """None: on so few videos the recurrence learns the videos by heart."""
    sequence_draws: int = 1024
    false_alarms: float = 0.10
    """Share of the validation's real videos that may be called fake: a false alarm costs a person time, or a name."""
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
            refit_crops=528, refit_recordings=48, refit_steps=150, sequence_draws=256, bootstrap=100,
        )  # fmt: skip


BLENDED = Recipe(
    head_weights=(0.6, 0.2),
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
FORGED = replace(
    BLENDED,
    head_weights=(0.0, 1.2),
    blended_share=0.0,
    mild_share=0.65,
    source_weights=(
        ("dfdc", 0.49),
        ("ffpp", 0.15),
        ("ffppframes", 0.02),
        ("celeb-df", 0.04),
        ("stylegan", 0.03),
        # Faces without a forgery of their own are set against self-blended ones, or they would all be called fake.
        ("talker", 0.08),
        ("web_colour", 0.05),
        ("other", 0.05),
        ("voxceleb", 0.04),
        ("ytf", 0.02),
        ("ffhq", 0.015),
        ("amfd", 0.015),
    ),
)
RECIPES = {"blended": BLENDED, "forged": FORGED}
BASELINE = tuple(RECIPES)
"""The recipes of the members whose mean is shipped."""
