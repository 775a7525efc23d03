"""What the evaluation measures on: seeded degradations of clean pictures, degraded pictures, infrared-visible pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import degradations, scenes
from ..images import EXTENSIONS, read_image, stretch, to_grey
from .fusion import VIF_SIDE
from .metrics import SSIM_SIDE, to_8_bit

PAPER_TASKS = ("fpn", "sr-x2", "sr-x4", "composite", "mild", "moderate", "severe", "extreme")
"""Presets of ``degradations``: FPN correction, blind super-resolution, composite degradation and its severities."""

UNTOUCHED = "untouched"
"""The clean pictures as they are: does a method leave a good picture alone?"""

SYNTHETIC_TASKS = (*degradations.PRESETS, UNTOUCHED)
"""Tasks on clean pictures."""

DEGRADED, FUSION = "degraded", "fusion"

TASKS = (*SYNTHETIC_TASKS, DEGRADED, FUSION)


# --- pictures --------------------------------------------------------------------------------------------------------


class Pictures(Mapping[str, np.ndarray]):
    """Grey pictures by name, in alphabetical order, read when asked for: ``[H, W]`` float32, rounded to 8 bits.

    16-bit pictures are stretched to their own range first, as everywhere; alphabetical order, not that of numbers in
    the names, decides which seed a picture gets.

    Args:
        files: by name, with forward slashes.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.files = dict(sorted(files.items()))

    def __getitem__(self, name: str) -> np.ndarray:
        picture = read_image(self.files[name])
        pixels = stretch(torch.from_numpy(picture.pixels), picture.limits())
        return to_8_bit(to_grey(pixels[None])[0, 0].numpy()).astype(np.float32) / 255

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Height and width of each, by reading every picture once.

        Raises:
            OSError, ValueError: a picture cannot be read.
        """
        return {name: self[name].shape for name in self}


class RenderedScenes(Pictures):
    """The project's own scenes, 512x640, two of each kind: clean pictures for whoever has none."""

    def __init__(self) -> None:
        super().__init__({})
        self.scenes = {f"{name} {seed}": (name, seed) for name in scenes.SCENES for seed in (11, 12)}

    def __getitem__(self, name: str) -> np.ndarray:
        kind, seed = self.scenes[name]
        return to_8_bit(scenes.render(kind, 512, 640, seed)).astype(np.float32) / 255

    def __iter__(self) -> Iterator[str]:
        return iter(self.scenes)

    def __len__(self) -> int:
        return len(self.scenes)


def partners(names: Sequence[str], files: Mapping[str, Path], what: str) -> Pictures:
    """The picture of another folder that belongs to each name: of that name, or of that name with another ending.

    Args:
        names: to find partners for.
        files: the other folder's pictures, by name.
        what: names the other folder in errors.

    Raises:
        ValueError: a name has no partner, or several.
    """
    by_stem: dict[str, list[str]] = {}
    for name in files:
        by_stem.setdefault(str(Path(name).with_suffix("")), []).append(name)
    found = {}
    for name in names:
        stem = str(Path(name).with_suffix(""))
        matches = [name] if name in files else by_stem.get(stem, [])
        if len(matches) != 1:
            count = "no picture" if not matches else f"{len(matches)} pictures"
            raise ValueError(f"{what} has {count} named {stem} for the input {name}; one is needed, of the same name")
        found[name] = files[matches[0]]
    return Pictures(found)


# --- tasks -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One picture for every method to work on.

    Attributes:
        name: of the picture.
        image: what the methods get, ``[H, W]`` float32 in [0, 1], on 8-bit levels.
        reference: the clean picture, or None if nobody has it.
        visible: the visible partner, for fusion.
        draw: number of the degradation of this picture, from 0.
        seed: of that degradation's generator.
        record: the degradation, as ``DegradationRecord.to_dict`` gives it.
    """

    name: str
    image: np.ndarray
    reference: np.ndarray | None = None
    visible: np.ndarray | None = None
    draw: int = 0
    seed: int | None = None
    record: dict[str, Any] = field(default_factory=dict)


def file_name(name: str, draw: int = 0) -> str:
    """A relative name for the result of one draw of a picture, as a PNG."""
    stem = name if Path(name).suffix.lower() not in EXTENSIONS else str(Path(name).with_suffix(""))
    return f"{stem}-draw{draw}.png" if draw else f"{stem}.png"


@dataclass(frozen=True)
class Task:
    """A named sequence of cases.

    Attributes:
        name: one of ``TASKS``.
        inputs: clean pictures of a synthetic task, else what the methods get.
        references: of degraded pictures, if there are any.
        visible: the partners, for fusion.
        seed, draws: of a synthetic task, see ``cases``.
    """

    name: str
    inputs: Pictures
    references: Pictures | None = None
    visible: Pictures | None = None
    seed: int = 0
    draws: int = 1

    @property
    def has_reference(self) -> bool:
        return self.name in SYNTHETIC_TASKS or self.references is not None

    def __len__(self) -> int:
        return len(self.inputs) * (self.draws if self.name in degradations.PRESETS else 1)

    def cases(self) -> Iterator[Case]:
        """Draw number d of picture number i has the seed ``seed + d · (number of pictures) + i``."""
        if self.name not in degradations.PRESETS:
            for name, image in self.inputs.items():
                reference = image if self.name == UNTOUCHED else self.references and self.references[name]
                yield Case(name, image, reference=reference, visible=self.visible and self.visible[name])
            return
        for draw in range(self.draws):
            for index, (name, clean) in enumerate(self.inputs.items()):
                seed = self.seed + draw * len(self.inputs) + index
                degraded, record = degrade(clean, self.name, seed)
                yield Case(name, degraded, reference=clean, draw=draw, seed=seed, record=record.to_dict())

    def check(self) -> None:
        """Read every picture once, so that nothing is found out after hours.

        Raises:
            OSError: a picture cannot be read.
            ValueError: one is damaged, too small for SSIM's window (VIF's for fusion), or not of its partner's size.
        """
        least = VIF_SIDE if self.name == FUSION else SSIM_SIDE
        others = {"reference": self.references, "visible partner": self.visible}
        for name, size in self.inputs.sizes.items():
            if min(size) < least:
                raise ValueError(f"{name} has {size[0]}x{size[1]} pixels; at least {least}x{least} are needed")
            for what, pictures in others.items():
                if pictures is not None and pictures.sizes[name] != size:
                    theirs = pictures.sizes[name]
                    raise ValueError(
                        f"{name} has {size[0]}x{size[1]} pixels and its {what} {theirs[0]}x{theirs[1]}; "
                        "pairs must be aligned and of one size"
                    )


def degrade(clean: np.ndarray, preset: str, seed: int) -> tuple[np.ndarray, degradations.DegradationRecord]:
    """One draw of a preset; drawn again while no stage is in it, as PSNR then is infinite.

    Args:
        clean: ``[H, W]`` float32 in [0, 1].
        preset: of ``degradations.PRESETS``.
        seed: of the generator; the same one gives the same picture.

    Returns:
        the degraded picture, ``[H, W]`` float32 on 8-bit levels, and its record.
    """
    generator, image = torch.Generator().manual_seed(seed), torch.from_numpy(clean)[None, None]
    while True:
        record = degradations.sample(preset, generator)
        degraded = degradations.apply(image, record)[0, 0].numpy()
        if np.abs(degraded - clean).max() > 1 / 255:
            return degraded, record
