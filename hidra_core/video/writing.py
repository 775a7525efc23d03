"""Clips written with PyAV, one frame at a time, with the times of another clip's frames and its sound.

A written clip also keeps the size of the frames, the shape of their pixels, and more than 8 bits. It is compressed
anew, with settings of its own.
"""

from __future__ import annotations

import logging
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..images import to_grey
from .clips import LOSSLESS_EXTENSION, ClipReader, import_av, said
from .depth import frame_of, lossless_layout

if TYPE_CHECKING:
    from types import TracebackType

    import av
    from torch import Tensor

log = logging.getLogger(__name__)

_LOSSLESS = ("ffv1", {"level": "3", "slicecrc": "1"})
_H264 = ("libx264", {"crf": "14", "preset": "medium"})
# H.264 in AVI cannot reorder frames; VP9 has no default quality
_ENCODERS = {
    ".avi": (_H264[0], _H264[1] | {"bf": "0"}),
    ".webm": ("libvpx-vp9", {"crf": "18", "b:v": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}),
}


class ClipWriter:
    """A clip being written; a context manager. The first frame opens the file and sets the size of all frames.

    Args:
        path: its suffix chooses the container, see :data:`EXTENSIONS`.
        like: the clip it is made from, whose times, pixel shape, bits and sound it gets.
        lossless: FFV1 instead of H.264 (VP9 in WebM), which needs ``.mkv``; more than 8 bits are always lossless.
        sound: whether sound is going to be written, see :meth:`copy`.
        bits: of a pixel; None: those of ``like``. 8 makes a clip to look at of one that has more.

    Raises:
        ValueError: a lossless clip with another suffix.
        ImportError: PyAV is not installed.
    """

    def __init__(
        self,
        path: str | PathLike,
        like: ClipReader,
        *,
        lossless: bool = False,
        sound: bool = True,
        bits: int | None = None,
    ) -> None:
        self._av = import_av()
        self.path = Path(path)
        self.like = like
        self._bits = like.bits if bits is None else bits
        lossless = lossless or self._bits > 8
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
        self._layout = ""

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
        counts = (grey.double() * (2**self._bits - 1)).round().to(torch.int32).numpy()
        frame = frame_of(counts.astype("u1" if self._bits == 8 else "u2"), self._layout, self._av)
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
            raise ValueError(f"{self.path}: this PyAV cannot encode {self._codec} ({said(error)})") from error
        self._video.width, self._video.height = width, height
        self._layout = "gray"
        if self._lossless:
            self._layout = self._video.pix_fmt = lossless_layout(self._bits, av)
            if self._bits > 8:  # the counts keep the meaning that players gave them
                self._video.codec_context.color_range = like.color_range
                if self._layout == "gray16le" and self._bits < 16:
                    log.info("%s: FFV1 has no %d bits here; its counts are kept in gray16le", self.path, self._bits)
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
                log.warning("%s: its sound cannot be copied (%s) and is left out", like.name, said(error))
        waiting, self._waiting = self._waiting, []
        for packet in waiting:
            self.copy(packet)
