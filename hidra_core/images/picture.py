"""Image files in and out: 8 or 16 bits per channel, grey or colour, with alpha and the camera's metadata.

An image goes through the networks as one grey channel. The file of its enhanced version is of the same kind as the
input: the same number of bits, grey or colour, with its alpha, and with the EXIF of the camera (time, model, GPS).
"""

from __future__ import annotations

import errno
import io
import logging
import struct
import warnings
import zlib
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from .files import atomic_path
from .grey import display_range, fit_alpha, to_grey
from .png import check_rows
from .tiff import TiffPages, TiffTags, write_tiff
from .tiff_layout import GDAL_METADATA, GDAL_NODATA, GEO_TAGS, TiffLayout, read_layout

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Format:
    name: str  # Pillow's name
    depths: tuple[int, ...]  # bits per channel
    channels: tuple[int, ...]  # 1 grey, 2 grey and alpha, 3 colour, 4 colour and alpha


_PNG = _Format("PNG", (8, 16), (1, 2, 3, 4))
_TIFF = _Format("TIFF", (8, 16), (1, 2, 3, 4))


_JPEG = _Format("JPEG", (8,), (1, 3))
_FORMATS = {
    ".png": _PNG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".bmp": _Format("BMP", (8,), (1, 3)),
    ".webp": _Format("WEBP", (8,), (1, 2, 3, 4)),
    ".pgm": _Format("PPM", (8, 16), (1,)),
}
EXTENSIONS = tuple(_FORMATS)
"""File name endings (lower case) that ``read_image`` and ``write_image`` know."""

_TABLES = (".csv", ".tsv", ".txt")

_TURNED = {
    **dict.fromkeys(("P", "PA"), "its palette is read as RGB"),
    "1": "its single bits are read as grey of 8 bits",
    "CMYK": "its CMYK is read as RGB",
}
"""What is said of layouts that a result does not have, by the mode of Pillow."""

DECODER_ERRORS = (
    *(OSError, SyntaxError, EOFError, ValueError, TypeError, LookupError, AssertionError, struct.error, zlib.error),
    Image.DecompressionBombError,
)
"""What Pillow's decoders raise on damaged files, and on files that claim to be huge."""

_READABLE = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM")
_CHANNELS = {1: "grey", 2: "grey with alpha", 3: "colour", 4: "colour with alpha"}

_EXIF_IFD, _GPS_IFD = int(ExifTags.IFD.Exif), int(ExifTags.IFD.GPSInfo)
_XMP = int(ExifTags.Base.XMLPacket)
_FILE_TAGS = {
    *(ExifTags.Base.NewSubfileType, ExifTags.Base.SubfileType, ExifTags.Base.ImageWidth, ExifTags.Base.ImageLength),
    *(ExifTags.Base.BitsPerSample, ExifTags.Base.Compression, ExifTags.Base.PhotometricInterpretation),
    ExifTags.Base.FillOrder,
    *(ExifTags.Base.StripOffsets, ExifTags.Base.Orientation, ExifTags.Base.SamplesPerPixel),
    *(ExifTags.Base.RowsPerStrip, ExifTags.Base.StripByteCounts, ExifTags.Base.PlanarConfiguration),
    *(ExifTags.Base.Predictor, ExifTags.Base.ColorMap, ExifTags.Base.TileWidth, ExifTags.Base.TileLength),
    *(ExifTags.Base.TileOffsets, ExifTags.Base.TileByteCounts, ExifTags.Base.SubIFDs, ExifTags.Base.ExtraSamples),
    *(ExifTags.Base.SampleFormat, ExifTags.Base.JPEGTables, ExifTags.Base.JpegIFOffset),
    *(ExifTags.Base.JpegIFByteCount, ExifTags.Base.YCbCrCoefficients, ExifTags.Base.YCbCrSubSampling),
    *(ExifTags.Base.YCbCrPositioning, ExifTags.Base.ReferenceBlackWhite, _XMP),
    *(ExifTags.Base.InterColorProfile, ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight),
    ExifTags.Base.ExifInteroperabilityOffset,
    # what TiffLayout keeps: the ground, GDAL's texts, ImageJ's metadata
    *GEO_TAGS,
    *(GDAL_METADATA, GDAL_NODATA, 50838, 50839),
}
"""TIFF keeps its EXIF among the tags that say where the pixels lie; those, the size and the orientation, which change,
belong to the old file only."""

