"""The host's VIDEO type: frames streamed from it without loading all of them, and back into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from comfy_api.input import VideoInput
from comfy_api.input_impl import VideoFromComponents, VideoFromFile
from comfy_api.util import VideoComponents
from torch import Tensor

from ...hidra_core.images.false_colour import FalseColourError, check_colours, turn_back
from ...hidra_core.sources import ClipSource
from .files import temporary_file
from .saving import output_name, output_stem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ...hidra_core.video import OnBroken


class FileVideo:
    """A VIDEO that lies in a file, or in the bytes of one: a few frames at a time are in memory.

    Args:
        video: a VIDEO for which :func:`is_file` holds.
        on_broken: see :meth:`~hidra_core.video.clips.ClipReader.frames`.
        palette: see :func:`open_video`.

    Attributes:
        frame_count: see :class:`~hidra_core.video.ClipReader`.
        notes: what the user should know about the result, a sentence each.
        saved: files in the output folder.
    """

    def __init__(self, video: VideoInput, on_broken: OnBroken, palette: str | None) -> None:
        self.notes: list[str] = []
        self.saved: list[Path] = []
        source = video.get_stream_source
        try:
            self._clip = ClipSource(source, on_broken=on_broken, palette=palette)
        except FalseColourError as error:
            self.notes.append(_warning(error.finding))
            self._clip = ClipSource(source, on_broken=on_broken, as_is=True)
        self.frame_count = self._clip.page_count

    def samples(self, count: int) -> list[Tensor]:
        """At most ``count`` frames spread over the clip."""
        return self._clip.samples(count)

    def enhanced(self, enhance: Callable[[Iterator[Tensor]], Iterator[Tensor]]) -> VideoInput:
        """The VIDEO of what a function makes of the frames, in a temporary file, with the sound of this one.

        Of more than 8 bits it is a view, stretched to the range of the clip: the host and browsers know no other. The
        counts are written to the output folder.
        """
        path = temporary_file(".mp4")
        if self._clip.bit_depth == 8:
            self._clip.rewrite(path, enhance)
            return VideoFromFile(str(path))
        stem = output_stem("video/HiDRA")
        counts = stem.with_name(f"{stem.name}.mkv")
        self._clip.rewrite(counts, enhance)
        low, high = self._clip.write_view(counts, path)
        self.notes.append(
            f"The video has {self._clip.bits} bits: the VIDEO shows its counts {low} to {high} in 8 bits; the enhanced "
            f"counts are in the output folder: {output_name(counts)}"
        )
        self.saved.append(counts)
        return VideoFromFile(str(path))


class LoadedVideo:
    """A VIDEO whose frames are in memory already, such as Create Video's; the result is one, too.

    Args:
        video: any VIDEO.
        palette: see :func:`open_video`.

    Attributes:
        frame_count: number of frames.
        notes: what the user should know about the result, a sentence each.
        saved: files in the output folder.
    """

    def __init__(self, video: VideoInput, palette: str | None) -> None:
        self._components = video.get_components()
        self.frame_count: int | None = len(self._components.images)
        self.notes: list[str] = []
        self.saved: list[Path] = []
        judged = self._components.images[:60:10, ..., :3].float().cpu().numpy()
        self._palette = None
        if palette is not None:
            inverse = turn_back(np.concatenate(judged), palette, "the video")
            self._palette = None if inverse is None else inverse.palette
            return
        try:
            check_colours(judged, "the video")
        except FalseColourError as error:
            self.notes.append(_warning(error.finding))

    def samples(self, count: int) -> list[Tensor]:
        """At most ``count`` frames spread over the video."""
        images = self._components.images
        return [self._grey(image) for image in images[:: max(1, -(-len(images) // count))]]

    def enhanced(self, enhance: Callable[[Iterator[Tensor]], Iterator[Tensor]]) -> VideoInput:
        """The VIDEO of what a function makes of the frames, with the sound of this one."""
        parts = self._components
        images = torch.stack(list(enhance(self._grey(image) for image in parts.images)))
        return VideoFromComponents(VideoComponents(images=images, audio=parts.audio, frame_rate=parts.frame_rate))

    def _grey(self, image: Tensor) -> Tensor:
        """A frame ``[H, W, C]`` with the colours of the palette turned back, if there is one."""
        if self._palette is None:
            return image
        from ...hidra_core.images.palettes import grey_of_levels  # SciPy is slow to import

        levels = (image[..., :3].float().cpu() * 255).round().to(torch.uint8).numpy()
        return torch.from_numpy(grey_of_levels(levels, self._palette))[..., None].expand(-1, -1, 3)


def open_video(video: Any, on_broken: OnBroken, palette: str | None) -> FileVideo | LoadedVideo:
    """A VIDEO to stream from, or the frames that it holds.

    Args:
        video: from the host.
        on_broken: see :meth:`~hidra_core.video.clips.ClipReader.frames`.
        palette: turn its colours back to grey, see :class:`~hidra_core.sources.Reading`; None takes their brightness,
            with a note where it is not the temperature.
    """
    return FileVideo(video, on_broken, palette) if is_file(video) else LoadedVideo(video, palette)


def _warning(finding: str) -> str:
    return f"Warning: {finding}. Its brightness was enhanced; to turn the colours back to grey, set palette to auto."


def is_file(video: VideoInput) -> bool:
    """Whether the whole of this VIDEO can be read from a file."""
    trimmed = getattr(video, "get_active_trim_window", lambda: (0.0, 0.0))()  # newer hosts cut without writing
    streams = type(video).get_stream_source is not VideoInput.get_stream_source
    return streams and not any(trimmed) and not isinstance(video, VideoFromComponents)
