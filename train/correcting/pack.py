"""What the training of the corrector needs of its images, measured once and kept in one small file."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from hidra_core import degradations
from hidra_core.degradations import UNTOUCHED
from hidra_core.images import find_images
from hidra_core.readouts.corrector import GRID, small_view
from hidra_core.sensor import SensorSettings, undo_sensor
from hidra_core.thermal.readers import THERMAL_EXTENSIONS
from train.method.data import load_images

from .frames import Stored, stored

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TASKS = {
    "composite": degradations.PRESETS["composite"],
    "severe": degradations.PRESETS["severe"],
    "extreme": degradations.PRESETS["extreme"],
    "hard": degradations.PRESETS["hard"],
    "fpn": degradations.PRESETS["fpn"],
    "untouched": UNTOUCHED,
}
"""Degradations that progress is measured on."""

WATCHED = 24
"""Images of the training set that progress is measured on as it is on others."""

SMALLEST = 160
"""Images with a shorter side are left out."""


@dataclass(frozen=True)
class Judged:
    """Frames that were degraded at full size, for measuring.

    Attributes:
        views: :func:`~hidra_core.readouts.corrector.small_view` of each, float16 ``[N, 4, 32, 40]``.
        aspects: width divided by height, ``[N]``.
        clean: means of the cells of the clean frames, float16 ``[N, 32, 40]``.
        tasks: name of one of :data:`TASKS` for each, ``[N]``.
    """

    views: np.ndarray
    aspects: np.ndarray
    clean: np.ndarray
    tasks: np.ndarray


def judged(images: Sequence[tuple[Path, np.ndarray]]) -> Judged:
    """Degrade each image at its full size by each of the :data:`TASKS`; the draws depend on the names alone.

    What the corrector sees is what the sensor stage makes of it.
    """
    views, aspects, clean, tasks = [], [], [], []
    for path, pixels in images:
        image = torch.from_numpy(pixels.copy())[None, None].float() / 255
        for name, preset in TASKS.items():
            generator = torch.Generator().manual_seed(zlib.crc32(f"{path.name} {name}".encode()))
            degraded = degradations.apply(image, degradations.sample(preset, generator))
            undone, _ = undo_sensor(degraded[0, 0].numpy(), SensorSettings(shading="off"), level=1 / 255)
            degraded = torch.from_numpy(undone).float().clamp(0, 1)[None, None]
            views.append(small_view(degraded)[0].half().numpy())
            aspects.append(image.shape[-1] / image.shape[-2])
            clean.append(F.adaptive_avg_pool2d(image, GRID)[0, 0].half().numpy())
            tasks.append(name)
    return Judged(np.stack(views), np.array(aspects, dtype=np.float32), np.stack(clean), np.array(tasks))


@dataclass(frozen=True)
class Pack:
    """Everything that the training needs.

    Attributes:
        images: to train on.
        seen: some of them, to measure on.
        unseen: others, to measure on.
    """

    images: Stored
    seen: Judged
    unseen: Judged

    @classmethod
    def of(cls, folder: Path, held_out: Path, per_source: int) -> Pack:
        """Measure the images of two folders.

        Args:
            folder: to train on.
            held_out: to measure on.
            per_source: largest number of images with names that begin alike, up to their first ``_``.

        Raises:
            FileNotFoundError: no folder, or no image in it.
            ValueError: too few usable images.
        """
        fitting, others = (
            load_images([path for path, _ in find_images([where], THERMAL_EXTENSIONS)], SMALLEST)
            for where in (folder, held_out)
        )
        order = np.random.default_rng(0).permutation(len(fitting))
        taken: Counter[str] = Counter()
        chosen = []
        for index in order:
            source = fitting[index][0].name.partition("_")[0]
            taken[source] += 1
            if taken[source] <= per_source:
                chosen.append(fitting[index])
        if min(len(chosen), len(others)) < 2:
            raise ValueError(
                f"{len(chosen)} images in {folder} and {len(others)} in {held_out}: at least 2 of each are needed, no "
                f"side shorter than {SMALLEST} pixels"
            )
        return cls(stored(chosen), judged(chosen[:WATCHED]), judged(others))

    def save(self, path: Path) -> None:
        """Write it as a compressed ``.npz``."""
        parts = {"images": self.images, "seen": self.seen, "unseen": self.unseen}
        arrays = {f"{name}.{key}": value for name, part in parts.items() for key, value in vars(part).items()}
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> Pack:
        """Read what :meth:`save` wrote.

        Raises:
            OSError: there is no such file, or it cannot be read.
            ValueError: it is another kind of file.
        """
        if not path.is_file():
            raise FileNotFoundError(
                f"no pack {path}: name the one that was made, or make it with --images and --held-out"
            )
        try:
            with np.load(path) as file:
                parts = {}
                for key in file.files:
                    name, _, field = key.partition(".")
                    parts.setdefault(name, {})[field] = file[key]
            return cls(Stored(**parts["images"]), Judged(**parts["seen"]), Judged(**parts["unseen"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is no pack of the corrector's training ({error}); make one with --images"
            ) from error
