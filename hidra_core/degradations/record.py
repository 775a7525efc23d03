"""A degradation as a record that can be saved and replayed, and its application to images."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import torch

from .stages import (
    check_grey_levels,
    dead_pixels,
    downscale,
    gaussian_blur,
    gaussian_noise,
    jpeg,
    low_contrast,
    optical_nonuniformity,
    poisson_noise,
    quantise,
    resize_back,
    sharpen,
    stripes,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


@dataclass(frozen=True)
class LowContrast:
    """Arguments of :func:`~hidra_core.degradations.stages.low_contrast`."""

    alpha: float
    beta: float


@dataclass(frozen=True)
class Blur:
    """Arguments of :func:`~hidra_core.degradations.stages.gaussian_blur`."""

    kernel: int
    sigma_x: float
    sigma_y: float
    angle: float


@dataclass(frozen=True)
class Downscale:
    """Factor and filter of :func:`~hidra_core.degradations.stages.downscale`, and the filter of the way back.

    The image gets its size back after the stages of the sensor, so that its noise and stripes are enlarged too.
    """

    factor: int
    filter: str
    back: str = "linear"


@dataclass(frozen=True)
class Optical:
    """Arguments of :func:`~hidra_core.degradations.stages.optical_nonuniformity`."""

    centre_y: float
    centre_x: float
    strength: float
    inverted: bool
    form: str


@dataclass(frozen=True)
class Stripes:
    """Arguments of :func:`~hidra_core.degradations.stages.stripes` without the generator."""

    axis: str
    gain_sigma: float
    offset_sigma: float


@dataclass(frozen=True)
class Sharpen:
    """Arguments of :func:`~hidra_core.degradations.stages.sharpen`."""

    amount: float
    sigma: float


@dataclass(frozen=True)
class DegradationRecord:
    """Everything that :func:`apply` does to an image. A stage that is left out is None.

    Attributes:
        seed: starts the random fields (stripes, noise, dead pixels); ``dataclasses.replace(record, seed=...)`` is the
            same degradation with other fields.
        noise_seed: if given, the random noise (Gaussian, Poisson) comes from this seed instead: records that differ in
            it alone are frames of one camera, whose stripes and dead pixels stay in place.
        low_contrast: the first stage; the others follow in the order given here.
        blur: second stage.
        downscale: third stage; its way back comes after sharpening.
        optical: shading of lens and housing.
        stripes: one entry per direction.
        gaussian_sigma: see :func:`~hidra_core.degradations.stages.gaussian_noise`.
        poisson_scale: see :func:`~hidra_core.degradations.stages.poisson_noise`.
        dead_fraction: see :func:`~hidra_core.degradations.stages.dead_pixels`.
        sharpen: what a camera's own software does.
        jpeg_quality: see :func:`~hidra_core.degradations.stages.jpeg`; the last stage.
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
        """The record in plain JSON types, with the stages that it has."""
        return {name: value for name, value in asdict(self).items() if value is not None and value != ()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DegradationRecord:
        """The inverse of :meth:`to_dict`, before or after JSON.

        Raises:
            ValueError: unknown stages or arguments, or a negative amount of noise.
        """
        known = [field.name for field in fields(cls)]
        unknown = set(data) - set(known)
        if unknown:
            raise ValueError(
                f"not a degradation record, unknown entries: {', '.join(sorted(unknown))}; known are {', '.join(known)}"
            )
        values = dict(data)
        try:
            for name in _STAGE_RECORDS.keys() & values.keys():
                values[name] = _STAGE_RECORDS[name](**values[name])
            values["stripes"] = tuple(Stripes(**lines) for lines in values.get("stripes", ()))
        except TypeError as error:
            raise ValueError(f"not a degradation record: {error}") from error
        for name in ("gaussian_sigma", "poisson_scale", "dead_fraction"):
            value = values.get(name)
            if isinstance(value, int | float) and value < 0:
                raise ValueError(f"not a degradation record: {name} is {value}, 0 or more is expected")
        return cls(**values)


_STAGE_RECORDS = {
    "low_contrast": LowContrast,
    "blur": Blur,
    "downscale": Downscale,
    "optical": Optical,
    "sharpen": Sharpen,
}


def apply(
    images: Tensor, degradation: DegradationRecord | Sequence[DegradationRecord], *, to_8_bit: bool = True
) -> Tensor:
    """Degrade whole frames; crop afterwards, as the optical field spans the frame.

    On one machine an image comes out the same, bit for bit, alone or in any batch.

    Args:
        images: ``[B, C, H, W]``, float32 in [0, 1].
        degradation: one record, which the whole batch shares, its random fields included; or one record per image.
        to_8_bit: round the result to 256 grey levels, once, at the end.

    Returns:
        The same shape and range.

    Raises:
        ValueError: images of another shape, type or range, NaN, or a wrong number of records.
    """
    check_grey_levels(images)
    low, high = (value.item() for value in images.aminmax())
    if low < -1e-3 or high > 1 + 1e-3:
        raise ValueError(f"images must be grey levels in [0, 1], got values from {low:g} to {high:g}")
    if isinstance(degradation, DegradationRecord):
        degradation = [degradation] * len(images)
    if len(degradation) != len(images):
        raise ValueError(f"{len(degradation)} degradations for {len(images)} images: give one, or one per image")
    # Image by image: the fields of each start from its own record's seed, whatever else is in the batch.
    degraded = torch.cat([_apply_one(image[None], r) for image, r in zip(images, degradation, strict=True)])
    return quantise(degraded) if to_8_bit else degraded


def _apply_one(image: Tensor, record: DegradationRecord) -> Tensor:
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
