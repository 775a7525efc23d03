"""Telemetry and pictures in frames that were saved by other programs as TIFF, PNG, PGM, arrays or clips.

Whoever records a camera's raw frames with such a program saves its rows of telemetry and its pictures to look at along
with the counts. They are recognised as in raw files: by a size that only such frames have, and by their content.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..frames import within
from ..scene import SceneRegion
from .planes import is_swapped
from .raw_fit import is_yuyv, scene_rows
from .raw_layouts import KNOWN_LAYOUTS, FrameLayout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..counts import ThermalImage

_LOOKED_AT = 8  # frames that decide
_LARGEST_CHECKED = 1 << 22  # pixels of a frame whose byte order is checked; no camera's are larger


def recognise(frames: Sequence[np.ndarray]) -> tuple[FrameLayout, slice] | None:
    """What frames of 16-bit counts hold besides the scene.

    Args:
        frames: ``[H, W]`` uint16 each, of one size; blank ones say nothing.

    Returns:
        (their layout, the rows that are scene); None: all of it is scene, or the size is that of no known layout.
    """
    frames = [frame for frame in frames if frame.min() != frame.max()]
    if not frames:
        return None
    height, width = frames[0].shape
    for layout in KNOWN_LAYOUTS:
        if (layout.width, layout.height) != (width, height) or layout.plain:
            continue
        if layout.picture and all(is_yuyv(frame, layout.picture) for frame in frames):
            return layout, slice(layout.picture, height)
        rows = scene_rows(frames, layout.telemetry) if layout.telemetry else slice(0, height)
        if rows != slice(0, height):
            return layout, rows
    return None


def described(layout: FrameLayout, rows: slice) -> str:
    """What was recognised, as a clause for a message.

    Args:
        layout: see :func:`recognise`.
        rows: the same.
    """
    origin = f"frames of {layout} as {layout.camera} stores them"
    if layout.picture:
        return f"{origin}: the {layout.picture} upper rows are a picture to look at"
    place = "below" if rows.start == 0 else "above"
    return (
        f"{origin}: the {layout.telemetry} row{'s' if layout.telemetry > 1 else ''} {place} the picture hold telemetry"
    )


def without_telemetry(image: ThermalImage, region: SceneRegion | None) -> ThermalImage:
    """Mask telemetry of frames that another program saved, and leave out the picture of doubled frames.

    Args:
        image: counts of any type; those of other than 16 bits are returned as they are.
        region: what the user says; nothing is searched for where it names telemetry or a half.
    """
    region = region or SceneRegion()
    by_hand = region.telemetry is not None or region.plane is not None
    if by_hand or image.counts.dtype != np.uint16 or not _may_have(image.counts.shape[1:]):
        return image
    found = recognise(_samples(image))
    if found is None:
        return image
    layout, rows = found
    words = described(layout, rows)
    if layout.picture:
        words += " and are left out; --plane upper or --plane lower says otherwise"
        height, width = rows.stop - rows.start, layout.width
        return replace(image.cut(0, rows.start, width, height), warnings=(*image.warnings, words))
    words += ", left out of range and filters and given back unchanged; --telemetry TOP,BOTTOM says otherwise"
    scene = np.zeros(image.counts.shape[1:], bool)
    scene[rows] = True
    return replace(image, valid=within(scene, image.valid, len(image.counts)), warnings=(*image.warnings, words))


def with_order_checked(image: ThermalImage) -> ThermalImage:
    """Say it where 16-bit counts are far smoother with their bytes swapped: a program wrote them in the wrong order.

    Args:
        image: counts of any type, read in the byte order that their format has.
    """
    if image.counts.dtype != np.uint16 or image.counts[0].size > _LARGEST_CHECKED:
        return image
    if not is_swapped(_samples(image)):
        return image
    words = (
        "its counts look as if their bytes were in the wrong order: swapped, neighbouring pixels would differ far "
        "less. They are read as its format says; write the file anew in the right order"
    )
    return replace(image, warnings=(*image.warnings, words))


def _may_have(size: tuple[int, ...]) -> bool:
    return any((layout.height, layout.width) == size for layout in KNOWN_LAYOUTS if not layout.plain)


def _samples(image: ThermalImage) -> list[np.ndarray]:
    places = np.unique(np.linspace(0, len(image.counts) - 1, _LOOKED_AT).astype(int))
    return [np.asarray(image.counts[int(index)]) for index in places]
