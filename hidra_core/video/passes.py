"""Passes over a clip, one frame at a time: frames spread over it, and its range of grey values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..images import display_range

if TYPE_CHECKING:
    from torch import Tensor

    from .clips import ClipReader, OnBroken


def spread(reader: ClipReader, samples: int, on_broken: OnBroken = "stop") -> list[Tensor]:
    """Frames ``[H, W, 1]`` spread evenly over a clip; the whole clip is decoded to find them.

    Args:
        reader: freshly opened.
        samples: the largest number of frames to return.
        on_broken: see :meth:`~hidra_core.video.clips.ClipReader.frames`.
    """
    kept: list[Tensor] = []
    every = 1
    for index, frame in enumerate(reader.frames(on_broken=on_broken)):
        if index % every == 0:
            kept.append(frame.pixels)
            if len(kept) > 2 * samples:  # the length is known only at the end: drop every other one as it grows
                kept, every = kept[::2], every * 2
    step = -(-len(kept) // samples)
    return kept[::step]


def clip_range(reader: ClipReader, on_broken: OnBroken = "stop", rows: slice = slice(None)) -> tuple[float, float]:
    """Lowest and highest grey value over a clip of more than 8 bits, so that levels stay steady in all its frames.

    Frames of one value, as cameras give while their shutter is closed, say nothing unless there are no others.

    Args:
        reader: freshly opened.
        on_broken: see :meth:`~hidra_core.video.clips.ClipReader.frames`.
        rows: of a frame that are scene.

    Returns:
        (low, high), see :func:`~hidra_core.images.display_range`; (0, 1) for clips of 8 bits, which are not stretched.
    """
    if reader.bit_depth == 8:
        return 0.0, 1.0
    ranges = [display_range(frame.pixels[rows]) for frame in reader.frames(on_broken=on_broken)]
    lows, highs = zip(*([(low, high) for low, high in ranges if low < high] or ranges), strict=True)
    return min(lows), max(highs)