_JPEG_BLOCK = 65_000  # bytes that a metadata block of a JPEG may have, with room for its header


@dataclass(frozen=True, eq=False)
class Metadata:
    """What a file says about its pixels, for the file of their enhanced version.

    Attributes:
        path: the file.
        exif: EXIF block (camera, time, GPS) without orientation and size; empty if there is none.
        icc_profile: ICC colour profile, or None.
        xmp: XMP block, or None.
        layout: what a TIFF says beyond that.
    """

    path: Path
    exif: bytes = b""
    icc_profile: bytes | None = None
    xmp: bytes | None = None
    layout: TiffLayout = field(default_factory=TiffLayout)

    @property
    def tags(self) -> TiffTags:
        """The same for a TIFF that is to be written."""
        return TiffTags(self.exif, self.xmp, self.icc_profile, self.layout)


@dataclass(frozen=True, eq=False)
class Picture:
    """The content of one image file: its pixels, and the metadata that the file of its enhanced version keeps.

    Attributes:
        path: the file.
        pixels: float32 ``[H, W, C]`` in [0, 1], counts / 255 or counts / 65535, nothing stretched. ``C`` is 1 (grey),
            2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha). Upright: the EXIF orientation is already applied.
        bit_depth: 8 or 16 bits per channel.
        exif: EXIF block (camera, time, GPS) without orientation and size; empty if there is none.
        icc_profile: ICC colour profile, or None.
        xmp: XMP block, or None.
        layout: what a TIFF says beyond that.
    """

    path: Path
    pixels: np.ndarray
    bit_depth: int
    exif: bytes = b""
    icc_profile: bytes | None = None
    xmp: bytes | None = None
    layout: TiffLayout = field(default_factory=TiffLayout)

    @property
    def metadata(self) -> Metadata:
        """All but the pixels."""
        return Metadata(self.path, self.exif, self.icc_profile, self.xmp, self.layout)

    def limits(self) -> tuple[float, float]:
        """The limits for ``stretch``: ``display_range`` of a 16-bit image, (0, 1) for 8 bits (never stretched)."""
        return display_range(self.pixels) if self.bit_depth == 16 else (0.0, 1.0)


def _not_read(path: Path, data: bytes) -> str:
    """What is wrong with a file of no known kind, what was expected, and the remedy."""
    what = "is empty" if not data else "is not a file this program can read"
    if data and path.suffix.lower() in _TABLES:
        return (
            f'{what}: it is named as a table of text. Save its numbers with numpy.save("{path.stem}.npy", '
            f'numpy.loadtxt("{path.name}", delimiter=",")), or as TIFF of floating-point temperatures'
        )
    return (
        f"{what}; expected PNG, JPEG, BMP, WebP or PGM of 8 or 16 bits per channel, TIFF of integers or floating-point "
        "temperatures, .npy or .npz, radiometric JPEG, FLIR FFF or SEQ, raw frames, or a file of another camera that "
        "docs/use/radiometric.md lists"
    )


