"""Ordinary image files: 8 bits per channel, or colour."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..images import Picture, check_writable, stretch, unstretch, write_image
from ..images.false_colour import check_colours, turn_back
from ..sensor import SensorCorrection
from ..thermal.frames import repeated
from .base import Beside, Change, Enhance, Source
from .beside import StageShare, give_back, write_beside
from .pixels import grey_of, with_grey
from .undone import LEVELS, Findings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from ..sensor import SensorStage

log = logging.getLogger(__name__)


class PictureSource(Source):
    """An ordinary image file. 8 bits are enhanced as stored; 16-bit colour is stretched to its range and brought back.

    Args:
        picture: the content of the file.
        palette: see :class:`~hidra_core.sources.Reading`; the picture, and its result, then are grey.
        as_is: see :class:`~hidra_core.sources.Reading`.
        sensor: see :class:`~hidra_core.sources.Reading`; colours that are no grey are left alone.

    Raises:
        FalseColourError: in false colours, with neither ``palette`` nor ``as_is``.
        ValueError: colours of another palette, or a profile of another camera.
    """

    page_count = 1

    def __init__(
        self,
        picture: Picture,
        *,
        palette: str | None = None,
        as_is: bool = False,
        sensor: SensorStage | None = None,
    ) -> None:
        self._is_stored = True
        if palette is not None:
            inverse = turn_back(picture.pixels, palette, picture.path)
            self._is_stored = inverse is None
            picture = picture if inverse is None else _in_grey(picture, inverse.grey)
        elif not as_is:
            check_colours([picture.pixels], picture.path)
        self.picture = picture
        self.path = picture.path
        self.bit_depth = picture.bit_depth
        self._limits = picture.limits()
        self._sensor = sensor
        self._undone: tuple[np.ndarray, SensorCorrection] | None = None
        if sensor is not None:
            sensor.check(self.path, (picture.pixels.shape[0], picture.pixels.shape[1]), "", LEVELS)
            self.findings = Findings(LEVELS)

    def pages(self) -> Iterator[Tensor]:
        """See :meth:`Source.pages`."""
        pixels = self.picture.pixels if self._sensor is None else self._after_stage(self._sensor)[0]
        yield stretch(torch.from_numpy(pixels), self._limits)

    def _after_stage(self, stage: SensorStage) -> tuple[np.ndarray, SensorCorrection]:
        """(pixels ``[H, W, C]`` after the sensor stage, the stored ones where it found nothing; what it took off).

        It sees the grey in levels of 255, of 16 bits those between their limits. What it changes goes to all colours,
        and what is coloured in a grey picture, such as text, has no part in it.
        """
        if self._undone is None:
            stored = self.picture.pixels
            (low, high), blank = self._limits, self._blank()
            scale = 255 / (high - low) if high > low else 255.0
            seen = grey_of(stored, scale, blank)
            if seen is None:
                log.info("%s: its colours are no grey, and the sensor stage leaves them alone", self.path)
                height, width = blank.shape
                none = SensorCorrection(np.zeros(blank.shape, bool), np.zeros(width), np.zeros(height))
                self._undone = stored, none
                return self._undone
            grey, valid = seen
            undone = stage.undo(grey, valid)
            is_changed = not undone.correction.is_empty
            pixels = with_grey(stored, grey, undone.image, valid, scale) if is_changed else stored
            self._undone = pixels, undone.correction
        return self._undone

    def given(self) -> Iterator[Tensor]:
        """See :meth:`Source.given`."""
        yield stretch(torch.from_numpy(self._without_shading()), self._limits)

    def _without_shading(self) -> np.ndarray:
        """The stored pixels without the shading that the stage finds."""
        stored = self.picture.pixels
        shading = None if self._sensor is None else self._after_stage(self._sensor)[1].shading
        if shading is None:
            return stored
        low, high = self._limits
        pixels = stored.copy()
        colours = pixels[..., :-1] if pixels.shape[-1] in (2, 4) else pixels
        colours -= (shading * ((high - low) / 255)).astype(np.float32)[..., None]
        return pixels

    def samples(self, count: int) -> list[Tensor]:
        """See :meth:`Source.samples`."""
        return list(self.given())[:count]

    def check_writable(self, output: Path) -> None:
        """See :meth:`Source.check_writable`."""
        check_writable(output, self.picture)

    def rewrite(
        self, output: Path, enhance: Enhance, change: Change | None = None, beside: Beside | None = None
    ) -> None:
        """See :meth:`Source.rewrite`."""
        change, beside = change or Change(), beside or Beside()
        if change.radiometric or beside.radiometric is not None:
            raise ValueError(f"{self.path} holds no counts, which radiometric mode needs")
        self.check_writable(output)
        stored = torch.from_numpy(self.picture.pixels)
        before = stretch(stored, self._limits)
        [after] = enhance(self.pages())
        pixels = unstretch(after, self._limits)
        if not change.is_whole:
            pixels = change.apply(stored, pixels)
            after = stretch(pixels, self._limits)
        pixels = self._with_blank(pixels)
        write_beside(self.path, output, before, after, beside, self._stage_share(change))
        same_kind = self.path.suffix.lower() == output.suffix.lower()
        is_same = pixels.shape == before.shape and (change.blend == 0 or torch.equal(pixels, stored))
        if is_same and same_kind and self._is_stored:
            give_back(self.path, output)
        else:
            write_image(output, pixels, self.picture)

    def _stage_share(self, change: Change) -> StageShare | None:
        """The part of the sensor stage in the result, which is noted; None where it did not run."""
        if self.findings is None or self._sensor is None or change.blend == 0:
            return None
        pixels, correction = self._after_stage(self._sensor)
        self.findings.clear()
        self.findings.add(correction)
        part = change.apply(torch.from_numpy(self.picture.pixels), torch.from_numpy(pixels))
        entry = {"unit": LEVELS, **correction.to_dict()}
        return StageShare(stretch(part, self._limits), entry, correction.summary(LEVELS))

    def _with_blank(self, pixels: Tensor) -> Tensor:
        """The result with the input's pixels where alpha or the value for no data say that there is nothing."""
        stored, blank = self.picture.pixels, self._blank()
        if not blank.any():
            return pixels
        factor = pixels.shape[0] // stored.shape[0]
        mask, before = (torch.from_numpy(repeated(part, factor)) for part in (blank, stored))
        return torch.where(mask[..., None], before, pixels)

    def _blank(self) -> np.ndarray:
        """Where alpha or the value for no data say that there is nothing, ``[H, W]`` bool."""
        stored = self.picture.pixels
        blank = stored[..., -1] == 0 if stored.shape[-1] in (2, 4) else np.zeros(stored.shape[:2], bool)
        value = self.picture.layout.no_data(np.dtype(np.uint8 if self.bit_depth == 8 else np.uint16))
        if value is not None:
            colours = stored[..., :-1] if stored.shape[-1] in (2, 4) else stored
            blank |= (np.rint(colours * (2**self.bit_depth - 1)) == value).all(-1)
        return blank


def _in_grey(picture: Picture, grey: np.ndarray) -> Picture:
    """A picture with this grey ``[H, W]`` and the alpha that it has; its colour profile is for colours."""
    alpha = picture.pixels[..., -1:] if picture.pixels.shape[-1] in (2, 4) else picture.pixels[..., :0]
    return replace(picture, pixels=np.concatenate([grey[..., None], alpha], axis=-1), icc_profile=None)
