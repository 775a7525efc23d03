"""Ordinary image files: 8 bits per channel, or colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..images import Picture, check_writable, stretch, unstretch, write_image
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
    """

    page_count = 1

    def __init__(self, picture: Picture) -> None:
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
        write_beside(self.path, output, before, after, beside)
        same_kind = self.path.suffix.lower() == output.suffix.lower()
        if change.blend == 0 and same_kind and pixels.shape == before.shape:
            give_back(self.path, output)
        else:
            write_image(output, pixels, self.picture)
