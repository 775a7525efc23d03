"""The configuration of ``train/run.py``, and what it shares with that of ``train/pretrain.py``.

A configuration is a YAML file of sections. A schema says which keys a section has, what they mean and which values they
can have; everything is checked before any work.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from hidra_core.degradations import PRESETS
from hidra_core.images.files import atomic_path

if TYPE_CHECKING:
    import argparse

Strategy = Literal["bilevel", "alternating", "joint", "lora"]
"""How the two levels are trained."""

Positive = Annotated[int, Field(ge=1)]
"""A whole number from 1."""

NotNegative = Annotated[int, Field(ge=0)]
"""A whole number from 0."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A number from 0 to 1."""

Momentum = Annotated[float, Field(ge=0, lt=1)]
"""A number from 0, below 1."""

Weight = Annotated[float, Field(ge=0)]
"""A number from 0."""

Rate = Annotated[float, Field(gt=0)]
"""A number above 0."""

Size = tuple[Positive, Positive]
"""Height and width in pixels."""

CONFIGS = Path(__file__).parents[1] / "configs"
"""The folder of the configurations that are called by name."""


def _known_presets(odds: dict[str, float]) -> dict[str, float]:
    unknown = sorted(set(odds) - set(PRESETS))
    if unknown or not any(odds.values()):
        what = f"unknown degradation preset '{unknown[0]}'" if unknown else "no degradation preset has odds above 0"
        raise ValueError(f"{what}; known presets: {', '.join(PRESETS)}")
    return odds


Odds = Annotated[dict[str, Weight], AfterValidator(_known_presets)]
"""Names of degradation presets and their odds; they need not sum to 1."""


# ------------------------------------------------------------------------------------------- what both programs share


class Section(BaseModel):
    """Keys and values of one part of a configuration; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Settings(Section):
    """A whole configuration, made of sections."""

    free: ClassVar[Mapping[str, frozenset[str]]]
    """Keys of each section that may differ between a checkpoint and the run that continues from it."""

    prior: ClassVar[bool] = False
    """Whether it is one of ``train/pretrain.py``, whose files in ``train/configs`` end in ``-prior``."""

    def fixed(self) -> dict[str, Any]:
        """Everything that a checkpoint depends on, as plain values by section."""
        sections = self.model_dump(mode="json")
        return {
            name: {key: value for key, value in section.items() if key not in self.free.get(name, ())}
            for name, section in sections.items()
        }

    def write(self, path: Path) -> None:
        """Write a YAML file that gives the same configuration.

        Args:
            path: the file; one that is there is replaced, its folder is made.

        Raises:
            OSError: it cannot be written; an existing file stays untouched.
        """
        text = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


Schema = TypeVar("Schema", bound=Settings)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--config`` and ``section.key=value`` overrides, the arguments of :func:`load_settings`."""
    parser.add_argument("--config", required=True, help="name of a file of train/configs, or a YAML file")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="replace a value of the config")


def load_settings(schema: type[Schema], source: str | Path, overrides: list[str]) -> Schema:
    """Read a configuration, replace some of its values, and check it.

    Args:
        schema: the class of the configuration.
        source: a YAML file, or the name of one of ``train/configs``.
        overrides: each ``section.key=value``, the value in YAML. Further dots lead into dictionaries
            (``backbone.unet.sample_size=32``), whose keys must be in the file.

    Returns:
        The configuration.

    Raises:
        FileNotFoundError: no such file or name.
        ValueError: not YAML, or values, keys or overrides that the schema refuses; names each and what is expected.
    """
    path = Path(source)
    if not path.is_file() and path.suffix == "":
        path = CONFIGS / f"{source}.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"no config {source}: give a YAML file, or the name of one of {_names(schema)}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} should hold sections ({', '.join(schema.model_fields)}), not {type(values).__name__}")
    for override in overrides:
        _replace(values, override, path)
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{path}: {_explained(error, schema)}") from error


def _names(schema: type[Settings]) -> str:
    stems = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    return ", ".join(stem for stem in stems if stem.endswith("-prior") == schema.prior)


def _replace(values: dict[str, Any], override: str, path: Path) -> None:
    """Put the value of ``section.key=value`` into the sections as read from ``path``."""
    dotted, equals, text = override.partition("=")
    section, *inner = dotted.split(".")
    if not (equals and section and inner and all(inner)):
        raise ValueError(f"cannot override '{override}': write section.key=value, for instance run.seed=1")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"cannot override '{override}': its value is not YAML ({error})") from error
    place = values.setdefault(section, {})
    if not isinstance(place, dict):
        raise ValueError(f"{path}: section '{section}' should hold keys and values")
    *dictionaries, key = inner
    for name in dictionaries:
        place = place.get(name)
        if not isinstance(place, dict):
            raise ValueError(f"cannot override '{override}': {path} has no dictionary '{name}' there")
    if dictionaries:
        if key not in place:
            raise ValueError(f"cannot override '{override}': {path} has no '{dotted}'; known: {', '.join(place)}")
        if isinstance(value, str):  # YAML reads 1e-3 as a text; the schema, which knows better, looks no deeper
            with suppress(ValueError):
                value = float(value)
    place[key] = value


