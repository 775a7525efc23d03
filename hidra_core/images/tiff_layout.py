"""What a TIFF says beyond EXIF and its pixels: the layout, what ties it to the ground, GDAL's and ImageJ's metadata."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

log = logging.getLogger(__name__)

Tag = tuple[int, int, int, Any]
"""Code, type, count and value of a TIFF tag."""

_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION, _GEO_KEYS, _RPC = 33550, 33922, 34264, 34735, 50844
GEO_TAGS = (_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION, _GEO_KEYS, 34736, 34737, _RPC)
"""Codes of GeoTIFF's tags (OGC 19-008r4), and of rational polynomial coefficients."""

_GEO_UNITS = {_PIXEL_SCALE: (2, 3), _TIE_POINTS: (6,), _TRANSFORMATION: (16,), _GEO_KEYS: (4,), _RPC: (92,)}
"""How many numbers such a tag has, or a multiple of them; some programs leave out the third pixel scale, of heights."""

GDAL_METADATA, GDAL_NODATA = 42112, 42113
_RASTER_TYPE, _PIXEL_IS_POINT = 1025, 2
_IMAGEJ_VALUES = ("cf", "vunit", "min", "max", *(f"c{order}" for order in range(5)))  # bound to the counts
_IMAGEJ_PLACES = ("ROI", "Overlays")  # bound to pixels of the picture


@dataclass(frozen=True, eq=False)
class TiffLayout:
    """What a TIFF says beyond EXIF, for a result that says it too.

    Attributes:
        white_is_zero: whether a viewer shows the lowest value white; the stored values do not depend on it.
        compressed: whether the pixels are compressed; a result then is, without loss.
        tiled: whether they lie in tiles; a result then does.
        geo: tags that tie the pixels to the ground, see :data:`GEO_TAGS`.
        gdal: GDAL's metadata, XML; empty if there are none.
        nodata: GDAL's value of pixels without data, as text; empty if there is none.
        imagej: ImageJ's description and metadata by name; None if ImageJ did not write the file.
        ome: whether the description is OME-XML.
        mask_pages: whether each page has a mask page of its own.
        page_exif: EXIF blocks of the pages, where they differ; else empty, and the file's own serves for all.
        page_geo: what ``geo`` is for each page, where they differ; else empty.
    """

    white_is_zero: bool = False
    compressed: bool = False
    tiled: bool = False
    geo: tuple[Tag, ...] = ()
    gdal: str = ""
    nodata: str = ""
    imagej: dict[str, Any] | None = None
    ome: bool = False
    mask_pages: bool = False
    page_exif: tuple[bytes, ...] = ()
    page_geo: tuple[tuple[Tag, ...], ...] = ()

    def no_data(self, dtype: np.dtype) -> float | None:
        """The value of pixels without data; None where there is none, or none that a pixel of this type can have."""
        try:
            value = float(self.nodata)
        except ValueError:
            return None
        if dtype.kind == "f":
            with np.errstate(over="ignore"):
                return float(dtype.type(value)) if np.isfinite(value) else np.nan
        limits = np.iinfo(dtype)
        return value if np.isfinite(value) and limits.min <= value <= limits.max else None

    def placed(self, factor: int = 1, left: int = 0, top: int = 0) -> TiffLayout:
        """The layout of a result that starts at a pixel of this picture, and is larger by a whole factor."""
        imagej = self.imagej
        if imagej is not None and (factor, left, top) != (1, 0, 0):
            imagej = {name: value for name, value in imagej.items() if name not in _IMAGEJ_PLACES}

        def placed(geo: tuple[Tag, ...]) -> tuple[Tag, ...]:
            return tuple(_placed(tag, factor, left, top, _is_point(geo)) for tag in geo)

        return replace(self, geo=placed(self.geo), page_geo=tuple(map(placed, self.page_geo)), imagej=imagej)

    def for_temperatures(self, unit: str, *, missing: bool) -> TiffLayout:
        """The layout of a result that holds temperatures instead of counts.

        Args:
            unit: what GDAL calls it: ``°C`` or ``K``.
            missing: whether some pixels have none; they then are NaN.
        """
        bound = ("scale", "offset", "unittype", "units")
        gdal = gdal_items(self.gdal, lambda name: name.lower() not in bound)
        gdal = gdal.removesuffix("</GDALMetadata>") or "<GDALMetadata>"
        gdal += f'<Item name="UNITTYPE" sample="0" role="unittype">{unit}</Item></GDALMetadata>'
        imagej = self.imagej
        if imagej is not None:
            imagej = {name: value for name, value in imagej.items() if name not in _IMAGEJ_VALUES}
        return replace(self, nodata="nan" if missing else "", gdal=gdal, imagej=imagej)


