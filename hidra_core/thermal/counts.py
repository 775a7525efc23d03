"""Counts of a thermal camera with what is known about them.

Counts are the numbers that the sensor's electronics deliver, 8 or 16 bits per pixel; some files hold temperatures
instead, as floating-point numbers, and they are treated alike. The relation of counts to kelvin is known in one of two
ways: a linear relation (cameras in "TLinear" mode, 0.04 or 0.01 K per count; files of temperatures), or the Planck
constants that FLIR cameras write with their counts. Where it is inferred from the counts, that is said.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .frames import Frames, Planes, derived, row_bands, rows_of

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from ..images import Metadata
    from .radiometry import RadiometricChain

COUNT_TYPES = tuple(np.dtype(name) for name in ("uint8", "uint16", "int16", "int32", "uint32", "float32", "float64"))
"""Types that counts may have."""

_RESOLUTION = 0.01  # kelvin: what a step of a floating-point temperature counts as


@dataclass(frozen=True)
class LinearKelvin:
    """``kelvin = scale · count + offset``, for cameras in TLinear mode.

    Attributes:
        scale: kelvin per count, for instance 0.04 or 0.01.
        offset: kelvin at count 0.
    """

    scale: float
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0 and np.isfinite(self.offset)):
            raise ValueError(
                f"kelvin per count must be a positive number and its offset a number, got {self.scale} and "
                f"{self.offset}; cameras in TLinear mode have 0.04, 0.01 or 0.1"
            )

    def kelvin(self, counts: np.ndarray) -> np.ndarray:
        """Temperature of counts of any shape, float64."""
        return np.asarray(counts, dtype=np.float64) * self.scale + self.offset


@dataclass(frozen=True)
class Planck:
    """``kelvin = b / ln(r1 / (r2 · (count + o)) + f)``: FLIR's curve from counts to apparent temperature.

    Apparent: of a black body seen through no air; emissivity, reflections and the atmosphere are not corrected for.
    """

    r1: float
    b: float
    f: float
    o: float
    r2: float

    def kelvin(self, counts: np.ndarray) -> np.ndarray:
        """Apparent temperature of counts of any shape, float64; NaN where the curve has none."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.b / np.log(self.r1 / (self.r2 * (np.asarray(counts, dtype=np.float64) + self.o)) + self.f)