def read_image(path: str | Path) -> Picture:
    """Read a PNG, JPEG, TIFF, BMP, WebP or PGM file of 8 or 16 bits per channel.

    Palettes become RGB, 1-bit images grey, CMYK RGB. A float TIFF is accepted if it lies in [0, 1]; it counts as
    16 bits. Only the first image of a JPEG with previews is read. 16-bit colour needs OpenCV (Pillow keeps 8 bits).

    Args:
        path: the file.

    Raises:
        OSError: the file is missing, is a folder, or may not be read.
        ValueError: it is no image file, is truncated, holds several pages, or values of other than 8 or 16 bits.
        ImportError: 16-bit colour without OpenCV.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "an image file is expected, this is a folder; use find_images", str(path))
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, "no such image file; check the spelling and the folder", str(path))
    data = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about odd metadata and large images; neither matters here
            image = Image.open(io.BytesIO(data), formats=_READABLE)
            if image.format == "PNG":
                check_rows(data)
            bits = _bits_per_channel(image, data)
            pages = _page_count(image)
            image.load()
            if image.mode in ("P", "PA") and image.palette is None:
                raise ValueError("its palette is missing")
    except UnidentifiedImageError:
        raise ValueError(f"{path} {_not_read(path, data)}") from None
    except Image.DecompressionBombError as error:
        most = f"{2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} megapixels"  # beyond twice that value, Pillow refuses
        raise ValueError(f"{path} has more than {most}, the most that is read; cut it into smaller images") from error
    except DECODER_ERRORS as error:
        raise ValueError(f"{path} is damaged or incomplete ({error}); copy or export it again") from error
    if pages > 1:
        raise ValueError(f"{path} holds {pages} pages, one is expected; save each page as its own file")

    exif, orientation, xmp = read_metadata(image, path)
    layout = read_layout(path) if image.format == "TIFF" else TiffLayout()
    if bits == 16 and image.mode in ("LA", "RGB", "RGBA"):
        grey_alpha = image.format == "PNG" and data[25] == 4  # PNG colour type; Pillow widens it to RGBA
        pixels, bit_depth = _decode_deep_colour(data, "LA" if grey_alpha else image.mode, path), 16
        orientation = 1 if image.format == "TIFF" else orientation  # OpenCV turns TIFF itself, but not PNG
    else:
        pixels, bit_depth = _decode(image, bits, path)
        if image.mode in _TURNED:
            log.info("%s: %s", path, _TURNED[image.mode])
    return Picture(
        path=path,
        pixels=np.ascontiguousarray(turn_upright(pixels, orientation), dtype=np.float32),
        bit_depth=bit_depth,
        exif=exif,
        icc_profile=None if image.mode == "CMYK" else image.info.get("icc_profile"),
        xmp=xmp,
        layout=layout,
    )


def _bits_per_channel(image: ImageFile.ImageFile, data: bytes) -> int:
    """Bits per channel in the file; asked before decoding, as Pillow's modes do not tell 16-bit colour from 8-bit."""
    if image.format == "PNG":
        return data[24]  # the IHDR chunk comes first: signature 8, length 4, name 4, width 4, height 4
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(ExifTags.Base.BitsPerSample, (1,)))
    if image.format == "PPM":
        arguments = image.tile[0].args  # (rawmode, maximum value) unless the maximum is 255 or 65535 and grey
        return 16 if image.mode == "I" or (isinstance(arguments, tuple) and arguments[-1] > 255) else 8
    return 8


def _page_count(image: ImageFile.ImageFile) -> int:
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # previews ("reduced-resolution" images) do not count
        pages = 0
        for index in range(image.n_frames):
            image.seek(index)
            pages += not int(image.tag_v2.get(ExifTags.Base.NewSubfileType, 0)) & 1
        image.seek(0)
        return pages
    return getattr(image, "n_frames", 1) if image.format in ("PNG", "WEBP") else 1


