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
from hidra_core.images import EXTENSIONS, read_image, to_grey
from hidra_core.readouts import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from hidra_core.degradations import DegradationRecord

log = logging.getLogger(__name__)


def list_images(folder: Path, listing: Path | None = None) -> list[Path]:
    """Image files below a folder, sorted; only those of ``listing`` (one path a line, relative to it) if given.

    Raises:
        FileNotFoundError: the folder has no image files, or a listed file is missing.
    """
    if listing is not None:
        if not listing.is_file():
            raise FileNotFoundError(f"no list {listing}: give a text file with one path a line, relative to {folder}")
        files = [folder / line.strip() for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
        missing = next((path for path in files if not path.is_file()), None)
        if missing is not None:
            raise FileNotFoundError(f"{listing} names {missing}, which is not there")
    else:
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in EXTENSIONS) if folder.is_dir() else []
    if not files:
        where = f"in {listing}" if listing is not None else f"below {folder}"
        raise FileNotFoundError(f"no images ({', '.join(EXTENSIONS)}) {where}: set data.train to a folder of them")
    return files


def load_images(files: Sequence[Path], min_size: int) -> dict[Path, np.ndarray]:
    """All images as grey uint8 ``[H, W]`` by file, decoded once and kept in memory.

    16-bit pictures are stretched between their 0.1 and 99.9 percentiles: raw counts fill a small part of their range.
    Unreadable and too small images are counted, reported once and skipped.

    Raises:
        FileNotFoundError: no image is usable.
    """
    images: dict[Path, np.ndarray] = {}
    unreadable, small = [], []
    for path in files:
        try:
            picture = read_image(path)
        except (OSError, ValueError, ImportError):
            unreadable.append(path)
            continue
        grey = to_grey(torch.as_tensor(picture.pixels)[None])[0, 0].numpy()
        if picture.bit_depth == 16:
            low, high = np.percentile(grey, (0.1, 99.9))
            grey = np.clip((grey - low) / max(high - low, 1e-6), 0, 1)
        image = np.round(grey * 255).astype(np.uint8)
        if min(image.shape) >= min_size:
            images[path] = image
        else:
            small.append(path)
    for reason, skipped in (("unreadable", unreadable), (f"smaller than {min_size} pixels", small)):
        if skipped:
            log.warning("skipped %d of %d images, %s, the first: %s", len(skipped), len(files), reason, skipped[0])
    if not images:
        raise FileNotFoundError(
            f"no usable image: all {len(files)}, the first {files[0]}, are unreadable or smaller than {min_size} pixels"
        )
    return images


def source_odds(files: Sequence[Path]) -> list[float]:
    """Odds that temper a large source beside small ones: its images together get the fourth root of their number.

    A source is a file's name up to the first underscore, or else its folder.
    """
    sources = [path.name.partition("_")[0] if "_" in path.name else str(path.parent) for path in files]
    counts = Counter(sources)
    return [counts[source] ** -0.75 for source in sources]


def rendered_scenes(count: int, height: int = 256, width: int = 320) -> list[np.ndarray]:
    """Thermal-looking scenes drawn by :mod:`hidra_core.scenes`, grey uint8 ``[H, W]``."""
    names = list(scenes.SCENES)
    return [
        np.round(scenes.render(names[i % len(names)], height, width, i) * 255).astype(np.uint8) for i in range(count)
    ]


MIDDLE_GREY = 128.0
"""Where amounts that depend on the grey level are stated, of 0-255."""


