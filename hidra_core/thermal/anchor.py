"""Radiometric mode: an enhanced image whose temperatures are those of its input.

The networks are trained to restore contrast and brightness, which are temperatures here. So their result does not count
as measured: it guides the separation of structure and noise, and the input says how warm everything is.

1. Dead pixels, stripes and, on request, shading are estimated and taken off the input
   (:mod:`~hidra_core.thermal.nonuniformity`).
2. The guided filter expresses that input as locally linear in the enhanced image. Means and contrasts, hence the low
   frequencies, are the input's; structure that the networks made up gets no weight.
3. Structure that the networks lost is added back: the difference between the input and that expression, where it
   exceeds the noise (a local Wiener filter), and all of its smooth part.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter, median_filter, uniform_filter

from .mapping import Mapping, rounded
from .nonuniformity import dead_pixels, guided, noise, shading, stripes

if TYPE_CHECKING:
    from collections.abc import Callable

    from .counts import ThermalImage

BLOCK = 32
"""Side in pixels of the blocks whose means stand for the low frequencies in the report."""

_RADIUS = 3  # of the guided filter, in pixels
_WIENER = 7  # side of the windows of the Wiener filter, in pixels
_SMOOTH = 8.0  # sigma in pixels of the smooth part


@dataclass(frozen=True)
class Deviation:
    """How far an output is from its input, in one unit.

    Attributes:
        mean: signed mean, the bias.
        mean_absolute: mean of the absolute values.
        largest: the value of largest absolute size, with its sign.
        row: where that is, in pixels of the input (for means of blocks the first pixel of the block).
        column: the same.
    """

    mean: float
    mean_absolute: float
    largest: float
    row: int
    column: int


@dataclass(frozen=True)
class AnchorReport:
    """What radiometric mode did, in counts and, where the relation is known, in kelvin.

    Attributes:
        noise: standard deviation of the pixel noise in the input, median over the image, counts.
        columns: standard deviation of the offsets that were taken off the columns as stripes, counts.
        rows: the same of the rows.
        shading: from the lowest to the highest value of the field that was taken off as shading, counts.
        dead_pixels: number of single defective pixels that were replaced.
        residual: output minus input, pixel by pixel, counts.
        low_frequency: means of 32x32 blocks of the output minus those of the input without dead pixels, stripes and
            shading, counts.
        residual_kelvin: the residual in kelvin, or None.
        low_frequency_kelvin: the low frequencies in kelvin, or None.
    """

    noise: float
    columns: float
    rows: float
    shading: float
    dead_pixels: int
    residual: Deviation
    low_frequency: Deviation
    residual_kelvin: Deviation | None = None
    low_frequency_kelvin: Deviation | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report in plain JSON types."""
        return asdict(self)

    def summary(self) -> str:
        """One line for a human."""
        residual, blocks, unit = self.residual, self.low_frequency, "counts"
        if self.residual_kelvin is not None and self.low_frequency_kelvin is not None:
            residual, blocks, unit = self.residual_kelvin, self.low_frequency_kelvin, "K"
        return (
            f"noise {self.noise:.1f}, stripes {self.columns:.1f} (columns) {self.rows:.1f} (rows), shading "
            f"{self.shading:.1f} counts, {self.dead_pixels} dead pixels; change of temperature: bias "
            f"{residual.mean:+.3f} {unit}, mean {residual.mean_absolute:.3f} {unit}, largest {residual.largest:+.3f} "
            f"{unit} at row {residual.row}, column {residual.column}; of {BLOCK}x{BLOCK} means: largest "
            f"{blocks.largest:+.3f} {unit}"
        )