def read_metadata(image: Image.Image, path: Path) -> tuple[bytes, int, bytes | None]:
    """Read the metadata that a file made from this one keeps.

    Args:
        image: opened by Pillow.
        path: its file, for messages.

    Returns:
        (EXIF without the tags that describe the file itself, orientation from 1 to 8, XMP or None)
    """

    def directory(code: int | None) -> dict[int, Any]:
        exif = image.getexif()
        return dict(exif) if code is None else exif.get_ifd(code)

    exif, orientation = _kept(directory, path)
    xmp = image.info.get("xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    # XMP repeats the orientation, which no longer holds once the image is turned.
    return exif, orientation, xmp if orientation == 1 else None


def image_metadata(path: Path, directory: Callable[[int | None], dict[int, Any]]) -> tuple[Metadata, int]:
    """The metadata of a page of a TIFF that Pillow may not be able to open.

    Args:
        path: its file.
        directory: from the code of a sub-directory, or None for the page's own, to its tags and their values.

    Returns:
        (metadata without a layout, orientation from 1 to 8)
    """
    exif, orientation = _kept(directory, path)
    try:
        own = directory(None)
    except DECODER_ERRORS:  # _kept has said it
        own = {}
    xmp, profile = own.get(_XMP), own.get(int(ExifTags.Base.InterColorProfile))
    xmp = bytes(xmp) if isinstance(xmp, bytes | tuple) and orientation == 1 else None
    return Metadata(path, exif, profile if isinstance(profile, bytes) else None, xmp), orientation


def _kept(directory: Callable[[int | None], dict[int, Any]], path: Path) -> tuple[bytes, int]:
    """(EXIF block without the tags that describe the file itself, orientation) of the directories of a file."""
    try:
        own, kept = directory(None), Image.Exif()
        for tag, value in own.items():
            if tag not in _FILE_TAGS and tag not in (_EXIF_IFD, _GPS_IFD) and not _is_of_tifffile(tag, value):
                kept[tag] = value
        for tag in (_EXIF_IFD, _GPS_IFD):
            entries = {key: value for key, value in directory(tag).items() if key not in _FILE_TAGS}
            if entries:
                kept[tag] = entries
        orientation = own.get(ExifTags.Base.Orientation, 1)
        return kept.tobytes() if len(kept) else b"", orientation
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, AttributeError, struct.error) as error:
        # Cameras write broken EXIF often enough; it is no reason to refuse the pixels.
        log.warning("%s: its EXIF cannot be read (%s) and is left out", path, error)
        return b"", 1


def _is_of_tifffile(tag: int, value: Any) -> bool:
    """Whether a tag is the description in which tifffile notes the shape of an array."""
    return tag == ExifTags.Base.ImageDescription and str(value).startswith('{"shape":')


def _decode(image: Image.Image, bits: int, path: Path) -> tuple[np.ndarray, int]:
    """(pixels float32 ``[H, W, C]`` in [0, 1], bit depth) of everything but 16-bit colour."""
    mode = image.mode
    if mode == "F":
        pixels = np.asarray(image, dtype=np.float32)
        if not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 1:
            raise ValueError(
                f"{path} holds floating-point values from {pixels.min():g} to {pixels.max():g}; expected 8- or 16-bit "
                "integers, or finite floats in [0, 1]: export it as 16-bit PNG or TIFF"
            )
        return pixels[..., None], 16
    if mode.startswith("I"):
        counts = np.asarray(image).astype(np.int64)
        if bits > 16 or counts.min() < 0 or counts.max() > 65535:
            raise ValueError(
                f"{path} holds {bits}-bit integers from {counts.min()} to {counts.max()}; expected 8- or 16-bit "
                "integers without sign: export it as 16-bit PNG or TIFF"
            )
        # also where a TIFF says that zero is white: counts are the stored numbers, not their display
        return (counts / 65535.0).astype(np.float32)[..., None], 16
    if bits > 8:
        raise ValueError(f"{path} is a {bits}-bit {mode} image; expected grey or RGB: export it as 16-bit PNG")
    if mode == "1":
        image = image.convert("L")
    elif image.has_transparency_data:
        image = image.convert("LA" if mode in ("L", "LA", "La") else "RGBA")
    elif mode not in ("L", "RGB"):
        image = image.convert("RGB")
    pixels = np.asarray(image, dtype=np.float32) / 255.0
    return pixels.reshape(*pixels.shape[:2], -1), 8


