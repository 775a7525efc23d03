"""Degradations of whole batches at once, each image by its own record, on the device of the images.

:func:`hidra_core.degradations.apply` works image by image on the CPU, so that a record gives the same image everywhere;
a GPU would wait for it. Here each stage is one operation on the whole batch, whose parameters differ from image to
image; only the stages between shrinking and enlarging run once for each way to shrink. Stages without chance give what
``apply`` gives, up to rounding; random fields come from the device's generator, so that they are other ones of the same
distribution. Nothing waits for the device: the checks of the stages, which read values from it, are left out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange

from hidra_core.degradations import FILTERS, GREY_LEVELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from hidra_core.degradations import DegradationRecord

COLUMNS = (
    "alpha",
    "beta",
    "kernel",
    "sigma_x",
    "sigma_y",
    "angle",
    "centre_y",
    "centre_x",
    "shading",
    "inverted",
    "mirror",
    "row gain",
    "row offset",
    "column gain",
    "column offset",
    "gaussian",
    "poisson",
    "dead",
    "sharpen amount",
    "sharpen sigma",
    "quality",
)
"""What :func:`table` says of each record."""

WIDEST = 23
"""The largest kernel of the blurs in pixels."""

NO_BLUR = 1e-3
"""A sigma in pixels whose kernel is a single pixel."""

# fmt: off
LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)
"""The quantisation of luminance at quality 50 (ITU-T T.81, table K.1), row by row."""
# fmt: on

Way = tuple[int, str, str]
"""Factor and filter of the shrinking, and the filter of the way back."""


def table(records: Sequence[DegradationRecord]) -> Tensor:
    """The parameters of records; a stage that a record lacks has those with which it does nothing.

    Args:
        records: one per image.

    Returns:
        ``[B, len(COLUMNS)]`` float32, on the CPU.

    Raises:
        ValueError: a kernel above :data:`WIDEST`, or two entries of stripes in one direction.
    """
    rows = []
    for record in records:
        contrast, blur, optical, sharpen = record.low_contrast, record.blur, record.optical, record.sharpen
        lines = {line.axis: (line.gain_sigma, line.offset_sigma) for line in record.stripes}
        if (blur and blur.kernel > WIDEST) or len(lines) < len(record.stripes):
            raise ValueError(f"a batch has blurs up to {WIDEST} pixels and one entry of stripes per axis, not {record}")
        rows.append(
            (
                *((contrast.alpha, contrast.beta) if contrast else (1.0, 0.0)),
                *((blur.kernel, blur.sigma_x, blur.sigma_y, blur.angle) if blur else (1, NO_BLUR, NO_BLUR, 0.0)),
                *((optical.centre_y, optical.centre_x, optical.strength) if optical else (0.5, 0.5, 0.0)),
                *((optical.inverted, optical.form == "mirror") if optical else (False, False)),
                *lines.get("row", (0.0, 0.0)),
                *lines.get("column", (0.0, 0.0)),
                record.gaussian_sigma or 0.0,
                record.poisson_scale or 0.0,
                record.dead_fraction or 0.0,
                *((sharpen.amount, sharpen.sigma) if sharpen else (0.0, NO_BLUR)),
                record.jpeg_quality or 0,
            )
        )
    return torch.tensor(rows, dtype=torch.float32)


def way(record: DegradationRecord) -> Way:
    """How a record shrinks the image."""
    return (
        (record.downscale.factor, record.downscale.filter, record.downscale.back) if record.downscale else (1, "", "")
    )


def apply_batched(images: Tensor, parameters: Tensor, ways: Sequence[Way], generator: torch.Generator) -> Tensor:
    """Degrade a batch and round it to 8 bits.

    Args:
        images: ``[B, 1, H, W]`` float32 in [0, 1].
        parameters: of :func:`table`, on the device of the images.
        ways: of each image; equal ones lie side by side, so that each stage runs once for each.
        generator: of the device.

    Returns:
        The same shape and range.
    """
    column = dict(zip(COLUMNS, parameters.T[..., None, None, None], strict=True))
    x = (images * column["alpha"] + column["beta"]).clamp(0, 1)
    x = _blurred(x, column["kernel"], column["sigma_x"], column["sigma_y"], column["angle"]).clamp(0, 1)
    parts, start = [], 0
    for stop in range(1, len(ways) + 1):
        if stop < len(ways) and ways[stop] == ways[start]:
            continue
        rows = slice(start, stop)
        parts.append(
            _seen_by_sensor(x[rows], {name: value[rows] for name, value in column.items()}, ways[start], generator)
        )
        start = stop
    return _to_8_bit(_jpeg(torch.cat(parts), column["quality"]))


def _seen_by_sensor(x: Tensor, column: dict[str, Tensor], shrinking: Way, generator: torch.Generator) -> Tensor:
    """The stages at the resolution of the sensor, and the way back."""
    height, width = x.shape[-2:]
    factor, there, back = shrinking
    if factor > 1:
        small = [max(1, round(side / factor)) for side in (height, width)]
        x = F.interpolate(x, small, mode=FILTERS[there]).clamp(0, 1)
    x = (x + _optical(x.shape[-2], x.shape[-1], column)).clamp(0, 1)
    for axis in ("row", "column"):
        shape = (len(x), 1, x.shape[-2], 1) if axis == "row" else (len(x), 1, 1, x.shape[-1])
        gain, offset = (
            torch.randn(shape, generator=generator, device=x.device) * column[f"{axis} {kind}"]
            for kind in ("gain", "offset")
        )
        x = (x + x * gain + offset / GREY_LEVELS).clamp(0, 1)
    noise = torch.randn(x.shape, generator=generator, device=x.device)
    x = (x + noise * (column["gaussian"] / GREY_LEVELS)).clamp(0, 1)
    level = x * GREY_LEVELS
    x = (x + (torch.poisson(level, generator=generator) - level) * (column["poisson"] / GREY_LEVELS)).clamp(0, 1)
    draw = torch.rand(x.shape, generator=generator, device=x.device)
    x = torch.where(draw < column["dead"] / 2, 0.0, torch.where(draw >= 1 - column["dead"] / 2, 1.0, x))
    side = 2 * (3 * column["sharpen sigma"]).ceil() + 1
    smooth = _blurred(x, side, column["sharpen sigma"], column["sharpen sigma"], torch.zeros_like(side))
    x = (x + column["sharpen amount"] * (x - smooth)).clamp(0, 1)
    return F.interpolate(x, (height, width), mode=FILTERS[back]).clamp(0, 1) if factor > 1 else x


def _blurred(images: Tensor, side: Tensor, sigma_x: Tensor, sigma_y: Tensor, angle: Tensor) -> Tensor:
    """Each image with its own :func:`~hidra_core.degradations.gaussian_kernel`, by Fourier transform."""
    half = WIDEST // 2
    offsets = torch.arange(-half, half + 1, device=images.device, dtype=torch.float32)
    y, x = offsets[:, None], offsets[None, :]
    cos, sin = torch.cos(angle * (math.pi / 180)), torch.sin(angle * (math.pi / 180))
    weights = torch.exp(-0.5 * (((x * cos + y * sin) / sigma_x) ** 2 + ((y * cos - x * sin) / sigma_y) ** 2))
    weights = weights * ((y.abs() * 2 < side) & (x.abs() * 2 < side))
    weights = weights / weights.sum(dim=(2, 3), keepdim=True)
    height, width = images.shape[-2:]
    size = [-(-(length + 2 * half) // 32) * 32 for length in (height, width)]  # sizes that transform fast
    spectrum = torch.fft.rfft2(F.pad(images, (half, half, half, half), mode="replicate"), s=size)
    blurred = torch.fft.irfft2(spectrum * torch.fft.rfft2(weights, s=size), s=size)
    return blurred[..., 2 * half : 2 * half + height, 2 * half : 2 * half + width]


def _optical(height: int, width: int, column: dict[str, Tensor]) -> Tensor:
    """The fields of :func:`~hidra_core.degradations.optical_nonuniformity`, each with its centre, sign and form."""
    device = column["shading"].device
    y = torch.arange(height, dtype=torch.float32, device=device)[:, None]
    x = torch.arange(width, dtype=torch.float32, device=device)[None, :]
    cy, cx = column["centre_y"] * height, column["centre_x"] * width

    def squared_distance(to_y: Tensor, to_x: Tensor) -> Tensor:
        return (y - to_y) ** 2 + (x - to_x) ** 2

    to_centre = squared_distance(cy, cx)
    radius = (to_centre / to_centre.amax(dim=(2, 3), keepdim=True).clamp_min(1e-12)).sqrt()
    cos4 = torch.cos(radius * (math.pi / 2)).pow(4)
    mirrors = ((cy, -3 * cx), (-3 * cy, cx), (5 * cy, cx), (cy, 5 * cx))
    to_mirror = torch.stack([squared_distance(*mirror) for mirror in mirrors]).amin(dim=0)
    logarithm = torch.log(to_centre.clamp_min(10.0**2)) - torch.log(to_mirror.clamp_min(1e-12))
    low, high = (extreme(dim=(2, 3), keepdim=True) for extreme in (logarithm.amin, logarithm.amax))
    mirror = ((logarithm - low) / (high - low).clamp_min(1e-12)).pow(4)
    field = torch.where(column["mirror"] > 0, mirror, cos4)
    field = torch.where(column["inverted"] > 0, 1 - field, field) - 0.5 * column["mirror"]
    return field * (column["shading"] / GREY_LEVELS)


def _jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """What JPEG does to the images of a quality above 0: its transform and quantisation, without any file."""
    height, width = images.shape[-2:]
    pad = F.pad(_to_8_bit(images), (0, -width % 8, 0, -height % 8), mode="replicate") * GREY_LEVELS - 128
    k = torch.arange(8, device=images.device, dtype=torch.float32)
    cosine = torch.cos((2 * k[None, :] + 1) * k[:, None] * (math.pi / 16)) / 2
    cosine[0] /= math.sqrt(2)
    scale = torch.where(quality < 50, 5000 / quality.clamp_min(1), 200 - 2 * quality)
    base = torch.tensor(LUMINANCE, dtype=torch.float32, device=images.device).view(1, 1, 1, 8, 8)
    steps = ((base * scale[..., None] + 50) / 100).floor().clamp(1, 255)
    blocks = rearrange(pad, "b 1 (row y) (column x) -> b row column y x", y=8, x=8)
    blocks = ((cosine @ blocks @ cosine.T) / steps).round() * steps
    coded = rearrange(cosine.T @ blocks @ cosine, "b row column y x -> b 1 (row y) (column x)")
    coded = (coded + 128).round().clamp(0, GREY_LEVELS)[..., :height, :width] / GREY_LEVELS
    return torch.where(quality > 0, coded, images)


def _to_8_bit(images: Tensor) -> Tensor:
    return (images * GREY_LEVELS).round() / GREY_LEVELS
