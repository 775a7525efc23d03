"""Two images side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    import numpy as np


def comparison(
    before: np.ndarray | torch.Tensor, after: np.ndarray | torch.Tensor, labels: tuple[str, str] = ("before", "after")
) -> Image.Image:
    """Two images side by side with a gap between them and a label above each, as an RGB image.

    Args:
        before: ``[H, W]`` or ``[H, W, C]`` in [0, 1], clipped; alpha is ignored.
        after: like ``before``. The smaller image is enlarged to the height and width of the larger one without
            smoothing.
        labels: the text above each.
    """
    panels = [_to_pil(before), _to_pil(after)]
    width, height = max(panel.width for panel in panels), max(panel.height for panel in panels)
    panels = [panel.resize((width, height), Image.Resampling.NEAREST) for panel in panels]
    font_size = max(10, min(28, height // 20))
    font = ImageFont.load_default(font_size)
    gap, strip = max(2, width // 160), font_size + font_size // 2
    canvas = Image.new("RGB", (2 * width + gap, height + strip), (255, 255, 255))
    draw = ImageDraw.Draw(canvas)
    for index, (panel, label) in enumerate(zip(panels, labels, strict=True)):
        left = index * (width + gap)
        canvas.paste(panel, (left, strip))
        draw.text((left + width / 2, strip / 2), label, fill=(20, 20, 20), font=font, anchor="mm")
    return canvas


def _to_pil(pixels: np.ndarray | torch.Tensor) -> Image.Image:
    values = torch.as_tensor(pixels).detach().float().cpu()
    values = values[..., None] if values.ndim == 2 else values
    colour = values[..., :1].expand(-1, -1, 3) if values.shape[-1] < 3 else values[..., :3]
    return Image.fromarray((colour.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
