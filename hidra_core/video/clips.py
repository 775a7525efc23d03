"""Clips read with PyAV, one frame at a time: frames become grey, their times are kept, sound is handed on."""

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

from .damage import Damage, time_of
from .depth import counts_of, stored_bits, upright

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

_DOUBLED = {(256, 384), (160, 240), (384, 576), (640, 1024)}
"""Width and height of what USB cameras send as YUYV: a picture, and below it as many rows of 16-bit counts."""


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
        quiet: do not warn about frames that are skipped, for passes over a clip that is read again.
        palette: turn the colours of this palette, one of :data:`~hidra_core.names.PALETTES`, back to grey of 8 bits.

    Attributes:
        rate: frames per second, on average.
        time_base: unit of the frames' times, in seconds.
        frame_count: frames that the file says it has, or an estimate from its duration; None if it says neither.
        bits: of the frames that :meth:`frames` gives: 8, or as many as the file stores above that, up to 16.
        bit_depth: 8, or 16 where there are more than 8 bits.
        is_grey: the file holds no colour.
        is_doubled: a picture with counts in the lower half of each frame, as some USB cameras send it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a readable clip, one without a video stream, or one of numbers that are no counts.
        ImportError: PyAV is not installed.
    """

    def __init__(
        self, source: str | PathLike | io.BufferedIOBase, *, quiet: bool = False, palette: str | None = None
    ) -> None:
        self._av = import_av()
        self._level = logging.DEBUG if quiet else logging.WARNING
        self.name = fspath(source) if isinstance(source, str | PathLike) else "the clip"
        if isinstance(source, str | PathLike) and not Path(source).is_file():
            raise FileNotFoundError(f"no clip {self.name}; check the spelling and the folder")
        try:
            self.container = self._av.open(fspath(source) if isinstance(source, str | PathLike) else source)
        except self._av.error.FFmpegError as error:
            raise ValueError(
                f"{self.name} cannot be read as a clip ({said(error)}). It may be truncated, or of an unknown kind: "
                "copy or export it again"
            ) from error
        if not self.container.streams.video:
            kinds = ", ".join(sorted({stream.type for stream in self.container.streams})) or "nothing"
            self.container.close()
            raise ValueError(f"{self.name} has no video stream, only {kinds}; choose a clip with frames")
        self.stream = self.container.streams.video[0]
        context = self.stream.codec_context
        if context is None:
            self.container.close()
            raise ValueError(
                f"{self.name} cannot be read as a clip: this PyAV does not know how its frames are compressed. It may "
                "be damaged, or of an unknown kind: copy or export it again"
            )
        self.rate = Fraction(self.stream.average_rate or self.stream.guessed_rate or 25)
        self.time_base = Fraction(self.stream.time_base or 1 / self.rate)
        self.frame_count = self._count()
        self._counted = "mp4" in self.container.format.name  # elsewhere it is an estimate, or counts repetitions
        self._palette = palette
        self.bits = 8 if palette is not None else self._stored_bits()
        self.bit_depth = 8 if self.bits == 8 else 16
        layout = context.format.name if context.format else ""
        self.is_grey = layout.startswith(("gray", "mono"))
        self.is_doubled = layout in ("yuyv422", "uyvy422") and (context.width, context.height) in _DOUBLED
        self.sample_aspect_ratio = context.sample_aspect_ratio
        self.color_range = context.color_range

    def __enter__(self) -> ClipReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.container.close()

    def _stored_bits(self) -> int:
        layout = self.stream.codec_context.format
        try:
            return stored_bits(layout) if layout else 8
        except ValueError as error:
            self.container.close()
            raise ValueError(f"{self.name} cannot be read as a clip of counts: {error}") from error

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
        for frame, pts, duration in self._usable(on_broken, on_sound):
            yield Frame(self._pixels(frame), pts, duration)

    def colours(self, count: int, every: int = 1) -> list[np.ndarray]:
        """Frames from the beginning in colour, to judge what their colours mean; of a freshly opened clip.

        Args:
            count: the largest number of frames.
            every: take only each frame of this distance.

        Returns:
            uint8 ``[H, W, 3]`` each, fewer where the clip ends or cannot be decoded.
        """
        found: list[np.ndarray] = []
        try:
            for index, (frame, _, _) in enumerate(self._usable("skip", None)):
                if index % every == 0:
                    found.append(frame.to_ndarray(format="rgb24"))
                if len(found) == count:
                    break
        except BrokenFrameError:
            pass  # whoever reads the frames is told
        return found

    def _usable(
        self, on_broken: OnBroken, on_sound: Callable[[av.Packet], None] | None
    ) -> Iterator[tuple[av.VideoFrame, int, int]]:
        """(decoded frame, time, duration) of all frames that can be used."""
        streams = [self.stream, *(self.container.streams.audio if on_sound is not None else ())]
        step = max(1, round(1 / (self.rate * self.time_base)))
        number, broken, due, end, gap, kind = 0, 0, 0, 0, step, None
        damage = Damage(self.stream.codec_context.name)
        for packet, error in self._packets(streams):
            if error is None and packet.stream is not self.stream:
                if on_sound is not None and packet.dts is not None:
                    on_sound(packet)
                continue
            if error is None:
                damage.look_at(packet)
                self._tell_of_gap(packet)
            decoded, error = ((), error) if error is not None else self._decoded(packet)
            if error is not None:
                self._broken(f"frame {number + 1} of {self.name} is broken ({said(error)})", on_broken)
                number, broken = number + 1, broken + 1
            for frame in decoded:
                pts = due if frame.pts is None else frame.pts
                gap = max(gap, pts - due + step if number else 0)
                due, end, number = pts + step, pts + max(getattr(frame, "duration", 0), step), number + 1
                kind = kind or self._kind(frame)
                flaw = self._flaw(frame, kind, damage)
                if flaw:
                    subject = f"frame {number} of {self.name}, at {float(pts * self.time_base):.2f} s,"
                    self._broken(f"{subject} {flaw}", on_broken)
                    broken += 1
                    continue
                yield frame, pts, getattr(frame, "duration", 0) or step
        if number == broken:
            raise BrokenFrameError(f"{self.name} has no frame that can be decoded; export it again")
        self._check_end(number, end, gap)

    def _tell_of_gap(self, packet: av.Packet) -> None:
        """Warn where the container says that data are missing: before a packet, in it, or behind it.

        This is no error: where recordings were joined it looks the same, and nothing is missing.
        """
        time = time_of(packet)
        if packet.is_corrupt and time is not None:
            what = "%s: data are missing around %.2f s. Frames there may show what was there before; look at them"
            log.log(self._level, what, self.name, float(time * self.time_base))

    def _check_end(self, number: int, end: int, gap: int) -> None:
        """Warn if the file says that it has more; an edit list may hide frames, so this is no error."""
        advice = "it is cut off; copy or export it again for the rest"
        if self._counted:
            if self.stream.frames > number:
                what = "%s says that it has %d frames, but %d were decoded: %s"
                log.log(self._level, what, self.name, self.stream.frames, number, advice)
            return
        stated = self._stated_end()
        if stated is not None and stated - end * self.time_base > 1.5 * gap * self.time_base:
            what = "%s says that it lasts %.2f s, but its frames end after %.2f s: %s"
            log.log(self._level, what, self.name, float(stated), float(end * self.time_base), advice)

    def _stated_end(self) -> Fraction | None:
        """When the frames end, in seconds, as Matroska and AVI files say at their beginning."""
        kind = self.container.format.name
        if "avi" in kind:
            return None if self.stream.duration is None else self.stream.duration * self.time_base
        if "matroska" not in kind:
            return None
        parts = self.stream.metadata.get("DURATION", "").split(":")
        try:
            hours, minutes, seconds = (Fraction(part) for part in parts)
            return 3600 * hours + 60 * minutes + seconds
        except ValueError:  # no such entry
            whole = self.container.duration if len(self.container.streams) == 1 else None
            return None if whole is None else Fraction(whole, self._av.time_base)

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

    def _kind(self, frame: av.VideoFrame) -> tuple[int, int, str]:
        """What all frames have in common: width, height and, where counts are read as stored, the pixel format."""
        return frame.width, frame.height, frame.format.name if self.bit_depth == 16 else ""

    def _flaw(self, frame: av.VideoFrame, kind: tuple[int, int, str], damage: Damage) -> str | None:
        """What is wrong with a decoded frame of a clip whose frames are of this kind, if anything."""
        if frame.is_corrupt:
            return "is broken (parts of it are missing)"
        if damage.is_in(frame):
            return "is broken (data of it, or of one that it is built on, were changed)"
        width, height, layout = self._kind(frame)
        if (width, height) != kind[:2]:
            return f"is {width}×{height}, those before {kind[0]}×{kind[1]}"
        return f"is {layout}, those before {kind[2]}" if layout != kind[2] else None

    def _pixels(self, frame: av.VideoFrame) -> Tensor:
        """Grey, upright, ``[H, W, 1]`` float32 in [0, 1]."""
        if self._palette is not None:
            from ..images.palettes import grey_of_levels  # SciPy is slow to import

            grey = grey_of_levels(upright(frame.to_ndarray(format="rgb24"), frame), self._palette)
        else:
            grey = counts_of(frame).astype(np.float32) / (2**self.bits - 1)
        return torch.from_numpy(np.ascontiguousarray(grey))[..., None]

    def _broken(self, what: str, on_broken: OnBroken) -> None:
        if on_broken == "stop":
            raise BrokenFrameError(f"{what}. Export the clip again, or have broken frames skipped")
        log.log(self._level, "%s; skipped", what)


def said(error: Exception) -> str:
    """What an error of PyAV says, without its number and file."""
    return getattr(error, "strerror", None) or str(error)
