"""Clips and sequences of frames."""

from .clips import LOSSLESS_EXTENSION, BrokenFrame, ClipReader, ClipWriter, Frame, OnBroken, import_av, is_clip
from .passes import clip_range, rewrite, spread
from .sequence import LARGEST_CHUNK, DegradationOverTime, Flicker, enhance_frames, flicker, in_chunks

__all__ = [
    "BrokenFrame",
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
    "in_chunks",
    "is_clip",
    "rewrite",
    "spread",
]
