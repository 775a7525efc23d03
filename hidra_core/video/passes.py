"""Passes over a clip, one frame at a time: rewriting it, sampling it, measuring its range of grey values."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ..images import display_range, stretch, unstretch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from .clips import ClipReader, ClipWriter, Frame, OnBroken


def rewrite(
    reader: ClipReader,
    writer: ClipWriter,
    enhance: Callable[[Iterator[Tensor]], Iterator[Tensor]],
    *,
    limits: tuple[float, float] = (0.0, 1.0),
    on_broken: OnBroken = "stop",
    blend: Callable[[Tensor, Tensor], Tensor] | None = None,
    look: Callable[[Tensor, Tensor, Frame], None] | None = None,
) -> None:
    """Read a clip, pass its frames through a function and write them with the times and the sound they had.

    Args:
        reader: the clip to read, freshly opened.
        writer: the clip to write.
        enhance: a function from an iterator over frames ``[H, W, 1]`` to one over as many enhanced frames.
        limits: the values that ``enhance`` gets as 0 and 1, from :func:`clip_range` for clips of 16 bits; its results
            are brought back to the range of the clip.
        on_broken: see :meth:`~hidra_core.video.clips.ClipReader.frames`.
        blend: makes the result of a frame from its pixels before and after ``enhance``; None: those after it.
        look: called with the input and the result of each frame, both stretched, and the frame as it was read.
    """
    pending: deque[Frame] = deque()

    def frames() -> Iterator[Tensor]:
        for frame in reader.frames(on_broken=on_broken, on_sound=writer.copy):
            pending.append(frame)
            yield stretch(frame.pixels, limits)

    for enhanced in enhance(frames()):
        frame = pending.popleft()
        before = stretch(frame.pixels, limits)
        after = enhanced if blend is None else blend(before, enhanced)
        if look is not None:
            look(before, after, frame)
        writer.write(unstretch(after, limits), frame.pts, frame.duration)


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


def clip_range(reader: ClipReader, on_broken: OnBroken = "stop") -> tuple[float, float]:
    """Lowest and highest grey value over a whole clip of 16 bits; one range for all frames, so that levels stay steady.

    Args:
        reader: freshly opened.
        on_broken: see :meth:`~hidra_core.video.clips.ClipReader.frames`.

    Returns:
        (low, high), see :func:`~hidra_core.images.display_range`; (0, 1) for clips of 8 bits, which are not stretched.
    """
    if reader.bit_depth == 8:
        return 0.0, 1.0
    lows, highs = zip(*(display_range(f.pixels) for f in reader.frames(on_broken=on_broken)), strict=True)
    return min(lows), max(highs)
