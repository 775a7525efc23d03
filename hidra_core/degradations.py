"""Synthetic degradations of thermal-infrared images: pure functions, a replayable record, and presets.

A clean frame becomes a training or test input in two steps::

    record = sample("composite", torch.Generator().manual_seed(0))   # which stages, which parameters
    degraded = apply(frames, record)                                 # [B, C, H, W] in, [B, C, H, W] out
    json.dumps(record.to_dict())                                     # save it, `Degradation.from_dict` replays it

Images are float32 tensors `[B, C, H, W]` of grey levels in [0, 1]; parameters are in the 0-255 grey levels of the
paper where they are grey levels, and are converted inside. Random fields are drawn on the CPU from an explicit
`torch.Generator` and then moved, so that a seed gives the same fields on every device; all channels of an image
share them, so that a grey image repeated over three channels stays grey. The stage functions do not clip: `apply`
does. Source of the stages and their ranges: HiDRA, degradation pipeline.
"""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
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

Range = tuple[float, float]


# ---------------------------------------------------------------------------------------------- stage functions


def low_contrast(images: Tensor, alpha: float, beta: float) -> Tensor:
    """Compresses the grey range: `x·alpha + beta`, `[B, C, H, W]` to the same shape.

    `beta` is a share of the full range (0.2 lifts by 51 grey levels; negative values darken).
    """
    _check_images(images)
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
    _check_images(images)
    channels, pad = images.shape[1], kernel // 2
    weight = gaussian_kernel(kernel, sigma_x, sigma_y, angle).to(images.device).expand(channels, 1, kernel, kernel)
    return F.conv2d(F.pad(images, (pad, pad, pad, pad), mode="replicate"), weight, groups=channels)


def downscale(images: Tensor, factor: int, filter: str = "area") -> Tensor:
    """Shrinks `[B, C, H, W]` by a factor of 1, 2 or 4 to `[B, C, max(1, round(H / factor)), ...]`.

    `filter` is "linear", "cubic" (both without antialiasing) or "area". Cubic may leave [0, 1] slightly.
    """
    _check_images(images)
    if factor not in FACTORS:
        raise ValueError(f"factor must be one of {FACTORS}, got {factor}")
    height, width = (max(1, round(size / factor)) for size in images.shape[-2:])
    return resize_back(images, height, width, filter)


def resize_back(images: Tensor, height: int, width: int, filter: str = "linear") -> Tensor:
    """Resizes `[B, C, h, w]` to `[B, C, height, width]`, half-pixel centres; undoes the size of `downscale`."""
    _check_images(images)
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
    _check_images(images)
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
    _check_images(images)
    if axis not in AXES:
        raise ValueError(f"axis must be one of {AXES}, got {axis!r}")
    batch, _, height, width = images.shape
    shape = (batch, 1, height, 1) if axis == "row" else (batch, 1, 1, width)
    gain = torch.randn(shape, generator=generator).to(images.device) * gain_sigma
    offset = torch.randn(shape, generator=generator).to(images.device) * (offset_sigma / GREY_LEVELS)
    return images + images * gain + offset


