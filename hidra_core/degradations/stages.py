"""The stages of the degradation pipeline as pure functions."""

import io
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

GREY_LEVELS = 255.0


FACTORS = (1, 2, 4)


# Neither linear nor cubic is antialiased: aliasing is part of the degradation.
FILTERS = {"linear": "bilinear", "cubic": "bicubic", "area": "area"}


OPTICAL_FORMS = ("mirror", "cos4")


AXES = ("row", "column")


def low_contrast(images: Tensor, alpha: float, beta: float) -> Tensor:
    """Compresses the grey range: `x·alpha + beta`, `[B, C, H, W]` to the same shape.

    `beta` is a share of the full range (0.2 lifts by 51 grey levels; negative values darken).
    """
    check_images(images)
    return images * alpha + beta


def gaussian_kernel(kernel: int, sigma_x: float, sigma_y: float, angle: float) -> Tensor:
    """A rotated anisotropic Gaussian `[kernel, kernel]` that sums to 1 (float32, CPU).

    Sigmas are in pixels. `angle` is in degrees and turns the axis of `sigma_x` from the direction of increasing
    columns towards the direction of increasing rows. Raises ValueError for an even kernel or a sigma of 0 or less.
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
    """Blurs `[B, C, H, W]` with `gaussian_kernel`; the border is replicated, so that any image size works."""
    check_images(images)
    channels, pad = images.shape[1], kernel // 2
    weight = gaussian_kernel(kernel, sigma_x, sigma_y, angle).to(images.device).expand(channels, 1, kernel, kernel)
    return F.conv2d(F.pad(images, (pad, pad, pad, pad), mode="replicate"), weight, groups=channels)


def downscale(images: Tensor, factor: int, filter: str = "area") -> Tensor:
    """Shrinks `[B, C, H, W]` by a factor of 1, 2 or 4 to `[B, C, max(1, round(H / factor)), ...]`.

    `filter` is "linear", "cubic" (both without antialiasing) or "area". Cubic may leave [0, 1] slightly.
    """
    check_images(images)
    if factor not in FACTORS:
        raise ValueError(f"factor must be one of {FACTORS}, got {factor}")
    height, width = (max(1, round(size / factor)) for size in images.shape[-2:])
    return resize_back(images, height, width, filter)


def resize_back(images: Tensor, height: int, width: int, filter: str = "linear") -> Tensor:
    """Resizes `[B, C, h, w]` to `[B, C, height, width]`, half-pixel centres; undoes the size of `downscale`."""
    check_images(images)
    if filter not in FILTERS:
        raise ValueError(f"filter must be one of {tuple(FILTERS)}, got {filter!r}")
    if images.shape[-2:] == (height, width):
        return images
    return F.interpolate(images, (height, width), mode=FILTERS[filter])


def optical_field(height: int, width: int, centre_y: float, centre_x: float, form: str = "mirror") -> Tensor:
    """The smooth radial field of lens and housing, `[1, 1, height, width]` in [0, 1] (float32, CPU).

    The centre is in pixels from the top-left one. "mirror": with d1 the distance to the centre, at least 10, and d2
    the distance to the nearest of the mirror centres (cy, -3cx), (-3cy, cx), (5cy, cx), (cy, 5cx), the field is
    `minmax(-log(d2 / d1))⁴`: lowest at the centre. "cos4": `cos⁴(r·π/2)` with r the distance over that of the
    farthest corner: highest at the centre (the older chain of the HM-TIR test sets).
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
    """Adds `strength` grey levels (0-255) of `optical_field`, or of 1 minus it, to `[B, C, H, W]`.

    The centre is given in shares of height and width, so that a record fits frames of any size. "mirror" is
    centred (`strength·field - strength/2`); "cos4" is added as it is, as the older chain does.
    """
    check_images(images)
    height, width = images.shape[-2:]
    field = optical_field(height, width, centre_y * height, centre_x * width, form).to(images.device)
    if inverted:
        field = 1 - field
    if form == "mirror":
        field = field - 0.5
    return images + field * (strength / GREY_LEVELS)


