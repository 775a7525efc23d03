"""The frames of one camera as the numbers that its files hold, for finding what its sensor adds to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..images import to_grey
from ..images.search import check_entry
from .clip import ClipSource
from .counts import CountsSource
from .opening import open_source
from .picture import PictureSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ..sensor import Unit
    from .base import Source
    from .reading import Reading

_MAKE, _MODEL = 271, 272  # EXIF tags


def unit_of(source: Source) -> Unit:
    """What the numbers of a file's planes mean: counts, or grey levels where they have 8 bits."""
    if isinstance(source, CountsSource):
        return "grey levels" if source.image.display or source.image.counts.dtype == np.uint8 else "counts"
    return "grey levels" if source.bit_depth == 8 else "counts"


def camera_of(source: Source) -> str:
    """Make and model of the camera as the file states them; empty if it does not."""
    if isinstance(source, CountsSource):
        return source.image.camera
    if not isinstance(source, PictureSource) or not source.picture.exif:
        return ""
    tags = Image.Exif()
    tags.load(source.picture.exif)
    words = (str(tags.get(tag, "")).strip("\0 ") for tag in (_MAKE, _MODEL))
    return " ".join(word for word in words if word)


def planes_of(source: Source) -> Iterator[np.ndarray]:
    """The frames of a file, ``[H, W]`` each: counts or grey levels 0 to 255; NaN where a pixel is no scene.

    Raises:
        ValueError: colours of 16 bits, which are no counts.
    """
    if isinstance(source, CountsSource):
        valid = source.image.valid
        for page in range(len(source.image.counts)):
            plane = source.image.counts[page]
            yield plane if valid is None or valid[page].all() else np.where(valid[page], plane, np.nan)
    elif isinstance(source, ClipSource):
        yield from source.planes()
    elif source.bit_depth == 8:
        for page in source.pages():
            yield np.rint(to_grey(page[None])[0, 0].numpy() * 255)
    else:
        raise ValueError(f"{source.path} holds colours of 16 bits, which are no counts of a sensor; leave it out")


class CameraFrames:
    """The frames of some files in order, read anew in each iteration, one at a time.

    Args:
        files: image files, files of counts or clips, of one camera.
        reading: how to read them.
        after_file: called with the number of files done in this iteration; may raise to stop.

    Attributes:
        unit: of the frames, see :func:`unit_of`.
        camera: make and model as the first file states them; empty if it does not.

    Raises:
        OSError: the first file cannot be read.
        ValueError: the same; names it, what is wrong and the remedy.
        ImportError: it needs an optional package; names it.
    """

    def __init__(
        self, files: Sequence[Path], reading: Reading | None = None, after_file: Callable[[int], None] | None = None
    ) -> None:
        self._files, self._reading, self._after_file = list(files), reading, after_file
        first = self._open(self._files[0])
        self.unit: Unit = unit_of(first)
        self.camera = camera_of(first)

    def _open(self, path: Path) -> Source:
        check_entry(path)
        return open_source(path, self._reading)

    def __iter__(self) -> Iterator[np.ndarray]:
        """The frames; see :func:`planes_of`.

        Raises:
            OSError: a file cannot be read.
            ValueError: the same; or a file is of another camera, size or unit than the first.
        """
        size: tuple[int, ...] | None = None
        for number, path in enumerate(self._files, 1):
            source = self._open(path)
            self._check(source)
            for plane in planes_of(source):
                if size is not None and plane.shape != size:
                    own, other = (f"{shape[1]}x{shape[0]}" for shape in (size, plane.shape))
                    raise ValueError(
                        f"{path} has frames of {other}, and {self._files[0]} of {own}: a profile is of one sensor. "
                        "Leave out the files of other sizes"
                    )
                size = plane.shape
                yield plane
            if self._after_file is not None:
                self._after_file(number)

    def _check(self, source: Source) -> None:
        if unit_of(source) != self.unit:
            raise ValueError(
                f"{source.path} is in {unit_of(source)}, and {self._files[0]} in {self.unit}: give files of one kind"
            )
        camera = camera_of(source)
        if camera and self.camera and camera != self.camera:
            raise ValueError(
                f"{source.path} is of a {camera}, and {self._files[0]} of a {self.camera}: a profile is of one camera. "
                "Leave out the files of others"
            )
