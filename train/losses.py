"""Training losses that need no downloaded weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def structural_dissimilarity(output: Tensor, target: Tensor, window: int = 7) -> Tensor:
    """``1 − SSIM`` of ``[B, 1, H, W]`` in [-1, 1], mean over a uniform window, K = (0.01, 0.03)."""
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    mean_o, mean_t, oo, tt, ot = F.avg_pool2d(
        torch.cat([output, target, output * output, target * target, output * target], dim=1), window, stride=1
    ).chunk(5, dim=1)
    covariance = ot - mean_o * mean_t
    variances = (oo - mean_o**2) + (tt - mean_t**2)
    ssim = (2 * mean_o * mean_t + c1) * (2 * covariance + c2) / ((mean_o**2 + mean_t**2 + c1) * (variances + c2))
    return 1 - ssim.mean()


def reconstruction_loss(output: Tensor, target: Tensor, ssim_weight: float) -> Tensor:
    """Mean absolute error plus weighted structural dissimilarity, images ``[B, 1, H, W]`` in [-1, 1]."""
    return F.l1_loss(output, target) + ssim_weight * structural_dissimilarity(output, target)
