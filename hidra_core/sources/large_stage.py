"""The sensor stage on pages too large for memory: one estimate for the whole page, undone part by part.

What a sensor did to columns and rows is the same along their whole length, so it is estimated from bands that cross the
page and fit into memory; parts that were estimated by themselves would not meet at their seams. Only defective pixels,
which concern nothing but their neighbours, are found in each part.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from ..sensor import SensorCorrection, SensorSettings, SensorStage, at_pivot, cut, undo_sensor
from ..thermal.frames import row_bands
from ..thermal.masking import fill

if TYPE_CHECKING:
    from ..sensor import Undone
    from ..thermal import Scene

_SAMPLE = 1 << 21  # pixels from which columns and rows are estimated
_BAND = 32  # rows or columns of the page that follow each other in it
_SMALL = 512  # longer side in pixels of the view from which shading is estimated


class LargePage:
    """A page whose parts go through the stage with one estimate of columns, rows and shading.

    Shading is that of a lens, and pages of this size are put together from many frames: it is taken off only where the
    user says that there is some (``on``).

    Args:
        scene: the counts.
        page: index of the page.
        stage: what is undone.
        level: what one of 255 grey levels is in counts.

    Raises:
        ValueError: a camera's profile, which is for single frames.
    """

    def __init__(self, scene: Scene, page: int, stage: SensorStage, level: float) -> None:
        if stage.camera is not None:
            height, width = scene.shape
            raise ValueError(
                f"{scene.image.path}: {width}x{height} pixels are no frame of the camera whose profile is given: use "
                "the profile on the frames, or enhance this file without it"
            )
        self._scene, self._page, self._level = scene, page, level
        self._settings = stage.settings
        height, width = scene.shape
        self._common = SensorCorrection(np.zeros((1, 1), bool), np.zeros(width), np.zeros(height), level=level)
        self._shading: torch.Tensor | None = None
        if stage.settings.stripes != "off":
            across, down = self._found(*self._across()), self._found(*self._down())
            self._common = replace(
                self._common,
                columns=across.columns,
                column_gains=across.column_gains,
                rows=at_pivot(across.pivot, down.rows, down.row_gains, down),
                row_gains=down.row_gains,
                pivot=across.pivot,
            )
        if stage.settings.shading == "on":
            small, valid = self._small()
            only = SensorSettings(dead_pixels="off", stripes="off", shading="on")
            field = undo_sensor(small, only, valid=valid, level=level)[1].shading
            self._shading = None if field is None else torch.from_numpy(field)[None, None]

    def undone(self, counts: np.ndarray, valid: np.ndarray | None, rows: slice, columns: slice) -> Undone:
        """A part of the page after the stage.

        Args:
            counts: ``[h, w]``, masked pixels filled.
            valid: ``[h, w]`` bool: where it is scene; None: everywhere.
            rows: of the page that the part has.
            columns: of the page that the part has.
        """
        fixed = self.pattern(rows, columns)
        only = SensorStage(replace(self._settings, stripes="off", shading="off"))
        found = only.undo(fixed.apply(counts), valid, self._level)
        return replace(found, camera=fixed)

    def pattern(self, rows: slice, columns: slice = slice(None)) -> SensorCorrection:
        """What all parts have in common, for one of them."""
        part = cut(self._common, rows, columns)
        dead = np.zeros((len(part.rows), len(part.columns)), bool)
        return replace(part, dead=dead, shading=self._shading_of(rows, columns))

    def correction(self, dead: int) -> SensorCorrection:
        """What was taken off the page with so many defective pixels, for reports; ``dead`` is no map of them."""
        shading = None if self._shading is None else self._shading[0, 0].numpy()
        return replace(self._common, dead=np.ones(dead, bool), shading=shading)

    def _found(self, sample: np.ndarray, valid: np.ndarray | None) -> SensorCorrection:
        return undo_sensor(sample, replace(self._settings, shading="off"), valid=valid, level=self._level)[1]

    def _across(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Bands of rows over the whole width, ``[n, W]``, and where they are scene."""
        height, width = self._scene.shape
        parts = [self._scene.part(self._page, rows) for rows in _spread(height, _SAMPLE // width)]
        return _filled([counts for counts, _ in parts], [valid for _, valid in parts])

    def _down(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Bands of columns over the whole height, ``[H, n]``, and where they are scene; reads the whole page."""
        height, width = self._scene.shape
        picked = np.concatenate([np.arange(span.start, span.stop) for span in _spread(width, _SAMPLE // height)])
        counts, masks = [], []
        for top, bottom in row_bands(height, width):
            band, valid = self._scene.part(self._page, slice(top, bottom))
            counts.append(band[:, picked])
            masks.append(None if valid is None else valid[:, picked])
        return _filled(counts, masks)

    def _small(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Single pixels spread evenly over the page, and where they are scene."""
        height, width = self._scene.shape
        step = max(1, max(height, width) // _SMALL)
        counts, masks = [], []
        for top in range(step // 2, height, step):
            band, valid = self._scene.part(self._page, slice(top, top + 1))
            counts.append(band[:, step // 2 :: step])
            masks.append(None if valid is None else valid[:, step // 2 :: step])
        return _filled(counts, masks)

    def _shading_of(self, rows: slice, columns: slice) -> np.ndarray | None:
        if self._shading is None:
            return None
        height, width = self._scene.shape
        y, x = (
            torch.from_numpy((np.arange(*span.indices(side)) + 0.5) / side * 2 - 1)
            for span, side in ((rows, height), (columns, width))
        )
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)[None]
        field = F.grid_sample(self._shading, grid, padding_mode="border", align_corners=False)
        return field[0, 0].numpy()


def _spread(length: int, most: int) -> list[slice]:
    """Bands of :data:`_BAND` pixels, spread evenly over an axis, of about ``most`` pixels in all."""
    count = max(4, min(length, most) // _BAND)
    if count * _BAND >= length:
        return [slice(0, length)]
    starts = np.linspace(0, length - _BAND, count).round().astype(int)
    return [slice(start, start + _BAND) for start in starts.tolist()]


def _filled(counts: list[np.ndarray], masks: list[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray | None]:
    """Bands below each other, masked pixels filled, and where they are scene."""
    whole = np.concatenate(counts)
    if all(mask is None for mask in masks):
        return whole, None
    valid = np.concatenate(
        [np.ones(part.shape, bool) if mask is None else mask for part, mask in zip(counts, masks, strict=True)]
    )
    return (fill(whole, valid), valid) if valid.any() else (np.zeros_like(whole), None)
