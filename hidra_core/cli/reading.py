"""Options of how files are read: raw frames, false colours, counts and their mapping."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from ..names import MAPPINGS, PALETTES, UNITS
from .console import UsageError, reason
from .sensor import sensor_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..sources import Reading


def add_raw(group: argparse._ActionsContainer) -> None:
    """Add the options for the layout of raw frames, and for pictures in false colours."""
    _add_colours(group)
    group.add_argument(
        "--raw-size",
        metavar="WIDTHxHEIGHT",
        type=_size,
        help="size of raw Y16 frames, .raw and .y16, with all rows that are stored (default: found from the length of "
        "the file, its name and its content)",
    )
    group.add_argument(
        "--raw-order",
        choices=("auto", "little", "big"),
        default="auto",
        help="byte order of raw Y16 frames; auto: the one in which neighbouring pixels differ less (default: auto)",
    )
    group.add_argument(
        "--raw-offset", metavar="BYTES", type=int, default=0, help="bytes before the first raw Y16 frame (default: 0)"
    )
    group.add_argument(
        "--plane",
        choices=("upper", "lower"),
        help="of frames of doubled height, use this half alone (default: as recognised in raw frames, else the whole)",
    )
    group.add_argument(
        "--crop",
        metavar="LEFT,TOP,WIDTHxHEIGHT",
        type=_parsed("parse_crop"),
        help="use this part alone, such as 16,8,320x240; not for colours and clips",
    )
    group.add_argument(
        "--telemetry",
        metavar="TOP,BOTTOM",
        type=_parsed("parse_telemetry"),
        help="rows at the top and at the bottom that are no picture, such as 0,2: they are left out of everything and "
        "given back unchanged; not for colours and clips (default: as recognised in raw frames, else 0,0)",
    )


def _add_colours(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--palette",
        choices=("auto", *PALETTES),
        metavar="NAME",
        help="turn files in false colours back to grey: auto finds out the palette of each, or "
        f"{', '.join(PALETTES)} (default: refuse them)",
    )
    group.add_argument(
        "--as-is",
        action="store_true",
        help="take the brightness of coloured files as it is, although in false colours it is not the temperature",
    )


def add_mapping(group: argparse._ActionsContainer) -> None:
    """Add the options for the mapping of counts to the range of the networks, and to kelvin."""
    group.add_argument(
        "--mapping",
        choices=MAPPINGS,
        help="how counts are mapped to the range of the networks and back: linear between the extremes of the scene, "
        "linear between two percentiles, or plateau equalisation (default: linear; 8-bit images are not mapped)",
    )
    group.add_argument(
        "--limits",
        metavar=("LOW", "HIGH"),
        nargs=2,
        type=float,
        help="limits of the mapping: counts for linear, percent for percentile (default: 0.5 99.5) and plateau "
        "(default: 0.1 99.9)",
    )
    group.add_argument(
        "--plateau",
        metavar="N",
        type=float,
        help="height at which plateau equalisation cuts the histogram, as a multiple of the height of an even "
        "histogram; 1 is nearly linear, large values are full equalisation (default: 3)",
    )
    group.add_argument(
        "--kelvin",
        metavar="SCALE[,OFFSET]",
        type=_kelvin,
        help="kelvin per count (and kelvin at count 0) of files that do not say: such as 0.04, 0.01 or 0.015625; "
        "1,273.15 for values in °C. Reports are then in kelvin too. Files that state their own relation keep it",
    )
    group.add_argument(
        "--force-kelvin", action="store_true", help="use --kelvin also for files that state their own relation"
    )
    group.add_argument(
        "--unit",
        choices=UNITS,
        help="write temperatures in this unit, as 32-bit floating-point TIFF, instead of counts; for files whose "
        "relation to kelvin is known, or given by --kelvin",
    )


def add_object_temperatures(group: argparse._ActionsContainer) -> None:
    """Add the options for what lies between an object and the camera."""
    group.add_argument(
        "--object-temperatures",
        action="store_true",
        help="temperatures of the objects instead of apparent ones, by the emissivity, distance, air and reflected "
        "temperature that a FLIR file states, or by those given with the following options",
    )
    for name, (_, metavar, text) in OBJECT_PARAMETERS.items():
        group.add_argument(f"--{name}", metavar=metavar, type=float, help=text)


OBJECT_PARAMETERS = {
    "emissivity": ("emissivity", "0..1", "emissivity of the objects"),
    "reflected-temperature": ("reflected_temperature", "°C", "temperature of what the objects reflect"),
    "air-temperature": ("atmospheric_temperature", "°C", "temperature of the air"),
    "humidity": ("relative_humidity", "0..1", "relative humidity of the air, 0.5 for 50 %%"),
    "distance": ("object_distance", "METRES", "distance of the objects"),
    "window-temperature": ("ir_window_temperature", "°C", "temperature of a window before the camera"),
    "window-transmission": ("ir_window_transmission", "0..1", "transmission of a window before the camera"),
}
"""Options: the library's name of the parameter, metavar and help."""


