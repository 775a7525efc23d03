"""Clips and sequences of frames."""

from .clips import (
    EXTENSIONS,
    LOSSLESS_EXTENSION,
    BrokenFrameError,
    ClipReader,
    Frame,
    OnBroken,
    import_av,
    is_clip,
)
from .passes import clip_range, spread
from .sequence import LARGEST_CHUNK, DegradationOverTime, Flicker, enhance_frames, flicker
from .writing import ClipWriter

__all__ = [
    "EXTENSIONS",
    "BrokenFrameError",
    "ClipReader",
    "ClipWriter",
    "DegradationOverTime",
    "Flicker",
    "Frame",
    "LARGEST_CHUNK",
    "LOSSLESS_EXTENSION",
    "OnBroken",
    "clip_range",
    "enhance_frames",
    "flicker",
    "import_av",
    "is_clip",
    "spread",
]
