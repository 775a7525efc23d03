"""A faster backward pass for group normalisation on CPUs.

For one-channel groups of a 4×32×128×128 bf16 channels-last tensor, on two cores, torch's own needs 60 ms, a quarter of
the whole training step of a thin network; this one needs 5 ms. The forward pass is torch's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable


class _GroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        batch, channels, height, width = x.shape
        y, mean, rstd = torch.native_group_norm(x, weight, bias, batch, channels, height * width, groups, eps)
        ctx.save_for_backward(x, weight, mean, rstd)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = gradients
        x, weight, mean, rstd = ctx.saved_tensors
        batch, channels, height, width = x.shape
        groups = mean.shape[1]
        per_group = channels // groups
        count = height * width * per_group
        mean = mean.float().repeat_interleave(per_group, dim=1)  # (B, C)
        rstd = rstd.float().repeat_interleave(per_group, dim=1)

        def group_mean(per_channel: Tensor) -> Tensor:  # (B, C) -> its group's sum over count, (B, C)
            sums = per_channel.view(batch, groups, per_group).sum(2) / count
            return sums.repeat_interleave(per_group, dim=1)

        sum_dy = dy.sum((2, 3), dtype=torch.float32)
        sum_dy_xhat = ((dy * x).sum((2, 3), dtype=torch.float32) - mean * sum_dy) * rstd
        # dx = rstd · (w·dy − mean(w·dy) − x̂·mean(w·dy·x̂)), written as a·dy + b·x + c with a, b, c constant in space
        share = group_mean(weight * sum_dy)
        slope = group_mean(weight * sum_dy_xhat)
        a, b = rstd * weight, -(rstd**2) * slope
        c = -rstd * share - b * mean
        a, b, c = (term.to(x.dtype)[:, :, None, None] for term in (a, b, c))
        dx = torch.addcmul(c, x, b).addcmul_(dy, a)
        return dx, sum_dy_xhat.sum(0), sum_dy.sum(0), None, None


def speed_up_group_norm(module: nn.Module) -> None:
    """Give every GroupNorm of a network the faster backward pass, for images ``[B, C, H, W]``.

    Args:
        module: the network; it is changed in place.
    """
    for norm in module.modules():
        if isinstance(norm, nn.GroupNorm):
            norm.forward = _bound(norm)


def _bound(norm: nn.GroupNorm) -> Callable[..., Tensor]:
    def forward(x: Tensor) -> Tensor:
        if x.ndim != 4:  # diffusers' attention normalises token sequences in a few places
            return nn.GroupNorm.forward(norm, x)
        return _GroupNorm.apply(x, norm.weight, norm.bias, norm.num_groups, norm.eps)

    return forward
