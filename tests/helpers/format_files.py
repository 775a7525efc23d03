"""Files of counts in many formats, and readers for them that are not ours."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from . import thermal_files
from .clip_files import write_clip

tifffile = pytest.importorskip("tifffile")
rasterio = pytest.importorskip("rasterio")

Write = Callable[[Path, np.ndarray], object]
Read = Callable[[Path], np.ndarray]

IMAGEJ = ("uint8", "uint16", "float32")
"""Types that ImageJ has."""

FLIR_PLANES = ("plain", "PNG", "JPEG-LS")
TILED = {"tiled": True, "blockxsize": 16, "blockysize": 32}
SPARSE = TILED | {"sparse_ok": True, "nodata": 7}

# --- independent readers: all pages [N, H, W], of grey alone ---------------------------------------------------------


def by_gdal(path: Path) -> np.ndarray:
    """The first band of each page; all bands of a stack that GDAL opens as one."""
    with rasterio.open(path) as file:
        if not file.subdatasets:
            alpha = rasterio.enums.ColorInterp.alpha in file.colorinterp
            return file.read(list(range(1, file.count + (not alpha))))
        parts = [rasterio.open(name) for name in file.subdatasets]
    pages = [part.read(1) for part in parts if "subfiletype" not in part.tags()]
    return np.stack(pages)


def by_tifffile(path: Path) -> np.ndarray:
    with tifffile.TiffFile(path) as tif:
        pages = [page.asarray() for page in tif.pages if not page.aspage().subfiletype & 5]
    planes = np.stack(pages)
    return planes if planes.ndim == 3 else planes[..., 0] if planes.shape[-1] == 2 else planes[:, 0]


def by_series(path: Path) -> np.ndarray:
    """A stack of tifffile's or ImageJ's, which may lie behind a single directory."""
    return tifffile.imread(path)


def by_pillow(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels[None, ..., 0]


def by_opencv(path: Path) -> np.ndarray:
    pixels = pytest.importorskip("cv2").imread(str(path), -1)
    return pixels[None] if pixels.ndim == 2 else pixels[None, ..., 0]


def by_pyav(path: Path) -> np.ndarray:
    """The stored numbers of grey frames, of whatever depth."""
    frames = []
    with pytest.importorskip("av").open(str(path)) as container:
        for frame in container.decode(video=0):
            depth = re.fullmatch(r"gray(?:(\d+)(le|be))?", frame.format.name)
            assert depth, frame.format.name
            kind = np.dtype(np.uint8) if depth[1] is None else np.dtype("<u2" if depth[2] == "le" else ">u2")
            lines = np.frombuffer(frame.planes[0], kind).reshape(frame.height, -1)
            frames.append(lines[:, : frame.width].astype(kind.newbyteorder("=")))
    return np.stack(frames)


# --- the formats -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A file to write, and a reader for it that is not ours; None where counts are only what was written."""

    name: str
    suffix: str
    write: Write
    read: Read | None
    pages: int = 1
    dtype: str = "uint16"
    shape: tuple[int, int] = (48, 64)
    kind: str = ""

    def planes(self) -> np.ndarray:
        """Pages that differ, with values of all sizes that the type has, and a few alone at its ends."""
        kind = np.dtype(self.dtype)
        scene = np.stack([thermal_files.frame(*self.shape, seed=seed) for seed in range(self.pages)])
        scene = scene.astype(np.float64) - 17000
        if self.kind == "unit":
            planes = ((scene - scene.min()) / np.ptp(scene)).astype(kind)
        elif kind.kind == "f":
            planes = (scene / 13 - 20).astype(kind)
        elif kind == np.uint8:
            planes = (scene / 6 + 30).clip(0, 255).astype(kind)
        else:
            planes = (scene * (1 if kind.itemsize == 2 else 70_001) + (0 if kind.kind == "i" else 17000)).astype(kind)
            planes -= kind.type(600 if kind.kind == "i" else 0)
        if self.kind == "nan":
            planes[:, 5:9, 7:20] = np.nan
        elif self.kind == "nodata":
            planes[:, 5:9, 7:20] = -9999 if kind.kind in "fi" else 7
        elif self.kind == "sparse":
            planes[:, 32:, 16:48] = 7
        elif self.kind.endswith(" bits"):
            planes = (planes - planes.min()).clip(0, 2 ** int(self.kind.split()[0]) - 1)
        return planes


def pages_of(**options: Any) -> Write:
    """Writes a TIFF with tifffile, one page after the other."""
    head = {name: options.pop(name) for name in ("bigtiff", "byteorder") if name in options}

    def write(path: Path, planes: np.ndarray) -> None:
        with tifffile.TiffWriter(path, **head) as writer:
            for plane in planes:
                writer.write(plane, **({"photometric": "minisblack", "metadata": None} | options))

    return write


def stack_of(**options: Any) -> Write:
    """Writes a TIFF with tifffile, all pages at once."""
    return lambda path, planes: tifffile.imwrite(path, planes, **({"photometric": "minisblack"} | options))


def with_alpha(planarconfig: str) -> Write:
    def write(path: Path, planes: np.ndarray) -> None:
        opaque = 1 if planes.dtype.kind == "f" else np.iinfo(planes.dtype).max
        alpha = np.full(planes.shape[1:], opaque, planes.dtype)
        alpha[3:8] = 0
        axis = -1 if planarconfig == "contig" else 0
        with tifffile.TiffWriter(path) as writer:
            for plane in planes:
                options: dict[str, Any] = {"planarconfig": planarconfig, "extrasamples": ["unassalpha"]}
                writer.write(np.stack([plane, alpha], axis), photometric="minisblack", metadata=None, **options)

    return write


