"""Counts and temperatures in TIFF: grey pages of 8 to 64 bits, integers or floats, of any layout tifffile reads."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import TiffImagePlugin

from ...images import Metadata, image_metadata, turn_upright
from ...images.tiff_layout import TiffLayout, layout_of
from ..counts import COUNT_TYPES, ThermalImage
from ..frames import Frames, Planes, derived, rows_of
from .stored import from_stored, in_memory
from .tiff_decoding import decoding, needs_imagecodecs, pixels
from .tiff_words import left_out, notes, stated_relation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

# tifffile logs oddities of files; those that matter are said here, and the others are not for the user
logging.getLogger("tifffile").addHandler(logging.NullHandler())

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_LARGEST = 1 << 36  # bytes of a page; more is a damaged header
_ALPHA = ((1,), (2,))  # ExtraSamples of alpha; 0 is a second band
_RGB, _SEPARATE = 2, 2
_MIN_IS_WHITE, _MIN_IS_BLACK, _MASK_PAGE, _REDUCED = 0, 1, 4, 1


def read(path: Path) -> ThermalImage | None:
    """The counts of a TIFF with grey pages; None for colour, palettes and 1-bit pages.

    Raises:
        ValueError: damaged, pages of different sizes or types, several bands, or values of an unknown kind.
        ImportError: its compression needs an optional package.
    """
    import tifffile

    with decoding(path):
        tif = tifffile.TiffFile(path)
        try:
            pages = _all_pages(tif)
            kept = [page for page in pages if not page.subfiletype & (_REDUCED | _MASK_PAGE)] or pages[:1]
            masks = [page for page in pages if page.subfiletype & _MASK_PAGE and not page.subfiletype & _REDUCED]
            if not kept:
                raise ValueError("it has no page")
            _check_planes(path, kept[0])
            if not _is_grey(kept[0]):
                tif.close()
                return None
            _check(path, kept)
            _check_parts([*kept, *masks], tif.filehandle.size)
            content = _content(path, tif, kept, masks)
            content = in_memory(content)
            if isinstance(content.counts, np.ndarray):
                tif.close()
        except BaseException:
            tif.close()
            raise
    return content


def _all_pages(tif: Any) -> list[Any]:
    """The directories of a TIFF in order; tifffile would follow for ever where one of them leads back."""
    pages: dict[int, Any] = {}
    for page in tif.pages:
        if page.offset in pages:
            raise ValueError(f"page {len(pages)} leads back to an earlier page")
        pages[page.offset] = page.aspage()
    return [*pages.values()]


def _is_grey(page: Any) -> bool:
    """Whether a page holds grey levels of 8 bits or more, or temperatures."""
    return page.photometric in (_MIN_IS_WHITE, _MIN_IS_BLACK) and page.bitspersample >= 8


def _check_planes(path: Path, page: Any) -> None:
    """Refuse an array of three or four frames that was saved as the channels of a colour picture."""
    separate = page.photometric == _RGB and page.planarconfig == _SEPARATE and page.bitspersample > 8
    if separate and page.samplesperpixel in (3, 4):
        raise ValueError(
            f"{path} holds {page.samplesperpixel} planes of {page.bitspersample} bits as the channels of a colour "
            "picture. If they are frames, save them as pages: tifffile.imwrite(path, frames, photometric='minisblack')"
        )


def _content(path: Path, tif: Any, pages: list[Any], masks: list[Any]) -> ThermalImage:
    first = pages[0]
    heads = [image_metadata(path, _directory(tif, page)) for page in _distinct(pages)]
    metadata, orientation = heads[0]
    if len(heads) == 1:
        page_exif: tuple[bytes, ...] = ()
    else:
        page_exif = tuple(head.exif for head, _ in heads)
    layout = layout_of(tif, first, page_exif, bool(masks), pages[1:] and pages)
    orientation = 1 if layout.geo else orientation  # coordinates on the ground belong to the pixels as stored
    stacked = _stacked(tif, first) if len(pages) == 1 else None
    counts: Planes = stacked if stacked is not None else _planes(path, pages)
    alpha = None if first.samplesperpixel == 1 else _planes(path, pages, 1)
    valid = _valid(counts, alpha, layout, _planes(path, masks) if masks else None)
    if orientation != 1:
        counts = _turned(counts, orientation)
        alpha, valid = (None if planes is None else _turned(planes, orientation) for planes in (alpha, valid))
    metadata = Metadata(metadata.path, metadata.exif, metadata.icc_profile, metadata.xmp, layout)
    relation, doubts = stated_relation(layout)
    bits = counts.dtype.itemsize * 8
    kind = {"f": " floating-point", "i": " signed"}.get(counts.dtype.kind, "")
    many = f", {len(counts)} pages" if len(counts) > 1 else ""
    return from_stored(
        ThermalImage(
            metadata,
            counts,
            f"{bits}-bit{kind} TIFF{many}",
            relation=relation,
            valid=valid,
            alpha=alpha,
            notes=notes(layout, valid is not None),
            warnings=(*doubts, *left_out(path, layout)),
            display=counts.dtype == np.uint8,
        )
    )


def _kind(page: Any) -> str:
    return page.photometric.name.lower() if page.dtype is None else page.dtype.name


def _channels(page: Any) -> str:
    if page.samplesperpixel == 1:
        return ""
    return f" in {page.samplesperpixel} channels {'apart' if page.planarconfig == 2 else 'together'}"


def _check(path: Path, pages: list[Any]) -> None:
    """Refuse pages that do not belong together, and values that are no counts."""
    first = pages[0]
    sizes = sorted({f"{page.imagewidth}x{page.imagelength}" for page in pages})
    kinds = sorted({f"{page.bitspersample} bits {_kind(page)}{_channels(page)}" for page in pages})
    if len(sizes) > 1 or len(kinds) > 1 or not all(_is_grey(page) for page in pages):
        raise ValueError(
            f"{path} mixes pages of {', '.join(sizes)} ({', '.join(kinds)}); grey pages of one size and one type are "
            "expected: save them apart"
        )
    has_alpha = first.extrasamples[:1] in _ALPHA
    if first.samplesperpixel > (2 if has_alpha else 1):
        raise ValueError(
            f"{path} has {first.samplesperpixel} bands, one is expected: export the thermal band alone, for instance "
            "with gdal_translate -b N"
        )
    if first.dtype is None or first.dtype.newbyteorder("=") not in COUNT_TYPES:
        raise ValueError(
            f"{path} holds {first.dtype or 'unknown'} values of {first.bitspersample} bits; integers of 8, 16 or 32 "
            "bits or floats of 32 or 64 are expected: export it as 16-bit TIFF"
        )
    if first.imagedepth > 1 and not (first.is_contiguous and len(pages) == 1):
        raise ValueError(
            f"{path} holds a volume of {first.imagedepth} layers in tiles or compressed, pages are expected: save each "
            "layer as a page of its own"
        )
    if not 0 < first.imagewidth * first.imagelength * first.dtype.itemsize <= _LARGEST:
        raise ValueError(
            f"{path} is damaged: it says that it is {first.imagewidth}x{first.imagelength}; copy or export it again"
        )


def _check_parts(pages: list[Any], size: int) -> None:
    """Refuse pages whose pixels are not all there, before memory is reserved for them."""
    for number, page in enumerate(pages, 1):
        expected = int(np.prod(page.chunked, dtype=np.int64))
        if len(page.dataoffsets) < expected or len(page.databytecounts) < expected:
            raise ValueError(f"page {number}: {len(page.dataoffsets)} of {expected} parts of its pixels are there")
        beyond = sum(at + held > size for at, held in zip(page.dataoffsets, page.databytecounts, strict=False))
        if beyond:
            raise ValueError(
                f"page {number}: {beyond} of {expected} parts of its pixels lie beyond the end of the file"
            )
        bits = page.imagewidth * page.imagelength * page.samplesperpixel * page.bitspersample
        if page.compression == 1 and all(page.databytecounts) and sum(page.databytecounts) < bits // 8:
            raise ValueError(
                f"page {number}: it is {page.imagewidth}x{page.imagelength}, but holds {sum(page.databytecounts)} bytes"
            )


def _distinct(pages: list[Any]) -> list[Any]:
    """The pages whose tags are read: all where texts or times differ, else the first."""

    def own(page: Any) -> tuple:
        return tuple((tag.code, tag.value) for tag in page.tags if tag.code in (270, 306) or tag.code > 32768)

    def comparable(page: Any) -> str:
        return repr(own(page)) + repr([tag.value for tag in page.tags if tag.code in (34665, 34853)])

    first = comparable(pages[0])
    return pages if any(comparable(page) != first for page in pages[1:]) else pages[:1]


def _directory(tif: Any, page: Any) -> Callable[[int | None], dict[int, Any]]:
    """A function from the code of a sub-directory, or None for the page's own, to its tags as Pillow reads them."""
    head = {(False, "<"): b"II*\0", (False, ">"): b"MM\0*", (True, "<"): b"II+\0", (True, ">"): b"MM\0+"}[
        tif.is_bigtiff, tif.byteorder
    ]
    head += b"\0" * (12 if tif.is_bigtiff else 4)

    def read_tags(code: int | None) -> dict[int, Any]:
        directory = TiffImagePlugin.ImageFileDirectory_v2(head, group=code)
        offset = page.offset if code is None else read_tags(None).get(code)
        if not isinstance(offset, int):
            return {}
        tif.filehandle.seek(offset)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd tags; the others are read all the same
            directory.load(tif.filehandle)
            return dict(directory)

    return read_tags


