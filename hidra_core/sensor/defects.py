"""Defective pixels of one frame, told from the scene by what optics can draw, and filled from their neighbours.

A lens spreads even a point over neighbouring pixels: a pixel that stands out while its surroundings do not rise with it
does not come from the scene. Pixels far from the median of their neighbours are candidates; a small network, trained on
drawn defects, point targets and thin lines (``train/sensor.py``), looks at the 7x7 pixels around each.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import Linear

from .noise import noise

REACH = 3
"""Pixels on each side of a candidate that are looked at."""

FEATURES = (2 * REACH + 1) ** 2 + 3
"""Numbers that describe a candidate."""

_SUSPECT = 3.5  # deviations from the median of the neighbours, in multiples of the noise, from which on to look
_LEAST = 4.0  # the same in grey levels
LIKELY, CERTAIN, BEYOND_DOUBT = 1.0, 6.0, 10.0
"""Logarithms of the odds: from which on a pixel counts as defective on a sensor with many defects; from which on it
shows that there are many; and from which on it counts where there are few."""

MANY, FEWEST_OF_MANY = 1e-4, 8
"""Share of certain pixels from which on a sensor has many defects, and number, which is more than the share of frames
below 80,000 pixels: in the smallest a single thing of the scene is that share. Of 50 clean pictures reduced to 80x60 by
area, sharper than a lens draws, 16 had defects by the share alone (234 pixels), and one has with the number (1 pixel);
of two defects in such a frame 68 % are found instead of 89 %, of many as many as before."""

_QUIET = 0.5  # grey levels of noise that are assumed at least


def candidates(image: np.ndarray, valid: np.ndarray | None, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels that may be defective.

    Args:
        image: ``[H, W]`` floats.
        valid: ``[H, W]`` bool: the pixels that count; None: all.
        level: what one of 255 grey levels is in the unit of the image.

    Returns:
        (rows, columns, noise ``[H, W]``)
    """
    sigma = np.maximum(noise(image, valid), _QUIET * level)
    rest = np.abs(image - median_of_nine(image))
    suspect = rest > np.maximum(_SUSPECT * sigma, _LEAST * level)
    if valid is not None:
        suspect &= valid
    rows, columns = np.nonzero(suspect)
    return rows, columns, sigma


def features(
    image: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    sigma: np.ndarray,
    valid: np.ndarray | None,
    level: float,
) -> np.ndarray:
    """What the network sees of candidates: the pixels around each, against the median of the neighbours.

    They are measured in multiples of the noise, compressed, with the sign that makes the candidate bright.

    Returns:
        ``[N, FEATURES]`` float32.
    """
    plane = image if valid is None else np.where(valid, image, np.nan)
    padded = np.pad(plane, REACH, mode="reflect") if min(image.shape) > REACH else np.pad(plane, REACH, mode="edge")
    around = np.arange(2 * REACH + 1)
    patches = padded[rows[:, None, None] + around[:, None], columns[:, None, None] + around]
    ring = patches[:, REACH - 1 : REACH + 2, REACH - 1 : REACH + 2].reshape(len(rows), 9)
    middle = np.nanmedian(np.delete(ring, 4, 1), axis=1) if len(rows) else np.zeros(0)
    middle = np.where(np.isfinite(middle), middle, image[rows, columns])
    spread = sigma[rows, columns]
    scaled = np.nan_to_num((patches - middle[:, None, None]) / spread[:, None, None])
    scaled *= np.where(scaled[:, REACH, REACH] < 0, -1.0, 1.0)[:, None, None]
    compressed = np.sign(scaled) * np.log1p(np.abs(scaled))
    flat = compressed.reshape(len(rows), -1)
    excess = np.abs(image[rows, columns] - middle) / level
    texture = np.median(np.abs(flat), axis=1) if len(rows) else np.zeros(0)
    return np.column_stack([flat, np.log1p(spread / level), np.log1p(excess), texture]).astype(np.float32)


