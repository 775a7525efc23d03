"""A camera profile as one image: what the camera adds, how certain that is, and which pixels are defective."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.ndimage import maximum_filter

from ..images.sheet import panel_size, sheet, signed_colours

if TYPE_CHECKING:
    from ..images.sheet import Panel
    from .profile import CameraProfile

_MOST = 0.995  # quantile of the sizes that has the full colour
_MARK = 150  # pixels along the longer side for which the mark of a defective pixel has one more on either side


def profile_picture(profile: CameraProfile) -> Image.Image:
    """Offsets, gain if there is one, uncertainty and defective pixels of a profile, with legends, as an RGB image.

    Args:
        profile: of any camera.
    """
    good, unit = ~profile.dead, profile.unit
    width, height = profile.size
    panels = [_signed("offsets: what the camera adds", profile.offsets, good, f" {unit}")]
    if profile.gain is not None:
        panels.append(_signed("gain, as its difference from 1", 100 * (profile.gain - 1), good, " %"))
    panels.append(_amount("standard error of the offsets", profile.standard_error, good, f" {unit}"))
    count = int(profile.dead.sum())
    reach = 1 + 2 * (max(width, height) // _MARK)
    marks = Image.fromarray(np.where(maximum_filter(profile.dead, reach), np.uint8(255), np.uint8(24)))
    panels.append((f"{count} defective pixel{'' if count == 1 else 's'}, marked larger than they are", marks, None))
    title = profile.summary().partition("\n")[0].replace("×", "x")  # the font has no such sign
    return sheet(panels, panel_size(width, height), title)


def _signed(name: str, field: np.ndarray, good: np.ndarray, unit: str) -> Panel:
    span = _span(np.abs(field), good)
    bar = signed_colours(np.linspace(-1, 1, 120)[None])
    return name, Image.fromarray(signed_colours(field / span)), (bar, [f"-{span:.2g}", "0", f"+{span:.2g}{unit}"])


def _amount(name: str, field: np.ndarray, good: np.ndarray, unit: str) -> Panel:
    span = _span(field, good)
    bar = signed_colours(np.linspace(0, 1, 120)[None])
    return name, Image.fromarray(signed_colours(field / span)), (bar, ["0", "", f"{span:.2g}{unit}"])


def _span(sizes: np.ndarray, good: np.ndarray) -> float:
    return max(float(np.quantile(sizes[good] if good.any() else sizes, _MOST)), 1e-9)