# --- pixels ----------------------------------------------------------------------------------------------------------


def _planes(path: Path, pages: list[Any], channel: int = 0) -> Frames:
    """The pages, or one of their channels, each decoded when it is asked for."""
    first = pages[0]
    dtype = first.dtype.newbyteorder("=")
    separate = first.planarconfig == 2

    def decoded(index: int) -> np.ndarray:
        page = pages[index]
        with decoding(path, f"page {index + 1}"):
            plane = pixels(path, page)
            if plane.shape != first.shape:
                raise ValueError(f"its pixels are {list(plane.shape)}, those of the first page {list(first.shape)}")
        if page.samplesperpixel > 1:
            plane = plane[channel] if separate else plane[..., channel]
        return np.ascontiguousarray(plane, dtype=plane.dtype.newbyteorder("="))

    def rows(index: int, start: int, stop: int) -> np.ndarray:
        with decoding(path, f"page {index + 1}"):
            try:
                return _rows(pages[index], start, stop, channel).astype(dtype, copy=False)
            except ValueError as error:
                if not needs_imagecodecs(error):
                    raise
        return decoded(index)[start:stop]

    shape = (len(pages), first.imagelength, first.imagewidth)
    divided = len(first.dataoffsets) > 1 and (first.samplesperpixel == 1 or not separate)
    return Frames(decoded, shape, dtype, rows if divided else None)


