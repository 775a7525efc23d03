"""Panels with names and legends on one sheet, for pictures of results."""

from __future__ import annotations

from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..checkpoints import checkpoint

LONGEST = 1024
"""Longest side of a panel in pixels; larger images are shown smaller."""

SMALLEST = 256
"""Panels are enlarged by whole factors until their longer side has this many pixels."""

COLDER, SAME, WARMER = (60, 140, 255), (24, 24, 24), (255, 120, 40)
"""Colours of values from -1 over 0 to 1, RGB of 0-255."""

ROWS = 512
"""Rows of large images that are coloured at a time."""

INK, PAPER = (20, 20, 20), (255, 255, 255)
"""Colours of text and background."""

Legend = tuple[np.ndarray, list[str]]
"""A colour bar ``[1, N, 3]`` and the texts before, above and after it."""

Panel = tuple[str, Image.Image, "Legend | None"]
"""Its name, what it shows, and its legend."""


def panel_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the panel of an image."""
    longest = max(width, height)
    factor = -(-SMALLEST // longest) if longest < SMALLEST else min(1.0, LONGEST / longest)
    return max(1, round(width * factor)), max(1, round(height * factor))


def signed_colours(shares: np.ndarray) -> np.ndarray:
    """RGB of values ``[H, W]`` of -1 (colder) to 1 (warmer), uint8 ``[H, W, 3]``."""
    colours = np.empty((*shares.shape, 3), np.uint8)
    for top in range(0, len(shares), ROWS):
        checkpoint()
        rows = shares[top : top + ROWS, :, None]
        amount = np.abs(rows).clip(0, 1)
        ends = np.where(rows < 0, np.array(COLDER), np.array(WARMER))
        colours[top : top + ROWS] = np.rint(np.array(SAME) * (1 - amount) + ends * amount)
    return colours


def sheet(panels: list[Panel], size: tuple[int, int], title: str, note: str = "") -> Image.Image:
    """Panels two in a row, each with its name above and its legend below, under a title and above a note.

    Args:
        panels: one or more.
        size: width and height that all of them get, see :func:`panel_size`.
        title: a line.
        note: a line; empty: none.
    """
    width, height = size
    text = max(11, min(24, width // 28))
    font = cast("ImageFont.FreeTypeFont", ImageFont.load_default(text))  # with a size the default is a FreeType font
    gap, strip = max(4, width // 100), text * 2
    rows = [panels[start : start + 2] for start in range(0, len(panels), 2)]
    talls = [strip + height + (strip if any(panel[2] is not None for panel in row) else 0) for row in rows]
    tall = strip + sum(talls) + gap
    canvas = Image.new("RGB", (2 * width + 3 * gap, tall + (strip if note else 0)), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((gap, strip / 2), title, fill=INK, font=font, anchor="lm")
    draw.text((gap, tall + strip / 2), note, fill=INK, font=font, anchor="lm")
    top = strip
    for row, below in zip(rows, talls, strict=True):
        for index, (name, panel, legend) in enumerate(row):
            left = gap + index * (width + gap)
            draw.text((left, top + strip / 2), name, fill=INK, font=font, anchor="lm")
            resampling = Image.Resampling.BOX if panel.width > width else Image.Resampling.NEAREST
            canvas.paste(panel.resize(size, resampling), (left, top + strip))
            if legend is not None:
                _legend(draw, canvas, legend, left, top + 2 * strip + height - strip // 2 + gap // 2, font)
        top += below
    return canvas


def _legend(
    draw: ImageDraw.ImageDraw,
    canvas: Image.Image,
    legend: Legend,
    left: int,
    middle: int,
    font: ImageFont.FreeTypeFont,
) -> None:
    """A colour bar with a text before, above its middle if there is one, and after it."""
    bar, (low, centre, high) = legend
    space = round(font.size * 0.5)
    draw.text((left, middle), low, fill=INK, font=font, anchor="lm")
    left += round(draw.textlength(low, font)) + space
    thick, long = round(font.size * 0.9), round(font.size * 7)
    canvas.paste(Image.fromarray(bar).resize((long, thick)), (left, middle - thick // 2))
    if centre:
        draw.text((left + long / 2, middle), centre, fill=PAPER, font=font, anchor="mm")
    draw.text((left + long + space, middle), high, fill=INK, font=font, anchor="lm")
