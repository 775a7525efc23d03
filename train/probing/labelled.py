"""Degradation vectors of clean images under known degradations: what probes are fitted to and embeddings show."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from hidra_core import degradations
from hidra_core.degradations import PRESETS, UNTOUCHED, Preset
from hidra_core.images import find_images
from hidra_core.readouts import KINDS, LEVELS, Kind
from hidra_core.thermal.readers import THERMAL_EXTENSIONS
from train.method.data import amounts, load_images

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hidra_core.dem import DegradationEstimator

DEFINITIONS = (
    Kind("stripes", "grey levels", threshold=2.0, full=15.0),
    Kind("noise", "grey levels", threshold=2.0, full=20.0),
    Kind("blur", "pixels", threshold=0.7, full=3.0),
    Kind("low resolution", "halvings", threshold=1.0, full=2.0),
    Kind("low contrast", "% lost", threshold=20.0, full=80.0),
    Kind("non-uniformity", "grey levels", threshold=10.0, full=75.0),
)
"""Full scale is the end of the method's training range; the threshold is about where the eye begins to see it."""

ALONE: dict[str, Preset] = {kind: PRESETS[kind.replace(" ", "-")] for kind in KINDS}
"""Each kind of degradation by itself, over the method's training range."""

SEVERITIES: dict[str, Preset] = {level: PRESETS[level] for level in LEVELS}

MIXTURES: dict[str, Preset] = {"mixed": PRESETS["mixed"], "field": PRESETS["field"], "untouched": UNTOUCHED}
"""Every kind with even odds, independent of the others; what today's cameras do; no degradation at all."""


@dataclass(frozen=True)
class Vectors:
    """Degradation vectors with what is known of each frame.

    Attributes:
        vectors: ``P``, ``[N, 256]`` float32.
        images: number of the clean image of each.
        presets: name of the preset that each was drawn from.
        amounts: ``[N, 6]``, see :func:`~train.method.data.amounts`.
    """

    vectors: np.ndarray
    images: np.ndarray
    presets: np.ndarray
    amounts: np.ndarray

    def of(self, presets: Sequence[str]) -> Vectors:
        """Those of the presets with these names."""
        return self.where(np.isin(self.presets, list(presets)))

    def where(self, chosen: np.ndarray) -> Vectors:
        """Those that a mask ``[N]`` chooses."""
        return Vectors(self.vectors[chosen], self.images[chosen], self.presets[chosen], self.amounts[chosen])


@torch.inference_mode()
def degraded_vectors(
    images: Sequence[np.ndarray],
    presets: Mapping[str, Preset],
    draws: Mapping[str, int],
    estimator: DegradationEstimator,
    frame: tuple[int, int],
    seed: int,
    *,
    batch: int = 8,
) -> Vectors:
    """Degrade every image by every preset and read the degradation vectors.

    Args:
        images: clean, grey uint8 ``[H, W]``.
        presets: by name.
        draws: frames per image for each of them.
        estimator: the DEM, in evaluation mode.
        frame: height and width in pixels that images are brought to, see :func:`framed`.
        seed: draw ``d`` of preset ``p`` on image ``i`` depends on ``(seed, i, p, d)`` alone.
        batch: frames that the DEM reads at once.

    Returns:
        One vector per frame, image by image.
    """
    frames, known, vectors = [], [], []
    device = next(estimator.parameters()).device

    def read() -> None:
        stacked = torch.cat(frames).to(device) * 2 - 1
        vectors.append(estimator(stacked.expand(-1, 3, -1, -1)).float().cpu().numpy())
        frames.clear()

    for drawn in drawn_frames(images, {name: draws[name] for name in presets}, frame, seed):
        record = degradations.sample(presets[drawn.preset], drawn.generator)
        frames.append(degradations.apply(drawn.clean.flip(-1) if drawn.draw % 2 else drawn.clean, record))
        known.append((drawn.image, drawn.preset, amounts(record)))
        if len(frames) == batch:
            read()
    if frames:
        read()
    numbers, names, held = zip(*known, strict=True)
    return Vectors(np.concatenate(vectors), np.array(numbers), np.array(names), np.array(held, dtype=np.float64))


