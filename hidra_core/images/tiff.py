"""Writing TIFF: the pages of a result, with the metadata of the file that they were made from.

What a TIFF says falls into three classes. What does not depend on the picture (camera, time, place, private tags) is
kept. What describes the layout of the pixels (size, strips, ImageJ's, OME's and tifffile's descriptions) is written
anew; tags that each page has for itself stay with their page. What ties pixels to the ground (GeoTIFF, GDAL, RPC) is
kept, and scaled where a result is larger or cut.
"""

from __future__ import annotations

import io
import logging
import struct
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

Tag = tuple[int, int, int, Any]
"""Code, type, count and value of a TIFF tag."""

_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION, _GEO_KEYS, _RPC = 33550, 33922, 34264, 34735, 50844
GEO_TAGS = (_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION, _GEO_KEYS, 34736, 34737, _RPC)
"""Codes of GeoTIFF's tags (OGC 19-008r4), and of rational polynomial coefficients."""

GDAL_METADATA, GDAL_NODATA = 42112, 42113

_EXIF_IFD, _GPS_IFD = 34665, 34853
_DESCRIPTION, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT, _XMP = 270, 282, 283, 296, 700
_USER_COMMENT, _UNDEFINED = 37510, 7
_RASTER_TYPE, _PIXEL_IS_POINT = 1025, 2
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # bytes by type, TIFF 6.0
_CLASSIC_LIMIT = 3_900_000_000  # bytes of pixels; classic TIFF ends at 4 GiB
_TILE = 256
_IMAGEJ_TYPES = ("uint8", "uint16", "float32")
_IMAGEJ_COUNTED = ("ImageJ", "images", "channels", "slices", "frames", "hyperstack")  # which the writer counts itself


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

    def placed(self, factor: int = 1, left: int = 0, top: int = 0) -> TiffLayout:
        """The layout of a result that starts at a pixel of this picture, and is larger by a whole factor."""
        return replace(self, geo=tuple(_placed(tag, factor, left, top, _is_point(self.geo)) for tag in self.geo))


def layout_of(tif: Any, page: Any, page_exif: tuple[bytes, ...] = (), mask_pages: bool = False) -> TiffLayout:
    """The layout of an open TIFF.

    Args:
        tif: opened by tifffile.
        page: its first page of pixels.
        page_exif: see :class:`TiffLayout`.
        mask_pages: see :class:`TiffLayout`.
    """
    tags = page.tags
    geo = tuple((tag.code, int(tag.dtype), tag.count, tag.value) for tag in tags if tag.code in GEO_TAGS)
    nodata = tags[GDAL_NODATA].value if GDAL_NODATA in tags else ""
    return TiffLayout(
        white_is_zero=page.photometric == 0,
        compressed=page.compression != 1,
        tiled=page.is_tiled,
        geo=tuple((*tag[:3], (tag[3],) if isinstance(tag[3], int | float) else tag[3]) for tag in geo),
        gdal=str(tags[GDAL_METADATA].value) if GDAL_METADATA in tags else "",
        nodata=str(nodata).strip(" \0"),
        imagej=dict(tif.imagej_metadata or {}) if tif.is_imagej else None,
        ome=bool(tif.is_ome),
        mask_pages=mask_pages,
        page_exif=page_exif,
    )


