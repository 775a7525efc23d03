"""Pixels that are no part of the scene: found, without influence on the others, and given back unchanged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from hidra_core import scenes
from hidra_core.images import Metadata
from hidra_core.images.tiff_layout import TiffLayout
from hidra_core.thermal import LinearKelvin, Scene, ThermalImage, fit
from hidra_core.thermal.anchor import bring_page_back
from hidra_core.thermal.blank import without_blank_areas
from hidra_core.thermal.frames import rows_of
from hidra_core.thermal.masking import fill, with_finite_mask
from hidra_core.thermal.nonuniformity import stripes

HEIGHT, WIDTH = 96, 128
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH]
COLLAR = (ROWS < 9) | (COLUMNS < 14) | (ROWS + COLUMNS > 180)
"""A border with a large corner, far wider than any filter."""


def counts() -> np.ndarray:
    """A scene around 29000 counts, ``[H, W]`` float64."""
    noise = np.random.default_rng(0).normal(0, 8, (HEIGHT, WIDTH))
    return 28000 + 2000 * scenes.render("street", HEIGHT, WIDTH, 1).astype(np.float64) + noise


def image(pages: np.ndarray, valid: np.ndarray | None = None, nodata: str = "", **known) -> ThermalImage:
    metadata = Metadata(Path("frame.tif"), layout=TiffLayout(nodata=nodata))
    pages = pages if pages.ndim == 3 else pages[None]
    return ThermalImage(metadata, pages, "test", valid=None if valid is None else valid[None], **known)


# --- filling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_filling_keeps_valid_pixels_and_lies_within_them(dtype):
    plane = counts().astype(dtype)
    filled = fill(np.where(COLLAR, 0, plane).astype(dtype), ~COLLAR)
    assert filled.dtype == dtype
    assert np.array_equal(filled[~COLLAR], plane[~COLLAR])
    assert plane[~COLLAR].min() <= filled[COLLAR].min() <= filled[COLLAR].max() <= plane[~COLLAR].max()


@pytest.mark.parametrize("below", [np.nan, np.inf, -10000, 1e38])
def test_values_of_masked_pixels_have_no_influence_on_filling(below):
    plane = counts().astype(np.float32)
    zero, other = (fill(np.where(COLLAR, value, plane).astype(np.float32), ~COLLAR) for value in (0, below))
    assert np.array_equal(zero, other)


# --- what is no measurement ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [np.nan, np.inf, -np.inf, -9999, -10000, -32767, -273.15, -3.4028235e38, 3.4028235e38])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_marks_for_missing_data_are_masked_and_said(mark, dtype):
    celsius = (counts() / 100 - 273.15).astype(dtype)
    found = with_finite_mask(image(np.where(COLLAR, mark, celsius).astype(dtype)))
    assert np.array_equal(np.asarray(found.valid)[0], ~COLLAR)
    assert found.valid is not None
    assert np.array_equal(rows_of(found.valid, 0, 5, 20), ~COLLAR[5:20])
    assert len((*found.notes, *found.warnings)) == 1
    assert f"{COLLAR.mean():.1%} of its pixels" in found.summary()


def test_a_mark_on_a_later_page_is_found():
    pages = np.stack([counts() / 100 - 273.15] * 3).astype(np.float32)
    pages[2][COLLAR] = -9999
    valid = np.asarray(with_finite_mask(image(pages)).valid)
    assert valid[:2].all()
    assert np.array_equal(valid[2], ~COLLAR)


def test_marks_in_kelvin_are_those_at_0_kelvin():
    kelvin = np.where(COLLAR, 0, counts() / 100).astype(np.float32)
    assert np.array_equal(np.asarray(with_finite_mask(image(kelvin, relation=LinearKelvin(1.0))).valid)[0], ~COLLAR)


def test_floats_that_are_no_temperatures_are_all_scene():
    """Counts of which a background was taken off lie below -273 too, at many different values."""
    signed = ((counts() - 29000) * 3).astype(np.float32)
    assert (signed < -300).mean() > 0.1
    found = with_finite_mask(image(signed))
    assert np.asarray(found.valid).all()
    assert found.notes == found.warnings == ()


@pytest.mark.parametrize(
    ("dtype", "value", "scale", "offset"),
    [
        ("uint16", 0, 1, 0),
        ("uint16", 65535, 1, 0),
        ("int16", -32768, 1, -29000),
        ("int32", 0, 10, 0),
        ("float32", 0, 0.01, 0),  # kelvin
        ("float32", 0, 0.01, -273.15),  # °C, not far from 0
    ],
)
def test_blank_borders_are_masked_and_said(dtype, value, scale, offset):
    plane = np.where(COLLAR, value, counts() * scale + offset).astype(dtype)
    plane[40, 60] = value + 5 if value < 1 else value - 5  # a dead pixel close to it hides no border
    found = without_blank_areas(image(plane))
    assert np.array_equal(np.asarray(found.valid)[0], ~COLLAR)
    assert f"an area of {value}" in found.warnings[0]


def test_what_is_no_blank_border():
    plane = counts().astype(np.uint16)
    hot = plane.copy()
    hot[40:60, 40:60] = 50000  # inside, and no mark for missing data
    dead = plane.copy()
    dead[40:90:4, 20:120:4] = 0  # single pixels
    near = np.where(COLLAR, 0, counts() - 27900).astype(np.uint16)  # the scene reaches down to it
    melting = np.where(COLLAR, 0, np.rint(counts() / 10 - 2830) / 10).astype(np.float32)  # °C, around 0
    for pages in (plane, hot, dead, near, melting):
        assert without_blank_areas(image(pages)).valid is None


@pytest.mark.parametrize(
    ("dtype", "value", "scale", "offset"),
    [
        ("uint16", 1, 1, 0),
        ("int16", -9999, 1, -29000),
        ("int32", -9999, 10, 0),
        ("float32", 0, 0.05, -1440),  # °C on both sides of 0
        ("float32", -1, 0.01, 0),
        ("float32", 999, 0.01, -273.15),
        ("float32", 273.15, 0.05, -1170),  # 0 °C in kelvin, and the scene on both sides of it
    ],
)
def test_borders_of_any_value_are_masked(dtype, value, scale, offset):
    plane = np.where(COLLAR, value, counts() * scale + offset).astype(dtype)
    found = without_blank_areas(image(plane, nodata="65535"))  # a value that no pixel has
    assert np.array_equal(np.asarray(found.valid)[0], ~COLLAR)


def test_holes_of_missing_data_are_masked():
    plane = counts().astype(np.uint16)
    hole = (ROWS - 50) ** 2 + (COLUMNS - 50) ** 2 < 100
    found = without_blank_areas(image(np.where(hole, 0, plane).astype(np.uint16)))
    assert np.array_equal(np.asarray(found.valid)[0], ~hole)


def test_a_border_that_only_later_pages_have_is_masked():
    plane = counts().astype(np.uint16)
    found = without_blank_areas(image(np.stack([plane, np.where(COLLAR, 0, plane).astype(np.uint16)])))
    assert np.array_equal(np.asarray(found.valid), np.stack([np.ones_like(COLLAR), ~COLLAR]))


def test_borders_of_large_pages_are_masked(monkeypatch):
    monkeypatch.setattr("hidra_core.thermal.blank._LARGEST_WITH_AREAS", HEIGHT * WIDTH // 2)
    plane = np.where(COLLAR, 0, counts()).astype(np.uint16)
    found = without_blank_areas(image(plane))
    assert np.array_equal(np.asarray(found.valid)[0], ~COLLAR)
    assert found.valid is not None
    assert np.array_equal(rows_of(found.valid, 0, 20, 30), ~COLLAR[20:30])


# --- no influence ----------------------------------------------------------------------------------------------------


def test_the_scene_is_the_rectangle_of_valid_pixels():
    scene = Scene.of(image(counts().astype(np.uint16), ~COLLAR))
    assert (scene.rows, scene.columns) == (slice(9, HEIGHT), slice(14, WIDTH))
    with pytest.raises(ValueError, match="no pixel of page 1 has data"):
        Scene.of(image(counts().astype(np.uint16), np.zeros((HEIGHT, WIDTH), bool)))


@pytest.mark.parametrize("factor", [1, 2])
def test_masked_pixels_are_given_back_and_others_are_not_touched_by_them(factor):
    plane = np.where(COLLAR, 0, counts()).astype(np.uint16)
    masked = image(plane, ~COLLAR)
    scene = Scene.of(masked)
    mapping = fit("linear", scene)
    values = mapping.to_values(scene.counts(0)).repeat_interleave(factor, 0).repeat_interleave(factor, 1)
    anchored, report = bring_page_back(values, scene, mapping, radiometric=True)
    whole = scene.put_back(0, np.rint(anchored).astype(np.uint16))
    large, outside = (part.repeat(factor, 0).repeat(factor, 1) for part in (plane, COLLAR))
    assert (whole[outside] == 0).all()
    # 29000 counts below the corner leaked into its surroundings once
    assert np.abs(whole.astype(float) - large)[~outside].max() < 60
    assert report is not None
    assert abs(report.residual.largest) < 60
    assert abs(report.low_frequency.largest) < 5


def test_places_in_the_report_are_those_of_the_file():
    plane = counts().astype(np.uint16)
    plane[40, 60] = 60000  # a dead pixel is the largest change
    scene = Scene.of(image(plane, ~COLLAR))
    mapping = fit("linear", scene)
    _, report = bring_page_back(mapping.to_values(scene.counts(0)), scene, mapping, radiometric=True)
    assert report is not None
    assert (report.residual.row, report.residual.column) == (40, 60)


def test_a_masked_pixel_does_not_turn_scene_into_stripes():
    """Once the levels of columns were not compared along their length where a single pixel was masked."""
    plane = 28000 + 3000 * scenes.render("substation", 192, 256, 3).astype(np.float64)
    offsets = np.random.default_rng(2).normal(0, 10, 256)
    data = plane + offsets + np.random.default_rng(1).normal(0, 8, plane.shape)
    valid = np.ones(plane.shape, bool)
    valid[5, 7] = False
    guide = gaussian_filter(plane, 1.5)
    for one, other in zip(stripes(data, guide), stripes(data, guide, valid), strict=True):
        assert np.abs(one - other).max() < 0.2
    # columns of which the lower part alone is known still lose their stripes
    valid = np.mgrid[0:192, 0:256][0] > 90
    columns, _ = stripes(data, plane, valid)
    assert np.corrcoef(columns, offsets)[0, 1] > 0.95
    assert not stripes(data, plane, np.zeros(plane.shape, bool))[0].any()


@pytest.mark.parametrize(
    ("dtype", "nodata", "expected"), [("uint16", "0", 1), ("uint16", "65535", 65534), ("int16", "-5", -4)]
)
def test_no_pixel_of_the_scene_gets_the_value_for_no_data(dtype, nodata, expected):
    plane = np.full((HEIGHT, WIDTH), 7, dtype)
    for valid in (None, ~COLLAR):
        scene = Scene.of(image(plane, valid, nodata))
        result = np.full(scene.shape, int(nodata), dtype)
        inside = np.ones(plane.shape, bool) if valid is None else valid
        assert (scene.put_back(0, result)[inside] == expected).all()


def test_no_float_of_the_scene_gets_the_value_for_no_data():
    scene = Scene.of(image(np.full((HEIGHT, WIDTH), 7, np.float32), None, "0"))
    result = scene.put_back(0, np.zeros(scene.shape, np.float32))
    assert (result != 0).all()
    assert np.abs(result).max() < 1e-30


def test_precision_of_large_integers_and_doubles():
    """A step of one is kept far beyond the 24 bits of a 32-bit float."""
    for dtype, base in (("int32", 2**30), ("uint32", 2**31), ("float64", 1e9)):
        plane = (base + (counts() - 28000)).astype(dtype)
        source = image(plane)
        scene = Scene.of(source)
        mapping = fit("linear", scene)
        restored, _ = bring_page_back(mapping.to_values(scene.counts(0)), scene, mapping)
        assert np.abs(restored - plane.astype(np.float64)).max() < 0.01


def test_a_flat_float_scene_is_mapped_and_comes_back():
    source = replace(image(np.full((HEIGHT, WIDTH), 20.0, np.float32)), relation=LinearKelvin(1.0, 273.15))
    scene = Scene.of(source)
    mapping = fit("linear", scene)
    restored, _ = bring_page_back(torch.full((HEIGHT, WIDTH), 0.5), scene, mapping)
    assert restored == pytest.approx(20.0)
    assert mapping.counts[-1] - mapping.counts[0] == pytest.approx(2.55)  # 255 steps of 0.01 K