def amounts(record: DegradationRecord) -> list[float]:
    """How much of each of :data:`~hidra_core.readouts.probes.KINDS` a degradation holds.

    In the units of :data:`~train.probing.labelled.DEFINITIONS`. Stripes and noise are standard deviations at middle grey, blur
    the mean sigma, low resolution the times that the size was halved, low contrast the share of the contrast that is
    gone, non-uniformity the shading from end to end.
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
"""The first so many are about grey levels."""


def factors(record: DegradationRecord, degraded: Tensor, clean: Tensor) -> Tensor:
    """What a degradation vector should know: how the frame was degraded, and the grey levels it had before.

    Args:
        record: what was done.
        degraded, clean: ``[1, 1, H, W]`` in [0, 1].

    Returns:
        ``[len(FACTORS)]``, each of the order of 1.
    """
    coarse, target = F.avg_pool2d(degraded, 8), F.avg_pool2d(clean, 8)  # below noise and stripes
    spread, wanted = coarse.std() + 1e-2, target.std() + 1e-2
    black, white = torch.quantile(target.flatten(), torch.tensor([0.01, 0.99]))
    stripes = dict.fromkeys(degradations.AXES, 0.0)
    for lines in record.stripes:
        # the deviation of lines in grey levels, at the middle of the range
        stripes[lines.axis] = math.hypot(lines.gain_sigma * 128, lines.offset_sigma) / 8
    shading = record.optical.strength / 40 * (-1 if record.optical.inverted else 1) if record.optical else 0.0
    values = (
        4 * target.mean() - 2,
        wanted.log() + 2,
        4 * black - 0.5,
        4 * white - 3,
        (wanted / spread).log(),
        (record.blur.sigma_x + record.blur.sigma_y) / 3 if record.blur else 0.0,
        math.log2(record.downscale.factor) if record.downscale else 0.0,
        shading,
        *stripes.values(),
        (record.gaussian_sigma or 0.0) / 10,
        record.poisson_scale or 0.0,
        2 * (1 - record.low_contrast.alpha) if record.low_contrast else 0.0,
        abs(shading),
        # Each kind by itself: what a linear read-out is to tell apart has to be learned as such
        *(amount > 0 for amount in amounts(record)),
    )
    return torch.tensor([float(value) for value in values])


def draw_pipeline(presets: Mapping[str, float], generator: torch.Generator) -> DegradationRecord:
    """A degradation of one of the presets, chosen by their odds."""
    names = list(presets)
    odds = torch.tensor([float(presets[name]) for name in names])
    return degradations.sample(names[int(torch.multinomial(odds, 1, generator=generator))], generator)


class DegradedFrames(Dataset):
    """An endless set of degraded frames, with a crop of each: sample ``i`` is a function of ``(seed, i)`` alone.

    A frame is degraded as one picture, so that shading and grey levels are those of a camera's frame, and cropped then.

    Args:
        images: grey uint8 ``[H, W]``, no side below ``crop``.
        presets: names of degradation presets and their odds.
        frames: heights and widths of frames in pixels, of which a batch draws one; the DEM reads them whole. Most
            images are scaled so that as much of them as possible is in the frame, as what they show tells how bright it
            was; the others by a random factor between that and 1. ``None``: the frame is the whole image, and the DEM
            reads the crop.
        crop: side of the square crops in pixels; ``None``: all of the frame.
        seed: of the whole set.
        length: samples in the set.
        batch: images that share the size of the frame and the pipelines of D_val.
        pipelines: ``M``, pipelines a batch in D_val.
        odds: of the images; even without.
        tone: standard deviation of the logarithm of a gamma that clean images get: black and white stay, what is
            between moves. Without it a DEM remembers how bright each training picture is; with it, it has to look.
        upper: whether batch number ``b`` needs D_val; the others are spared the work.

    Items: ``degraded`` and ``clean`` ``[1, crop, crop]``, ``frame`` (what the DEM reads), float32 in [-1, 1],
    ``factors`` (see :func:`factors`), and where ``upper`` says so ``val_degraded`` ``[M, 1, crop, crop]`` and
    ``val_frame``: the same clean crop under the batch's pipelines.
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
        pipelines: int = 0,
        upper: Callable[[int], bool] = lambda _: False,
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
        window = _window(clean, (self.crop, self.crop) if self.crop else clean.shape[-2:], integer)
        item = {"clean": clean[window][0] * 2 - 1, "factors": factors(record, degraded, clean)}
        item["degraded"], item["frame"] = self._seen(degraded, window)
        batch = index // self.batch
        if self.pipelines and self.upper(batch):
            # pipelines of the batch, random fields of the image
            shared = torch.Generator().manual_seed(-1 - self.seed * 1_000_003 - batch)
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
    """Resized so that the frame fits in: tightly three times in four, else by a random factor nearer to 1."""
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
