"""Ordinary image files: 8 bits per channel, or colour."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..images import Picture, check_writable, stretch, unstretch, write_image
from ..images.false_colour import check_colours, turn_back
from ..thermal.frames import repeated
from .base import Beside, Change, Enhance, Source
from .beside import give_back, write_beside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor


class PictureSource(Source):
    """An ordinary image file. 8 bits are enhanced as stored; 16-bit colour is stretched to its range and brought back.

    Args:
        picture: the content of the file.
        palette: see :class:`~hidra_core.sources.Reading`; the picture, and its result, then are grey.
        as_is: see :class:`~hidra_core.sources.Reading`.

    Raises:
        FalseColourError: in false colours, with neither ``palette`` nor ``as_is``.
        ValueError: colours of another palette.
    """

    page_count = 1

    def __init__(self, picture: Picture, *, palette: str | None = None, as_is: bool = False) -> None:
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

    def pages(self) -> Iterator[Tensor]:
        """See :meth:`Source.pages`."""
        yield stretch(torch.from_numpy(self.picture.pixels), self._limits)

    def samples(self, count: int) -> list[Tensor]:
        """See :meth:`Source.samples`."""
        return list(self.pages())[:count]

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
        before = next(self.pages())
        [after] = enhance(self.pages())
        pixels = unstretch(after, self._limits)
        if not change.is_whole:
            pixels = change.apply(torch.from_numpy(self.picture.pixels), pixels)
            after = stretch(pixels, self._limits)
        pixels = self._with_blank(pixels)
        write_beside(self.path, output, before, after, beside)
        same_kind = self.path.suffix.lower() == output.suffix.lower()
        if change.blend == 0 and same_kind and self._is_stored and pixels.shape == before.shape:
            give_back(self.path, output)
        else:
            write_image(output, pixels, self.picture)

    def _with_blank(self, pixels: Tensor) -> Tensor:
        """The result with the input's pixels where alpha or the value for no data say that there is nothing."""
        stored = self.picture.pixels
        blank = stored[..., -1] == 0 if stored.shape[-1] in (2, 4) else np.zeros(stored.shape[:2], bool)
        value = self.picture.layout.no_data(np.dtype(np.uint8 if self.bit_depth == 8 else np.uint16))
        if value is not None:
            colours = stored[..., :-1] if stored.shape[-1] in (2, 4) else stored
            blank |= (np.rint(colours * (2**self.bit_depth - 1)) == value).all(-1)
        if not blank.any():
            return pixels
        factor = pixels.shape[0] // stored.shape[0]
        mask, before = (torch.from_numpy(repeated(part, factor)) for part in (blank, stored))
        return torch.where(mask[..., None], before, pixels)


def _in_grey(picture: Picture, grey: np.ndarray) -> Picture:
    """A picture with this grey ``[H, W]`` and the alpha that it has; its colour profile is for colours."""
    alpha = picture.pixels[..., -1:] if picture.pixels.shape[-1] in (2, 4) else picture.pixels[..., :0]
    return replace(picture, pixels=np.concatenate([grey[..., None], alpha], axis=-1), icc_profile=None)