@dataclass(frozen=True, eq=False)
class ThermalImage:
    """The counts of one file, with what is known about them and the metadata that a file made from it keeps.

    Attributes:
        metadata: path, EXIF and layout of the file.
        counts: ``[N, H, W]`` of one of :data:`COUNT_TYPES`, N pages of one size; upright. In memory, or read one page
            at a time.
        encoding: how the file stores the counts, in words.
        camera: make and model as the file states them; empty if it does not.
        relation: the relation of counts to kelvin, or None where it is not known.
        parameters: other numbers that the camera wrote (emissivity, distance in m, temperatures in K).
        valid: ``[N, H, W]`` bool, false where a pixel is no part of the scene: no data, telemetry, blank borders; None
            if all are. Such pixels are given back as they are.
        alpha: ``[N, H, W]`` of the type of the counts, or None; given back as it is.
        times: when each page was taken, where the file says so; else empty.
        notes: what was assumed or left out, in words, for the user.
        warnings: what was recognised or is doubtful and changes the result, in words, for the user.
        assumed: whether the relation is inferred from the counts; it then gives way to what the user says.
        display: whether these are 8-bit levels of a picture for display, which fill their range and are no counts of a
            sensor.
    """

    metadata: Metadata
    counts: Planes
    encoding: str
    camera: str = ""
    relation: LinearKelvin | Planck | RadiometricChain | None = None
    parameters: dict[str, float] = field(default_factory=dict)
    valid: Planes | None = None
    alpha: Planes | None = None
    times: tuple[datetime | None, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    assumed: bool = False
    display: bool = False

    def __post_init__(self) -> None:
        if self.counts.ndim != 3 or self.counts.size == 0 or self.counts.dtype not in COUNT_TYPES:
            raise ValueError(
                "counts must be [N, H, W] of 8, 16 or 32-bit integers or floats, got "
                f"{self.counts.dtype} {list(self.counts.shape)}"
            )

    @property
    def path(self) -> Path:
        """The file that the counts came from."""
        return self.metadata.path

    @property
    def bit_depth(self) -> int:
        """Bits per pixel: 8, 16, 32 or 64."""
        return self.counts.dtype.itemsize * 8

    @cached_property
    def extremes(self) -> tuple[float, float]:
        """Lowest and highest count of the scene; (0, 0) where no pixel belongs to it. Reads all pages."""
        low, high = np.inf, -np.inf
        pages, height, width = self.counts.shape
        for page in range(pages):
            for top, bottom in row_bands(height, width):
                band = rows_of(self.counts, page, top, bottom)
                if self.valid is not None:
                    band = band[rows_of(self.valid, page, top, bottom)]
                if band.size:
                    low, high = min(low, band.min().item()), max(high, band.max().item())
        return (low, high) if low <= high else (0, 0)

    @property
    def step(self) -> float:
        """The difference of two counts that counts as one: 1 for integers, 0.01 K for temperatures."""
        if self.counts.dtype.kind != "f":
            return 1.0
        if isinstance(self.relation, LinearKelvin):
            return _RESOLUTION / self.relation.scale
        low, high = self.extremes
        return (high - low) / 65535 or 1.0

    def kelvin(self, counts: np.ndarray) -> np.ndarray | None:
        """Temperatures of counts of any shape, or None where the relation is not known."""
        return None if self.relation is None else self.relation.kelvin(counts)

    def record(self) -> dict[str, Any]:
        """What is known about the counts, in plain JSON types."""
        pages, height, width = self.counts.shape
        low, high = self.extremes
        return {
            "file": self.path.name,
            "camera": self.camera,
            "encoding": self.encoding,
            "pages": pages,
            "width": width,
            "height": height,
            "bit_depth": self.bit_depth,
            "lowest": low,
            "highest": high,
            **relation_record(self.relation),
            **({"assumed": True} if self.assumed else {}),
            "parameters": dict(self.parameters),
            **({"notes": [*self.warnings, *self.notes]} if self.warnings or self.notes else {}),
        }

    def summary(self) -> str:
        """For a reader: camera, size, encoding, range of the counts and of the temperatures, and a line per note."""
        pages, height, width = self.counts.shape
        low, high = self.extremes
        text = f"{self.camera or 'unknown camera'}: {width}×{height}{f', {pages} pages' if pages > 1 else ''}, "
        values = "values" if self.counts.dtype.kind == "f" else "counts"
        text += f"{self.encoding}, {values} {low:.6g} to {high:.6g}"
        kelvin = self.kelvin(np.array([low, high]))
        if kelvin is not None and np.isfinite(kelvin).all():
            coldest, warmest = kelvin - 273.15
            text += f", {coldest:.1f} to {warmest:.1f} °C{' apparent' if isinstance(self.relation, Planck) else ''}"
        return "\n".join([text, *self.warnings, *self.notes])

    def cut(self, left: int, top: int, width: int, height: int) -> ThermalImage:
        """A part of every page.

        Args:
            left: first column.
            top: first row.
            width: number of columns.
            height: number of rows.
        """

        def part(planes: Planes | None) -> Frames | np.ndarray | None:
            if planes is None or isinstance(planes, np.ndarray):
                return None if planes is None else planes[:, top : top + height, left : left + width]
            return derived(planes, lambda plane: plane[top : top + height, left : left + width])

        counts = part(self.counts)
        assert counts is not None
        metadata = replace(self.metadata, layout=self.metadata.layout.placed(1, left, top))
        return replace(self, metadata=metadata, counts=counts, valid=part(self.valid), alpha=part(self.alpha))

    def pages(self, first: int, count: int | None = None) -> ThermalImage:
        """Some of the pages, with what belongs to each of them.

        Args:
            first: index of the first one.
            count: how many; None: all that follow.

        Raises:
            ValueError: there are no such pages.
        """
        total = len(self.counts)
        stop = max(total, first + 1) if count is None else first + count
        if not 0 <= first < stop <= total:
            raise ValueError(
                f"{self.path} has {total} page{'s' if total > 1 else ''}, and pages {first + 1} to {stop} are asked "
                f"for: ask for pages between 1 and {total}"
            )

        def part(planes: Planes) -> Planes:
            if isinstance(planes, np.ndarray):
                return planes[first:stop]
            return Frames(
                lambda index: planes[first + index],
                (stop - first, *planes.shape[1:]),
                planes.dtype,
                lambda index, top, bottom: planes.rows(first + index, top, bottom),
            )

        layout = self.metadata.layout
        return replace(
            self,
            metadata=replace(self.metadata, layout=replace(layout, page_exif=layout.page_exif[first:stop])),
            counts=part(self.counts),
            valid=None if self.valid is None else part(self.valid),
            alpha=None if self.alpha is None else part(self.alpha),
            times=self.times[first:stop],
        )


def relation_record(relation: LinearKelvin | Planck | RadiometricChain | None) -> dict[str, Any]:
    """A relation of counts to kelvin in plain JSON types, empty for None.

    Its key is ``linear`` or ``planck``; where surroundings are corrected for, ``object_parameters`` are there too.
    """
    if relation is None:
        return {}
    if isinstance(relation, LinearKelvin):
        return {"linear": asdict(relation)}
    if isinstance(relation, Planck):
        return {"planck": asdict(relation)}
    return {"planck": asdict(relation.planck), "object_parameters": asdict(relation.parameters)}
