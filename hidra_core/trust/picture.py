"""A comparison of input and output as one image: both, their difference, and the edges that the input contradicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..images import check_images, to_grey

if TYPE_CHECKING:
    from torch import Tensor

    from .compare import Trust

LONGEST = 1024
"""Longest side of a panel in pixels; larger images are shown smaller."""

SMALLEST = 256
"""Panels are enlarged by whole factors until their longer side has this many pixels."""

COLDER, SAME, WARMER = (60, 140, 255), (24, 24, 24), (255, 120, 40)
"""Colours of the residual, RGB of 0-255."""

DOUBTFUL = (255, 0, 190)
"""Colour of edges that the input contradicts."""

INK, PAPER = (20, 20, 20), (255, 255, 255)
"""Colours of text and background."""

_Legend = tuple[np.ndarray, list[str]]
"""A colour bar ``[1, N, 3]`` and the texts before, above and after it."""


def trust_picture(before: Tensor, after: Tensor, trust: Trust, note: str = "") -> Image.Image:
    """Input, output, residual and the output's doubtful edges, with legends and the score, as an RGB image.

    Args:
        before: the input, ``[H, W, C]`` in [0, 1], as given to :func:`~hidra_core.trust.compare`.
        after: the output, as given to it.
        trust: what it returned.
        note: a line below the panels, such as the part that another step has in the change.
    """
    [before], [after] = check_images(before), check_images(after)
    height, width = trust.hallucination.shape
    size = _panel_size(width, height)
    span = max(8.0, float(np.quantile(np.abs(trust.residual[::2, ::2]), 0.995)) * 255)
    source, output = (_grey(image) for image in (before, after))
    panels = [
        ("input", Image.fromarray(source), None),
        ("output", Image.fromarray(output), None),
        ("output - input", Image.fromarray(_residual(trust.residual * 255 / span)), _residual_legend(span)),
        ("edges without support in the input", Image.fromarray(_overlay(output, trust.hallucination)), _doubt_legend()),
    ]
    return _sheet(panels, size, f"trust {trust.score:.2f}    possible hallucination {trust.area:.2%} of the area", note)


def _panel_size(width: int, height: int) -> tuple[int, int]:
    longest = max(width, height)
    factor = -(-SMALLEST // longest) if longest < SMALLEST else min(1.0, LONGEST / longest)
    return max(1, round(width * factor)), max(1, round(height * factor))


def _grey(image: Tensor) -> np.ndarray:
    grey = to_grey(image[None])[0, 0].float().cpu().clamp(0, 1).numpy()
    return np.repeat(np.rint(grey * 255).astype(np.uint8)[..., None], 3, axis=-1)


def _residual(shares: np.ndarray) -> np.ndarray:
    """Colours of values of -1 (colder than the input) to 1 (warmer)."""
    amount = np.abs(shares).clip(0, 1)[..., None]
    ends = np.where(shares[..., None] < 0, np.array(COLDER), np.array(WARMER))
    return np.rint(np.array(SAME) * (1 - amount) + ends * amount).astype(np.uint8)


def _overlay(output: np.ndarray, doubt: np.ndarray) -> np.ndarray:
    amount = (2 * doubt - 0.5).clip(0, 1)[..., None]  # half at 0.5; slight doubt is everywhere and means nothing
    return np.rint(output * 0.75 * (1 - amount) + np.array(DOUBTFUL) * amount).astype(np.uint8)


def _residual_legend(span: float) -> _Legend:
    return _residual(np.linspace(-1, 1, 120)[None]), [f"-{span:.0f}", "0", f"+{span:.0f} grey levels of 255"]


def _doubt_legend() -> _Legend:
    shade = np.full((1, 120, 3), 110, np.uint8)
    return _overlay(shade, np.linspace(0, 1, 120)[None]), ["supported", "", "contradicted by the input"]


def _sheet(
    panels: list[tuple[str, Image.Image, _Legend | None]], size: tuple[int, int], title: str, note: str
) -> Image.Image:
    """Four panels in two rows, each with its name above and its legend below, under a title and above a note."""
    width, height = size
    text = max(11, min(24, width // 28))
    font = cast("ImageFont.FreeTypeFont", ImageFont.load_default(text))  # with a size the default is a FreeType font
    gap, strip = max(4, width // 100), text * 2
    tall = strip + 2 * (height + strip) + strip + gap
    canvas = Image.new("RGB", (2 * width + 3 * gap, tall + (strip if note else 0)), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((gap, strip / 2), title, fill=INK, font=font, anchor="lm")
    draw.text((gap, tall + strip / 2), note, fill=INK, font=font, anchor="lm")
    for index, (name, panel, legend) in enumerate(panels):
        left = gap + index % 2 * (width + gap)
        top = strip + index // 2 * (height + strip)
        draw.text((left, top + strip / 2), name, fill=INK, font=font, anchor="lm")
        resampling = Image.Resampling.BOX if panel.width > width else Image.Resampling.NEAREST
        canvas.paste(panel.resize(size, resampling), (left, top + strip))
        if legend is not None:
            _legend(draw, canvas, legend, left, top + 2 * strip + height - strip // 2 + gap // 2, font)
    return canvas


def _legend(
    draw: ImageDraw.ImageDraw,
    canvas: Image.Image,
    legend: _Legend,
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
