"""The images that are measured: seeded degradations of clean ones, degraded ones, infrared-visible pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from .. import degradations, scenes
from ..sources import read_grey
from ..thermal.readers import THERMAL_EXTENSIONS
from .dead import dead_map
from .fusion import VIF_SIDE
from .metrics import SSIM_SIDE, to_8_bit

PAPER_TASKS = ("fpn", "sr-x2", "sr-x4", "composite", "mild", "moderate", "severe", "extreme")
"""Presets of ``degradations``: FPN correction, blind super-resolution, composite degradation and its severities."""

UNTOUCHED = "untouched"
"""The task of clean images without any degradation: does a method leave a good image alone?"""

SYNTHETIC_TASKS = (*degradations.PRESETS, UNTOUCHED)
"""Tasks on clean images."""

DEGRADED, FUSION = "degraded", "fusion"

TASKS = (*SYNTHETIC_TASKS, DEGRADED, FUSION)


# --- images ----------------------------------------------------------------------------------------------------------


def read_page(path: Path, *, as_is: bool = False) -> np.ndarray:
    """The image of a file with a single page, ``[H, W]`` float32 in [0, 1], as ``hidra enhance`` sees it.

    Args:
        path: an image file, or a file with the counts of a thermal camera.
        as_is: see :func:`~hidra_core.sources.read_grey`.

    Raises:
        OSError: the file is missing, is a folder, or may not be read.
        ValueError: it is damaged, of an unknown kind, or has several pages.
        ImportError: it needs an optional package.
    """
    pages = read_grey(path, as_is=as_is)
    if len(pages) != 1:
        raise ValueError(
            f"{path} has {len(pages)} pages, and images of one page are measured: save each page as its own file"
        )
    return pages[0]


class ImageSet(Mapping[str, np.ndarray]):
    """Grey images by name in alphabetical order, read when asked for: ``[H, W]`` float32 in [0, 1] on 8-bit levels.

    Files are read as ``hidra enhance`` reads them: thermal files by their counts, stretched to their own range as every
    image of 16 bits is. The alphabetical order, not that of numbers in the names, decides which seed an image gets.

    Args:
        files: paths by name; names have forward slashes.
        as_is: the images may be coloured, see :func:`~hidra_core.sources.read_grey`.
    """

    def __init__(self, files: Mapping[str, Path], *, as_is: bool = False) -> None:
        self.files = dict(sorted(files.items()))
        self._as_is = as_is

    def __getitem__(self, name: str) -> np.ndarray:
        return to_8_bit(read_page(self.files[name], as_is=self._as_is)).astype(np.float32) / 255

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Height and width of each image; reads every file once.

        Raises:
            OSError: a file cannot be opened.
            ValueError: a file is damaged or has several pages.
        """
        return {name: (image.shape[0], image.shape[1]) for name, image in self.items()}


class RenderedScenes(ImageSet):
    """The project's own scenes, 512x640, two of each kind, for users without clean images of their own."""

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


def partners(names: Sequence[str], files: Mapping[str, Path], what: str, *, as_is: bool = False) -> ImageSet:
    """The images of another folder that belong to these names: of the same name, perhaps with another extension.

    Args:
        names: to find partners for.
        files: paths of the other folder's images, by name.
        what: names the other folder in errors.
        as_is: see :class:`ImageSet`.

    Raises:
        ValueError: a name has no partner, or several.
    """
    by_stem: dict[str, list[str]] = {}
    for name in files:
        by_stem.setdefault(str(Path(name).with_suffix("")), []).append(name)
    partner_files = {}
    for name in names:
        stem = str(Path(name).with_suffix(""))
        matches = [name] if name in files else by_stem.get(stem, [])
        if len(matches) != 1:
            count = "no image" if not matches else f"{len(matches)} images"
            raise ValueError(f"{what} has {count} named {stem} for the input {name}; one is needed, of the same name")
        partner_files[name] = files[matches[0]]
    return ImageSet(partner_files, as_is=as_is)


