"""Pictures in and out: files, grey conversion, the range of 16-bit frames, finding inputs.

A picture goes through the network as one grey channel and comes back as what it was: the same number of bits, grey
or colour, with its alpha, and with the EXIF of the camera (time, model, GPS).
"""

from __future__ import annotations

import errno
import glob
import io
import logging
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont, TiffImagePlugin, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from .files import atomic_path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Format:
    name: str  # Pillow's name
    depths: tuple[int, ...]  # bits a channel
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

DECODER_ERRORS = (OSError, SyntaxError, EOFError, ValueError, TypeError, IndexError, struct.error, zlib.error)
"""What Pillow's decoders raise on damaged files."""

_READABLE = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM")
_KINDS = {1: "grey", 2: "grey with alpha", 3: "colour", 4: "colour with alpha"}

_ORIENTATION, _EXIF_IFD, _GPS_IFD, _XMP = 0x0112, 0x8769, 0x8825, 700
# TIFF keeps its EXIF among the tags that say where the pixels lie and, in GeoTIFF, what ground they cover; those (and
# the size and orientation, which we change) belong to the old file only.
_FILE_TAGS = {*range(254, 260), 262, 266, 273, _ORIENTATION, 277, 278, 279, 284, 317, 320, *range(322, 326), 330, 338}
_FILE_TAGS |= {339, 347, 513, 514, *range(529, 533), _XMP, 33550, 33922, 34264, 34675, *range(34735, 34738)}
_FILE_TAGS |= {40962, 40963, 40965}
_JPEG_BLOCK = 65_000  # bytes that a metadata block of a JPEG may have, with room for its header


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as read from a file, with what is needed to write its enhanced version back.

    Attributes:
        path: the file it came from.
        pixels: float32 ``[H, W, C]`` in [0, 1], counts / 255 or counts / 65535, nothing stretched. ``C`` is 1 (grey),
            2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha). Upright: the EXIF orientation is already applied.
        bit_depth: 8 or 16 bits a channel.
        exif: EXIF block (camera, time, GPS) without orientation and size; empty if there is none.
        icc_profile, xmp: those blocks of the file, or None.
    """

    path: Path
    pixels: np.ndarray
    bit_depth: int
    exif: bytes = b""
    icc_profile: bytes | None = None
    xmp: bytes | None = None

    def limits(self) -> tuple[float, float]:
        """The limits for ``stretch``: ``display_range`` of a 16-bit picture, (0, 1) for 8 bits (never stretched)."""
        return display_range(self.pixels) if self.bit_depth == 16 else (0.0, 1.0)


# --- reading ---------------------------------------------------------------------------------------------------------


def read_image(path: str | Path) -> Picture:
    """Read a PNG, JPEG, TIFF, BMP, WebP or PGM file of 8 or 16 bits a channel.

    Palettes become RGB, 1-bit pictures grey, CMYK RGB. A float TIFF is accepted if it lies in [0, 1]; it counts as
    16 bits. Only the first image of a JPEG with previews is read. 16-bit colour needs OpenCV (Pillow keeps 8 bits).

    Raises:
        OSError: the file is missing, is a folder, or may not be read.
        ValueError: it is no picture, is truncated, holds several frames, or values that are not 8 or 16 bits.
        ImportError: 16-bit colour without OpenCV.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a picture is expected, this is a folder; use find_images", str(path))
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, "no such picture; check the spelling and the folder", str(path))
    data = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about odd metadata and large pictures; neither matters here
            image = Image.open(io.BytesIO(data), formats=_READABLE)
            bits = _bits_per_channel(image, data)
            frames = _frame_count(image)
            image.load()
    except UnidentifiedImageError:
        what = "is empty" if not data else "is not a picture this program can read"
        raise ValueError(
            f"{path} {what}; expected PNG, JPEG, TIFF, BMP, WebP or PGM with 8 or 16 bits a channel"
        ) from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} is too large: {error}; cut it into smaller pictures") from error
    except DECODER_ERRORS as error:
        raise ValueError(f"{path} is damaged or incomplete ({error}); copy or export it again") from error
    if frames > 1:
        raise ValueError(f"{path} holds {frames} frames, one is expected; save them as single pictures")

    exif, orientation, xmp = read_metadata(image, path)
    if bits == 16 and image.mode in ("LA", "RGB", "RGBA"):
        grey_alpha = image.format == "PNG" and data[25] == 4  # PNG colour type; Pillow widens it to RGBA
        pixels, bit_depth = _decode_deep_colour(data, "LA" if grey_alpha else image.mode, path), 16
        orientation = 1 if image.format == "TIFF" else orientation  # OpenCV turns TIFF itself, but not PNG
    else:
        pixels, bit_depth = _decode(image, bits, path)
    return Picture(
        path=path,
        pixels=np.ascontiguousarray(turn_upright(pixels, orientation), dtype=np.float32),
        bit_depth=bit_depth,
        exif=exif,
        icc_profile=None if image.mode == "CMYK" else image.info.get("icc_profile"),
        xmp=xmp,
    )