def stripes(images: Tensor, axis: str, gain_sigma: float, offset_sigma: float, generator: torch.Generator) -> Tensor:
    """Fixed-pattern stripes on `[B, C, H, W]`: `x + x·g + b`, with g ~ N(0, gain_sigma) and b ~ N(0, offset_sigma).

    `axis` "row" draws one g and one b a row, "column" one a column; `offset_sigma` is in grey levels (0-255).
    """
    check_images(images)
    if axis not in AXES:
        raise ValueError(f"axis must be one of {AXES}, got {axis!r}")
    batch, _, height, width = images.shape
    shape = (batch, 1, height, 1) if axis == "row" else (batch, 1, 1, width)
    gain = torch.randn(shape, generator=generator).to(images.device) * gain_sigma
    offset = torch.randn(shape, generator=generator).to(images.device) * (offset_sigma / GREY_LEVELS)
    return images + images * gain + offset


def gaussian_noise(images: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """Adds independent N(0, sigma) noise to every pixel of `[B, C, H, W]`; `sigma` in grey levels (0-255)."""
    check_images(images)
    return images + _per_pixel(torch.randn, images, generator) * (sigma / GREY_LEVELS)


def poisson_noise(images: Tensor, scale: float, generator: torch.Generator) -> Tensor:
    """Shot noise on `[B, C, H, W]`: `v + scale·(Poisson(v) - v)` with v the grey level (0-255).

    Its standard deviation is `scale·sqrt(v)` grey levels. Channels share the noise drawn for their mean.
    """
    check_images(images)
    level = (images.mean(1, keepdim=True) * GREY_LEVELS).clamp_min(0)
    counts = torch.poisson(level.cpu(), generator=generator).to(images.device)
    return images + (counts - level) * (scale / GREY_LEVELS)


def dead_pixels(images: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Sticks about `fraction` of the pixels of `[B, C, H, W]` at 0 or at 1, with even odds."""
    check_images(images)
    draw = _per_pixel(torch.rand, images, generator)
    images = torch.where(draw < fraction / 2, torch.zeros_like(images), images)
    return torch.where(draw >= 1 - fraction / 2, torch.ones_like(images), images)


def sharpen(images: Tensor, amount: float, sigma: float) -> Tensor:
    """Unsharp masking `x + amount·(x - blur(x))` on `[B, C, H, W]`, the cause of halos; `sigma` in pixels."""
    return images + amount * (images - gaussian_blur(images, 2 * math.ceil(3 * sigma) + 1, sigma, sigma))


def jpeg(images: Tensor, quality: int) -> Tensor:
    """One JPEG round trip at `quality` 1 to 95 for each channel of `[B, C, H, W]`, as 8-bit grey, on the CPU.

    Clips and quantises to 8 bits, as the format does; gradients do not pass. The bits depend on the JPEG library.
    """
    check_images(images)
    from PIL import Image  # only the field preset needs it

    planes = []
    for plane in _to_levels(images.detach()).to(torch.uint8).flatten(0, 1).cpu():
        buffer = io.BytesIO()
        Image.fromarray(plane.numpy()).save(buffer, format="JPEG", quality=quality)
        with Image.open(buffer) as decoded:
            planes.append(torch.frombuffer(bytearray(decoded.tobytes()), dtype=torch.uint8).view(plane.shape))
    return (torch.stack(planes).view(images.shape).float() / GREY_LEVELS).to(images.device)


def quantise(images: Tensor) -> Tensor:
    """Rounds `[B, C, H, W]` to the nearest of the 256 grey levels, clipping to [0, 1]; stays float32."""
    check_images(images)
    return _to_levels(images) / GREY_LEVELS


def check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor) or images.dtype != torch.float32:
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"images must be a float32 tensor of grey levels in [0, 1], got {kind}")
    if images.ndim != 4 or images.numel() == 0:
        raise ValueError(f"images must be [B, C, H, W] with at least one pixel, got shape {tuple(images.shape)}")
    # The sum is NaN or infinite if any value is, and costs a tenth of asking every pixel.
    if not images.sum().isfinite():
        raise ValueError("images hold NaN or infinite values")


def _per_pixel(draw: Any, images: Tensor, generator: torch.Generator) -> Tensor:
    """`draw` (torch.rand or torch.randn) of shape `[B, 1, H, W]`, on the CPU, moved to the images' device."""
    batch, _, height, width = images.shape
    return draw((batch, 1, height, width), generator=generator).to(images.device)


def _to_levels(images: Tensor) -> Tensor:
    return (images * GREY_LEVELS).round().clamp(0, GREY_LEVELS)
