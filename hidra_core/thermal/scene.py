"""Which part of stored frames is scene, said by hand: a crop, rows of telemetry, half of a doubled frame."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

Plane = Literal["upper", "lower"]


@dataclass(frozen=True)
class SceneRegion:
    """The part of stored frames that is scene, as the user says it; for files of any format.

    The half is taken first. Crop and telemetry both count from the corner of what it leaves; rows of telemetry that lie
    outside the crop are gone like the rest.

    Attributes:
        crop: (left, top, width, height) in pixels: the result is this part alone. None: all of it.
        telemetry: rows at the top and at the bottom that are no picture: given back unchanged. None: nothing is said,
            and readers may recognise them; (0, 0): there are none.
        plane: the half of frames of doubled height that is the result. None: frames as they are, or as recognised.

    Raises:
        ValueError: a negative number, an empty crop, or an unknown half.
    """

    crop: tuple[int, int, int, int] | None = None
    telemetry: tuple[int, int] | None = None
    plane: Plane | None = None

    def __post_init__(self) -> None:
        if self.crop is not None and not (len(self.crop) == 4 and min(self.crop) >= 0 and min(self.crop[2:]) >= 1):
            raise ValueError(f"a crop must be left, top (from 0 up), width and height (from 1 up), got {self.crop}")
        if self.telemetry is not None and not (len(self.telemetry) == 2 and min(self.telemetry) >= 0):
            raise ValueError(f"rows of telemetry must be numbers from 0 up at the top and below, got {self.telemetry}")
        if self.plane is not None and self.plane not in get_args(Plane):
            raise ValueError(f"the half of a doubled frame must be upper or lower, got '{self.plane}'")

    def window(self, size: tuple[int, int], path: Path) -> tuple[slice, slice]:
        """Rows and columns of the stored frame that the result consists of: ``frame[region.window(size, path)]``.

        Args:
            size: (height, width) of the stored frame.
            path: the file, for messages.

        Raises:
            ValueError: the crop is not inside the frame, or a half is asked of an odd number of rows.
        """
        top, height = self._half(size[0], path)
        left, width = 0, size[1]
        if self.crop is not None:
            across, down, crop_width, crop_height = self.crop
            if across + crop_width > width or down + crop_height > height:
                raise ValueError(
                    f"{path}: a crop of {crop_width}x{crop_height} from column {across}, row {down} is not inside its "
                    f"{'half-' if self.plane else ''}frames of {width}x{height}; give a smaller --crop"
                )
            left, top, width, height = left + across, top + down, crop_width, crop_height
        return slice(top, top + height), slice(left, left + width)

    def scene_rows(self, size: tuple[int, int], path: Path) -> slice:
        """The rows of the result that are picture; those above and below are telemetry.

        Args:
            size: (height, width) of the stored frame.
            path: the file, for messages.

        Raises:
            ValueError: as :meth:`window`; or telemetry leaves no row of picture.
        """
        rows, _ = self.window(size, path)
        start, height = self._half(size[0], path)
        above, below = self.telemetry or (0, 0)
        top = max(start + above, rows.start)
        bottom = min(start + height - below, rows.stop)
        if top >= bottom:
            raise ValueError(
                f"{path}: {above} rows of telemetry at the top and {below} at the bottom leave no picture of its "
                f"frames of {size[1]}x{size[0]}; give fewer rows (--telemetry TOP,BOTTOM)"
            )
        return slice(top - rows.start, bottom - rows.start)

    def cut(self, frame: np.ndarray, path: Path) -> np.ndarray:
        """The part of a stored frame ``[H, W, …]`` that is the result, as a view.

        Args:
            frame: a stored frame of any type.
            path: the file, for messages.

        Raises:
            ValueError: see :meth:`window`.
        """
        return frame[self.window((frame.shape[0], frame.shape[1]), path)]

    def _half(self, height: int, path: Path) -> tuple[int, int]:
        """(first row, number of rows) of the half of a frame of ``height`` rows, or of all of it."""
        if self.plane is None:
            return 0, height
        if height % 2:
            raise ValueError(
                f"{path}: its frames have {height} rows, an odd number, and so no halves; leave --plane out, or say "
                "which part is meant by --crop LEFT,TOP,WIDTHxHEIGHT"
            )
        return (0 if self.plane == "upper" else height // 2), height // 2


def parse_crop(text: str) -> tuple[int, int, int, int]:
    """(left, top, width, height) from a text such as ``16,8,320x240``.

    Raises:
        ValueError: anything else, or nothing left.
    """
    stated = re.fullmatch(r"\s*(\d{1,6})\s*,\s*(\d{1,6})\s*,\s*(\d{1,6})\s*[xX×]\s*(\d{1,6})\s*", text, re.ASCII)
    if not stated or not (int(stated[3]) and int(stated[4])):
        raise ValueError(f"expected LEFT,TOP,WIDTHxHEIGHT in pixels such as 16,8,320x240, got '{text}'")
    return int(stated[1]), int(stated[2]), int(stated[3]), int(stated[4])


def parse_telemetry(text: str) -> tuple[int, int]:
    """(rows at the top, rows at the bottom) from a text such as ``0,2``.

    Raises:
        ValueError: anything else.
    """
    stated = re.fullmatch(r"\s*(\d{1,5})\s*,\s*(\d{1,5})\s*", text, re.ASCII)
    if not stated:
        raise ValueError(f"expected TOP,BOTTOM in rows such as 0,2, got '{text}'")
    return int(stated[1]), int(stated[2])


def parse_plane(text: str) -> Plane:
    """``upper`` or ``lower``, in letters of any case.

    Raises:
        ValueError: anything else.
    """
    word = text.strip().lower()
    if word == "upper":
        return "upper"
    if word == "lower":
        return "lower"
    raise ValueError(f"expected upper or lower, got '{text}'")
