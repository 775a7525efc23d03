"""Counts of a thermal camera with what is known about them, and files that keep both.

Counts are the numbers that the sensor's electronics deliver, 8 or 16 bits per pixel. Their relation to kelvin is known
in one of two ways: a linear relation (cameras in "TLinear" mode, 0.04 or 0.01 K per count), or the Planck constants
that FLIR cameras write with their counts. It is never guessed.
"""

from __future__ import annotations

import io
import json
import logging
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ExifTags, Image

from ..images import Picture, check_writable, write_image
from ..images.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping as MappingType

log = logging.getLogger(__name__)

_EXIF_IFD = int(ExifTags.IFD.Exif)
_USER_COMMENT, _XMP = int(ExifTags.Base.UserComment), int(ExifTags.Base.XMLPacket)
_ASCII = b"ASCII\0\0\0"  # how a UserComment says which characters it holds (Exif 2.3, table 9)
_KEY = "hidra_thermal"


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
        picture: path, first page, metadata and alpha as the content of an image file. Results are written like it.
        counts: ``[N, H, W]`` uint8 or uint16, N pages of one size; upright.
        encoding: how the file stores the counts, in words.
        camera: make and model as the file states them; empty if it does not.
        relation: the relation of counts to kelvin, or None where it is not known.
        parameters: other numbers that the camera wrote (emissivity, distance in m, temperatures in K).
    """

    picture: Picture
    counts: np.ndarray
    encoding: str
    camera: str = ""
    relation: LinearKelvin | Planck | None = None
    parameters: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.counts.ndim != 3 or self.counts.size == 0 or self.counts.dtype not in (np.uint8, np.uint16):
            raise ValueError(
                f"counts must be [N, H, W] of uint8 or uint16, got {self.counts.dtype} {list(self.counts.shape)}"
            )

    @property
    def path(self) -> Path:
        """The file that the counts came from."""
        return self.picture.path

    @property
    def bit_depth(self) -> int:
        """8 or 16 bits per pixel."""
        return self.counts.dtype.itemsize * 8

    def kelvin(self, counts: np.ndarray) -> np.ndarray | None:
        """Temperatures of counts of any shape, or None where the relation is not known."""
        return None if self.relation is None else self.relation.kelvin(counts)

    def record(self) -> dict[str, Any]:
        """What is known about the counts, in plain JSON types."""
        pages, height, width = self.counts.shape
        return {
            "file": self.path.name,
            "camera": self.camera,
            "encoding": self.encoding,
            "pages": pages,
            "width": width,
            "height": height,
            "bit_depth": self.bit_depth,
            "lowest": int(self.counts.min()),
            "highest": int(self.counts.max()),
            **relation_record(self.relation),
            "parameters": dict(self.parameters),
        }

    def summary(self) -> str:
        """A line for a reader: camera, size, encoding, range of the counts and of the temperatures."""
        pages, height, width = self.counts.shape
        low, high = self.counts.min(), self.counts.max()
        text = f"{self.camera or 'unknown camera'}: {width}×{height}{f', {pages} pages' if pages > 1 else ''}, "
        text += f"{self.encoding}, counts {low} to {high}"
        kelvin = self.kelvin(np.array([low, high]))
        if kelvin is None or not np.isfinite(kelvin).all():
            return text
        coldest, warmest = kelvin - 273.15
        return f"{text}, {coldest:.1f} to {warmest:.1f} °C{' apparent' if isinstance(self.relation, Planck) else ''}"


def relation_record(relation: LinearKelvin | Planck | None) -> dict[str, Any]:
    """A relation of counts to kelvin in plain JSON types: with the key ``linear`` or ``planck``, or empty for None."""
    if relation is None:
        return {}
    return {"linear" if isinstance(relation, LinearKelvin) else "planck": asdict(relation)}


def _relation(record: MappingType[str, Any]) -> LinearKelvin | Planck | None:
    if "linear" in record:
        return LinearKelvin(**record["linear"])
    return Planck(**record["planck"]) if "planck" in record else None


def write_thermal(
    path: str | Path, counts: np.ndarray, like: ThermalImage, *, note: dict[str, Any] | None = None
) -> None:
    """Write counts with the metadata of the file they came from, complete or not at all.

    EXIF, XMP and colour profile are kept. Camera, encoding and the relation to kelvin go into the EXIF user
    comment as JSON, from which the readers restore them: a file made from a radiometric JPEG still has its Planck
    constants.

    Args:
        path: ``.png`` or ``.tif(f)`` (8-bit counts: any format of ``images.EXTENSIONS``); several pages: TIFF only.
        counts: ``[N, h, w]`` of the type of ``like.counts``; may be larger than ``like``.
        like: the file they were made from.
        note: what was done, in plain JSON types, added to the user comment.

    Raises:
        ValueError: another type, or a format that cannot hold these counts.
        OSError: the disk is full or the folder not writable. Nothing is left behind.
    """
    path = Path(path)
    check_thermal_writable(path, like, pages=len(counts))
    if counts.ndim != 3 or counts.dtype != like.counts.dtype:
        raise ValueError(f"counts to write must be [N, h, w] {like.counts.dtype}, got {counts.dtype} {counts.shape}")
    picture = replace(like.picture, exif=_with_record(like, note or {}))
    if len(counts) == 1:
        write_image(path, counts[0].astype(np.float32) / np.float32(np.iinfo(counts.dtype).max), picture)
        return
    with suppress(OSError):  # a folder that cannot be made is reported by the next line
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(_encode_pages(counts, picture))


def check_thermal_writable(path: str | Path, like: ThermalImage, pages: int | None = None) -> None:
    """Say before any work whether ``write_thermal(path, …, like)`` has a format that can hold such counts.

    Args:
        path: the file to write.
        like: see :func:`write_thermal`.
        pages: number of pages to write; by default as many as ``like`` has.

    Raises:
        ValueError: an unknown extension, or its format holds neither the bit depth nor several pages.
    """
    path = Path(path)
    check_writable(path, like.picture)
    if (len(like.counts) if pages is None else pages) > 1 and path.suffix.lower() not in (".tif", ".tiff"):
        raise ValueError(f"{path}: {path.suffix} cannot hold the {len(like.counts)} pages of {like.path}; use .tiff")


def _encode_pages(counts: np.ndarray, picture: Picture) -> bytes:
    exif = Image.Exif()
    exif.load(picture.exif)
    if picture.xmp:
        exif[_XMP] = picture.xmp
    pages = [Image.fromarray(page) for page in counts]
    buffer = io.BytesIO()
    options = {"icc_profile": picture.icc_profile} if picture.icc_profile else {}
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:], exif=exif.tobytes(), **options)
    return buffer.getvalue()


def _with_record(like: ThermalImage, note: dict[str, Any]) -> bytes:
    """The EXIF block of ``like`` with the record in its user comment; an existing comment is kept in the record."""
    exif = Image.Exif()
    exif.load(like.picture.exif)
    entries = dict(exif.get_ifd(_EXIF_IFD))
    record = {key: value for key, value in like.record().items() if value not in ("", {})} | note
    before = _text(entries.get(_USER_COMMENT))
    if before and _stored(before) is None:
        record["comment"] = before
    entries[_USER_COMMENT] = _ASCII + json.dumps({_KEY: record}).encode("ascii")
    exif[_EXIF_IFD] = entries
    return exif.tobytes()


def stored_record(picture: Picture) -> dict[str, Any] | None:
    """The record that :func:`write_thermal` left in a file's user comment, or None."""
    if not picture.exif:
        return None
    exif = Image.Exif()
    exif.load(picture.exif)
    return _stored(_text(exif.get_ifd(_EXIF_IFD).get(_USER_COMMENT)))


def stored_relation(record: dict[str, Any], path: Path) -> LinearKelvin | Planck | None:
    """The relation in a stored record, or None; a damaged one is logged and ignored."""
    try:
        return _relation(record)
    except (TypeError, ValueError) as error:
        log.warning("%s: its record of counts and kelvin is damaged (%s) and is left out", path, error)
        return None


def _text(comment: Any) -> str:
    if isinstance(comment, bytes):
        comment = comment.removeprefix(_ASCII).decode("latin-1")
    return (comment or "").strip("\0 ").removeprefix(_ASCII.decode()) if isinstance(comment, str) else ""


def _stored(text: str) -> dict[str, Any] | None:
    try:
        record = json.loads(text).get(_KEY)
    except (ValueError, AttributeError):
        return None
    return record if isinstance(record, dict) else None
