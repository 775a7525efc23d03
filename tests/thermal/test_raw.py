"""Raw frames: their size, byte order, telemetry and doubled frames; regions said by hand."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers import SHARED
from helpers.thermal_files import frame

from hidra_core.thermal import LinearKelvin
from hidra_core.thermal.frames import Frames
from hidra_core.thermal.readers import RawLayout, read_thermal
from hidra_core.thermal.readers.planes import guess_order
from hidra_core.thermal.readers.raw_layouts import KNOWN_LAYOUTS
from hidra_core.thermal.readers.y16 import open_raw
from hidra_core.thermal.scene import SceneRegion, parse_crop, parse_plane, parse_telemetry

if TYPE_CHECKING:
    from pathlib import Path

CASES = SHARED / "cases"
cases = pytest.mark.skipif(not CASES.is_dir(), reason="no cases here")

AUTO = RawLayout()
DOUBLED = [layout for layout in KNOWN_LAYOUTS if layout.picture]
WITH_TELEMETRY = [layout for layout in KNOWN_LAYOUTS if layout.telemetry]


def scene(height: int, width: int, number: int = 1, base: int = 17000, noise: float = 4) -> np.ndarray:
    """Frames ``[N, H, W]`` of a scene with edges: ground, sky, an object that moves."""
    rows, columns = np.mgrid[0:height, 0:width]
    generator = np.random.default_rng(0)
    frames = []
    for index in range(number):
        counts = base + 300 * np.sin(3 * rows / height) + 500 * np.sin(2.5 * columns / width + rows / height)
        counts += 700 * ((abs(rows - height // 2) < height // 6) & (abs(columns - width // 3 - index) < width // 8))
        frames.append((counts + generator.normal(0, noise, (height, width))).astype(np.uint16))
    return np.stack(frames)


def telemetry(rows: int, width: int, seed: int = 0) -> np.ndarray:
    """Rows as cameras append them: some words, then zeros."""
    numbers = np.zeros((rows, width), np.uint16)
    numbers[:1, :40] = np.random.default_rng(seed).integers(0, 65536, 40)
    return numbers


def yuyv(counts: np.ndarray, coloured: bool) -> np.ndarray:
    """A picture of counts as YUYV, two bytes a pixel, as words read as little endian."""
    low, high = counts.min(), counts.max()
    luma = ((counts - low) * 255.0 / (high - low)).astype(np.uint16)
    chroma = np.full_like(luma, 128)
    if coloured:
        chroma[:, 0::2] = 200 - luma[:, 0::2] // 3
        chroma[:, 1::2] = 90 + luma[:, 1::2] // 2
    return luma | chroma << 8


def doubled(layout, counts: np.ndarray, coloured: bool = False) -> np.ndarray:
    """Stored frames of doubled height: a picture, rows that follow it, and the counts."""
    rows = layout.picture - layout.counts_height
    return np.stack([np.vstack([yuyv(c, coloured), telemetry(rows, layout.width), c]) for c in counts])


def write(path: Path, frames: np.ndarray, order: str = "<", header: bytes = b"") -> Path:
    path.write_bytes(header + frames.astype(f"{order}u2").tobytes())
    return path


# --- the size --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("layout", [layout for layout in KNOWN_LAYOUTS if layout.plain][:-2], ids=str)
def test_sensors_are_known_by_length_and_content(tmp_path, layout, order, number):
    counts = scene(layout.height, layout.width, number)
    raw = open_raw(write(tmp_path / "a.raw", counts, order), AUTO)
    assert np.array_equal(raw.frames, counts)
    assert raw.scene_rows == slice(0, layout.height)
    assert not raw.warnings
    assert f"{layout}, {number} frame" in raw.notes[0]


@pytest.mark.parametrize("name", ["grid_10x12.raw", "grid_10x12_of_99x99.raw", "60x80.raw", "plain.raw"])
def test_numbers_in_a_name_do_not_overrule_the_content(tmp_path, name):
    counts = scene(60, 80)
    raw = open_raw(write(tmp_path / name, counts), AUTO)
    assert np.array_equal(raw.frames, counts)


def test_numbers_in_a_name_are_taken_where_they_give_a_picture(tmp_path):
    odd = scene(90, 70, 3)
    assert np.array_equal(open_raw(write(tmp_path / "run_70x90_2024.raw", odd), AUTO).frames, odd)
    four = scene(120, 160, 4)  # of the length of one frame of 320x240
    for name in ("160x120.raw", "nameless.raw"):
        assert np.array_equal(open_raw(write(tmp_path / name, four), AUTO).frames, four)
    with pytest.raises(ValueError, match=r"tile_10x12\.raw .*read as 10x12 it gives no picture"):
        open_raw(write(tmp_path / "tile_10x12.raw", scene(80, 90)), AUTO)


def test_several_frames_of_different_sizes_fit_the_same_length(tmp_path):
    for height, number in ((512, 15), (480, 16)):
        counts = scene(height, 640, number, noise=50)
        assert np.array_equal(open_raw(write(tmp_path / "a.raw", counts), AUTO).frames, counts)


def test_sizes_that_content_does_not_tell_apart_are_refused_or_doubted(tmp_path):
    flat = np.random.default_rng(0).normal(9000, 20, (8, 120, 160)).astype(np.uint16)  # or 2 of 320x240, 32 of 80x60
    with pytest.raises(ValueError, match=r"8 of 160x120.*--raw-size 160x120 or --raw-size"):
        open_raw(write(tmp_path / "a.raw", flat), AUTO)
    assert open_raw(tmp_path / "a.raw", RawLayout((160, 120))).frames.shape == (8, 120, 160)
    raw = open_raw(write(tmp_path / "b.raw", flat[:1]), AUTO)
    assert raw.frames.shape == (1, 120, 160)
    assert "does not tell frames of several sizes apart" in raw.warnings[0]
    assert not open_raw(write(tmp_path / "b_160x120.raw", flat[:1]), AUTO).warnings
    with pytest.raises(ValueError, match=r"4 of 160x120 or .* or 1 of 320x240"):
        open_raw(write(tmp_path / "c_160x120.raw", flat[:4]), AUTO)


def test_what_is_said_has_to_fit_and_to_give_a_picture(tmp_path):
    path = write(tmp_path / "a.raw", scene(512, 640))
    assert open_raw(path, RawLayout((640, 512))).frames.shape == (1, 512, 640)
    for wrong in ((512, 640), (320, 256), (160, 128), (1280, 256)):
        with pytest.raises(ValueError, match=r"a\.raw: its rows do not follow each other.*give --raw-size 640x512"):
            open_raw(path, RawLayout(wrong))
    with pytest.raises(ValueError, match=r"a frame of 640x480 16-bit counts has 614400"):
        open_raw(path, RawLayout((640, 480)))
    assert "continue each other as one of 640x512" in open_raw(path, RawLayout((640, 256))).warnings[0]
    telemetric = write(tmp_path / "b.raw", np.vstack([scene(120, 160)[0], telemetry(2, 160)]))
    with pytest.raises(ValueError, match=r"with 2 rows of telemetry it fits: give --raw-size 160x122"):
        open_raw(telemetric, RawLayout((160, 120)))


def test_frames_behind_a_header(tmp_path):
    counts = scene(60, 80, 2)
    path = write(tmp_path / "a.raw", counts, ">", header=bytes(range(100)))
    raw = open_raw(path, RawLayout(offset=100))
    assert np.array_equal(raw.frames, counts)
    assert np.array_equal(open_raw(path, RawLayout((80, 60), offset=100)).frames, counts)
    with pytest.raises(ValueError, match=r"has 0 bytes|nothing after the 99999 of --raw-offset"):
        open_raw(path, RawLayout(offset=99999))
    one = write(tmp_path / "b.raw", counts[:1], header=bytes(512))
    for layout in (AUTO, RawLayout((80, 60))):
        with pytest.raises(ValueError, match=r"one frame of 80x60 and 512 bytes.*give --raw-offset 512"):
            open_raw(one, layout)
    with pytest.raises(ValueError, match="from 0 up, got -1"):
        RawLayout(offset=-1)


# --- byte order ------------------------------------------------------------------------------------------------------


def test_blank_frames_do_not_decide_the_byte_order(tmp_path):
    counts = scene(60, 80, 40)
    counts[:30] = 0
    raw = open_raw(write(tmp_path / "a.raw", counts, ">"), AUTO)
    assert "big endian" in raw.encoding
    assert np.array_equal(raw.frames, counts)


def test_an_undecided_byte_order_is_said(tmp_path):
    raw = open_raw(write(tmp_path / "a.raw", np.full((60, 80), 0x7530)), AUTO)
    assert "little endian" in raw.encoding
    assert "neither byte order" in raw.warnings[0]
    told = open_raw(tmp_path / "a.raw", RawLayout(order="big"))
    assert not told.warnings
    assert told.frames[0][0, 0] == 0x3075


def test_an_order_that_contradicts_the_content_is_doubted(tmp_path):
    counts = scene(60, 80)
    raw = open_raw(write(tmp_path / "a.raw", counts), RawLayout((80, 60), "big"))
    assert np.array_equal(raw.frames, counts.byteswap())
    assert any("little endian looks right" in warning for warning in raw.warnings)


def test_fourteen_bits_decide_where_smoothness_does_not():
    noise = np.random.default_rng(0).integers(0, 1 << 14, (60, 80)).astype(np.uint16)
    noise = noise & 0x3F3F  # as rough in both orders
    assert guess_order([noise]).reason == ""
    noise[0, 0] = 0x00FF
    assert guess_order([noise]).order == "little"
    assert guess_order([noise.byteswap()]).order == "big"
    assert "14 bits" in guess_order([noise.byteswap()]).reason


# --- telemetry and doubled frames ------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["above", "below"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("layout", WITH_TELEMETRY, ids=str)
def test_telemetry_is_told_apart(tmp_path, layout, order, place):
    rows, stored = layout.telemetry, []
    for index, counts in enumerate(scene(layout.height - rows, layout.width, 2)):
        numbers = telemetry(rows, layout.width, index)
        stored.append(np.vstack([numbers, counts] if place == "above" else [counts, numbers]))
    raw = open_raw(write(tmp_path / "a.raw", np.stack(stored), order), AUTO)
    assert np.array_equal(raw.frames, stored)
    height = layout.height
    assert raw.scene_rows == (slice(rows, height) if place == "above" else slice(0, height - rows))
    found = f"the {rows} rows {place} the picture are" if rows > 1 else f"the 1 row {place} the picture is"
    assert f"{found} telemetry" in raw.warnings[0]
    told = open_raw(tmp_path / "a.raw", AUTO, SceneRegion(telemetry=(0, 0)))
    assert told.scene_rows == slice(0, height)
    assert not told.warnings


def test_telemetry_of_a_first_blank_frame(tmp_path):
    frames = np.stack([np.vstack([counts, telemetry(2, 160)]) for counts in scene(120, 160, 3)])
    frames[0, :120] = 0
    raw = open_raw(write(tmp_path / "a.raw", frames), AUTO)
    assert raw.scene_rows == slice(0, 120)


def test_a_picture_of_such_a_size_has_no_telemetry(tmp_path):
    counts = scene(122, 160)
    raw = open_raw(write(tmp_path / "a.raw", counts), AUTO)
    assert raw.scene_rows == slice(0, 122)
    assert not raw.warnings


@pytest.mark.parametrize("coloured", [False, True])
@pytest.mark.parametrize("layout", DOUBLED, ids=str)
def test_doubled_frames(tmp_path, layout, coloured):
    counts = scene(layout.counts_height, layout.width, 2, base=18500)
    stored = doubled(layout, counts, coloured)
    path = write(tmp_path / "a.raw", stored)
    size = (layout.width, layout.height)
    for given in (AUTO, RawLayout(size)):
        raw = open_raw(path, given)
        assert np.array_equal(raw.frames, counts)
        assert raw.scene_rows == slice(0, layout.counts_height)
        assert f"the {layout.picture} upper rows are a picture" in raw.warnings[0]
        assert raw.relation == (LinearKelvin(1 / 64) if layout.counts_height == 192 else None)
    assert np.array_equal(open_raw(path, AUTO, SceneRegion(plane="lower")).frames, stored)


def test_doubled_frames_though_the_size_of_the_counts_is_said(tmp_path):
    layout = next(layout for layout in DOUBLED if layout.height == 384)
    counts = scene(192, 256, 2)
    path = write(tmp_path / "a.raw", doubled(layout, counts))
    assert np.array_equal(open_raw(path, RawLayout((256, 192))).frames, counts)


@pytest.mark.parametrize("size", [None, (256, 192), (256, 384)])
def test_doubled_frames_by_hand(tmp_path, size):
    stored = np.vstack([scene(192, 256, base=9000)[0], scene(192, 256)[0]])[None]  # no YUYV that could be recognised
    path = write(tmp_path / "a.raw", stored)
    for plane in ("upper", "lower"):
        raw = open_raw(path, RawLayout(size), SceneRegion(plane=plane))
        assert np.array_equal(raw.frames, stored)
        assert raw.scene_rows == slice(0, 384)
    if size != (256, 384):
        assert "--plane lower" in open_raw(path, RawLayout(size)).warnings[0]


def test_two_frames_are_no_doubled_frame(tmp_path):
    for base in (7000, 18500, 32400):
        counts = scene(192, 256, 2, base)
        path = write(tmp_path / "a.raw", counts)
        for given in (AUTO, RawLayout((256, 192))):
            assert np.array_equal(open_raw(path, given).frames, counts)
            assert not open_raw(path, given).warnings
        with pytest.raises(ValueError, match="give --raw-size 256x192"):
            open_raw(path, RawLayout((256, 384)))


def test_counts_of_14_bits_are_no_sixty_fourths(tmp_path):
    layout = next(layout for layout in DOUBLED if layout.height == 384)
    path = write(tmp_path / "a.raw", doubled(layout, scene(192, 256, base=7000)))
    assert open_raw(path, AUTO).relation is None


# --- VoSPI packets ---------------------------------------------------------------------------------------------------


def packets(stored: np.ndarray, per_segment: int) -> np.ndarray:
    """Stored frames as words of VoSPI packets, ``[number of packets, 82]``."""
    body = stored.reshape(-1, 80)
    number = np.arange(len(body)) % per_segment
    head = np.zeros((len(body), 2), np.uint16)
    head[:, 0] = number
    if stored.shape[-1] == 160:
        segment = np.arange(len(body)) // per_segment % 4 + 1
        head[:, 0] |= np.where(number == 20, segment << 12, 0).astype(np.uint16)
    head[:, 1] = np.random.default_rng(1).integers(0, 65536, len(body))
    return np.hstack([head, body])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("size", [(80, 60), (160, 120)])
def test_vospi_packets(tmp_path, size, rows, order):
    width, height = size
    rows *= 3 if width == 80 else 2
    counts = scene(height, width, 3)
    stored = np.concatenate([counts, np.stack([telemetry(rows, width)] * 3)], axis=1) if rows else counts
    per_segment = stored.shape[1] * width // 80 // (1 if width == 80 else 4)
    path = write(tmp_path / "a.raw", packets(stored, per_segment), order)
    raw = open_raw(path, AUTO)
    assert np.array_equal(raw.frames, stored)
    assert raw.scene_rows == slice(0, height)
    assert "in VoSPI packets" in raw.encoding
    with pytest.raises(ValueError, match=r"VoSPI.*leave --raw-size and --raw-order out"):
        open_raw(path, RawLayout((82, 60)))


def test_broken_vospi_packets(tmp_path):
    words = packets(scene(120, 160, 2), 60)
    with pytest.raises(ValueError, match=r"VoSPI.*from packet 30 on"):
        open_raw(write(tmp_path / "a.raw", np.delete(words, 30, axis=0), ">"), AUTO)
    words[20, 0] = 20  # the first segment is invalid
    with pytest.raises(ValueError, match=r"segments are not 1 to 4"):
        open_raw(write(tmp_path / "a.raw", words, ">"), AUTO)


# --- streaming -------------------------------------------------------------------------------------------------------


def test_frames_are_read_one_at_a_time(tmp_path):
    counts = scene(60, 80, 5)
    path = write(tmp_path / "a.raw", counts)
    frames = open_raw(path, AUTO).frames
    assert isinstance(frames, Frames)
    assert len(frames) == 5
    assert (frames.shape, frames.dtype, frames.ndim) == (counts.shape, np.uint16, 3)
    assert np.array_equal(frames[-1], counts[4])
    with pytest.raises(IndexError):
        frames[5]
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"a\.raw ends in frame 5 of 5"):
        list(frames)


@pytest.mark.skipif(sys.platform != "linux", reason="the memory is read from /proc")
def test_memory_is_that_of_some_frames(tmp_path):
    path = tmp_path / "long_640x512.raw"
    counts = scene(512, 640)
    with path.open("wb") as file:
        for _ in range(300):
            file.write(counts.tobytes())
    program = (
        "import pathlib, resource, sys\n"
        "from hidra_core.thermal.readers import RawLayout\n"
        "from hidra_core.thermal.readers.y16 import open_raw\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "total = sum(int(frame[0, 0]) for frame in open_raw(pathlib.Path(sys.argv[1]), RawLayout()).frames)\n"
        "print(peak() - before)\n"
    )
    run = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 150_000, "kilobytes; the file has 197 MB"


def test_reading_a_file_says_what_was_recognised(tmp_path):
    path = write(tmp_path / "a.raw", np.vstack([scene(120, 160)[0], telemetry(2, 160)]))
    image = read_thermal(path)
    assert image.counts.shape == (1, 122, 160)
    assert "2 rows below the picture are telemetry" in image.warnings[0]
    assert np.array_equal(image.valid[0].any(1), np.arange(122) < 120)


# --- regions by hand -------------------------------------------------------------------------------------------------


def test_parts_of_a_frame(tmp_path):
    stored, size = frame(48, 64), (48, 64)
    path = tmp_path / "a.raw"
    assert np.array_equal(SceneRegion().cut(stored, path), stored)
    assert SceneRegion().scene_rows(size, path) == slice(0, 48)
    assert np.array_equal(SceneRegion(crop=(3, 5, 20, 10)).cut(stored, path), stored[5:15, 3:23])
    lower = SceneRegion(plane="lower", telemetry=(0, 2))
    assert np.array_equal(lower.cut(stored, path), stored[24:])
    assert lower.scene_rows(size, path) == slice(0, 22)
    both = SceneRegion(plane="lower", crop=(0, 4, 64, 20), telemetry=(5, 2))
    assert np.array_equal(both.cut(stored, path), stored[28:48])
    assert both.scene_rows(size, path) == slice(1, 18)
    assert SceneRegion(plane="upper").window(size, path) == (slice(0, 24), slice(0, 64))


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (SceneRegion(crop=(60, 0, 5, 5)), r"crop of 5x5 from column 60, row 0 is not inside its frames of 64x47"),
        (SceneRegion(crop=(0, 40, 5, 8)), r"not inside"),
        (SceneRegion(plane="upper"), r"47 rows, an odd number"),
        (SceneRegion(telemetry=(40, 7)), r"leave no picture"),
        (SceneRegion(crop=(0, 0, 64, 2), telemetry=(2, 0)), r"leave no picture"),
    ],
)
def test_regions_that_do_not_fit(tmp_path, region, message):
    with pytest.raises(ValueError, match=rf"a\.raw.*{message}"):
        region.scene_rows((47, 64), tmp_path / "a.raw")


def test_regions_as_texts():
    assert parse_crop(" 16,8, 320x240") == (16, 8, 320, 240)
    assert parse_telemetry("0,2") == (0, 2)
    assert parse_plane("Lower") == "lower"
    for text in ("", "16,8", "1,2,0x5", "-1,0,5x5", "1,2,3,4"):
        with pytest.raises(ValueError, match="expected LEFT,TOP,WIDTHxHEIGHT"):
            parse_crop(text)
    for text in ("", "2", "0;2", "-1,0"):
        with pytest.raises(ValueError, match="expected TOP,BOTTOM"):
            parse_telemetry(text)
    with pytest.raises(ValueError, match="expected upper or lower, got 'left'"):
        parse_plane("left")


@pytest.mark.parametrize(
    "wrong", [{"crop": (0, 0, 0, 5)}, {"crop": (-1, 0, 5, 5)}, {"telemetry": (0, -1)}, {"plane": "left"}]
)
def test_regions_that_are_none(wrong):
    with pytest.raises(ValueError, match="must be"):
        SceneRegion(**wrong)


# --- the cases -------------------------------------------------------------------------------------------------------


@cases
@pytest.mark.parametrize(
    ("name", "shape", "page", "mean"),
    [
        ("lepton_160x122.raw", (1, 122, 160), 0, 28859.797395833335),
        ("vospi_big_endian_80x60.raw", (3, 60, 80), 1, 28818.3525),
        ("grid_10x12.raw", (1, 60, 80), 0, 29003.571041666666),
        ("tc001_256x384.raw", (1, 192, 256), 0, 18414.260986328125),
    ],
)
def test_cases(name, shape, page, mean):
    raw = open_raw(CASES / name, AUTO)
    assert raw.frames.shape == shape
    assert raw.frames[page][raw.scene_rows].mean() == pytest.approx(mean, abs=1e-6)
