"""The stages of the degradation pipeline as pure functions.

Images are float32 tensors ``[B, C, H, W]`` of grey levels in [0, 1]; other images are refused with ValueError. No stage
clips, unless its docstring says so: :func:`~hidra_core.degradations.record.apply` does, after each of them. Random
draws come from the CPU generator that is given, so that a seed gives the same fields on every device, and all channels
share them: a grey image stays grey. Source of the stages and their ranges: HiDRA (CVPR 2026), degradation pipeline.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

GREY_LEVELS = 255.0
"""The grey level of white: strengths of noise, stripes and fields are given on this scale."""

FACTORS = (1, 2, 4)
"""Factors of :func:`downscale`."""

FILTERS = {"linear": "bilinear", "cubic": "bicubic", "area": "area"}
"""Filters of :func:`downscale` and PyTorch's names for them. Linear and cubic alias, as part of the degradation."""

OPTICAL_FORMS = ("mirror", "cos4")
"""Forms of :func:`optical_field`."""

AXES = ("row", "column")
"""Directions of :func:`stripes`: one value per row, or one per column."""


def low_contrast(images: Tensor, alpha: float, beta: float) -> Tensor:
    """Compress the grey range: ``x·alpha + beta``.

    Args:
        images: ``[B, C, H, W]``.
        alpha: contrast that remains, as a share.
        beta: share of the full range that is added: 0.2 lifts by 51 grey levels, negative values darken.

    Returns:
        The same shape.
    """
    check_grey_levels(images)
    return images * alpha + beta


def gaussian_kernel(kernel: int, sigma_x: float, sigma_y: float, angle: float) -> Tensor:
    """A rotated anisotropic Gaussian that sums to 1.

    Args:
        kernel: side in pixels, odd.
        sigma_x: standard deviation along the first axis, in pixels.
        sigma_y: standard deviation across it, in pixels.
        angle: of the first axis in degrees, from the direction of increasing columns towards that of increasing rows.

    Returns:
        ``[kernel, kernel]``, float32 on the CPU.

    Raises:
        ValueError: an even kernel, or a sigma of 0 or less.
    """
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"kernel must be odd and positive, got {kernel}")
    if not (sigma_x > 0 and sigma_y > 0):
        raise ValueError(f"sigma_x and sigma_y must be positive, got {sigma_x} and {sigma_y}")
    offsets = torch.arange(kernel, dtype=torch.float64) - kernel // 2
    y, x = offsets[:, None], offsets[None, :]
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    along, across = x * cos + y * sin, y * cos - x * sin
    weights = torch.exp(-0.5 * ((along / sigma_x) ** 2 + (across / sigma_y) ** 2))
    return (weights / weights.sum()).float()


def gaussian_blur(images: Tensor, kernel: int, sigma_x: float, sigma_y: float, angle: float = 0.0) -> Tensor:
    """Blur ``[B, C, H, W]`` with :func:`gaussian_kernel`; the border is replicated, so that any image size works."""
    check_grey_levels(images)
    channels, pad = images.shape[1], kernel // 2
    weight = gaussian_kernel(kernel, sigma_x, sigma_y, angle).to(images.device).expand(channels, 1, kernel, kernel)
    return F.conv2d(F.pad(images, (pad, pad, pad, pad), mode="replicate"), weight, groups=channels)


def downscale(images: Tensor, factor: int, resampling: str = "area") -> Tensor:
    """Shrink images.

    Args:
        images: ``[B, C, H, W]``.
        factor: one of :data:`FACTORS`.
        resampling: one of :data:`FILTERS`; cubic may leave [0, 1] slightly.

    Returns:
        ``[B, C, max(1, round(H / factor)), max(1, round(W / factor))]``.

    Raises:
        ValueError: an unknown factor or filter.
    """
    check_grey_levels(images)
    if factor not in FACTORS:
        raise ValueError(f"factor must be one of {FACTORS}, got {factor}")
    height, width = (max(1, round(size / factor)) for size in images.shape[-2:])
    return resize_back(images, height, width, resampling)


def resize_back(images: Tensor, height: int, width: int, resampling: str = "linear") -> Tensor:
    """Resize ``[B, C, h, w]`` to ``[B, C, height, width]`` (half-pixel centres), the size before :func:`downscale`.

    Args:
        images: ``[B, C, h, w]``.
        height: in pixels.
        width: in pixels.
        resampling: one of :data:`FILTERS`; cubic may leave [0, 1] slightly.

    Raises:
        ValueError: an unknown filter.
    """
    check_grey_levels(images)
    if resampling not in FILTERS:
        raise ValueError(f"filter must be one of {tuple(FILTERS)}, got {resampling!r}")
    if images.shape[-2:] == (height, width):
        return images
    return F.interpolate(images, (height, width), mode=FILTERS[resampling])


