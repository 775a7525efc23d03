"""Offsets of a sensor taken apart: shading, columns, rows and single pixels, each as far as it is certain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter

from .profile import CameraProfile

if TYPE_CHECKING:
    from .profile import Unit

_DEGREE = 4  # of the polynomial in x and y that shading is
_AGREEMENT = 0.3  # share of a part that both halves of the frames must agree on, or there is none
_CERTAIN = 2.0  # standard errors that shading must have
_AROUND = 3.0  # sigma in pixels over which the standard error of a pixel is taken

Halves = tuple[np.ndarray, np.ndarray]
"""The same from the first and from the second half of the frames; their mean is the estimate of both where it is
linear, and their difference its uncertainty."""


def agreed(whole: np.ndarray, halves: Halves, use: np.ndarray | None = None) -> np.ndarray | None:
    """A part reduced by the share of it that chance made, as two halves of the frames show it; None: by all of it.

    Args:
        whole: the part from all frames.
        halves: the same from each half.
        use: the pixels that count; None: all.
    """
    first, second = (half if use is None else half[use] for half in halves)
    both = (first + second) / 2
    common = float(np.mean((first - first.mean()) * (second - second.mean())))
    share = common / max(float(both.var()), 1e-30)
    return None if share < _AGREEMENT else whole * min(share, 1.0)


def shading_of(offsets: np.ndarray, use: np.ndarray) -> np.ndarray:
    """The smooth part of offsets, a polynomial of mean 0 over the pixels that count, ``[H, W]``."""
    height, width = offsets.shape
    y, x = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
    powers = [(a, b) for a in range(_DEGREE + 1) for b in range(_DEGREE + 1 - a)]
    terms = [y[:, None] ** a * x**b for a, b in powers]
    counted = np.stack([term[use] for term in terms], 1)
    solution = np.linalg.lstsq(counted.T @ counted, counted.T @ offsets[use], rcond=1e-10)[0]
    field = sum(weight * term for weight, term in zip(solution, terms, strict=True))
    return np.asarray(field) - np.asarray(field)[use].mean()


def stripes_of(offsets: np.ndarray, use: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The means of the columns ``[W]`` and of the rows ``[H]`` of offsets, over the pixels that count."""
    columns = _means(offsets, use, 0)
    return columns, _means(offsets - columns, use, 1)


def _means(field: np.ndarray, use: np.ndarray, axis: int) -> np.ndarray:
    return np.where(use, field, 0).sum(axis) / np.maximum(use.sum(axis), 1)


def take_apart(
    offsets: np.ndarray,
    halves: Halves,
    use: np.ndarray,
    dead: np.ndarray,
    *,
    unit: Unit,
    camera: str,
    gain: np.ndarray | None,
    pivot: float,
    about: dict[str, Any],
    with_shading: bool,
) -> CameraProfile:
    """The profile for offsets that were found from all frames and from each half of them.

    Args:
        offsets: ``[H, W]``.
        halves: the same from each half.
        use: ``[H, W]`` bool, the pixels whose offsets are known.
        dead: ``[H, W]`` bool.
        unit: of the offsets.
        camera: make and model.
        gain: ``[H, W]`` less 1; None: none.
        pivot: the level of the offsets.
        about: how it was made; uncertainty and drift are added.
        with_shading: whether the smooth part is known.
    """
    first, second = halves
    change = second - first
    shading = shading_of(offsets, use)
    shading_error = float(shading_of(change, use)[use].std()) / 2
    rest = offsets - shading
    if not with_shading or shading[use].std() < _CERTAIN * shading_error:
        shading = None
    stripes, (columns_change, rows_change) = stripes_of(rest, use), stripes_of(change - shading_of(change, use), use)
    half_stripes = [stripes_of(half - shading_of(half, use), use) for half in halves]
    kept = [agreed(stripes[k], (half_stripes[0][k], half_stripes[1][k])) for k in range(2)]
    columns, rows = (
        np.zeros_like(stripe) if some is None else some for stripe, some in zip(stripes, kept, strict=True)
    )
    single = rest - stripes[0] - stripes[1][:, None]
    single_halves = [
        half - shading_of(half, use) - across - down[:, None]
        for half, (across, down) in zip(halves, half_stripes, strict=True)
    ]
    pattern = agreed(single, (single_halves[0], single_halves[1]), use)
    pattern = np.zeros_like(rest) if pattern is None else np.where(use, pattern, 0)
    if gain is not None:  # which acts on columns, rows and shading too
        gain = np.where(use, gain, 0)
        pattern = pattern - gain * (columns + rows[:, None] + (0.0 if shading is None else shading))
    single_change = (single_halves[1] - single_halves[0])[use]
    error = np.sqrt(gaussian_filter(np.where(use, change, 0) ** 2, _AROUND, mode="nearest")) / 2
    uncertainty = {
        "columns": float(columns_change.std()) / 2,
        "rows": float(rows_change.std()) / 2,
        "pixels": float(single_change.std()) / 2,
        **({} if shading is None else {"shading": shading_error}),
        **({"gain": about.pop("gain_uncertainty")} if "gain_uncertainty" in about else {}),
    }
    drift = {name: 2 * uncertainty[name] for name in ("columns", "rows", "pixels")}
    return CameraProfile(
        dead=dead,
        columns=columns,
        rows=rows,
        pattern=pattern,
        standard_error=np.where(use, error, float(offsets[use].std())),  # elsewhere the pattern is not known
        unit=unit,
        gain=None if gain is None else 1 + gain,
        pivot=pivot,
        shading=shading,
        camera=camera,
        about={**about, "uncertainty": uncertainty, "drift": drift},
    )