def read_layout(path: Path) -> TiffLayout:
    """The layout of a TIFF; an empty one, with a warning, where it cannot be read."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tif:
            return layout_of(tif, tif.pages.first)
    except Exception as error:  # noqa: BLE001  tifffile documents no set of errors, and the pixels were read
        log.warning("%s: what it says beyond its pixels cannot be read (%s) and is left out", path, error)
        return TiffLayout()


class Bands:
    """A plane that is made from top to bottom, a few rows at a time.

    Args:
        rows: arrays ``[h, W]`` or ``[h, W, C]`` of any heights, in order.
    """

    def __init__(self, rows: Iterable[np.ndarray]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.rows)

    def tiles(self, side: int) -> Iterator[np.ndarray]:
        """The plane in tiles of this side, row by row; the last ones are filled up by repeating the edge."""
        waiting: list[np.ndarray] = []
        held = 0
        for band in self.rows:
            waiting.append(band)
            held += len(band)
            while held >= side:
                block = np.concatenate(waiting)
                yield from _cut(block[:side], side)
                waiting, held = [block[side:]], held - side
        if held:
            yield from _cut(np.concatenate(waiting), side)


def _cut(rows: np.ndarray, side: int) -> Iterator[np.ndarray]:
    padding = [(0, side - len(rows)), (0, -rows.shape[1] % side), *[(0, 0)] * (rows.ndim - 2)]
    rows = np.pad(rows, padding, mode="edge")
    for left in range(0, rows.shape[1], side):
        yield np.ascontiguousarray(rows[:, left : left + side])


@dataclass(frozen=True, eq=False)
class TiffPages:
    """The pixels of a TIFF that is to be written.

    Attributes:
        planes: the pages in order, each ``[h, w]``, or ``[h, w, C]`` with C of 2 (grey, alpha), 3 (RGB) or 4 (RGB and
            alpha). Large ones may be :class:`Bands`, which are written in tiles.
        count: their number.
        shape: that of a page.
        dtype: of the pixels.
        masks: for each page ``[h, w]`` bool, true where a pixel counts; None for no mask pages.
        factor: by how many times the pixels are smaller than those of the layout's file.
        whole: whether the planes are arrays; false for bands.
    """

    planes: Iterable[np.ndarray | Bands]
    count: int
    shape: tuple[int, ...]
    dtype: np.dtype
    masks: Iterable[np.ndarray] | None = None
    factor: int = 1
    whole: bool = True


@dataclass(frozen=True)
class TiffTags:
    """Metadata for a TIFF that is to be written.

    Attributes:
        exif: EXIF block; that of all pages where the layout has none for each.
        xmp: XMP block, or None.
        icc_profile: ICC colour profile, or None.
        layout: see :class:`TiffLayout`.
    """

    exif: bytes = b""
    xmp: bytes | None = None
    icc_profile: bytes | None = None
    layout: TiffLayout = field(default_factory=TiffLayout)


def write_tiff(path: Path, pages: TiffPages, tags: TiffTags) -> None:
    """Write a TIFF, page by page.

    Args:
        path: the file to write; write to a temporary one and rename it.
        pages: the pixels.
        tags: the metadata.

    Raises:
        OSError: it cannot be written.
    """
    import tifffile

    layout, dtype = tags.layout, np.dtype(pages.dtype)
    imagej = layout.imagej is not None and dtype.name in _IMAGEJ_TYPES and len(pages.shape) == 2
    imagej = imagej and pages.whole
    size = pages.count * int(np.prod(pages.shape, dtype=np.int64)) * dtype.itemsize
    blocks = [layout.page_exif[index] if layout.page_exif else tags.exif for index in range(pages.count)]
    channels = pages.shape[2] if len(pages.shape) == 3 else 1
    grey = "miniswhite" if layout.white_is_zero else "minisblack"
    common: dict[str, Any] = {
        "photometric": "rgb" if channels > 2 else grey,
        "software": False,
        "iccprofile": tags.icc_profile,
    }
    if channels > 1:
        common |= {"planarconfig": "contig", "extrasamples": ["unassalpha"] if channels in (2, 4) else []}
    with tifffile.TiffWriter(path, bigtiff=size > _CLASSIC_LIMIT, byteorder="<", imagej=imagej, ome=False) as writer:
        if imagej:
            options = {**common, **_page_options(blocks[0], tags, pages.factor), **_imagej_options(layout, pages.count)}
            shape = (pages.count, *pages.shape) if pages.count > 1 else pages.shape
            writer.write(iter(pages.planes), shape=shape, dtype=dtype, **options)
        else:
            _write_pages(writer, pages, tags, blocks, common)
    _add_sub_ifds(path, blocks[:1] if imagej else blocks)


def _write_pages(writer: Any, pages: TiffPages, tags: TiffTags, blocks: list[bytes], common: dict[str, Any]) -> None:
    layout = tags.layout
    if layout.tiled:
        common = {**common, "tile": (_TILE, _TILE)}
    if layout.compressed:
        common = {**common, "compression": "zlib", "predictor": np.dtype(pages.dtype).kind in "iu"}
    masks = iter(pages.masks) if pages.masks is not None else None
    for index, plane in enumerate(pages.planes):
        options = {**common, "metadata": None, **_page_options(blocks[index], tags, pages.factor)}
        if layout.ome and index == 0:
            options["description"] = _ome_xml(pages)
        if isinstance(plane, Bands):
            options |= {"tile": (_TILE, _TILE), "shape": pages.shape, "dtype": pages.dtype, "maxworkers": 1}
            writer.write(plane.tiles(_TILE), **options)
        else:
            writer.write(plane, **options)
        if masks is not None:
            # GDAL's internal mask: a page of its own of one bit, set where pixels count
            options = {"photometric": "mask", "subfiletype": 4, "compression": "zlib", "metadata": None}
            writer.write(next(masks).astype(bool), software=False, **options)


def _page_options(exif: bytes, tags: TiffTags, factor: int) -> dict[str, Any]:
    """Arguments for tifffile's writer: the tags of the main directory of an EXIF block, and all that is not in it."""
    layout, extra, resolution = tags.layout, [], {}
    skipped = {_EXIF_IFD, _GPS_IFD, _XMP}
    if layout.imagej is not None or layout.ome:
        skipped.add(_DESCRIPTION)
    for code, kind, count, raw in _directory(exif):
        if code in (_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT):
            resolution[code] = struct.unpack("<2I" if len(raw) == 8 else f"<{'H' if len(raw) == 2 else 'I'}", raw)
        elif code not in skipped:
            extra.append((code, kind, count, raw, False))
    options: dict[str, Any] = {}
    sides = [resolution.get(code) for code in (_X_RESOLUTION, _Y_RESOLUTION)]
    if all(side is not None and len(side) == 2 and side[1] for side in sides):
        options["resolution"] = tuple((side[0] * factor, side[1]) for side in sides if side is not None)
        options["resolutionunit"] = resolution.get(_RESOLUTION_UNIT, (2,))[0]
    if tags.xmp:
        extra.append((_XMP, 1, len(tags.xmp), tags.xmp, False))
    extra += [(*tag, False) for tag in layout.geo]
    gdal = _without_statistics(layout.gdal)
    for code, text in ((GDAL_METADATA, gdal), (GDAL_NODATA, layout.nodata)):
        if text:
            extra.append((code, 2, 0, text.encode("utf-8"), False))
    return options | {"extratags": sorted(extra, key=lambda tag: tag[0])}


