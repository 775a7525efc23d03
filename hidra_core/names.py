"""Constants that help texts, menus and checks of options need before PyTorch is imported.

This module imports nothing. Each constant's meaning is explained where it is used.
"""

from __future__ import annotations

HIDRA_TINY = "hidra-tiny"
"""The built-in model: a backbone and its weights."""

DTYPES = ("fp32", "bf16", "fp16")
"""Number types that networks can compute in."""

MAPPINGS = ("linear", "percentile", "plateau")
"""Ways to map counts to the range of the networks, see :mod:`hidra_core.thermal.mapping`."""

UNITS = ("celsius", "kelvin")
"""Units in which temperatures are written, see :func:`hidra_core.thermal.write_thermal`."""

CUTOFF = 64.0
"""Period in pixels that separates low from high frequencies, see :func:`hidra_core.images.blend.lowpass`."""

SMOOTHING = 0.9
"""Share of the past in a smoothed degradation vector; 0.9 is like an average of about the last ten frames."""

CLIP_SAMPLES = 16
"""Number of frames, spread over a clip, whose averaged degradation stands for the whole clip."""

UPSCALES = (1, 2, 3, 4)
"""Factors by which images can be enlarged before the networks."""

PALETTES = (
    "white hot",
    "black hot",
    "ironbow",
    "rainbow",
    "rainbow high contrast",
    "arctic",
    "lava",
    "glowbow",
    "graded fire",
    "hottest",
    "sepia",
    "green",
    "spectrum",
    "jet",
    "hot",
)
"""Palettes of thermal cameras, see :mod:`hidra_core.images.palettes`."""

DEGRADATION_FORMAT = "hidra-degradation"
LORA_FORMAT = "hidra-baked-lora"
VAE_FORMAT = "hidra-baked-vae"
"""``format`` in the headers of files with degradation vectors, and of a LoRA and a VAE with a baked degradation."""
