"""What can be measured in a thermal image without a reference, in words.

The degradation vector says what the adapter reacts to, but no human can read it. These numbers are measured on the
pixels, not read from the vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .enhance import Degradation, Images
from .images import check_images, to_grey


@dataclass(frozen=True)
class Measurement:
    """Numbers in grey levels of 0-255.

    Attributes:
        noise: pixel noise, standard deviation.
        columns, rows: fixed-pattern stripes, standard deviation of the offsets of columns and of rows.
        low, high: 1st and 99th percentile of the grey values.
    """

    noise: float
    columns: float
    rows: float
    low: float
    high: float


def measure(grey: Tensor) -> Measurement:
    """Measure one image ``[H, W]`` in [0, 1].

    Noise is the median absolute response to a second-difference kernel over the flatter half of the pixels; stripes
    the deviation of column (row) medians after smooth changes are taken off. Texture leaks into both: on a clean
    image they are upper bounds.
    """
    levels = grey.float() * 255
    low, high = _percentiles(levels, (0.01, 0.99))
    return Measurement(_noise(levels), _stripes(levels), _stripes(levels.T), low, high)


def _percentiles(values: Tensor, shares: tuple[float, ...]) -> list[float]:
    ordered = values.flatten().sort().values  # torch.quantile refuses large images
    return [ordered[round(share * (len(ordered) - 1))].item() for share in shares]


def _noise(levels: Tensor) -> float:
    if min(levels.shape) < 3:
        return 0.0
    second = torch.tensor([1.0, -2.0, 1.0])
    image = levels[None, None]
    response = F.conv2d(image, (second[:, None] * second).view(1, 1, 3, 3)).abs() / 6
    smooth = F.avg_pool2d(image, 3, stride=1)
    slope = F.pad(smooth.diff(dim=-1).abs(), (0, 1)) + F.pad(smooth.diff(dim=-2).abs(), (0, 0, 0, 1))
    flat = response[slope <= slope.median()]
    return 1.4826 * flat.median().item()


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
    return detail.median(dim=0).values.std().item()


def degradation_report(images: Images, degradation: Degradation, weights_name: str, limit: int = 8) -> str:
    """A few lines for a human: the weights, then for each of the first images what was measured.

    Args:
        images: see :data:`~hidra_core.enhance.Images`; those that the vectors were estimated from.
        degradation: the vectors.
        weights_name: shown as it is.
        limit: images described; more are counted.
    """
    pictures = check_images(images)
    lines = [f"weights: {weights_name} (for {degradation.weights.backbone})"]
    for index, (picture, vector) in enumerate(zip(pictures, degradation.vectors, strict=False)):
        if index == limit:
            lines.append(f"… and {len(pictures) - limit} more images")
            break
        height, width = picture.shape[:2]
        found = measure(to_grey(picture[None])[0, 0])
        lines.append(
            f"image {index + 1}: {width}×{height}, noise {found.noise:.1f}, stripes {found.columns:.1f} (columns) "
            f"{found.rows:.1f} (rows), greys {found.low:.0f}-{found.high:.0f} of 255, |P| {vector.norm():.2f}"
        )
    return "\n".join(lines)
