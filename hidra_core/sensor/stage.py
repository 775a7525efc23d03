"""The sensor stage as files go through it: a camera's profile first, then what a single frame shows."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from .frame import SensorCorrection, SensorSettings, undo_sensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np


class Profile(Protocol):
    """What the stage needs of a camera's profile."""

    def check(self, size: tuple[int, int], camera: str, unit: Literal["counts", "grey levels"]) -> None:
        """Raise ValueError unless it is of frames of this size (width and height), camera and unit."""
        ...

    def undo(
        self, image: np.ndarray, valid: np.ndarray | None = None, level: float = 1.0
    ) -> tuple[np.ndarray, SensorCorrection]:
        """A frame without the pattern of the camera, and what was taken off."""
        ...


@dataclass(frozen=True, eq=False)
class Undone:
    """A frame that went through the stage.

    Attributes:
        image: ``[H, W]``, the frame without what was found; the frame itself where nothing was.
        base: ``[H, W]``, the frame after the camera's profile, before what was found in this frame.
        camera: what the profile took off; None without a profile.
        frame: what was found in this frame.
        valid: ``[H, W]`` bool: the pixels that are scene; None: all.
    """

    image: np.ndarray
    base: np.ndarray
    camera: SensorCorrection | None
    frame: SensorCorrection
    valid: np.ndarray | None = None

    @property
    def correction(self) -> SensorCorrection:
        """Both as one, for reports."""
        return self.frame if self.camera is None else joined(self.camera, self.frame)

    def with_frame(self, correction: SensorCorrection) -> Undone:
        """The same frame with another correction in place of its own, which neighbouring frames agree on."""
        return replace(self, image=correction.apply(self.base, self.valid), frame=correction)


@dataclass(frozen=True)
class SensorStage:
    """What is undone before any network sees a page.

    A profile knows each pixel's offset and gain, which a single frame cannot tell from the scene; so it goes first, and
    what is found in the frame is what drifted since. Its shading is the scene's then: the profile has the sensor's.

    Attributes:
        settings: what may be undone in a single frame.
        camera: the profile of the camera that took the frames, or None.
        name: the file of the profile, for messages and metadata.
    """

    settings: SensorSettings = field(default_factory=SensorSettings)
    camera: Profile | None = None
    name: str = ""

    @property
    def frame_settings(self) -> SensorSettings:
        """The settings for what the profile leaves."""
        if self.camera is None or self.settings.shading != "auto":
            return self.settings
        return replace(self.settings, shading="off")

    def check(self, path: Path, shape: tuple[int, int], camera: str, unit: Literal["counts", "grey levels"]) -> None:
        """Check the profile before any work.

        Args:
            path: the file whose frames are to be undone.
            shape: their height and width.
            camera: that took them, empty if the file does not say.
            unit: of their values.

        Raises:
            ValueError: the profile is of another size, camera or unit.
        """
        if self.camera is None:
            return
        height, width = shape
        try:
            self.camera.check((width, height), camera, unit)
        except ValueError as error:
            raise ValueError(f"{path}: {error} (profile {self.name})") from error

    def undo(
        self,
        image: np.ndarray,
        valid: np.ndarray | None = None,
        level: float = 1.0,
        part: tuple[slice, slice] | None = None,
    ) -> Undone:
        """Undo what the sensor did to a frame.

        Args:
            image: ``[H, W]`` numbers in any unit.
            valid: see :func:`undo_sensor`.
            level: see :func:`undo_sensor`.
            part: rows and columns of the frame that hold its scene, which alone are returned; None: all. A profile is
                of whole frames.

        Raises:
            ValueError: see :func:`undo_sensor`.
        """
        base, known = image, None
        if self.camera is not None:
            base, known = self.camera.undo(image, valid, level)
        if part is not None:
            base, known = base[part], None if known is None else cut(known, *part)
            valid = None if valid is None or valid[part].all() else valid[part]
        result, found = undo_sensor(base, self.frame_settings, valid=valid, level=level)
        return Undone(result, base, known, found, valid)

    def to_dict(self) -> dict[str, Any]:
        """What it may undo, in plain JSON types, for the metadata of results."""
        return {**vars(self.frame_settings), **({} if self.camera is None else {"camera": self.name})}


def cut(correction: SensorCorrection, rows: slice, columns: slice) -> SensorCorrection:
    """The correction of a part of a frame."""
    places = {
        **dict.fromkeys(("dead", "gain", "shading", "pattern"), (rows, columns)),
        **dict.fromkeys(("columns", "column_gains"), (columns,)),
        **dict.fromkeys(("rows", "row_gains"), (rows,)),
    }
    parts = {name: getattr(correction, name) for name in places}
    return replace(correction, **{name: None if part is None else part[places[name]] for name, part in parts.items()})


def joined(first: SensorCorrection, second: SensorCorrection) -> SensorCorrection:
    """Two corrections that were made one after the other as one that has the sizes of both, for reports."""

    def both(name: str, operation: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray | None:
        one, other = getattr(first, name), getattr(second, name)
        return other if one is None else one if other is None else operation(one, other)

    return replace(
        second,
        dead=first.dead | second.dead,
        columns=first.columns + second.columns,
        rows=first.rows + second.rows,
        **{name: both(name, operator.mul) for name in ("column_gains", "row_gains", "gain")},
        **{name: both(name, operator.add) for name in ("shading", "pattern")},
    )
