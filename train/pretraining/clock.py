"""The recipe of ``train/hidra_tiny.py``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from train.method.config import NotNegative, Odds, Positive, Rate, Section, Settings, Share, Weight, load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

RECIPE = Path(__file__).parents[1] / "recipes" / "hidra-tiny.yaml"
"""The recipe of the files that ship."""

Batch = tuple[Positive, Positive, Positive]
"""Height and width of frames in pixels, and how many of them make a batch."""


class Data(Section):
    """Clean images, and how frames are made of them."""

    train: Path = Field(description="folder of clean thermal images, searched recursively")
    sources: dict[str, Weight] = Field(description="share of each source; 'others' are all that are not named")
    tone: Weight = Field(description="deviation of log gamma on clean images")
    enlarge: Rate = Field(description="images that would be enlarged more than this are left out of a size")
    sensor: Share = Field(description="share of frames that the networks see as the sensor stage leaves them")
    workers: NotNegative


class Loss(Section):
    """Weights of the terms that join the mean absolute error."""

    log: Weight = Field(description="of the logarithm of the error: PSNR, as a loss")
    fitted: Weight = Field(description="of the same after the gain and offset that fit best")
    ssim: Weight = Field(description="of structural dissimilarity over windows of 7 pixels")
    lines: Weight = Field(description="of stripes in the error")
    factors: Weight = Field(description="of how well the degradation vector tells the degradation")


class Phase(Section):
    """A phase that ends by the clock; one of 0 seconds is left out."""

    seconds: NotNegative
    rate: tuple[Rate, Rate] = Field(description="learning rate at the start and the end, along half a cosine")
    warmup: NotNegative = Field(description="steps")
    frames: list[Batch] = Field(min_length=1, description="sizes of frames and batches, of which each step draws one")


class EstimatorPhase(Phase):
    """The DEM alone."""

    shuffle: Share = Field(description="share of the batches whose frames are cut into blocks and shuffled")


class Run(Section):
    """The run: start, output, optimiser and average."""

    networks: str = Field(description="the configuration of train/pretrain.py that has the sizes of the networks")
    init: Path = Field(description="folder of the files to start from; hidra-tiny are those that ship")
    weight_decay: Weight
    clip: Rate = Field(description="largest norm of the gradient")
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(description="decay of the averaged weights")
    partial_strength: Share = Field(description="share of frames at a strength below 1")
    seed: int
    dtype: Literal["float32", "bfloat16"] = Field(description="of autocast")
    compile: bool = Field(description="compile the networks on a GPU")
    seconds: Positive | None = Field(
        default=None, description="of the whole run: phases share what is left of it in proportion to their own"
    )
    save_seconds: Positive = Field(description="between checkpoints, each with an export")
    output: Path


PHASES = ("estimator", "small", "whole")
"""In the order in which they run."""


class Recipe(Settings):
    """The recipe of ``train/hidra_tiny.py``."""

    free: ClassVar = {
        "run": frozenset(("output", "seconds", "save_seconds", "compile")),
        "data": frozenset(("workers", "train")),
        **dict.fromkeys(PHASES, frozenset(("seconds", "frames"))),
    }

    data: Data
    seen: Odds
    restored: Odds
    loss: Loss
    estimator: EstimatorPhase
    small: Phase
    whole: Phase
    run: Run

    def phase(self, name: str) -> Phase:
        """The section of one of :data:`PHASES`."""
        return getattr(self, name)


def read_recipe(source: str | Path, overrides: Sequence[str]) -> Recipe:
    """The recipe; for arguments and errors see :func:`~train.method.config.load_settings`."""
    return load_settings(Recipe, source, list(overrides))


def rate_at(phase: Phase, share: float, step: int) -> float:
    """The learning rate of a step.

    Args:
        phase: with the rates at its start and end.
        share: of the phase's time that is over.
        step: counted from 1; the first ones warm up.
    """
    start, end = phase.rate
    rate = end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    return rate * min(1.0, step / (phase.warmup + 1))
