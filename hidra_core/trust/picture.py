"""A comparison of input and output as one image: both, their difference, and the edges that the input contradicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..checkpoints import checkpoint
from ..images import check_images, to_grey
from ..images.sheet import ROWS, panel_size, sheet, signed_colours

if TYPE_CHECKING:
    from torch import Tensor

    from ..images.sheet import Legend
    from .compare import Trust

DOUBTFUL = (255, 0, 190)
"""Colour of edges that the input contradicts."""


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
    size = panel_size(width, height)
    checkpoint()
    span = max(8.0, float(np.quantile(np.abs(trust.residual[::2, ::2]), 0.995)) * 255)
    checkpoint()
    source, output = (_grey(image) for image in (before, after))
    panels = [
        ("input", Image.fromarray(source), None),
        ("output", Image.fromarray(output), None),
        ("output - input", Image.fromarray(signed_colours(trust.residual * 255 / span)), _residual_legend(span)),
        ("edges without support in the input", Image.fromarray(_overlay(output, trust.hallucination)), _doubt_legend()),
    ]
    return sheet(panels, size, f"trust {trust.score:.2f}    possible hallucination {trust.area:.2%} of the area", note)


def _grey(image: Tensor) -> np.ndarray:
    grey = to_grey(image[None])[0, 0].float().cpu().clamp(0, 1).numpy()
    return np.repeat(np.rint(grey * 255).astype(np.uint8)[..., None], 3, axis=-1)


def _overlay(output: np.ndarray, doubt: np.ndarray) -> np.ndarray:
    marked = np.empty_like(output)
    for top in range(0, len(doubt), ROWS):
        checkpoint()
        some = slice(top, top + ROWS)
        amount = (2 * doubt[some] - 0.5).clip(0, 1)[..., None]  # half at 0.5; slight doubt is everywhere
        marked[some] = np.rint(output[some] * 0.75 * (1 - amount) + np.array(DOUBTFUL) * amount)
    return marked


def _residual_legend(span: float) -> Legend:
    return signed_colours(np.linspace(-1, 1, 120)[None]), [f"-{span:.0f}", "0", f"+{span:.0f} grey levels of 255"]


def _doubt_legend() -> Legend:
    shade = np.full((1, 120, 3), 110, np.uint8)
    return _overlay(shade, np.linspace(0, 1, 120)[None]), ["supported", "", "contradicted by the input"]
