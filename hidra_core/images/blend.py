"""How much of the model's change is applied: a dial between the input and the output, also for low frequencies alone.

The dial works on finished pixels. The adapter's ``strength`` is another dial: it changes what the networks compute.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange

from ..checkpoints import checkpoint
from ..names import CUTOFF

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def check_blend(blend: float, low_frequencies: float = 1.0, cutoff: float = CUTOFF) -> None:
    """Raise ValueError, naming the option, its range and the value, for options of :func:`blend` out of range."""
    for name, value in (("blend", blend), ("low_frequencies", low_frequencies)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be from 0 (the input) to 1 (the model's output), got {value}")
    if not 2 <= cutoff <= 4096:
        raise ValueError(f"cutoff must be a period from 2 to 4096 pixels, got {cutoff}")


def blend(
    before: Tensor, after: Tensor, blend: float, *, low_frequencies: float = 1.0, cutoff: float = CUTOFF
) -> Tensor:
    """Go from the input to the output of the model: ``before + blend · (d - (1 - low_frequencies) · lowpass(d))``.

    ``d`` is ``after - before``. ``blend`` 0 is ``before`` and 1 with ``low_frequencies`` 1 is ``after``, both to the
    bit; between them the result changes in proportion to either number.

    Args:
        before: the input, ``[H, W, C]`` in [0, 1] (or any other linear scale that ``after`` shares).
        after: its enhanced version, ``[k·H, k·W, C]``; the input is enlarged bilinearly to its size.
        blend: share of the model's change that is applied, 0 to 1.
        low_frequencies: the same for the frequencies below the cut-off, 0 to 1; with 0 wide areas keep the brightness
            of the input, and with it any shading.
        cutoff: period in pixels of the result at which the low-pass (a Gaussian) lets half of the amplitude pass.

    Returns:
        ``[k·H, k·W, C]`` float32. Not clipped: with ``low_frequencies`` below 1 it may leave the range a little.

    Raises:
        ValueError: a number out of range, or shapes that do not belong together.
    """
    check_blend(blend, low_frequencies, cutoff)
    before, after = before.float(), after.float()
    factor = after.shape[0] // max(before.shape[0], 1)
    if before.ndim != 3 or list(after.shape) != [factor * before.shape[0], factor * before.shape[1], before.shape[2]]:
        raise ValueError(
            "before must be [H, W, C] and after [k·H, k·W, C] with a whole k, got "
            f"{list(before.shape)} and {list(after.shape)}"
        )
    before = enlarged(before, factor)
    if blend == 0:
        return before
    if low_frequencies < 1:
        after = after - (1 - low_frequencies) * lowpass(after - before, cutoff)
    return torch.lerp(before, after, blend)


def blend_all(
    before: Sequence[Tensor],
    after: Sequence[Tensor],
    share: float,
    *,
    low_frequencies: float = 1.0,
    cutoff: float = CUTOFF,
) -> list[Tensor]:
    """:func:`blend` of several images, clipped to [0, 1]; where all of the change is applied, ``after`` itself.

    Args:
        before: inputs, ``[H, W, C]`` each.
        after: their enhanced versions.
        share: ``blend`` for all of them.
        low_frequencies: see :func:`blend`.
        cutoff: see :func:`blend`.

    Raises:
        ValueError: as :func:`blend`.
    """
    if share == 1 and low_frequencies == 1:
        return list(after)
    options = {"low_frequencies": low_frequencies, "cutoff": cutoff}
    return [blend(old.cpu(), new, share, **options).clamp(0, 1) for old, new in zip(before, after, strict=True)]


def untouched(images: Sequence[Tensor], upscale: int) -> list[Tensor]:
    """The results for ``blend`` 0, which need no network: copies to the bit, enlarged, float32 on the CPU."""
    return [enlarged(image.detach().to("cpu", torch.float32, copy=True), upscale) for image in images]


def enlarged(image: Tensor, factor: int) -> Tensor:
    """``[H, W, C]`` as ``[factor·H, factor·W, C]``, bilinear: the input of the networks when they upscale."""
    if factor == 1:
        return image
    planes = rearrange(image, "h w c -> 1 c h w")
    planes = F.interpolate(planes, scale_factor=factor, mode="bilinear", align_corners=False)
    return rearrange(planes, "1 c h w -> h w c")


def lowpass(image: Tensor, cutoff: float) -> Tensor:
    """The low frequencies of ``[H, W, C]``, by a Gaussian that passes half the amplitude at a period of ``cutoff``.

    Args:
        image: ``[H, W, C]``; pixels beyond the border count as the nearest one inside.
        cutoff: the period in pixels.

    Returns:
        The same shape.
    """
    sigma = cutoff * math.sqrt(math.log(2) / 2) / math.pi
    planes = rearrange(image, "h w c -> c 1 h w")
    # A wide Gaussian loses nothing by working on means of small blocks, and its kernel becomes a short one.
    step = max(1, int(sigma // 4))
    height, width = planes.shape[-2:]
    if step > 1:
        right, below = -width % step, -height % step
        planes = F.avg_pool2d(F.pad(planes, (0, right, 0, below), mode="replicate"), step)
        sigma = math.sqrt(sigma**2 - (step**2 - 1) / 12) / step
    radius = math.ceil(4 * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2).to(planes)
    kernel = kernel / kernel.sum()
    checkpoint()
    planes = F.conv2d(F.pad(planes, (radius, radius, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    checkpoint()
    planes = F.conv2d(F.pad(planes, (0, 0, radius, radius), mode="replicate"), kernel.view(1, 1, -1, 1))
    checkpoint()
    if step > 1:
        planes = F.interpolate(planes, scale_factor=step, mode="bicubic", align_corners=False)[..., :height, :width]
    return rearrange(planes, "c 1 h w -> h w c")