def layout_of(
    tif: Any, page: Any, page_exif: tuple[bytes, ...] = (), mask_pages: bool = False, pages: Iterable[Any] = ()
) -> TiffLayout:
    """The layout of an open TIFF.

    Args:
        tif: opened by tifffile.
        page: its first page of pixels.
        page_exif: see :class:`TiffLayout`.
        mask_pages: see :class:`TiffLayout`.
        pages: all pages of pixels, if there are several.
    """
    tags, geo = page.tags, _geo_of(page)
    page_geo = tuple(_geo_of(other) for other in pages)
    nodata = tags[GDAL_NODATA].value if GDAL_NODATA in tags else ""
    return TiffLayout(
        white_is_zero=page.photometric == 0,
        compressed=page.compression != 1,
        tiled=page.is_tiled,
        geo=geo,
        gdal=str(tags[GDAL_METADATA].value) if GDAL_METADATA in tags else "",
        nodata=str(nodata).strip(" \0"),
        imagej=dict(tif.imagej_metadata or {}) if tif.is_imagej else None,
        ome=bool(tif.is_ome),
        mask_pages=mask_pages,
        page_exif=page_exif,
        page_geo=page_geo if any(other != geo for other in page_geo) else (),
    )


def _geo_of(page: Any) -> tuple[Tag, ...]:
    found = [(tag.code, int(tag.dtype), tag.count, tag.value) for tag in page.tags if tag.code in GEO_TAGS]
    geo = [(*tag[:3], (tag[3],) if isinstance(tag[3], int | float) else tag[3]) for tag in found]
    for tag in geo:
        if not _is_sound(tag):
            name = page.parent.filename
            log.warning("%s: its tag %d, of the ground, is damaged and is left out", name, tag[0])
    return tuple(tag for tag in geo if _is_sound(tag))


def _is_sound(tag: Tag) -> bool:
    """Whether a tag has the numbers that GeoTIFF says it has."""
    code, _, _, value = tag
    if code not in _GEO_UNITS:
        return True
    return isinstance(value, tuple) and len(value) > 0 and any(len(value) % unit == 0 for unit in _GEO_UNITS[code])


def read_layout(path: Path) -> TiffLayout:
    """The layout of a TIFF; an empty one, with a warning, where it cannot be read."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tif:
            return layout_of(tif, tif.pages.first)
    except Exception as error:  # noqa: BLE001  tifffile documents no set of errors, and the pixels were read
        log.warning("%s: what it says beyond its pixels cannot be read (%s) and is left out", path, error)
        return TiffLayout()


def gdal_items(gdal: str, is_kept: Callable[[str], bool]) -> str:
    """GDAL's metadata, XML, with the items whose name and role are both kept; all where they cannot be parsed."""
    with suppress(ElementTree.ParseError):
        root = ElementTree.fromstring(gdal)
        for item in list(root):
            if not all(is_kept(item.get(key, "")) for key in ("name", "role")):
                root.remove(item)
        return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False) if len(root) else ""
    return gdal


def _is_point(geo: tuple[Tag, ...]) -> bool:
    """Whether the coordinates of GeoTIFF's tags count from the middle of the first pixel instead of its corner."""
    keys: list[int] = next((list(tag[3]) for tag in geo if tag[0] == _GEO_KEYS), [])
    return any(keys[at] == _RASTER_TYPE and keys[at + 3] == _PIXEL_IS_POINT for at in range(4, len(keys) - 3, 4))


def _placed(tag: Tag, factor: int, left: int, top: int, is_point: bool) -> Tag:
    """A tag for a picture that starts ``left`` and ``top`` pixels further, with pixels smaller by ``factor``."""
    code, kind, count, value = tag
    middle = 0.5 if is_point else 0.0

    def moved(position: float, start: int) -> float:
        return (position - start + middle) * factor - middle

    if code == _PIXEL_SCALE:
        value = (value[0] / factor, value[1] / factor, *value[2:])
    elif code == _TIE_POINTS:
        points = [list(value[at : at + 6]) for at in range(0, len(value), 6)]
        for point in points:
            point[0], point[1] = moved(point[0], left), moved(point[1], top)
        value = tuple(number for point in points for number in point)
    elif code == _TRANSFORMATION:
        matrix = np.array(value, dtype=np.float64).reshape(4, 4)
        shift = (middle / factor - middle) * np.array([1.0, 1.0]) + np.array([left, top])
        matrix[:, 3] += matrix[:, 0] * shift[0] + matrix[:, 1] * shift[1]
        matrix[:, :2] /= factor
        value = tuple(matrix.ravel().tolist())
    elif code == _RPC and len(value) >= 9:
        numbers = list(value)  # the third and fourth are line and sample offset, the eighth and ninth their scales
        numbers[2], numbers[3] = (numbers[2] - top + 0.5) * factor - 0.5, (numbers[3] - left + 0.5) * factor - 0.5
        numbers[7], numbers[8] = numbers[7] * factor, numbers[8] * factor
        value = tuple(numbers)
    return code, kind, count, value
