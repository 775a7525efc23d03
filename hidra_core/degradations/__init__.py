"""Synthetic degradations of thermal-infrared images: pure functions, a replayable record, presets and batches.

A clean frame becomes a training or test input in two steps::

    record = sample("composite", torch.Generator().manual_seed(0))   # which stages, which parameters
    degraded = apply(frames, record)                                 # [B, C, H, W] in, [B, C, H, W] out
    json.dumps(record.to_dict())                                     # save it; DegradationRecord.from_dict reads it

Images are float32 tensors ``[B, C, H, W]`` of grey levels in [0, 1]. Source of the stages and their ranges: HiDRA
(CVPR 2026), degradation pipeline.
"""

from .batches import BATCHES, record_by_hand, records_from_json, sample_batch
from .presets import COMPOSITE, FIELD, PRESETS, UNTOUCHED, Preset, sample
from .record import Blur, DegradationRecord, Downscale, LowContrast, Optical, Sharpen, Stripes, apply
from .stages import (
    AXES,
    FACTORS,
    FILTERS,
    GREY_LEVELS,
    OPTICAL_FORMS,
    dead_pixels,
    downscale,
    gaussian_blur,
    gaussian_kernel,
    gaussian_noise,
    jpeg,
    low_contrast,
    optical_field,
    optical_nonuniformity,
    poisson_noise,
    quantise,
    resize_back,
    sharpen,
    stripes,
)

__all__ = [
    "AXES",
    "BATCHES",
    "Blur",
    "COMPOSITE",
    "DegradationRecord",
    "Downscale",
    "FACTORS",
    "FIELD",
    "FILTERS",
    "GREY_LEVELS",
    "LowContrast",
    "OPTICAL_FORMS",
    "Optical",
    "PRESETS",
    "Preset",
    "Sharpen",
    "Stripes",
    "UNTOUCHED",
    "apply",
    "dead_pixels",
    "downscale",
    "gaussian_blur",
    "gaussian_kernel",
    "gaussian_noise",
    "jpeg",
    "low_contrast",
    "optical_field",
    "optical_nonuniformity",
    "poisson_noise",
    "quantise",
    "record_by_hand",
    "records_from_json",
    "resize_back",
    "sample",
    "sample_batch",
    "sharpen",
    "stripes",
]
