"""Video files in and out with PyAV, a frame at a time: grey frames, times as they were, sound copied.

Frames of more than 8 bits keep their depth; everything else about the picture of the file but its size, times, shape of
pixels and sound is of the file's own compression and starts afresh.
"""

from __future__ import annotations

import io
import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike, fspath
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from .images import display_range, stretch, to_grey, unstretch

if TYPE_CHECKING:
    import av

log = logging.getLogger(__name__)

EXTENSIONS = (".mp4", ".m4v", ".mov", ".mkv", ".avi", ".ts", ".webm")
"""File name endings (lower case) of clips."""

LOSSLESS_EXTENSION = ".mkv"

OnBroken = Literal["stop", "skip"]

_LOSSLESS = ("ffv1", {"level": "3", "slicecrc": "1"})
_H264 = ("libx264", {"crf": "14", "preset": "medium"})
# H.264 in AVI cannot reorder frames; VP9 has no default quality
_ENCODERS = {
    ".avi": (_H264[0], _H264[1] | {"bf": "0"}),
    ".webm": ("libvpx-vp9", {"crf": "18", "b:v": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}),
}


class BrokenFrame(ValueError):
    """A frame of a clip that cannot be decoded."""


@dataclass(frozen=True)
class Frame:
    """One frame: ``pixels`` ``[H, W, 1]`` float32 in [0, 1], when it is shown and for how long, in the time base."""

    pixels: Tensor
    pts: int
    duration: int