def _object_temperatures(options: dict[str, Any]) -> dict[str, float] | None:
    """The parameters that the options give, temperatures in kelvin; None where apparent temperatures are asked for."""
    given = {}
    for name, (parameter, metavar, _) in OBJECT_PARAMETERS.items():
        value = options.get(name.replace("-", "_"))
        if value is not None:
            given[parameter] = value + (273.15 if metavar == "°C" else 0.0)
    return given if given or options.get("object_temperatures") else None


def reading_of(arguments: argparse.Namespace) -> Reading:
    """The :class:`~hidra_core.sources.Reading` that the options ask for; a command may lack some of them.

    Args:
        arguments: the parsed command line.

    Raises:
        UsageError: an option without the one that it belongs to, or a number out of range.
    """
    from ..sources import Reading
    from ..thermal import LinearKelvin, SceneRegion
    from ..thermal.readers import RawLayout

    options = vars(arguments)
    mapping, limits, plateau = (options.get(name) for name in ("mapping", "limits", "plateau"))
    if plateau is not None and mapping != "plateau":
        raise UsageError("--plateau belongs to --mapping plateau: give that too")
    parameters: dict[str, float] = {} if limits is None else {"low": limits[0], "high": limits[1]}
    if plateau is not None:
        parameters["plateau"] = plateau
    kelvin = options.get("kelvin")
    try:
        return Reading(
            raw=RawLayout(options.get("raw_size"), options.get("raw_order", "auto"), options.get("raw_offset", 0)),
            region=SceneRegion(options.get("crop"), options.get("telemetry"), options.get("plane")),
            relation=None if kelvin is None else LinearKelvin(*kelvin),
            force_relation=options.get("force_kelvin", False),
            object_temperatures=_object_temperatures(options),
            unit=options.get("unit"),
            mapping=mapping,
            parameters=parameters,
            as_counts=options.get("radiometric", False),
            on_broken=options.get("on_broken_frame", "stop"),
            lossless=options.get("lossless", False),
            palette=options.get("palette"),
            as_is=options.get("as_is", False),
            sensor=sensor_of(arguments),
        )
    except ValueError as error:
        raise UsageError(reason(error)) from error


def _kelvin(text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 2) or (len(numbers) == 2 and numbers[0] == 0):
        remedy = ""
        if re.match(r"\d+,\d", text):
            remedy = f"; the comma separates SCALE and OFFSET: write {text.replace(',', '.', 1)} with a point"
        raise argparse.ArgumentTypeError(f"expected SCALE or SCALE,OFFSET such as 0.04 or 0.01,0, got '{text}'{remedy}")
    return numbers


def _size(text: str) -> tuple[int, int]:
    from ..thermal.readers import parse_size

    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parsed(name: str) -> Callable[[str], Any]:
    """The function of ``hidra_core.thermal.scene`` with this name, for argparse; imported when it is called."""

    def parse(text: str) -> Any:
        from ..thermal import scene

        try:
            return getattr(scene, name)(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse
