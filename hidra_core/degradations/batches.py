"""Records for whole batches, from flat values and from JSON: what a form or a node needs around ``apply``."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import torch

from .presets import Preset, sample
from .record import Blur, DegradationRecord, Downscale, LowContrast, Optical, Sharpen, Stripes, apply
from .stages import AXES

BATCHES = ("one camera", "own fields", "own draws", "same")
"""How the images of a batch may be related, see :func:`sample_batch`."""


def record_by_hand(
    *,
    seed: int = 0,
    contrast_alpha: float = 1.0,
    contrast_beta: float = 0.0,
    blur_kernel: int = 15,
    blur_sigma_x: float = 0.0,
    blur_sigma_y: float = 0.0,
    blur_angle: float = 0.0,
    low_resolution: int | str = 1,
    shrink_filter: str = "area",
    enlarge_filter: str = "linear",
    optical_strength: float = 0.0,
    optical_centre_x: float = 0.5,
    optical_centre_y: float = 0.5,
    optical_inverted: bool = False,
    optical_form: str = "mirror",
    stripes: str = "none",
    stripe_gain: float = 0.05,
    stripe_offset: float = 3.0,
    gaussian_sigma: float = 0.0,
    poisson_scale: float = 0.0,
    dead_fraction: float = 0.0,
    sharpen_amount: float = 0.0,
    sharpen_sigma: float = 1.0,
    jpeg_quality: int = 0,
) -> DegradationRecord:
    """A record from flat values, for forms and command lines: a stage whose value does nothing is left out.

    Args:
        seed: of the random fields.
        contrast_alpha: ``alpha`` of :func:`~hidra_core.degradations.stages.low_contrast`; with ``contrast_beta`` 0 and
            this 1 the contrast stays.
        contrast_beta: its ``beta``.
        blur_kernel: side of :func:`~hidra_core.degradations.stages.gaussian_kernel` in pixels, odd.
        blur_sigma_x: in pixels; a blur needs both sigmas above 0.
        blur_sigma_y: in pixels.
        blur_angle: in degrees.
        low_resolution: factor of :func:`~hidra_core.degradations.stages.downscale`; menus give it as text.
        shrink_filter: its filter.
        enlarge_filter: filter of the way back to the full size.
        optical_strength: of :func:`~hidra_core.degradations.stages.optical_nonuniformity`, in grey levels (0-255).
        optical_centre_x: as a share of the width.
        optical_centre_y: as a share of the height.
        optical_inverted: see the same function.
        optical_form: one of :data:`~hidra_core.degradations.stages.OPTICAL_FORMS`.
        stripes: "none", "column", "row" or "both".
        stripe_gain: ``gain_sigma`` of :func:`~hidra_core.degradations.stages.stripes`.
        stripe_offset: its ``offset_sigma``, in grey levels (0-255).
        gaussian_sigma: see :class:`~hidra_core.degradations.record.DegradationRecord`; 0 is none.
        poisson_scale: see there; 0 is none.
        dead_fraction: see there; 0 is none.
        sharpen_amount: of :func:`~hidra_core.degradations.stages.sharpen`; 0 is none.
        sharpen_sigma: in pixels.
        jpeg_quality: 1 to 95; 0 is none.
    """
    record: dict[str, Any] = {"seed": seed}
    if (contrast_alpha, contrast_beta) != (1.0, 0.0):
        record["low_contrast"] = LowContrast(contrast_alpha, contrast_beta)
    if blur_sigma_x > 0 and blur_sigma_y > 0:
        record["blur"] = Blur(blur_kernel, blur_sigma_x, blur_sigma_y, blur_angle)
    if int(low_resolution) > 1:
        record["downscale"] = Downscale(int(low_resolution), shrink_filter, enlarge_filter)
    if optical_strength > 0:
        record["optical"] = Optical(
            optical_centre_y, optical_centre_x, optical_strength, optical_inverted, optical_form
        )
    axes = {"none": (), "both": AXES}.get(stripes, (stripes,))
    record["stripes"] = tuple(Stripes(axis, stripe_gain, stripe_offset) for axis in axes)
    for name, value in (
        ("gaussian_sigma", gaussian_sigma),
        ("poisson_scale", poisson_scale),
        ("dead_fraction", dead_fraction),
        ("jpeg_quality", jpeg_quality),
    ):
        record[name] = value or None
    if sharpen_amount > 0:
        record["sharpen"] = Sharpen(sharpen_amount, sharpen_sigma)
    return DegradationRecord(**record)


def records_from_json(text: str) -> DegradationRecord | list[DegradationRecord]:
    """The inverse of ``to_dict`` for JSON text.

    Args:
        text: an object, which is one record, or a list of objects, one per image.

    Raises:
        ValueError: text that is neither, or a record that cannot be applied; says what is wrong and where.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"parameters is not JSON ({error}); give what Simulate Thermal Degradation returned"
        ) from error
    if isinstance(data, dict):
        return _record(data)
    if not isinstance(data, list) or not data or not all(isinstance(entry, dict) for entry in data):
        raise ValueError("parameters must be a JSON object, or a list of objects with one for each image")
    return [_record(entry) for entry in data]


def _record(data: dict[str, Any]) -> DegradationRecord:
    record = DegradationRecord.from_dict(data)
    try:
        apply(torch.zeros(1, 1, 8, 8), record)  # each stage knows best which values it accepts
    except (TypeError, AttributeError, RuntimeError, ValueError) as error:
        raise ValueError(f"parameters hold a value that cannot be used: {error}") from error
    return record


def sample_batch(
    preset: str | Preset | DegradationRecord, count: int, seed: int, relation: str
) -> list[DegradationRecord]:
    """One record per image of a batch, from a preset or from a record that is varied.

    Args:
        preset: what to draw from, see :func:`~hidra_core.degradations.presets.sample`; or a record to vary.
        count: images in the batch.
        seed: of the draws.
        relation: what the images share. "one camera": all parameters, stripes and dead pixels, while each image has
            noise of its own, like the frames of a clip. "own fields": all parameters, while stripes and noise are each
            image's own. "own draws": nothing, one draw per image. "same": everything.

    Raises:
        ValueError: an unknown preset or relation, or "own draws" of a record.
    """
    if relation not in BATCHES:
        raise ValueError(f"relation must be one of {BATCHES}, got {relation!r}")
    generator = torch.Generator().manual_seed(seed)
    if relation == "own draws":
        if isinstance(preset, DegradationRecord):
            raise ValueError("a record cannot be drawn from; give a preset, or another relation than 'own draws'")
        return [sample(preset, generator) for _ in range(count)]
    record = preset if isinstance(preset, DegradationRecord) else sample(preset, generator)
    if relation == "same":
        return [record] * count
    seeds = [int(torch.randint(0, 2**31 - 1, (), generator=generator)) for _ in range(count)]
    if relation == "one camera":
        return [replace(record, noise_seed=seed) for seed in seeds]
    return [record, *(replace(record, seed=seed) for seed in seeds[1:])]
