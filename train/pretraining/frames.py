"""Endless batches of degraded frames, made on the device: what is drawn, and the images it is drawn from.

What a batch consists of (which image, which part of it, how it is degraded) is drawn on the CPU by worker processes,
each batch from its own seed; :class:`Frames` then makes it of images that lie on the device as bytes.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from train.method.data import draw_pipeline, grey_factors, list_images, load_images, record_factors
from train.pretraining.batched import Way, apply_batched, table, way

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from hidra_core.degradations import DegradationRecord

SMALLEST = 64
"""Images with a shorter side, in pixels, are left out."""

OTHERS = "others"
"""Stands for all sources that are not named."""

LEFT_STRIPES = (0.2, 1.8)
"""Standard deviation, in grey levels of the degraded frame, of the stripes that the sensor stage leaves.

Of 36 frames under ``fpn``, ``composite``, ``severe`` and ``hard`` half had at most 1, nine in ten at most 2.
"""

LEFT_SHADING = (0.2, 0.8)
"""Share of the shading that it leaves in the frames in which it finds some."""


def shares(files: Sequence[Path], sources: Mapping[str, float]) -> list[float]:
    """Odds of images, so that each source gets its share and the images within it the same.

    Args:
        files: of each image; its source is the name up to the first underscore.
        sources: share of each source; :data:`OTHERS` is that of all the others together.

    Returns:
        The odds.

    Raises:
        ValueError: no image is of a source with a share.
    """
    names = [path.name.partition("_")[0] for path in files]
    names = [name if name in sources else OTHERS for name in names]
    counts = Counter(names)
    odds = [sources.get(name, 0.0) / counts[name] for name in names]
    if not any(odds):
        raise ValueError(f"data.sources: no image is of {', '.join(sources)}; their names begin with {names[0]}_")
    return odds


def after_sensor(record: DegradationRecord, generator: torch.Generator) -> DegradationRecord:
    """What is left of a degradation once the sensor stage has taken off what it finds.

    Dead pixels are gone, stripes are a residue without gain, and half of the time some of the shading is off.
    """

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    stripes = tuple(replace(lines, gain_sigma=0.0, offset_sigma=uniform(*LEFT_STRIPES)) for lines in record.stripes)
    optical = record.optical
    if optical is not None and uniform(0, 1) < 0.5:
        optical = replace(optical, strength=optical.strength * uniform(*LEFT_SHADING))
    return replace(record, stripes=stripes, optical=optical, dead_fraction=None)


def read_images(folder: Path, threads: int = 8) -> list[tuple[Path, np.ndarray]]:
    """All images of a folder, see :func:`~train.method.data.load_images`, read by several threads.

    Args:
        folder: searched with its sub-folders.
        threads: that read.

    Returns:
        (file, image) pairs in the order of the files.

    Raises:
        FileNotFoundError: no usable images.
    """
    files = list_images(folder)

    def read(part: list[Path]) -> list[tuple[Path, np.ndarray]]:
        try:
            return load_images(part, SMALLEST)
        except FileNotFoundError:  # others may be usable
            return []

    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(read, [files[start : start + 50] for start in range(0, len(files), 50)])
        images = [pair for part in parts for pair in part]
    return images or load_images(files, SMALLEST)


@dataclass(frozen=True)
class Drawn:
    """What a batch of ``B`` frames of one size consists of, as drawn on the CPU.

    Attributes:
        size: height and width in pixels.
        images: number of each image.
        windows: top, left, height and width of the part of each image that fills the frame.
        mirrored: which are mirrored.
        tone: the exponent that grey levels are raised to, ``[B, 1, 1, 1]``.
        parameters: of :func:`~train.pretraining.batched.table`.
        undone: the same of what the sensor stage leaves; None where it never ran.
        ways: of :func:`~train.pretraining.batched.way`.
        factors: of :func:`~train.method.data.record_factors`, ``[B, factors]``.
        strengths: of the adapter, ``[B, 1, 1, 1]``.
    """

    size: tuple[int, int]
    images: list[int]
    windows: list[tuple[int, int, int, int]]
    mirrored: list[bool]
    tone: Tensor
    parameters: Tensor
    undone: Tensor | None
    ways: list[Way]
    factors: Tensor
    strengths: Tensor


class Draws(Dataset[Drawn]):
    """Batches: number ``i`` depends on ``(seed, i)`` alone.

    Args:
        shapes: height and width of each image.
        odds: of each image.
        presets: names of degradation presets and their odds.
        frames: heights and widths of frames and their number in a batch; a batch draws one of them.
        seed: of all draws.
        tone: standard deviation of the logarithm of a gamma that is applied to clean images.
        sensor: share of the frames that the sensor stage runs on, see :func:`after_sensor`.
        enlarge: images that would have to be enlarged more than this for a size are left out of it, if others remain.
        partial: share of the frames at a strength below 1; in a third of them it is 0, else uniform.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, int]],
        odds: Sequence[float],
        presets: Mapping[str, float],
        frames: Sequence[tuple[int, int, int]],
        seed: int,
        *,
        tone: float,
        sensor: float,
        enlarge: float,
        partial: float,
    ) -> None:
        self.shapes = list(shapes)
        self.presets = dict(presets)
        self.frames = list(frames)
        self.seed = seed
        self.tone = tone
        self.sensor = sensor
        self.partial = partial
        every = torch.tensor(odds, dtype=torch.float64)
        self.odds = []
        for height, width, _ in frames:
            large = torch.tensor([max(height / h, width / w) <= enlarge for h, w in shapes])
            sharp = every * large
            self.odds.append(sharp if sharp.any() else every)

    def __getitem__(self, index: int) -> Drawn:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + index)

        def integer(low: int, high: int) -> int:  # inclusive
            return int(torch.randint(low, high + 1, (1,), generator=generator))

        number = integer(0, len(self.frames) - 1)
        height, width, count = self.frames[number]
        images = torch.multinomial(self.odds[number], count, replacement=True, generator=generator).tolist()
        windows = [self._window(self.shapes[image], (height, width), integer, generator) for image in images]
        records = [draw_pipeline(self.presets, generator) for _ in images]
        records.sort(key=way)  # images are drawn independently of them
        undone = [
            after_sensor(record, generator) if draw < self.sensor else record
            for record, draw in zip(records, torch.rand(count, generator=generator).tolist(), strict=True)
        ]
        # the DEM judges frames without the shading that is taken off, see hidra_core.sources.Source.given
        records = [replace(record, optical=left.optical) for record, left in zip(records, undone, strict=True)]
        draw, value = torch.rand(2, count, generator=generator)
        partial = torch.where(draw < self.partial / 3, 0.0, value)
        return Drawn(
            (height, width),
            images,
            windows,
            (torch.rand(count, generator=generator) < 0.5).tolist(),
            torch.exp(self.tone * torch.randn(count, 1, 1, 1, generator=generator)),
            table(records),
            table(undone) if self.sensor else None,
            [way(record) for record in records],
            torch.tensor([record_factors(record) for record in records]),
            torch.where(draw < self.partial, partial, 1.0)[:, None, None, None],
        )

    @staticmethod
    def _window(
        shape: tuple[int, int],
        frame: tuple[int, int],
        integer: Callable[[int, int], int],
        generator: torch.Generator,
    ) -> tuple[int, int, int, int]:
        """As much of the image as fits the frame three times in four, else less of it, at a scale nearer to 1."""
        scale = max(wanted / side for wanted, side in zip(frame, shape, strict=True))
        whole, share = torch.rand(2, generator=generator).tolist()
        if scale < 1 and whole < 0.25:
            scale += (1 - scale) * share
        height, width = (min(side, round(wanted / scale)) for wanted, side in zip(frame, shape, strict=True))
        return integer(0, shape[0] - height), integer(0, shape[1] - width), height, width


