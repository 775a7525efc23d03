"""Clips: frames streamed from a video file and into another, with their times and sound."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..images import stretch, unstretch
from ..images.files import atomic_path
from ..video import EXTENSIONS, ClipReader, ClipWriter, clip_range, spread
from .base import Beside, Change, Enhance, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from os import PathLike

    from torch import Tensor

    from ..video import Frame, OnBroken


class ClipSource(Source):
    """A clip; only a few frames of it are in memory at a time.

    Args:
        source: the file; or a function that returns a source for :class:`~hidra_core.video.ClipReader`, called anew
            for every pass over the clip.
        on_broken: what to do about a frame that cannot be decoded, see :meth:`~hidra_core.video.ClipReader.frames`.
        lossless: write FFV1 in ``.mkv`` instead of H.264; frames of more than 8 bits always are.
        deep: keep more than 8 bits where the clip has them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a readable clip.
        ImportError: PyAV is not installed.
    """

    def __init__(
        self,
        source: str | PathLike | Callable[[], Any],
        *,
        on_broken: OnBroken = "stop",
        lossless: bool = False,
        deep: bool = True,
    ) -> None:
        self._source = source
        self._on_broken: OnBroken = on_broken
        self._lossless = lossless
        self._deep = deep
        self._limits: tuple[float, float] | None = None
        with self._open(quiet=True) as reader:
            self.path = Path(reader.name)
            self.bit_depth = reader.bit_depth
            self.page_count = reader.frame_count

    def pages(self) -> Iterator[Tensor]:
        """See :meth:`Source.pages`."""
        limits = self._range()
        with self._open(quiet=True) as reader:
            for frame in reader.frames(on_broken=self._on_broken):
                yield stretch(frame.pixels, limits)

    def samples(self, count: int) -> list[Tensor]:
        """See :meth:`Source.samples`; the whole clip is decoded to find them."""
        limits = self._range()
        with self._open(quiet=True) as reader:
            return [stretch(frame, limits) for frame in spread(reader, count, self._on_broken)]

    def check_writable(self, output: Path) -> None:
        """See :meth:`Source.check_writable`."""
        if output.suffix.lower() not in EXTENSIONS:
            raise ValueError(f"{output}: a clip is written as {', '.join(EXTENSIONS)}; give it one of these suffixes")
        with self._open(quiet=True) as reader:
            ClipWriter(output, reader, lossless=self._lossless)

    def rewrite(
        self, output: Path, enhance: Enhance, change: Change | None = None, beside: Beside | None = None
    ) -> None:
        """See :meth:`Source.rewrite`; the comparison is a clip of both side by side."""
        change, beside = change or Change(), beside or Beside()
        if change.radiometric or beside.radiometric is not None or beside.trust is not None:
            raise ValueError(
                f"{self.path}: radiometric mode and trust reports are for images and counts, not for clips"
            )
        self.check_writable(output)
        limits = self._range()
        for path in (output, *beside.paths):
            path.parent.mkdir(parents=True, exist_ok=True)
        pending: deque[Frame] = deque()
        with ExitStack() as stack:
            target = stack.enter_context(atomic_path(output))
            compare = None if beside.compare is None else stack.enter_context(atomic_path(beside.compare))
            reader = stack.enter_context(self._open())
            writer = stack.enter_context(ClipWriter(target, reader, lossless=self._lossless))
            pair = None
            if compare is not None:
                pair = stack.enter_context(ClipWriter(compare, reader, lossless=self._lossless, sound=False))

            def frames() -> Iterator[Tensor]:
                for frame in reader.frames(on_broken=self._on_broken, on_sound=writer.copy):
                    pending.append(frame)
                    yield stretch(frame.pixels, limits)

            count, incoming = 0, frames()
            for count, enhanced in enumerate(enhance(incoming), 1):
                if not pending:
                    raise ValueError(f"{count} enhanced frames for {count - 1} frames of {self.path}")
                frame = pending.popleft()
                before = stretch(frame.pixels, limits)
                after = enhanced if change.is_whole else change.apply(before, enhanced).clamp(0, 1)
                if pair is not None:
                    pair.write(_side_by_side(before, after), frame.pts, frame.duration)
                writer.write(unstretch(after, limits), frame.pts, frame.duration)
            if pending or next(incoming, None) is not None:
                raise ValueError(f"{count} enhanced frames, fewer than {self.path} has")

    def _open(self, quiet: bool = False) -> ClipReader:
        source = self._source() if callable(self._source) else self._source
        return ClipReader(source, deep=self._deep, quiet=quiet)

    def _range(self) -> tuple[float, float]:
        """Lowest and highest grey value of the whole clip, measured once; clips of 8 bits are not stretched."""
        if self._limits is None:
            with self._open(quiet=True) as reader:
                self._limits = clip_range(reader, self._on_broken)
        return self._limits


def _side_by_side(before: Tensor, after: Tensor) -> Tensor:
    height, width = after.shape[:2]
    enlarged = torch.nn.functional.interpolate(before.movedim(-1, 0)[None], (height, width))
    return torch.cat([enlarged[0].movedim(0, -1), after], dim=1)
