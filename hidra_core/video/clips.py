"""Clips read and written with PyAV, one frame at a time: frames become grey, their times are kept, sound is copied.

A written clip also keeps the size of the frames, the shape of their pixels, and more than 8 bits. It is compressed
anew, with settings of its own.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..images import to_grey

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator
    from types import TracebackType

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


class BrokenFrameError(ValueError):
    """A frame of a clip that cannot be decoded, or that does not fit the others."""


@dataclass(frozen=True)
class Frame:
    """One frame of a clip.

    Attributes:
        pixels: ``[H, W, 1]`` float32 in [0, 1].
        pts: when it is shown, in the time base of the clip.
        duration: for how long it is shown, in the time base.
    """

    pixels: Tensor
    pts: int
    duration: int


def import_av() -> Any:
    """Import PyAV, which ComfyUI ships and the command line has as an extra.

    Raises:
        ImportError: it is not installed; the message says how to install it.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError("clips need PyAV: pip install 'hidra-thermal[video]'") from error
    return av


def is_clip(path: str | PathLike) -> bool:
    """Whether a file has the suffix of a clip."""
    return Path(path).suffix.lower() in EXTENSIONS


class ClipReader:
    """A clip opened for reading; a context manager.

    Args:
        source: a file, or an open binary file.
        deep: keep more than 8 bits where the clip has them.
        quiet: do not warn about frames that are skipped, for passes over a clip that is read again.

    Attributes:
        rate: frames per second, on average.
        time_base: unit of the frames' times, in seconds.
        frame_count: frames that the file says it has, or an estimate from its duration; None if it says neither.
        bit_depth: of the frames that :meth:`frames` gives: 8, or 16 where the clip has more than 8 bits.

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
            raise ValueError(f"{self.name} has no video stream, only {kinds}; choose a clip with frames")
        self.stream = self.container.streams.video[0]
        context = self.stream.codec_context
        self.rate = Fraction(self.stream.average_rate or self.stream.guessed_rate or 25)
        self.time_base = Fraction(self.stream.time_base or 1 / self.rate)
        self.frame_count = self._count()
        self._counted = "mp4" in self.container.format.name  # elsewhere it is an estimate, or counts repetitions
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
            on_broken: ``stop`` raises at the first frame that cannot be used; ``skip`` logs a warning and leaves the
                frame out, so that the one before is shown longer and all others keep their times.
            on_sound: called with each packet of the sound that comes between the frames.

        Raises:
            BrokenFrameError: a frame cannot be decoded or has another size than those before, or there is none.
        """
        streams = [self.stream, *(self.container.streams.audio if on_sound is not None else ())]
        step = max(1, round(1 / (self.rate * self.time_base)))
        number, broken, due, size = 0, 0, 0, None
        for packet, error in self._packets(streams):
            if error is None and packet.stream is not self.stream:
                if on_sound is not None and packet.dts is not None:
                    on_sound(packet)
                continue
            decoded, error = ((), error) if error is not None else self._decoded(packet)
            if error is not None:
                self._broken(f"frame {number + 1} of {self.name} is broken ({_said(error)})", on_broken)
                number, broken = number + 1, broken + 1
            for frame in decoded:
                pts = due if frame.pts is None else frame.pts
                due, number = pts + step, number + 1
                size = size or (frame.width, frame.height)
                flaw = _flaw(frame, size)
                if flaw:
                    subject = f"frame {number} of {self.name}, at {float(pts * self.time_base):.2f} s,"
                    self._broken(f"{subject} {flaw}", on_broken)
                    broken += 1
                    continue
                yield Frame(_pixels(frame, self.bit_depth), pts, getattr(frame, "duration", 0) or step)
        if number == broken:
            raise BrokenFrameError(f"{self.name} has no frame that can be decoded; export it again")
        if self._counted and self.stream.frames > number:  # an edit list may hide some, so this is no error
            what = "%s says that it has %d frames, but %d were decoded: it may be cut off"
            log.log(self._level, what, self.name, self.stream.frames, number)

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
            raise BrokenFrameError(f"{what}. Export the clip again, or have broken frames skipped")
        log.log(self._level, "%s; skipped", what)


class ClipWriter:
    """A clip being written; a context manager. The first frame opens the file and sets the size of all frames.

    Args:
        path: its suffix chooses the container, see :data:`EXTENSIONS`.
        like: the clip it is made from, whose times, pixel shape, bit depth and sound it gets.
        lossless: FFV1 instead of H.264 (VP9 in WebM), which needs ``.mkv``; frames of 16 bits are always lossless.
        sound: whether sound is going to be written, see :meth:`copy`.

    Raises:
        ValueError: a lossless clip with another suffix.
        ImportError: PyAV is not installed.
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
        self._timed = self.path.suffix.lower() != ".avi"  # AVI has no times, only a rate
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
        try:
            if kind is None:
                self._encode(None)
        finally:
            self._container.close()

    def write(self, pixels: Tensor, pts: int, duration: int) -> None:
        """Add a frame.

        Args:
            pixels: ``[H, W, C]`` in [0, 1].
            pts: when it is shown, in the time base of the clip it is made from.
            duration: for how long it is shown, in the same time base.

        Raises:
            ValueError: this PyAV has no encoder for the clip; found with the first frame.
        """
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
            if packet.pts in self._durations:  # the last frame needs it: no other follows
                packet.duration = self._durations.pop(packet.pts)
            self._container.mux(packet)

    def copy(self, packet: av.Packet) -> None:
        """Add a packet of the sound, unchanged."""
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
        except (av.error.FFmpegError, ValueError) as error:
            raise ValueError(f"{self.path}: this PyAV cannot encode {self._codec} ({_said(error)})") from error
        self._video.width, self._video.height = width, height
        if self._lossless:
            self._video.pix_fmt = "gray16le" if like.bit_depth == 16 else "gray"
        else:  # players expect yuv420p, which needs even sides
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


def _flaw(frame: av.VideoFrame, size: tuple[int, int]) -> str | None:
    """What is wrong with a decoded frame of a clip whose frames have this width and height, if anything."""
    if frame.is_corrupt:
        return "is broken (parts of it are missing)"
    if (frame.width, frame.height) != size:
        return f"is {frame.width}×{frame.height}, those before {size[0]}×{size[1]}"
    return None


def _pixels(frame: av.VideoFrame, bit_depth: int) -> Tensor:
    """Grey, upright, ``[H, W, 1]``."""
    counts = frame.to_ndarray(format="gray16le" if bit_depth == 16 else "gray")
    if frame.rotation % 90 == 0:
        counts = np.rot90(counts, frame.rotation // 90)
    return torch.from_numpy(counts.astype(np.float32) / (65535 if bit_depth == 16 else 255))[..., None]


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
