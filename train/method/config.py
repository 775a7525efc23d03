"""The configuration of ``train/run.py``: what can be set, what it means, and its validation before any work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hidra_core.degradations import PRESETS

if TYPE_CHECKING:
    import argparse

Strategy = Literal["bilevel", "alternating", "joint", "lora"]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]

CONFIGS = Path(__file__).parents[1] / "configs"


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(Section):
    backbone: str = Field(description="'hidra-tiny', a diffusers folder of SD-Turbo, or a single file")
    init: str | None = Field(
        None, description="weights file to start from, or 'hidra-tiny'; None starts a fresh adapter, MIA and head"
    )
    fresh: bool = Field(False, description="take only the DEM's backbone and the text embedding of init")
    dinov2: str | None = Field(
        None, description="folder or file of facebook/dinov2-with-registers-base; None: as in init"
    )
    unet_rank: Positive = 32
    vae_rank: Positive = 16
    mia: bool = Field(True, description="False: the DEM without mutual interaction attention (ablation)")
    sigma: Literal["method", "identity"] = Field(
        "method", description="a fresh Σ starts as the method's, nearly 0, or as the identity: plain LoRA"
    )
    compile: bool = False
    gradient_checkpointing: bool = False


class Data(Section):
    train: str = Field(description="folder of clean images, searched recursively; 'scenes' renders some")
    train_list: Path | None = Field(None, description="text file, one path a line relative to train: only these")
    val: str | None = Field(None, description="folder of clean images; None holds every 20th training image out")
    val_list: Path | None = None
    presets: dict[str, Weight] = Field(description="degradation presets and their odds")
    crop: Annotated[int, Field(ge=64, multiple_of=64)] = 512
    frames: list[tuple[Positive, Positive]] | None = Field(
        None,
        min_length=1,
        description="heights and widths of frames to degrade and to estimate on; None: the whole image, the crop",
    )
    tone: Weight = Field(0.0, description="deviation of log gamma on clean images, so that few teach more")
    workers: Annotated[int, Field(ge=0)] = 4

    @model_validator(mode="after")
    def _known_presets(self) -> Data:
        unknown = sorted(set(self.presets) - set(PRESETS))
        if unknown or not any(self.presets.values()):
            what = f"unknown degradation preset '{unknown[0]}'" if unknown else "no degradation preset has odds above 0"
            raise ValueError(f"{what}; known presets: {', '.join(PRESETS)}")
        small = next((size for size in self.frames or () if min(size) < self.crop), None)
        if small is not None:
            raise ValueError(f"frame {small[0]}×{small[1]} is smaller than crop {self.crop}")
        return self


class Loss(Section):
    mse: Weight = 2.0
    perceptual: Literal["lpips", "structure", "none"] = "lpips"
    perceptual_weight: Weight = 5.0
    adversarial: Literal["dino", "patch", "none"] = "dino"
    adversarial_weight: Weight = 0.5
    dino: Path | None = Field(None, description="folder of facebook/dino-vitb16")


class Solver(Section):
    strategy: Strategy = "bilevel"
    iterations: Positive = 30_000
    warmup_iterations: Annotated[int, Field(ge=0)] = Field(5_000, description="joint descent of θ and ω on Φ before")
    period: Positive = Field(4, description="T: every so many iterations the upper level moves")
    pipelines: Positive = Field(2, description="M: degradation pipelines of D_val")
    nested_weight: Weight = 1.0


class Optimiser(Section):
    lr: Annotated[float, Field(gt=0)] = 2e-5
    lr_warmup: Annotated[int, Field(ge=0)] = 500
    schedule: Literal["constant", "cosine"] = "constant"
    betas: tuple[Share, Share] = (0.9, 0.999)
    weight_decay: Weight = 1e-2
    eps: Annotated[float, Field(gt=0)] = 1e-8
    clip: Annotated[float, Field(gt=0)] = 1.0


class Run(Section):
    output: Path
    seed: int = 0
    batch: Positive = Field(2, description="images a process and micro-batch")
    accumulation: Positive = 1
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="decay of the averaged weights; 0: none")
    log_every: Positive = 10
    validate_every: Positive = 1000
    validation_images: Positive = 16
    checkpoint_every: Positive = 500
    keep_checkpoints: Positive = 2


class Config(Section):
    """A whole run. Sections: model, data, loss, solver, optimiser, run."""

    model: Model
    data: Data
    loss: Loss = Loss()
    solver: Solver = Solver()
    optimiser: Optimiser = Optimiser()
    run: Run

    @model_validator(mode="after")
    def _sources(self) -> Config:
        if self.model.dinov2 is None and self.model.init is None:
            raise ValueError(
                "the DEM needs a backbone: set model.dinov2 to a folder of facebook/dinov2-with-registers-base, or "
                "model.init to a weights file that has one"
            )
        return self


NOT_FIXED = {
    "run": {"output", "log_every", "validate_every", "validation_images", "checkpoint_every", "keep_checkpoints"},
    "data": {"workers"},
}
"""What may differ between a checkpoint and the run that goes on from it."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """``--config`` and ``section.key=value`` overrides: what :func:`read_config` takes."""
    parser.add_argument("--config", required=True, help="name of a file of train/configs, or a YAML file")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="replace a value of the config")


def fixed_part(config: Config) -> dict[str, Any]:
    """Everything that a checkpoint depends on, as plain values."""
    sections = config.model_dump(mode="json")
    return {
        name: {key: value for key, value in section.items() if key not in NOT_FIXED.get(name, ())}
        for name, section in sections.items()
    }


def read_config(source: str | Path, overrides: list[str]) -> Config:
    """A YAML file, or the name of one of ``train/configs``, with ``section.key=value`` overrides.

    Raises:
        FileNotFoundError: no such file or name.
        ValueError: not YAML, or values, keys or overrides that the schema refuses; names each and what is expected.
    """
    path = Path(source)
    if not path.is_file() and path.suffix == "":
        path = CONFIGS / f"{source}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.yaml") if not p.stem.endswith("-prior")))
        raise FileNotFoundError(f"no config {source}: give a YAML file, or the name of one of {known}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} should hold sections (model, data, …), not {type(values).__name__}")
    for override in overrides:
        dotted, equals, value = override.partition("=")
        section, dot, key = dotted.partition(".")
        if not (equals and dot and section and key):
            raise ValueError(f"cannot override '{override}': write section.key=value, for instance run.seed=1")
        place = values.setdefault(section, {})
        if not isinstance(place, dict):
            raise ValueError(f"{path}: section '{section}' should hold keys and values")
        place[key] = yaml.safe_load(value)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{path}: {_explained(error)}") from error


def _explained(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"]) or "config"
        if problem["type"] == "extra_forbidden":
            section = Config.model_fields.get(str(problem["loc"][0]))
            fields = Config.model_fields if len(problem["loc"]) == 1 else section.annotation.model_fields
            lines.append(f"unknown key '{place}'; known: {', '.join(fields)}")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(
                f"{place}: {message}" + ("" if problem["type"] == "missing" else f" (got {problem['input']!r})")
            )
    return "; ".join(line if len(line) < 400 else line[:400] + "…" for line in lines)
