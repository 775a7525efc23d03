"""Files of counts: written with the metadata of the file they came from, and a record of what is known about them."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import ExifTags, Image

from ..images import Picture, check_writable, write_image
from ..images.files import atomic_path
from ..images.tiff import Bands, TiffPages, TiffTags, write_tiff
from .counts import LinearKelvin, Planck, ThermalImage, relation_record
from .frames import repeated, repeated_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Mapping as MappingType

    from ..images import Metadata
    from .frames import Planes

log = logging.getLogger(__name__)

Unit = Literal["celsius", "kelvin"]
"""Units in which temperatures are written, as 32-bit floats."""

LARGE = 1 << 25
"""Pixels of a page above which it is enhanced and written in bands."""

_EXIF_IFD = int(ExifTags.IFD.Exif)
_USER_COMMENT = int(ExifTags.Base.UserComment)
_ASCII = b"ASCII\0\0\0"  # how a UserComment says which characters it holds (Exif 2.3, table 9)
_UNICODE = b"UNICODE\0"
_KEY = "hidra_thermal"
_TIFF = (".tif", ".tiff")
_BAND_NAME = b'xmlns:Camera="http://pix4d.com/camera/1.0" Camera:BandName="LWIR"'
_EMPTY_XMP = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""/></rdf:RDF>'
    b'</x:xmpmeta><?xpacket end="w"?>'
)


def write_thermal(
    path: str | Path,
    counts: Planes | Iterable[np.ndarray | Bands],
    like: ThermalImage,
    *,
    factor: int | None = None,
    unit: Unit | None = None,
    note: dict[str, Any] | None = None,
) -> None:
    """Write counts with the metadata of the file they came from, complete or not at all.

    EXIF, XMP, GeoTIFF tags and colour profile are kept. Camera, encoding and the relation to kelvin go into the EXIF
    user comment as JSON, from which the readers restore them: a file made from a radiometric JPEG still has its Planck
    constants.

    Args:
        path: ``.png`` or ``.tif(f)`` (8-bit counts: any format of ``images.EXTENSIONS``); several pages and other than
            8 or 16 bits: TIFF only.
        counts: pages ``[h, w]`` of the type of ``like.counts``, as many as there or one: an array, or one by one; large
            ones in bands.
        like: the file they were made from.
        factor: by how many times the pages are larger than those of ``like``; None: by the size of an array's.
        unit: write temperatures as 32-bit floats instead of counts; TIFF only.
        note: what was done, in plain JSON types, added to the user comment.

    Raises:
        ValueError: another type, or a format that cannot hold these counts.
        OSError: the disk is full or the folder not writable. Nothing is left behind.
    """
    path = Path(path)
    single = isinstance(counts, np.ndarray) and len(counts) == 1
    count = 1 if single else len(like.counts)
    check_thermal_writable(path, like, pages=count, unit=unit)
    if isinstance(counts, np.ndarray):
        if counts.ndim != 3 or counts.dtype != like.counts.dtype:
            raise ValueError(
                f"counts to write must be [N, h, w] {like.counts.dtype}, got {counts.dtype} {counts.shape}"
            )
        if len(counts) not in (1, len(like.counts)):
            raise ValueError(f"{len(counts)} pages to write for the {len(like.counts)} pages of {like.path}")
        factor = counts.shape[1] // like.counts.shape[1]
    factor = factor or 1
    metadata = _with_record(like, note or {}, unit)
    if path.suffix.lower() not in _TIFF:
        page = next(iter(counts))
        assert isinstance(page, np.ndarray)  # check_thermal_writable refuses others
        _write_page(path, page, like, metadata, factor)
        return
    if count == 1:
        metadata = replace(metadata, xmp=_with_band_name(metadata.xmp))
    with suppress(OSError):  # a folder that cannot be made is reported by the next line
        path.parent.mkdir(parents=True, exist_ok=True)
    planes = (_completed(plane, page, like, factor, unit) for page, plane in enumerate(counts))
    height, width = (side * factor for side in like.counts.shape[1:])
    layout = metadata.layout.placed(factor)
    if is_large(like):
        layout = replace(layout, tiled=True, compressed=True)
    if unit is not None:
        layout = layout.for_temperatures("°C" if unit == "celsius" else "K", missing=like.valid is not None)
    with atomic_path(path) as temporary:
        write_tiff(
            temporary,
            TiffPages(
                planes,
                count,
                (height, width) if like.alpha is None else (height, width, 2),
                like.counts.dtype if unit is None else np.dtype(np.float32),
                (repeated(mask, factor) for mask in like.valid)
                if layout.mask_pages and like.valid is not None
                else None,
                factor,
                whole=isinstance(counts, np.ndarray) or not is_large(like),
            ),
            TiffTags(metadata.exif, metadata.xmp, metadata.icc_profile, layout),
        )


def check_thermal_writable(
    path: str | Path, like: ThermalImage, pages: int | None = None, unit: Unit | None = None
) -> None:
    """Say before any work whether ``write_thermal(path, …, like)`` has a format that can hold such counts.

    Args:
        path: the file to write.
        like: see :func:`write_thermal`.
        pages: number of pages to write; by default as many as ``like`` has.
        unit: see :func:`write_thermal`.

    Raises:
        ValueError: an unknown extension, or its format holds neither the bit depth nor several pages; a unit where the
            relation to kelvin is not known.
    """
    path = Path(path)
    if unit is not None and like.relation is None:
        raise ValueError(
            f"{like.path} does not say which temperatures its counts are, so {unit} cannot be written: state the "
            "kelvin per count, or write counts"
        )
    is_tiff = path.suffix.lower() in _TIFF
    if unit is not None and not is_tiff:
        raise ValueError(f"{path}: {path.suffix} cannot hold temperatures as floating-point numbers; use .tiff")
    channels = 1 if like.alpha is None else 2
    depth = like.bit_depth if like.counts.dtype.kind == "u" and like.bit_depth <= 16 else 16
    check_writable(path, Picture(like.path, np.zeros((1, 1, channels), np.float32), depth))
    if not is_tiff and like.counts.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{path}: {path.suffix} cannot hold the {like.counts.dtype} values of {like.path}; use .tiff")
    if is_large(like) and not is_tiff:
        raise ValueError(f"{path}: pictures as large as {like.path} are written as .tiff, part by part; use .tiff")
    if (len(like.counts) if pages is None else pages) > 1 and not is_tiff:
        raise ValueError(f"{path}: {path.suffix} cannot hold the {len(like.counts)} pages of {like.path}; use .tiff")


def temperatures(counts: np.ndarray, like: ThermalImage, unit: Unit, valid: np.ndarray | None = None) -> np.ndarray:
    """Temperatures of a page, float32; NaN where there are none.

    Args:
        counts: ``[h, w]``.
        like: the file they were made from, whose relation to kelvin is known.
        unit: of the result.
        valid: ``[h, w]`` bool: where the page has data.
    """
    kelvin = like.kelvin(counts)
    assert kelvin is not None
    result = kelvin - (273.15 if unit == "celsius" else 0.0)
    return (result if valid is None else np.where(valid, result, np.nan)).astype(np.float32)


def is_large(image: ThermalImage) -> bool:
    """Whether the pages are so large that they are enhanced and written in bands."""
    return image.counts.shape[1] * image.counts.shape[2] > LARGE


def _completed(
    plane: np.ndarray | Bands, page: int, like: ThermalImage, factor: int, unit: Unit | None
) -> np.ndarray | Bands:
    """A page as it is written: in its unit, and with its alpha."""

    def rows(band: np.ndarray, top: int) -> np.ndarray:
        def beside(planes: Planes) -> np.ndarray:
            return repeated_rows(planes, page, top, top + len(band), factor)

        if unit is not None:
            band = temperatures(band, like, unit, None if like.valid is None else beside(like.valid))
        return band if like.alpha is None else np.stack([band, beside(like.alpha).astype(band.dtype)], -1)

    def all_bands(bands: Bands) -> Iterator[np.ndarray]:
        top = 0
        for band in bands:
            yield rows(band, top)
            top += len(band)

    return Bands(all_bands(plane)) if isinstance(plane, Bands) else rows(plane, 0)


def _write_page(path: Path, counts: np.ndarray, like: ThermalImage, metadata: Metadata, factor: int) -> None:
    full = np.float32(np.iinfo(counts.dtype).max)
    pixels = counts.astype(np.float32)[..., None] / full
    if like.metadata.layout.geo or like.metadata.layout.nodata:
        log.warning(
            "%s: %s cannot hold the georeference and the value for no data of %s, which are left out; use .tiff",
            *(path, path.suffix, like.path),
        )
    if like.alpha is not None:
        alpha = repeated(like.alpha[0], factor).astype(np.float32)[..., None] / full
        pixels = np.concatenate([pixels, alpha], -1)
    kept = Picture(path, pixels, like.bit_depth, metadata.exif, metadata.icc_profile, metadata.xmp)
    write_image(path, pixels, kept)


def _with_band_name(xmp: bytes | None) -> bytes:
    """XMP that also names the band, long-wave infrared, as OpenDroneMap recognises thermal images; else unchanged."""
    xmp = xmp or _EMPTY_XMP
    place = xmp.find(b"<rdf:Description")
    if b"BandName" in xmp or place < 0:
        return xmp
    place += len(b"<rdf:Description")
    name = _BAND_NAME if b"xmlns:Camera=" not in xmp else b'Camera:BandName="LWIR"'
    return xmp[:place] + b" " + name + xmp[place:]


def _with_record(like: ThermalImage, note: dict[str, Any], unit: Unit | None) -> Metadata:
    """The metadata of ``like`` with the record in the user comment; an existing comment is kept in the record."""
    metadata = like.metadata
    pages = metadata.layout.page_exif
    exif = Image.Exif()
    exif.load(pages[0] if pages else metadata.exif)
    entries = dict(exif.get_ifd(_EXIF_IFD))
    record = {key: value for key, value in like.record().items() if value not in ("", {})} | note
    if unit is not None:  # what is known about the counts does not hold for their temperatures
        of_counts = ("lowest", "highest", *relation_record(like.relation))
        record = {key: value for key, value in record.items() if key not in of_counts}
        record |= relation_record(LinearKelvin(1.0, 273.15 if unit == "celsius" else 0.0))
    before = _text(entries.get(_USER_COMMENT))
    if before and _stored(before) is None:
        record["comment"] = before
    entries[_USER_COMMENT] = _ASCII + json.dumps({_KEY: record}).encode("ascii")
    exif[_EXIF_IFD] = entries
    block = exif.tobytes()
    layout = replace(metadata.layout, page_exif=(block, *pages[1:])) if pages else metadata.layout
    return replace(metadata, exif=block, layout=layout)


def stored_record(exif: bytes) -> dict[str, Any] | None:
    """The record that :func:`write_thermal` left in the user comment of an EXIF block, or None."""
    if not exif:
        return None
    block = Image.Exif()
    block.load(exif)
    return _stored(_text(block.get_ifd(_EXIF_IFD).get(_USER_COMMENT)))


def stored_relation(record: dict[str, Any], path: Path) -> LinearKelvin | Planck | None:
    """The relation in a stored record, or None; a damaged one is logged and ignored."""
    try:
        return _relation(record)
    except (TypeError, ValueError) as error:
        log.warning("%s: its record of counts and kelvin is damaged (%s) and is left out", path, error)
        return None


def _relation(record: MappingType[str, Any]) -> LinearKelvin | Planck | None:
    if "linear" in record:
        return LinearKelvin(**record["linear"])
    return Planck(**record["planck"]) if "planck" in record else None


def _text(comment: Any) -> str:
    if isinstance(comment, bytes) and comment.startswith(_UNICODE):
        text = comment.removeprefix(_UNICODE)
        order = "le" if text[1::2].count(0) >= text[::2].count(0) else "be"  # that of the file, which is not kept here
        comment = text.decode(f"utf-16-{order}", "replace").lstrip("\ufeff")
    elif isinstance(comment, bytes):
        comment = comment.removeprefix(_ASCII).decode("latin-1")
    return (comment or "").strip("\0 ").removeprefix(_ASCII.decode()) if isinstance(comment, str) else ""


def _stored(text: str) -> dict[str, Any] | None:
    try:
        record = json.loads(text).get(_KEY)
    except (ValueError, AttributeError):
        return None
    return record if isinstance(record, dict) else None
