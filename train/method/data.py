"""Clean thermal images from a folder, degraded on the fly: the training set D_tr."""

from __future__ import annotations

import logging
import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from hidra_core import degradations, scenes
from hidra_core.readouts import KINDS
from hidra_core.sources import read_grey
from hidra_core.thermal.readers import THERMAL_EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from hidra_core.degradations import DegradationRecord

log = logging.getLogger(__name__)


def list_images(folder: Path, listing: Path | None = None) -> list[Path]:
    """Image files below a folder, sorted: ordinary image files, and files with the counts of thermal cameras.

    Args:
        folder: searched with its sub-folders.
        listing: text file with one path per line, relative to the folder: only these.

    Returns:
        The files.

    Raises:
        FileNotFoundError: the folder has no image files, or a listed file is missing.
    """
    if listing is not None:
        if not listing.is_file():
            raise FileNotFoundError(f"no list {listing}: give a text file with one path per line, relative to {folder}")
        files = [folder / line.strip() for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
        missing = next((path for path in files if not path.is_file()), None)
        if missing is not None:
            raise FileNotFoundError(f"{listing} names {missing}, which is not there")
    elif folder.is_dir():
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in THERMAL_EXTENSIONS)
    else:
        files = []
    if not files:
        where = f"in {listing}" if listing is not None else f"below {folder}"
        kinds = ", ".join(THERMAL_EXTENSIONS)
        raise FileNotFoundError(f"no images ({kinds}) {where}: set data.train to a folder of them")
    return files


def load_images(files: Sequence[Path], min_size: int) -> list[tuple[Path, np.ndarray]]:
    """All images as the networks see them, decoded once and kept in memory.

    Counts of more than 8 bits are stretched between the extremes of the scene. Unreadable files and images that are too
    small are counted, reported once and skipped.

    Args:
        files: of :func:`list_images`.
        min_size: the smallest side in pixels.

    Returns:
        (file, image) pairs, the images grey uint8 ``[H, W]``; a file of several pages gives one pair per page.

    Raises:
        FileNotFoundError: no image is usable.
    """
    images: list[tuple[Path, np.ndarray]] = []
    skipped: dict[str, list[str]] = {"unreadable": [], f"smaller than {min_size} pixels": []}
    unreadable, small = skipped.values()
    for path in files:
        try:
            pages = read_grey(path)
        except (OSError, ValueError, ImportError) as error:
            unreadable.append(str(error))  # it names the file
            continue
        for page in pages:
            if min(page.shape) >= min_size:
                images.append((path, np.round(page * 255).astype(np.uint8)))
            else:
                small.append(str(path))
    count = len(images) + len(unreadable) + len(small)
    for reason, names in skipped.items():
        if names:
            log.warning("skipped %d of %d images, %s, the first: %s", len(names), count, reason, names[0])
    if not images:
        raise FileNotFoundError(
            f"no usable image: all {count}, the first {files[0]}, are unreadable or smaller than {min_size} pixels"
        )
    return images


def source_odds(files: Sequence[Path]) -> list[float]:
    """Odds by which a large source of images does not drown small ones.

    The images of one source together get the fourth root of their number. A source is a file's name up to the first
    underscore, or else its folder.

    Args:
        files: of each image.

    Returns:
        The odds of each image.
    """
    sources = [path.name.partition("_")[0] if "_" in path.name else str(path.parent) for path in files]
    counts = Counter(sources)
    return [counts[source] ** -0.75 for source in sources]


def rendered_scenes(count: int, height: int = 256, width: int = 320) -> list[np.ndarray]:
    """Thermal-looking scenes drawn by :mod:`hidra_core.scenes`.

    Args:
        count: number of images; the kinds of scenes take turns.
        height: of each in pixels.
        width: of each in pixels.

    Returns:
        Grey uint8 ``[H, W]``.
    """
    names = list(scenes.SCENES)
    return [
        np.round(scenes.render(names[i % len(names)], height, width, i) * 255).astype(np.uint8) for i in range(count)
    ]


MIDDLE_GREY = 128.0
"""The grey level, of 0 to 255, for which amounts that depend on it are stated."""


def amounts(record: DegradationRecord) -> list[float]:
    """How much of each kind of degradation a record holds.

    Args:
        record: a drawn degradation.

    Returns:
        One amount for each of :data:`~hidra_core.readouts.probes.KINDS`, in the units of
        :data:`~train.probing.labelled.DEFINITIONS`: stripes and noise are standard deviations at middle grey, blur the
        mean sigma, low resolution how often the size was halved, low contrast the share of the contrast that is gone,
        non-uniformity the shading from end to end.
    """
    lines = [math.hypot(s.gain_sigma * MIDDLE_GREY, s.offset_sigma) for s in record.stripes]
    return [
        math.hypot(*lines),
        math.hypot(record.gaussian_sigma or 0.0, (record.poisson_scale or 0.0) * math.sqrt(MIDDLE_GREY)),
        (record.blur.sigma_x + record.blur.sigma_y) / 2 if record.blur else 0.0,
        math.log2(record.downscale.factor) if record.downscale else 0.0,
        100 * (1 - record.low_contrast.alpha) if record.low_contrast else 0.0,
        float(record.optical.strength) if record.optical else 0.0,
    ]