def _rows(page: Any, start: int, stop: int, channel: int) -> np.ndarray:
    """Some rows of a page, of which only the strips or tiles that hold them are decoded."""
    tall = page.tilelength if page.is_tiled else page.rowsperstrip
    wide = page.tilewidth if page.is_tiled else page.imagewidth
    across = -(-page.imagewidth // wide)
    result = np.zeros((stop - start, page.imagewidth), page.dtype)
    handle = page.parent.filehandle
    for down in range(start // tall, -(-stop // tall)):
        for column in range(across):
            index, top, left = down * across + column, down * tall, column * wide
            low, high = max(start, top), min(stop, top + tall, page.imagelength)
            right = min(page.imagewidth, left + wide)
            size = page.databytecounts[index]
            if size == 0:  # sparse: GDAL leaves out parts without data
                result[low - start : high - start, left:right] = page.nodata
                continue
            handle.seek(page.dataoffsets[index])
            part = page.decode(handle.read(size), index, jpegtables=page.jpegtables)[0]
            if part is None:
                raise ValueError(f"part {index + 1} of its pixels is missing")
            part = part[0, ..., channel]  # of [depth, rows, columns, channels]
            result[low - start : high - start, left:right] = part[low - top : high - top, : right - left]
    return result


def _stacked(tif: Any, page: Any) -> Frames | None:
    """Frames that lie one after the other behind a single directory, as ImageJ and tifffile write large stacks."""
    is_stack = tif.is_imagej or tif.is_shaped or page.imagedepth > 1
    if not is_stack or page.samplesperpixel != 1 or not page.is_contiguous:
        return None
    height, width = page.imagelength, page.imagewidth
    series = tif.series[0]
    count = int(np.prod(series.shape, dtype=np.int64)) // max(1, height * width)
    if tif.is_imagej:
        count = int((tif.imagej_metadata or {}).get("images", 1))
    if count < 2:
        return None
    stored = page.dtype.newbyteorder(tif.byteorder)
    bytes_each, start = height * width * stored.itemsize, page.dataoffsets[0]
    held = (tif.filehandle.size - start) // bytes_each
    if held < count:
        raise ValueError(f"it says that it holds {count} frames, but {held} are there")

    def frame(index: int) -> np.ndarray:
        tif.filehandle.seek(start + index * bytes_each)
        data = tif.filehandle.read(bytes_each)
        return np.frombuffer(data, stored).reshape(height, width).astype(stored.newbyteorder("="))

    return Frames(frame, (count, height, width), stored.newbyteorder("="))


def _valid(counts: Planes, alpha: Planes | None, layout: TiffLayout, masks: Planes | None) -> Frames | None:
    """Where the pages have data, by mask page, alpha and the value for no data; None: everywhere."""
    value = layout.no_data(counts.dtype)
    value = None if value is None or np.isnan(value) else value
    if value is None and alpha is None and masks is None:
        return None

    def combined(plane: np.ndarray, *others: np.ndarray) -> np.ndarray:
        good = np.ones(plane.shape, bool) if value is None else plane != value
        for other in others:
            good &= other != 0
        return good

    def others(read: Callable[[Planes, int], np.ndarray], index: int) -> list[np.ndarray]:
        beside = [] if alpha is None else [read(alpha, index)]
        return beside if masks is None else [*beside, read(masks, min(index, len(masks) - 1))]

    def valid(index: int) -> np.ndarray:
        return combined(counts[index], *others(lambda planes, at: planes[at], index))

    def rows(index: int, start: int, stop: int) -> np.ndarray:
        beside = others(lambda planes, at: rows_of(planes, at, start, stop), index)
        return combined(rows_of(counts, index, start, stop), *beside)

    return Frames(valid, counts.shape, bool, rows)


def _turned(planes: Planes, orientation: int) -> Frames:
    return derived(planes, lambda plane: np.ascontiguousarray(turn_upright(plane, orientation)))
