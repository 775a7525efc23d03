"""Pages of counts that went through the sensor stage, and what it found in a file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..sensor.frame import NOTHING, TOO_SMALL
from ..thermal import Scene
from ..thermal.masking import fill

if TYPE_CHECKING:
    from ..sensor import SensorCorrection, SensorStage, Undone

Unit = Literal["counts", "grey levels"]
"""Of the values of a page."""

COUNTS: Unit = "counts"
LEVELS: Unit = "grey levels"

_RANGED = 32  # pages from which the range of undone counts is taken; those of the others serve as they are


@dataclass(frozen=True, eq=False)
class UndoneScene(Scene):
    """A scene whose counts are those after the sensor stage: floats where something was found, else as they are.

    Args:
        image: the counts as they were read.
        rows: see :class:`Scene`.
        columns: see :class:`Scene`.
        stage: what is undone.
        level: what one of 255 grey levels is in counts.
    """

    stage: SensorStage
    level: float
    _last: dict[int, Undone] = field(default_factory=dict, repr=False)

    @property
    def unit(self) -> Unit:
        """Of its counts, in words."""
        return LEVELS if self.image.display or self.image.counts.dtype == np.uint8 else COUNTS

    @classmethod
    def after(cls, scene: Scene, stage: SensorStage, level: float) -> UndoneScene:
        """The same scene after the stage.

        Raises:
            ValueError: the profile of the stage is not for this file.
        """
        image = scene.image
        _, height, width = image.counts.shape
        undone = cls(image, scene.rows, scene.columns, stage, level)
        stage.check(image.path, (height, width), image.camera, undone.unit)
        return undone

    def with_page(self, scene: Scene, undone: Undone) -> UndoneScene:
        """A part of a page that went through the stage already, as a scene of its own.

        Args:
            scene: the counts of the part.
            undone: the same after the stage.
        """
        return UndoneScene(scene.image, scene.rows, scene.columns, self.stage, self.level, {0: undone})

    def undone(self, page: int) -> Undone:
        """A page within the rectangle, masked pixels filled; the last one is kept."""
        if page not in self._last:
            self._last.clear()
            self._last[page] = self._undone(page)
        return self._last[page]

    def _undone(self, page: int) -> Undone:
        plane = self.image.counts[page]
        valid = None if self.image.valid is None else self.image.valid[page]
        if valid is not None and not valid.all():
            plane = fill(plane, valid)
        undone = self.stage.undo(plane, valid, self.level, (self.rows, self.columns))
        if undone.valid is None or undone.correction.is_empty:
            return undone
        return replace(undone, image=fill(undone.image, undone.valid))

    def counts(self, page: int) -> np.ndarray:
        """See :meth:`Scene.counts`."""
        return self.undone(page).image

    def part(self, page: int, rows: slice, columns: slice = slice(None)) -> tuple[np.ndarray, np.ndarray | None]:
        """See :meth:`Scene.part`; some of many pages are given as they are, since only the range is taken of parts."""
        counts, valid = super().part(page, rows, columns)
        if page % -(-len(self.image.counts) // _RANGED):
            return counts, valid
        return self.counts(page)[rows, columns], valid


class Findings:
    """What the stage found on the pages of a file.

    Args:
        unit: of its pages.
        pages: what they are called.
    """

    def __init__(self, unit: Unit, pages: str = "pages") -> None:
        self._unit = unit
        self._name = pages
        self.clear()

    def clear(self) -> None:
        """Start over, for another pass over the file."""
        self._pages = self._touched = 0
        self._most = 0.0
        self._too_small = False
        self._first: tuple[int, SensorCorrection] | None = None

    def add(self, correction: SensorCorrection) -> None:
        """Note what was found on the next page."""
        self._pages += 1
        self._too_small |= correction.too_small
        if correction.is_empty:
            return
        self._touched += 1
        size = weight(correction)
        if self._first is None or size > self._most:
            self._most, self._first = size, (self._pages, correction)

    @property
    def weight(self) -> float:
        """How much was taken off the page with most, to compare files by; 0 where nothing was."""
        return self._most

    @property
    def nothing(self) -> str:
        """What to say where nothing was found."""
        return TOO_SMALL if self._too_small else NOTHING

    @property
    def words(self) -> str | None:
        """One line for a human, of many pages about the one with most; None where nothing was found."""
        if self._first is None:
            return None
        page, correction = self._first
        words = correction.summary(self._unit, 1.0)
        if self._pages == 1:
            return words
        return f"{self._touched} of {self._pages} {self._name}, most on number {page}: {words}"


def weight(correction: SensorCorrection) -> float:
    """How much a correction takes off, to compare pages and files by: grey levels, and a percentage of dead pixels."""
    sizes = correction.sizes()
    fields = sum(sizes[name] for name in ("columns", "rows", "shading", "pattern"))
    return fields / correction.level + 100 * sizes["dead_pixels"] / max(1, correction.dead.size)
