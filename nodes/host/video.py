"""The host's VIDEO type: frames streamed from it without loading all of them, and back into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from comfy_api.input import VideoInput
from comfy_api.input_impl import VideoFromComponents, VideoFromFile
from comfy_api.util import VideoComponents
from torch import Tensor

from ...hidra_core.sources import ClipSource
from .files import temporary_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...hidra_core.video import OnBroken


class FileVideo:
    """A VIDEO that lies in a file, or in the bytes of one: a few frames at a time are in memory.

    Args:
        video: a VIDEO for which :func:`is_file` holds.
        on_broken: see :meth:`~hidra_core.video.clips.ClipReader.frames`.
    """

    def __init__(self, video: VideoInput, on_broken: OnBroken) -> None:
        self._clip = ClipSource(video.get_stream_source, on_broken=on_broken, deep=False)
        self.frame_count = self._clip.page_count

    def samples(self, count: int) -> list[Tensor]:
        """At most ``count`` frames spread over the clip."""
        return self._clip.samples(count)

    def enhanced(self, enhance: Callable[[Iterator[Tensor]], Iterator[Tensor]]) -> VideoInput:
        """The VIDEO of what a function makes of the frames, in a temporary file, with the sound of this one."""
        path = temporary_file(".mp4")
        self._clip.rewrite(path, enhance)
        return VideoFromFile(str(path))


class LoadedVideo:
    """A VIDEO whose frames are in memory already, such as Create Video's; the result is one, too."""

    def __init__(self, video: VideoInput) -> None:
        self._components = video.get_components()
        self.frame_count: int | None = len(self._components.images)

    def samples(self, count: int) -> list[Tensor]:
        images = self._components.images
        return list(images[:: max(1, -(-len(images) // count))])

    def enhanced(self, enhance: Callable[[Iterator[Tensor]], Iterator[Tensor]]) -> VideoInput:
        parts = self._components
        images = torch.stack(list(enhance(iter(parts.images))))
        return VideoFromComponents(VideoComponents(images=images, audio=parts.audio, frame_rate=parts.frame_rate))


def open_video(video: Any, on_broken: OnBroken) -> FileVideo | LoadedVideo:
    """A VIDEO to stream from, or the frames that it holds."""
    return FileVideo(video, on_broken) if is_file(video) else LoadedVideo(video)


def is_file(video: VideoInput) -> bool:
    """Whether the whole of this VIDEO can be read from a file."""
    trimmed = getattr(video, "get_active_trim_window", lambda: (0.0, 0.0))()  # newer hosts cut without writing
    streams = type(video).get_stream_source is not VideoInput.get_stream_source
    return streams and not any(trimmed) and not isinstance(video, VideoFromComponents)
