"""What Load Thermal Image asks about a file, and how it reads some of its pages as one IMAGE batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

from comfy_api.latest import io

from ..hidra_core.names import MAPPINGS
from ..hidra_core.sources import CountsSource, Reading
from ..hidra_core.thermal import LinearKelvin, SceneRegion
from ..hidra_core.thermal.readers import RawLayout, parse_size
from ..hidra_core.thermal.readers.y16 import EXTENSIONS as RAW_EXTENSIONS
from ..hidra_core.thermal.scene import parse_crop, parse_telemetry
from ..hidra_core.thermal.writing import LARGE
from .schema import advanced

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..hidra_core.thermal import ThermalImage

AUTO = "auto"
MAPPING_OPTIONS = [AUTO, *MAPPINGS]
LARGEST_BATCH = 4_000_000_000
"""Bytes of an IMAGE batch above which the pages are not loaded: the host and each node after this hold one more."""

_BYTES_PER_PIXEL = 12  # three channels of float32
_ORDERS, _PLANES = (AUTO, "little", "big"), (AUTO, "upper", "lower")
_MOST = 2**31 - 1
_PARSED: dict[str, Callable[[str], Any]] = {"raw_size": parse_size, "crop": parse_crop, "telemetry": parse_telemetry}


@dataclass(frozen=True)
class FrameInputs:
    """The values of the inputs about the frames of a file; an empty text or ``auto`` leaves it to the readers.

    Attributes:
        raw_size: of raw frames, ``WIDTHxHEIGHT``.
        raw_order: byte order of raw frames.
        raw_offset: bytes before the first raw frame.
        plane: half of frames of doubled height.
        crop: ``LEFT,TOP,WIDTHxHEIGHT``.
        telemetry: rows at the top and at the bottom, ``TOP,BOTTOM``.
        force_kelvin: whether kelvin per count replaces the relation that a file states.
        first_page: from 1 up.
        page_count: 0: all that follow.
    """

    raw_size: str = ""
    raw_order: Literal["auto", "little", "big"] = "auto"
    raw_offset: int = 0
    plane: Literal["auto", "upper", "lower"] = "auto"
    crop: str = ""
    telemetry: str = ""
    force_kelvin: bool = False
    first_page: int = 1
    page_count: int = 0


@dataclass(frozen=True)
class MappingInputs:
    """The values of the inputs of how counts become grey and kelvin.

    Attributes:
        mapping: one of the mappings, or ``auto``.
        clip: percentage of pixels that percentile and plateau clip at each end.
        plateau: where plateau equalisation cuts the histogram.
        kelvin_per_count: 0: as the file says.
    """

    mapping: str
    clip: float
    plateau: float
    kelvin_per_count: float

    @property
    def parameters(self) -> dict[str, float]:
        """What the mapping uses of them."""
        if self.mapping in (AUTO, "linear"):
            return {}
        tails = {"low": self.clip, "high": 100 - self.clip}
        return {**tails, "plateau": self.plateau} if self.mapping == "plateau" else tails


def reading_of(file: str, counts: MappingInputs, frames: FrameInputs) -> BatchReading:
    """How to read a file.

    Args:
        file: its name; empty for the sample scene.
        counts: what the inputs say of its counts.
        frames: what the inputs say of its frames.

    Raises:
        ValueError: a text that is not understood, or raw frames are described and the file has none.
    """
    described = {
        "raw_size": frames.raw_size.strip() != "",
        "raw_order": frames.raw_order != AUTO,
        "raw_offset": frames.raw_offset != 0,
    }
    unused = [name for name, is_set in described.items() if is_set]
    if unused and PurePath(file).suffix.lower() not in RAW_EXTENSIONS:
        raise ValueError(
            f"{' and '.join(unused)} can be set for raw frames ({', '.join(RAW_EXTENSIONS)}) only, and "
            f"{file or 'the sample scene'} has none: put it back to what a new node has"
        )
    return BatchReading(
        raw=RawLayout(parsed("raw_size", frames.raw_size), frames.raw_order, frames.raw_offset),
        region=SceneRegion(
            parsed("crop", frames.crop),
            parsed("telemetry", frames.telemetry),
            None if frames.plane == "auto" else frames.plane,
        ),
        relation=LinearKelvin(counts.kelvin_per_count) if counts.kelvin_per_count else None,
        force_relation=frames.force_kelvin,
        mapping=None if counts.mapping == AUTO else counts.mapping,
        parameters=counts.parameters,
        as_counts=True,
        first_page=frames.first_page,
        page_count=frames.page_count,
    )


def parsed(name: str, text: str) -> Any:
    """The value of a text input; None where it is empty.

    Args:
        name: of the input.
        text: what the user wrote.

    Raises:
        ValueError: not understood; names the input.
    """
    if not text.strip():
        return None
    try:
        return _PARSED[name](text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def mapping_inputs() -> list[Any]:
    """The inputs of how counts become grey and kelvin, and ``raw_size``."""
    return [
        io.Combo.Input(
            "mapping",
            options=MAPPING_OPTIONS,
            default=AUTO,
            tooltip="How counts become grey. linear: between the extremes of the scene; percentile: linear, "
            "with clipped tails; plateau: plateau equalisation; auto: linear for 16 bits, 8 bits unchanged.",
        ),
        advanced(
            io.Float.Input,
            "clip",
            display_name="clip (% of pixels)",
            default=0.5,
            min=0.0,
            max=20.0,
            step=0.1,
            tooltip="Used by percentile and plateau alone: percentage of pixels that they clip at each end. Save "
            "Thermal Image restores the clipped counts.",
        ),
        advanced(
            io.Float.Input,
            "plateau",
            display_name="plateau (× mean bin)",
            default=3.0,
            min=0.1,
            max=100.0,
            step=0.1,
            tooltip="Used by plateau alone: where it cuts the histogram, in multiples of a bin's mean. 1 is nearly "
            "linear, 100 nearly full.",
        ),
        io.Float.Input(
            "kelvin_per_count",
            display_name="kelvin per count (K)",
            default=0.0,
            min=0.0,
            max=10.0,
            step=0.000001,  # the page rounds to the digits of the step, and 1/64 has six
            round=0.000001,
            tooltip="For counts that are proportional to kelvin, K per count: 0.04, 0.01 (TLinear) or 0.015625 (1/64). "
            "A file that states its own keeps it, unless force kelvin is on. 0: as the file says.",
        ),
        advanced(
            io.String.Input,
            "raw_size",
            display_name="raw size (WIDTHxHEIGHT)",
            default="",
            tooltip="Raw frames only: size in pixels, all stored rows, such as 640x512. Empty: by the file's name, "
            "length and content.",
        ),
    ]


def frame_inputs() -> list[Any]:
    """The inputs of :class:`FrameInputs` but ``raw_size``. Optional, so that prompts without them stay valid."""
    shared = {"optional": True}
    return [
        advanced(
            io.Combo.Input,
            "raw_order",
            options=list(_ORDERS),
            default=AUTO,
            tooltip="Raw frames only: byte order. auto: the one in which neighbouring pixels differ less.",
            **shared,
        ),
        advanced(
            io.Int.Input,
            "raw_offset",
            display_name="raw offset (bytes)",
            default=0,
            min=0,
            max=_MOST,
            tooltip="Raw frames only: bytes before the first frame, such as a header.",
            **shared,
        ),
        advanced(
            io.Combo.Input,
            "plane",
            options=list(_PLANES),
            default=AUTO,
            tooltip="Frames of doubled height: the half that holds the counts. auto: as recognised, else the whole.",
            **shared,
        ),
        advanced(
            io.String.Input,
            "crop",
            display_name="crop (LEFT,TOP,WIDTHxHEIGHT)",
            default="",
            tooltip="Use this part alone: LEFT,TOP,WIDTHxHEIGHT in pixels, such as 16,8,320x240. Empty: all.",
            **shared,
        ),
        advanced(
            io.String.Input,
            "telemetry",
            display_name="telemetry rows (TOP,BOTTOM)",
            default="",
            tooltip="Rows at the top and at the bottom that are no picture: TOP,BOTTOM, such as 0,2. They are saved as "
            "they are. Empty: as recognised; 0,0: none.",
            **shared,
        ),
        advanced(
            io.Boolean.Input,
            "force_kelvin",
            default=False,
            tooltip="Use kelvin per count also for files that state their own temperatures.",
            **shared,
        ),
        *_page_inputs(shared),
    ]


def _page_inputs(shared: dict[str, Any]) -> list[Any]:
    return [
        advanced(
            io.Int.Input,
            "first_page",
            default=1,
            min=1,
            max=_MOST,
            tooltip="Of a file with several pages or frames: the first one to load.",
            **shared,
        ),
        advanced(
            io.Int.Input,
            "page_count",
            default=0,
            min=0,
            max=_MOST,
            tooltip="How many pages or frames to load; Save Thermal Image writes the same ones. 0: all that follow.",
            **shared,
        ),
    ]


@dataclass(frozen=True)
class BatchReading(Reading):
    """A reading of some pages, which become one IMAGE batch.

    Attributes:
        first_page: from 1 up.
        page_count: 0: all that follow.
    """

    first_page: int = 1
    page_count: int = 0

    def source(self, image: ThermalImage) -> CountsSource:
        """See :meth:`Reading.source`.

        Raises:
            ValueError: there are no such pages, or they are too large for an IMAGE batch.
        """
        if self.first_page > 1 or self.page_count:
            image = image.pages(self.first_page - 1, self.page_count or None)
        pages, height, width = self._size(image)
        if height * width > LARGE:
            raise ValueError(
                f"{image.path} is too large for a node, {width}x{height} pixels: load a part of it with crop, or "
                "enhance all of it on the shell, hidra enhance"
            )
        if pages * height * width * _BYTES_PER_PIXEL > LARGEST_BATCH:
            most = LARGEST_BATCH // (height * width * _BYTES_PER_PIXEL)
            raise ValueError(
                f"{image.path}: its {pages} pages of {width}x{height} are too many for one IMAGE batch. Load at most "
                f"{most} at a time with first_page and page_count, or enhance all of them on the shell, hidra enhance"
            )
        return super().source(image)

    def _size(self, image: ThermalImage) -> tuple[int, int, int]:
        """Number, height and width of the pages, as the user crops them."""
        pages, height, width = image.counts.shape
        rows, columns = self.region.window((height, width), image.path)
        return pages, rows.stop - rows.start, columns.stop - columns.start