def optical_field(height: int, width: int, centre_y: float, centre_x: float, form: str = "mirror") -> Tensor:
    """The smooth radial field that lens and housing add to the image.

    - ``"mirror"``: with d1 the distance to the centre, at least 10, and d2 the distance to the nearest of the mirror
      centres (cy, -3cx), (-3cy, cx), (5cy, cx), (cy, 5cx), the field is ``minmax(-log(d2 / d1))^4``: lowest at the
      centre.
    - ``"cos4"``: ``cos^4(r·pi/2)`` with r the distance as a share of that of the farthest corner: highest at the centre
      (the older pipeline of the HM-TIR test sets).

    Args:
        height: in pixels.
        width: in pixels.
        centre_y: row of the centre, in pixels from the top-left one.
        centre_x: its column.
        form: one of :data:`OPTICAL_FORMS`.

    Returns:
        ``[1, 1, height, width]`` in [0, 1], float32 on the CPU.

    Raises:
        ValueError: an unknown form.
    """
    if form not in OPTICAL_FORMS:
        raise ValueError(f"form must be one of {OPTICAL_FORMS}, got {form!r}")
    y = torch.arange(height, dtype=torch.float32)[:, None]
    x = torch.arange(width, dtype=torch.float32)[None, :]

    def squared_distance(cy: float, cx: float) -> Tensor:
        return (y - cy) ** 2 + (x - cx) ** 2

    to_centre = squared_distance(centre_y, centre_x)
    if form == "cos4":
        radius = (to_centre / to_centre.max().clamp_min(1e-12)).sqrt()
        return torch.cos(radius * (math.pi / 2)).pow(4)[None, None]
    mirrors = ((centre_y, -3 * centre_x), (-3 * centre_y, centre_x), (5 * centre_y, centre_x), (centre_y, 5 * centre_x))
    to_mirror = torch.stack([squared_distance(*mirror) for mirror in mirrors]).amin(0)
    # Squared distances: half the log of their ratio is the log of the ratio; minmax then removes the half. A centre
    # on the image's edge meets its own mirror, hence the floor.
    field = torch.log(to_centre.clamp_min(10.0**2)) - torch.log(to_mirror.clamp_min(1e-12))
    low, high = field.aminmax()
    # A one-pixel image has no spread to normalise: its field is 0.
    return ((field - low) / (high - low).clamp_min(1e-12)).pow(4)[None, None]


def optical_nonuniformity(
    images: Tensor, centre_y: float, centre_x: float, strength: float, inverted: bool = False, form: str = "mirror"
) -> Tensor:
    """Add :func:`optical_field` to images.

    Args:
        images: ``[B, C, H, W]``.
        centre_y: row of the field's centre, as a share of the height, so that a record fits frames of any size.
        centre_x: its column, as a share of the width.
        strength: from the lowest to the highest value of the field, in grey levels (0-255).
        inverted: add 1 minus the field.
        form: one of :data:`OPTICAL_FORMS`. ``"mirror"`` is centred (``strength·field - strength/2``); ``"cos4"`` only
            ever brightens, as in the older pipeline.

    Returns:
        The same shape.
    """
    check_grey_levels(images)
    height, width = images.shape[-2:]
    field = optical_field(height, width, centre_y * height, centre_x * width, form).to(images.device)
    if inverted:
        field = 1 - field
    if form == "mirror":
        field = field - 0.5
    return images + field * (strength / GREY_LEVELS)


def stripes(images: Tensor, axis: str, gain_sigma: float, offset_sigma: float, generator: torch.Generator) -> Tensor:
    """Fixed-pattern stripes: ``x + x·g + b`` with ``g ~ N(0, gain_sigma)`` and ``b ~ N(0, offset_sigma)``.

    Args:
        images: ``[B, C, H, W]``.
        axis: one of :data:`AXES`: one ``g`` and one ``b`` per row, or one of each per column.
        gain_sigma: standard deviation of the gain.
        offset_sigma: standard deviation of the offset, in grey levels (0-255).
        generator: on the CPU.

    Returns:
        The same shape.

    Raises:
        ValueError: an unknown axis.
    """
    check_grey_levels(images)
    if axis not in AXES:
        raise ValueError(f"axis must be one of {AXES}, got {axis!r}")
    batch, _, height, width = images.shape
    shape = (batch, 1, height, 1) if axis == "row" else (batch, 1, 1, width)
    gain = torch.randn(shape, generator=generator).to(images.device) * gain_sigma
    offset = torch.randn(shape, generator=generator).to(images.device) * (offset_sigma / GREY_LEVELS)
    return images + images * gain + offset