class Frames:
    """Images on a device, and the batches made of them.

    Args:
        images: clean, grey uint8 ``[H, W]``.
        device: where they lie and frames are made.
        seed: of the random fields of the degradations.
    """

    def __init__(self, images: Sequence[np.ndarray], device: torch.device, seed: int) -> None:
        self.images = [torch.from_numpy(image.copy()).to(device) for image in images]
        self.device = device
        self.generator = torch.Generator(device).manual_seed(seed)

    @torch.no_grad()
    def make(self, drawn: Drawn) -> dict[str, Any]:
        """A batch; nothing waits for the device.

        Returns:
            ``clean``, ``degraded``, which the DEM reads, and ``undone``, the same frames as the sensor stage leaves
            them, ``[B, 1, H, W]`` float32 in [-1, 1]; ``factors`` ``[B, factors]`` and ``strengths`` ``[B, 1, 1, 1]``.
        """
        count, (height, width) = len(drawn.images), drawn.size
        clean = torch.empty(count, 1, height, width, device=self.device)
        for row, (image, window, mirrored) in enumerate(zip(drawn.images, drawn.windows, drawn.mirrored, strict=True)):
            top, left, tall, wide = window
            part = self.images[image][None, None, top : top + tall, left : left + wide].float()
            if (tall, wide) != (height, width):
                part = F.interpolate(part, (height, width), mode="bilinear", antialias=True)
            clean[row] = part[0].flip(-1) if mirrored else part[0]
        tone, parameters, factors, strengths = (
            value.to(self.device, non_blocking=True)
            for value in (drawn.tone, drawn.parameters, drawn.factors, drawn.strengths)
        )
        clean = (clean / 255).clamp(0, 1) ** tone
        state = self.generator.get_state()
        degraded = undone = apply_batched(clean, parameters, drawn.ways, self.generator)
        if drawn.undone is not None:
            left = drawn.undone.to(self.device, non_blocking=True)
            self.generator.set_state(state)  # the same noise
            undone = apply_batched(clean, left, drawn.ways, self.generator)
        factors = torch.cat([grey_factors(degraded, clean), factors], dim=1)
        frames = {"clean": clean, "degraded": degraded, "undone": undone}
        return {name: frame * 2 - 1 for name, frame in frames.items()} | {"factors": factors, "strengths": strengths}
