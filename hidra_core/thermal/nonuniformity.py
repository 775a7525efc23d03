"""What a sensor adds to a thermal image, told apart from the scene: stripes, shading, dead pixels, noise.

All fields are in counts. The enhanced image serves as a guide to what is scene: what the networks took off and what is
constant along a row or column is a stripe; what they took off and what is smooth and round is shading.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import (
    convolve1d,
    gaussian_filter,
    gaussian_filter1d,
    maximum_filter,
    minimum_filter,
    percentile_filter,
    uniform_filter,
)

_NORMAL = 1.4826  # from the median absolute deviation to the standard deviation of a normal distribution
_MEDIAN_VARIANCE = 1.57  # of the median of normal values, in multiples of the mean's
_STRIPE_RADIUS = 15
_STRIPE_ROUNDS = 4
_STRIPE_WIDEST = 40.0  # sigma in pixels; wider changes from column to column are scene
_SEGMENTS = 8
_BLOCK = 16
_SECOND_DIFFERENCE = np.array([1.0, -2.0, 1.0])


def guided(guide: np.ndarray, data: np.ndarray, radius: int, epsilon: float | np.ndarray):
    """The guided filter (He, Sun and Tang, 2013): ``data`` as locally linear in ``guide``.

    In every window ``data ≈ a · guide + b`` by least squares, so that means and contrasts are those of ``data`` and
    the structure is that of ``guide``; where ``guide`` has structure that ``data`` does not support, ``a`` becomes 0.

    Args:
        guide, data: ``[H, W]``.
        radius: windows are ``2 · radius + 1`` wide.
        epsilon: variance of ``guide`` below which it is taken for flat; one number or ``[H, W]``.

    Returns:
        (a, b), ``[H, W]`` each; the filtered image is ``a · guide + b``.
    """

    def box(plane: np.ndarray) -> np.ndarray:
        return uniform_filter(plane, 2 * radius + 1, mode="reflect")

    guide_mean, data_mean = box(guide), box(data)
    variance = box(guide * guide) - guide_mean**2
    covariance = box(guide * data) - guide_mean * data_mean
    slope = covariance / (variance.clip(min=0) + epsilon)
    return box(slope), box(data_mean - slope * guide_mean)


def noise(image: np.ndarray) -> np.ndarray:
    """Standard deviation of the pixel noise around every pixel of ``[H, W]``, same shape.

    The median absolute response to a second-difference kernel (Immerkær, 1996) in blocks of 16 pixels, of each block
    and its neighbours a low percentile, as texture only ever adds to it.
    """
    height, width = image.shape
    response = convolve1d(convolve1d(image, _SECOND_DIFFERENCE, 0, mode="mirror"), _SECOND_DIFFERENCE, 1, mode="mirror")
    response = np.abs(response) / 6
    blocks_down, blocks_across = max(1, height // _BLOCK), max(1, width // _BLOCK)
    tall, wide = height // blocks_down, width // blocks_across  # what is left at the edges goes with the last block
    blocks = response[: tall * blocks_down, : wide * blocks_across].reshape(blocks_down, tall, blocks_across, wide)
    quiet = percentile_filter(_NORMAL * np.median(blocks, axis=(1, 3)), 35, size=3, mode="nearest")
    down = (np.arange(height) // tall).clip(max=blocks_down - 1)
    across = (np.arange(width) // wide).clip(max=blocks_across - 1)
    return quiet[down][:, across]


def dead_pixels(image: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Where single pixels stand out of all their neighbours, bool ``[H, W]``.

    Optics spread even a point over neighbouring pixels; a pixel whose neighbours do not rise with it is defective.
    """
    if min(image.shape) < 3:
        return np.zeros(image.shape, bool)
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    highest, lowest = (extreme(image, footprint=ring, mode="mirror") for extreme in (maximum_filter, minimum_filter))
    excess = np.maximum(image - highest, lowest - image)
    found = excess > 8 * np.maximum(sigma, 0.5)
    padded = np.pad(image, 1, mode="reflect")
    for row, column in np.argwhere(found):
        middle = np.median(padded[row : row + 3, column : column + 3][ring])
        found[row, column] = excess[row, column] > 0.9 * abs(image[row, column] - middle)
    return found