def import_av() -> Any:
    """PyAV, which ComfyUI ships and the command line has as an extra.

    Raises:
        ImportError: not installed; says how to.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError("clips need PyAV: pip install 'hidra-thermal[video]'") from error
    av.logging.set_level(None)  # what FFmpeg mutters about broken frames is reported by us, once
    return av


def is_clip(path: str | PathLike) -> bool:
    """Whether a file is named like a clip."""
    return Path(path).suffix.lower() in EXTENSIONS


class ClipReader:
    """A clip opened for reading; a context manager.

    Args:
        source: a file, or an open binary file.
        deep: keep more than 8 bits where the clip has them.
        quiet: say nothing about what is skipped, for a first look at a clip that is read again.

    Attributes:
        width, height: of the frames as they are shown, in pixels.
        rate: frames a second, on average.
        time_base: unit of the frames' times, in seconds.
        frame_count: frames that the file says it has, or an estimate from its duration; None if it says neither.
        bit_depth: of the frames as they are given, 8, or 16 for frames of more than 8 bits.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a readable clip, or one without a video stream.
        ImportError: PyAV is not installed.
    """

    def __init__(self, source: str | PathLike | io.BufferedIOBase, *, deep: bool = True, quiet: bool = False) -> None:
        self._av = import_av()
        self._level = logging.DEBUG if quiet else logging.WARNING
        self.name = fspath(source) if isinstance(source, str | PathLike) else "the clip"
        if isinstance(source, str | PathLike) and not Path(source).is_file():
            raise FileNotFoundError(f"no clip {self.name}; check the spelling and the folder")
        try:
            self.container = self._av.open(fspath(source) if isinstance(source, str | PathLike) else source)
        except self._av.error.FFmpegError as error:
            raise ValueError(
                f"{self.name} cannot be read as a clip ({_said(error)}). It may be truncated, or of an unknown kind: "
                "copy or export it again"
            ) from error
        if not self.container.streams.video:
            kinds = ", ".join(sorted({stream.type for stream in self.container.streams})) or "nothing"
            self.container.close()
            raise ValueError(f"{self.name} has no video stream, only {kinds}; choose a clip with pictures")
        self.stream = self.container.streams.video[0]
        context = self.stream.codec_context
        self.rate = Fraction(self.stream.average_rate or self.stream.guessed_rate or 25)
        self.time_base = Fraction(self.stream.time_base or 1 / self.rate)
        self.frame_count = self._count()
        self._counted = "mp4" in self.container.format.name  # elsewhere the number is an estimate or counts repetitions
        depths = [component.bits for component in context.format.components] if context.format else [8]
        self.bit_depth = 16 if deep and max(depths) > 8 else 8
        self.sample_aspect_ratio = context.sample_aspect_ratio

    def __enter__(self) -> ClipReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.container.close()

    def _count(self) -> int | None:
        if self.stream.frames:
            return self.stream.frames
        if self.stream.duration is not None:
            return round(self.stream.duration * self.time_base * self.rate)
        if self.container.duration is not None:
            return round(Fraction(self.container.duration, self._av.time_base) * self.rate)
        return None

    def frames(
        self, *, on_broken: OnBroken = "stop", on_sound: Callable[[av.Packet], None] | None = None
    ) -> Iterator[Frame]:
        """Decode the frames one by one, in order of time.

        Args:
            on_broken: ``stop`` raises at the first frame that cannot be decoded; ``skip`` logs a warning and leaves the
                frame out, so that the one before is shown longer and all others keep their times.
            on_sound: called with each packet of the sound on the way.

        Raises:
            BrokenFrame: a frame cannot be decoded, or none can.
        """
        streams = [self.stream, *(self.container.streams.audio if on_sound is not None else ())]
        step = max(1, round(1 / (self.rate * self.time_base)))
        number, broken, due = 0, 0, 0
        for packet, error in self._packets(streams):
            if error is None and packet.stream is not self.stream:
                if packet.dts is not None:
                    on_sound(packet)
                continue
            decoded, error = ((), error) if error is not None else self._decoded(packet)
            if error is not None:
                self._broken(f"frame {number + 1} of {self.name} is broken ({_said(error)})", on_broken)
                number, broken = number + 1, broken + 1
            for frame in decoded:
                pts = due if frame.pts is None else frame.pts
                due, number = pts + step, number + 1
                if frame.is_corrupt:
                    place = f"frame {number} of {self.name}, at {float(pts * self.time_base):.2f} s, is broken"
                    self._broken(f"{place} (parts of it are missing)", on_broken)
                    broken += 1
                    continue
                yield Frame(_pixels(frame, self.bit_depth), pts, getattr(frame, "duration", 0) or step)
        if number == broken:
            raise BrokenFrame(f"{self.name} has no frame that can be decoded; export it again")
        if self._counted and self.stream.frames > number:  # an edit list may hide some: no reason to stop
            log.warning(
                "%s says it has %d frames, %d were found: was it cut off?", self.name, self.stream.frames, number
            )

    def _packets(self, streams: list[Any]) -> Iterator[tuple[Any, Exception | None]]:
        packets = self.container.demux(streams)
        while True:
            try:
                yield next(packets), None
            except StopIteration:
                return
            except self._av.error.FFmpegError as error:  # the container itself is broken from here on
                yield None, error
                return

    def _decoded(self, packet: av.Packet) -> tuple[list[av.VideoFrame], Exception | None]:
        try:
            return packet.decode(), None
        except self._av.error.FFmpegError as error:
            return [], error

    def _broken(self, what: str, on_broken: OnBroken) -> None:
        if on_broken == "stop":
            raise BrokenFrame(f"{what}. Export the clip again, or have broken frames skipped")
        log.log(self._level, "%s; skipped", what)


class ClipWriter:
    """A clip being written; a context manager. The file is opened with the first frame, whose size it takes.

    Args:
        path: its suffix chooses the container, see :data:`EXTENSIONS`.
        like: the clip it is made from: times, pixel shape, depth and sound are its.
        lossless: FFV1 instead of H.264 (VP9 in WebM); frames of 16 bits always are, and both need ``.mkv``.
        sound: whether there is room for the sound, see :meth:`copy`.
    """

    def __init__(self, path: str | PathLike, like: ClipReader, *, lossless: bool = False, sound: bool = True) -> None:
        self._av = import_av()
        self.path = Path(path)
        self.like = like
        lossless = lossless or like.bit_depth == 16
        if lossless and self.path.suffix.lower() != LOSSLESS_EXTENSION:
            raise ValueError(f"{path}: a lossless clip needs the suffix {LOSSLESS_EXTENSION}")
        self._codec, self._options = _LOSSLESS if lossless else _ENCODERS.get(self.path.suffix.lower(), _H264)
        self._lossless = lossless
        self._timed = self.path.suffix.lower() != ".avi"  # which has no times, only a rate
        self._container: Any = None
        self._sound: dict[int, Any] = {}
        self._sources = like.container.streams.audio if sound else ()
        self._waiting: list[av.Packet] = []
        self._durations: dict[int, int] = {}
        self._video: Any = None

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is None:
            return
        if kind is None:
            self._encode(None)
        self._container.close()

    def write(self, pixels: Tensor, pts: int, duration: int) -> None:
        """Add a frame, ``[H, W, C]`` in [0, 1], shown from ``pts`` on, in the time base of the clip it is made from."""
        grey = to_grey(pixels[None])[0, 0].clamp(0, 1)
        if self._container is None:
            self._open(*grey.shape)
        if self.like.bit_depth == 16:
            counts, layout = (grey * 65535).round().to(torch.int32).numpy().astype(np.uint16), "gray16le"
        else:
            counts, layout = (grey * 255).round().to(torch.uint8).numpy(), "gray"
        frame = self._av.VideoFrame.from_ndarray(counts, format=layout)
        frame.pts, frame.time_base = pts, self.like.time_base
        if self._timed:
            self._durations[pts] = duration
        self._encode(frame)

    def _encode(self, frame: av.VideoFrame | None) -> None:
        for packet in self._video.encode(frame):
            if packet.pts in self._durations:  # or nobody would know how long the last one lasts
                packet.duration = self._durations.pop(packet.pts)
            self._container.mux(packet)

    def copy(self, packet: av.Packet) -> None:
        """Add a packet of the sound as it is."""
        if self._container is None:
            self._waiting.append(packet)
            return
        stream = self._sound.get(packet.stream.index)
        if stream is not None:
            packet.stream = stream
            self._container.mux(packet)

    def _open(self, height: int, width: int) -> None:
        av, like = self._av, self.like
        try:
            self._container = av.open(fspath(self.path), "w")
            self._video = self._container.add_stream(self._codec, rate=like.rate, options=self._options)
        except av.error.FFmpegError as error:
            raise ValueError(f"{self.path}: this PyAV has no encoder {self._codec} ({_said(error)})") from error
        self._video.width, self._video.height = width, height
        if self._lossless:
            self._video.pix_fmt = "gray16le" if like.bit_depth == 16 else "gray"
        else:  # players want yuv420p, which has even sides only
            self._video.pix_fmt = "yuv420p" if width % 2 == height % 2 == 0 else "yuv444p"
        time_base = like.time_base if self._timed else 1 / like.rate
        self._video.time_base = self._video.codec_context.time_base = time_base
        if like.sample_aspect_ratio:
            self._video.codec_context.sample_aspect_ratio = like.sample_aspect_ratio
        for stream in self._sources:
            try:
                self._sound[stream.index] = self._container.add_stream_from_template(stream)
            except (av.error.FFmpegError, ValueError) as error:
                log.warning("%s: its sound cannot be copied (%s) and is left out", like.name, _said(error))
        waiting, self._waiting = self._waiting, []
        for packet in waiting:
            self.copy(packet)


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
        reader, writer: opened.
        enhance: an iterator of frames ``[H, W, 1]`` to one with as many frames.
        limits: what ``enhance`` sees as black and white, from :func:`clip_range` for clips of 16 bits; its results are
            brought back onto the counts.
        on_broken: see :meth:`ClipReader.frames`.
        blend: makes a frame's result of it before and after, as ``enhance`` takes and gives them.
        look: called with each frame before and after, stretched, and as it was read.
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
    """Frames ``[H, W, 1]`` spread evenly over a clip; the whole clip is decoded on the way.

    Args:
        reader: freshly opened.
        samples: at most as many.
        on_broken: see :meth:`ClipReader.frames`.
    """
    kept: list[Tensor] = []
    every = 1
    for index, frame in enumerate(reader.frames(on_broken=on_broken)):
        if index % every == 0:
            kept.append(frame.pixels)
            if len(kept) > 2 * samples:  # the length is known at the end only: thin out as it grows
                kept, every = kept[::2], every * 2
    step = -(-len(kept) // samples)
    return kept[::step]


def clip_range(reader: ClipReader, on_broken: OnBroken = "stop") -> tuple[float, float]:
    """Lowest and highest grey value over a whole clip of 16 bits; one range for all frames, so that levels stay steady.

    Args:
        reader: freshly opened.
        on_broken: see :meth:`ClipReader.frames`.

    Returns:
        (low, high), see :func:`~hidra_core.images.display_range`; (0, 1) for clips of 8 bits, which are not stretched.
    """
    if reader.bit_depth == 8:
        return 0.0, 1.0
    lows, highs = zip(*(display_range(f.pixels) for f in reader.frames(on_broken=on_broken)), strict=True)
    return min(lows), max(highs)


def _pixels(frame: av.VideoFrame, bit_depth: int) -> Tensor:
    """Grey, upright, ``[H, W, 1]``."""
    counts = frame.to_ndarray(format="gray16le" if bit_depth == 16 else "gray")
    if frame.rotation % 90 == 0:
        counts = np.rot90(counts, frame.rotation // 90)
    return torch.from_numpy(counts.astype(np.float32) / (65535 if bit_depth == 16 else 255))[..., None]


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
