"""Small files of every kind that is read, from which fuzz.py makes damaged ones."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # whose camera files are rendered from scratch

from helpers import thermal_files as cameras

if TYPE_CHECKING:
    from collections.abc import Callable

FRAME = cameras.frame(24, 32)
FRAMES = np.stack([cameras.frame(24, 32, seed) for seed in range(3)])
SENSOR = cameras.frame(60, 80)


def tiff() -> dict[str, Callable[[Path], object]]:
    """Pages, stacks, tiles and masks, in all compressions."""
    import tifffile

    def pages(planes: np.ndarray, head: dict[str, Any] | None = None, /, **options: Any) -> Callable[[Path], object]:
        def write(path: Path) -> None:
            with tifffile.TiffWriter(path, **(head or {})) as writer:
                for index, plane in enumerate(planes):
                    kept = {"photometric": "minisblack", "metadata": None, "description": f"frame {index}"} | options
                    writer.write(plane, **kept)

        return write

    def masked(path: Path) -> None:
        with tifffile.TiffWriter(path) as writer:
            for plane in FRAMES:
                writer.write(plane, photometric="minisblack", metadata=None)
                writer.write(
                    plane > FRAMES.mean(), photometric="mask", subfiletype=4, compression="zlib", metadata=None
                )

    def stack(**options: Any) -> Callable[[Path], object]:
        return lambda path: tifffile.imwrite(path, FRAMES, photometric="minisblack", **options)

    geo_keys = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633)
    geo = [
        (33550, 12, 3, (0.05, 0.05, 0.0)),
        (33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 5.2e6, 0.0)),
        (34735, 3, 16, geo_keys),
    ]
    texts = [(42112, 2, 0, b"<GDALMetadata></GDALMetadata>"), (42113, 2, 0, b"-9999")]
    tiles: dict[str, Any] = {"tile": (16, 16)}
    celsius = (FRAMES / 13 - 1300).astype(np.float32)
    with_alpha = np.stack([FRAMES, np.full_like(FRAMES, 65535)], -1)
    exif = Image.Exif()
    exif[271], exif[274] = "Maker", 6
    exif[0x8769], exif[0x8825] = (
        {0x9286: b"ASCII\0\0\0words", 0x9003: "2024:01:02 03:04:05"},
        {1: "N", 2: (47.0, 3.0, 0.0)},
    )
    files: dict[str, Callable[[Path], object]] = {
        "uint16": pages(FRAMES, rowsperstrip=7),
        "big-endian": pages(FRAMES, {"byteorder": ">"}, rowsperstrip=7),
        "BigTIFF": pages(FRAMES, {"bigtiff": True}, **tiles),
        "uint8": pages((FRAMES // 80).astype(np.uint8)),
        "int32": pages(FRAMES.astype(np.int32) - 17000, compression="zlib", predictor=True),
        "float32": pages(celsius, compression="zlib", predictor=True, **tiles),
        "float64": pages(celsius.astype(np.float64), {"byteorder": ">"}),
        "alpha": pages(with_alpha, planarconfig="contig", extrasamples=["unassalpha"]),
        "planar alpha": pages(with_alpha.transpose(0, 3, 1, 2), planarconfig="separate", extrasamples=["unassalpha"]),
        "ground": pages(celsius[:1], extratags=[(*tag, True) for tag in geo + texts], **tiles),
        "masks": masked,
        "ImageJ": stack(imagej=True),
        "ImageJ, one IFD": stack(imagej=True, truncate=True),
        "tifffile, one IFD": stack(truncate=True),
        "volume": stack(volumetric=True, metadata=None),
        "OME": lambda path: tifffile.imwrite(path, FRAMES, ome=True, metadata={"axes": "TYX"}),
        "EXIF": lambda path: Image.fromarray(FRAME).save(path, exif=exif.tobytes()),
        "colour": lambda path: Image.fromarray(FRAME).convert("RGB").save(path, "TIFF"),
        "1 bit": lambda path: Image.fromarray(FRAME // 256 % 2 == 0).save(path, "TIFF", compression="group4"),
    }
    for codec in ("lzw", "zstd", "packbits", "lzma", "jpeg2000", "lerc", "jpegxl", "png"):
        files[codec] = pages(FRAMES, compression=codec, **tiles)
    return files


def pictures() -> dict[str, Callable[[Path], object]]:
    """Image files other than TIFF."""
    import cv2

    grey = Image.fromarray((FRAME // 80).astype(np.uint8))
    palette = grey.convert("P")

    return {
        "8.png": grey.save,
        "16.png": Image.fromarray(FRAME).save,
        "alpha.png": grey.convert("LA").save,
        "palette.png": palette.save,
        "deep.png": lambda path: cv2.imwrite(str(path), np.stack([FRAME] * 3, -1)),
        "grey.jpg": grey.save,
        "colour.jpg": grey.convert("RGB").save,
        "progressive.jpg": lambda path: grey.save(path, progressive=True),
        "colour.bmp": grey.convert("RGB").save,
        "palette.bmp": palette.save,
        "lossy.webp": grey.convert("RGB").save,
        "lossless.webp": lambda path: grey.convert("RGBA").save(path, lossless=True),
        "binary.pgm": lambda path: path.write_bytes(b"P5\n32 24\n65535\n" + FRAME.astype(">u2").tobytes()),
        "display.pgm": grey.save,
        "text.pgm": lambda path: path.write_text(f"P2 # words\n32 24\n20000\n{' '.join(map(str, FRAME.ravel()))}\n"),
    }


def flir() -> dict[str, Callable[[Path], object]]:
    """FLIR's files with plain, PNG and JPEG-LS planes."""
    import imagecodecs

    planes = {"plain": None, "png": cameras.png_plane(FRAME, swapped=True), "jls": imagecodecs.jpegls_encode(FRAME)}
    files: dict[str, Callable[[Path], object]] = {}
    for name, plane in planes.items():
        content = cameras.fff(FRAME, plane, time=(1_700_000_000, 250, -90))
        files[f"{name}.fff"] = lambda path, content=content: path.write_bytes(content)
        files[f"{name}.seq"] = lambda path, content=content: path.write_bytes(content * 3)
        files[f"{name}.jpg"] = lambda path, content=content: cameras.flir_jpeg(path, content)
    return files


