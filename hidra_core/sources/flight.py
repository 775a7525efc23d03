"""Files that are the frames of one flight: read together, so that they share one mapping and one level."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image

from ..sensor.flights import FEWEST, Levelling, level_flight
from ..sensor.overlaps import small_frame
from ..thermal import Mapping, RadiometricChain, Scene, ThermalImage, rounded
from ..thermal.frames import Frames
from .counts import CountsSource
from .opening import open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ..sensor.overlaps import SmallFrame
    from .reading import Reading

_ORIGINAL, _PARTS = 0x9003, 0x9291  # DateTimeOriginal, SubSecTimeOriginal (Exif 2.31)


@dataclass(frozen=True, eq=False)
class Flight:
    """What the frames of a flight share, and what is taken off each.

    Attributes:
        mapping: from the levelled counts of all frames to the range of the networks; None while it is not known, and
            each frame has its own.
        offsets: in counts, by file; whole numbers where counts are. Files that are not in it are left as they are.
    """

    mapping: Mapping | None
    offsets: dict[Path, float]

    def levelled(self, image: ThermalImage) -> ThermalImage:
        """A frame with its offset taken off; pixels that are no scene stay."""
        offset = self.offsets.get(image.path, 0.0)
        if not offset:
            return image
        counts = np.asarray(image.counts)
        lower = counts.astype(np.float64) - offset
        plane = rounded(lower, counts.dtype)
        valid = np.ones(counts.shape, bool) if image.valid is None else np.asarray(image.valid)
        if counts.dtype.kind != "f" and (np.abs(plane - lower) > 0.5)[valid].any():
            words = "some pixels would leave the range of its counts when the offset of the flight is taken off; they "
            image = replace(image, warnings=(*image.warnings, words + "are put at its end"))
        return replace(image, counts=np.where(valid, plane, counts))


@dataclass(frozen=True, eq=False)
class FlightReport:
    """How the frames of a flight were levelled.

    Attributes:
        files: the frames, in the order in which they were taken.
        times: when they were taken; None where one of them does not say, and their names give the order.
        levelling: of the frames, in counts.
        offsets: what is taken off each, in counts: of whole numbers the nearest.
        mapping: from the levelled counts of all frames to the range of the networks.
        kelvin: the size of one count at the level of the flight, or None.
        unreadable: files that could not be read, with the error; they have no part in it.
    """

    files: tuple[Path, ...]
    times: tuple[datetime, ...] | None
    levelling: Levelling
    offsets: tuple[float, ...]
    mapping: Mapping
    kelvin: float | None
    unreadable: tuple[tuple[Path, Exception], ...]


@dataclass(frozen=True, eq=False)
class _Frame:
    """What is kept of a file once it was read."""

    path: Path
    like: ThermalImage  # its first page
    small: SmallFrame
    time: datetime | None

    @property
    def sort_key(self) -> list[int | str]:
        """Names with their numbers in the order of counting."""
        parts = re.split(r"(\d+)", str(self.path))
        return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def read_flight(
    paths: Sequence[Path], reading: Reading, after_file: Callable[[int], None] | None = None
) -> tuple[Reading, FlightReport]:
    """Read the frames of a flight, and find their offsets and the mapping that they share.

    Args:
        paths: one file for each frame, in any order.
        reading: how to read them.
        after_file: called with the number of files that have been read, which are all read twice; may raise to stop.

    Returns:
        (how to read them so that each is levelled and mapped like the others; what was found)

    Raises:
        ValueError: fewer than three frames; files with several pages, of different cameras, sizes or relations of
            counts to kelvin; names the files and the remedy.
    """
    alone = replace(reading, as_counts=True, flight=Flight(None, {}))
    done = count(1)

    def opened(path: Path) -> CountsSource:
        source = open_source(path, alone)
        if after_file is not None:
            after_file(next(done))
        assert isinstance(source, CountsSource)  # all that is read as counts is one
        return source

    frames, unreadable = _look(paths, opened)
    known = [frame.time for frame in frames if frame.time is not None]
    times = tuple(sorted(known)) if len(known) == len(frames) else None
    frames.sort(key=lambda frame: (frame.time if times else 0, frame.sort_key))
    seconds = [(time - times[0]).total_seconds() for time in times] if times and times[-1] > times[0] else None
    levelling = level_flight((frame.small for frame in frames), seconds)
    like = frames[0].like
    whole = like.counts.dtype.kind != "f"
    offsets = [float(round(offset)) if whole else offset for offset in levelling.offsets.tolist()]
    mapping = alone.fit(_whole(frames, offsets, opened))
    flight = Flight(mapping, dict(zip((frame.path for frame in frames), offsets, strict=True)))
    middle = float(np.median([np.median(frame.small.level[frame.small.valid]) for frame in frames]))
    around = None if like.relation is None else like.relation.kelvin(np.array([middle - 0.5, middle + 0.5]))
    report = FlightReport(
        tuple(frame.path for frame in frames),
        times,
        levelling,
        tuple(offsets),
        mapping,
        None if around is None else float(around[1] - around[0]),
        tuple(unreadable),
    )
    return replace(alone, flight=flight), report


def _look(
    paths: Sequence[Path], opened: Callable[[Path], CountsSource]
) -> tuple[list[_Frame], list[tuple[Path, Exception]]]:
    """(the frames that can be read, the other files with their errors)."""
    frames: list[_Frame] = []
    unreadable: list[tuple[Path, Exception]] = []
    for path in paths:
        try:
            source = opened(path)
            plane = _undone(source)
        except (OSError, ValueError, ImportError) as error:
            unreadable.append((path, error))
            continue
        image = source.image
        if len(image.counts) > 1:
            raise ValueError(
                f"{path} has {len(image.counts)} pages, which have one mapping already, and a flight is taken from "
                "files of one frame each: leave --flight out"
            )
        if frames:
            _check_alike(frames[0].like, image)
        valid = None if image.valid is None else image.valid[0]
        small = small_frame(plane, valid)
        nothing = Frames(lambda _: np.zeros(0), image.counts.shape, image.counts.dtype)
        frames.append(_Frame(path, replace(image, counts=nothing), small, time_of(image)))
    if len(frames) < FEWEST:
        why = f" ({unreadable[0][1]})" if unreadable else ""
        raise ValueError(
            f"a flight has at least {FEWEST} frames, and {len(frames)} of the {len(paths)} files can be read as "
            f"one{why}: leave --flight out, and every file is enhanced by itself"
        )
    return frames, unreadable


def _check_alike(first: ThermalImage, image: ThermalImage) -> None:
    """Refuse a frame that is not from the camera and setting of the first one."""

    def constants(image: ThermalImage) -> object:
        relation = image.relation
        return relation.planck if isinstance(relation, RadiometricChain) else relation

    aspects = {
        "size": [f"{one.counts.shape[2]}×{one.counts.shape[1]}" for one in (first, image)],
        "camera": [one.camera or "unknown" for one in (first, image)],
        "type of counts": [str(one.counts.dtype) for one in (first, image)],
        "relation of counts to kelvin": [constants(one) or "unknown" for one in (first, image)],
    }
    for aspect, (one, other) in aspects.items():
        if one != other:
            raise ValueError(
                f"{first.path} and {image.path} are not of one flight: their {aspect} is {one} and {other}; enhance "
                "the files of each camera and setting separately"
            )


def time_of(image: ThermalImage) -> datetime | None:
    """When the first page was taken, as the file states it; None where it does not, or not in a way that is known."""
    if image.times and image.times[0] is not None:
        return image.times[0].replace(tzinfo=None)
    exif = Image.Exif()
    exif.load(image.metadata.exif)
    entries = exif.get_ifd(ExifTags.IFD.Exif)
    text, parts = entries.get(_ORIGINAL) or exif.get(ExifTags.Base.DateTime), entries.get(_PARTS)
    try:
        return datetime.strptime(f"{str(text).strip()}.{str(parts or 0).strip()[:6]}", "%Y:%m:%d %H:%M:%S.%f")
    except ValueError:
        return None


def _undone(source: CountsSource) -> np.ndarray:
    """The whole first page, ``[H, W]``, after the sensor stage where that runs."""
    plane = source.image.counts[0]
    if source.undone is None or len(source.image.counts) > 1:
        return plane
    plane = plane.astype(np.float64)
    plane[source.scene.rows, source.scene.columns] = source.undone.counts(0)
    return plane


def _whole(frames: list[_Frame], offsets: list[float], opened: Callable[[Path], CountsSource]) -> Scene:
    """All frames as the pages of one scene, undone and levelled, each read when it is asked for."""
    like = frames[0].like
    shape, kind = (len(frames), like.counts.shape[1], like.counts.shape[2]), like.counts.dtype

    def levelled(index: int) -> np.ndarray:
        return rounded(_undone(opened(frames[index].path)).astype(np.float64) - offsets[index], kind)

    counts = Frames(levelled, shape, kind)
    masks = [frame.like.valid for frame in frames]

    def mask(index: int) -> np.ndarray:
        planes = masks[index]
        return np.ones(shape[1:], bool) if planes is None else planes[0]

    valid = None if all(planes is None for planes in masks) else Frames(mask, shape, bool)
    return Scene.of(replace(like, counts=counts, valid=valid, alpha=None, times=()))
