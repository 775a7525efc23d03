"""Pictures in false colours: whether the brightness of a coloured picture says anything about temperature.

Thermal cameras save pictures in the colours of a palette. The brightness of most palettes goes up and down from cold to
warm, so the grey of such a picture has the wrong order. A grey picture with a little colour on it, such as text, a
logo or a crosshair, is still grey; so is one in a tint of a single hue.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..names import PALETTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .palettes import Inverse

log = logging.getLogger(__name__)

AUTO = "auto"
"""In place of a palette's name: find out which one it is."""

CLEAR = 32
"""Difference of the largest and smallest channel (0-255) above which a pixel is clearly coloured."""

GOOD_PART = 0.1
"""Share of clearly coloured pixels above which a picture is not grey with a little colour on it."""

SOME = 0.005
"""Share of clearly coloured pixels that is worth a word: of grey pictures whose hottest parts are coloured."""

_ENOUGH = 1_000_000  # pixels that decide
_MOST_OFF = 0.35  # share of pixels of other colours up to which a palette that was found out is believed
_SATURATED = 120  # difference of the largest and smallest channel (0-255) in colours that mark something
_FEW_LEVELS = 24  # of 255, that the brightness of most pixels of a single colour keeps within
_ONE_HUE = 25  # degrees on either side in which nearly all hues of a tint lie


class FalseColourError(ValueError):
    """A picture or clip whose brightness is not its temperature.

    Attributes:
        finding: what was found, as a sentence without its full stop, for callers with a remedy of their own.
    """

    def __init__(self, name: object, colours: FalseColour) -> None:
        self.finding = f"{name} is in false colours: {colours}"
        remedies = ["Use the camera's radiometric or grey file"]
        if colours.palette is not None:
            remedies.append(
                f"have the colours turned back to grey: --palette {AUTO} (or --palette '{colours.palette}')"
            )
        elif not colours.marked:
            remedies.append("if you know the palette, have the colours turned back to grey: --palette NAME")
        remedies.append("have the brightness enhanced as it is: --as-is")
        super().__init__(f"{self.finding}. {'; or '.join(remedies)}")


@dataclass(frozen=True)
class FalseColour:
    """What the colours of a picture are.

    Attributes:
        share: of the pixels, clearly coloured.
        tint: the colours have a single hue, and are not of a palette whose brightness falls: their order is right.
        marked: the colours are one single colour, such as that of an isotherm.
        palette: the palette that they are, where one of :data:`~hidra_core.names.PALETTES` fits.
    """

    share: float
    tint: bool = False
    marked: bool = False
    palette: str | None = None

    @property
    def is_grey(self) -> bool:
        """Whether the brightness of the picture can be taken as its grey."""
        return self.share <= GOOD_PART or self.tint

    @property
    def warning(self) -> str | None:
        """What should be said about a picture that is taken as grey."""
        if self.tint:
            return f"{self.share:.0%} of its pixels have a tint; their brightness is taken as grey"
        if SOME < self.share <= GOOD_PART:
            return (
                f"{self.share:.1%} of its pixels are coloured (text, a scale, or hot spots that the camera marks); of "
                "these the brightness is taken as grey, which is not their temperature"
            )
        return None

    def __str__(self) -> str:
        from .palettes import rises  # SciPy is slow to import

        found = f"{self.share:.0%} of its pixels are coloured"
        if self.marked:
            return f"{found}, all in about one colour, as an isotherm or alarm marks them: their brightness is lost"
        if self.palette is None:
            return f"{found}, with no palette that is known, so that brightness may not rise with temperature"
        how = "rises unevenly" if rises(self.palette) else "does not rise"
        return f"{found}, most likely with the palette '{self.palette}', whose brightness {how} with temperature"


