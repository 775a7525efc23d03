"""The sheet of images: the results of all methods on the same few inputs, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from .metrics import to_8_bit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

_GAP, _STRIP = 4, 20
_COLUMNS = 7


def sheet(rows: Sequence[tuple[str, Mapping[str, np.ndarray]]], width: int = 320) -> Image.Image:
    """Images side by side with titles above them; a row of more than seven images continues on the next line.

    Args:
        rows: (name, images ``[H, W]`` by title, uint8 or float in [0, 1]), one for each input shown.
        width: width of each image on the sheet, in pixels.

    Raises:
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("a sheet needs at least one row")
    lines = []
    for name, images in rows:
        cells = [(title, _cell(image, width)) for title, image in images.items()]
        cells[0] = (f"{cells[0][0]}: {name}", cells[0][1])
        lines += [cells[i : i + _COLUMNS] for i in range(0, len(cells), _COLUMNS)]
    heights = [max(cell.height for _, cell in line) + _STRIP + _GAP for line in lines]
    columns = max(map(len, lines))
    canvas = Image.new("L", (columns * (width + _GAP) - _GAP, sum(heights)), 255)
    draw, font, top = ImageDraw.Draw(canvas), ImageFont.load_default(13), 0
    for line, height in zip(lines, heights, strict=True):
        for column, (title, cell) in enumerate(line):
            left = column * (width + _GAP)
            canvas.paste(cell, (left, top + _STRIP))
            # Pillow's font has neither of these two characters.
            plain = title.replace("×", "x").replace("\N{GREEK SMALL LETTER SIGMA}", "sigma")
            draw.text((left + 2, top + 2), plain, fill=0, font=font)
        top += height
    return canvas


def _cell(image: np.ndarray, width: int) -> Image.Image:
    return Image.fromarray(to_8_bit(image)).resize((width, max(1, round(width * image.shape[0] / image.shape[1]))))
