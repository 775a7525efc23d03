"""Grey and back: luma, the range of 16-bit images, checks of image tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Pixels = TypeVar("Pixels", np.ndarray, torch.Tensor)


def display_range(pixels: np.ndarray | torch.Tensor) -> tuple[float, float]:
    """Lowest and highest grey value of the scene, for images whose counts fill a narrow band of their 16 bits.

    They are the extremes of the 3x3 median of the grey image: dead and stuck pixels, pairs of them and single dead
    lines do not set the scale, while objects three pixels wide and high do. No tail of the histogram is cut off.

    Args:
        pixels: ``[H, W, C]`` in [0, 1]; alpha is ignored.

    Returns:
        (low, high), low <= high; equal for a flat image.
    """
    # Only the 16-bit path needs SciPy, and its import is slow.
    from scipy.ndimage import median_filter

    grey = to_grey(torch.as_tensor(pixels)[None])[0, 0].cpu().numpy()
    # Counts first: a median by rank is exact, and integers make it fast.
    smooth = median_filter(np.rint(grey * 65535.0).astype(np.uint16), size=3, mode="nearest")
    return float(smooth.min()) / 65535.0, float(smooth.max()) / 65535.0


def stretch(pixels: Pixels, limits: tuple[float, float]) -> Pixels:
    """Map ``limits`` to [0, 1] and clip; a flat image (equal limits) becomes 0.5 everywhere.

    Args:
        pixels: array or tensor ``[..., H, W, C]``, channels last; an alpha channel (``C`` of 2 or 4) is left alone.
        limits: (low, high) as from ``display_range`` or ``Picture.limits``.
    """
    low, high = limits
    if high <= low:
        return _map_colour(pixels, lambda colour: colour * 0 + 0.5)
    return _map_colour(pixels, lambda colour: ((colour - low) / (high - low)).clip(0, 1))


def unstretch(pixels: Pixels, limits: tuple[float, float]) -> Pixels:
    """The inverse of ``stretch``: bring [0, 1] back to ``limits``; shapes and alpha are treated as there."""
    low, high = limits
    return _map_colour(pixels, lambda colour: colour.clip(0, 1) * (high - low) + low)


def _map_colour(pixels: Pixels, function: Callable[[Any], Any]) -> Pixels:
    if pixels.shape[-1] not in (2, 4):
        return function(pixels)
    colour, alpha = pixels[..., :-1], pixels[..., -1:]
    join: Any = torch.cat if isinstance(pixels, torch.Tensor) else np.concatenate
    return join([function(colour), alpha], -1)


def to_grey(images: torch.Tensor) -> torch.Tensor:
    """Luma (0.299, 0.587, 0.114) of ``[B, H, W, C]`` as ``[B, 1, H, W]``, same value range; alpha is ignored.

    Grey stored as colour (equal channels) comes back as exactly that channel.
    """
    if images.shape[-1] < 3:
        return images[..., :1].permute(0, 3, 1, 2)
    red, green, blue = images[..., 0], images[..., 1], images[..., 2]
    return (green + 0.299 * (red - green) + 0.114 * (blue - green))[:, None]


def from_grey(grey: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Give grey images the channels of the images they were made from.

    Args:
        grey: ``[B, 1, h, w]``, for instance an enhanced and upscaled image.
        like: ``[B, H, W, C]`` with ``C`` from 1 to 4.

    Returns:
        ``[B, h, w, C]`` on the device and of the dtype of ``grey``: equal colour channels, alpha of ``like``
        (bilinearly resized if the size differs).
    """
    height, width = grey.shape[-2:]
    channels = like.shape[-1]
    colour = grey.permute(0, 2, 3, 1).expand(-1, -1, -1, 1 if channels < 3 else 3)
    if channels in (1, 3):
        return colour.contiguous()
    return torch.cat([colour, fit_alpha(like, height, width).to(grey)], dim=-1)


def fit_alpha(like: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The alpha channel of ``like [B, H, W, C]`` as ``[B, height, width, 1]``, resized bilinearly if need be."""
    alpha = like[..., -1:]
    if alpha.shape[1:3] == (height, width):
        return alpha
    resized = F.interpolate(alpha.permute(0, 3, 1, 2).float(), (height, width), mode="bilinear", align_corners=False)
    return resized.permute(0, 2, 3, 1)


def check_images(images: torch.Tensor | Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Check images before any work is done on them.

    Args:
        images: ``[B, H, W, C]``, one ``[H, W, C]``, or a list of ``[H, W, C]`` of any sizes; floats in [0, 1], ``C``
            from 1 to 4. Overshoot up to 0.01 is allowed.

    Returns:
        The images one by one, ``[H, W, C]``, unchanged.

    Raises:
        ValueError: names the image, what is wrong, what is expected and what to do.
    """
    if isinstance(images, torch.Tensor):
        if images.ndim == 3:
            images = images[None]
        if images.ndim != 4:
            raise ValueError(f"images must be [B, H, W, C] or [H, W, C], got {_shape(images)}; reshape them")
        if images.shape[-1] not in (1, 2, 3, 4) and images.shape[1] in (1, 2, 3, 4) and len(images):
            raise ValueError(
                f"images must be [B, H, W, C], channels last, got {_shape(images)}; use images.permute(0, 2, 3, 1)"
            )
    if not isinstance(images, torch.Tensor | list | tuple):
        raise ValueError(
            f"images must be a tensor or tensors in a list, got {type(images).__name__}; use torch.from_numpy"
        )
    if len(images) == 0:
        raise ValueError("no images: the batch is empty; at least one image is needed")
    for number, image in enumerate(images, 1):
        _check_image(image, f"image {number} of {len(images)}")
    return list(images)


def _check_image(image: torch.Tensor, name: str) -> None:
    if not isinstance(image, torch.Tensor):
        raise ValueError(f"{name} is a {type(image).__name__}, a tensor is expected; use torch.from_numpy for arrays")
    if image.ndim != 3:
        raise ValueError(f"{name} must be [H, W, C], got {_shape(image)}; add or remove axes")
    height, width, channels = image.shape
    if channels not in (1, 2, 3, 4):
        raise ValueError(
            f"{name} must have 1 to 4 channels, last, got {_shape(image)}; for grey without a channel axis use "
            "image[..., None], for [C, H, W] image.permute(1, 2, 0)"
        )
    if height == 0 or width == 0:
        raise ValueError(f"{name} is empty, {_shape(image)}; height and width must be at least 1")
    if not image.is_floating_point():
        full_scale = {torch.uint8: 255, torch.int16: 65535, torch.uint16: 65535}.get(image.dtype, 255)
        raise ValueError(f"{name} holds {image.dtype}, floats in [0, 1] are expected; divide by {full_scale}")
    finite = torch.isfinite(image)
    if not finite.all():
        bad = int((~finite).sum())
        raise ValueError(
            f"{name} has {bad} of {image.numel()} values that are NaN or infinite; finite values in [0, 1] are "
            "expected: look at what made it, or use torch.nan_to_num"
        )
    low, high = float(image.min()), float(image.max())
    if low < -0.01 or high > 1.01:
        raise ValueError(
            f"{name} has values from {low:g} to {high:g}, [0, 1] is expected; divide 8-bit values by 255, 16-bit ones "
            "by 65535, and map [-1, 1] with (image + 1) / 2"
        )


def _shape(tensor: torch.Tensor) -> str:
    return str(list(tensor.shape))