def by_rasterio(mask: bool = False, **options: Any) -> Write:
    """Writes a GeoTIFF with GDAL."""

    def write(path: Path, planes: np.ndarray) -> None:
        place = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.05, 0, 5e5, 0, -0.05, 52e5)}
        size = {"height": planes.shape[1], "width": planes.shape[2], "count": 1, "dtype": planes.dtype.name}
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(path, "w", driver="GTiff", **size, **place, **options) as file,
        ):
            file.write(planes[0], 1)
            if mask:
                file.write_mask(np.pad(np.ones((30, 40), bool), ((10, 8), (12, 12))))

    return write


def hyperstack(path: Path, planes: np.ndarray) -> None:
    """Two channels at two times."""
    tifffile.imwrite(path, planes.reshape(2, 2, *planes.shape[1:]), imagej=True, metadata={"axes": "TCYX"})


def with_overviews(path: Path, planes: np.ndarray) -> None:
    by_rasterio(compress="deflate", **TILED)(path, planes)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])


def with_masks(path: Path, planes: np.ndarray) -> None:
    """Pages with a mask page each, as GDAL writes them."""
    mask = np.pad(np.ones((30, 40), bool), ((10, 8), (12, 12)))
    with tifffile.TiffWriter(path) as writer:
        for plane in planes:
            writer.write(plane, photometric="minisblack", metadata=None)
            writer.write(mask, photometric="mask", subfiletype=4, metadata=None)


def png(path: Path, planes: np.ndarray) -> None:
    Image.fromarray(planes[0]).save(path)


def by_numpy(path: Path) -> np.ndarray:
    with np.load(path) as archive:
        return archive["counts"]


def by_numpy_in_big_endian(path: Path) -> np.ndarray:
    return np.load(path).astype(np.uint16)


def deep_png_with_alpha(path: Path, planes: np.ndarray) -> None:
    plane = planes[0].astype(">u2")
    rows = np.stack([plane, np.full_like(plane, 65535)], -1)
    write_png(path, rows.reshape(len(plane), -1).view(np.uint8), plane.shape[1], colour_type=4)


def interlaced_png(path: Path, planes: np.ndarray) -> None:
    """Adam7, seven passes (PNG specification, section 8.2)."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    plane = planes[0]
    parts = [plane[top::down, left::across].astype(">u2") for top, left, down, across in passes]
    body = b"".join(b"\0" + row.tobytes() for part in parts for row in part)
    path.write_bytes(png_file(body, plane.shape[1], plane.shape[0], colour_type=0, interlaced=1))


def write_png(path: Path, rows: np.ndarray, width: int, colour_type: int) -> None:
    path.write_bytes(png_file(b"".join(b"\0" + row.tobytes() for row in rows), width, len(rows), colour_type, 0))


def png_file(body: bytes, width: int, height: int, colour_type: int, interlaced: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, interlaced))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def pgm(magic: str, most: int) -> tuple[Write, Read]:
    """Writes, and reads, a PGM with this largest value (https://netpbm.sourceforge.net/doc/pgm.html)."""
    kind = ">u1" if most < 256 else ">u2"

    def write(path: Path, planes: np.ndarray) -> None:
        plane = np.minimum(planes[0], most)
        text = f"{magic}\n# made for a test\n{plane.shape[1]} {plane.shape[0]}\n{most}\n".encode()
        rows = "\n".join(" ".join(map(str, row)) for row in plane.tolist()).encode()
        path.write_bytes(text + (rows if magic == "P2" else plane.astype(kind).tobytes()))

    def read(path: Path) -> np.ndarray:
        _, _, size, _, body = path.read_bytes().split(b"\n", 4)
        width, height = map(int, size.split())
        numbers = np.array(body.split(), np.int64) if magic == "P2" else np.frombuffer(body, kind)
        return numbers.astype(kind[1:]).reshape(1, height, width)

    return write, read


def flir(suffix: str, plane: str) -> Write:
    """Writes a FLIR file with its planes plain, as PNG or as JPEG-LS."""

    def encoded(counts: np.ndarray) -> bytes | None:
        if plane == "plain":
            return None
        if plane == "PNG":
            return thermal_files.png_plane(counts, swapped=True)
        return pytest.importorskip("imagecodecs").jpegls_encode(counts)

    def write(path: Path, planes: np.ndarray) -> None:
        content = [thermal_files.fff(counts, encoded(counts)) for counts in planes]
        if suffix == ".jpg":
            thermal_files.flir_jpeg(path, content[0])
        else:
            path.write_bytes(b"".join(content))

    return write


def raw(kind: str) -> tuple[Write, Read]:
    """Writes, and reads, raw frames of 64x48 counts of a type."""
    return (
        lambda path, planes: path.write_bytes(planes.astype(kind).tobytes()),
        lambda path: np.fromfile(path, kind).reshape(-1, 48, 64).astype(np.dtype(kind).newbyteorder("=")),
    )


def clip(bits: int) -> Write:
    """Writes a clip of grey frames, FFV1."""

    def write(path: Path, planes: np.ndarray) -> None:
        layout = "gray" if bits == 8 else f"gray{bits}le"
        frames = [torch.from_numpy(plane.astype(np.float64) / (2**bits - 1))[..., None] for plane in planes]
        write_clip(path, frames, codec="ffv1", layout=layout)

    return write
