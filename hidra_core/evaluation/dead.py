"""How well dead pixels are found and repaired, where the record of a degradation says which pixels died."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from .. import degradations
from .metrics import as_float, to_8_bit

if TYPE_CHECKING:
    from .tasks import Case

YARDSTICK = "dead_error_ratio"
"""The score that every method has where it is known which pixels died."""

TOLERANCE = 10.0
"""Grey levels by which a repaired pixel may be further from the clean image than the median of its neighbours is."""

SHOWS = 10.0
"""Grey levels by which a dead pixel must differ from the median of its neighbours to be seen."""

_ROUNDING = 12**-0.5  # error of rounding to whole grey levels; no repair is measured as better than that


def dead_map(clean: np.ndarray, record: degradations.DegradationRecord) -> np.ndarray | None:
    """The dead pixels of an image: those whose grey level the stage of dead pixels changed.

    Args:
        clean: the image before the degradation, ``[H, W]`` float32 in [0, 1].
        record: the degradation.

    Returns:
        ``[H, W]`` bool. None where no pixel died, or where the degraded image was enlarged afterwards, so that a dead
        pixel of the sensor is no pixel of the image.
    """
    if record.dead_fraction is None or record.downscale is not None:
        return None
    image, seen = torch.from_numpy(clean)[None, None], replace(record, sharpen=None, jpeg_quality=None)
    alive = degradations.apply(image, replace(seen, dead_fraction=None))
    dead = (degradations.apply(image, seen) != alive)[0, 0].numpy()
    return dead if dead.any() else None


def scores(output: np.ndarray, case: Case, found: np.ndarray | None = None) -> dict[str, float]:
    """The figures of one image, by the keys of ``measures.DEAD``; empty where it is not known which pixels died.

    Errors are in grey levels after the gain and offset that fit the living pixels best, since a method may change the
    brightness of the whole image. The yardstick is the median of the living neighbours in the degraded image, which
    knows the dead pixels, rounded to 8 bits as every output is.

    Args:
        output: the enhanced image, ``[H, W]`` uint8.
        case: with the degraded and the clean image.
        found: ``[H, W]`` bool, the pixels that the method takes for dead; None: it does not say.
    """
    dead = case.dead
    if dead is None or dead.all():
        return {}
    reference = case.partner("reference")
    errors = _errors(output, reference, dead)
    filled = with_neighbours_median(case.image, dead)
    yardstick = _errors(to_8_bit(filled), reference, dead)
    result = {
        "dead_error": _size(errors),
        YARDSTICK: _size(errors) / max(_size(yardstick), _ROUNDING),
        "dead_repaired": 100 * float((np.abs(errors) <= np.abs(yardstick) + TOLERANCE).mean()),
    }
    if found is not None:
        shows = dead & (255 * np.abs(case.image - filled) >= SHOWS)
        result["dead_found"] = 100 * float(found[dead].mean())
        if shows.any():
            result["dead_found_showing"] = 100 * float(found[shows].mean())
        result["dead_missed"] = float((~found[dead]).sum())
        result["dead_false"] = 100 * float(found[~dead].mean())
    return result


def with_neighbours_median(image: np.ndarray, dead: np.ndarray) -> np.ndarray:
    """The image with its dead pixels replaced by the median of the living ones around them.

    Args:
        image: ``[H, W]`` floats.
        dead: ``[H, W]`` bool, not everywhere true.

    Returns:
        ``[H, W]`` floats. The window has 3x3 pixels, and is enlarged where all of them are dead.
    """
    result = image.copy()
    for row, column in np.argwhere(dead):
        reach, living = 0, np.empty(0)
        while not living.size:
            reach += 1
            window = np.s_[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
            living = image[window][~dead[window]]
        result[row, column] = np.median(living)
    return result


def _errors(image: np.ndarray, reference: np.ndarray, dead: np.ndarray) -> np.ndarray:
    """Errors at the dead pixels in grey levels, after the least-squares gain and offset of the living ones."""
    values, target = 255 * as_float(image), 255 * as_float(reference)
    living, wanted = values[~dead], target[~dead]
    variance = living.var()
    gain = float(((living - living.mean()) * (wanted - wanted.mean())).mean() / variance) if variance > 0 else 0.0
    return gain * (values[dead] - living.mean()) + wanted.mean() - target[dead]


def _size(errors: np.ndarray) -> float:
    return float(np.sqrt((errors**2).mean()))
