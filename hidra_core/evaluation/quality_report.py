"""Metrics of images, with or without references, as text and as numbers.

The metrics are those of :mod:`hidra_core.evaluation.metrics` and of :mod:`hidra_core.vectors.report`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..images import check_images, to_grey
from ..vectors import measure
from . import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from ..enhance import Images

UNITS = {"psnr": "dB", "psnr_after_gain_and_offset": "dB", "noise": "grey levels", "stripes": "grey levels"}


@dataclass(frozen=True)
class QualityReport:
    """Metrics of each image by name, and their mean.

    Attributes:
        images: per image ``psnr`` and ``psnr_after_gain_and_offset`` in dB, ``ssim``, ``ms_ssim``, and ``noise`` and
            ``stripes`` (the stronger of columns and rows) as standard deviations in grey levels of 0-255. Without a
            reference, ``noise`` and ``stripes`` only. NaN where an image is too small for a metric.
    """

    images: tuple[dict[str, float], ...]

    @property
    def mean(self) -> dict[str, float]:
        """The mean of each metric over all images."""
        return {name: float(np.mean([image[name] for image in self.images])) for name in self.images[0]}

    def to_dict(self) -> dict[str, Any]:
        """The report for JSON, which has neither NaN nor infinity: both become null."""
        return {"mean": _finite(self.mean), "images": [_finite(image) for image in self.images], "units": UNITS}

    def text(self) -> str:
        """One line per image, and one of means if there are several images."""
        lines = [_line(image) for image in self.images]
        if len(lines) == 1:
            return lines[0]
        return "\n".join([f"image {i}: {line}" for i, line in enumerate(lines, 1)] + [f"mean: {_line(self.mean)}"])


def measure_all(
    images: Images, reference: Images | None = None, *, after_image: Callable[[int, int], None] | None = None
) -> QualityReport:
    """Measure images, rounded to 8 bits and in grey.

    Args:
        images: see :data:`~hidra_core.enhance.Images`.
        reference: as many references, or one for all images, of the same size; None for metrics that need none.
        after_image: called with (images done, number of images); may raise to stop.

    Raises:
        ValueError: images that are not as expected, or that do not fit their reference.
    """
    checked = check_images(images)
    references = [None] * len(checked) if reference is None else check_images(reference)
    if len(references) not in (1, len(checked)):
        raise ValueError(f"{len(references)} references for {len(checked)} images: give one for each, or one for all")
    if len(references) == 1:
        references = references * len(checked)
    for index, (image, other) in enumerate(zip(checked, references, strict=True)):
        if other is not None and image.shape[:2] != other.shape[:2]:
            (height, width), (tall, wide) = image.shape[:2], other.shape[:2]
            raise ValueError(
                f"image {index + 1} of {len(checked)} has {width}×{height} pixels and its reference {wide}×{tall}: "
                "resize one to the size of the other first"
            )
    entries = []
    for index, (image, other) in enumerate(zip(checked, references, strict=True)):
        entries.append(_measure_one(image, other))
        if after_image is not None:
            after_image(index + 1, len(checked))
    return QualityReport(tuple(entries))


def _measure_one(image: Tensor, reference: Tensor | None) -> dict[str, float]:
    alone = measure(to_grey(image[None])[0, 0].float().cpu())
    values = {"noise": alone.noise, "stripes": max(alone.columns, alone.rows)}
    if reference is None:
        return values
    pair = [metrics.to_8_bit(to_grey(part[None])[0, 0].float().cpu().numpy()) for part in (image, reference)]
    smallest = min(pair[0].shape)
    return {
        "psnr": metrics.psnr(*pair),
        "psnr_after_gain_and_offset": metrics.psnr_affine(*pair),
        "ssim": metrics.ssim(*pair) if smallest >= metrics.SSIM_SIDE else math.nan,
        "ms_ssim": metrics.ms_ssim(*pair) if smallest >= metrics.MS_SSIM_SIDE else math.nan,
        **values,
    }


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {name: round(value, 5) if math.isfinite(value) else None for name, value in values.items()}


def _line(values: dict[str, float]) -> str:
    parts = []
    if "psnr" in values:
        parts += [
            f"PSNR {values['psnr']:.2f} dB",
            f"after gain and offset {values['psnr_after_gain_and_offset']:.2f} dB",
            f"SSIM {values['ssim']:.3f}" if not math.isnan(values["ssim"]) else "SSIM: image too small",
            f"MS-SSIM {values['ms_ssim']:.3f}" if not math.isnan(values["ms_ssim"]) else "MS-SSIM: image too small",
        ]
    return ", ".join([*parts, f"noise {values['noise']:.1f}", f"stripes {values['stripes']:.1f}"])
