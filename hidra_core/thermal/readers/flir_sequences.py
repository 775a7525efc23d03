"""FLIR's sequences (.seq, and .csq with compressed planes): frames of the FFF format one after the other.

Where a frame ends is read from its own directory; FFF's magic may occur in a plane by chance. Only where a directory
leads to no other frame, because bytes are missing or were added, is the next frame searched for.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ..frames import Frames
from .flir_planes import GEOMETRY, Geometry, decode, read_geometry
from .flir_records import (
    CAMERA_INFO,
    HEADER,
    MAGICS,
    RAW_DATA,
    Camera,
    DamagedError,
    Directory,
    damaged,
    read_camera,
    read_directory,
)
from .planes import smoother

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

log = logging.getLogger(__name__)

_FRAMES_FOR_ORDER = 5
_TRIES_FOR_ORDER = 25  # frames that are blank, as while the shutter is closed, tell nothing
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Sequence:
    """The frames of an FFF file, of which a sequence has several.

    Attributes:
        frames: counts ``[N, H, W]`` uint16, read one at a time.
        times: when each frame was taken, in the camera's time zone; None where it is not stated.
        encoding: how the counts are stored, in words.
        camera: model, Planck constants and parameters of the first frame. The Planck constants are those of all.
        valid: (left, top, width, height) of the pixels that are scene, where the camera marks others as its own;
            None where all are.
    """

    frames: Frames
    times: tuple[datetime | None, ...]
    encoding: str
    camera: Camera
    valid: tuple[int, int, int, int] | None


def read_sequence(path: Path, open_file: Callable[[], BinaryIO] | None = None) -> Sequence:
    """Find the frames of an FFF, SEQ or CSQ file. Their counts are read when they are asked for.

    Damaged frames are left out with a warning that names them, and so are bytes between frames. A frame whose plane
    turns out to be damaged raises ValueError when it is read.

    Args:
        path: the file.
        open_file: opens its content instead, where it is in memory.

    Raises:
        OSError: the file cannot be read.
        ValueError: no frame is whole, none holds counts, or frames differ in size or in their Planck constants.
        ImportError: the planes need an optional package.
    """
    open_file = open_file or (lambda: path.open("rb"))
    with open_file() as file:
        directories = _find_frames(file, path)
        geometry, camera, times = _check_alike(file, directories, path)

    def read_plane(index: int) -> tuple[np.ndarray, str]:
        with open_file() as opened:
            record = directories[index].read(opened, RAW_DATA)
        try:
            return decode(record, path)
        except DamagedError as error:
            raise damaged(path, f"{f'frame {index + 1}: ' if len(directories) > 1 else ''}{error}") from error

    swapped = _bytes_are_swapped(read_plane, len(directories))
    if geometry.valid is not None:
        left, top, width, height = geometry.valid
        log.warning(
            "%s: the camera marks only %d×%d pixels from column %d and row %d on as scene; the others are its own",
            *(path, width, height, left, top),
        )

    def read_counts(index: int) -> np.ndarray:
        plane, _ = read_plane(index)
        return plane.byteswap() if swapped else plane

    return Sequence(
        Frames(read_counts, (len(directories), geometry.height, geometry.width), np.dtype(np.uint16)),
        tuple(times),
        f"{read_plane(0)[1]}{', bytes swapped' if swapped else ''}",
        camera,
        geometry.valid,
    )


def _find_frames(file: BinaryIO, path: Path) -> list[Directory]:
    """The directories of the whole frames with counts; says which frames are left out."""
    size = file.seek(0, 2)
    found: list[Directory] = []
    cut: list[int] = []
    start = number = stray = 0
    while start < size:
        number += 1
        try:
            here = read_directory(file, start, size)
        except DamagedError as error:  # only of the first: the others were tried when they were found
            raise damaged(path, error) from error
        lands = here.end == size or _is_frame(file, here.end, size)
        following = here.end if lands else _search(file, start + HEADER, size)
        if here.fits(following):
            found.append(here)
            stray += max(following - here.end, 0)
        else:
            cut.append(number)
        start = following
    if not found:
        raise damaged(path, "one of its FLIR records is cut off")
    if cut:
        log.warning("%s: frame %s cut off and left out; %d frames are read", path, _and(cut), len(found))
    if stray:
        log.warning(
            "%s: %d bytes between or after its frames belong to none and are passed over; %d frames are read",
            *(path, stray, len(found)),
        )
    with_counts = [directory for directory in found if RAW_DATA in directory.records]
    if not with_counts:
        raise ValueError(f"{path} is a FLIR file without raw counts; export the frame as 16-bit TIFF")
    if len(with_counts) < len(found):
        log.warning("%s: %d frames without counts are left out", path, len(found) - len(with_counts))
    return with_counts


def _is_frame(file: BinaryIO, start: int, size: int) -> bool:
    try:
        records = read_directory(file, start, size).records
    except DamagedError:
        return False
    return bool(records)  # a header alone may be there by chance


def _search(file: BinaryIO, start: int, size: int) -> int:
    """Where the next frame begins at or after ``start``; the end of the file if there is none."""
    overlap = len(MAGICS[0]) - 1
    while start < size:
        file.seek(start)
        block = file.read(_BLOCK + overlap)
        places = sorted(place for magic in MAGICS for place in _occurrences(block, magic))
        for place in places:
            if _is_frame(file, start + place, size):
                return start + place
        start += _BLOCK
    return size


def _occurrences(block: bytes, magic: bytes) -> list[int]:
    places = []
    at = block.find(magic)
    while at >= 0:
        places.append(at)
        at = block.find(magic, at + 1)
    return places


def _and(numbers: list[int]) -> str:
    """``3 is``, ``3 and 7 are``, ``3, 7, 9 and 12 more are``."""
    named = [str(number) for number in numbers[:3]]
    last = f"{len(numbers) - 3} more" if len(numbers) > 3 else named.pop()
    return f"{', '.join(named)} and {last} are" if named else f"{last} is"


def _check_alike(
    file: BinaryIO, directories: list[Directory], path: Path
) -> tuple[Geometry, Camera, list[datetime | None]]:
    """(plane and camera of the first frame, times of all), of frames of one size and with one curve to temperatures."""
    first: tuple[Geometry, Camera] | None = None
    times: list[datetime | None] = []
    changed: int | None = None
    for number, directory in enumerate(directories, 1):
        try:
            geometry = read_geometry(directory.read(file, RAW_DATA, GEOMETRY))
        except DamagedError as error:
            raise damaged(path, f"{f'frame {number}: ' if len(directories) > 1 else ''}{error}") from error
        camera = read_camera(directory.read(file, CAMERA_INFO))
        times.append(camera.time)
        first = first or (geometry, camera)
        size, expected = ((plane.width, plane.height) for plane in (geometry, first[0]))
        if size != expected:
            raise ValueError(
                f"{path}: frame {number} has {size[0]}x{size[1]} pixels, those before it {expected[0]}x{expected[1]}; "
                "a sequence has frames of one size: split it into one file for each size"
            )
        if CAMERA_INFO in directory.records and camera.planck != first[1].planck:
            raise ValueError(
                f"{path}: the Planck constants change at frame {number}, as when the camera's temperature range is "
                "changed, so that equal counts mean other temperatures before and after; split it into one file for "
                "each range"
            )
        if changed is None and camera.parameters and camera.parameters != first[1].parameters:
            changed = number
    if changed is not None:
        log.warning(
            "%s: emissivity, distance or the like change at frame %d; those of the first frame are used", path, changed
        )
    assert first is not None  # there is a frame
    return *first, times


def _bytes_are_swapped(read_plane: Callable[[int], tuple[np.ndarray, str]], count: int) -> bool:
    """Whether neighbouring pixels differ less with swapped bytes, over several frames that are not blank."""
    tries = np.unique(np.linspace(0, count - 1, min(count, _TRIES_FOR_ORDER)).round().astype(int))
    spread = [int(index) for start in range(_FRAMES_FOR_ORDER) for index in tries[start::_FRAMES_FOR_ORDER]]
    planes: list[np.ndarray] = []
    for index in spread:
        plane, _ = read_plane(index)
        if plane.min() < plane.max():
            planes.append(plane)
        if len(planes) == _FRAMES_FOR_ORDER:
            break
    return bool(planes) and smoother(np.concatenate(planes))[1]
