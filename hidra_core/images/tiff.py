"""Writing TIFF: the pages of a result, with the metadata of the file that they were made from.

What a TIFF says falls into three classes. What does not depend on the picture (camera, time, place, private tags) is
kept. What describes the layout of the pixels (size, strips, ImageJ's, OME's and tifffile's descriptions) is written
anew; tags that each page has for itself stay with their page. What ties pixels to the ground (GeoTIFF, GDAL, RPC) is
kept, and scaled where a result is larger or cut.
"""

from __future__ import annotations

import io
import math
import struct
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from .tiff_layout import GDAL_METADATA, GDAL_NODATA, TiffLayout, gdal_items

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_EXIF_IFD, _GPS_IFD = 34665, 34853
_DESCRIPTION, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT, _XMP = 270, 282, 283, 296, 700
_USER_COMMENT, _UNDEFINED = 37510, 7
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # bytes by type, TIFF 6.0
_CLASSIC_LIMIT = 3_900_000_000  # bytes of pixels; classic TIFF ends at 4 GiB
_TILE = 256
_IMAGEJ_TYPES = ("uint8", "uint16", "float32")
_IMAGEJ_COUNTED = ("ImageJ", "images", "channels", "slices", "frames", "hyperstack")  # which the writer counts itself


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
            stack = _imagej_options(layout, pages.count)
            options = {**common, **_page_options(blocks[0], tags, pages.factor), "metadata": stack["metadata"]}
            writer.write(iter(pages.planes), shape=(*stack["shape"], *pages.shape), dtype=dtype, **options)
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
        options = {**common, "metadata": None, **_page_options(blocks[index], tags, pages.factor, index)}
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


def _page_options(exif: bytes, tags: TiffTags, factor: int, page: int = 0) -> dict[str, Any]:
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
    extra += [(*tag, False) for tag in (layout.page_geo[page] if layout.page_geo else layout.geo)]
    gdal = layout.gdal  # statistics are those of the old pixels
    if "STATISTICS_" in gdal:
        gdal = gdal_items(gdal, lambda name: not name.startswith("STATISTICS_"))
    for code, text in ((GDAL_METADATA, gdal), (GDAL_NODATA, layout.nodata)):
        if text:
            extra.append((code, 2, 0, text.encode("utf-8"), False))
    return options | {"extratags": sorted(extra, key=lambda tag: tag[0])}


def _imagej_options(layout: TiffLayout, count: int) -> dict[str, Any]:
    """Arguments for tifffile's writer: ImageJ's metadata, and the shape of the stack as ImageJ numbers its pages."""
    stated = layout.imagej or {}
    known = {name: value for name, value in stated.items() if name not in _IMAGEJ_COUNTED}
    sizes = {axis: stated.get(name, 1) for axis, name in (("T", "frames"), ("Z", "slices"), ("C", "channels"))}
    if math.prod(sizes.values()) != count:
        sizes = {"T" if sizes["T"] > 1 else "Z": count}
    kept = {axis: size for axis, size in sizes.items() if size > 1}
    return {"metadata": known | {"axes": "".join(kept) + "YX"}, "shape": tuple(kept.values())}


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
