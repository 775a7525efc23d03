"""A batch of images in memory, such as a node graph hands on, for the sensor stage and the calibration of a camera."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..images import check_images
from ..sensor import steady
from ..thermal.masking import fill
from .frames import camera_of, planes_of, unit_of
from .pixels import grey_of, with_grey
from .undone import LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from ..sensor import CameraProfile, SensorCorrection, SensorStage, Undone, Unit
    from .counts import CountsSource


@dataclass(frozen=True)
class Corrected:
    """An image that went through the sensor stage.

    Attributes:
        image: ``[H, W, C]`` in [0, 1], what the networks restore; the given one where nothing was found.
        judged: the same as the DEM judges it, see :meth:`Source.given`.
        found: what was taken off; None where its colours are no grey, so that it was left alone.
    """

    image: Tensor
    judged: Tensor
    found: SensorCorrection | None


class ImageBatch:
    """Images that are seen in grey levels, or in the counts that they were made from.

    Iterated, it gives its frames as :func:`~hidra_core.sensor.calibrate` takes them, ``[H, W]`` each and NaN where a
    pixel is no scene: the whole pages of the file, else grey levels; again in each iteration.

    Args:
        images: ``[N, H, W, C]`` in [0, 1].
        file: the file whose pages the images were made from; None: they are grey levels.

    Attributes:
        unit: of the numbers.
        camera: make and model as the file states them; empty if it does not.

    Raises:
        ValueError: no images, or they are not those of the file.
    """

    def __init__(self, images: Tensor, file: CountsSource | None = None) -> None:
        self._images = check_images(images)
        self._file = file
        self.unit: Unit = LEVELS if file is None else unit_of(file)
        self.camera = "" if file is None else camera_of(file)
        if file is None:
            return
        (height, width), pages = file.scene.shape, len(file.image.counts)
        own = (len(self), *self._images[0].shape[:2])
        if own != (pages, height, width):
            raise ValueError(
                f"{own[0]} images of {own[2]}x{own[1]} were given for {file.path}, which has {pages} of "
                f"{width}x{height}: give the images that were made from it, before they are cut or enlarged"
            )

    def __len__(self) -> int:
        """Number of images."""
        return len(self._images)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole frames."""
        height, width = self._images[0].shape[:2] if self._file is None else self._file.image.counts.shape[1:]
        return width, height

    def check(self, profile: CameraProfile) -> None:
        """Raise ValueError unless a profile is of frames of this size, camera and unit."""
        if profile.unit == "counts" and self._file is None:
            raise ValueError(
                "the camera profile is in counts, and images alone have grey levels: give the file too that the images "
                "were made from, or calibrate with images"
            )
        profile.check(self.size, self.camera, self.unit)

    def __iter__(self) -> Iterator[np.ndarray]:
        """The frames.

        Raises:
            ValueError: an image has colours that are no grey.
        """
        return self._levels() if self._file is None else planes_of(self._file)

    def _levels(self) -> Iterator[np.ndarray]:
        for number, image in enumerate(self._images, 1):
            seen = grey_of(image.cpu().double().numpy())
            if seen is None:
                raise ValueError(
                    f"image {number} of {len(self)} has colours that are no grey, and so no levels of a sensor: give "
                    "grey images, or turn their palette back into greys first"
                )
            grey, valid = seen
            grey = grey.astype(np.float32)  # from 64 bits: values of 8-bit pictures become whole levels again
            yield grey if valid is None else np.where(valid, grey, np.float32(np.nan))

    def undone(self, stage: SensorStage, *, in_order: bool = False) -> Iterator[Corrected]:
        """Take off every image what the sensor did to it.

        Args:
            stage: what is undone; its profile was checked.
            in_order: the images are frames of a sequence: what is found in one is what those around it agree on.
        """
        greys: deque[np.ndarray | None] = deque()

        def each() -> Iterator[Undone | None]:
            for page, image in enumerate(self._images):
                seen = grey_of(image.cpu().float().numpy())
                greys.append(None if seen is None else seen[0])
                yield None if seen is None else self._undone(page, *seen, stage)

        for image, undone in zip(self._images, steady(each()) if in_order else each(), strict=True):
            grey = greys.popleft()
            if undone is None or grey is None:
                yield Corrected(image, image, None)
            else:
                yield self._corrected(image, grey, undone)

    def _corrected(self, image: Tensor, grey: np.ndarray, undone: Undone) -> Corrected:
        """An image with grey levels ``grey`` after the stage."""
        found, mapping = undone.correction, None if self._file is None else self._file.mapping

        def changed(numbers: np.ndarray) -> Tensor:
            after = numbers if mapping is None else mapping.to_values(numbers).numpy() * 255
            return torch.from_numpy(with_grey(image.cpu().float().numpy(), grey, after, undone.valid)).clamp(0, 1)

        if found.is_empty:
            return Corrected(image, image, found)
        if found.shading is None:
            return Corrected(changed(undone.image), image, found)
        given = grey if mapping is None else mapping.to_counts(grey / 255)
        return Corrected(changed(undone.image), changed(given - found.shading), found)

    def _undone(self, page: int, grey: np.ndarray, valid: np.ndarray | None, stage: SensorStage) -> Undone:
        if self._file is None:
            return stage.undo(grey, valid)
        mapping, scene = self._file.mapping, self._file.scene
        part = (scene.rows, scene.columns)
        known = None if scene.image.valid is None else scene.image.valid[page].copy()
        # a profile is of whole frames
        plane = scene.image.counts[page].astype(np.float64)
        plane = plane if known is None or known.all() else fill(plane, known)
        plane[part] = mapping.to_counts(grey / 255)
        if valid is not None:
            known = np.ones(plane.shape, bool) if known is None else known
            known[part] &= valid
        return stage.undo(plane, known, (mapping.counts[-1] - mapping.counts[0]) / 255, part)
