"""Counts of thermal cameras: mapped to the range of the networks, enhanced, and brought back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..images.files import write_json
from ..thermal import Mapping, ThermalImage, bring_back, check_thermal_writable, rounded, write_thermal
from .base import Beside, Change, Enhance, Source
from .beside import give_back, write_beside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ..thermal import AnchorReport

log = logging.getLogger(__name__)


class CountsSource(Source):
    """A file of counts, all pages under one mapping.

    Args:
        image: the counts and their metadata, as they were read.
        mapping: from its counts to the range of the networks.
    """

    def __init__(self, image: ThermalImage, mapping: Mapping) -> None:
        self.image = image
        self.mapping = mapping
        self.path = image.path
        self.bit_depth = image.bit_depth
        self.page_count = len(image.counts)

    def pages(self) -> Iterator[Tensor]:
        """See :meth:`Source.pages`."""
        for page in self.image.counts:
            yield self.mapping.to_values(page)[..., None]

    def samples(self, count: int) -> list[Tensor]:
        """See :meth:`Source.samples`."""
        chosen = self.image.counts[:: -(-len(self.image.counts) // count)]
        return [self.mapping.to_values(page)[..., None] for page in chosen]

    def check_writable(self, output: Path) -> None:
        """See :meth:`Source.check_writable`."""
        check_thermal_writable(output, self.image)

    def rewrite(
        self, output: Path, enhance: Enhance, change: Change | None = None, beside: Beside | None = None
    ) -> None:
        """See :meth:`Source.rewrite`; comparison and trust report are of the first page."""
        change, beside = change or Change(), beside or Beside()
        if beside.radiometric is not None and not change.radiometric:
            raise ValueError(f"{self.path}: radiometric mode is not on, so there is nothing for {beside.radiometric}")
        self.check_writable(output)
        results = torch.stack(list(enhance(self.pages())))[..., 0]
        counts, reports = self.restore(results, change)
        write_beside(self.path, output, next(self.pages()), self.mapping.to_values(counts[0])[..., None], beside)
        if beside.radiometric is not None:
            write_json(beside.radiometric, self.record(reports))
        for number, report in enumerate(reports, 1):
            log.info("%s, page %d: %s", self.path, number, report.summary())
        same_kind = self.path.suffix.lower() == output.suffix.lower()
        if change.blend == 0 and same_kind and counts.shape == self.image.counts.shape:
            give_back(self.path, output)
        else:
            self.save(output, counts, radiometric=True if reports else None)

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
        counts, reports = bring_back(
            values,
            self.image,
            self.mapping,
            radiometric=change.radiometric,
            with_shading=change.shading,
            after_page=after_page,
        )
        if change.is_whole:
            return counts, reports
        blended = []
        for old, new in zip(self.image.counts, counts, strict=True):
            before, after = (torch.from_numpy(page.astype(np.float32))[..., None] for page in (old, new))
            blended.append(change.apply(before, after)[..., 0].numpy())
        return rounded(np.stack(blended), counts.dtype), reports

    def record(self, reports: list[AnchorReport]) -> dict[str, Any]:
        """What is known about the counts, their mapping, and what radiometric mode changed, in plain JSON types."""
        entries = [report.to_dict() for report in reports]
        return {**self.image.record(), "mapping": self.mapping.to_dict(), "report": entries}

    def save(self, output: Path, counts: np.ndarray, *, radiometric: bool | None = None) -> None:
        """Write counts with the metadata of this file, and a note of how they were made.

        Args:
            output: see :func:`~hidra_core.thermal.write_thermal`.
            counts: ``[N, h, w]``, from :meth:`restore`.
            radiometric: whether radiometric mode made them, for the note; None leaves it out of the note.
        """
        note: dict[str, Any] = {"mapping": {"kind": self.mapping.kind, "parameters": self.mapping.parameters}}
        if radiometric is not None:
            note["radiometric"] = radiometric
        write_thermal(output, counts, self.image, note=note)