def gaussian_noise(images: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """Adds independent N(0, sigma) noise to every pixel of `[B, C, H, W]`; `sigma` in grey levels (0-255)."""
    _check_images(images)
    return images + _per_pixel(torch.randn, images, generator) * (sigma / GREY_LEVELS)


def poisson_noise(images: Tensor, scale: float, generator: torch.Generator) -> Tensor:
    """Shot noise on `[B, C, H, W]`: `v + scale·(Poisson(v) - v)` with v the grey level (0-255).

    Its standard deviation is `scale·sqrt(v)` grey levels. Channels share the noise drawn for their mean.
    """
    _check_images(images)
    level = (images.mean(1, keepdim=True) * GREY_LEVELS).clamp_min(0)
    counts = torch.poisson(level.cpu(), generator=generator).to(images.device)
    return images + (counts - level) * (scale / GREY_LEVELS)


def dead_pixels(images: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Sticks about `fraction` of the pixels of `[B, C, H, W]` at 0 or at 1, with even odds."""
    _check_images(images)
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
    _check_images(images)
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
    _check_images(images)
    return _to_levels(images) / GREY_LEVELS


# ------------------------------------------------------------------------------------------------------- records


@dataclass(frozen=True)
class LowContrast:
    """Arguments of `low_contrast`."""

    alpha: float
    beta: float


@dataclass(frozen=True)
class Blur:
    """Arguments of `gaussian_blur`."""

    kernel: int
    sigma_x: float
    sigma_y: float
    angle: float


@dataclass(frozen=True)
class Downscale:
    """`factor` and `filter` of `downscale`, and the filter of the `resize_back` after the sensor stages."""

    factor: int
    filter: str
    back: str = "linear"


@dataclass(frozen=True)
class Optical:
    """Arguments of `optical_nonuniformity`."""

    centre_y: float
    centre_x: float
    strength: float
    inverted: bool
    form: str


@dataclass(frozen=True)
class Stripes:
    """Arguments of `stripes`, but for the generator."""

    axis: str
    gain_sigma: float
    offset_sigma: float


@dataclass(frozen=True)
class Sharpen:
    """Arguments of `sharpen`."""

    amount: float
    sigma: float


@dataclass(frozen=True)
class Degradation:
    """Everything `apply` does to an image: its stages in order, None where a stage is left out, and the seed.

    `seed` starts the random fields (stripes, noise, dead pixels); `dataclasses.replace(record, seed=...)` gives the
    same degradation with other fields. Units are those of the stage functions. With `noise_seed` the random noise
    (Gaussian, Poisson) comes from that seed instead: records that differ in it alone are frames of one camera, whose
    stripes and dead pixels stay where they are.
    """

    seed: int = 0
    noise_seed: int | None = None
    low_contrast: LowContrast | None = None
    blur: Blur | None = None
    downscale: Downscale | None = None
    optical: Optical | None = None
    stripes: tuple[Stripes, ...] = ()
    gaussian_sigma: float | None = None
    poisson_scale: float | None = None
    dead_fraction: float | None = None
    sharpen: Sharpen | None = None
    jpeg_quality: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """A dictionary of plain JSON types; stages left out are left out."""
        return {name: value for name, value in asdict(self).items() if value is not None and value != ()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Degradation":
        """The inverse of `to_dict`, before or after JSON. Raises ValueError for unknown stages or arguments."""
        unknown = set(data) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"not a degradation record, unknown entries: {', '.join(sorted(unknown))}")
        values = dict(data)
        try:
            for name in _STAGE_RECORDS.keys() & values.keys():
                values[name] = _STAGE_RECORDS[name](**values[name])
            values["stripes"] = tuple(Stripes(**lines) for lines in values.get("stripes", ()))
        except TypeError as error:
            raise ValueError(f"not a degradation record: {error}") from error
        return cls(**values)


_STAGE_RECORDS = {
    "low_contrast": LowContrast,
    "blur": Blur,
    "downscale": Downscale,
    "optical": Optical,
    "sharpen": Sharpen,
}


def apply(images: Tensor, degradation: Degradation | Sequence[Degradation], *, to_8_bit: bool = True) -> Tensor:
    """Degrades whole frames `[B, C, H, W]`, float32 in [0, 1], and returns the same shape and range.

    Crop afterwards: the optical field spans the frame. One record is shared by the whole batch, its random fields
    included; a sequence holds one record an image. Every image comes out the same, bit for bit, alone or in any
    batch on the same machine. With `to_8_bit` the result is rounded to 256 levels, once, at the end. Raises
    ValueError for images of another shape, dtype or range, NaN, or a wrong number of records.
    """
    _check_images(images)
    low, high = (value.item() for value in images.aminmax())
    if low < -1e-3 or high > 1 + 1e-3:
        raise ValueError(f"images must be grey levels in [0, 1], got values from {low:g} to {high:g}")
    if isinstance(degradation, Degradation):
        degradation = [degradation] * len(images)
    if len(degradation) != len(images):
        raise ValueError(f"{len(degradation)} degradations for {len(images)} images: give one, or one an image")
    # Image by image: the fields of each start from its own record's seed, whatever else is in the batch.
    degraded = torch.cat([_apply_one(image[None], r) for image, r in zip(images, degradation, strict=True)])
    return quantise(degraded) if to_8_bit else degraded


def _apply_one(image: Tensor, record: Degradation) -> Tensor:
    height, width = image.shape[-2:]
    generator = torch.Generator().manual_seed(record.seed)
    noise = generator if record.noise_seed is None else torch.Generator().manual_seed(record.noise_seed)
    # Every stage is clipped, as the authors' 8-bit stages are and as a sensor saturates: what one stage drives out
    # of range the next cannot bring back. Rounding is another matter: it would add up over the stages.
    x = image.clamp(0, 1)
    if record.low_contrast:
        x = low_contrast(x, **vars(record.low_contrast)).clamp(0, 1)
    if record.blur:
        x = gaussian_blur(x, **vars(record.blur)).clamp(0, 1)
    if record.downscale:
        x = downscale(x, record.downscale.factor, record.downscale.filter).clamp(0, 1)
    if record.optical:
        x = optical_nonuniformity(x, **vars(record.optical)).clamp(0, 1)
    for lines in record.stripes:
        x = stripes(x, **vars(lines), generator=generator).clamp(0, 1)
    if record.gaussian_sigma is not None:
        x = gaussian_noise(x, record.gaussian_sigma, noise).clamp(0, 1)
    if record.poisson_scale is not None:
        x = poisson_noise(x, record.poisson_scale, noise).clamp(0, 1)
    if record.dead_fraction is not None:
        x = dead_pixels(x, record.dead_fraction, generator)
    if record.sharpen:
        x = sharpen(x, **vars(record.sharpen)).clamp(0, 1)
    if record.downscale:
        x = resize_back(x, height, width, record.downscale.back).clamp(0, 1)
    if record.jpeg_quality is not None:
        x = jpeg(x, record.jpeg_quality)
    return x


# ------------------------------------------------------------------------------------------------------- presets


@dataclass(frozen=True)
class Preset:
    """Ranges to draw a `Degradation` from; the defaults are HiDRA's composite training pipeline.

    `p_` values are probabilities. The method has three stages (contrast, resolution, noise); the parts of a stage
    (`p_blur`; `p_optical`, `p_stripes`, `p_random`) are drawn within it. Grey levels are 0-255, sigmas of blurs in
    pixels, ranges inclusive. Choices are drawn with even odds: repeat one to weight it.
    """

    p_untouched: float = 0.0
    p_contrast: float = 0.7
    alpha: Range = (0.2, 0.8)
    beta: Range = (0.2, 0.4)
    p_resolution: float = 0.7
    p_blur: float = 1.0
    kernel: tuple[int, int] = (7, 23)
    blur_sigma: Range = (1.0, 3.0)
    factors: tuple[int, ...] = (1, 2, 4)
    filters: tuple[str, ...] = ("linear", "cubic", "area")
    back_filters: tuple[str, ...] = ("linear",)
    p_noise: float = 0.7
    p_optical: float = 1.0
    optical_form: str = "mirror"
    optical_centre: Range = (0.25, 0.75)
    optical_strength: tuple[int, int] = (15, 75)
    p_stripes: float = 1.0
    p_both_axes: float = 0.0
    stripe_gain: Range = (0.03, 0.10)
    stripe_offset: Range = (0.1, 5.0)
    p_random: float = 1.0
    p_poisson: float = 0.5
    gaussian_sigma: Range = (5.0, 20.0)
    uniform_variance: bool = True
    poisson_scale: Range = (0.01, 1.5)
    p_dead: float = 0.0
    dead_fraction: Range = (0.0, 0.003)
    p_sharpen: float = 0.0
    sharpen_amount: Range = (0.2, 1.2)
    sharpen_sigma: Range = (0.7, 2.0)
    p_jpeg: float = 0.0
    jpeg_quality: tuple[int, int] = (40, 95)


COMPOSITE = Preset()


def _severity(level: int, factors: tuple[int, ...]) -> Preset:
    """Level 0 to 3: every stage, each within the level's sixth of its composite range.

    The paper names four severities and gives no numbers: these are this project's own. The last third of every
    range is left out: all stages at their worst at once leave nothing of the scene.
    """

    def part(limits: Range) -> Range:
        step = (limits[1] - limits[0]) / 6
        return limits[0] + level * step, limits[0] + (level + 1) * step

    return replace(
        COMPOSITE,
        p_contrast=1.0,
        # A small alpha is the severe end.
        alpha=(0.7 - 0.1 * level, 0.8 - 0.1 * level),
        beta=part(COMPOSITE.beta),
        p_resolution=1.0,
        kernel=(7 + 4 * level, 11 + 4 * level),
        blur_sigma=part(COMPOSITE.blur_sigma),
        factors=factors,
        p_noise=1.0,
        optical_strength=(15 + 10 * level, 25 + 10 * level),
        stripe_gain=part(COMPOSITE.stripe_gain),
        stripe_offset=part(COMPOSITE.stripe_offset),
        gaussian_sigma=part(COMPOSITE.gaussian_sigma),
        poisson_scale=part(COMPOSITE.poisson_scale),
    )


def _super_resolution(factor: int) -> Preset:
    """Blind super-resolution: blur, shrink by `factor`, mild sensor noise; the result is back at full size."""
    return replace(
        COMPOSITE,
        p_contrast=0.0,
        p_resolution=1.0,
        factors=(factor,),
        p_noise=1.0,
        p_optical=0.0,
        p_stripes=0.0,
        p_poisson=0.0,
        gaussian_sigma=(0.5, 4.0),
    )


UNTOUCHED = replace(
    COMPOSITE,
    p_contrast=0.0,
    p_resolution=1.0,
    p_blur=0.0,
    factors=(1,),
    p_noise=1.0,
    p_optical=0.0,
    p_stripes=0.0,
    p_random=0.0,
)
"""No stage at all: what presets of single kinds are made from."""

FIELD = Preset(
    p_untouched=0.1,
    p_contrast=0.5,
    alpha=(0.3, 1.0),
    beta=(-0.3, 0.3),
    p_resolution=0.6,
    p_blur=0.7,
    kernel=(7, 15),
    blur_sigma=(0.4, 2.0),
    factors=(1, 1, 2, 2, 4),
    back_filters=("linear", "cubic"),
    p_noise=0.9,
    p_optical=0.4,
    optical_strength=(2, 40),
    p_stripes=0.6,
    p_both_axes=0.3,
    stripe_gain=(0.0, 0.04),
    stripe_offset=(0.1, 8.0),
    p_random=0.9,
    p_poisson=0.2,
    gaussian_sigma=(0.5, 4.0),
    uniform_variance=False,
    poisson_scale=(0.01, 0.3),
    p_dead=0.25,
    p_sharpen=0.25,
    p_jpeg=0.3,
)
"""What today's cameras do, beyond the paper's recipe and mostly far milder: this project's own numbers."""

PRESETS: dict[str, Preset] = {
    "composite": COMPOSITE,
    # The older chain, of the HM-TIR test sets: another optical field, Gaussian noise only, no down-scaling.
    "hm-tir": replace(
        COMPOSITE,
        factors=(1,),
        optical_form="cos4",
        optical_centre=(0.0, 1.0),
        stripe_offset=(0.0, 5.0),
        p_poisson=0.0,
    ),
    "fpn": replace(COMPOSITE, p_contrast=0.0, p_resolution=0.0, p_noise=1.0),
    "sr-x2": _super_resolution(2),
    "sr-x4": _super_resolution(4),
    "mild": _severity(0, (1,)),
    "moderate": _severity(1, (1, 2)),
    "severe": _severity(2, (2,)),
    "extreme": _severity(3, (2, 4)),
    # One kind alone, over its composite range. Shot noise below 0.2 cannot be seen, and so is no noise.
    "stripes": replace(UNTOUCHED, p_stripes=1.0),
    "noise": replace(UNTOUCHED, p_random=1.0, poisson_scale=(0.2, 1.5)),
    "blur": replace(UNTOUCHED, p_blur=1.0),
    "low-resolution": replace(UNTOUCHED, factors=(2, 4)),
    "low-contrast": replace(UNTOUCHED, p_contrast=1.0),
    "non-uniformity": replace(UNTOUCHED, p_optical=1.0),
    # Each kind with even odds, independent of the others, where composite has stripes, noise and shading together.
    "mixed": replace(
        COMPOSITE,
        p_contrast=0.5,
        p_resolution=1.0,
        p_blur=0.5,
        factors=(1, 1, 2, 4),
        p_noise=1.0,
        p_optical=0.5,
        p_stripes=0.5,
        p_both_axes=0.1,
        p_random=0.5,
    ),
    "field": FIELD,
    # Its mild end: of every range the third next to nothing, and no stage that leaves visible scars.
    "field-mild": replace(
        FIELD,
        alpha=(0.77, 1.0),
        beta=(-0.1, 0.1),
        kernel=(7, 9),
        blur_sigma=(0.4, 0.9),
        factors=(1,),
        optical_strength=(2, 14),
        stripe_gain=(0.0, 0.013),
        stripe_offset=(0.1, 2.7),
        gaussian_sigma=(0.5, 1.7),
        poisson_scale=(0.01, 0.1),
        p_dead=0.0,
        p_jpeg=0.0,
    ),
}


def sample(preset: str | Preset, generator: torch.Generator) -> Degradation:
    """Draws a `Degradation` from a preset, by name or as ranges of one's own, with a CPU `generator`.

    A record fits frames of any size. Raises ValueError for an unknown name.
    """
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise ValueError(f"unknown degradation preset {preset!r}; known presets: {', '.join(PRESETS)}")
        preset = PRESETS[preset]

    def uniform(limits: Range) -> float:
        return limits[0] + (limits[1] - limits[0]) * torch.rand((), generator=generator, dtype=torch.float64).item()

    def integer(limits: tuple[int, int]) -> int:
        return int(torch.randint(limits[0], limits[1] + 1, (), generator=generator))

    def choice(options: Sequence[Any]) -> Any:
        return options[integer((0, len(options) - 1))]

    def chance(probability: float) -> bool:
        return uniform((0.0, 1.0)) < probability

    record: dict[str, Any] = {"seed": integer((0, 2**31 - 1))}
    if chance(preset.p_untouched):
        return Degradation(**record)
    if chance(preset.p_contrast):
        alpha, beta = uniform(preset.alpha), uniform(preset.beta)
        # Darkening is relative to what is left of the range: -0.3 on top of a small alpha is a black frame.
        record["low_contrast"] = LowContrast(alpha, beta * alpha if beta < 0 else beta)
    if chance(preset.p_resolution):
        if chance(preset.p_blur):
            kernel = preset.kernel[0] + 2 * integer((0, (preset.kernel[1] - preset.kernel[0]) // 2))
            sigma_x, sigma_y = uniform(preset.blur_sigma), uniform(preset.blur_sigma)
            record["blur"] = Blur(kernel, sigma_x, sigma_y, uniform((-90.0, 90.0)))
        factor = choice(preset.factors)
        if factor > 1:
            record["downscale"] = Downscale(factor, choice(preset.filters), choice(preset.back_filters))
    if chance(preset.p_noise):
        if chance(preset.p_optical):
            centre_y, centre_x = uniform(preset.optical_centre), uniform(preset.optical_centre)
            strength = integer(preset.optical_strength)
            record["optical"] = Optical(centre_y, centre_x, strength, chance(0.5), preset.optical_form)
        if chance(preset.p_stripes):
            axes = AXES if chance(preset.p_both_axes) else (choice(AXES),)
            record["stripes"] = tuple(
                Stripes(axis, uniform(preset.stripe_gain), uniform(preset.stripe_offset)) for axis in axes
            )
        if chance(preset.p_random):
            if chance(preset.p_poisson):
                record["poisson_scale"] = uniform(preset.poisson_scale)
            elif preset.uniform_variance:
                low, high = preset.gaussian_sigma
                record["gaussian_sigma"] = math.sqrt(uniform((low**2, high**2)))
            else:
                record["gaussian_sigma"] = uniform(preset.gaussian_sigma)
    if chance(preset.p_dead):
        record["dead_fraction"] = uniform(preset.dead_fraction)
    if chance(preset.p_sharpen):
        record["sharpen"] = Sharpen(uniform(preset.sharpen_amount), uniform(preset.sharpen_sigma))
    if chance(preset.p_jpeg):
        record["jpeg_quality"] = integer(preset.jpeg_quality)
    return Degradation(**record)


# ------------------------------------------------------------------------------------------------------- helpers


def _check_images(images: Tensor) -> None:
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
