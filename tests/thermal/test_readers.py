"""Reading and writing the counts of thermal cameras."""

from __future__ import annotations

import builtins
import io
import json
import logging
import struct
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers import SHARED, thermal_files
from helpers.thermal_files import MODEL, PLANCK, frame
from PIL import Image

from hidra_core.images import Picture
from hidra_core.thermal import LinearKelvin, Planck, write_thermal
from hidra_core.thermal.readers import RawLayout, is_radiometric, read_input, read_thermal
from hidra_core.thermal.readers.planes import SENSOR_SIZES

if TYPE_CHECKING:
    from pathlib import Path

REAL = SHARED / "data" / "radiometric"
real_files = pytest.mark.skipif(not REAL.is_dir(), reason="no real radiometric files here")


def index() -> list[dict]:
    return json.loads((REAL / "index.json").read_text()) if REAL.is_dir() else []


# --- real files ------------------------------------------------------------------------------------------------------


@real_files
@pytest.mark.parametrize("entry", index(), ids=lambda entry: entry["file"])
def test_real_files(entry, tmp_path):
    image = read_thermal(REAL / entry["file"])
    if entry["raw16_file"]:
        assert np.array_equal(image.counts[0], np.asarray(Image.open(REAL / entry["raw16_file"])))
    assert (image.counts.min(), image.counts.max()) == (entry["min"], entry["max"])
    if "R1" in entry:
        assert isinstance(image.relation, Planck)
        for name in ("r1", "b", "f", "o", "r2"):
            assert getattr(image.relation, name) == pytest.approx(entry[name.upper()], rel=1e-3, abs=1e-4)
        assert 150 < np.nanmin(image.kelvin(image.counts)) < np.nanmax(image.kelvin(image.counts)) < 500
    for name in ("out.tiff", "out.png"):
        write_thermal(tmp_path / name, image.counts, image)
        again = read_thermal(tmp_path / name)
        assert np.array_equal(again.counts, image.counts)
        assert (again.relation, again.camera, again.parameters) == (image.relation, image.camera, image.parameters)
        band = b' xmlns:Camera="http://pix4d.com/camera/1.0" Camera:BandName="LWIR"'
        kept = again.metadata.xmp.replace(band, b"") if name.endswith(".tiff") else again.metadata.xmp
        assert image.metadata.xmp in (None, kept)


# --- what cameras write ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plane", ["plain", "png", "png swapped"])
@pytest.mark.parametrize(("order", "record_order"), [(">", "<"), ("<", "<"), (">", ">")])
def test_flir_planes(tmp_path, plane, order, record_order):
    counts = frame()
    body = None if plane == "plain" else thermal_files.png_plane(counts, swapped=plane.endswith("swapped"))
    content = thermal_files.fff(counts, body, order, record_order)
    (tmp_path / "a.fff").write_bytes(content)
    (tmp_path / "a.seq").write_bytes(content)  # by its content, whatever its name
    for path in (tmp_path / "a.fff", tmp_path / "a.seq", thermal_files.flir_jpeg(tmp_path / "a.jpg", content)):
        image = read_thermal(path)
        assert np.array_equal(image.counts, counts[None])
        assert image.camera == MODEL
        assert image.relation == PLANCK
        assert image.parameters["emissivity"] == pytest.approx(0.95)
        assert ("swapped" in image.encoding) == (plane == "png swapped")
        assert is_radiometric(path)


def test_long_flir_jpeg_has_several_segments(tmp_path):
    counts = frame(240, 320)
    path = thermal_files.flir_jpeg(tmp_path / "a.jpg", thermal_files.fff(counts), (320, 240))
    assert np.array_equal(read_thermal(path).counts[0], counts)


def test_flir_jpeg_is_turned_like_its_image(tmp_path):
    counts = frame()
    path = thermal_files.flir_jpeg(tmp_path / "a.jpg", thermal_files.fff(counts), orientation=6)
    image = read_thermal(path)
    assert np.array_equal(image.counts[0], np.rot90(counts, -1))


@pytest.mark.parametrize("size", [(512, 640), (120, 160)])
def test_dji_jpeg(tmp_path, size):
    counts = frame(*size)
    image = read_thermal(thermal_files.dji_jpeg(tmp_path / "a.jpg", counts))
    assert np.array_equal(image.counts[0], counts)
    assert image.relation is None
    assert image.camera == f"DJI {MODEL}"


