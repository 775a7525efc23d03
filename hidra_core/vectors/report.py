"""The degradation of thermal images in words: what is measured in the pixels, and what the DEM saw.

No human can read the degradation vector, which is what the adapter reacts to. Where the weights file has probes
(:mod:`hidra_core.readouts.probes`) the report says what they read off it; noise, stripes and grey levels are always
measured on the pixels, and do not depend on the vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checkpoints import checkpoint
from ..images import check_images, to_grey
from ..readouts import LEVELS, Reading

if TYPE_CHECKING:
    from ..enhance import DegradationVectors, Images
    from ..weights import Weights

BAR = 10
"""Cells of a bar at full scale."""

_ROWS = 512  # that are computed between two checkpoints
_NORMAL = 1.4826  # from the median absolute deviation to the standard deviation of a normal distribution


@dataclass(frozen=True)
class Measurement:
    """What is measured on the pixels of one image, in grey levels (0-255).

    Attributes:
        noise: standard deviation of the pixel noise.
        columns: fixed-pattern stripes: standard deviation of the offsets of the columns.
        rows: the same of the rows.
        low: 1st percentile of the grey values.
        high: 99th percentile.
    """

    noise: float
    columns: float
    rows: float
    low: float
    high: float


def measure(grey: Tensor) -> Measurement:
    """Measure one image ``[H, W]`` in [0, 1].

    Noise is the median absolute response to a second-difference kernel over the flatter half of the pixels; stripes are
    the standard deviation of the medians of columns (rows) after smooth changes are taken off. Texture leaks into both:
    on a clean image they are upper bounds.
    """
    levels = grey.float() * 255
    low, high = _percentiles(levels, (0.01, 0.99))
    checkpoint()
    noise = _noise(levels)
    checkpoint()
    columns = _stripes(levels)
    checkpoint()
    return Measurement(noise, columns, _stripes(levels.T), low, high)


def _percentiles(values: Tensor, shares: tuple[float, ...]) -> list[float]:
    flat, found = values.flatten(), []
    for share in shares:  # torch.quantile refuses large images
        checkpoint()
        found.append(flat.kthvalue(round(share * (len(flat) - 1)) + 1).values.item())
    return found


def _noise(levels: Tensor) -> float:
    if min(levels.shape) < 3:
        return 0.0
    second = torch.tensor([1.0, -2.0, 1.0])
    kernel = (second[:, None] * second).view(1, 1, 3, 3)
    image = levels[None, None]
    parts = []
    for top in range(0, len(levels) - 2, _ROWS):
        checkpoint()
        parts.append(F.conv2d(image[:, :, top : top + _ROWS + 2], kernel).abs() / 6)
    response = torch.cat(parts, dim=2)
    checkpoint()
    smooth = F.avg_pool2d(image, 3, stride=1)
    slope = F.pad(smooth.diff(dim=-1).abs(), (0, 1)) + F.pad(smooth.diff(dim=-2).abs(), (0, 0, 0, 1))
    checkpoint()
    flat = response[slope <= slope.median()]
    return _NORMAL * flat.median().item()


def _stripes(levels: Tensor) -> float:
    width = levels.shape[1]
    if width < 3:
        return 0.0
    sigma = 3.0
    radius = min(9, width - 1)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    padded = F.pad(levels[:, None], (radius, radius), mode="reflect")
    detail = (levels - F.conv1d(padded, kernel.view(1, 1, -1))[:, 0]).clamp(-30, 30)
    checkpoint()
    return detail.median(dim=0).values.std().item()


def degradation_report(images: Images, degradation: DegradationVectors, weights_name: str, limit: int = 8) -> str:
    """A text for a human: the weights, then what :func:`image_lines` says about each of the first images.

    Args:
        images: those that the vectors were estimated from, see :data:`~hidra_core.enhance.Images`.
        degradation: the vectors.
        weights_name: shown without change.
        limit: number of images to describe; how many more there are is said at the end.
    """
    checked = check_images(images)
    pairs = zip(checked[:limit], degradation.vectors, strict=False)
    described = [image_lines(image, vector, degradation.weights) for image, vector in pairs]
    heading = f"weights: {weights_name} (for {degradation.weights.backbone})"
    return "\n".join([heading, *_numbered("image", described, min(len(checked), len(degradation)))])


def vector_report(degradation: DegradationVectors, limit: int = 8) -> str:
    """What probes and restraint say about each of the first vectors, for vectors without an image: edited, loaded.

    Args:
        degradation: vectors of weights with probes.
        limit: number of vectors to describe; how many more there are is said at the end.

    Raises:
        ValueError: weights without probes.
    """
    probes = degradation.weights.probes
    if probes is None:
        raise ValueError(f"the weights {degradation.weights.source} have no probes that could describe a vector")
    vectors = degradation.vectors[:limit]
    readings = probes.read(vectors)
    described = [
        [*reading_lines(reading), *_restraint_lines(vector, degradation.weights)]
        for vector, reading in zip(vectors, readings, strict=True)
    ]
    return "\n".join(_numbered("vector", described, len(degradation)))


def _numbered(noun: str, described: list[list[str]], count: int) -> list[str]:
    """The lines of the things described, each with its number, and how many of all ``count`` are not described."""
    lines = []
    for number, (first, *rest) in enumerate(described, start=1):
        lines += [f"{noun} {number}: {first}", *rest]
    if count > len(described):
        lines.append(f"… and {count - len(described)} more {noun}s")
    return lines


def image_lines(image: Tensor, vector: Tensor, weights: Weights) -> list[str]:
    """One image in words: what was measured, and what the weights can say about its vector.

    The first line has the measurements. With probes the lines of :func:`reading_lines` follow, with a restraint a line
    with the shares of the change to apply, with a corrector one with what it takes off.

    Args:
        image: ``[H, W, C]`` in [0, 1].
        vector: its degradation vector, ``[256]``.
        weights: the weights whose DEM made the vector.
    """
    height, width = image.shape[:2]
    measured = measure(to_grey(image[None])[0, 0])
    lines = [
        f"{width}×{height}, measured in the pixels: noise {measured.noise:.1f}, stripes {measured.columns:.1f} / "
        f"{measured.rows:.1f} grey levels (columns / rows), greys {measured.low:.0f}-{measured.high:.0f}"
    ]
    if weights.probes is not None:
        lines += reading_lines(weights.probes.read(vector[None])[0])
    lines += _restraint_lines(vector, weights)
    if weights.corrector is not None:
        lines.append(weights.corrector.read(to_grey(image[None]).float()).summary())
    return lines


def _restraint_lines(vector: Tensor, weights: Weights) -> list[str]:
    if weights.restraint is None:
        return []
    low, high, *corrector = weights.restraint.shares(vector[None])[0].tolist()
    line = f"share of the change applied: {low:.0%} of brightness and shading, {high:.0%} of detail"
    if corrector and weights.corrector is not None:
        line += f"; weight of the corrector's word {corrector[0]:.0%}"
    return [line]


def reading_lines(reading: Reading) -> list[str]:
    """What the probes say about one image: two lines with the level, then one line per kind with a bar of its severity.

    The bar comes first, so that the lines align in any font.
    """
    if reading.level is None:
        lines = ["no degradation found"]
    else:
        lines = [f"severity: {reading.level} ({reading.levels[LEVELS.index(reading.level)]:.0%})"]
    lines.append("estimated, before blur and shrinking, with the probability of each:")
    for entry in reading.kinds:
        kind = entry.kind
        if entry.present:
            text = f"{kind.name}: {entry.amount:.{0 if kind.full >= 50 else 1}f} {kind.unit} ({entry.probability:.0%})"
        else:
            text = f"{kind.name}: none ({entry.probability:.0%})"
        lines.append(f"{bar(entry.severity if entry.present else 0.0)} {text}")
    return lines


def bar(share: float) -> str:
    """A share in [0, 1] as a row of blocks; any share above 0 has at least one."""
    filled = min(BAR, max(round(share * BAR), 1 if share > 0 else 0))
    return "\N{FULL BLOCK}" * filled + "\N{LIGHT SHADE}" * (BAR - filled)
