"""Clips: frames streamed from a video file and into another, with their times and sound."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..images import to_grey
from ..images.blend import enlarged
from ..images.false_colour import check_colours, turn_back
from ..images.files import atomic_path
from ..sensor import steady
from ..thermal import Mapping
from ..thermal.readers.planes import is_swapped
from ..thermal.readers.telemetry import described, recognise
from ..video import EXTENSIONS, ClipReader, ClipWriter, clip_range, spread
from .base import Beside, Change, Enhance, Source
from .undone import COUNTS, LEVELS, Findings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from os import PathLike

    from av import Packet
    from torch import Tensor

    from ..sensor import SensorStage, Undone
    from ..video import Frame, OnBroken

log = logging.getLogger(__name__)

_JUDGED, _APART = 6, 10  # frames whose colours are judged, and how many frames lie between them


class ClipSource(Source):
    """A clip; only a few frames of it are in memory at a time.

    Clips of more than 8 bits are mapped from the range of all their frames, and brought back to their counts. Rows of
    telemetry in them are no pages' part, and are given back unchanged.

    Args:
        source: the file; or a function that returns a source for :class:`~hidra_core.video.ClipReader`, called anew
            for every pass over the clip.
        on_broken: what to do about a frame that cannot be decoded, see :meth:`~hidra_core.video.ClipReader.frames`.
        lossless: write FFV1 in ``.mkv`` instead of H.264; frames of more than 8 bits always are.
        palette: see :class:`~hidra_core.sources.Reading`; ``auto`` is found out once, from frames of the beginning.
        as_is: see :class:`~hidra_core.sources.Reading`.
        sensor: see :class:`~hidra_core.sources.Reading`; frames take what most of those around them show, so that
            nothing flickers.

    Raises:
        FileNotFoundError: no such file.
        FalseColourError: in false colours, with neither ``palette`` nor ``as_is``.
        ValueError: not a readable clip, colours of another palette, frames of doubled height, or a profile of another
            camera.
        ImportError: PyAV is not installed.
    """

    def __init__(
        self,
        source: str | PathLike | Callable[[], Any],
        *,
        on_broken: OnBroken = "stop",
        lossless: bool = False,
        palette: str | None = None,
        as_is: bool = False,
        sensor: SensorStage | None = None,
    ) -> None:
        self._source = source
        self._on_broken: OnBroken = on_broken
        self._lossless = lossless
        self._palette: str | None = None
        self._mapping: Mapping | None = None
        with self._open(quiet=True) as reader:
            self.path = Path(reader.name)
            if reader.is_doubled and not as_is:
                raise ValueError(
                    f"{self.path}: the lower half of its frames, {reader.stream.width}x{reader.stream.height} YUYV, is "
                    "most likely no picture but 16-bit counts. Save them as raw frames and use these: "
                    "ffmpeg -i CLIP -map 0:v -c copy -f rawvideo FRAMES.raw"
                )
            self._palette = _palette(reader, palette, as_is)
        self._rows = slice(None)  # of a frame that are scene; the others are telemetry
        with self._open(quiet=True) as reader:
            self.bits, self.bit_depth = reader.bits, reader.bit_depth
            self.page_count = reader.frame_count
            if reader.bit_depth == 16:
                self._rows = _scene_rows(reader, as_is)
        self._sensor = sensor
        if sensor is not None:
            self._check(sensor)

    def pages(self) -> Iterator[Tensor]:
        """See :meth:`Source.pages`."""
        mapping = self._fitted()
        with self._open(quiet=True) as reader:
            for _, scene in self._after_stage(reader.frames(on_broken=self._on_broken), mapping):
                yield self._values(scene, mapping)

    def given(self) -> Iterator[Tensor]:
        """See :meth:`Source.given`; the clip is decoded for them anew."""
        mapping = self._fitted()
        with self._open(quiet=True) as reader:
            for frame in reader.frames(on_broken=self._on_broken):
                yield self._values(self._plane(frame.pixels, mapping), mapping)

    def planes(self) -> Iterator[np.ndarray]:
        """The scene of every frame, ``[H, W]``, in the numbers of the file: counts, or grey levels 0 to 255."""
        with self._open(quiet=True) as reader:
            for frame in reader.frames(on_broken=self._on_broken):
                yield self._counts(to_grey(self._scene(frame.pixels)[None])[0, 0])

    def samples(self, count: int) -> list[Tensor]:
        """See :meth:`Source.samples`; the whole clip is decoded to find them."""
        mapping = self._fitted()
        with self._open(quiet=True) as reader:
            frames = spread(reader, count, self._on_broken)
        return [self._values(self._plane(frame, mapping), mapping) for frame in frames]

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
        mapping = self._fitted()
        for path in (output, *beside.paths):
            path.parent.mkdir(parents=True, exist_ok=True)
        if self.findings is not None:
            self.findings.clear()
        pending: deque[tuple[Frame, np.ndarray, list[Packet]]] = deque()
        sound: list[Packet] = []  # until the next frame; frames may be read in another thread, one writes the clip
        with ExitStack() as stack:
            target = stack.enter_context(atomic_path(output))
            compare = None if beside.compare is None else stack.enter_context(atomic_path(beside.compare))
            reader = stack.enter_context(self._open())
            writer = stack.enter_context(ClipWriter(target, reader, lossless=self._lossless))
            pair = None
            if compare is not None:
                pair = stack.enter_context(ClipWriter(compare, reader, lossless=self._lossless, sound=False))

            def frames() -> Iterator[Tensor]:
                stored = reader.frames(on_broken=self._on_broken, on_sound=sound.append)
                for frame, scene in self._after_stage(stored, mapping, self.findings if change.blend else None):
                    pending.append((frame, scene, sound[:]))
                    sound.clear()
                    yield self._values(scene, mapping)

            count, incoming = 0, frames()
            results = stack.enter_context(_closing(enhance(incoming)))
            for count, enhanced in enumerate(results, 1):
                if not pending:
                    raise ValueError(f"{count} enhanced frames for {count - 1} frames of {self.path}")
                frame, scene, before_it = pending.popleft()
                for packet in before_it:
                    writer.copy(packet)
                before = self._values(self._plane(frame.pixels, mapping), mapping)
                after = enhanced if change.is_whole else change.apply(before, enhanced).clamp(0, 1)
                if pair is not None:
                    pair.write(_side_by_side(before, after), frame.pts, frame.duration)
                if mapping is not None:
                    after = self._brought_back(enhanced, frame.pixels, scene, mapping, change)
                writer.write(after, frame.pts, frame.duration)
            if pending or next(incoming, None) is not None:
                raise ValueError(f"{count} enhanced frames, fewer than {self.path} has")
            for packet in sound:
                writer.copy(packet)

    def write_view(self, result: Path, output: Path) -> tuple[int, int]:
        """Write what :meth:`rewrite` made of a clip of more than 8 bits in 8 bits too, to look at.

        Args:
            result: the file that :meth:`rewrite` wrote, of the same size or enlarged.
            output: the file to write; it gets the times and the sound of this clip.

        Returns:
            The counts that are shown as black and white: the range of this clip.
        """
        mapping = self._fitted()
        first, last = (0, 255) if mapping is None else (round(mapping.counts[0]), round(mapping.counts[-1]))
        with (
            atomic_path(output) as target,
            self._open(quiet=True) as reader,
            ClipReader(result, quiet=True) as enhanced,
            ClipWriter(target, reader, bits=8) as writer,
        ):
            frames = reader.frames(on_broken=self._on_broken, on_sound=writer.copy)
            for frame, new in zip(frames, enhanced.frames(), strict=True):
                factor = new.pixels.shape[0] // frame.pixels.shape[0]
                shown = self._scene(new.pixels, factor)
                view = shown if mapping is None else mapping.to_values(self._counts(shown))
                writer.write(view, frame.pts, frame.duration)
        return first, last

    def _open(self, quiet: bool = False) -> ClipReader:
        source = self._source() if callable(self._source) else self._source
        return ClipReader(source, quiet=quiet, palette=self._palette)

    def _fitted(self) -> Mapping | None:
        """From the counts of the whole clip to the range of the networks, found once; None for 8 bits, as they are."""
        if self._mapping is None and self.bit_depth == 16:
            with self._open(quiet=True) as reader:
                low, high = (round(limit * self._full) for limit in clip_range(reader, self._on_broken, self._rows))
            if high == low:  # a flat scene: in the middle of a band wide enough for its noise not to be blown up
                low, high = low - 127.5, high + 127.5
            self._mapping = Mapping("linear", {"low": low, "high": high}, (low, high), (0.0, 1.0))
        return self._mapping

    @property
    def _full(self) -> int:
        return 2**self.bits - 1

    def _check(self, stage: SensorStage) -> None:
        """Raise ValueError where the profile of the stage is not for the frames of this clip."""
        with self._open(quiet=True) as reader:
            frame = next(iter(reader.frames(on_broken="skip")))
        unit = LEVELS if self.bit_depth == 8 else COUNTS
        height, width = self._scene(frame.pixels).shape[:2]
        stage.check(self.path, (height, width), "", unit)
        self.findings = Findings(unit, "frames")

    def _plane(self, pixels: Tensor, mapping: Mapping | None) -> np.ndarray:
        """The scene of stored pixels ``[H, W, 1]`` as ``[h, w]``: in [0, 1] of 8 bits, else counts."""
        return pixels[..., 0].numpy() if mapping is None else self._counts(self._scene(pixels))[..., 0]

    def _values(self, scene: np.ndarray, mapping: Mapping | None) -> Tensor:
        """The same as the networks see it, ``[h, w, 1]``."""
        return (torch.from_numpy(scene) if mapping is None else mapping.to_values(scene))[..., None]

    def _undone(self, stage: SensorStage, scene: np.ndarray, mapping: Mapping | None) -> Undone:
        """What :meth:`_plane` gives after the stage, which sees grey levels of 255 or counts."""
        if mapping is None:
            return stage.undo(scene * np.float32(255))
        return stage.undo(scene, None, (mapping.counts[-1] - mapping.counts[0]) / 255)

    def _result(self, undone: Undone | None, scene: np.ndarray, mapping: Mapping | None) -> np.ndarray:
        """The scene after the stage, as :meth:`_plane` gives it; the same one where nothing was found."""
        if undone is None or undone.correction.is_empty:
            return scene
        return (undone.image / 255).clip(0, 1).astype(np.float32) if mapping is None else undone.image

    def _after_stage(
        self, frames: Iterator[Frame], mapping: Mapping | None, findings: Findings | None = None
    ) -> Iterator[tuple[Frame, np.ndarray]]:
        """(frame, its scene after the sensor stage); without one its scene. Some frames are read ahead."""
        if self._sensor is None:
            yield from ((frame, self._plane(frame.pixels, mapping)) for frame in frames)
            return
        stage = self._sensor
        read: deque[tuple[Frame, np.ndarray]] = deque()

        def each() -> Iterator[Undone | None]:
            for frame in frames:
                scene = self._plane(frame.pixels, mapping)
                read.append((frame, scene))
                is_blank = scene.min() == scene.max()  # a closed shutter
                yield None if is_blank else self._undone(stage, scene, mapping)

        for undone in steady(each()):
            frame, scene = read.popleft()
            if findings is not None and undone is not None:
                findings.add(undone.correction)
            yield frame, self._result(undone, scene, mapping)

    def _scene(self, pixels: Tensor, factor: int = 1) -> Tensor:
        """The rows of stored pixels ``[k·H, k·W, 1]`` that are scene."""
        first, last, _ = self._rows.indices(pixels.shape[0] // factor)
        return pixels[first * factor : last * factor]

    def _brought_back(
        self, enhanced: Tensor, pixels: Tensor, scene: np.ndarray, mapping: Mapping, change: Change
    ) -> Tensor:
        """An enhanced frame as counts to store; counts that nothing changed come back exactly, those clipped too.

        Args:
            enhanced: ``[k·h, k·w, C]`` in [0, 1].
            pixels: the stored frame.
            scene: the counts that the enhanced frame was made from.
            mapping: of the clip.
            change: how much of the change the result gets.
        """
        stored = self._plane(pixels, mapping)
        factor = enhanced.shape[0] // stored.shape[0]
        whole = pixels.double().repeat_interleave(factor, 0).repeat_interleave(factor, 1)
        if stored.min() == stored.max():  # a closed shutter: what the networks make of it is no scene
            return whole
        restored = torch.from_numpy(mapping.restore(to_grey(enhanced[None])[:, 0].cpu().float(), scene[None])[0])
        if not change.is_whole:  # the share of the change alone, so that 32-bit arithmetic does not round the counts
            before = enlarged(torch.from_numpy(stored)[..., None], factor)
            share = change.apply(torch.zeros_like(before), restored[..., None] - before)
            restored = (before + share.double())[..., 0]
        self._scene(whole, factor)[:] = (restored.round() / self._full)[..., None]
        return whole

    def _counts(self, pixels: Tensor) -> np.ndarray:
        return np.rint(pixels.double().numpy() * self._full)


def _closing(frames: Iterator[Tensor]) -> AbstractContextManager[Iterator[Tensor]]:
    """Ends whatever still makes frames, before the clip that they are made of is closed."""
    return closing(frames) if isinstance(frames, Generator) else nullcontext(frames)


def _palette(reader: ClipReader, palette: str | None, as_is: bool) -> str | None:
    """The palette whose colours are turned back to grey in every frame, if any."""
    if palette is None and (as_is or reader.is_grey):
        return None
    frames = reader.colours(_JUDGED, every=_APART)
    if not frames:  # whoever reads the frames is told why
        return None
    if palette is None:
        check_colours(frames, reader.name)
        return None
    step = -(-max(frames[0].shape) // 256)  # a part of the pixels decides
    few = np.concatenate([frame[::step, ::step] for frame in frames]).astype(np.float32) / 255
    inverse = turn_back(few, palette, reader.name)
    if inverse is not None and reader.bits > 8 and reader.is_grey:
        raise ValueError(f"{reader.name} holds counts of {reader.bits} bits, not the colours of '{inverse.palette}'")
    return None if inverse is None else inverse.palette


def _scene_rows(reader: ClipReader, as_is: bool) -> slice:
    """The rows of the frames of a clip of more than 8 bits that are scene; what was recognised is logged.

    Raises:
        ValueError: the upper half of the frames is a picture to look at.
    """
    full = 2**reader.bits - 1
    frames = [
        np.rint(frame.pixels[..., 0].double().numpy() * full).astype(np.uint16)
        for index, frame in zip(range(_JUDGED * _APART), reader.frames(on_broken="skip"), strict=False)
        if index % _APART == 0
    ]
    if is_swapped(frames):
        log.warning(
            "%s: its counts look as if their bytes were in the wrong order, and are read as its format says; write the "
            "clip anew in the right order",
            reader.name,
        )
    found = recognise(frames)
    if found is None:
        return slice(None)
    layout, rows = found
    if layout.picture and as_is:
        return slice(None)
    if layout.picture:
        raise ValueError(
            f"{reader.name}: {described(layout, rows)}, and the others are counts. Save the frames as raw or TIFF "
            "frames and use these, or leave the upper half out: ffmpeg -i CLIP -vf crop=iw:"
            f"{rows.stop - rows.start}:0:{rows.start} -c:v ffv1 COUNTS.mkv"
        )
    log.warning("%s: %s; they are left out of the range and given back unchanged", reader.name, described(layout, rows))
    return rows


def _side_by_side(before: Tensor, after: Tensor) -> Tensor:
    height, width = after.shape[:2]
    enlarged = torch.nn.functional.interpolate(before.movedim(-1, 0)[None], (height, width))
    return torch.cat([enlarged[0].movedim(0, -1), after], dim=1)
