"""What a TIFF and the files beside it say about its values: their relation to kelvin, and what is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

from ..counts import LinearKelvin

if TYPE_CHECKING:
    from pathlib import Path

    from ...images.tiff_layout import TiffLayout

_STRAIGHT_LINE = 0  # ImageJ's "calibration function"
_WORLD_FILES = (".tfw", ".tifw", ".tiffw", ".wld")


def stated_relation(layout: TiffLayout) -> tuple[LinearKelvin | None, list[str]]:
    """The relation to kelvin that GDAL's metadata or ImageJ's calibration state, and what is wrong with it."""
    unit, scale, offset = _of_gdal(layout) if layout.gdal else _of_imagej(layout)
    if unit == scale == offset == "":
        return None, []
    word = unit.lower().removeprefix("degrees").removeprefix("degree").removeprefix("deg").strip(" °_")
    try:
        line = float(scale or 1), float(offset or 0)
    except ValueError:
        return None, [f"its scale and offset, '{scale}' and '{offset}', are no numbers and are left out"]
    if word not in ("c", "celsius", "k", "kelvin"):
        if line == (1.0, 0.0):
            return None, []
        named = f"in '{unit}'" if unit else "without a unit"
        return None, [
            f"it states a scale of {line[0]:g} and an offset of {line[1]:g} {named}: the values are read as stored"
        ]
    try:
        return LinearKelvin(line[0], line[1] + (273.15 if word.startswith("c") else 0.0)), []
    except ValueError:
        return None, [f"its scale of {line[0]:g} is no kelvin per count and is left out"]


def _of_gdal(layout: TiffLayout) -> tuple[str, str, str]:
    """(unit, scale, offset) as GDAL's metadata state them, empty where they do not."""
    try:
        items = list(ElementTree.fromstring(layout.gdal))
    except ElementTree.ParseError:
        return "", "", ""
    stated = {str(item.get("role") or item.get("name") or "").lower(): (item.text or "").strip() for item in items}
    return stated.get("unittype") or stated.get("units") or "", stated.get("scale", ""), stated.get("offset", "")


def _of_imagej(layout: TiffLayout) -> tuple[str, str, str]:
    """(unit, scale, offset) as ImageJ's calibration states them, if it is a straight line."""
    known = layout.imagej or {}
    if known.get("cf") != _STRAIGHT_LINE or not known.get("vunit"):
        return "", "", ""
    return str(known["vunit"]), str(known.get("c1", "")), str(known.get("c0", ""))


def notes(layout: TiffLayout, masked: bool) -> tuple[str, ...]:
    """What is done with the values, in words."""
    words = []
    if layout.mask_pages:
        words.append("pixels that its mask page leaves out are not enhanced")
    if masked and layout.nodata:
        words.append(f"pixels of its value for no data, {layout.nodata}, are not enhanced")
    if layout.white_is_zero:
        words.append("its lowest counts are shown white; the counts are read as they are stored")
    return tuple(words)


def left_out(path: Path, layout: TiffLayout) -> list[str]:
    """What files beside a TIFF say of it and a result does not keep, in words."""
    words = []
    mask = path.with_name(f"{path.name}.msk")
    if mask.exists():
        words.append(f"the mask {mask.name} beside it is not read; put it into the file (GDAL_TIFF_INTERNAL_MASK=YES)")
    worlds = [path.with_suffix(suffix) for suffix in _WORLD_FILES]
    world = next((file for file in worlds if not layout.geo and file.exists()), None)
    if world is not None:
        words.append(f"its place on the ground is in {world.name} beside it, which the result does not keep; copy it")
    return words
