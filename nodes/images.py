"""What other nodes hand over as IMAGE, as the library takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

OVERSHOOT = 0.5
"""How far beyond [0, 1] values are cut off: resizing with a bicubic filter gives such. Farther out is another range."""

UNIFORM = 0.5
"""Share of pixels that are pure black or pure white from which on an image is doubted."""


def taken(image: torch.Tensor) -> torch.Tensor:
    """An IMAGE within [0, 1].

    Args:
        image: ``[B, H, W, C]``, or anything else that another node gave.

    Returns:
        ``[B, H, W, C]`` floats in [0, 1]; the same tensor where they were.

    Raises:
        ValueError: another shape, no pixels, values that are NaN or infinite, or far out of range.
    """
    if image.ndim != 4 or image.shape[-1] not in (1, 2, 3, 4) or image.numel() == 0:
        raise ValueError(
            f"this IMAGE has the shape {list(image.shape)}; expected are [images, height, width, 1 to 4 channels]. "
            "Look at the node that made it"
        )
    low, high = (float(value) for value in image.aminmax())
    if low >= 0 and high <= 1:
        return image
    for number, one in enumerate(image, 1):
        _check(one, "this image" if len(image) == 1 else f"image {number} of {len(image)}")
    return image.clamp(0, 1)


def _check(image: torch.Tensor, name: str) -> None:
    broken = int((~image.isfinite()).sum())
    if broken:
        raise ValueError(
            f"{name} has {broken} of {image.numel()} values that are NaN or infinite: look at the node that made it"
        )
    low, high = (float(value) for value in image.aminmax())
    if low < -OVERSHOOT or high > 1 + OVERSHOOT:
        raise ValueError(
            f"{name} has values from {low:.2f} to {high:.2f}; pictures lie between 0 and 1. Look at the node that "
            "made it: it gives another range, such as -1 to 1 or 0 to 255"
        )


def doubts(image: torch.Tensor) -> list[str]:
    """What speaks against images being pictures of a scene, a line each.

    Args:
        image: ``[B, H, W, C]`` in [0, 1].
    """
    lines = []
    for number, one in enumerate(image, 1):
        name = "the image" if len(image) == 1 else f"image {number}"
        low, high = (float(value) for value in one.aminmax())
        ends = float(((one <= 0) | (one >= 1)).float().mean())
        if low == high:
            found = f"{name} has a single value, {low * 255:.0f} of 255"
        elif ends > UNIFORM:
            found = f"{ends:.0%} of {name} are pure black or pure white"
        else:
            continue
        lines.append(
            f"warning: {found}: what is said of it means nothing. Files of more than 8 bits are read by Load Thermal "
            "Image"
        )
    return lines