def _decode_deep_colour(data: bytes, mode: str, path: Path) -> np.ndarray:
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            f"{path} is a 16-bit colour image, which needs OpenCV: pip install opencv-python-headless "
            "(or save it as 16-bit grey)"
        ) from error
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # some damaged headers raise, others give None
        pixels = None
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise ValueError(f"{path}: OpenCV cannot read this 16-bit colour image; export it as 16-bit PNG")
    blue_first = {"LA": [0, 3], "RGB": [2, 1, 0], "RGBA": [2, 1, 0, 3]}[mode]
    return pixels[..., blue_first].astype(np.float32) / 65535.0


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply the EXIF orientation to ``[H, W, …]``: 5 to 8 swap the axes first, then each is a choice of flips."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def write_image(path: str | Path, pixels: np.ndarray | torch.Tensor, like: Picture) -> None:
    """Write an image file of the same kind as ``like``: bit depth, grey or colour, alpha, EXIF.

    The file appears complete or not at all: it is written as a temporary file, which then gets its name. Missing
    folders are made. JPEG is written at quality 95 without chroma subsampling, WebP without loss.

    Args:
        path: target file; its extension chooses the format (``EXTENSIONS``).
        pixels: ``[h, w]`` or ``[h, w, C]`` in [0, 1], clipped; may be larger than ``like``. Grey is spread over the
            channels of a colour ``like``, colour becomes grey for a grey one. Alpha comes from ``pixels`` if it has
            some, else from ``like``, resized.
        like: the content of the file that the pixels were made from.

    Raises:
        ValueError: an unknown extension, or one whose format cannot hold the depth or channels; NaN or infinite pixels.
        OSError: the disk is full or the folder not writable. Nothing is left behind.
    """
    path = Path(path)
    check_writable(path, like)
    fmt = _FORMATS[path.suffix.lower()]
    values = _as_kind(pixels, like)
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise ValueError(f"{path}: {bad} of {values.size} values to write are NaN or infinite; nothing was written")
    if values.shape[-1] == 2 and fmt is _TIFF and like.bit_depth == 16:
        values = values[..., [0, 0, 0, 1]]  # grey with alpha in 16 bits is a TIFF that few programs open
    dtype = np.uint8 if like.bit_depth == 8 else np.uint16
    counts = np.rint(values * np.float32(np.iinfo(dtype).max)).astype(dtype)

    with suppress(OSError):  # a folder that cannot be made is reported by the next line
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        if fmt is _TIFF:
            _write_tiff(temporary, counts, like)
        else:
            temporary.write_bytes(_encode(counts, fmt, like))