def judge(pixels: np.ndarray) -> FalseColour:
    """Judge the colours of a picture.

    Args:
        pixels: ``[..., H, W, C]`` in [0, 1], or uint8; ``C`` of 3 or more is colour, alpha is ignored.
    """
    if pixels.shape[-1] < 3:
        return FalseColour(0.0)
    levels = pixels[..., :3].reshape(-1, 3)
    levels = levels[:: -(-len(levels) // _ENOUGH)]
    levels = levels.astype(np.float32) * (1 if pixels.dtype == np.uint8 else 255)
    high, low = levels.max(-1), levels.min(-1)
    clear = high - low > CLEAR
    share = float(clear.mean())
    if share <= GOOD_PART:
        return FalseColour(share)
    from .palettes import detect, rises  # SciPy is slow to import

    try:
        palette = detect(levels[None] / 255)
    except ValueError:
        palette = "white hot"
    known = None if palette == "white hot" else palette
    if _has_one_colour(levels, clear):
        return FalseColour(share, marked=True)
    tint = _has_one_hue(levels[clear]) and (known is None or rises(known))
    return FalseColour(share, tint, palette=known)


def _has_one_colour(levels: np.ndarray, clear: np.ndarray) -> bool:
    """Whether ``clear`` pixels of colours ``[N, 3]`` have about one saturated colour, and the others are brightness."""
    coloured, brightness = levels[clear], levels @ np.array([0.299, 0.587, 0.114], np.float32)
    saturated = np.median(coloured.max(-1) - coloured.min(-1)) > _SATURATED
    own, all_of_them = (np.ptp(np.quantile(some, (0.25, 0.75))) for some in (brightness[clear], brightness))
    return bool(saturated and own < _FEW_LEVELS < all_of_them and _has_one_hue(coloured))


def _has_one_hue(levels: np.ndarray) -> bool:
    """Whether nearly all of these colours ``[N, 3]`` of 0-255 have about the same hue."""
    red, green, blue = levels.T
    # the hue as an angle in the plane of equal channels, which needs no cases
    hue = np.exp(1j * np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue))
    away = np.abs(np.angle(hue * np.conj(hue.mean())))
    return bool(np.quantile(away, 0.99) < np.deg2rad(_ONE_HUE))


def turn_back(pixels: np.ndarray, palette: str, name: object) -> Inverse | None:
    """Turn false colours back to grey, with a word about what cannot be exact.

    Args:
        pixels: ``[H, W, C]`` in [0, 1].
        palette: one of :data:`~hidra_core.names.PALETTES`, or :data:`AUTO`.
        name: of the file, for messages.

    Returns:
        The grey, and the palette that was undone; None for a grey picture where it was to be found out.

    Raises:
        ValueError: the picture has other colours.
    """
    from .palettes import invert  # SciPy is slow to import

    if palette == AUTO:
        colours = judge(pixels)
        if colours.share <= SOME:
            return None
        if colours.marked:
            raise FalseColourError(name, colours)
    shown = pixels[..., :3] if pixels.shape[-1] >= 3 else np.repeat(pixels[..., :1], 3, axis=-1)
    try:
        inverse = invert(shown, None if palette == AUTO else palette)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if palette == AUTO and inverse.palette == "white hot":
        check_colours([pixels], name)
        return None
    if inverse.off_palette > (_MOST_OFF if palette == AUTO else 0.5):
        raise ValueError(
            f"{name}: {inverse.off_palette:.0%} of its pixels are none of the colours of '{inverse.palette}'; choose "
            f"the palette that it is in{'' if palette == AUTO else f', or {AUTO}'}"
        )
    if palette == AUTO:
        words = "%s: its colours are taken for those of '%s' and turned back to grey; --palette NAME says otherwise"
        log.warning(words, name, inverse.palette)
    for warning in inverse.warnings:
        log.warning("%s: %s", name, warning)
    return inverse


def check_choice(palette: str | None, as_is: bool) -> None:
    """Raise ValueError for an unknown palette, or one to turn back and not to turn back."""
    if palette is not None and palette not in (AUTO, *PALETTES):
        raise ValueError(f"unknown palette '{palette}'; choose {AUTO} or one of {', '.join(PALETTES)}")
    if palette is not None and as_is:
        raise ValueError("colours are turned back to grey, or enhanced as they are: choose a palette or as they are")


def check_colours(frames: Iterable[np.ndarray], name: object) -> None:
    """Refuse false colours, and say what is taken as grey all the same.

    Args:
        frames: ``[H, W, C]`` each, all of one size, see :func:`judge`.
        name: of the file, for messages.

    Raises:
        FalseColourError: a good part of them is in false colours.
    """
    found = judge(np.stack(list(frames)))
    if not found.is_grey:
        raise FalseColourError(name, found)
    if found.warning:
        log.warning("%s: %s", name, found.warning)
