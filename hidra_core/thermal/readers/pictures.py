"""Counts in ordinary image files: 8- and 16-bit grey PNG, TIFF with one or several pages."""

from __future__ import annotations

import io
import logging
import warnings
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from ...images import DECODER_ERRORS, Picture, read_image, read_metadata
from ..counts import LinearKelvin, ThermalImage, stored_record, stored_relation

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_GREY_DIFFERENCE = 1  # levels that the channels of a grey image stored as colour may differ by, as in a JPEG


def read(path: Path, data: bytes) -> ThermalImage | Picture:
    """The counts of a 16-bit grey file or of several pages; a :class:`Picture` for every other image file."""
    pages = _pages(path, data) if data[:4] in _TIFF else None
    if pages is not None:
        return pages
    picture = read_image(path)
    if picture.bit_depth == 16 and _is_grey(picture.pixels):
        return as_thermal(picture)
    return picture


def as_thermal(picture: Picture, relation: LinearKelvin | None = None) -> ThermalImage:
    """The pixels of a grey image file as counts.

    Args:
        picture: the content of the file.
        relation: see :func:`~hidra_core.thermal.readers.read_thermal`.

    Raises:
        ValueError: the image is in colour, and the colours of a palette are no counts.
    """
    if not _is_grey(picture.pixels):
        raise ValueError(
            f"{picture.path} is in colour, and colours of a palette are no counts: use the camera's grey (white-hot), "
            "16-bit or radiometric file, or turn the palette back into greys first"
        )
    dtype = np.uint8 if picture.bit_depth == 8 else np.uint16
    counts = np.rint(picture.pixels[..., 0] * np.iinfo(dtype).max).astype(dtype)[None]
    return _from_stored(picture, counts, f"{picture.bit_depth}-bit picture", relation)


def _from_stored(
    picture: Picture, counts: np.ndarray, encoding: str, relation: LinearKelvin | None = None
) -> ThermalImage:
    """Counts with what the file says about them, if it is an earlier result."""
    record = stored_record(picture) or {}
    camera = str(record.get("camera", ""))
    parameters = record.get("parameters")
    parameters = parameters if isinstance(parameters, dict) else {}
    known = relation or stored_relation(record, picture.path)
    return ThermalImage(picture, counts, encoding, camera, known, parameters)


def _is_grey(pixels: np.ndarray) -> bool:
    if pixels.shape[-1] < 3:
        return True
    colours = pixels[..., :3]
    return float((colours.max(-1) - colours.min(-1)).max()) * 255 <= _GREY_DIFFERENCE + 0.01


def _pages(path: Path, data: bytes) -> ThermalImage | None:
    """The pages of a TIFF that has several (previews do not count), upright; else None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = TiffImagePlugin.TiffImageFile(io.BytesIO(data))
            kept = []
            for index in range(image.n_frames):
                image.seek(index)
                if not int(image.tag_v2.get(ExifTags.Base.NewSubfileType, 0)) & 1:
                    kept.append(index)
        except DECODER_ERRORS:  # read_image then says what is wrong
            return None
        if len(kept) < 2:
            return None
        planes = [_plane(path, image, index) for index in kept]
    sizes = {plane.shape[::-1] for plane in planes}
    kinds = {plane.dtype for plane in planes}
    if len(sizes) > 1 or len(kinds) > 1:
        listed = ", ".join(sorted(f"{width}x{height}" for width, height in sizes))
        bits = ", ".join(sorted(f"{kind.itemsize * 8} bits" for kind in kinds))
        raise ValueError(f"{path} mixes pages of {listed} ({bits}); pages of one size are expected: save them apart")
    image.seek(kept[0])
    exif, _, xmp = read_metadata(image, path)
    counts = np.stack(planes)
    bits = counts.dtype.itemsize * 8
    pixels = (counts[0] / np.float32(np.iinfo(counts.dtype).max))[..., None].astype(np.float32)
    picture = Picture(path, pixels, bits, exif, image.info.get("icc_profile"), xmp)
    return _from_stored(picture, counts, f"{bits}-bit TIFF, {len(counts)} pages")


def _plane(path: Path, image: Image.Image, index: int) -> np.ndarray:
    """One page, which Pillow turns upright when it loads a TIFF."""
    try:
        image.seek(index)
        image.load()
    except DECODER_ERRORS as error:
        raise ValueError(
            f"{path} is damaged or incomplete (page {index + 1}: {error}); copy or export it again"
        ) from error
    if image.mode == "L":
        return np.array(image)
    if image.mode.startswith("I;16"):
        return np.array(image).astype(np.uint16)
    what = "a palette's colours" if image.mode == "P" else f"{image.mode} values"
    raise ValueError(
        f"{path}: page {index + 1} holds {what}; grey counts of 8 or 16 bits are expected: export it as 16-bit TIFF"
    )
