"""TIFF results keep what their file says, read by rasterio, GDAL, ImageJ and tifffile instead of by this program."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from hidra_core.thermal import write_thermal
from hidra_core.thermal.readers import read_thermal

rasterio = pytest.importorskip("rasterio")
tifffile = pytest.importorskip("tifffile")

HEIGHT, WIDTH = 48, 64
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH]
COUNTS = (29000 + 5 * ROWS + 3 * COLUMNS + np.random.default_rng(0).integers(0, 20, (HEIGHT, WIDTH))).astype(np.uint16)
COLLAR = (ROWS < 5) | (ROWS + COLUMNS > 90)
PLACE = rasterio.transform.from_origin(500000, 5200000, 0.05, 0.05)
ROTATED = rasterio.Affine(0.04, 0.03, 500000, 0.03, -0.04, 5200000)
IMAGEJ = Path("/usr/share/java/ij.jar")


def geotiff(path: Path, counts: np.ndarray = COUNTS, *, mask: np.ndarray | None = None, **options) -> Path:
    """A GeoTIFF written by GDAL; without ``transform=None`` at a place in UTM zone 33."""
    bands = counts if counts.ndim == 3 else counts[None]
    ground = {"crs": "EPSG:32633", "transform": PLACE} | {
        key: options.pop(key) for key in ("crs", "transform") if key in options
    }
    gcps, rpcs, tags = (options.pop(key, None) for key in ("gcps", "rpcs", "tags"))
    if gcps or rpcs:
        ground = {}
    profile = {"driver": "GTiff", "width": WIDTH, "height": HEIGHT, "count": len(bands), "dtype": bands.dtype}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile, **ground, **options) as file:
        file.write(bands)
        if mask is not None:
            file.write_mask(mask)
        if gcps:
            file.gcps = gcps, rasterio.crs.CRS.from_epsg(32633)
        if rpcs:
            file.rpcs = rpcs
        file.update_tags(**(tags or {}))
    return path


def rewritten(path: Path, factor: int = 1, part: tuple[int, int, int, int] | None = None, **options) -> Path:
    """The file read and written again by this program, its pixels repeated; of a part (left, top, width, height)."""
    image = read_thermal(path)
    image = image if part is None else image.cut(*part)
    result = path.with_name(f"{path.stem}-{factor}.tiff")
    write_thermal(result, np.asarray(image.counts).repeat(factor, 1).repeat(factor, 2), image, **options)
    return result


def place(file, column: float, row: float) -> tuple[float, float]:
    """Where on the ground the upper left corner of a pixel lies."""
    matrix = file.transform
    return matrix.a * column + matrix.b * row + matrix.c, matrix.d * column + matrix.e * row + matrix.f


# --- the ground ------------------------------------------------------------------------------------------------------

KINDS: dict[str, dict] = {
    "area": {},
    "tiled and compressed": {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "lzw"},
    "BigTIFF": {"BIGTIFF": "YES"},
    "big-endian": {"ENDIANNESS": "BIG"},
    "rotated": {"transform": ROTATED},
    "south up": {"transform": rasterio.Affine(0.05, 0, 500000, 0, 0.05, 5200000)},
    "degrees": {"crs": "EPSG:4326", "transform": rasterio.transform.from_origin(15, 46, 1e-6, 2e-6)},
    "points": {"tags": {"AREA_OR_POINT": "Point"}},
    "rotated points": {"transform": ROTATED, "tags": {"AREA_OR_POINT": "Point"}},
}


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_every_pixel_stays_at_its_place(tmp_path, kind, factor):
    path = geotiff(tmp_path / "in.tif", **KINDS[kind])
    with rasterio.open(path) as before, rasterio.open(rewritten(path, factor)) as after:
        assert after.crs == before.crs
        assert after.tags().get("AREA_OR_POINT") == before.tags().get("AREA_OR_POINT")
        assert (after.width, after.height) == (WIDTH * factor, HEIGHT * factor)
        for corner in ((0, 0), (WIDTH, 0), (10, 20), (WIDTH, HEIGHT)):
            moved = place(after, corner[0] * factor, corner[1] * factor)
            assert moved == pytest.approx(place(before, *corner), abs=1e-8)
        assert np.array_equal(after.read(1)[::factor, ::factor], before.read(1))


@pytest.mark.parametrize("kind", ["area", "rotated", "points", "rotated points"])
def test_a_part_is_at_its_place(tmp_path, kind):
    path = geotiff(tmp_path / "in.tif", **KINDS[kind])
    with rasterio.open(path) as before, rasterio.open(rewritten(path, 2, part=(7, 11, 30, 20))) as after:
        assert (after.width, after.height) == (60, 40)
        assert place(after, 0, 0) == pytest.approx(place(before, 7, 11), abs=1e-8)
        assert place(after, 60, 40) == pytest.approx(place(before, 37, 31), abs=1e-8)
        assert np.array_equal(after.read(1)[::2, ::2], before.read(1)[11:31, 7:37])


def test_control_points_and_rational_polynomials(tmp_path):
    points = [
        rasterio.control.GroundControlPoint(row=y, col=x, x=500000 + x, y=5200000 - y, z=0)
        for y, x in ((0, 0), (0, WIDTH), (HEIGHT, 0), (HEIGHT, WIDTH))
    ]
    path = geotiff(tmp_path / "points.tif", gcps=points)
    with rasterio.open(rewritten(path, 2)) as after:
        moved, crs = after.gcps
    assert crs.to_epsg() == 32633
    assert [(point.row, point.col, point.x, point.y) for point in moved] == [
        (2 * point.row, 2 * point.col, point.x, point.y) for point in points
    ]
    nothing = [0.0] * 18
    model = rasterio.rpc.RPC(
        height_off=100,
        height_scale=50,
        lat_off=45,
        lat_scale=0.1,
        long_off=15,
        long_scale=0.1,
        line_off=24,
        line_scale=24,
        samp_off=32,
        samp_scale=32,
        line_num_coeff=[0, 0, -1, 0, *nothing[2:]],
        samp_num_coeff=[0, 1, *nothing],
        line_den_coeff=[1, 0, *nothing],
        samp_den_coeff=[1, 0, *nothing],
    )
    with rasterio.open(rewritten(geotiff(tmp_path / "rpc.tif", rpcs=model), 2)) as after:
        # in RPCs whole numbers are the middles of pixels: 24 is 24.5 from the edge, 49 of the smaller pixels
        assert (after.rpcs.line_off, after.rpcs.samp_off) == (48.5, 64.5)
        assert (after.rpcs.line_scale, after.rpcs.samp_scale) == (48, 64)


def test_each_page_keeps_its_place(tmp_path):
    path = geotiff(tmp_path / "in.tif")
    other = {"transform": rasterio.transform.from_origin(600000, 5300000, 0.1, 0.1), "APPEND_SUBDATASET": "YES"}
    geotiff(path, **other)
    for factor in (1, 2):
        result = rewritten(path, factor)
        for page, origin in ((1, (500000, 5200000)), (2, (600000, 5300000))):
            with rasterio.open(f"GTIFF_DIR:{page}:{result}") as after:
                assert place(after, 0, 0) == origin
                assert after.transform.a == pytest.approx(0.05 * page / factor)


@pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="gdalinfo is not on the path")
@pytest.mark.parametrize("kind", KINDS)
def test_gdalinfo_gives_the_same_corners(tmp_path, kind):
    path = geotiff(tmp_path / "in.tif", **KINDS[kind])
    before, after = (
        json.loads(subprocess.run(["gdalinfo", "-json", file], capture_output=True, check=True).stdout)
        for file in (path, rewritten(path, 2))
    )
    for corner, place in before["cornerCoordinates"].items():
        assert after["cornerCoordinates"][corner] == pytest.approx(place, abs=1e-6)
    assert after["coordinateSystem"] == before["coordinateSystem"]


# --- masks and GDAL's metadata ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1, 2])
def test_masks_stay(tmp_path, factor):
    empty = np.where(COLLAR, 0, COUNTS).astype(np.uint16)
    floats = np.where(COLLAR, -10000, COUNTS / 100 - 273.15).astype(np.float32)
    alpha = np.stack([COUNTS, np.where(COLLAR, 0, 65535).astype(np.uint16)])
    made = [
        geotiff(tmp_path / "nodata.tif", empty, nodata=0),
        geotiff(tmp_path / "float.tif", floats, nodata=-10000, compress="deflate", predictor=3, tiled=True),
        geotiff(tmp_path / "mask.tif", mask=~COLLAR),
        geotiff(tmp_path / "alpha.tif", alpha, ALPHA="YES"),
        geotiff(tmp_path / "separate.tif", alpha, ALPHA="YES", interleave="band"),
        geotiff(tmp_path / "sparse.tif", empty, nodata=0, SPARSE_OK=True, tiled=True, blockxsize=16, blockysize=16),
    ]
    for path in made:
        assert np.array_equal(np.asarray(read_thermal(path).valid)[0], ~COLLAR), path.name
        with rasterio.open(path) as before, rasterio.open(rewritten(path, factor)) as after:
            assert after.count == before.count
            assert after.nodata == before.nodata
            expected = before.read_masks(1).repeat(factor, 0).repeat(factor, 1)
            assert np.array_equal(after.read_masks(1), expected), path.name


def test_overviews_and_statistics_go_and_other_metadata_stay(tmp_path):
    path = geotiff(tmp_path / "in.tif", tags={"SENSOR": "Tau", "TIFFTAG_SOFTWARE": "Logger"}, compress="deflate")
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])
        file.update_tags(1, STATISTICS_MEAN="29000", CHANNEL="LWIR")
        file.scales, file.offsets, file.units = (0.01,), (-273.15,), ("degC",)
    with rasterio.open(rewritten(path)) as after:
        assert (after.overviews(1), after.compression.name) == ([], "deflate")
        assert (after.scales, after.offsets, after.units) == ((0.01,), (-273.15,), ("degC",))
        assert after.tags(1) == {"CHANNEL": "LWIR"}
        assert after.tags()["SENSOR"] == "Tau"
        assert after.tags()["TIFFTAG_SOFTWARE"] == "Logger"
    with tifffile.TiffFile(rewritten(path)) as tif:
        assert len(tif.pages) == 1


@pytest.mark.parametrize(("unit", "symbol", "offset"), [("celsius", "°C", 0.0), ("kelvin", "K", 273.15)])
def test_temperatures_do_not_keep_what_was_said_of_counts(tmp_path, unit, symbol, offset):
    path = geotiff(tmp_path / "in.tif", np.where(COLLAR, 0, COUNTS).astype(np.uint16), nodata=0, tags={"SENSOR": "Tau"})
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets, file.units = (0.01,), (-273.15,), ("degC",)
    result = rewritten(path, unit=unit)
    with rasterio.open(result) as after:
        assert (after.scales, after.offsets, after.units) == ((1.0,), (0.0,), (symbol,))
        assert after.tags()["SENSOR"] == "Tau"
        assert np.array_equal(after.read_masks(1) > 0, ~COLLAR)
        assert after.read(1)[~COLLAR] == pytest.approx(COUNTS[~COLLAR] * 0.01 - 273.15 + offset, abs=1e-4)
    again = read_thermal(result)  # the constants of the counts once were applied to their temperatures
    kelvin = again.kelvin(again.counts[0][~COLLAR])
    assert kelvin == pytest.approx(COUNTS[~COLLAR] * 0.01, abs=1e-4)


# --- several pages ---------------------------------------------------------------------------------------------------


def imagej_stack(path: Path, axes: str = "TYX", **metadata) -> Path:
    shape = (2, 3, HEIGHT, WIDTH) if len(axes) == 4 else (6, HEIGHT, WIDTH)
    pages = (COUNTS + np.arange(6, dtype=np.uint16)[:, None, None]).reshape(shape)
    tifffile.imwrite(path, pages, imagej=True, metadata={"axes": axes, **metadata}, resolution=(2, 2))
    return path


@pytest.mark.parametrize(("axes", "factor"), [("TYX", 1), ("TYX", 2), ("TCYX", 1), ("ZCYX", 2), ("TZYX", 1)])
def test_stacks_keep_their_axes_and_calibration(tmp_path, axes, factor):
    places = {"Overlays": b"Iout" + bytes(60)}
    known = {"unit": "mm", "finterval": 0.033, "cf": 0, "c0": -273.15, "c1": 0.01, "vunit": "C", "Info": "a note"}
    path = imagej_stack(tmp_path / "in.tif", axes, **known, **places, Labels=[f"frame {n}" for n in range(6)])
    result = rewritten(path, factor)
    with tifffile.TiffFile(path) as before, tifffile.TiffFile(result) as after:
        assert after.series[0].axes == before.series[0].axes == axes
        assert np.array_equal(after.asarray()[..., ::factor, ::factor], before.asarray())
        kept = after.imagej_metadata
        assert {name: kept[name] for name in known} == known
        assert kept["Labels"][:6] == [f"frame {n}" for n in range(6)]
        # what is drawn on pixels would lie in the wrong place
        assert ("Overlays" in kept) == (factor == 1)
        resolution = after.pages[0].tags["XResolution"].value
        assert resolution[0] / resolution[1] == 2 * factor


SHOW = """
import ij.ImagePlus; import ij.io.Opener;
public class Show { public static void main(String[] arguments) {
  ImagePlus image = new Opener().openImage(arguments[0]);
  String sizes = image.getNChannels() + "/" + image.getNSlices() + "/" + image.getNFrames();
  System.out.print(sizes + " " + image.isInvertedLut() + " " + image.getCalibration().pixelWidth);
  for (int i = 1; i <= image.getStackSize(); i++)
    System.out.print(" " + image.getStack().getProcessor(i).getStatistics().mean);
} }
"""


@pytest.mark.skipif(not IMAGEJ.exists() or shutil.which("javac") is None, reason=f"needs a JDK and {IMAGEJ}")
@pytest.mark.parametrize(("axes", "sizes"), [("TYX", "1/1/6"), ("ZYX", "1/6/1"), ("TCYX", "3/1/2")])
def test_imagej_opens_the_result(tmp_path, axes, sizes):
    path = imagej_stack(tmp_path / "in.tif", axes, unit="mm")
    (tmp_path / "Show.java").write_text(SHOW)
    command = ["java", "-Djava.awt.headless=true", "-cp", str(IMAGEJ), str(tmp_path / "Show.java")]
    shown = subprocess.run([*command, str(rewritten(path, 2))], capture_output=True, text=True, check=True).stdout
    found, inverted, width, *means = shown.split()
    assert (found, inverted, float(width)) == (sizes, "false", 0.25)
    assert [float(mean) for mean in means] == pytest.approx([COUNTS.mean() + n for n in range(6)])


def test_white_is_zero_is_kept_and_counts_are_not_turned(tmp_path):
    path = geotiff(tmp_path / "in.tif", photometric="MINISWHITE")
    with tifffile.TiffFile(rewritten(path)) as after:
        assert after.pages[0].photometric == tifffile.PHOTOMETRIC.MINISWHITE
        assert np.array_equal(after.asarray(), COUNTS)


def test_ome_is_written_anew(tmp_path):
    path = tmp_path / "in.ome.tif"
    tifffile.imwrite(path, np.stack([COUNTS, COUNTS + 1, COUNTS + 2]), ome=True, metadata={"axes": "TYX"})
    with tifffile.TiffFile(rewritten(path, 2)) as after:
        assert after.is_ome
        assert after.series[0].shape == (3, 2 * HEIGHT, 2 * WIDTH)
        assert np.array_equal(after.asarray()[:, ::2, ::2], tifffile.imread(path))


def test_pages_keep_their_own_texts_and_times(tmp_path):
    path = tmp_path / "in.tif"
    with tifffile.TiffWriter(path) as writer:
        for page in range(3):
            texts = {"description": f"frame {page}", "datetime": f"2024:05:01 10:00:0{page}"}
            writer.write(
                COUNTS + page, metadata=None, software="Logger", extratags=[(65000, 3, 1, page, False)], **texts
            )
    with tifffile.TiffFile(path) as before, tifffile.TiffFile(rewritten(path, 2)) as after:
        for code in (270, 305, 306, 65000):
            assert [page.tags[code].value for page in after.pages] == [page.tags[code].value for page in before.pages]
