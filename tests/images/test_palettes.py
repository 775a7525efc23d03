"""Palettes and their inverse: exact where that is possible, with a warning where it is not."""

import io

import numpy as np
import pytest
from PIL import Image

from hidra_core import scenes
from hidra_core.images import palettes
from hidra_core.names import PALETTES

GREY = np.round(scenes.render("street", 96, 128, 1) * 255) / 255
DISTINCT = [name for name in palettes.PALETTES if name != "black hot"]


def rounded(colours: np.ndarray) -> np.ndarray:
    return np.round(colours * 255) / 255


def as_jpeg(colours: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(np.rint(colours * 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)).astype(np.float32) / 255


@pytest.mark.parametrize("palette", palettes.PALETTES)
def test_tables_have_distinct_colours(palette: str) -> None:
    table = palettes.table(palette)
    assert table.shape == (256, 3)
    assert table.dtype == np.uint8
    assert len(np.unique(table, axis=0)) > 240  # no large part of the range has one colour


def test_names_are_those_that_menus_show() -> None:
    assert tuple(palettes._STOPS) == PALETTES == palettes.PALETTES


def test_white_and_black_hot_are_what_they_say() -> None:
    assert (palettes.table("white hot") == np.arange(256)[:, None]).all()
    assert (palettes.table("black hot") == palettes.table("white hot")[::-1]).all()


@pytest.mark.parametrize("palette", palettes.PALETTES)
def test_round_trip_is_exact_to_a_grey_level(palette: str) -> None:
    inverse = palettes.invert(rounded(palettes.colour(GREY, palette)), palette)
    assert np.abs(inverse.grey - GREY).max() * 255 <= 1.01
    assert inverse.off_palette == 0
    assert inverse.warnings == ()


def test_grey_between_entries_survives() -> None:
    ramp = np.linspace(0, 1, 5000, dtype=np.float32)[None]
    inverse = palettes.invert(palettes.colour(ramp, "ironbow"), "ironbow")
    assert np.abs(inverse.grey - ramp).max() < 1e-3


@pytest.mark.parametrize("palette", DISTINCT)
def test_palette_is_found(palette: str) -> None:
    colours = rounded(palettes.colour(GREY, palette))
    assert palettes.detect(colours) == palette
    if palette not in ("graded fire", "hottest"):  # grey but for a few pixels, whose colours JPEG takes away
        assert palettes.detect(as_jpeg(colours, 90)) == palette


@pytest.mark.parametrize("palette", ["ironbow", "rainbow", "arctic", "lava"])
def test_jpeg_is_reported_and_close(palette: str) -> None:
    inverse = palettes.invert(as_jpeg(palettes.colour(GREY, palette), 85))
    assert inverse.palette == palette
    assert np.abs(inverse.grey - GREY).mean() * 255 < 5
    assert any("JPEG" in warning for warning in inverse.warnings)
    assert "warning:" in inverse.summary()


def test_text_over_the_image_is_masked_and_reported() -> None:
    colours = rounded(palettes.colour(GREY, "ironbow"))
    colours[10:20, 30:60] = (0, 1, 0)
    inverse = palettes.invert(colours)
    assert inverse.palette == "ironbow"
    off = inverse.distance > palettes.OFF_PALETTE
    assert off[10:20, 30:60].all()
    assert off.sum() == 300
    assert any("text" in warning for warning in inverse.warnings)


def test_colours_that_come_back_are_reported(monkeypatch) -> None:
    there_and_back = ((0, (0, 0, 0)), (0.5, (255, 0, 0)), (1, (0, 0, 0)))
    monkeypatch.setitem(palettes._STOPS, "there and back", there_and_back)
    inverse = palettes.invert(rounded(palettes.colour(GREY, "there and back")), "there and back")
    assert inverse.ambiguous > 0.8  # all but those near the turning point
    assert any("two places" in warning for warning in inverse.warnings)


def test_grey_images_count_as_white_hot_with_a_warning() -> None:
    inverse = palettes.invert(np.repeat(GREY[..., None], 3, axis=-1))
    assert inverse.palette == "white hot"
    assert np.allclose(inverse.grey, GREY, atol=1e-6)
    assert any("black hot" in warning for warning in inverse.warnings)


def test_a_photograph_fits_no_palette() -> None:
    colours = np.random.default_rng(0).random((64, 64, 3))
    with pytest.raises(ValueError, match="no known palette fits"):
        palettes.detect(colours)
    forced = palettes.invert(colours, "ironbow")
    assert forced.off_palette > 0.5
    assert forced.warnings


def test_unknown_names_and_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown palette 'iron'; choose one of white hot"):
        palettes.colour(GREY, "iron")
    with pytest.raises(ValueError, match=r"must be \[H, W, 3\]"):
        palettes.invert(GREY)
