"""Validation during a run: the same degradations every time, PSNR, SSIM, LPIPS and a sheet to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hidra_core import degradations
from hidra_core.evaluation import metrics
from train.method.data import draw_pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from train.method.model import Enhancer

LARGEST_SIDE = 512
"""Pixels; of larger images the middle is used."""

SHEET_ROWS = 4
"""Images that the sheet shows."""

PERFECT = 60.0
"""PSNR in dB that an image counts at most, so that one left untouched does not make the mean infinite."""


@torch.no_grad()
def measure(
    enhancer: Enhancer,
    images: Sequence[np.ndarray],
    presets: Mapping[str, float],
    device: torch.device,
    lpips: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> tuple[dict[str, float], np.ndarray]:
    """Enhance seeded degradations of clean images and measure them as ``hidra evaluate`` does, rounded to 8 bits.

    Args:
        enhancer: the networks, with the parameters that are to be judged.
        images: clean, grey uint8 ``[H, W]``, at least 64 pixels a side.
        presets: names of degradation presets and their odds.
        device: of the networks.
        lpips: the metric, ``(output, target) -> mean``, if it is to be measured.

    Returns:
        Means of ``psnr`` in dB, ``ssim`` and, if given, ``lpips``, each also with ``_degraded`` behind its name; and a
        uint8 sheet ``[h, w]`` with one row for each of the first images: degraded, enhanced, clean.
    """
    rows: list[Tensor] = []
    scores: list[dict[str, float]] = []
    for index, image in enumerate(images):
        degraded, clean = (part.to(device) for part in _pair(index, image, presets))
        with enhancer.enhanced(degraded, degraded) as output:
            output = output.clamp(-1, 1)
        before = {f"{name}_degraded": value for name, value in _quality(degraded, clean, lpips).items()}
        scores.append(_quality(output, clean, lpips) | before)
        if len(rows) < SHEET_ROWS:
            rows.append(torch.cat([degraded, output, clean], dim=-1)[0, 0])
    width = max(row.shape[1] for row in rows)
    sheet = torch.cat([F.pad(row, (0, width - row.shape[1])) for row in rows])
    means = {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}
    return means, ((sheet + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()


def _pair(index: int, image: np.ndarray, presets: Mapping[str, float]) -> tuple[Tensor, Tensor]:
    """Degraded and clean middle of an image, ``[1, 1, H, W]``, the sides multiples of 64; degradation ``index``."""
    height, width = (min(side, LARGEST_SIDE) // 64 * 64 for side in image.shape)
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    clean = torch.from_numpy(image[top : top + height, left : left + width].copy())[None, None].float() / 255
    generator = torch.Generator().manual_seed(index)
    return degradations.apply(clean, draw_pipeline(presets, generator)) * 2 - 1, clean * 2 - 1


def _quality(image: Tensor, clean: Tensor, lpips: Callable[[Tensor, Tensor], Tensor] | None) -> dict[str, float]:
    """PSNR in dB, SSIM and LPIPS of ``[1, 1, H, W]`` in [-1, 1]."""
    output, reference = (metrics.to_8_bit((part[0, 0].float().cpu().numpy() + 1) / 2) for part in (image, clean))
    scores = {"psnr": min(metrics.psnr(output, reference), PERFECT), "ssim": metrics.ssim(output, reference)}
    return scores if lpips is None else scores | {"lpips": lpips(image, clean).item()}
