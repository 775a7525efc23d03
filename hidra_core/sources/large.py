"""Counts of pages too large for memory, such as orthomosaics: enhanced in overlapping parts, written in bands.

The parts of a page agree as tiles do (:mod:`hidra_core.tiling`): they share one degradation and the normalisation
statistics of an overview, and are feathered where they overlap. Everything that an ordinary page goes through happens
to each part: filling of masked pixels, the way back to counts, radiometric mode. Parts without scene are passed over.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..images.files import write_json
from ..images.tiff import Bands
from ..thermal import Mapping, Scene, ThermalImage, rounded
from ..thermal.frames import repeated_rows
from ..thermal.masking import fill
from ..tiling import Span, overview, spans
from .base import Beside, Change, Enhance
from .beside import give_back
from .counts import CountsSource
from .large_stage import LargePage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..sensor import Undone
    from ..thermal import AnchorReport, Unit
    from .undone import UndoneScene

log = logging.getLogger(__name__)

PART, OVERLAP = 1024, 128
"""Side of the parts and least overlap of neighbours, in pixels of the input."""


@dataclass(frozen=True, eq=False)
class Part:
    """A part of a page.

    Attributes:
        column: the columns that it has.
        counts: ``[h, w]``, masked pixels filled.
        valid: ``[h, w]`` bool: where it is scene; None: everywhere.
        undone: the counts after the sensor stage; None: it does not run.
    """

    column: Span
    counts: np.ndarray
    valid: np.ndarray | None
    undone: Undone | None

    @property
    def seen(self) -> np.ndarray:
        """The counts that the networks see."""
        return self.counts if self.undone is None else self.undone.image

    def dead(self, row: Span) -> float:
        """The number of defective pixels in it, those that other parts have too in proportion to their weights."""
        if self.undone is None:
            return 0.0
        down, across = row.weights.double().numpy(), self.column.weights.double().numpy()
        return float(down @ self.undone.frame.dead @ across)


class LargeCountsSource(CountsSource):
    """A file of counts whose pages are read, enhanced and written part by part.

    Its pages are the parts: :meth:`pages` gives those that hold some of the scene.

    Args:
        image: see :class:`CountsSource`.
        mapping: see :class:`CountsSource`.
        scene: see :class:`CountsSource`.
        unit: see :class:`CountsSource`.
        undone: see :class:`CountsSource`.
    """

    def __init__(
        self,
        image: ThermalImage,
        mapping: Mapping,
        scene: Scene | None = None,
        unit: Unit | None = None,
        undone: UndoneScene | None = None,
    ) -> None:
        super().__init__(image, mapping, scene, unit, undone)
        self._staged: tuple[int, LargePage] | None = None  # the last page that went through the sensor stage
        self._rows, self._columns = (spans(side, PART, OVERLAP) for side in self.scene.shape)
        self.page_count: int = len(image.counts) * len(self._rows) * len(self._columns)

    def pages(self) -> Iterator[Tensor]:
        """The parts that hold some of the scene, as the networks see them: ``[h, w, 1]``."""
        for page in range(len(self.image.counts)):
            for row in self._rows:
                for part in self._parts(page, row):
                    yield self._values(part.seen)

    def given(self) -> Iterator[Tensor]:
        """The same parts before the sensor stage."""
        for page in range(len(self.image.counts)):
            for row in self._rows:
                for part in self._parts(page, row, staged=False):
                    yield self._values(part.counts)

    def samples(self, count: int) -> list[Tensor]:
        """See :meth:`Source.samples`: parts spread over the pages, those that are mostly scene if there are any."""
        side = max(1, round(count**0.5))
        found: list[tuple[float, Tensor]] = []
        for page in range(0, len(self.image.counts), -(-len(self.image.counts) // side)):
            for row in self._rows[:: -(-len(self._rows) // side)]:
                parts = list(self._parts(page, row, staged=False))
                for part in parts[:: -(-len(parts) // side) or 1]:
                    share = 1.0 if part.valid is None else float(part.valid.mean())
                    found.append((share, self._values(part.counts)))
        if not found:  # the rows that were looked at hold no scene
            return [next(self.given())]
        best = [values for share, values in found if share > 0.5] or [values for _, values in found]
        return best[:: -(-len(best) // count)]

    def overview(self, pixels: int) -> Tensor:
        """The first page on few pixels, as the networks see it: ``[h, w, 1]``, averaged over areas; see ``tiling``."""
        height, width = self.scene.shape
        step = max(1, int((height * width / (4 * pixels)) ** 0.5))
        rows: list[Tensor] = []
        staged = self._stage_of(0)
        for top in range(0, height - step + 1, step):
            counts, valid = self.scene.part(0, slice(top, top + step))
            if valid is not None:
                counts = fill(counts, valid) if valid.any() else np.full_like(counts, self.mapping.counts[0])
            if staged is not None:
                counts = staged.pattern(slice(top, top + step)).apply(counts)
            values = self._values(np.ascontiguousarray(counts))[..., 0]
            rows.append(F.avg_pool2d(values[None, None], step)[0, 0])
        return overview(torch.cat(rows)[None, None], pixels)[0, 0][..., None]

    def _parts(self, page: int, row: Span, *, staged: bool = True) -> Iterator[Part]:
        """Each part of these rows that holds some of the scene, after the sensor stage if it is to be."""
        stage = self._stage_of(page) if staged else None
        band, valid = self.scene.part(page, row.slice)
        for column in self._columns:
            counts = band[:, column.slice]
            known = None if valid is None else valid[:, column.slice]
            if known is not None and not known.any():
                continue
            if known is not None:
                known = None if known.all() else known
                counts = counts if known is None else fill(counts, known)
            undone = None if stage is None else stage.undone(counts, known, row.slice, column.slice)
            yield Part(column, counts, known, undone)

    def _stage_of(self, page: int) -> LargePage | None:
        """The sensor stage of a page, estimated once; None where it does not run."""
        if self.undone is None:
            return None
        if self._staged is None or self._staged[0] != page:
            self._staged = page, LargePage(self.scene, page, self.undone.stage, self.undone.level)
        return self._staged[1]

    def rewrite(
        self, output: Path, enhance: Enhance, change: Change | None = None, beside: Beside | None = None
    ) -> None:
        """See :meth:`Source.rewrite`; the report of radiometric mode has one entry for each part."""
        change, beside = change or Change(), beside or Beside()
        if beside.compare is not None or beside.trust is not None:
            raise ValueError(
                f"{self.path} is so large that it is enhanced part by part, without a comparison and a trust report of "
                "the whole: enhance it without them, or cut out a part of it for them"
            )
        if beside.radiometric is not None and not change.radiometric:
            raise ValueError(f"{self.path}: radiometric mode is not on, so there is nothing for {beside.radiometric}")
        self.check_writable(output)
        results = iter(enhance(self.pages()))
        first = next(results, None)
        factor = 1 if first is None else first.shape[0] // min(PART, self.scene.shape[0])
        same_kind = self.path.suffix.lower() == output.suffix.lower() and self.unit is None and self.is_stored
        if change.blend == 0 and same_kind and factor == 1:
            give_back(self.path, output)
            return
        if self.findings is not None:
            self.findings.clear()
        reports: list[AnchorReport] = []
        chained = results if first is None else chain([first], results)

        def planes() -> Iterator[Bands]:
            for page in range(len(self.image.counts)):
                yield Bands(self._bands(page, chained, factor, change, reports))
            if next(chained, None) is not None:
                raise ValueError(f"more enhanced parts than {self.path} has")
            if beside.radiometric is not None:
                write_json(beside.radiometric, self.record(reports))

        self._write(output, planes(), factor, radiometric=True if change.radiometric else None)

    def _bands(
        self, page: int, results: Iterator[Tensor], factor: int, change: Change, reports: list[AnchorReport]
    ) -> Iterator[np.ndarray]:
        """A page of the result from top to bottom: rows become final when no further part reaches them."""
        height, width = (side * factor for side in self.scene.shape)
        total = np.zeros((0, width))
        done = 0  # rows of the scene that are final
        dead = 0.0
        yield from self._outside(page, 0, self.scene.rows.start, factor)
        for number, row in enumerate(self._rows):
            start, stop = row.slice.start * factor, row.slice.stop * factor
            total = np.concatenate([total, np.zeros((stop - done - len(total), width))])
            down = row.weights.double().numpy().repeat(factor)[:, None]
            for part in self._parts(page, row):
                left = part.column.slice.start
                corner = self.scene.rows.start + row.slice.start, self.scene.columns.start + left
                restored = self._part(next(results, None), part, change, reports, corner)
                across = part.column.weights.double().numpy().repeat(factor)
                total[start - done :, left * factor : left * factor + len(across)] += restored * down * across
                dead += part.dead(row)
            final = height if number + 1 == len(self._rows) else self._rows[number + 1].start * factor
            yield self._whole(page, total[: final - done], done, factor)
            total, done = total[final - done :], final
        staged = self._stage_of(page)
        if staged is not None and self.findings is not None and change.blend:
            self.findings.add(staged.correction(round(dead)))
        yield from self._outside(page, self.scene.rows.stop, self.image.counts.shape[1], factor)

    def _part(
        self,
        values: Tensor | None,
        part: Part,
        change: Change,
        reports: list[AnchorReport],
        corner: tuple[int, int],
    ) -> np.ndarray:
        if values is None:
            raise ValueError(f"fewer enhanced parts than {self.path} has")
        counts, valid = part.counts, part.valid
        image = replace(self.image, counts=counts[None], valid=None if valid is None else valid[None])
        scene = Scene(image, slice(0, counts.shape[0]), slice(0, counts.shape[1]))
        undone = None
        if part.undone is not None and self.undone is not None:
            undone = self.undone.with_page(scene, part.undone)
        restored, report = CountsSource(image, self.mapping, scene, undone=undone).changed(values, 0, change)
        reports += [] if report is None else [report.moved(*corner)]
        return restored

    def _whole(self, page: int, scene: np.ndarray, top: int, factor: int) -> np.ndarray:
        """Rows of the page with these of the scene in it; masked pixels are those of the input."""
        start = self.scene.rows.start * factor + top
        whole = repeated_rows(self.image.counts, page, start, start + len(scene), factor).copy()
        columns = slice(self.scene.columns.start * factor, self.scene.columns.stop * factor)
        result = self.scene.with_data(rounded(scene, self.image.counts.dtype))
        if self.image.valid is not None:
            valid = repeated_rows(self.image.valid, page, start, start + len(scene), factor)
            result = np.where(valid[:, columns], result, whole[:, columns])
        whole[:, columns] = result
        return whole

    def _outside(self, page: int, first: int, last: int, factor: int) -> Iterator[np.ndarray]:
        """Rows above or below the scene, as they are."""
        for start in range(first * factor, last * factor, PART):
            yield repeated_rows(self.image.counts, page, start, min(last * factor, start + PART), factor)