FACTORS = (
    "clean mean",
    "clean deviation",
    "clean black",
    "clean white",
    "gain",
    "blur",
    "shrinking",
    "shading",
    "column stripes",
    "row stripes",
    "noise",
    "poisson noise",
    "fading",
    "shading strength",
    *(f"{kind} present" for kind in KINDS),
)
"""What :func:`factors` measures, in order."""

GREY_FACTORS = 5
"""How many of them, the first, are about grey levels."""


def factors(record: DegradationRecord, degraded: Tensor, clean: Tensor) -> Tensor:
    """What a degradation vector should tell: how the frame was degraded, and the grey levels it had before.

    Args:
        record: the degradation.
        degraded: the frame after it, ``[1, 1, H, W]`` in [0, 1].
        clean: the frame before it, of the same shape and range.

    Returns:
        ``[len(FACTORS)]``, each of the order of 1.
    """
    return torch.cat([grey_factors(degraded, clean)[0], torch.tensor(record_factors(record))])


def grey_factors(degraded: Tensor, clean: Tensor) -> Tensor:
    """The first :data:`GREY_FACTORS` of :data:`FACTORS`, which are measured on frames.

    Args:
        degraded: the frames after the degradation, ``[B, 1, H, W]`` in [0, 1].
        clean: the frames before it, of the same shape and range.

    Returns:
        ``[B, GREY_FACTORS]``.
    """
    coarse, target = (F.avg_pool2d(frames, 8).flatten(1) for frames in (degraded, clean))  # averages out noise
    spread, wanted = coarse.std(dim=1) + 1e-2, target.std(dim=1) + 1e-2
    black, white = torch.quantile(target, target.new_tensor([0.01, 0.99]), dim=1)
    values = 4 * target.mean(dim=1) - 2, wanted.log() + 2, 4 * black - 0.5, 4 * white - 3, (wanted / spread).log()
    return torch.stack(values, dim=1)


def record_factors(record: DegradationRecord) -> list[float]:
    """The others of :data:`FACTORS`, which the record says."""
    stripes: dict[str, float] = dict.fromkeys(degradations.AXES, 0.0)
    for lines in record.stripes:
        # the deviation of lines in grey levels, at the middle of the range
        stripes[lines.axis] = math.hypot(lines.gain_sigma * 128, lines.offset_sigma) / 8
    shading = record.optical.strength / 40 * (-1 if record.optical.inverted else 1) if record.optical else 0.0
    values = (
        (record.blur.sigma_x + record.blur.sigma_y) / 3 if record.blur else 0.0,
        math.log2(record.downscale.factor) if record.downscale else 0.0,
        shading,
        *stripes.values(),
        (record.gaussian_sigma or 0.0) / 10,
        record.poisson_scale or 0.0,
        2 * (1 - record.low_contrast.alpha) if record.low_contrast else 0.0,
        abs(shading),
        # each kind by itself: the DEM learns to tell apart what a linear read-out is to tell apart
        *(amount > 0 for amount in amounts(record)),
    )
    return [float(value) for value in values]


def draw_pipeline(presets: Mapping[str, float], generator: torch.Generator) -> DegradationRecord:
    """A degradation of one of the presets.

    Args:
        presets: names of degradation presets and their odds.
        generator: of the choice and of the degradation.

    Returns:
        The record of the degradation.
    """
    names = list(presets)
    odds = torch.tensor([float(presets[name]) for name in names])
    return degradations.sample(names[int(torch.multinomial(odds, 1, generator=generator))], generator)


