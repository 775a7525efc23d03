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

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import uniform_filter

from ..checkpoints import checkpoint
from ..images.smoothing import gaussian
from ..sensor import SensorCorrection, noise
from .anchor_report import AnchorReport, report_of
from .mapping import rounded
from .masking import Scene
from .nonuniformity import dead_pixels, guided, shading, stripes

if TYPE_CHECKING:
    from collections.abc import Callable

    from .counts import ThermalImage
    from .mapping import Mapping

_RADIUS = 3  # of the guided filter, in pixels
_WIENER = 7  # side of the windows of the Wiener filter, in pixels
_SMOOTH = 8.0  # sigma in pixels of the smooth part


def anchor(
    counts: np.ndarray,
    enhanced: np.ndarray,
    *,
    with_shading: bool = False,
    kelvin: Callable[[np.ndarray], np.ndarray] | None = None,
    valid: np.ndarray | None = None,
    step: float = 1.0,
    measured: tuple[np.ndarray, SensorCorrection] | None = None,
) -> tuple[np.ndarray, AnchorReport]:
    """Tie an enhanced image to the temperatures of its input.

    Args:
        counts: ``[H, W]``, the input.
        enhanced: ``[h, w]`` floats, its enhanced version, brought back onto counts; may be a whole multiple larger. Its
            brightness and contrast do not matter, only its structure does.
        with_shading: also take off smooth radial shading. Off by default: one image alone cannot tell shading from a
            scene that is warm in the middle.
        kelvin: from counts to kelvin, for the report.
        valid: ``[H, W]`` bool: the pixels that are scene; None: all. The others have no influence and are not in the
            report.
        step: the difference of two counts that counts as one, see :attr:`ThermalImage.step`.
        measured: the counts ``[H, W]`` before the sensor stage, and what that took off them, so that the report is of
            the whole change; None: it did not run.

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
    steps = counts.astype(np.float64) / step
    large = enhanced.astype(np.float64) / step
    guide = _shrunk(large, factor)

    dead = dead_pixels(steps, noise(steps, valid))
    dead = dead if valid is None else dead & valid
    checkpoint()
    data = _without(steps, dead)
    columns, rows = stripes(data, guide, valid)
    data = data - columns - rows[:, None]
    field = shading(data, guide, valid) if with_shading else np.zeros_like(data)
    data = data - field

    sigma = noise(data, valid)
    slope, offset = guided(guide, data, _RADIUS, (0.8 * sigma) ** 2 + 1e-3, valid)
    checkpoint()
    rest = data - (slope * guide + offset)
    rest = rest if valid is None else np.where(valid, rest, 0)
    sigma = noise(rest, valid)
    checkpoint()
    power = _power(rest, valid)
    checkpoint()
    offset = offset + rest * (1 - sigma**2 / np.maximum(power, 1e-12)).clip(0, 1)
    checkpoint()
    offset = offset + _smooth(data - (slope * guide + offset), valid)
    checkpoint()
    result = (_enlarged(slope, factor) * large + _enlarged(offset, factor)) * step

    checkpoint()
    found = SensorCorrection(dead, columns * step, rows * step, shading=field * step)
    sigma = float(np.median(sigma if valid is None else sigma[valid])) * step
    planes = _shrunk(result, factor), counts.astype(np.float64), data * step
    checkpoint()
    return result, report_of(planes, sigma, found, valid, kelvin, measured)


def _without(steps: np.ndarray, dead: np.ndarray) -> np.ndarray:
    """The image with its dead pixels set to the median of the 3×3 pixels around them."""
    data = steps.copy()
    if dead.any():
        rows, columns = np.nonzero(dead)
        padded = np.pad(steps, 1, mode="reflect")
        around = [padded[rows + down, columns + right] for down in range(3) for right in range(3)]
        data[dead] = np.median(around, axis=0)
    return data


def _power(rest: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """The mean square around every pixel, of valid pixels alone; the others are 0 in ``rest``."""
    power = uniform_filter(rest**2, _WIENER, mode="reflect")
    if valid is None:
        return power
    return power / np.maximum(uniform_filter(valid.astype(np.float64), _WIENER, mode="reflect"), 1e-12)


def _smooth(plane: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """The smooth part of a plane, of its valid pixels alone."""
    if valid is None:
        return gaussian(plane, _SMOOTH)
    weights = gaussian(valid.astype(np.float64), _SMOOTH)
    return gaussian(np.where(valid, plane, 0), _SMOOTH) / np.maximum(weights, 1e-12)


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
        values: ``[N, h, w]`` in [0, 1], the enhanced version of ``mapping.to_values(counts)`` for the counts of the
            scene, see :class:`Scene`; may be a whole multiple larger.
        image: the input.
        mapping: the mapping that brought it to the networks' range.
        radiometric: tie every page to the input's temperatures, see :func:`anchor`.
        with_shading: see :func:`anchor`.
        after_page: called with (pages done, pages in all); may raise to stop.

    Returns:
        (counts ``[N, h, w]`` of the input's type, with its own pixels where they are no scene; reports: one per page,
        none without radiometric mode)

    Raises:
        ValueError: another number of pages, sizes that do not fit, values that are not finite.
    """
    scene = Scene.of(image)
    check_fits(values, scene)
    pages, reports = [], []
    for page, enhanced in enumerate(values):
        restored, report = bring_page_back(
            enhanced, scene, mapping, page, radiometric=radiometric, with_shading=with_shading
        )
        pages.append(scene.put_back(page, rounded(restored, image.counts.dtype)))
        reports += [] if report is None else [report]
        if after_page is not None:
            after_page(page + 1, len(values))
    return np.stack(pages), reports