class DefectNetwork(nn.Module):
    """Judges candidates by their :func:`features`."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(Linear(FEATURES, 48), nn.SiLU(), Linear(48, 32), nn.SiLU(), Linear(32, 1))

    def forward(self, described: Tensor) -> Tensor:
        """The logarithm of the odds that each of ``[N, FEATURES]`` candidates is defective, ``[N]``."""
        return self.layers(described)[:, 0]


def find_dead(
    image: np.ndarray,
    network: DefectNetwork,
    valid: np.ndarray | None = None,
    *,
    level: float = 1.0,
    surely: bool = False,
) -> np.ndarray:
    """Find defective pixels.

    A sensor with many defects has further ones, so that weaker evidence counts there; where only few pixels stand out,
    each of them must be beyond doubt.

    Args:
        image: ``[H, W]`` floats, stripes set aside.
        network: that judges the candidates.
        valid: ``[H, W]`` bool: the pixels that count; None: all.
        level: what one of 255 grey levels is in the unit of the image.
        surely: take it that there are defects.

    Returns:
        bool ``[H, W]``, true where a pixel is defective.
    """
    dead = np.zeros(image.shape, bool)
    if min(image.shape) < 3:  # no neighbours on both sides that could tell
        return dead
    rows, columns, sigma = candidates(image, valid, level)
    if len(rows):
        described = torch.from_numpy(features(image, rows, columns, sigma, valid, level))
        with torch.no_grad():
            odds = network(described).numpy()
        certain = (odds > CERTAIN).sum()
        many = surely or (certain > MANY * image.size and certain >= FEWEST_OF_MANY)
        found = odds > (LIKELY if many else BEYOND_DOUBT)
        dead[rows[found], columns[found]] = True
    return dead


def median_of_nine(image: np.ndarray) -> np.ndarray:
    """The median of every pixel and its eight neighbours, as float32; pixels beyond the edge mirror those within."""
    padded = np.pad(image.astype(np.float32), 1, mode="reflect")
    height, width = image.shape
    # three sorted columns of three each: the median of nine is that of the largest low, the middle of the middle and
    # the smallest high value
    a, b, c = padded[:-2], padded[1:-1], padded[2:]
    low, high = np.minimum(a, b), np.maximum(a, b)
    middle = np.maximum(low, np.minimum(high, c))
    low, high = np.minimum(low, c), np.maximum(high, c)

    def sides(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return plane[:, :width], plane[:, 1 : width + 1], plane[:, 2:]

    highest_low = np.maximum.reduce(sides(low))
    lowest_high = np.minimum.reduce(sides(high))
    left, centre, right = sides(middle)
    mid = np.maximum(np.minimum(left, centre), np.minimum(np.maximum(left, centre), right))
    return np.maximum(np.minimum(highest_low, mid), np.minimum(np.maximum(highest_low, mid), lowest_high))


def replaced(image: np.ndarray, dead: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Fill defective pixels with the median of their good neighbours.

    Args:
        image: ``[H, W]``.
        dead: ``[H, W]`` bool.
        valid: ``[H, W]`` bool: the pixels that may serve as neighbours; None: all.

    Returns:
        ``[H, W]`` floats; the windows grow where a pixel has fewer than three good neighbours. Where no pixel of the
        image is good it is returned as it is.
    """
    result = image.astype(np.result_type(image.dtype, np.float32))
    good = ~dead if valid is None else ~dead & valid
    if not good.any():
        return result
    rows, columns = np.nonzero(dead)
    reach = 1
    while rows.size:
        around = np.arange(-reach, reach + 1)
        down, across = rows[:, None, None] + around[:, None], columns[:, None, None] + around
        inside = (down >= 0) & (down < image.shape[0]) & (across >= 0) & (across < image.shape[1])
        down, across = down.clip(0, image.shape[0] - 1), across.clip(0, image.shape[1] - 1)
        windows = np.where(inside & good[down, across], result[down, across], np.nan).reshape(len(rows), -1)
        enough = np.isfinite(windows).sum(1) >= min(3, int(good.sum()))
        result[rows[enough], columns[enough]] = np.nanmedian(windows[enough], axis=1)
        rows, columns, reach = rows[~enough], columns[~enough], 2 * reach
    return result