def test_planck_is_the_curve_flir_states():
    # kelvin = B / ln(R1 / (R2 (S + O)) + F), and back
    kelvin = PLANCK.kelvin(np.array([17059.0, 18266.0]))
    signal = PLANCK.r1 / (PLANCK.r2 * (np.exp(PLANCK.b / kelvin) - PLANCK.f)) - PLANCK.o
    assert signal == pytest.approx([17059.0, 18266.0])
    assert np.isnan(PLANCK.kelvin(np.array([0.0]))).all()


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("stated", ["length", "name", "option"])
def test_raw_frames(tmp_path, order, stated):
    height, width = {"length": (120, 160), "name": (50, 70), "option": (50, 70)}[stated]
    counts = frame(height, width)
    path = tmp_path / ("frame_70x50.raw" if stated == "name" else "frame.y16")
    path.write_bytes(counts.astype("<u2" if order == "little" else ">u2").tobytes())
    raw = RawLayout((70, 50)) if stated == "option" else None
    image = read_thermal(path, raw=raw)
    assert np.array_equal(image.counts, counts[None])
    assert order in image.encoding


def test_raw_order_can_be_forced_and_frames_follow_each_other(tmp_path):
    counts = np.stack([frame(), frame(seed=1)])
    (tmp_path / "a.raw").write_bytes(counts.astype("<u2").tobytes())
    assert np.array_equal(read_thermal(tmp_path / "a.raw", raw=RawLayout((64, 48))).counts, counts)
    forced = read_thermal(tmp_path / "a.raw", raw=RawLayout((64, 48), "big"))
    assert np.array_equal(forced.counts, counts.byteswap())