def _explained(error: ValidationError, schema: type[Settings]) -> str:
    lines = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"]) or "config"
        if problem["type"] == "extra_forbidden":
            fields = schema.model_fields
            if len(problem["loc"]) > 1:
                section: Any = fields[str(problem["loc"][0])].annotation
                fields = section.model_fields
            lines.append(f"unknown key '{place}'; known: {', '.join(fields)}")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(
                f"{place}: {message}" + ("" if problem["type"] == "missing" else f" (got {problem['input']!r})")
            )
    return "; ".join(line if len(line) < 400 else line[:400] + "…" for line in lines)


# ------------------------------------------------------------------------------------------- the method's training


class Model(Section):
    """The networks: where they come from and how large the adapter is."""

    backbone: str = Field(description="'hidra-tiny', a diffusers folder of SD-Turbo, or a single file")
    init: str | None = Field(
        default=None, description="weights file to start from, or 'hidra-tiny'; None: a fresh adapter, MIA and head"
    )
    fresh: bool = Field(default=False, description="use only the DEM's backbone and the text embedding of init")
    dinov2: str | None = Field(
        default=None, description="folder or file of facebook/dinov2-with-registers-base; None: the one of init"
    )
    unet_rank: Positive = 32
    vae_rank: Positive = 16
    mia: bool = Field(default=True, description="False: the DEM without mutual interaction attention (ablation)")
    sigma: Literal["method", "identity"] = Field(
        default="method", description="a fresh Σ starts as the method's, nearly 0, or as the identity: plain LoRA"
    )
    compile: bool = False
    gradient_checkpointing: bool = False


class Data(Section):
    """Clean images and how they are degraded."""

    train: str = Field(description="folder of clean images, searched recursively; 'scenes' renders some")
    train_list: Path | None = Field(
        default=None, description="text file with one path per line, relative to train: only these"
    )
    val: str | None = Field(default=None, description="folder of clean images; None holds out every 20th of train")
    val_list: Path | None = Field(default=None, description="the same as train_list, for val")
    presets: Odds = Field(description="degradation presets and their odds")
    crop: Annotated[int, Field(ge=64, multiple_of=64)] = Field(default=512, description="side of the square crops")
    frames: list[Size] | None = Field(
        default=None,
        min_length=1,
        description="sizes of the frames to degrade, which the DEM reads whole; None: images are degraded whole, and "
        "the DEM reads the crop",
    )
    tone: Weight = Field(default=0.0, description="deviation of log gamma on clean images, to vary their grey levels")
    workers: NotNegative = 4

    @model_validator(mode="after")
    def _frames_hold_the_crop(self) -> Data:
        small = next((size for size in self.frames or () if min(size) < self.crop), None)
        if small is not None:
            raise ValueError(f"frame {small[0]}×{small[1]} is smaller than crop {self.crop}")
        return self


class Loss(Section):
    """Terms of Φ and Ψ and their weights."""

    mse: Weight = 2.0
    perceptual: Literal["lpips", "structure", "none"] = "lpips"
    perceptual_weight: Weight = 5.0
    adversarial: Literal["dino", "patch", "none"] = "dino"
    adversarial_weight: Weight = 0.5
    dino: Path | None = Field(default=None, description="folder of facebook/dino-vitb16")


class Solver(Section):
    """How the two levels move."""

    strategy: Strategy = "bilevel"
    iterations: Positive = 30_000
    warmup_iterations: NotNegative = Field(
        default=5_000, description="iterations at the start in which θ and ω descend Φ jointly"
    )
    period: Positive = Field(default=4, description="T: every T-th iteration moves the upper level")
    pipelines: Positive = Field(default=2, description="M: degradation pipelines of D_val")
    nested_weight: Weight = 1.0


class Optimiser(Section):
    """AdamW and its schedule, the same for θ, ω and the discriminator."""

    lr: Rate = 2e-5
    lr_warmup: NotNegative = 500
    schedule: Literal["constant", "cosine"] = "constant"
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    weight_decay: Weight = 1e-2
    eps: Rate = 1e-8
    clip: Rate = Field(default=1.0, description="largest norm of each level's gradient")


class Run(Section):
    """The run: output, size of a batch, device, and how often something is written."""

    output: Path
    seed: int = 0
    batch: Positive = Field(default=2, description="images per process and micro-batch")
    accumulation: Positive = Field(default=1, description="micro-batches per iteration and process")
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="decay of the averaged weights; 0: no average"
    )
    log_every: Positive = 10
    validate_every: Positive = 1000
    validation_images: Positive = 16
    checkpoint_every: Positive = 500
    keep_checkpoints: Positive = 2


class Config(Settings):
    """The configuration of ``train/run.py``."""

    free: ClassVar = {
        "run": frozenset(
            ("output", "log_every", "validate_every", "validation_images", "checkpoint_every", "keep_checkpoints")
        ),
        "data": frozenset(("workers",)),
    }

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


def read_config(source: str | Path, overrides: list[str]) -> Config:
    """The configuration of ``train/run.py``; for arguments and errors see :func:`load_settings`."""
    return load_settings(Config, source, overrides)
