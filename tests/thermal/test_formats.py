"""Counts in files of every format, against readers that are not ours.

A result to which nothing of the change is applied holds the counts of its input: those that GDAL (rasterio), tifffile,
Pillow, OpenCV, PyAV or NumPy read there. Results have another suffix than their inputs, so that they are written anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from helpers import format_files as files
from helpers import thermal_files
from helpers.commands import run_program
from helpers.format_files import Case, pages_of, stack_of

from hidra_core.sources import Change, Reading, open_source
from hidra_core.sources.counts import CountsSource
from hidra_core.thermal import frames
from hidra_core.thermal.readers import RawLayout, stored

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

TYPES = ("uint8", "uint16", "int16", "int32", "uint32", "float32", "float64")
TALL, NARROW, DOT = (3000, 17), (48, 1), (1, 1)
RAW = Reading(raw=RawLayout((64, 48)))


def tiff_cases() -> list[Case]:
    layouts: dict[str, dict[str, Any]] = {
        "one strip": {},
        "strips": {"rowsperstrip": 7},
        "tiled": {"tile": (16, 32)},
        "deflate": {"compression": "zlib", "rowsperstrip": 7},
        "LZW": {"compression": "lzw", "rowsperstrip": 7},
        "zstd": {"compression": "zstd", "tile": (16, 32)},
        "LZMA": {"compression": "lzma"},
        "packbits": {"compression": "packbits", "rowsperstrip": 7},
        "predictor": {"compression": "zlib", "predictor": True, "tile": (32, 16)},
        "LZW, predictor": {"compression": "lzw", "predictor": True, "rowsperstrip": 7},
        "big-endian": {"byteorder": ">", "rowsperstrip": 7},
        "big-endian, tiled, predictor": {
            "byteorder": ">",
            "tile": (16, 32),
            "compression": "zlib",
            "predictor": True,
        },
        "BigTIFF": {"bigtiff": True, "rowsperstrip": 7},
        "BigTIFF, big-endian, deflate": {"bigtiff": True, "byteorder": ">", "compression": "zlib"},
        "white is zero": {"photometric": "miniswhite", "rowsperstrip": 7},
    }
    return [
        Case(f"TIFF {dtype}, {name}", ".tif", pages_of(**options), files.by_gdal, pages, dtype)
        for dtype in TYPES
        for name, options in layouts.items()
        for pages in ((1, 4) if dtype in ("uint16", "float32") else (4,))  # the others differ in nothing but their size
    ]


def odd_tiff_cases() -> list[Case]:
    """What TIFF can hold besides plain pages."""
    j2k, ome = {"compression": "jpeg2000"}, {"metadata": {"axes": "TYX"}, "ome": True}
    many = [
        *(Case(f"ImageJ {kind}", ".tif", stack_of(imagej=True), files.by_gdal, 4, kind) for kind in files.IMAGEJ),
        *(
            Case(f"ImageJ {kind}, one IFD", ".tif", stack_of(imagej=True, truncate=True), files.by_series, 4, kind)
            for kind in files.IMAGEJ
        ),
        *(Case(f"OME {kind}", ".tif", stack_of(**ome), files.by_gdal, 4, kind) for kind in TYPES),
        Case("OME, big-endian, deflate", ".tif", stack_of(**ome, byteorder=">", compression="zlib"), files.by_gdal, 4),
        *(Case(f"tifffile {kind}", ".tif", stack_of(), files.by_gdal, 4, kind) for kind in TYPES),
        *(
            Case(
                f"tifffile {kind}, one IFD", ".tif", stack_of(truncate=True, byteorder=order), files.by_series, 4, kind
            )
            for kind in TYPES
            for order in "<>"
        ),
        Case("ImageJ, channels", ".tif", files.hyperstack, files.by_gdal, 4),
        Case("volume", ".tif", stack_of(volumetric=True, rowsperstrip=7), files.by_series, 4),
        Case("volume, not described", ".tif", stack_of(volumetric=True, metadata=None), files.by_series, 4),
        Case("tifffile, tiled, LZW", ".tif", stack_of(tile=(16, 32), compression="lzw"), files.by_gdal, 4),
    ]
    geo = {"plain": {}, "tiled": files.TILED, "deflate": {"compress": "deflate", "predictor": 2}}
    ground = [
        Case(f"GeoTIFF {kind}, {name}", ".tif", files.by_rasterio(**options), files.by_tifffile, 1, kind)
        for kind in TYPES
        for name, options in geo.items()
    ]
    sparse = [
        Case(f"sparse {kind}", ".tif", files.by_rasterio(**files.SPARSE), files.by_gdal, 1, kind, kind="sparse")
        for kind in TYPES
    ]
    missing = [
        Case(f"nodata {kind}", ".tif", files.by_rasterio(nodata=value), files.by_gdal, 1, kind, kind="nodata")
        for kind, value in (("uint8", 7), ("uint16", 7), ("int16", -9999), ("float32", -9999), ("float64", -9999))
    ]
    masked = [
        Case(f"mask page {kind}", ".tif", files.by_rasterio(mask=True, **options), files.by_gdal, 1, kind)
        for kind in ("uint8", "uint16", "int16", "float32")
        for options in ({}, files.TILED)
    ]
    alpha = [
        Case(f"alpha {config} {kind}", ".tif", files.with_alpha(config), files.by_tifffile, pages, kind)
        for config in ("contig", "separate")
        for kind in ("uint8", "uint16", "float32")
        for pages in (1, 4)
    ]
    shapes = [
        Case(f"{shape[1]}x{shape[0]} {kind}", ".tif", pages_of(rowsperstrip=11), files.by_gdal, 2, kind, shape)
        for shape in (TALL, NARROW, DOT)
        for kind in ("uint16", "float32")
    ]
    return [
        *many,
        *ground,
        *sparse,
        *missing,
        *masked,
        *alpha,
        *shapes,
        *(Case(f"NaN {kind}", ".tif", pages_of(), files.by_gdal, 4, kind, kind="nan") for kind in TYPES[-2:]),
        *(Case(f"[0, 1] {kind}", ".tif", pages_of(), files.by_gdal, 4, kind, kind="unit") for kind in TYPES[-2:]),
        Case("12 bits, packed", ".tif", files.by_rasterio(nbits=12), files.by_gdal, kind="12 bits"),
        Case("12 bits, packed, deflate", ".tif", files.by_rasterio(nbits=12, compress="deflate"), files.by_gdal),
        Case("10 bits, packed", ".tif", files.by_rasterio(nbits=10, **files.TILED), files.by_gdal, kind="10 bits"),
        *(
            Case(f"LERC {kind}", ".tif", files.by_rasterio(compress=codec, **files.TILED), files.by_gdal, 1, kind)
            for kind in TYPES
            for codec in ("lerc", "lerc_zstd")
        ),
        *(Case(f"overviews {kind}", ".tif", files.with_overviews, files.by_gdal, 1, kind) for kind in TYPES),
        Case("GeoTIFF, big-endian", ".tif", files.by_rasterio(endianness="big", **files.TILED), files.by_tifffile),
        *(Case(f"mask pages of 4 {kind}", ".tif", files.with_masks, files.by_gdal, 4, kind) for kind in TYPES),
        *(Case(f"JPEG 2000 {kind}", ".tif", pages_of(**j2k), files.by_tifffile, 4, kind) for kind in TYPES[:2]),
    ]


def other_cases() -> list[Case]:
    arrays = [
        Case(f"npy {kind}, {pages} pages", ".npy", np.save, lambda path: np.load(path), pages, kind)
        for kind in TYPES
        for pages in (1, 4)
    ]
    return [
        Case("PNG 8", ".png", files.png, files.by_opencv, dtype="uint8"),
        Case("PNG 16", ".png", files.png, files.by_opencv),
        Case("PNG 16 with alpha", ".png", files.deep_png_with_alpha, files.by_opencv),
        Case("PNG 16 interlaced", ".png", files.interlaced_png, files.by_opencv),
        Case("BMP", ".bmp", files.png, files.by_opencv, dtype="uint8"),
        *(
            Case(
                f"PGM {magic} up to {most}", ".pgm", *files.pgm(magic, most), dtype="uint8" if most < 256 else "uint16"
            )
            for magic in ("P2", "P5")
            for most in (100, 255, 1023, 4095, 16383, 65535)
        ),
        *arrays,
        Case(
            "npy, big-endian",
            ".npy",
            lambda path, planes: np.save(path, planes.astype(">u2")),
            files.by_numpy_in_big_endian,
            4,
        ),
        Case("npy, columns first", ".npy", lambda path, planes: np.save(path, np.asfortranarray(planes)), np.load, 4),
        *(
            Case(name, ".npz", lambda path, planes, save=save: save(path, counts=planes), files.by_numpy, 4)
            for name, save in (("npz", np.savez), ("npz, compressed", np.savez_compressed))
        ),
        Case("raw, little-endian", ".raw", *files.raw("<u2"), 4),
        Case("raw, big-endian", ".y16", *files.raw(">u2"), 4),
        *(Case(f"FLIR JPEG, {kind}", ".jpg", files.flir(".jpg", kind), None) for kind in files.FLIR_PLANES),
        *(Case(f"FLIR FFF, {kind}", ".fff", files.flir(".fff", kind), None) for kind in files.FLIR_PLANES),
        *(Case(f"FLIR SEQ, {kind}", ".seq", files.flir(".seq", kind), None, 4) for kind in files.FLIR_PLANES),
        Case("DJI JPEG", ".jpg", lambda path, planes: thermal_files.dji_jpeg(path, planes[0]), None, shape=(120, 160)),
    ]


def ids(case: Case) -> str:
    return f"{case.name}, {case.pages}"


@pytest.fixture(params=["at once", "streamed"])
def streamed(request, monkeypatch) -> bool:
    """Whether pages are read one at a time, and bands of few rows are looked at, as in large files."""
    if request.param == "streamed":
        monkeypatch.setattr(stored, "_AT_ONCE", 0)
        monkeypatch.setattr(frames, "_BAND", 600)
    return request.param == "streamed"


def written(case: Case, folder: Path) -> tuple[Path, np.ndarray]:
    """(the file, its counts as the independent reader has them)."""
    path, planes = folder / f"in{case.suffix}", case.planes()
    case.write(path, planes)
    if case.read is not None:
        planes = case.read(path)
        assert planes.shape == (case.pages, *case.shape)
    return path, planes


def check(case: Case, folder: Path, streamed: bool = False) -> None:
    path, expected = written(case, folder)
    for blend in (0.0, 1.0):
        output = folder / f"out{blend:.0f}.tiff"
        source = open_source(path, RAW if case.suffix in (".raw", ".y16") else None)
        assert source.page_count == case.pages
        if isinstance(source, CountsSource):
            assert source.image.counts.dtype == expected.dtype
            assert not (streamed and isinstance(source.image.counts, np.ndarray))
            if streamed and blend == 0:
                check_rows(source.image.counts, expected)
        source.rewrite(output, lambda pages: pages, Change(blend=blend))
        for read in (files.by_gdal, files.by_tifffile):
            result = read(output)
            assert result.dtype == expected.dtype
            if blend == 1 and result.dtype == np.float64:  # twice through the range of the networks
                assert result == pytest.approx(expected, rel=1e-12, abs=1e-12, nan_ok=True)
            else:
                np.testing.assert_array_equal(result, expected)


def check_rows(planes: Any, expected: np.ndarray) -> None:
    height = planes.shape[1]
    for start, stop in {(0, height), (0, 1), (height - 1, height), (height // 3, height // 3 + height // 2)}:
        np.testing.assert_array_equal(planes.rows(len(planes) - 1, start, stop), expected[-1, start:stop])


@pytest.mark.parametrize("case", [*tiff_cases(), *odd_tiff_cases()], ids=ids)
def test_tiff(case, tmp_path, streamed):
    check(case, tmp_path, streamed)


@pytest.mark.parametrize("options", [{"tile": (1, 16, 32)}, {"tile": (2, 16, 32)}, {"compression": "zlib"}])
def test_volumes_that_are_not_plain_are_refused(options, tmp_path):
    case = Case("volume", ".tif", stack_of(volumetric=True, **options), files.by_series, 4)
    path, _ = written(case, tmp_path)
    with pytest.raises(ValueError, match=r"in\.tif holds a volume of 4 layers .* save each layer as a page"):
        open_source(path)


def test_a_second_band_is_no_alpha(tmp_path):
    plane = thermal_files.frame()
    files.tifffile.imwrite(
        tmp_path / "a.tif",
        np.stack([plane, plane]),
        planarconfig="separate",
        extrasamples=["unspecified"],
        photometric=1,
    )
    with pytest.raises(ValueError, match=r"a\.tif has 2 bands, one is expected"):
        open_source(tmp_path / "a.tif")


@pytest.mark.parametrize("case", other_cases(), ids=ids)
def test_other_files(case, tmp_path):
    check(case, tmp_path)


@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14, 16])
@pytest.mark.parametrize("blend", [0.0, 1.0])
def test_clips(bits, blend, tmp_path):
    dtype = "uint8" if bits == 8 else "uint16"
    case = Case(f"clip of {bits} bits", ".mkv", files.clip(bits), files.by_pyav, 4, dtype, kind=f"{bits} bits")
    path, expected = written(case, tmp_path)
    assert np.array_equal(expected, case.planes())
    open_source(path, Reading(lossless=True)).rewrite(tmp_path / "out.mkv", lambda pages: pages, Change(blend=blend))
    result = files.by_pyav(tmp_path / "out.mkv")
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


def test_the_command(tmp_path):
    """One file of each family; a clip keeps its own format."""
    cases = [*tiff_cases()[::31], *odd_tiff_cases()[::9], *other_cases()[::4]]
    expected = {}
    for number, case in enumerate(cases):
        folder = tmp_path / "in"
        folder.mkdir(exist_ok=True)
        path, planes = written(case, folder)
        expected[number] = planes
        path.rename(path.with_stem(f"{number}_64x48"))
    run = run_program("enhance", tmp_path / "in", "-o", tmp_path / "out", "--blend", "0", "--format", "tiff")
    assert run.returncode == 0, run.stderr
    assert len(list((tmp_path / "out").iterdir())) == len(cases)
    for number, planes in expected.items():
        [output] = (tmp_path / "out").glob(f"{number}_64x48*.tiff")
        np.testing.assert_array_equal(files.by_tifffile(output), planes)