@dataclass(frozen=True)
class Drawn:
    """One of :func:`drawn_frames`.

    Attributes:
        image: number of the clean image.
        preset: name of the preset.
        draw: number of the draw of this preset on this image.
        clean: the image, ``[1, 1, h, w]``, see :func:`framed`.
        generator: seeded with the numbers and the name above and the seed of the run.
    """

    image: int
    preset: str
    draw: int
    clean: Tensor
    generator: torch.Generator


def drawn_frames(
    images: Sequence[np.ndarray], draws: Mapping[str, int], frame: tuple[int, int], seed: int
) -> Iterator[Drawn]:
    """Every draw of every preset on every image, images outermost and draws innermost, with a progress bar.

    Args:
        images: clean, grey uint8 ``[H, W]``.
        draws: frames per image for each preset, by name.
        frame: height and width in pixels that images are brought to.
        seed: of the run.

    Yields:
        The clean frames.
    """
    in_order = [(name, draw) for name, count in draws.items() for draw in range(count)]
    with tqdm(total=len(images) * len(in_order), desc="frames", dynamic_ncols=True, mininterval=5) as bar:
        for number, image in enumerate(images):
            clean = framed(image, frame)
            for name, draw in in_order:
                generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {number} {name} {draw}".encode()))
                yield Drawn(number, name, draw, clean, generator)
                bar.update()


def framed(image: np.ndarray, frame: tuple[int, int]) -> Tensor:
    """The middle of an image, which is shrunk as far as it still fills the frame.

    Args:
        image: grey uint8 ``[H, W]``, at least as large as the frame.
        frame: height and width in pixels.

    Returns:
        ``[1, 1, height, width]`` float32 in [0, 1].
    """
    clean = torch.from_numpy(image.copy())[None, None].float() / 255
    scale = max(wanted / side for wanted, side in zip(frame, image.shape, strict=True))
    size = [max(wanted, round(side * scale)) for wanted, side in zip(frame, image.shape, strict=True)]
    clean = F.interpolate(clean, size=size, mode="bilinear", antialias=True).clamp(0, 1)
    top, left = ((side - wanted) // 2 for side, wanted in zip(size, frame, strict=True))
    return clean[..., top : top + frame[0], left : left + frame[1]]


def load_split(options: argparse.Namespace) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Read the images that the options of :func:`~train.probing.program.add_options` name.

    Returns:
        Images to fit on and images held out, grey uint8 ``[H, W]``.

    Raises:
        FileNotFoundError: no folder, or no usable image in it.
        ValueError: too few images.
    """
    frame, few = tuple(options.frame), 6
    if min(*frame, options.count, options.draws) < 1:
        raise ValueError("--frame, --count and --draws must be 1 or more")
    images = _large_enough(options.images, frame)
    order = np.random.default_rng(options.seed).permutation(len(images))
    if options.held_out is not None:
        held, fitting = _large_enough(options.held_out, frame), [images[i] for i in order]
    else:
        held, fitting = [images[i] for i in order[::4]], [images[i] for i in np.delete(order, np.s_[::4])]
    fitting = fitting[: options.count]
    if min(len(fitting), len(held)) < few:
        raise ValueError(
            f"{len(fitting)} images to fit on and {len(held)} held out: at least {few} of each are needed, no side "
            f"smaller than {frame[0]}×{frame[1]}. Name larger folders, or a smaller --frame"
        )
    return fitting, held


def _large_enough(folder: Path, frame: tuple[int, int]) -> list[np.ndarray]:
    files = [path for path, _ in find_images([folder], THERMAL_EXTENSIONS)]
    images = [image for _, image in load_images(files, min(frame))]
    return [image for image in images if image.shape[0] >= frame[0] and image.shape[1] >= frame[1]]
