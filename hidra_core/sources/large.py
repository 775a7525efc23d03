"""Counts of pages too large for memory, such as orthomosaics: enhanced in overlapping parts, written in bands.

The parts of a page agree as tiles do (:mod:`hidra_core.tiling`): they share one degradation and the normalisation
statistics of an overview, and are feathered where they overlap. Everything that an ordinary page goes through happens
to each part: filling of masked pixels, the way back to counts, radiometric mode. Parts without scene are passed over.
"""

from __future__ import annotations

import logging
from dataclasses import replace
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

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..thermal import AnchorReport, Unit

log = logging.getLogger(__name__)

PART, OVERLAP = 1024, 128
"""Side of the parts and least overlap of neighbours, in pixels of the input."""


class LargeCountsSource(CountsSource):
    """A file of counts whose pages are read, enhanced and written part by part.

    Its pages are the parts: :meth:`pages` gives those that hold some of the scene.

    Args:
        image: see :class:`CountsSource`.
        mapping: see :class:`CountsSource`.
        scene: see :class:`CountsSource`.
        unit: see :class:`CountsSource`.
    """

    def __init__(
        self, image: ThermalImage, mapping: Mapping, scene: Scene | None = None, unit: Unit | None = None
    ) -> None:
        super().__init__(image, mapping, scene, unit)
        self._rows, self._columns = (spans(side, PART, OVERLAP) for side in self.scene.shape)
        self.page_count: int = len(image.counts) * len(self._rows) * len(self._columns)

    def pages(self) -> Iterator[Tensor]:
        """The parts that hold some of the scene, as the networks see them: ``[h, w, 1]``."""
        for page in range(len(self.image.counts)):
            for row in self._rows:
                for _, counts, _ in self._parts(page, row):
                    yield self._values(counts)

    def samples(self, count: int) -> list[Tensor]:
        """See :meth:`Source.samples`: parts spread over the pages, those that are mostly scene if there are any."""
        side = max(1, round(count**0.5))
        found: list[tuple[float, Tensor]] = []
        for page in range(0, len(self.image.counts), -(-len(self.image.counts) // side)):
            for row in self._rows[:: -(-len(self._rows) // side)]:
                parts = list(self._parts(page, row))
                for _, counts, valid in parts[:: -(-len(parts) // side) or 1]:
                    found.append((1.0 if valid is None else float(valid.mean()), self._values(counts)))
        if not found:  # the rows that were looked at hold no scene
            return [next(self.pages())]
        best = [values for share, values in found if share > 0.5] or [values for _, values in found]
        return best[:: -(-len(best) // count)]

    def overview(self, pixels: int) -> Tensor:
        """The first page on few pixels, as the networks see it: ``[h, w, 1]``, averaged over areas; see ``tiling``."""
        height, width = self.scene.shape
        step = max(1, int((height * width / (4 * pixels)) ** 0.5))
        rows: list[Tensor] = []
        for top in range(0, height - step + 1, step):
            counts, valid = self.scene.part(0, slice(top, top + step))
            if valid is not None:
                counts = fill(counts, valid) if valid.any() else np.full_like(counts, self.mapping.counts[0])
            values = self._values(np.ascontiguousarray(counts))[..., 0]
            rows.append(F.avg_pool2d(values[None, None], step)[0, 0])
        return overview(torch.cat(rows)[None, None], pixels)[0, 0][..., None]

    def _values(self, counts: np.ndarray) -> Tensor:
        return self.mapping.to_values(counts)[..., None]

    def _parts(self, page: int, row: Span) -> Iterator[tuple[Span, np.ndarray, np.ndarray | None]]:
        """(its columns, counts with masked pixels filled, where it is scene) of each part that holds some."""
        band, valid = self.scene.part(page, row.slice)
        for column in self._columns:
            counts = band[:, column.slice]
            known = None if valid is None else valid[:, column.slice]
            if known is None or known.all():
                yield column, counts, None
            elif known.any():
                yield column, fill(counts, known), known

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
        yield from self._outside(page, 0, self.scene.rows.start, factor)
        for number, row in enumerate(self._rows):
            start, stop = row.slice.start * factor, row.slice.stop * factor
            total = np.concatenate([total, np.zeros((stop - done - len(total), width))])
            down = row.weights.double().numpy().repeat(factor)[:, None]
            for column, counts, valid in self._parts(page, row):
                corner = self.scene.rows.start + row.slice.start, self.scene.columns.start + column.slice.start
                part = self._part(next(results, None), counts, valid, change, reports, corner)
                across = column.weights.double().numpy().repeat(factor)
                left = column.slice.start * factor
                total[start - done :, left : left + len(across)] += part * down * across
            final = height if number + 1 == len(self._rows) else self._rows[number + 1].start * factor
            yield self._whole(page, total[: final - done], done, factor)
            total, done = total[final - done :], final
        yield from self._outside(page, self.scene.rows.stop, self.image.counts.shape[1], factor)

    def _part(
        self,
        values: Tensor | None,
        counts: np.ndarray,
        valid: np.ndarray | None,
        change: Change,
        reports: list[AnchorReport],
        corner: tuple[int, int],
    ) -> np.ndarray:
        if values is None:
            raise ValueError(f"fewer enhanced parts than {self.path} has")
        image = replace(self.image, counts=counts[None], valid=None if valid is None else valid[None])
        scene = Scene(image, slice(0, counts.shape[0]), slice(0, counts.shape[1]))
        restored, report = CountsSource(image, self.mapping, scene).changed(values, 0, change)
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