def _write_tiff(path: Path, counts: np.ndarray, like: Picture) -> None:
    factor = max(1, counts.shape[0] // like.pixels.shape[0])
    tags = like.metadata.tags
    plane = counts[..., 0] if counts.shape[-1] == 1 else counts
    layout = replace(tags.layout.placed(factor), white_is_zero=False)  # the pixels are as they are shown
    pages = TiffPages([plane], 1, plane.shape, counts.dtype, factor=factor)
    write_tiff(path, pages, replace(tags, layout=layout))


def check_writable(path: str | Path, like: Picture) -> None:
    """Say before any work whether ``write_image(path, …, like)`` has a format that can hold such an image.

    Args:
        path: the file to write.
        like: see :func:`write_image`.

    Raises:
        ValueError: unknown extension, or its format holds neither the bit depth nor the channels of ``like``.
    """
    path = Path(path)
    fmt = _FORMATS.get(path.suffix.lower())
    if fmt is None:
        raise ValueError(f"{path}: unknown image file extension '{path.suffix}'; use one of {', '.join(EXTENSIONS)}")
    if like.bit_depth not in fmt.depths:
        raise ValueError(
            f"{path}: {path.suffix} cannot hold the {like.bit_depth} bits per channel of {like.path}; use .png or .tiff"
        )
    channels = like.pixels.shape[-1]
    if channels not in fmt.channels:
        raise ValueError(f"{path}: {path.suffix} cannot hold {_CHANNELS[channels]} like {like.path}; use .png or .tiff")


def _as_kind(pixels: np.ndarray | torch.Tensor, like: Picture) -> np.ndarray:
    """float32 ``[h, w, C]`` in [0, 1] with the channels of ``like``."""
    values = torch.as_tensor(pixels).detach().float().cpu()
    values = values[..., None] if values.ndim == 2 else values
    if values.ndim != 3 or not 1 <= values.shape[-1] <= 4 or values.numel() == 0:
        raise ValueError(f"pixels to write must be [h, w] or [h, w, C] with C from 1 to 4, got {list(values.shape)}")
    reference = torch.from_numpy(like.pixels)[None]
    if (values.shape[-1] < 3) == (reference.shape[-1] < 3):
        colour = values[..., : 1 if values.shape[-1] < 3 else 3]
    else:
        colour = to_grey(values[None])[0, 0, :, :, None].expand(-1, -1, 1 if reference.shape[-1] < 3 else 3)
    if reference.shape[-1] in (2, 4):
        alpha = values[..., -1:] if values.shape[-1] in (2, 4) else fit_alpha(reference, *values.shape[:2])[0]
        colour = torch.cat([colour, alpha], dim=-1)
    return colour.clamp(0, 1).numpy()


def _encode(counts: np.ndarray, fmt: _Format, like: Picture) -> bytes:
    """The file's bytes for ``counts``, uint8 or uint16 ``[h, w, C]``."""
    if counts.dtype == np.uint16 and counts.shape[-1] > 1:  # Pillow has no 16-bit colour
        return _encode_png16(counts, like)
    options: dict = {}
    exif, xmp = like.exif, like.xmp or b""
    if fmt is _JPEG and max(len(exif), len(xmp)) > _JPEG_BLOCK:
        log.warning("%s: its metadata is too long for JPEG and is left out", like.path)
        exif, xmp = b"", b""
    if exif and fmt.name in ("PNG", "JPEG", "WEBP"):
        options["exif"] = exif
    icc_formats = ("PNG", "JPEG", "WEBP") if counts.shape[-1] > 2 else ("PNG", "JPEG")
    if like.icc_profile and fmt.name in icc_formats:
        options["icc_profile"] = like.icc_profile
    if xmp and fmt.name in ("JPEG", "WEBP"):
        options["xmp"] = xmp
    elif xmp and fmt is _PNG:
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
    if fmt is _JPEG:
        options |= {"quality": 95, "subsampling": 0}
    elif fmt.name == "WEBP":
        options["lossless"] = True
    buffer = io.BytesIO()
    Image.fromarray(counts[..., 0] if counts.shape[-1] == 1 else counts).save(buffer, fmt.name, **options)
    return buffer.getvalue()


def _encode_png16(counts: np.ndarray, like: Picture) -> bytes:
    height, width, channels = counts.shape
    rows = counts.astype(">u2").view(np.uint8).reshape(height, -1)
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = np.hstack([np.full((height, 1), 2, np.uint8), rows - above])  # filter 2: difference to the row above
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))]
    if like.icc_profile:
        parts.append(chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(like.icc_profile)))
    if like.exif:
        parts.append(chunk(b"eXIf", like.exif.removeprefix(b"Exif\0\0")))
    if like.xmp:
        parts.append(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + like.xmp))
    return b"".join([*parts, chunk(b"IDAT", zlib.compress(filtered.tobytes(), 6)), chunk(b"IEND", b"")])