def _bits_per_channel(image: Image.Image, data: bytes) -> int:
    """Bits a channel in the file; asked before decoding, for Pillow's modes do not tell 16-bit colour from 8-bit."""
    if image.format == "PNG":
        return data[24]  # the IHDR chunk comes first: signature 8, length 4, name 4, width 4, height 4
    if image.format == "TIFF":
        return max(image.tag_v2.get(258, (1,)))
    if image.format == "PPM":
        arguments = image.tile[0].args  # (rawmode, maximum value) unless the maximum is 255 or 65535 and grey
        return 16 if image.mode == "I" or (isinstance(arguments, tuple) and arguments[-1] > 255) else 8
    return 8


def _frame_count(image: Image.Image) -> int:
    if image.format == "TIFF":  # previews ("reduced-resolution" pages) are not frames
        frames = 0
        for index in range(image.n_frames):
            image.seek(index)
            frames += not int(image.tag_v2.get(254, 0)) & 1
        image.seek(0)
        return frames
    return getattr(image, "n_frames", 1) if image.format in ("PNG", "WEBP") else 1


def read_metadata(image: Image.Image, path: Path) -> tuple[bytes, int, bytes | None]:
    """EXIF without the tags that describe the old file, orientation (1 to 8), XMP."""
    try:
        source, kept = image.getexif(), Image.Exif()
        for tag, value in source.items():
            if tag not in _FILE_TAGS and tag not in (_EXIF_IFD, _GPS_IFD):
                kept[tag] = value
        for tag in (_EXIF_IFD, _GPS_IFD):
            entries = {key: value for key, value in source.get_ifd(tag).items() if key not in _FILE_TAGS}
            if entries:
                kept[tag] = entries
        orientation = source.get(_ORIENTATION, 1)
        exif = kept.tobytes() if len(kept) else b""
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, AttributeError, struct.error) as error:
        # Cameras write broken EXIF often enough; it is no reason to refuse the pixels.
        log.warning("%s: its EXIF cannot be read (%s) and is left out", path, error)
        exif, orientation = b"", 1
    xmp = image.info.get("xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    # XMP repeats the orientation, which no longer holds once the picture is turned.
    return exif, orientation, xmp if orientation == 1 else None


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
        if image.format == "TIFF" and image.tag_v2.get(262) == 0:
            counts = 65535 - counts  # photometric "white is zero", which Pillow undoes for 8 bits only
        return (counts / 65535.0).astype(np.float32)[..., None], 16
    if bits > 8:
        raise ValueError(f"{path} is a {bits}-bit {mode} picture; expected grey or RGB: export it as 16-bit PNG")
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
            f"{path} is a 16-bit colour picture, which needs OpenCV: pip install opencv-python-headless "
            "(or save it as 16-bit grey)"
        ) from error
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise ValueError(f"{path}: OpenCV cannot read this 16-bit colour picture; export it as 16-bit PNG")
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


# --- writing ---------------------------------------------------------------------------------------------------------