def jpeg() -> dict[str, Callable[[Path], object]]:
    """Counts within JPEGs of makers other than FLIR, and behind them."""
    planes = SENSOR.astype("<u2").tobytes()
    celsius = (SENSOR / 700).astype(np.float32)
    picture = cameras.yuyv(60, 80)
    header = cameras.ijpeg_header((len(picture), 80, 60, 16))

    def grid(path: Path) -> None:
        length = cameras.jpeg_with(path, [], "Maker").stat().st_size
        cameras.jpeg_with(path, [], "Maker", cameras.state_grid(celsius, length))

    return {
        "dji.jpg": lambda path: cameras.dji_jpeg(path, SENSOR),
        "xts.jpg": lambda path: cameras.jpeg_with(path, [(0xE3, bytes(32768)), (0xE4, planes)], "DJI"),
        "infiray.jpg": lambda path: cameras.jpeg_with(path, [(0xE2, header), (0xE3, picture + planes)], "Maker"),
        "hikmicro.jpg": lambda path: cameras.jpeg_with(path, [], "Maker", cameras.hdri(SENSOR)),
        "grid.jpg": grid,
        "hti.jpg": lambda path: cameras.jpeg_with(path, [], "Maker", cameras.hti((SENSOR // 70).astype(np.int16))),
        "unknown.jpg": lambda path: cameras.jpeg_with(path, [(0xE5, planes)], "Maker", planes),
    }


def packages() -> dict[str, Callable[[Path], object]]:
    """Files that optional packages read."""
    import cptv
    from fasthcc.header import build_header

    def recording(path: Path) -> None:
        from datetime import timedelta

        with path.open("wb") as file:
            writer: Any = cptv.CPTVWriter(file)  # its stub forbids the attributes that its own example sets
            writer.fps, writer.model, writer.brand, writer.device_name = 9, b"lepton3.5", b"flir", b"gp"
            for index in range(2):
                at = timedelta(seconds=index)
                writer.write_frame(cptv.Frame(cameras.frame(120, 160, index), at, timedelta(0), 20.0, 20.0, False))
            writer.close()

    def telops(path: Path) -> None:
        heads = [build_header(32, 24, index, 273.15, -8, 2, frame_rate=100.0) for index in range(3)]
        path.write_bytes(b"".join(head + plane.tobytes() for head, plane in zip(heads, FRAMES, strict=True)))

    return {
        "infiray.irg": lambda path: path.write_bytes(cameras.irg(FRAME // 6)),
        "fluke.is2": lambda path: cameras.is2(path, FRAME - 10_000, {}),
        "cacophony.cptv": recording,
        "telops.hcc": telops,
    }


def arrays() -> dict[str, Callable[[Path], object]]:
    """NumPy's files, and raw frames."""
    return {
        "one.npy": lambda path: np.save(path, FRAME),
        "several.npy": lambda path: np.save(path, np.asfortranarray(FRAMES.astype(">f4"))),
        "plain.npz": lambda path: np.savez(path, counts=FRAMES),
        "deflated.npz": lambda path: np.savez_compressed(path, FRAMES.astype(np.int32)),
        "32x24.raw": lambda path: path.write_bytes(FRAMES.tobytes()),
        "sensor.y16": lambda path: path.write_bytes(SENSOR.astype(">u2").tobytes()),
    }


def clips() -> dict[str, Callable[[Path], object]]:
    """Clips of 8 and more bits."""
    import torch
    from helpers.clip_files import write_clip

    scene = torch.from_numpy((FRAMES - FRAMES.min()) / np.ptp(FRAMES)).float()[..., None]

    def clip(codec: str, layout: str) -> Callable[[Path], object]:
        return lambda path: write_clip(path, list(scene), codec=codec, layout=layout)

    return {
        "lossless.mkv": clip("ffv1", "gray16le"),
        "12.mkv": clip("ffv1", "gray12le"),
        "h264.mp4": clip("libx264", "yuv420p"),
        "h264.ts": clip("libx264", "yuv420p"),
        "h264.mov": clip("libx264", "yuv420p"),
        "mjpeg.avi": clip("mjpeg", "yuvj420p"),
        "vp9.webm": clip("libvpx-vp9", "yuv420p"),
    }


KINDS = {kind.__name__: kind for kind in (tiff, pictures, flir, jpeg, packages, arrays, clips)}
"""Functions from a kind of files to the writers of its files, by their names."""


def render(kind: str) -> dict[str, bytes]:
    """The undamaged files of a kind, by name.

    Raises:
        ImportError: an optional package that writes them is missing.
    """
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, write in KINDS[kind]().items():
            path = Path(folder) / (f"{name}.tif" if kind == "tiff" else name)
            write(path)
            files[path.name] = path.read_bytes()
    return files