def check_fits(values: torch.Tensor, scene: Scene) -> None:
    """Raise ValueError unless images ``[N, h, w]`` are those of all pages, as large or larger by one factor."""
    pages = len(scene.image.counts)
    if len(values) != pages:
        raise ValueError(
            f"{len(values)} enhanced images for the {pages} pages of {scene.image.path}: enhance all the images that "
            "were loaded from it, in their order"
        )
    factor = values.shape[1] // scene.shape[0]
    if tuple(values.shape[1:]) != tuple(side * factor for side in scene.shape):
        raise ValueError(
            f"enhanced images of {values.shape[2]}x{values.shape[1]} do not belong to {scene.image.path} with "
            f"{scene.shape[1]}x{scene.shape[0]}: the same size or a whole multiple of it is expected"
        )


def bring_page_back(
    values: torch.Tensor,
    scene: Scene,
    mapping: Mapping,
    page: int = 0,
    *,
    radiometric: bool = False,
    with_shading: bool = False,
    undone: tuple[np.ndarray, SensorCorrection] | None = None,
) -> tuple[np.ndarray, AnchorReport | None]:
    """Bring enhanced values back onto the counts of the page that they came from.

    Args:
        values: ``[h, w]`` in [0, 1], the enhanced version of ``mapping.to_values(scene.counts(page))``; may be a whole
            multiple larger.
        scene: the input.
        mapping: the mapping that brought it to the networks' range.
        page: index of the page.
        radiometric: tie it to the input's temperatures, see :func:`anchor`.
        with_shading: see :func:`anchor`.
        undone: the counts ``[H, W]`` of the scene after the sensor stage, of which the values were made, and what that
            took off; None: it did not run.

    Returns:
        (counts ``[h, w]`` of the scene, float64 and not rounded; the report of radiometric mode, None without it)

    Raises:
        ValueError: values that are not finite, or of a size that does not fit.
    """
    counts = scene.counts(page) if undone is None else undone[0]
    restored = mapping.restore(values[None], counts[None])[0]
    if not radiometric:
        return restored, None
    image = scene.image
    kelvin = None if image.relation is None else image.relation.kelvin
    valid = scene.valid(page)
    measured = None if undone is None else (scene.counts(page), undone[1])
    result, report = anchor(
        counts,
        restored,
        with_shading=with_shading,
        kelvin=kelvin,
        valid=valid,
        step=image.step,
        measured=measured,
    )
    return result, report.moved(scene.rows.start, scene.columns.start)


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