def write_image(path: str | Path, pixels: np.ndarray | torch.Tensor, like: Picture) -> None:
    """Write a picture of the same kind as ``like``: bit depth, grey or colour, alpha, EXIF.

    The file appears complete or not at all: it is written beside its place and then moved there. Missing folders are
    made. JPEG is written at quality 95 without chroma subsampling, WebP without loss.

    Args:
        path: target file; its extension chooses the format (``EXTENSIONS``).
        pixels: ``[h, w]`` or ``[h, w, C]`` in [0, 1], clipped; may be larger than ``like``. Grey is spread over the
            channels of a colour ``like``, colour becomes grey for a grey one. Alpha comes from ``pixels`` if it has
            some, else from ``like``, resized.
        like: the picture it was made from.

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
        temporary.write_bytes(_encode(counts, fmt, like))


def check_writable(path: str | Path, like: Picture) -> None:
    """Say before any work whether ``write_image(path, …, like)`` has a format that holds such a picture.

    Raises:
        ValueError: unknown extension, or its format holds neither the bit depth nor the channels of ``like``.
    """
    path = Path(path)
    fmt = _FORMATS.get(path.suffix.lower())
    if fmt is None:
        raise ValueError(f"{path}: unknown picture extension '{path.suffix}'; use one of {', '.join(EXTENSIONS)}")
    if like.bit_depth not in fmt.depths:
        raise ValueError(
            f"{path}: {path.suffix} cannot hold the {like.bit_depth} bits a channel of {like.path}; use .png or .tiff"
        )
    channels = like.pixels.shape[-1]
    if channels not in fmt.channels:
        raise ValueError(f"{path}: {path.suffix} cannot hold {_KINDS[channels]} like {like.path}; use .png or .tiff")


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
        alpha = values[..., -1:] if values.shape[-1] in (2, 4) else _fit_alpha(reference, *values.shape[:2])[0]
        colour = torch.cat([colour, alpha], dim=-1)
    return colour.clamp(0, 1).numpy()


def _encode(counts: np.ndarray, fmt: _Format, like: Picture) -> bytes:
    """The file's bytes for ``counts``, uint8 or uint16 ``[h, w, C]``."""
    if counts.dtype == np.uint16 and counts.shape[-1] > 1:  # Pillow has no 16-bit colour
        return _encode_png16(counts, like) if fmt is _PNG else _encode_tiff16(counts, like)
    options: dict = {}
    exif, xmp = like.exif, like.xmp or b""
    if fmt is _JPEG and max(len(exif), len(xmp)) > _JPEG_BLOCK:
        log.warning("%s: its metadata is too long for JPEG and is left out", like.path)
        exif, xmp = b"", b""
    if xmp and fmt is _TIFF:
        block = Image.Exif()
        block.load(exif)
        block[_XMP] = xmp
        exif = block.tobytes()
    if exif and fmt.name in ("PNG", "JPEG", "WEBP", "TIFF"):
        options["exif"] = exif
    icc_formats = ("PNG", "JPEG", "TIFF", "WEBP") if counts.shape[-1] > 2 else ("PNG", "JPEG", "TIFF")
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


def _encode_tiff16(counts: np.ndarray, like: Picture) -> bytes:
    height, width, channels = counts.shape
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    exif = Image.Exif()
    exif.load(like.exif)
    for tag, value in exif.items():
        tags[tag] = exif.get_ifd(tag) if tag in (_EXIF_IFD, _GPS_IFD) else value
    body = counts.astype("<u2").tobytes()
    # 262 = 2: RGB; one strip (273, 278, 279) that follows the tags, Pillow adds their end to the offset 0
    layout = {256: width, 257: height, 258: (16,) * channels, 259: 1, 262: 2, 273: 0, 277: channels, 278: height}
    layout |= {279: len(body), 284: 1}
    for tag, value in layout.items():
        tags[tag] = value
    if channels == 4:
        tags[338] = 2  # the fourth channel is alpha, not premultiplied
    if like.icc_profile:
        tags[34675] = like.icc_profile
    if like.xmp:
        tags[_XMP] = like.xmp
    header = b"II*\0" + struct.pack("<I", 8)
    return header + tags.tobytes(len(header)) + body


# --- the range of 16-bit frames --------------------------------------------------------------------------------------


