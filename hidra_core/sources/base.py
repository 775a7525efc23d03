"""What image files, counts and clips have in common: pages to enhance, and one way to write the results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from ..images.blend import CUTOFF, blend, check_blend

if TYPE_CHECKING:
    from pathlib import Path

    from .undone import Findings

Enhance = Callable[[Iterator[Tensor]], Iterator[Tensor]]
"""A function from pages ``[H, W, C]`` in [0, 1] to as many enhanced pages ``[k·H, k·W, C]``, in the same order."""


@dataclass(frozen=True)
class Change:
    """How much of the networks' change a result gets.

    Attributes:
        blend: share of the change that is applied, 0 to 1; with 0 no network runs.
        low_frequencies: the same for the low frequencies alone.
        cutoff: period in pixels of the result that separates low from high frequencies.
        radiometric: keep the temperatures of the input, see :mod:`hidra_core.thermal.anchor`; not for clips.
        shading: also remove smooth shading around the middle; only with ``radiometric``.

    Raises:
        ValueError: a number out of range, ``shading`` without ``radiometric``, or ``radiometric`` with a blend.
    """

    blend: float = 1.0
    low_frequencies: float = 1.0
    cutoff: float = CUTOFF
    radiometric: bool = False
    shading: bool = False

    def __post_init__(self) -> None:
        check_blend(self.blend, self.low_frequencies, self.cutoff)
        if self.shading and not self.radiometric:
            raise ValueError("shading is removed in radiometric mode only: ask for radiometric mode too")
        if self.radiometric and not self.is_whole:
            raise ValueError(
                "radiometric mode keeps the input's temperatures itself, and reports what it changed: leave out blend "
                "and low_frequencies, or radiometric mode"
            )

    @property
    def is_whole(self) -> bool:
        """Whether a result is the networks' output alone."""
        return self.blend == 1 and self.low_frequencies == 1

    def apply(self, before: Tensor, after: Tensor) -> Tensor:
        """The result for a page ``[H, W, C]`` and its enhanced version, on any scale that they share; not clipped."""
        if self.is_whole:
            return after
        return blend(before, after, self.blend, low_frequencies=self.low_frequencies, cutoff=self.cutoff)


@dataclass(frozen=True)
class Beside:
    """Further files to write with a result; None for those that are not wanted.

    Attributes:
        compare: an image (of clips: a clip) of input and result side by side.
        trust: an image and a JSON file that say what was changed and how far the input supports it; not for clips.
        radiometric: a JSON file that says what radiometric mode changed; not for clips.
        decoder: name of the decoder in the place of the backbone's own, for the trust report; None for its own.
    """

    compare: Path | None = None
    trust: tuple[Path, Path] | None = None
    radiometric: Path | None = None
    decoder: str | None = None

    @property
    def paths(self) -> list[Path]:
        """All files that are wanted."""
        return [path for path in (self.compare, self.radiometric, *(self.trust or ())) if path is not None]


class Source(ABC):
    """A file that is enhanced page by page.

    Attributes:
        path: the file.
        bit_depth: 8 or 16 bits per channel.
        page_count: number of its pages; None where it is known only after reading the whole file.
        findings: what the sensor stage found while the last result was made; None where it does not run.
    """

    path: Path
    bit_depth: int
    page_count: int | None
    findings: Findings | None = None

    @abstractmethod
    def pages(self) -> Iterator[Tensor]:
        """The pages as the networks see them, in order: ``[H, W, C]`` float32 in [0, 1]. May be called repeatedly.

        Where the sensor stage runs they went through it.
        """

    def given(self) -> Iterator[Tensor]:
        """The same pages as the DEM judges them, in the same order: before the sensor stage, but for its shading.

        Stripes and defects tell how much else is wrong with a page. Shading is what the networks themselves take off
        by what the DEM says: if it saw what the stage took off, they would do so a second time.
        """
        return self.pages()

    @abstractmethod
    def samples(self, count: int) -> list[Tensor]:
        """At most ``count`` pages, as :meth:`given` gives them, spread evenly over the file."""

    @abstractmethod
    def check_writable(self, output: Path) -> None:
        """Say before any work whether a result can be written to this path.

        Raises:
            ValueError: the format, chosen by the suffix, cannot hold such a result.
        """

    @abstractmethod
    def rewrite(
        self, output: Path, enhance: Enhance, change: Change | None = None, beside: Beside | None = None
    ) -> None:
        """Enhance all pages and write the result, of the same kind and with the metadata of this file.

        The change is that of the sensor stage and of the networks together: blend, comparison and reports are against
        the pages of the file.

        Every file appears complete or not at all, and ``output`` last, so that its presence says that all is done.

        Args:
            output: the file to write; missing folders are made.
            enhance: the function that makes the enhanced pages; called once.
            change: how much of the change the result gets; all of it by default.
            beside: further files to write.

        Raises:
            ValueError: the format cannot hold the result, or ``change`` or ``beside`` ask for something that this kind
                of file, or this change, does not have.
            OSError: a file cannot be written.
        """