def stripes(image: np.ndarray, guide: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of the columns ``[W]`` and of the rows ``[H]`` of ``image [H, W]``, by what ``guide`` shows of the scene.

    What is constant along a whole column is a stripe; what varies along it, or is not significant, is left to the
    scene, and so is what changes slowly from column to column.
    """
    columns, rows = np.zeros(image.shape[1]), np.zeros(image.shape[0])
    for _ in range(_STRIPE_ROUNDS):
        data = image - columns - rows[:, None]
        sigma = noise(data)
        slope, offset = guided(guide, data, _STRIPE_RADIUS, sigma**2 + 1e-3)
        scene = slope * guide + offset
        rest = data - scene
        found = _constant_along_columns(rest, scene, sigma)
        columns += found
        rows += _constant_along_columns((rest - found).T, scene.T, sigma.T)
    return tuple(offsets - gaussian_filter1d(offsets, _STRIPE_WIDEST, mode="reflect") for offsets in (columns, rows))


def _constant_along_columns(rest: np.ndarray, scene: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """The significant part of what is constant along each column of ``rest [H, W]``; ``[W]``."""
    sigma = np.maximum(sigma, 0.5)
    weights = 1 / (1 + (np.gradient(scene, axis=1) / sigma) ** 2) if scene.shape[1] > 1 else np.ones_like(scene)
    segments = _bounds(len(rest), max(2, min(_SEGMENTS, len(rest) // _BLOCK))) if len(rest) > 1 else [(0, 1)]
    levels = []
    for top, bottom in segments:
        part, weight, spread = rest[top:bottom], weights[top:bottom], 2 * sigma[top:bottom]
        middle = np.median(part, axis=0)
        around = np.clip(part - middle, -spread, spread)
        levels.append(middle + (weight * around).sum(0) / weight.sum(0))
    level = np.median(levels, axis=0)
    # A stripe has one level along the whole column; the scatter between segments says how sure that is.
    scatter = _NORMAL * np.median(np.abs(levels - level), axis=0)
    variance = gaussian_filter1d(scatter**2 * _MEDIAN_VARIANCE / len(segments), 1.0)
    variance = np.maximum(variance, _MEDIAN_VARIANCE * (sigma**2).mean(0) / len(rest))
    spread = (_NORMAL * np.median(np.abs(level - np.median(level)))) ** 2 - np.median(variance)
    if spread <= 0:
        return np.zeros_like(level)
    limit = 4 * np.sqrt(spread)
    level = np.where(level**2 < 4 * variance, 0, level.clip(-limit, limit))
    return level * spread / (spread + variance)


def shading(image: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """The smooth radial field that ``guide`` took off ``image``; ``[H, W]`` of mean 0.

    A polynomial in x, y, r² and r⁴ around the middle, fitted to the smooth part of what is left of ``image`` after the
    best linear fit of ``guide``.
    """
    height, width = image.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    radius = x**2 + y**2
    field = np.stack([x, y, radius, radius**2], -1).reshape(-1, 4)
    field = field - field.mean(0)
    smooth_guide, smooth_image = (gaussian_filter(plane, max(2.0, min(image.shape) / 16)) for plane in (guide, image))
    columns = np.column_stack([smooth_guide.ravel(), np.ones(image.size), field])
    # Together with the guide's gain, so that a warm middle that the guide shows too is not taken for shading.
    solution = np.linalg.lstsq(columns, smooth_image.ravel(), rcond=None)[0]
    return (field @ solution[2:]).reshape(height, width)


def _bounds(length: int, parts: int) -> list[tuple[int, int]]:
    edges = np.linspace(0, length, parts + 1).astype(int)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