def display_range(pixels: np.ndarray | torch.Tensor) -> tuple[float, float]:
    """Lowest and highest grey value of the scene, for frames whose counts fill a narrow band of their 16 bits.

    They are the extremes of the 3x3 median of the grey picture: dead and stuck pixels, pairs of them and single dead
    lines do not set the scale, while objects three pixels wide and high do. No tail of the histogram is cut off.

    Args:
        pixels: ``[H, W, C]`` in [0, 1]; alpha is ignored.

    Returns:
        (low, high), low <= high; equal for a flat picture.
    """
    # Only the 16-bit path needs SciPy, and its import is slow.
    from scipy.ndimage import median_filter

    grey = to_grey(torch.as_tensor(pixels)[None])[0, 0].cpu().numpy()
    # Counts first: a median by rank is exact, and integers make it fast.
    smooth = median_filter(np.rint(grey * 65535.0).astype(np.uint16), size=3, mode="nearest")
    return float(smooth.min()) / 65535.0, float(smooth.max()) / 65535.0


def stretch(pixels, limits: tuple[float, float]):
    """Map ``limits`` to [0, 1] and clip; a flat picture (equal limits) becomes 0.5 everywhere.

    Args:
        pixels: array or tensor ``[..., H, W, C]``, channels last; an alpha channel (``C`` of 2 or 4) is left alone.
        limits: (low, high) as from ``display_range`` or ``Picture.limits``.
    """
    low, high = limits
    if high <= low:
        return _map_colour(pixels, lambda colour: colour * 0 + 0.5)
    return _map_colour(pixels, lambda colour: ((colour - low) / (high - low)).clip(0, 1))


def unstretch(pixels, limits: tuple[float, float]):
    """The inverse of ``stretch``: bring [0, 1] back onto the counts of the input. Same shapes as there."""
    low, high = limits
    return _map_colour(pixels, lambda colour: colour.clip(0, 1) * (high - low) + low)


def _map_colour(pixels, function):
    if pixels.shape[-1] not in (2, 4):
        return function(pixels)
    colour, alpha = pixels[..., :-1], pixels[..., -1:]
    join = torch.cat if isinstance(pixels, torch.Tensor) else np.concatenate
    return join([function(colour), alpha], -1)


# --- grey and back ---------------------------------------------------------------------------------------------------


def to_grey(images: torch.Tensor) -> torch.Tensor:
    """Luma (0.299, 0.587, 0.114) of ``[B, H, W, C]`` as ``[B, 1, H, W]``, same value range; alpha is ignored.

    Grey stored as colour (equal channels) comes back as exactly that channel.
    """
    if images.shape[-1] < 3:
        return images[..., :1].permute(0, 3, 1, 2)
    red, green, blue = images[..., 0], images[..., 1], images[..., 2]
    return (green + 0.299 * (red - green) + 0.114 * (blue - green))[:, None]


