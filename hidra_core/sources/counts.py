"""Counts of thermal cameras: mapped to the range of the networks, enhanced, and brought back."""

from __future__ import annotations

import logging
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..images.files import write_json
from ..thermal import (
    Mapping,
    Scene,
    ThermalImage,
    bring_page_back,
    check_fits,
    check_thermal_writable,
    rounded,
    with_kelvin,
    write_thermal,
)
from ..thermal.frames import repeated
from .base import Beside, Change, Enhance, Source
from .beside import StageShare, give_back, write_beside
from .undone import Findings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ..images.tiff import Bands
    from ..thermal import AnchorReport, Unit
    from .undone import UndoneScene

log = logging.getLogger(__name__)


class CountsSource(Source):
    """A file of counts, all pages under one mapping; a few pages at a time are in memory where they are many.

    Args:
        image: the counts and their metadata, as they were read.
        mapping: from its counts to the range of the networks.
        scene: which pixels are scene; None: found anew.
        unit: write temperatures in this unit instead of counts.
        undone: the same scene after the sensor stage; None: it does not run.

    Attributes:
        is_stored: whether the counts are those of the whole file, unchanged.
    """

    is_stored = True

    def __init__(
        self,
        image: ThermalImage,
        mapping: Mapping,
        scene: Scene | None = None,
        unit: Unit | None = None,
        undone: UndoneScene | None = None,
    ) -> None:
        self.image = image
        self.mapping = mapping
        self.scene = scene or Scene.of(image)
        self.unit: Unit | None = unit
        self.undone = undone
        self.findings = None if undone is None else Findings(undone.unit)
        self.path = image.path
        self.bit_depth = image.bit_depth
        self.page_count = len(image.counts)

    def pages(self) -> Iterator[Tensor]:
        """See :meth:`Source.pages`; the rectangle of each page that holds the scene."""
        return (self._page(page) for page in range(len(self.image.counts)))

    def given(self) -> Iterator[Tensor]:
        """See :meth:`Source.given`."""
        return (self._judged(page) for page in range(len(self.image.counts)))

    def samples(self, count: int) -> list[Tensor]:
        """See :meth:`Source.samples`."""
        pages = len(self.image.counts)
        return [self._judged(page) for page in range(0, pages, -(-pages // count))]

    def _judged(self, page: int) -> Tensor:
        """A page as the DEM judges it."""
        shading = None if self.undone is None else self.undone.undone(page).correction.shading
        counts = self.scene.counts(page)
        return self._values(counts if shading is None else counts - shading)

    def _given(self, page: int) -> Tensor:
        return self._values(self.scene.counts(page))

    def _page(self, page: int) -> Tensor:
        return self._values((self.undone or self.scene).counts(page))

    def _values(self, counts: np.ndarray) -> Tensor:
        return self.mapping.to_values(counts)[..., None]

    def check_writable(self, output: Path) -> None:
        """See :meth:`Source.check_writable`."""
        check_thermal_writable(output, self.image, unit=self.unit)

    def rewrite(
        self, output: Path, enhance: Enhance, change: Change | None = None, beside: Beside | None = None
    ) -> None:
        """See :meth:`Source.rewrite`; comparison and trust report are of the first page."""
        change, beside = change or Change(), beside or Beside()
        if beside.radiometric is not None and not change.radiometric:
            raise ValueError(f"{self.path}: radiometric mode is not on, so there is nothing for {beside.radiometric}")
        self.check_writable(output)
        results = iter(enhance(self.pages()))
        first = next(results, None)
        if first is None:
            raise ValueError(f"no enhanced page for the {len(self.image.counts)} pages of {self.path}")
        factor = first.shape[0] // self.scene.shape[0]
        same_kind = self.path.suffix.lower() == output.suffix.lower() and self.unit is None and self.is_stored
        if self.findings is not None:
            self.findings.clear()
        if change.blend == 0 and same_kind and factor == 1:
            before = self._given(0)
            write_beside(self.path, output, before, before, beside)
            give_back(self.path, output)
            return
        reports: list[AnchorReport] = []
        shown: list[np.ndarray] = []  # the first page, which the files beside the result show

        def restored() -> Iterator[np.ndarray]:
            count = 0
            for count, values in enumerate(chain([first], results), 1):
                if count > len(self.image.counts):
                    break
                counts, report = self._restored(values, count - 1, change)
                if self.findings is not None and self.undone is not None and change.blend:
                    self.findings.add(self.undone.undone(count - 1).correction)
                if report is not None:
                    reports.append(report)
                    log.info("%s, page %d: %s", self.path, count, report.summary())
                shown[:] = shown or [counts]
                if count == len(self.image.counts):
                    self._write_beside(output, shown[0], change, beside, reports)
                yield counts
            if count != len(self.image.counts):
                raise ValueError(f"{count} enhanced pages for the {len(self.image.counts)} pages of {self.path}")

        self._write(output, restored(), factor, radiometric=True if change.radiometric else None)

    def _write_beside(
        self, output: Path, counts: np.ndarray, change: Change, beside: Beside, reports: list[AnchorReport]
    ) -> None:
        """The files beside a result, of its first page; pixels that are no scene count as unchanged."""
        if beside.radiometric is not None:
            write_json(beside.radiometric, self.record(reports))
        if beside.compare is None and beside.trust is None:
            return
        factor = counts.shape[0] // self.image.counts.shape[1]
        rows, columns = (
            slice(side.start * factor, side.stop * factor) for side in (self.scene.rows, self.scene.columns)
        )
        before, after = self._given(0), self._values(np.nan_to_num(counts[rows, columns]))
        valid = self.scene.valid(0)
        if valid is not None:
            mask = torch.from_numpy(repeated(valid, factor))[..., None]
            after = torch.where(mask, after, before.repeat_interleave(factor, 0).repeat_interleave(factor, 1))
        write_beside(self.path, output, before, after, beside, self._stage_share(before, change))

    def _stage_share(self, before: Tensor, change: Change) -> StageShare | None:
        """The part of the sensor stage in the first page of a result; None where it did not run."""
        if self.undone is None or change.blend == 0:
            return None
        correction = self.undone.undone(0).correction
        alone = change.apply(before, self._page(0)).clamp(0, 1)
        kelvin, entry = self.image.relation, {"unit": self.undone.unit, **correction.to_dict()}
        if kelvin is not None:
            entry |= with_kelvin(correction, kelvin.kelvin, float(np.median(self.scene.counts(0))))
        return StageShare(alone, entry, correction.summary(self.undone.unit, 1.0))

    def _restored(self, values: Tensor, page: int, change: Change) -> tuple[np.ndarray, AnchorReport | None]:
        """The counts ``[h, w]`` of an enhanced page ``[h, w, 1]``, and the report of radiometric mode."""
        restored, report = self.changed(values, page, change)
        return self.scene.put_back(page, rounded(restored, self.image.counts.dtype)), report

    def changed(self, values: Tensor, page: int, change: Change) -> tuple[np.ndarray, AnchorReport | None]:
        """The counts of the scene that an enhanced page gives, float64 and not rounded.

        Args:
            values: ``[k·h, k·w, 1]`` in [0, 1].
            page: its index.
            change: how much of the change the result gets.

        Returns:
            (counts ``[k·h, k·w]``; the report of radiometric mode, None without it)
        """
        if change.blend == 0 or self._is_blank(page) and not change.radiometric:
            return self._untouched(values, page), None
        undone = None if self.undone is None else self.undone.undone(page)
        restored, report = bring_page_back(
            values[..., 0],
            self.scene,
            self.mapping,
            page,
            radiometric=change.radiometric,
            with_shading=change.shading,
            undone=None if undone is None else (undone.image, undone.correction),
        )
        if change.is_whole:
            return restored, report
        # the share of the change alone, so that 32-bit arithmetic does not round the counts
        before = self._untouched(values, page)
        share = change.apply(*(torch.from_numpy(part)[..., None] for part in _from_zero(before, restored)))
        return before + share[..., 0].double().numpy(), report

    def _is_blank(self, page: int) -> bool:
        """Whether one page of several has a single value, as while a shutter is closed: it is no scene."""
        if len(self.image.counts) == 1:
            return False
        counts = self.scene.counts(page)
        return bool(counts.min() == counts.max())

    def _untouched(self, values: Tensor, page: int) -> np.ndarray:
        """The counts of a page, enlarged as the networks' input is, float64."""
        counts = self.scene.counts(page).astype(np.float64)
        if values.shape[0] == counts.shape[0]:
            return counts
        planes = torch.from_numpy(counts)[None, None]
        size = (values.shape[0], values.shape[1])
        return torch.nn.functional.interpolate(planes, size, mode="bilinear", align_corners=False)[0, 0].numpy()

    def restore(
        self, values: Tensor, change: Change, after_page: Callable[[int, int], None] | None = None
    ) -> tuple[np.ndarray, list[AnchorReport]]:
        """Bring enhanced pages back to counts.

        Args:
            values: ``[N, h, w]`` in [0, 1], the enhanced :meth:`pages`; may be larger by a whole factor.
            change: how much of the change the result gets.
            after_page: called with (pages done, pages in all); may raise to stop.

        Returns:
            (counts ``[N, h, w]`` of the input's type; one report per page of radiometric mode, none without it)

        Raises:
            ValueError: another number of pages, sizes that do not fit, values that are not finite.
        """
        check_fits(values, self.scene)
        pages, reports = [], []
        for page, enhanced in enumerate(values):
            counts, report = self._restored(enhanced[..., None], page, change)
            pages.append(counts)
            reports += [] if report is None else [report]
            if after_page is not None:
                after_page(page + 1, len(values))
        return np.stack(pages), reports

    def record(self, reports: list[AnchorReport]) -> dict[str, Any]:
        """What is known about the counts, their mapping, and what radiometric mode changed, in plain JSON types."""
        entries = [report.to_dict() for report in reports]
        return {**self.image.record(), "mapping": self.mapping.to_dict(), "report": entries}

    def save(
        self,
        output: Path,
        counts: np.ndarray,
        *,
        radiometric: bool | None = None,
        workflow: dict[str, Any] | None = None,
    ) -> None:
        """Write counts with the metadata of this file, and a note of how they were made.

        Args:
            output: see :func:`~hidra_core.thermal.write_thermal`.
            counts: ``[N, h, w]``, from :meth:`restore`; or one page of it.
            radiometric: whether radiometric mode made them, for the note; None leaves it out of the note.
            workflow: of the program that made them, in plain JSON types, for the note.
        """
        self._write(output, counts, None, radiometric=radiometric, workflow=workflow)

    def _write(
        self,
        output: Path,
        counts: np.ndarray | Iterator[np.ndarray | Bands],
        factor: int | None,
        *,
        radiometric: bool | None,
        workflow: dict[str, Any] | None = None,
    ) -> None:
        note: dict[str, Any] = {"mapping": {"kind": self.mapping.kind, "parameters": self.mapping.parameters}}
        if radiometric is not None:
            note["radiometric"] = radiometric
        if self.undone is not None:
            note["sensor"] = self.undone.stage.to_dict()
        if workflow:
            note["workflow"] = workflow
        write_thermal(output, counts, self.image, factor=factor, unit=self.unit, note=note)


def _from_zero(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros_like(before), after - before