def gaussian_noise(images: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """Add independent N(0, ``sigma``) noise to every pixel of ``[B, C, H, W]``; ``sigma`` in grey levels (0-255)."""
    check_grey_levels(images)
    return images + _per_pixel(torch.randn, images, generator) * (sigma / GREY_LEVELS)


def poisson_noise(images: Tensor, scale: float, generator: torch.Generator) -> Tensor:
    """Shot noise on ``[B, C, H, W]``: ``v + scale·(Poisson(v) - v)`` with ``v`` the grey level (0-255).

    Its standard deviation is ``scale·sqrt(v)`` grey levels. Channels share the noise drawn for their mean.
    """
    check_grey_levels(images)
    level = (images.mean(1, keepdim=True) * GREY_LEVELS).clamp_min(0)
    counts = torch.poisson(level.cpu(), generator=generator).to(images.device)
    return images + (counts - level) * (scale / GREY_LEVELS)


def dead_pixels(images: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Set about ``fraction`` of the pixels of ``[B, C, H, W]`` to 0 or to 1, with even odds."""
    check_grey_levels(images)
    draw = _per_pixel(torch.rand, images, generator)
    images = torch.where(draw < fraction / 2, torch.zeros_like(images), images)
    return torch.where(draw >= 1 - fraction / 2, torch.ones_like(images), images)


def sharpen(images: Tensor, amount: float, sigma: float) -> Tensor:
    """Unsharp masking ``x + amount·(x - blur(x))`` on ``[B, C, H, W]``, the cause of halos; ``sigma`` in pixels."""
    return images + amount * (images - gaussian_blur(images, 2 * math.ceil(3 * sigma) + 1, sigma, sigma))


def jpeg(images: Tensor, quality: int) -> Tensor:
    """Save each channel of ``[B, C, H, W]`` as a grey JPEG and read it back, on the CPU.

    Clips and quantises to 8 bits, as the format does; gradients do not pass. The bits depend on the JPEG library.

    Args:
        images: ``[B, C, H, W]``.
        quality: 1 to 95.

    Returns:
        The same shape.
    """
    check_grey_levels(images)
    from PIL import Image  # only the field preset needs it

    batch = images.shape[0]
    planes = []
    for plane in rearrange(_to_levels(images.detach()).to(torch.uint8), "b c h w -> (b c) h w").cpu():
        buffer = io.BytesIO()
        Image.fromarray(plane.numpy()).save(buffer, format="JPEG", quality=quality)
        with Image.open(buffer) as decoded:
            planes.append(torch.frombuffer(bytearray(decoded.tobytes()), dtype=torch.uint8).view(plane.shape))
    degraded = rearrange(torch.stack(planes), "(b c) h w -> b c h w", b=batch)
    return (degraded.float() / GREY_LEVELS).to(images.device)


def quantise(images: Tensor) -> Tensor:
    """Round ``[B, C, H, W]`` to the nearest of the 256 grey levels, clipping to [0, 1]; the result is float32."""
    check_grey_levels(images)
    return _to_levels(images) / GREY_LEVELS


def check_grey_levels(images: Tensor) -> None:
    """Raise ValueError, saying what is wrong, unless images are a float32 ``[B, C, H, W]`` of finite values."""
    if not isinstance(images, Tensor) or images.dtype != torch.float32:
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"images must be a float32 tensor of grey levels in [0, 1], got {kind}")
    if images.ndim != 4 or images.numel() == 0:
        raise ValueError(f"images must be [B, C, H, W] with at least one pixel, got shape {tuple(images.shape)}")
    # The sum is NaN or infinite if any value is, and costs a tenth of asking every pixel.
    if not images.sum().isfinite():
        raise ValueError("images hold NaN or infinite values")


def _per_pixel(draw: Callable[..., Tensor], images: Tensor, generator: torch.Generator) -> Tensor:
    """``draw`` (torch.rand or torch.randn) of shape ``[B, 1, H, W]``, on the CPU, moved to the images' device."""
    batch, _, height, width = images.shape
    return draw((batch, 1, height, width), generator=generator).to(images.device)


def _to_levels(images: Tensor) -> Tensor:
    return (images * GREY_LEVELS).round().clamp(0, GREY_LEVELS)
