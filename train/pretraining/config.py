"""The configuration of ``train/pretrain.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from train.method.config import NotNegative, Odds, Positive, Rate, Section, Settings, Share, Size, Weight, load_settings

NEEDED = {"unet": "cross_attention_dim", "dem": "patch_size"}
"""Of the sizes of networks those that the training itself reads."""


class Backbone(Section):
    """The networks that are made: sizes as diffusers and transformers want them."""

    name: str = Field(description="how weights files refer to the backbone")
    prediction_type: Literal["epsilon", "v_prediction"]
    unet: dict[str, Any] = Field(description="arguments of diffusers' UNet2DConditionModel")
    vae: dict[str, Any] = Field(description="arguments of diffusers' AutoencoderKL")
    dem: dict[str, Any] = Field(description="arguments of transformers' Dinov2WithRegistersConfig")
    dem_fit: Literal["resize", "crop"] = Field(description="how images come to whole patches of the DEM")

    @field_validator(*NEEDED)
    @classmethod
    def _has_what_training_reads(cls, values: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        key = NEEDED[str(info.field_name)]
        if key not in values:
            raise ValueError(f"it lacks '{key}'")
        return values


class AdapterRanks(Section):
    """Ranks of the low-rank branches."""

    unet_rank: Positive
    vae_rank: Positive


class Data(Section):
    """Clean images and how they are degraded."""

    train: Path = Field(description="folder of clean thermal images, searched recursively")
    presets: Odds = Field(description="degradation presets and their odds")
    seen: Odds = Field(description="the same for the phase in which the DEM learns alone")
    frames: list[Size] = Field(min_length=1, description="sizes of the frames to degrade, which the DEM reads whole")
    tone: Weight = Field(description="deviation of log gamma on clean images, to vary their grey levels")
    pool: Positive = Field(description="frames degraded once, from which the first phase draws")
    workers: NotNegative


class Loss(Section):
    """Weights of the terms that join the mean absolute error."""

    log: Weight = Field(description="of the logarithm of the error: PSNR, as a loss")
    ssim: Weight = Field(description="of structural dissimilarity over windows of 7 pixels")
    factors: Weight = Field(description="of how well the degradation vector tells the degradation, from joint on")


class Phase(Section):
    """What every phase has; one of 0 steps is left out."""

    steps: NotNegative
    batch: Positive
    lr: Rate
    warmup: NotNegative


class EstimatorPhase(Phase):
    """The DEM alone, on whole frames; the batch is that of the first size, larger frames in proportion."""

    shuffle: Share = Field(description="share of the steps whose frames are cut into blocks and shuffled")
    anchor: Weight = Field(description="with run.init: weight of telling what its DEM said, up to a linear map")


class CropPhase(Phase):
    """Square crops."""

    crop: Positive


class WholePhase(Phase):
    """Whole frames; the batch is that of the first size, larger frames in proportion."""

    frames: list[Size] = Field(min_length=1)


class Run(Section):
    """The run: start, output, optimiser and average."""

    init: Path | None = Field(default=None, description="folder of an earlier export to start from")
    new_dem: bool = Field(default=False, description="with init: another DEM from nothing")
    weight_decay: Weight
    clip: Rate = Field(description="largest norm of the gradient")
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(description="decay of the averaged weights")
    seed: int
    partial_strength: Share = Field(description="share of steps at a strength below 1, which blends input and target")
    dtype: Literal["float32", "bfloat16"] = Field(description="of autocast")
    checkpoint_every: Positive
    output: Path


PHASES = ("estimator", "autoencoder", "joint", "finish", "whole")
"""In the order in which they run."""


class PretrainingConfig(Settings):
    """The configuration of ``train/pretrain.py``."""

    prior: ClassVar[bool] = True
    free: ClassVar = {
        "run": frozenset(("output", "checkpoint_every")),
        "data": frozenset(("workers",)),
        # a phase may be made longer or shorter on the way
        **dict.fromkeys(PHASES, frozenset(("steps",))),
    }

    backbone: Backbone
    adapter: AdapterRanks
    data: Data
    loss: Loss
    estimator: EstimatorPhase
    autoencoder: CropPhase
    joint: CropPhase
    finish: CropPhase
    whole: WholePhase
    run: Run

    def phase(self, name: str) -> Phase:
        """The section of one of :data:`PHASES`."""
        return getattr(self, name)


def read_config(source: str | Path, overrides: list[str]) -> PretrainingConfig:
    """The configuration of ``train/pretrain.py``; for arguments and errors see :func:`load_settings`."""
    return load_settings(PretrainingConfig, source, overrides)