def from_grey(grey: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Give grey pictures the channels of the pictures they came from.

    Args:
        grey: ``[B, 1, h, w]``, for instance an enhanced and upscaled picture.
        like: ``[B, H, W, C]`` with ``C`` from 1 to 4.

    Returns:
        ``[B, h, w, C]`` on the device and of the dtype of ``grey``: equal colour channels, alpha of ``like``
        (bilinearly resized if the size differs).
    """
    height, width = grey.shape[-2:]
    channels = like.shape[-1]
    colour = grey.permute(0, 2, 3, 1).expand(-1, -1, -1, 1 if channels < 3 else 3)
    if channels in (1, 3):
        return colour.contiguous()
    return torch.cat([colour, _fit_alpha(like, height, width).to(grey)], dim=-1)


def _fit_alpha(like: torch.Tensor, height: int, width: int) -> torch.Tensor:
    alpha = like[..., -1:]
    if alpha.shape[1:3] == (height, width):
        return alpha
    resized = F.interpolate(alpha.permute(0, 3, 1, 2).float(), (height, width), mode="bilinear", align_corners=False)
    return resized.permute(0, 2, 3, 1)


def check_images(images: torch.Tensor | Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Check pictures before any work is done on them.

    Args:
        images: ``[B, H, W, C]``, one ``[H, W, C]``, or a list of ``[H, W, C]`` of any sizes; floats in [0, 1], ``C``
            from 1 to 4. Overshoot up to 0.01 is allowed.

    Returns:
        the pictures one by one, ``[H, W, C]``, unchanged.

    Raises:
        ValueError: names the picture, what is wrong, what is expected and what to do.
    """
    if isinstance(images, torch.Tensor):
        if images.ndim == 3:
            images = images[None]
        if images.ndim != 4:
            raise ValueError(f"images must be [B, H, W, C] or [H, W, C], got {_shape(images)}; reshape them")
        if images.shape[-1] not in (1, 2, 3, 4) and images.shape[1] in (1, 2, 3, 4) and len(images):
            raise ValueError(
                f"images must be [B, H, W, C], channels last, got {_shape(images)}; use images.permute(0, 2, 3, 1)"
            )
    if not isinstance(images, torch.Tensor | list | tuple):
        raise ValueError(
            f"images must be a tensor or tensors in a list, got {type(images).__name__}; use torch.from_numpy"
        )
    if len(images) == 0:
        raise ValueError("no images: the batch is empty; at least one picture is needed")
    for index, image in enumerate(images):
        _check_image(image, f"image {index} of {len(images)}")
    return list(images)


def _check_image(image: torch.Tensor, name: str) -> None:
    if not isinstance(image, torch.Tensor):
        raise ValueError(f"{name} is a {type(image).__name__}, a tensor is expected; use torch.from_numpy for arrays")
    if image.ndim != 3:
        raise ValueError(f"{name} must be [H, W, C], got {_shape(image)}; add or remove axes")
    height, width, channels = image.shape
    if channels not in (1, 2, 3, 4):
        raise ValueError(
            f"{name} must have 1 to 4 channels, last, got {_shape(image)}; for grey without a channel axis use "
            "image[..., None], for [C, H, W] image.permute(1, 2, 0)"
        )
    if height == 0 or width == 0:
        raise ValueError(f"{name} is empty, {_shape(image)}; height and width must be at least 1")
    if not image.is_floating_point():
        full_scale = {torch.uint8: 255, torch.int16: 65535, torch.uint16: 65535}.get(image.dtype, 255)
        raise ValueError(f"{name} holds {image.dtype}, floats in [0, 1] are expected; divide by {full_scale}")
    finite = torch.isfinite(image)
    if not finite.all():
        bad = int((~finite).sum())
        raise ValueError(
            f"{name} has {bad} of {image.numel()} values that are NaN or infinite; finite values in [0, 1] are "
            "expected: look at what made it, or use torch.nan_to_num"
        )
    low, high = float(image.min()), float(image.max())
    if low < -0.01 or high > 1.01:
        raise ValueError(
            f"{name} has values from {low:g} to {high:g}, [0, 1] is expected; divide 8-bit values by 255, 16-bit ones "
            "by 65535, and map [-1, 1] with (image + 1) / 2"
        )


def _shape(tensor: torch.Tensor) -> str:
    return str(list(tensor.shape))


# --- finding ---------------------------------------------------------------------------------------------------------


def find_images(inputs: Iterable[str | Path], extensions: Sequence[str] = EXTENSIONS) -> list[tuple[Path, Path]]:
    """List the pictures that files, folders and patterns stand for.

    Folders are searched with their sub-folders for ``extensions``, hidden names are skipped, and "2.png" comes before
    "10.png". Patterns may use ``*``, ``?``, ``[…]`` and ``**``. A file met twice is listed once. A file named
    explicitly is listed whatever its extension.

    Returns:
        (file, relative name) pairs in the order of the inputs. Relative names keep the sub-folders below the input; if
        two files would share one (ignoring case), the names of their folders are put in front until they differ.

    Raises:
        FileNotFoundError: an input does not exist, or no picture is in it.
    """
    found: dict[Path, Path] = {}  # absolute file: the folder that its relative name starts from
    shown: dict[Path, Path] = {}  # absolute file: as the caller spelt it
    for given in inputs:
        root, files = _expand(given, extensions)
        for file in sorted(files, key=_natural):
            absolute = Path(os.path.abspath(file))
            if absolute not in found:
                found[absolute], shown[absolute] = Path(os.path.abspath(root)), file
    return [(shown[file], name) for file, name in _relative_names(found).items()]


def _expand(given: str | Path, extensions: Sequence[str]) -> tuple[Path, list[Path]]:
    """(folder that relative names start from, files) of one input."""
    path = Path(given).expanduser()
    if path.is_file():
        return path.parent, [path]
    if path.is_dir():
        files = []
        for folder, subfolders, names in os.walk(path):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            files += [Path(folder, name) for name in names if _is_picture_name(name, extensions)]
        if not files:
            raise FileNotFoundError(
                errno.ENOENT, f"no pictures in this folder (looked for {', '.join(extensions)})", str(path)
            )
        return path, files
    if glob.has_magic(str(path)):
        files = [Path(name) for name in glob.glob(str(path), recursive=True)]
        files = [file for file in files if file.is_file() and _is_picture_name(file.name, extensions)]
        if not files:
            raise FileNotFoundError(
                errno.ENOENT, "no picture matches this pattern; check it, and quote it on the command line", str(path)
            )
        fixed = []
        for part in path.parts[:-1]:
            if glob.has_magic(part):
                break
            fixed.append(part)
        return Path(*fixed), files
    raise FileNotFoundError(errno.ENOENT, "no such file or folder; check the spelling and the folder", str(path))


def _is_picture_name(name: str, extensions: Sequence[str]) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in extensions


def _natural(path: Path) -> tuple:
    """Sort key in which runs of digits compare as numbers, folder by folder."""
    pieces = (re.split(r"(\d+)", part.casefold()) for part in path.parts)
    return tuple([int(piece) if index % 2 else piece for index, piece in enumerate(part)] for part in pieces), str(path)


def _relative_names(roots: dict[Path, Path]) -> dict[Path, Path]:
    roots = dict(roots)
    while True:
        names = {file: file.relative_to(root) for file, root in roots.items()}
        groups: dict[str, list[Path]] = {}
        for file, name in names.items():
            groups.setdefault(str(name).casefold(), []).append(file)
        # Two names in one folder that differ in case only are possible where case counts; there they do not clash.
        clashing = [file for files in groups.values() if len({file.parent for file in files}) > 1 for file in files]
        movable = [file for file in clashing if roots[file] != roots[file].parent]
        if not movable:
            return names
        for file in movable:
            roots[file] = roots[file].parent


# --- looking ---------------------------------------------------------------------------------------------------------


def comparison(
    before: np.ndarray | torch.Tensor, after: np.ndarray | torch.Tensor, labels: tuple[str, str] = ("before", "after")
) -> Image.Image:
    """Two pictures side by side with a gap and a labelled strip above, as an RGB picture.

    Args:
        before, after: ``[H, W]`` or ``[H, W, C]`` in [0, 1], clipped; alpha is ignored. The smaller one is enlarged to
            the height and width of the larger one without smoothing.
        labels: the text above each.
    """
    panels = [_to_pil(before), _to_pil(after)]
    width, height = max(panel.width for panel in panels), max(panel.height for panel in panels)
    panels = [panel.resize((width, height), Image.Resampling.NEAREST) for panel in panels]
    font_size = max(10, min(28, height // 20))
    font = ImageFont.load_default(font_size)
    gap, strip = max(2, width // 160), font_size + font_size // 2
    canvas = Image.new("RGB", (2 * width + gap, height + strip), (255, 255, 255))
    draw = ImageDraw.Draw(canvas)
    for index, (panel, label) in enumerate(zip(panels, labels, strict=True)):
        left = index * (width + gap)
        canvas.paste(panel, (left, strip))
        draw.text((left + width / 2, strip / 2), label, fill=(20, 20, 20), font=font, anchor="mm")
    return canvas


def _to_pil(pixels: np.ndarray | torch.Tensor) -> Image.Image:
    values = torch.as_tensor(pixels).detach().float().cpu()
    values = values[..., None] if values.ndim == 2 else values
    colour = values[..., :1].expand(-1, -1, 3) if values.shape[-1] < 3 else values[..., :3]
    return Image.fromarray((colour.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