def test_no_two_sensors_have_one_length():
    assert len({width * height for width, height in SENSOR_SIZES}) == len(SENSOR_SIZES)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_grey_images(tmp_path, dtype, suffix):
    counts = frame() if dtype == np.uint16 else (frame() // 80).astype(np.uint8)
    Image.fromarray(counts).save(tmp_path / f"a{suffix}")
    image = read_thermal(tmp_path / f"a{suffix}")
    assert image.counts.dtype == dtype
    assert np.array_equal(image.counts[0], counts)
    assert not is_radiometric(tmp_path / f"a{suffix}")
    # TIFF is read with the tags that tie it to the ground, whatever its depth
    assert isinstance(read_input(tmp_path / f"a{suffix}"), Picture) == (dtype == np.uint8 and suffix == ".png")
    assert image.display == (dtype == np.uint8)


def test_every_count_survives(tmp_path):
    counts = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(counts).save(tmp_path / "a.tiff")
    image = read_thermal(tmp_path / "a.tiff")
    write_thermal(tmp_path / "b.png", image.counts, image)
    assert np.array_equal(read_thermal(tmp_path / "b.png").counts[0], counts)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pages(tmp_path, dtype):
    pages = [(frame(seed=seed) // (1 if dtype == np.uint16 else 80)).astype(dtype) for seed in range(3)]
    image = read_thermal(thermal_files.tiff_pages(tmp_path / "a.tiff", pages))
    assert np.array_equal(image.counts, np.stack(pages))
    write_thermal(tmp_path / "b.tiff", image.counts, image)
    assert np.array_equal(read_thermal(tmp_path / "b.tiff").counts, np.stack(pages))
    with pytest.raises(ValueError, match=r"cannot hold the 3 pages.*use \.tiff"):
        write_thermal(tmp_path / "b.png", image.counts, image)
    assert not (tmp_path / "b.png").exists()


def test_metadata_and_relation_are_kept(tmp_path):
    exif = Image.Exif()
    exif[271], exif[270] = "Maker", "a description"
    exif[0x8769] = {0x9286: b"ASCII\0\0\0words of the user", 0x9003: "2024:01:02 03:04:05"}
    exif[0x8825] = {1: "N", 2: (47.0, 30.0, 0.0)}
    for pages in (1, 2):
        source = tmp_path / f"a{pages}.tiff"
        images = [Image.fromarray(frame(seed=seed)) for seed in range(pages)]
        images[0].save(source, save_all=pages > 1, append_images=images[1:], exif=exif.tobytes())
        image = replace(read_thermal(source), relation=LinearKelvin(0.01, 5.0))
        write_thermal(tmp_path / "b.tiff", image.counts, image, note={"mapping": "linear"})
        again = read_thermal(tmp_path / "b.tiff")
        assert again.relation == LinearKelvin(0.01, 5.0)
        with Image.open(tmp_path / "b.tiff") as written:
            kept = written.getexif()
            assert (kept[271], kept[270]) == ("Maker", "a description")
            assert kept.get_ifd(0x8825)[1] == "N"
            comment = kept.get_ifd(0x8769)[0x9286]
        record = json.loads(bytes(comment).removeprefix(b"ASCII\0\0\0"))["hidra_thermal"]
        assert record["comment"] == "words of the user"
        assert record["mapping"] == "linear"
        write_thermal(tmp_path / "c.tiff", again.counts, again)
        assert read_thermal(tmp_path / "c.tiff").relation == LinearKelvin(0.01, 5.0)


def test_colour_stays_an_image_for_programs_that_accept_images(tmp_path):
    Image.new("RGB", (20, 10), (200, 10, 10)).save(tmp_path / "a.png")
    assert isinstance(read_input(tmp_path / "a.png"), Picture)
    grey = Image.fromarray((frame() // 80).astype(np.uint8))
    grey.convert("RGB").save(tmp_path / "grey.png")
    assert np.array_equal(read_thermal(tmp_path / "grey.png").counts[0], np.asarray(grey))


# --- bad input -------------------------------------------------------------------------------------------------------


def test_truncated_tiff(tmp_path):
    for name, pages in (("one.tiff", 1), ("three.tiff", 3)):
        path = thermal_files.tiff_pages(tmp_path / name, [frame(seed=seed) for seed in range(pages)])
        whole = path.read_bytes()
        for share in (0.3, 0.6, 0.95):
            path.write_bytes(whole[: int(len(whole) * share)])
            with pytest.raises(ValueError, match=rf"{name} is (damaged|not an image file)"):
                read_thermal(path)


def test_float_tiff_with_nan(tmp_path):
    values = np.full((20, 30), 0.5, np.float32)
    values[3, 4] = np.nan
    Image.fromarray(values).save(tmp_path / "a.tiff", save_all=True, append_images=[Image.fromarray(values)])
    image = read_thermal(tmp_path / "a.tiff")
    assert image.counts.dtype == np.float32
    assert np.array_equal(image.counts, np.stack([values, values]), equal_nan=True)
    assert np.array_equal(image.valid, np.isfinite(image.counts))
    assert image.extremes == (0.5, 0.5)


def test_radiometric_jpeg_without_its_reader(tmp_path, monkeypatch):
    content = thermal_files.fff(frame(), b"\xff\xd8\xff\xf7" + bytes(64))
    path = thermal_files.flir_jpeg(tmp_path / "a.jpg", content)
    original = builtins.__import__

    def without(name, *arguments, **options):
        if name == "imagecodecs":
            raise ModuleNotFoundError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"a\.jpg.*JPEG-LS.*pip install imagecodecs"):
        read_thermal(path)


def test_jpeg_ls_plane(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    counts = frame()
    path = tmp_path / "a.fff"
    path.write_bytes(thermal_files.fff(counts, imagecodecs.jpegls_encode(counts)))
    image = read_thermal(path)
    assert np.array_equal(image.counts[0], counts)
    assert "JPEG-LS" in image.encoding
    path.write_bytes(thermal_files.fff(counts, imagecodecs.jpegls_encode(counts)[:300]))
    with pytest.raises(ValueError, match=r"a\.fff is damaged"):
        read_thermal(path)


def test_flir_jpeg_without_counts_is_an_image_and_says_so(tmp_path, caplog):
    content = b"FFF\0".ljust(20, b"\0") + b"".join(number.to_bytes(4, "big") for number in (100, 64, 0))
    path = thermal_files.flir_jpeg(tmp_path / "a.jpg", content.ljust(64, b"\0"))
    with caplog.at_level(logging.WARNING):
        assert isinstance(read_input(path), Picture)
    assert "without raw counts" in caplog.text
    with pytest.raises(ValueError, match=r"a\.jpg is in colour"):
        read_thermal(path)


def test_palette_image(tmp_path):
    image = Image.fromarray((frame() // 80).astype(np.uint8))
    image.putpalette([value for step in range(256) for value in (step, 0, 255 - step)])
    for name in ("a.png", "a.tiff"):
        image.save(tmp_path / name)
        with pytest.raises(ValueError, match=rf"{name} is in colour.*palette.*16-bit"):
            read_thermal(tmp_path / name)
    image.save(tmp_path / "b.tiff", save_all=True, append_images=[image])
    with pytest.raises(ValueError, match=r"b\.tiff holds 2 pages"):
        read_thermal(tmp_path / "b.tiff")


def test_mixed_pages(tmp_path):
    path = thermal_files.tiff_pages(tmp_path / "a.tiff", [frame(), frame(40, 64)])
    with pytest.raises(ValueError, match=r"a\.tiff mixes pages of 64x40, 64x48"):
        read_thermal(path)
    path = thermal_files.tiff_pages(tmp_path / "b.tiff", [frame(), (frame() // 80).astype(np.uint8)])
    with pytest.raises(ValueError, match=r"16 bits uint16, 8 bits uint8"):
        read_thermal(path)


def test_damaged_flir_files(tmp_path):
    counts = frame(240, 320)
    content = thermal_files.fff(counts)
    fff = tmp_path / "a.fff"
    for data, what in (
        (content[:1000], "records is cut off|cut off"),
        (b"FFF\0" + bytes(100), "unknown version"),
        (content[:40], "begin with FFF"),
        (thermal_files.fff(counts, content[:99]), "counts is cut off"),
        (thermal_files.fff(counts, thermal_files.png_plane(frame(), True)), "64x48"),
        (thermal_files.fff(counts, b"\x89PNG and no more"), "PNG plane"),
    ):
        fff.write_bytes(data)
        with pytest.raises(ValueError, match=rf"a\.fff is damaged.*({what})"):
            read_thermal(fff)
    path = thermal_files.flir_jpeg(tmp_path / "b.jpg", content, drop=1)
    with pytest.raises(ValueError, match=r"b\.jpg is damaged.*1 of 3 of its FLIR segments"):
        read_thermal(path)


def test_dji_plane_of_unknown_size(tmp_path):
    path = thermal_files.dji_jpeg(tmp_path / "a.jpg", frame(120, 160), cut=100)
    with pytest.raises(ValueError, match=r"a\.jpg: its plane of counts has 38300 bytes.*16-bit TIFF"):
        read_thermal(path)


def test_raw_frames_of_unknown_or_wrong_size(tmp_path):
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(1234))
    with pytest.raises(ValueError, match=r"1234 bytes, which is no frame.*--raw-size"):
        read_thermal(path)
    with pytest.raises(ValueError, match=r"a frame of 10x10 16-bit counts has 200"):
        read_thermal(path, raw=RawLayout((10, 10)))
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="0 bytes"):
        read_thermal(path, raw=RawLayout((10, 10)))
    with pytest.raises(ValueError, match="width and height"):
        RawLayout((0, 10))


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_thermal(tmp_path / "none.fff")
    with pytest.raises(IsADirectoryError):
        read_thermal(tmp_path)


# --- what is stored, however it is to be shown ------------------------------------------------------------------------


def with_tag(path: Path, tag: int, value: int) -> Path:
    """The TIFF with a short tag of every page set to a value."""
    data = bytearray(path.read_bytes())
    order = "<" if data[:2] == b"II" else ">"
    offset = struct.unpack_from(f"{order}I", data, 4)[0]
    while offset:
        count = struct.unpack_from(f"{order}H", data, offset)[0]
        for entry in range(offset + 2, offset + 2 + 12 * count, 12):
            if struct.unpack_from(f"{order}H", data, entry)[0] == tag:
                struct.pack_into(f"{order}H", data, entry + 8, value)
        offset = struct.unpack_from(f"{order}I", data, offset + 2 + 12 * count)[0]
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("pages", [1, 2])
def test_counts_whose_white_is_zero_are_those_stored(tmp_path, pages):
    """How a display is to show them (photometric interpretation 0) says nothing about temperatures."""
    path = thermal_files.tiff_pages(tmp_path / "a.tiff", [frame()] * pages)
    counts = read_thermal(with_tag(path, 262, 0)).counts
    assert counts.shape == (pages, 48, 64)
    assert np.array_equal(counts[0], frame())
    write_thermal(tmp_path / "b.tiff", counts, read_thermal(path))
    assert np.array_equal(read_thermal(tmp_path / "b.tiff").counts, counts)


@pytest.mark.parametrize("pages", [1, 2])
@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, -1), (8, 1)])
def test_pages_are_turned_upright(tmp_path, pages, orientation, turns):
    exif = Image.Exif()
    exif[274] = orientation
    images = [Image.fromarray(frame(seed=seed)) for seed in range(pages)]
    images[0].save(tmp_path / "a.tiff", save_all=True, append_images=images[1:], exif=exif.tobytes())
    image = read_thermal(tmp_path / "a.tiff")
    assert np.array_equal(image.counts[-1], np.rot90(frame(seed=pages - 1), turns))
    write_thermal(tmp_path / "b.tiff", image.counts, image)
    assert np.array_equal(read_thermal(tmp_path / "b.tiff").counts, image.counts), "turned once and for all"


# --- files that claim to be huge --------------------------------------------------------------------------------------


def huge_png() -> bytes:
    """A PNG of a few bytes whose header says 60000×60000 pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 16, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def huge_tiff(pages: int) -> bytes:
    """A TIFF of a few bytes whose pages say 60000×60000 pixels."""
    tags = [(256, 60_000), (257, 60_000), (258, 16), (259, 1), (262, 1), (273, 8), (277, 1), (278, 60_000), (279, 8)]
    data, offset = b"", 8
    for page in range(pages):
        offset_of_next = 8 + (page + 1) * (2 + 12 * len(tags) + 4) if page < pages - 1 else 0
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        data += struct.pack("<H", len(tags)) + entries + struct.pack("<I", offset_of_next)
    return b"II*\0" + struct.pack("<I", offset) + data


def huge_frame(height: int, width: int) -> bytes:
    """A JPEG whose frame header says it has so many pixels."""
    buffer = io.BytesIO()
    Image.new("L", (16, 16)).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    start = data.index(b"\xff\xc0")
    struct.pack_into(">HH", data, start + 5, height, width)
    return bytes(data)


HUGE = {
    "one.png": huge_png(),
    "one.tiff": huge_tiff(1),
    "two.tiff": huge_tiff(2),
    "one.jpg": huge_frame(60_000, 60_000),
    "plane.fff": thermal_files.fff(frame(), huge_png()),
}


@pytest.mark.parametrize("name", HUGE)
def test_files_that_claim_to_be_huge_are_a_clear_error(tmp_path, name):
    (tmp_path / name).write_bytes(HUGE[name])
    with pytest.raises(ValueError, match=rf"{name}.*(megapixels|exceeds limit|damaged)"):
        read_input(tmp_path / name)


@pytest.mark.parametrize("content", [thermal_files.fff(frame(), huge_png()), thermal_files.fff(frame())])
def test_radiometric_jpegs_that_claim_to_be_huge_are_a_clear_error(tmp_path, content):
    path = thermal_files.flir_jpeg(tmp_path / "a.jpg", content)
    data = bytearray(path.read_bytes())
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, 60_000, 60_000)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.jpg"):
        read_input(path)


def test_opencv_giving_up_is_a_clear_error(tmp_path, monkeypatch):
    import cv2

    def fails(*_):
        raise cv2.error("(-215:Assertion failed) pixels <= CV_IO_MAX_IMAGE_PIXELS")

    colours = np.random.default_rng(0).integers(0, 65536, (8, 8, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), colours)
    assert isinstance(read_input(tmp_path / "a.png"), Picture)
    monkeypatch.setattr(cv2, "imdecode", fails)
    with pytest.raises(ValueError, match=r"a\.png: OpenCV cannot read"):
        read_input(tmp_path / "a.png")


def test_grey_stored_as_16_bit_colour_is_said_to_be_one_channel(tmp_path, caplog):
    cv2 = pytest.importorskip("cv2")
    assert cv2.imwrite(str(tmp_path / "three.png"), np.repeat(frame()[..., None], 3, axis=2))
    with caplog.at_level("INFO", "hidra_core"):
        content = read_input(tmp_path / "three.png")
    assert np.array_equal(content.counts[0], frame())
    assert caplog.messages == [f"{tmp_path / 'three.png'}: its equal channels of 16 bits are read as one, grey"]
