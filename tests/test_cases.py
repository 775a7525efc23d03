"""Files that people bring, from outside the repository: each gives what is right, or a clear refusal.

What is right is in ``expected.json`` beside the files. Results are looked at with other programs than this one.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SHARED
from PIL import Image

from hidra_core import backbone, weights
from hidra_core.cli import main

CASES = SHARED / "cases"
KELVIN = ("--radiometric", "--kelvin", "0.01")
UNCHANGED = ("--blend", "0", "--format", "tiff")
OK, FAILED = 0, 1
MOST = 150
"""Counts (1.5 K) by which the networks alone may change the mean of a frame; wrong counts are far beyond it."""

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"the cases are not there: {CASES}")

tifffile = pytest.importorskip("tifffile")

Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="session")
def expected() -> dict[str, Any]:
    return json.loads((CASES / "expected.json").read_text())


@pytest.fixture
def enhance(tmp_path, capfd, monkeypatch, tiny) -> Run:
    """Runs ``hidra enhance`` on cases into ``tmp_path / "out"``: (exit code, standard error)."""
    monkeypatch.setattr(backbone, "load_backbone", lambda *_, **__: tiny[0])
    monkeypatch.setattr(weights, "load_weights", lambda *_, **__: tiny[1])

    def run(*arguments: object) -> tuple[int, str]:
        paths = [CASES / text if (CASES / text).is_file() else text for text in map(str, arguments)]
        try:
            code = main(["enhance", *map(str, paths), "-o", str(tmp_path / "out"), "--device", "cpu", "--overwrite"])
        except SystemExit as end:
            code = int(end.code or 0)
        return code, capfd.readouterr().err

    return run


def pages(path: Path) -> np.ndarray:
    """The pages of counts of a TIFF, ``[N, h, w]``, without masks."""
    with tifffile.TiffFile(path) as tif:
        return np.stack([page.asarray() for page in tif.pages if page.asarray().dtype != bool])


def means(path: Path) -> np.ndarray:
    return pages(path).mean((1, 2))


# --- one frame -------------------------------------------------------------------------------------------------------


def test_largest_value_of_a_pgm_does_not_stretch_counts(enhance, expected, tmp_path):
    code, _ = enhance("lepton_p2.pgm", *KELVIN)
    right = expected["lepton_p2.pgm"]
    assert code == OK
    text = (tmp_path / "out" / "lepton_p2.pgm").read_bytes()
    assert text[:2] == b"P5"
    width, height, most = (int(word) for word in text.split()[1:4])
    assert (width, height) == (80, 60)
    counts = np.frombuffer(text[-2 * width * height :], ">u2") if most > 255 else None
    assert counts is not None
    assert counts.mean() * 0.01 == pytest.approx(right["mean_K"], abs=0.1)


def test_white_is_zero_does_not_turn_counts(enhance, expected, tmp_path):
    assert enhance("white_is_zero.tif", *KELVIN)[0] == OK
    right = expected["white_is_zero.tif"]
    with tifffile.TiffFile(tmp_path / "out" / "white_is_zero.tif") as tif:
        assert tif.pages[0].photometric == tifffile.PHOTOMETRIC.MINISWHITE
        counts = tif.pages[0].asarray()
    assert counts.mean() == pytest.approx(right["mean_count"], abs=10)
    assert right["low"] - 300 < counts.min() < counts.max() < right["high"] + 300


@pytest.mark.parametrize("factor", [1, 2])
def test_georeference_is_kept(enhance, expected, tmp_path, factor):
    rasterio = pytest.importorskip("rasterio")
    assert enhance("geo_u16.tif", "--upscale", factor)[0] == OK
    right = expected["geo_u16.tif"]
    a, b, c, d, e, f = right["transform"]
    with rasterio.open(tmp_path / "out" / "geo_u16.tif") as result:
        assert str(result.crs) == right["crs"]
        assert tuple(result.transform)[:6] == (a / factor, b, c, d, e / factor, f)
        assert (result.width, result.height) == (160 * factor, 128 * factor)
        assert result.read(1).mean() == pytest.approx(right["mean_count"], abs=MOST)


@pytest.mark.parametrize("options", [(), KELVIN])
def test_a_collar_without_data_stays_and_changes_nothing(enhance, expected, tmp_path, options):
    rasterio = pytest.importorskip("rasterio")
    assert enhance("geo_nodata0.tif", *options)[0] == OK
    right = expected["geo_nodata0.tif"]
    with rasterio.open(CASES / "geo_nodata0.tif") as before, rasterio.open(tmp_path / "out/geo_nodata0.tif") as after:
        assert (before.crs, before.transform, before.nodata) == (after.crs, after.transform, after.nodata)
        old, new = before.read(1), after.read(1)
    empty = old == right["nodata"]
    assert empty.sum() == right["nodata_pixels"]
    assert np.array_equal(new == right["nodata"], empty)
    change = (new.astype(float) - old)[~empty] * 0.01
    assert np.abs(change).mean() < 1  # K
    # as the same scene without a collar is changed
    assert enhance("geo_u16.tif", *options)[0] == OK
    with rasterio.open(CASES / "geo_u16.tif") as before, rasterio.open(tmp_path / "out/geo_u16.tif") as after:
        whole = (after.read(1).astype(float) - before.read(1))[~empty] * 0.01
    assert abs(change.mean() - whole.mean()) < 0.5


def test_a_mask_page_is_no_page_of_counts(enhance, expected, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    assert enhance("geo_mask_page.tif")[0] == OK
    right = expected["geo_mask_page.tif"]
    out = tmp_path / "out" / "geo_mask_page.tif"
    with rasterio.open(CASES / "geo_mask_page.tif") as before, rasterio.open(out) as after:
        assert (after.count, after.crs, after.transform) == (1, before.crs, before.transform)
        assert np.array_equal(after.read_masks(1), before.read_masks(1))
        known = before.read_masks(1) > 0
        assert not known.all()
        old, new = before.read(1), after.read(1)
    assert np.array_equal(new[~known], old[~known])
    assert old.mean() == pytest.approx(right["mean_count"])
    assert new.mean() == pytest.approx(right["mean_count"], abs=MOST)


@pytest.mark.parametrize("options", [(), ("--radiometric",)])
@pytest.mark.parametrize("name", ["geo_f32_celsius_nodata-10000.tif", "geo_f32_celsius_nan.tif"])
def test_float_temperatures(enhance, expected, tmp_path, name, options):
    rasterio = pytest.importorskip("rasterio")
    assert enhance(name, *options)[0] == OK
    right = expected["geo_f32_celsius_nodata-10000.tif"]
    with rasterio.open(CASES / name) as before, rasterio.open(tmp_path / "out" / name) as after:
        assert after.dtypes == ("float32",)
        assert (after.crs, after.transform) == (before.crs, before.transform)
        assert str(after.nodata) == str(before.nodata)
        old, new = before.read(1), after.read(1)
    known = np.isfinite(old) & (old > -273)
    assert not known.all()
    assert np.array_equal(new[~known], old[~known], equal_nan=True)
    assert new[known].mean() == pytest.approx(right["inside_mean_C"], abs=0.05 if options else MOST / 100)
    assert right["low_C"] - 3 < new[known].min() < new[known].max() < right["high_C"] + 3


# --- several frames --------------------------------------------------------------------------------------------------


def test_signed_counts(enhance, expected, tmp_path):
    right = expected["int16_stack.tif"]
    assert enhance("int16_stack.tif", *UNCHANGED)[0] == OK
    counts = pages(tmp_path / "out" / "int16_stack.tiff")
    assert (counts.dtype, len(counts)) == (np.dtype(np.int16), 4)
    assert (counts.min(), counts.max()) == (right["low"], right["high"])
    assert enhance("int16_stack.tif")[0] == OK
    assert np.abs(means(tmp_path / "out" / "int16_stack.tif") - counts.mean((1, 2))).max() < MOST


SHOW = """
import ij.ImagePlus; import ij.io.Opener;
public class Show { public static void main(String[] arguments) {
  ImagePlus image = new Opener().openImage(arguments[0]);
  for (int i = 1; i <= image.getStackSize(); i++)
    System.out.println(image.getStack().getProcessor(i).getStatistics().mean);
} }
"""
IMAGEJ = Path("/usr/share/java/ij.jar")


@pytest.mark.parametrize("name", ["imagej_stack.tif", "imagej_one_ifd.tif"])
def test_stacks_of_imagej(enhance, expected, tmp_path, name):
    assert enhance(name, *KELVIN)[0] == OK
    out = tmp_path / "out" / name
    right = np.array(expected[name]["frame_means"])
    with tifffile.TiffFile(out) as tif:
        assert tif.is_imagej
        assert np.abs(tif.asarray().mean((1, 2)) - right).max() < 2
    if not IMAGEJ.exists() or shutil.which("javac") is None:
        pytest.skip(f"ImageJ ({IMAGEJ}) or a JDK is not there: read by tifffile alone")
    (tmp_path / "Show.java").write_text(SHOW)
    command = ["java", "-Djava.awt.headless=true", "-cp", str(IMAGEJ), str(tmp_path / "Show.java"), str(out)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert np.abs(np.array([float(mean) for mean in shown]) - right).max() < 2


def test_each_frame_keeps_its_time(enhance, expected, tmp_path):
    assert enhance("frame_times.tif")[0] == OK
    with tifffile.TiffFile(tmp_path / "out" / "frame_times.tif") as after:
        times = [page.tags[306].value for page in after.pages]
        texts = [page.tags[270].value for page in after.pages]
    with tifffile.TiffFile(CASES / "frame_times.tif") as before:
        assert texts == [page.tags[270].value for page in before.pages]
    assert times == expected["frame_times.tif"]["datetimes"]


@pytest.mark.parametrize("how", ["--format tiff", "--blend 0", "folder"])
def test_flir_sequences(enhance, expected, tmp_path, how):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(CASES / "three_frames.seq", folder)
    arguments = [folder] if how == "folder" else [folder / "three_frames.seq", *how.split()]
    assert enhance(*arguments)[0] == OK
    found = means(tmp_path / "out" / "three_frames.tiff")
    assert found == pytest.approx(expected["three_frames.seq"]["frame_means"], abs=0.001 if "blend" in how else MOST)


def test_constants_of_a_file_win_over_those_given(enhance, expected, tmp_path):
    code, errors = enhance("flir_planck.jpg", "tlinear_centikelvin.png", *KELVIN)
    assert code == OK
    assert "flir_planck.jpg states its own relation" in errors
    right = expected["flir_planck.jpg"]
    planck = json.loads((tmp_path / "out" / "flir_planck-radiometric.json").read_text())["planck"]
    counts = pages(tmp_path / "out" / "flir_planck.tiff")[0].astype(float)
    kelvin = planck["b"] / np.log(planck["r1"] / (planck["r2"] * (counts + planck["o"])) + planck["f"])
    assert kelvin.min() - 273.15 == pytest.approx(right["low_C"], abs=0.5)
    assert kelvin.max() - 273.15 == pytest.approx(right["high_C"], abs=0.5)
    other = json.loads((tmp_path / "out" / "tlinear_centikelvin-radiometric.json").read_text())
    assert other["linear"] == {"scale": 0.01, "offset": 0.0}


# --- pictures over counts --------------------------------------------------------------------------------------------


def test_counts_beside_a_jpeg(enhance, expected, tmp_path):
    right = expected["ijpeg_256x192.jpg"]["mean_count"]
    for options, most in (((), MOST), (UNCHANGED, 0.001)):
        assert enhance("ijpeg_256x192.jpg", *options)[0] == OK
        counts = pages(tmp_path / "out" / "ijpeg_256x192.tiff")
        assert (counts.dtype, counts.shape) == (np.dtype(np.uint16), (1, 192, 256))
        assert counts.mean() == pytest.approx(right, abs=most)


@pytest.mark.parametrize("name", ["rainbow.png", "rainbow.mp4"])
def test_false_colours_are_refused(enhance, tmp_path, name):
    code, errors = enhance(name)
    assert code == FAILED
    assert f"{name} is in false colours" in errors
    assert not list((tmp_path / "out").glob("*"))


# --- raw frames ------------------------------------------------------------------------------------------------------


def test_telemetry_rows_are_no_scene(enhance, expected, tmp_path):
    assert enhance("lepton_160x122.raw")[0] == OK
    old = np.fromfile(CASES / "lepton_160x122.raw", "<u2").reshape(122, 160)
    new = pages(tmp_path / "out" / "lepton_160x122.tiff")[0]
    assert np.array_equal(new[120:], old[120:])
    assert old[:120].mean() == pytest.approx(expected["lepton_160x122.raw"]["mean_count"])
    # as the same frame is changed without telemetry
    old[:120].tofile(tmp_path / "frame_160x120.raw")
    assert enhance(tmp_path / "frame_160x120.raw")[0] == OK
    alone = pages(tmp_path / "out" / "frame_160x120.tiff")[0]
    assert np.abs(new[:120].astype(float) - alone).max() <= 1


@pytest.mark.parametrize(("options", "most"), [((), MOST), (UNCHANGED, 0.001)])
def test_byte_order_of_frames_of_which_the_first_is_blank(enhance, expected, tmp_path, options, most):
    assert enhance("vospi_big_endian_80x60.raw", *options)[0] == OK
    found = means(tmp_path / "out" / "vospi_big_endian_80x60.tiff")
    assert len(found) == expected["vospi_big_endian_80x60.raw"]["frames"]
    assert found[1] == pytest.approx(expected["vospi_big_endian_80x60.raw"]["mean_of_frame_2"], abs=most)


@pytest.mark.parametrize(
    ("name", "words"),
    [("vospi_big_endian_80x60.raw", "big.endian"), ("geo_f32_celsius_nan.tif", "taken for temperatures in °C")],
)
def test_what_is_guessed_is_said(enhance, name, words):
    assert re.search(words, enhance(name, "--blend", "0")[1])


@pytest.mark.parametrize(("options", "most"), [((), MOST), (UNCHANGED, 0.001)])
def test_a_place_in_a_grid_is_no_size(enhance, expected, tmp_path, options, most):
    assert enhance("grid_10x12.raw", *options)[0] == OK
    counts = pages(tmp_path / "out" / "grid_10x12.tiff")
    assert counts.shape == (1, 60, 80)
    assert counts.mean() == pytest.approx(expected["grid_10x12.raw"]["mean_count"], abs=most)


@pytest.mark.parametrize("options", [("--plane", "lower"), (), ("--raw-size", "256x384")])
def test_a_picture_over_counts_is_told_apart(enhance, expected, tmp_path, options):
    code, errors = enhance("tc001_256x384.raw", *options, *UNCHANGED)
    assert code == OK
    assert "--plane" in options or "are a picture to look at" in errors
    counts = pages(tmp_path / "out" / "tc001_256x384.tiff")
    assert counts.shape == (1, 192, 256)
    assert counts.mean() == pytest.approx(expected["tc001_256x384.raw"]["mean_count"])


# --- clips -----------------------------------------------------------------------------------------------------------


def test_options_of_counts_are_used_or_refused_for_clips(enhance, tmp_path):
    code, errors = enhance("y16_ffv1.mkv", *KELVIN, "--mapping", "plateau", "--format", "tiff")
    if code == OK:  # used: there is a report
        assert (tmp_path / "out" / "y16_ffv1-radiometric.json").exists()
    else:
        assert "clips" in errors
        assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(("name", "bits"), [("y12_ffv1.mkv", 12), ("y16_ffv1.mkv", 16)])
def test_clips_keep_the_counts_that_they_store(enhance, expected, tmp_path, name, bits):
    av = pytest.importorskip("av")
    assert enhance(name)[0] == OK
    with av.open(str(tmp_path / "out" / name)) as container:
        counts = np.stack([frame.to_ndarray() for frame in container.decode(video=0)])
    assert counts.max() < 2**bits
    assert counts.mean() == pytest.approx(expected[name]["mean_count"], rel=0.1)


# --- large -----------------------------------------------------------------------------------------------------------


def test_a_large_picture_is_read_or_refused_in_one_line(enhance, tmp_path):
    """Without networks: a part of each change would take minutes."""
    code, errors = enhance("large_196MP.tif", "--blend", "0")
    if code == OK:
        assert (tmp_path / "out" / "large_196MP.tif").exists()
    else:
        assert "large_196MP.tif" in errors
    assert "DecompressionBomb" not in errors
    assert "Traceback" not in errors


# --- without a file --------------------------------------------------------------------------------------------------


def picture(path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (40, 56), dtype=np.uint8)
    Image.fromarray(values).save(path)
    return path


def test_a_dangling_link_stops_nothing(enhance, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    picture(folder / "a.png")
    picture(folder / "b.png")
    (folder / "broken.png").symlink_to("/nonexistent")
    code, errors = enhance(folder)
    assert code == FAILED
    assert "broken.png" in errors
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]


def test_an_unset_variable_is_refused(enhance, tmp_path):
    code, errors = enhance("")
    assert code not in (OK,)
    assert "empty" in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("letter", ["a", "温"])
def test_names_of_255_bytes(enhance, tmp_path, letter):
    name = letter * (251 // len(letter.encode())) + ".png"
    assert enhance(picture(tmp_path / name))[0] == OK
    assert (tmp_path / "out" / name).exists()


def test_a_report_goes_with_the_result_that_it_was_about(enhance, tmp_path):
    assert enhance("tlinear_centikelvin.png", *KELVIN)[0] == OK
    assert (tmp_path / "out" / "tlinear_centikelvin-radiometric.json").exists()
    assert enhance("tlinear_centikelvin.png")[0] == OK
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tlinear_centikelvin.png"]
