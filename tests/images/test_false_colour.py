"""Pictures in false colours are told from grey ones, also from grey ones with a little colour on them."""

import io
import logging

import numpy as np
import pytest
from PIL import Image

from hidra_core import scenes
from hidra_core.images import palettes
from hidra_core.images.false_colour import (
    AUTO,
    GOOD_PART,
    SOME,
    FalseColourError,
    check_choice,
    check_colours,
    judge,
    turn_back,
)

GREY = scenes.render("street", 96, 128, 1)
TINTS = ("glowbow", "sepia", "green")
LITTLE = ("hottest",)  # grey but for the hottest pixels
FALSE = [name for name in palettes.PALETTES if name not in (*TINTS, *LITTLE, "white hot", "black hot")]


def levels(colours: np.ndarray) -> np.ndarray:
    return np.rint(colours * 255).astype(np.uint8)


def as_jpeg(colours: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(colours).save(buffer, "JPEG", quality=80)
    return np.asarray(Image.open(buffer))


@pytest.mark.parametrize("palette", FALSE)
def test_false_colours_are_named_and_refused(palette: str) -> None:
    for picture in (levels(palettes.colour(GREY, palette)), as_jpeg(levels(palettes.colour(GREY, palette)))):
        found = judge(picture)
        assert not found.is_grey
        assert found.palette == palette
        assert judge(picture.astype(np.float32) / 255) == found
    with pytest.raises(FalseColourError, match=r"a\.png is in false colours.*--palette auto.*--as-is") as error:
        check_colours([picture], "a.png")
    assert f"'{palette}'" in error.value.finding
    assert "--" not in error.value.finding
    how = "rises unevenly" if palettes.rises(palette) else "does not rise"
    assert how in error.value.finding


def test_which_palettes_rise() -> None:
    rising = {name for name in palettes.PALETTES if palettes.rises(name)}
    assert rising == {"white hot", "ironbow", "lava", "glowbow", "sepia", "green", "hot"}


@pytest.mark.parametrize("palette", TINTS)
def test_tints_are_grey_with_a_word(palette: str, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        check_colours([levels(palettes.colour(GREY, palette))], "a.png")
    assert "a.png" in caplog.text
    assert "have a tint" in caplog.text


def test_blue_alone_is_no_tint_where_a_palette_falls() -> None:
    cold = levels(palettes.colour(GREY * 0.3, "arctic"))  # all hues of a narrow band
    assert judge(cold).palette == "arctic"
    assert not judge(cold).is_grey


def test_grey_pictures_stay_grey_without_a_word(caplog) -> None:
    grey = levels(np.repeat(GREY[..., None], 3, axis=-1))
    crosshair = grey.copy()
    crosshair[48, 60:69] = crosshair[44:53, 64] = (255, 0, 0)
    with caplog.at_level(logging.WARNING):
        for picture in (grey, as_jpeg(grey), grey[..., :1], crosshair, levels(palettes.colour(GREY, "black hot"))):
            check_colours([picture], "a.png")
    assert caplog.text == ""


def test_a_little_colour_is_worth_a_word(caplog) -> None:
    grey = levels(np.repeat(GREY[..., None], 3, axis=-1))
    grey[:10, :40] = (0, 200, 0)
    assert SOME < judge(grey).share < GOOD_PART
    with caplog.at_level(logging.WARNING):
        check_colours([grey], "a.png")
    assert "of its pixels are coloured (text, a scale" in caplog.text


def test_alpha_is_no_colour() -> None:
    grey = np.repeat(GREY[..., None], 3, axis=-1)
    assert judge(np.concatenate([grey, 1 - grey[..., :1]], axis=-1)).share == 0


def test_colours_of_no_palette_are_refused_too() -> None:
    with pytest.raises(FalseColourError, match="no palette that is known"):
        check_colours([np.random.default_rng(0).random((64, 64, 3))], "a.png")


def test_colours_are_turned_back(caplog) -> None:
    rainbow = palettes.colour(GREY, "rainbow")
    grey = np.repeat(GREY[..., None], 3, axis=-1)
    with caplog.at_level(logging.WARNING):
        for choice in (AUTO, "rainbow"):
            inverse = turn_back(rainbow, choice, "a.png")
            assert inverse is not None
            assert inverse.palette == "rainbow"
            assert np.abs(inverse.grey - GREY).max() < 1e-3
        assert [record.getMessage() for record in caplog.records] == [
            "a.png: its colours are taken for those of 'rainbow' and turned back to grey; --palette NAME says otherwise"
        ]
        caplog.clear()
        assert turn_back(grey, AUTO, "a.png") is None
        assert turn_back(GREY[..., None], AUTO, "a.png") is None
        reversed_grey = turn_back(GREY[..., None], "black hot", "a.png")
        assert reversed_grey is not None
        assert np.allclose(reversed_grey.grey, 1 - GREY, atol=1e-6)
    assert caplog.text == ""
    turn_back(as_jpeg(levels(rainbow)) / 255, AUTO, "a.jpg")
    assert "a.jpg: colours are off the palette" in caplog.text
    with pytest.raises(ValueError, match=r"a\.png: .* none of the colours of 'ironbow'; choose"):
        turn_back(rainbow, "ironbow", "a.png")
    with pytest.raises(ValueError, match=r"a\.png: no known palette fits"):
        turn_back(np.random.default_rng(0).random((64, 64, 3)), AUTO, "a.png")


def test_an_isotherm_is_no_tint() -> None:
    """Its colour stands where brightness was."""
    marked = np.repeat(GREY[..., None], 3, axis=-1)
    marked[(GREY > 0.4) & (GREY < 0.6)] = (0, 1, 0)
    assert not judge(marked).is_grey
    with pytest.raises(FalseColourError, match="as an isotherm or alarm marks them") as error:
        check_colours([marked], "a.png")
    assert "--palette" not in str(error.value)  # no palette brings the brightness back
    with pytest.raises(FalseColourError, match="as an isotherm"):
        turn_back(marked, AUTO, "a.png")


def test_choices_are_checked() -> None:
    check_choice(None, True)
    check_choice("auto", False)
    with pytest.raises(ValueError, match="unknown palette 'iron'; choose auto or one of white hot"):
        check_choice("iron", False)
    with pytest.raises(ValueError, match="choose a palette or as they are"):
        check_choice("rainbow", True)