def anchor(
    counts: np.ndarray,
    enhanced: np.ndarray,
    *,
    with_shading: bool = False,
    kelvin: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[np.ndarray, AnchorReport]:
    """Tie an enhanced image to the temperatures of its input.

    Args:
        counts: ``[H, W]``, the input.
        enhanced: ``[h, w]`` floats, its enhanced version, brought back onto counts; may be a whole multiple larger. Its
            brightness and contrast do not matter, only its structure does.
        with_shading: also take off smooth radial shading. Off by default: one image alone cannot tell shading from a
            scene that is warm in the middle.
        kelvin: from counts to kelvin, for the report.

    Returns:
        (counts ``[h, w]``, float64, not rounded; report)

    Raises:
        ValueError: sizes that do not fit, or values that are not finite.
    """
    factor = enhanced.shape[0] // max(1, counts.shape[0])
    if counts.ndim != 2 or enhanced.shape != (counts.shape[0] * factor, counts.shape[1] * factor):
        raise ValueError(
            f"an input of {list(counts.shape)} cannot anchor an enhanced image of {list(enhanced.shape)}; the latter "
            "must be of the same size or a whole multiple of it"
        )
    if not np.isfinite(enhanced).all():
        raise ValueError("the enhanced image has values that are NaN or infinite; look at what made it")
    measured = counts.astype(np.float64)
    large = enhanced.astype(np.float64)
    guide = _shrunk(large, factor)

    dead = dead_pixels(measured, noise(measured))
    data = np.where(dead, median_filter(measured, 3, mode="mirror"), measured)
    columns, rows = stripes(data, guide)
    data = data - columns - rows[:, None]
    field = shading(data, guide) if with_shading else np.zeros_like(data)
    data = data - field

    sigma = noise(data)
    slope, offset = guided(guide, data, _RADIUS, (0.8 * sigma) ** 2 + 1e-3)
    rest = data - (slope * guide + offset)
    sigma = noise(rest)
    power = uniform_filter(rest**2, _WIENER, mode="reflect")
    offset = offset + rest * (1 - sigma**2 / np.maximum(power, 1e-12)).clip(0, 1)
    offset = offset + gaussian_filter(data - (slope * guide + offset), _SMOOTH)
    result = _enlarged(slope, factor) * large + _enlarged(offset, factor)

    native = _shrunk(result, factor)
    report = AnchorReport(
        noise=float(np.median(sigma)),
        columns=float(columns.std()),
        rows=float(rows.std()),
        shading=float(np.ptp(field)),
        dead_pixels=int(dead.sum()),
        residual=_deviation(native - measured, 1),
        low_frequency=_deviation(_block_means(native - data), BLOCK),
    )
    if kelvin is not None:
        in_kelvin = [kelvin(plane) for plane in (native, measured, data)]
        if all(np.isfinite(plane).all() for plane in in_kelvin):
            report = replace(
                report,
                residual_kelvin=_deviation(in_kelvin[0] - in_kelvin[1], 1),
                low_frequency_kelvin=_deviation(_block_means(in_kelvin[0] - in_kelvin[2]), BLOCK),
            )
    return result, report


def bring_back(
    values: torch.Tensor,
    image: ThermalImage,
    mapping: Mapping,
    *,
    radiometric: bool = False,
    with_shading: bool = False,
    after_page: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, list[AnchorReport]]:
    """Bring enhanced values back onto the counts of the file they came from.

    Args:
        values: ``[N, h, w]`` in [0, 1], the enhanced version of ``mapping.to_values(image.counts)``; may be a whole
            multiple larger.
        image: the input.
        mapping: the mapping that brought it to the networks' range.
        radiometric: tie every page to the input's temperatures, see :func:`anchor`.
        with_shading: see :func:`anchor`.
        after_page: called with (pages done, pages in all); may raise to stop.

    Returns:
        (counts ``[N, h, w]`` of the input's type, reports: one per page, none without radiometric mode)

    Raises:
        ValueError: another number of pages, sizes that do not fit, values that are not finite.
    """
    if len(values) != len(image.counts):
        raise ValueError(
            f"{len(values)} enhanced images for the {len(image.counts)} pages of {image.path}: enhance all the images "
            "that were loaded from it, in their order"
        )
    factor = values.shape[1] // image.counts.shape[1]
    if tuple(values.shape[1:]) != tuple(side * factor for side in image.counts.shape[1:]):
        raise ValueError(
            f"enhanced images of {values.shape[2]}x{values.shape[1]} do not belong to {image.path} with "
            f"{image.counts.shape[2]}x{image.counts.shape[1]}: the same size or a whole multiple of it is expected"
        )
    pages, reports = [], []
    for index, (page, counts) in enumerate(zip(values, image.counts, strict=True)):
        restored = mapping.restore(page[None], counts[None])[0]
        if radiometric:
            kelvin = None if image.relation is None else image.relation.kelvin
            restored, report = anchor(counts, restored, with_shading=with_shading, kelvin=kelvin)
            reports.append(report)
        pages.append(rounded(restored, counts.dtype))
        if after_page is not None:
            after_page(index + 1, len(values))
    return np.stack(pages), reports


def _deviation(difference: np.ndarray, step: int) -> Deviation:
    row, column = np.unravel_index(np.abs(difference).argmax(), difference.shape)
    return Deviation(
        mean=float(difference.mean()),
        mean_absolute=float(np.abs(difference).mean()),
        largest=float(difference[row, column]),
        row=int(row) * step,
        column=int(column) * step,
    )


def _block_means(plane: np.ndarray) -> np.ndarray:
    """Means of ``BLOCK`` x ``BLOCK`` pixels; those at the right and lower edge may be smaller."""
    rows, columns = (np.arange(0, side, BLOCK) for side in plane.shape)
    sums = np.add.reduceat(np.add.reduceat(plane, rows, 0), columns, 1)
    sizes = [np.diff([*starts, side]) for starts, side in zip((rows, columns), plane.shape, strict=True)]
    return sums / np.outer(*sizes)


def _shrunk(plane: np.ndarray, factor: int) -> np.ndarray:
    if factor == 1:
        return plane
    height, width = (side // factor for side in plane.shape)
    return plane.reshape(height, factor, width, factor).mean((1, 3))


def _enlarged(plane: np.ndarray, factor: int) -> np.ndarray:
    if factor == 1:
        return plane
    tensor = torch.from_numpy(plane)[None, None]
    return F.interpolate(tensor, scale_factor=factor, mode="bilinear", align_corners=False)[0, 0].numpy()
