"""What other nodes hand over as IMAGE, as the library takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

OVERSHOOT = 0.5
"""How far beyond [0, 1] values are cut off: resizing with a bicubic filter gives such. Farther out is another range."""

UNIFORM = 0.5
"""Share of pixels that are pure black or pure white from which on an image is doubted."""

OFF_PALETTE = 0.25
"""Share of the coloured pixels with none of a palette's colours up to which an image counts as coloured with it.

Below 0.1 in thermal images in a palette, saved as JPEG of quality 75; above 0.6 in the few photographs that come near
one at all.
"""

_ENOUGH = 2000  # pixels of an image that decide about its colours
_MOST_COLOURED = 8  # images whose colours are looked up: each takes a tenth of a second


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
        name = _name(number, len(image))
        shown = one[..., :-1] if one.shape[-1] in (2, 4) else one  # without alpha
        low, high = (float(value) for value in shown.aminmax())
        ends = float(((shown <= 0).all(-1) | (shown >= 1).all(-1)).float().mean())
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
    return [*lines, *colour_doubts(image)]


def colour_doubts(image: torch.Tensor) -> list[str]:
    """Which images are in the false colours of a thermal camera, a line each: their brightness is not the temperature.

    Nothing is said of grey images, of those with a little colour or a tint, and of other colours than those of a
    palette that is known: photographs have such.

    Args:
        image: ``[B, H, W, C]`` in [0, 1].
    """
    if image.shape[-1] < 3:
        return []
    from ..hidra_core.images.false_colour import GOOD_PART

    lines: list[str] = []
    coloured = 0
    for number, one in enumerate(image, 1):
        step = max(1, round((one.shape[0] * one.shape[1] / _ENOUGH) ** 0.5))
        pixels = one[::step, ::step, :3].float()
        if float(_coloured(pixels).float().mean()) <= GOOD_PART:
            continue
        coloured += 1
        if coloured <= _MOST_COLOURED:
            lines += _false_colours(pixels, _name(number, len(image)))
    if lines and coloured > _MOST_COLOURED:
        lines.append(f"warning: {coloured - _MOST_COLOURED} more images are coloured")
    return lines


def _coloured(pixels: torch.Tensor) -> torch.Tensor:
    """Which of some pixels ``[h, w, 3]`` are clearly coloured."""
    from ..hidra_core.images.false_colour import CLEAR

    return (pixels.amax(-1) - pixels.amin(-1)) * 255 > CLEAR


def _false_colours(pixels: torch.Tensor, name: str) -> list[str]:
    """The line about an image that is coloured, if it is in false colours, from some of its pixels ``[h, w, 3]``."""
    from ..hidra_core.images.false_colour import judge

    found = judge(pixels.cpu().numpy())
    finding = f"warning: {name} is in false colours: {found}"
    if found.marked:
        return [f"{finding}. Use the camera's grey or radiometric file"]
    if found.is_grey or found.palette is None:
        return []
    from ..hidra_core.images.palettes import invert  # SciPy is slow to import

    colours = pixels[_coloured(pixels)].cpu().numpy()
    if invert(colours[None], found.palette).off_palette > OFF_PALETTE:
        return []
    return [
        f"{finding}. Turn its colours back to grey first: Colour Thermal Image (Palette), direction colour to grey, "
        "palette auto"
    ]


def _name(number: int, count: int) -> str:
    return "the image" if count == 1 else f"image {number}"
