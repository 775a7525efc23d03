"""Presets: ranges that degradations are drawn from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from .record import Blur, DegradationRecord, Downscale, LowContrast, Optical, Sharpen, Stripes
from .stages import AXES

if TYPE_CHECKING:
    from collections.abc import Sequence

Range = tuple[float, float]


@dataclass(frozen=True)
class Preset:
    """Ranges to draw a :class:`~hidra_core.degradations.record.DegradationRecord` from.

    The defaults are HiDRA's composite training pipeline. Fields that begin with ``p_`` are probabilities. The method
    has three stages (contrast, resolution, noise); the parts of a stage (``p_blur``; ``p_optical``, ``p_stripes``,
    ``p_random``) are drawn within it. Grey levels are 0-255, sigmas of blurs in pixels, ranges inclusive. Choices are
    drawn with even odds: repeat one to give it more weight.
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
    range is not used: all stages at their worst at once leave nothing of the scene.
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
    """Blind super-resolution: blur, shrinking by ``factor``, mild sensor noise; the result has its full size back."""
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
"""No stage at all: the start for presets of single kinds."""

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
    # The older pipeline, of the HM-TIR test sets: another optical field, Gaussian noise only, no down-scaling.
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
    # One kind alone, over its composite range. Shot noise below 0.2 cannot be seen and would count as no noise.
    "stripes": replace(UNTOUCHED, p_stripes=1.0),
    "noise": replace(UNTOUCHED, p_random=1.0, poisson_scale=(0.2, 1.5)),
    "blur": replace(UNTOUCHED, p_blur=1.0),
    "low-resolution": replace(UNTOUCHED, factors=(2, 4)),
    "low-contrast": replace(UNTOUCHED, p_contrast=1.0),
    "non-uniformity": replace(UNTOUCHED, p_optical=1.0),
    # Each kind with even odds, independently of the others; in composite stripes, noise and shading come together.
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
    # The mild end of field: the weakest third of every range, and no stage that leaves visible scars.
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
    # Dead pixels under the mild noise of field: how many are found, and how well are they filled?
    "dead": replace(
        UNTOUCHED,
        p_random=1.0,
        p_poisson=0.0,
        gaussian_sigma=FIELD.gaussian_sigma,
        p_dead=1.0,
        dead_fraction=(0.003, 0.003),
    ),
    # Every stage of the older pipeline at its strong end, at full resolution.
    "hard": replace(
        COMPOSITE,
        p_contrast=1.0,
        alpha=(0.2, 0.5),
        p_resolution=1.0,
        factors=(1,),
        p_noise=1.0,
        optical_form="cos4",
        optical_centre=(0.0, 1.0),
        optical_strength=(40, 75),
        stripe_gain=(0.05, 0.10),
        stripe_offset=(2.5, 5.0),
        p_poisson=0.0,
        gaussian_sigma=(8.0, 15.0),
    ),
    # The method's low contrast always brightens: these fade below as well, and cut off black and white.
    "dark": replace(FIELD, p_untouched=0.0, p_contrast=1.0, alpha=(0.15, 0.8), beta=(-0.25, 0.15)),
    "clipped": replace(FIELD, p_untouched=0.0, p_contrast=1.0, alpha=(1.1, 1.8), beta=(-0.3, 0.1)),
}
"""Presets by name."""


def sample(preset: str | Preset, generator: torch.Generator) -> DegradationRecord:
    """Draw a record from a preset; it fits frames of any size.

    Args:
        preset: a name of :data:`PRESETS`, or ranges of one's own.
        generator: on the CPU.

    Raises:
        ValueError: an unknown name.
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
        return DegradationRecord(**record)
    if chance(preset.p_contrast):
        alpha, beta = uniform(preset.alpha), uniform(preset.beta)
        # Darkening is relative to the compressed range: -0.3 on top of a small alpha is a black frame.
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
    return DegradationRecord(**record)