def _imagej_options(layout: TiffLayout, count: int) -> dict[str, Any]:
    known = {name: value for name, value in (layout.imagej or {}).items() if name not in _IMAGEJ_COUNTED}
    along = "T" if (layout.imagej or {}).get("frames", 1) > 1 else "Z"
    return {"metadata": known | ({"axes": f"{along}YX"} if count > 1 else {"axes": "YX"})}


def _ome_xml(pages: TiffPages) -> str:
    """A minimal OME-XML of these pages (OME schema 2016-06)."""
    kind = {"float32": "float", "float64": "double"}.get(np.dtype(pages.dtype).name, np.dtype(pages.dtype).name)
    height, width = pages.shape[:2]
    return (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="{kind}" SizeX="{width}" '
        f'SizeY="{height}" SizeC="1" SizeZ="1" SizeT="{pages.count}"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
        "<TiffData/></Pixels></Image></OME>"
    )


def _without_statistics(gdal: str) -> str:
    """GDAL's metadata without the statistics of the old pixels; unchanged where it cannot be parsed."""
    if "STATISTICS_" not in gdal:
        return gdal
    with suppress(ElementTree.ParseError):
        root = ElementTree.fromstring(gdal)
        for item in [item for item in root if item.get("name", "").startswith("STATISTICS_")]:
            root.remove(item)
        return ElementTree.tostring(root, encoding="unicode") if len(root) else ""
    return gdal


# --- the ground ------------------------------------------------------------------------------------------------------


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


# --- directories -----------------------------------------------------------------------------------------------------


def _directory(exif: bytes, pointer: int | None = None) -> list[tuple[int, int, int, bytes]]:
    """(code, type, count, little-endian value) of the main directory of an EXIF block, or of the one it points to."""
    blob = exif.removeprefix(b"Exif\0\0")
    if len(blob) < 8:
        return []
    order = "<" if blob[:2] == b"II" else ">"

    def entries(at: int) -> Iterator[tuple[int, int, int, bytes]]:
        for index in range(struct.unpack_from(f"{order}H", blob, at)[0]):
            code, kind, count = struct.unpack_from(f"{order}HHI", blob, at + 2 + 12 * index)
            size = _SIZES.get(kind, 0) * count
            start = at + 10 + 12 * index
            if size > 4:
                start = struct.unpack_from(f"{order}I", blob, start)[0]
            if size:
                yield code, kind, count, _little_endian(blob[start : start + size], kind, order)

    try:
        found = list(entries(struct.unpack_from(f"{order}I", blob, 4)[0]))
        if pointer is None:
            return found
        at = next((struct.unpack("<I", raw)[0] for code, _, _, raw in found if code == pointer), None)
        return [] if at is None else list(entries(at))
    except struct.error:  # cut off: a block that Pillow could read only in part
        return []


