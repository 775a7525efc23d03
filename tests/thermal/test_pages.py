"""Some of the pages of an image of counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from hidra_core.images import Metadata
from hidra_core.images.tiff_layout import TiffLayout
from hidra_core.thermal import Frames, ThermalImage


def image(pages: int = 5) -> ThermalImage:
    counts = np.arange(pages * 12, dtype=np.uint16).reshape(pages, 3, 4)
    exif = tuple(f"page {page}".encode() for page in range(pages))
    return ThermalImage(
        Metadata(Path("stack.tif"), layout=TiffLayout(page_exif=exif)),
        counts,
        "counts",
        valid=counts % 5 != 0,
        alpha=counts + 1,
        times=tuple(datetime(2024, 5, 1, 10, 0, page) for page in range(pages)),
    )


def one_by_one(planes: np.ndarray) -> Frames:
    return Frames(
        lambda index: planes[index],
        planes.shape,
        planes.dtype,
        lambda index, top, bottom: planes[index, top:bottom],
    )


@pytest.mark.parametrize("count", [2, None])
@pytest.mark.parametrize("in_memory", [True, False])
def test_everything_is_cut_alike(count: int | None, in_memory: bool) -> None:
    whole = image()
    assert isinstance(whole.counts, np.ndarray)
    given = whole if in_memory else replace(whole, counts=one_by_one(whole.counts), valid=one_by_one(whole.valid))
    part = given.pages(2, count)
    chosen = slice(2, 4 if count else 5)
    assert np.array_equal(part.counts, whole.counts[chosen])
    assert np.array_equal(part.valid, whole.valid[chosen])
    assert np.array_equal(part.alpha, whole.alpha[chosen])
    assert part.times == whole.times[chosen]
    assert part.metadata.layout.page_exif == whole.metadata.layout.page_exif[chosen]
    assert part.extremes == (whole.counts[chosen][whole.valid[chosen]].min(), whole.counts[chosen].max())
    if isinstance(part.counts, Frames):
        assert np.array_equal(part.counts.rows(1, 1, 3), whole.counts[3, 1:3])


def test_what_belongs_to_no_page_stays() -> None:
    whole = replace(image(), valid=None, alpha=None, times=(), metadata=Metadata(Path("stack.tif"), b"exif"))
    part = whole.pages(4)
    assert (part.valid, part.alpha, part.times, part.metadata.exif) == (None, None, (), b"exif")


@pytest.mark.parametrize(("first", "count"), [(5, None), (4, 2), (0, 0), (-1, 2)])
def test_pages_that_are_not_there_are_refused(first: int, count: int | None) -> None:
    with pytest.raises(ValueError, match=r"stack\.tif has 5 pages.*between 1 and 5"):
        image().pages(first, count)