class DegradedFrames(Dataset[dict[str, Tensor]]):
    """A set of degraded frames with a crop of each, as long as wanted: sample ``i`` depends on ``(seed, i)`` alone.

    A frame is degraded as one image, so that shading and grey levels are those of a camera's frame, and then cropped.

    Args:
        images: grey uint8 ``[H, W]``, no side below ``crop``.
        presets: names of degradation presets and their odds.
        frames: heights and widths of frames in pixels, of which a batch draws one; the DEM reads them whole. Most
            images are scaled so that as much of them as possible is in the frame, as the scene tells how bright it was;
            the others by a random factor between that and 1. ``None``: the frame is the whole image, and the DEM reads
            the crop.
        crop: side of the square crops in pixels; ``None``: all of the frame.
        seed: of the whole set.
        length: samples in the set.
        batch: images in a batch, which share the size of the frame.
        batches_per_iteration: batches, over all micro-batches and processes, that share the pipelines of D_val.
        pipelines: ``M``, pipelines of D_val in an iteration.
        upper: whether an iteration, counted from 1, needs D_val; the others are spared the work. ``None``: none does.
        odds: of the images; ``None``: the same for all.
        tone: standard deviation of the logarithm of a gamma that is applied to clean images: it moves the grey levels
            between black and white. Without it a DEM remembers how bright each training image is; with it, it has to
            look.

    Each sample is a dictionary of ``degraded`` and ``clean`` ``[1, crop, crop]``, ``frame`` (what the DEM reads), all
    float32 in [-1, 1], ``factors`` (see :func:`factors`), and where ``upper`` says so ``val_degraded``
    ``[M, 1, crop, crop]`` and ``val_frame``: the same clean crop under the pipelines of the iteration.
    """

    def __init__(
        self,
        images: list[np.ndarray],
        presets: dict[str, float],
        frames: Sequence[tuple[int, int]] | None,
        crop: int | None,
        seed: int,
        length: int,
        *,
        batch: int = 1,
        batches_per_iteration: int = 1,
        pipelines: int = 0,
        upper: Callable[[int], bool] | None = None,
        odds: Sequence[float] | None = None,
        tone: float = 0.0,
    ) -> None:
        self.images = images
        self.presets = presets
        self.frames = frames
        self.crop = crop
        self.seed = seed
        self.length = length
        self.batch = batch
        self.batches_per_iteration = batches_per_iteration
        self.pipelines = pipelines
        self.upper = upper
        self.tone = tone
        self.image_odds = None if odds is None else torch.tensor(odds, dtype=torch.float64)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + index)

        def integer(low: int, high: int) -> int:  # inclusive
            return int(torch.randint(low, high + 1, (1,), generator=generator))

        if self.image_odds is None:
            image = self.images[integer(0, len(self.images) - 1)]
        else:
            image = self.images[int(torch.multinomial(self.image_odds, 1, generator=generator))]
        clean = torch.from_numpy(image.copy())[None, None].float() / 255
        if self.frames is not None:
            draw = torch.Generator().manual_seed(-1 - self.seed * 1_000_003 - index // self.batch)
            frame = self.frames[int(torch.randint(len(self.frames), (1,), generator=draw))]
            clean = _scaled(clean, frame, generator)
            clean = clean[_window(clean, frame, integer)]
        if integer(0, 1):
            clean = clean.flip(-1)
        if self.tone:
            clean = clean ** math.exp(self.tone * torch.randn(1, generator=generator).item())
        record = draw_pipeline(self.presets, generator)
        degraded = degradations.apply(clean, record)
        height, width = clean.shape[-2:]
        window = _window(clean, (self.crop or height, self.crop or width), integer)
        item = {"clean": clean[window][0] * 2 - 1, "factors": factors(record, degraded, clean)}
        item["degraded"], item["frame"] = self._seen(degraded, window)
        iteration = index // (self.batch * self.batches_per_iteration)
        if self.pipelines and self.upper is not None and self.upper(iteration + 1):
            # the pipelines are those of the iteration, the random fields each image's own
            shared = torch.Generator().manual_seed(-1 - self.seed * 1_000_003 - iteration)
            records = [
                replace(draw_pipeline(self.presets, shared), seed=integer(0, 2**31 - 1)) for _ in range(self.pipelines)
            ]
            seen = [self._seen(degradations.apply(clean, record), window) for record in records]
            item["val_degraded"], item["val_frame"] = (torch.stack(part) for part in zip(*seen, strict=True))
        return item

    def _seen(self, degraded: Tensor, window: Window) -> tuple[Tensor, Tensor]:
        """The crop, and what the DEM reads of the frame, in [-1, 1]."""
        crop = degraded[window][0] * 2 - 1
        return crop, crop if self.frames is None else degraded[0] * 2 - 1


Window = tuple[Any, slice, slice]


def _scaled(images: Tensor, frame: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Resized so that the frame fits in: as small as it can be three times in four, else by a factor nearer to 1."""
    sides = images.shape[-2:]
    scale = max(wanted / side for wanted, side in zip(frame, sides, strict=True))
    whole, share = torch.rand(2, generator=generator).tolist()
    if scale < 1 and whole < 0.25:
        scale += (1 - scale) * share
    if abs(scale - 1) < 0.05 and all(wanted <= side for wanted, side in zip(frame, sides, strict=True)):
        return images
    size = [max(wanted, round(side * scale)) for wanted, side in zip(frame, sides, strict=True)]
    return F.interpolate(images, size=size, mode="bilinear", antialias=True).clamp(0, 1)


def _window(images: Tensor, size: tuple[int, int], integer: Callable[[int, int], int]) -> Window:
    top, left = (integer(0, side - wanted) for side, wanted in zip(images.shape[-2:], size, strict=True))
    return (..., slice(top, top + size[0]), slice(left, left + size[1]))