def _little_endian(raw: bytes, kind: int, order: str) -> bytes:
    unit = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}.get(kind, 1)
    if order == "<" or unit == 1:
        return raw
    return np.frombuffer(raw, f">u{unit}").astype(f"<u{unit}").tobytes()


def _add_sub_ifds(path: Path, blocks: list[bytes]) -> None:
    """Give pages of a little-endian TIFF the Exif and GPS directories of EXIF blocks; mask pages are passed over.

    tifffile cannot write them. A page's directory moves to the end of the file, where there is room for two more
    entries.
    """
    wanted = [
        {code: entries for code in (_EXIF_IFD, _GPS_IFD) if (entries := _directory(block, code))} for block in blocks
    ]
    if not any(wanted):
        return
    with path.open("r+b") as file:
        big = file.read(4)[2] == 43
        offset, counted, size = ("<Q", "<Q", 20) if big else ("<I", "<H", 12)
        pointer, page = (8 if big else 4), 0
        while True:
            at = _unpacked(file, pointer, offset)
            if at == 0:
                return
            entries = _read_entries(file, at, counted, size)
            following = at + struct.calcsize(counted) + len(entries) * size
            if not _is_mask(entries, big):
                if page < len(wanted) and wanted[page]:
                    entries += [_sub_ifd(file, code, tags, big) for code, tags in wanted[page].items()]
                    moved = _append(file, _packed(entries, counted) + _bytes_at(file, following, offset))
                    file.seek(pointer)
                    file.write(struct.pack(offset, moved))
                    following = moved + struct.calcsize(counted) + len(entries) * size
                page += 1
            pointer = following


def _bytes_at(file: IO[bytes], at: int, layout: str) -> bytes:
    """The bytes of a number with this layout of ``struct`` at a place of a file."""
    file.seek(at)
    return file.read(struct.calcsize(layout))


def _unpacked(file: IO[bytes], at: int, layout: str) -> int:
    return struct.unpack(layout, _bytes_at(file, at, layout))[0]


def _read_entries(file: IO[bytes], at: int, counted: str, size: int) -> list[bytes]:
    count = _unpacked(file, at, counted)
    return [file.read(size) for _ in range(count)]


def _is_mask(entries: list[bytes], big: bool) -> bool:
    start = 12 if big else 8
    return any(struct.unpack_from("<H", entry)[0] == 254 and entry[start] & 4 for entry in entries)


def _packed(entries: list[bytes], counted: str) -> bytes:
    ordered = sorted(entries, key=lambda entry: struct.unpack_from("<H", entry)[0])
    return struct.pack(counted, len(ordered)) + b"".join(ordered)


def _append(file: IO[bytes], data: bytes) -> int:
    """Append bytes on a word boundary; returns where they begin."""
    at = file.seek(0, io.SEEK_END)
    file.write(b"\0" * (at % 2) + data)
    return at + at % 2


def _sub_ifd(file: IO[bytes], code: int, tags: list[tuple[int, int, int, bytes]], big: bool) -> bytes:
    """Append a directory to the file; returns the entry, without its place in the order, that points to it."""
    room, offset, counted = (8, "<Q", "<Q") if big else (4, "<I", "<H")
    entries = []
    for number, kind, count, raw in sorted(tags):
        value = raw.ljust(room, b"\0") if len(raw) <= room else struct.pack(offset, _append(file, raw))
        kind = _UNDEFINED if number == _USER_COMMENT else kind  # Pillow takes bytes for numbers
        entries.append(struct.pack("<HH", number, kind) + struct.pack(offset, count) + value)
    at = _append(file, _packed(entries, counted) + struct.pack(offset, 0))
    return struct.pack("<HH", code, 16 if big else 4) + struct.pack(offset, 1) + struct.pack(offset, at)