# --- tasks -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One image that every method works on.

    Attributes:
        name: name of the image.
        image: the input of the methods, ``[H, W]`` float32 in [0, 1], on 8-bit levels.
        reference: the clean image, or None if there is none.
        visible: the visible partner, for fusion.
        draw: number of the degradation of this image, from 0.
        seed: seed of that degradation's generator.
        record: the degradation, as ``DegradationRecord.to_dict`` gives it.
        dead: ``[H, W]`` bool, the pixels that died, see ``dead.dead_map``; None if none did or it is not known.
    """

    name: str
    image: np.ndarray
    reference: np.ndarray | None = None
    visible: np.ndarray | None = None
    draw: int = 0
    seed: int | None = None
    record: dict[str, Any] = field(default_factory=dict)
    dead: np.ndarray | None = None

    def partner(self, role: Literal["reference", "visible"]) -> np.ndarray:
        """The reference or the visible partner, for a metric that cannot do without it.

        Args:
            role: which of the two.

        Raises:
            ValueError: the case has none.
        """
        image = self.reference if role == "reference" else self.visible
        if image is None:
            raise ValueError(f"{self.name} has no {role} image, which this metric needs")
        return image


def file_name(name: str, draw: int = 0) -> str:
    """A relative name for the result of one draw of an image, as a PNG file."""
    stem = name if Path(name).suffix.lower() not in THERMAL_EXTENSIONS else str(Path(name).with_suffix(""))
    return f"{stem}-draw{draw}.png" if draw else f"{stem}.png"


@dataclass(frozen=True)
class Task:
    """A named sequence of cases.

    Attributes:
        name: one of ``TASKS``.
        inputs: clean images of a synthetic task, else the inputs of the methods.
        references: clean versions of degraded images, if there are any.
        visible: the visible partners, for fusion.
        seed: seed of a synthetic task's first case, see ``cases``.
        draws: degradations of each image in a synthetic task.
    """

    name: str
    inputs: ImageSet
    references: ImageSet | None = None
    visible: ImageSet | None = None
    seed: int = 0
    draws: int = 1

    @property
    def has_reference(self) -> bool:
        """Whether every case has a clean image to compare with."""
        return self.name in SYNTHETIC_TASKS or self.references is not None

    @property
    def has_dead_pixels(self) -> bool:
        """Whether the degradation may have dead pixels."""
        return self.name in degradations.PRESETS and degradations.PRESETS[self.name].p_dead > 0

    def __len__(self) -> int:
        return len(self.inputs) * (self.draws if self.name in degradations.PRESETS else 1)

    def cases(self) -> Iterator[Case]:
        """The cases in order. Draw number d of image number i has the seed ``seed + d · (number of images) + i``."""
        if self.name not in degradations.PRESETS:
            for name, image in self.inputs.items():
                reference = self.references[name] if self.references is not None else None
                visible = self.visible[name] if self.visible is not None else None
                yield Case(name, image, reference=image if self.name == UNTOUCHED else reference, visible=visible)
            return
        for draw in range(self.draws):
            for index, (name, clean) in enumerate(self.inputs.items()):
                seed = self.seed + draw * len(self.inputs) + index
                degraded, record = degrade(clean, self.name, seed)
                yield Case(
                    name,
                    degraded,
                    reference=clean,
                    draw=draw,
                    seed=seed,
                    record=record.to_dict(),
                    dead=dead_map(clean, record),
                )

    def check(self) -> None:
        """Read every image once, so that errors show before hours of work.

        Raises:
            OSError: a file cannot be opened.
            ValueError: a file is damaged or has several pages; an image is too small for SSIM's window (VIF's for
                fusion), or not of its partner's size.
        """
        least = VIF_SIDE if self.name == FUSION else SSIM_SIDE
        others = {"reference": self.references, "visible partner": self.visible}
        for name, size in self.inputs.sizes.items():
            if min(size) < least:
                raise ValueError(f"{name} has {size[1]}×{size[0]} pixels; at least {least}×{least} are needed")
            for what, images in others.items():
                if images is not None and images.sizes[name] != size:
                    theirs = images.sizes[name]
                    raise ValueError(
                        f"{name} has {size[1]}×{size[0]} pixels and its {what} {theirs[1]}×{theirs[0]}; "
                        "pairs must be aligned and of one size"
                    )


def degrade(clean: np.ndarray, preset: str, seed: int) -> tuple[np.ndarray, degradations.DegradationRecord]:
    """One draw of a preset; a draw without any stage is repeated, because its PSNR would be infinite.

    Args:
        clean: ``[H, W]`` float32 in [0, 1].
        preset: one of ``degradations.PRESETS``.
        seed: seed of the generator; the same seed gives the same image.

    Returns:
        The degraded image, ``[H, W]`` float32 on 8-bit levels, and its record.
    """
    generator, image = torch.Generator().manual_seed(seed), torch.from_numpy(clean)[None, None]
    while True:
        record = degradations.sample(preset, generator)
        degraded = degradations.apply(image, record)[0, 0].numpy()
        if np.abs(degraded - clean).max() > 1 / 255:
            return degraded, record
