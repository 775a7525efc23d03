"""Damaged files are read, or refused in the way that callers expect: a short run of benchmarks/fuzz.py."""

from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT, thermal_files
from helpers import format_files as files
from helpers.format_files import pages_of
from PIL import Image

from hidra_core.sources import Change, open_source
from hidra_core.thermal.readers import stored

PROGRAM = ROOT / "benchmarks" / "fuzz.py"


@pytest.fixture
def fuzz(monkeypatch):
    monkeypatch.syspath_prepend(PROGRAM.parent)
    return pytest.importorskip("fuzz")


def test_damaged_files():
    for module in ("av", "cptv", "cv2", "fasthcc", "imagecodecs"):
        pytest.importorskip(module)
    options = ("--count", "300", "--seed", "0", "--jobs", "2")
    run = subprocess.run([sys.executable, PROGRAM, *options], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    table = [[cell.strip() for cell in line.split("|")] for line in run.stdout.splitlines() if line.startswith("|")]
    assert sum(int(row[2]) for row in table[2:]) == 300
    assert all(int(row[3]) and int(row[4]) for row in table[2:]), "some of each kind are read, and some are refused"


@pytest.mark.parametrize("error", [KeyError("x"), MemoryError("x"), RecursionError("x")])
def test_other_errors_are_found(fuzz, monkeypatch, tmp_path, error):
    np.save(tmp_path / "1-a.npy", np.zeros((24, 32), np.uint16))
    assert fuzz.attempt(tmp_path / "1-a.npy", False) == "read"

    def fails(*_):
        raise error

    monkeypatch.setattr(fuzz, "open_source", fails)
    outcome = fuzz.attempt(tmp_path / "1-a.npy", False)
    assert outcome.startswith(f"{type(error).__name__}: ")
    assert "(test_fuzz.py:" in outcome


def test_what_is_found_is_kept(fuzz, tmp_path):
    path, kept = tmp_path / "1-a.npy", tmp_path / "kept"
    path.write_bytes(b"damaged")
    kept.mkdir()
    tally = fuzz.Tally()
    tally.add(path, "ValueError", 1.0, kept)
    assert not list(kept.iterdir())
    tally.add(path, "KeyError: x", 1.0, kept)
    tally.add(path, "read", 11.0, kept)
    assert (kept / path.name).read_bytes() == b"damaged"
    assert tally.found == [f"{kept / path.name}: KeyError: x", f"{kept / path.name}: slow: 11.0 s until read"]
    assert (tally.outcomes["ValueError"], tally.outcomes["other"], tally.slowest) == (1, 2, 11.0)


def test_a_process_that_ends_or_hangs_is_found(fuzz, monkeypatch, tmp_path):
    worker = fuzz.Worker(tmp_path)
    worker.give("arrays", "a.npy", b"", False)
    worker.process.kill()
    worker.process.join()
    worker.pipe.poll(10)
    outcome, _ = worker.answer()
    assert outcome == "the process ended (-9)"
    monkeypatch.setattr(fuzz, "_PATIENCE", 0.0)
    worker.give("arrays", "a.npy", b"", False)
    assert worker.answer()[0] == "hangs"
    worker.process.kill()


def test_damage_is_repeatable(fuzz):
    import random

    from fuzz_seeds import render

    files = {name: data for kind in ("tiff", "arrays", "packages") for name, data in render(kind).items()}
    for name, data in files.items():
        if name.endswith(".cptv"):  # whose header has the time
            continue
        first, second = (fuzz.mutated(data, [*files.values()], random.Random(name)) for _ in range(2))
        assert first == second
    changed = [fuzz.mutated(data, [*files.values()], random.Random(name)) != data for name, data in files.items()]
    assert sum(changed) > 0.9 * len(files)


# --- what the program found -------------------------------------------------------------------------------------------


def test_pages_that_lead_back_are_refused(tmp_path):
    path = tmp_path / "in.tif"
    pages_of()(path, np.zeros((2, 24, 32), np.uint16))
    data = bytearray(path.read_bytes())
    [first] = struct.unpack_from("<I", data, 4)
    [second] = struct.unpack_from("<I", data, after_entries(data, first))
    struct.pack_into("<I", data, after_entries(data, second), first)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"in\.tif is damaged.*page 2 leads back to an earlier page"):
        open_source(path)


def after_entries(data: bytes | bytearray, directory: int) -> int:
    return directory + 2 + 12 * struct.unpack_from("<H", data, directory)[0]


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize("height", [25, 2_000_000])
@pytest.mark.parametrize("kind", ["a.png", "a.fff", "a.jpg"])
def test_a_png_whose_rows_are_missing_is_refused(tmp_path, interlaced, height, kind):
    """Pillow makes the missing rows black."""
    png = files.png_file(bytes(24 * 65), 32, height, colour_type=0, interlaced=interlaced)
    path = tmp_path / kind
    content = thermal_files.fff(np.zeros((25, 32), np.uint16), png)
    if kind == "a.jpg":
        thermal_files.flir_jpeg(path, content)
    else:
        path.write_bytes(png if kind == "a.png" else content)
    what = "rows end after" if kind == "a.png" or height == 25 else "its plane is 32x2000000"
    with pytest.raises(ValueError, match=rf"{kind} is damaged.*{what}"):
        open_source(path)


def test_a_palette_that_is_missing_is_damage(tmp_path):
    image = Image.fromarray(np.zeros((24, 32), np.uint8)).convert("P")
    image.save(tmp_path / "a.png", transparency=3)
    data = (tmp_path / "a.png").read_bytes()
    at = data.index(b"PLTE") - 4
    (tmp_path / "a.png").write_bytes(data[:at] + data[at + 12 + struct.unpack_from(">I", data, at)[0] :])
    with pytest.raises(ValueError, match=r"a\.png is damaged or incomplete \(its palette is missing\)"):
        open_source(tmp_path / "a.png")


def test_a_later_page_of_an_unknown_compression_is_damage(tmp_path):
    """Of colour, which Pillow reads: it raises KeyError."""
    images = [Image.new("RGB", (32, 24))] * 2
    images[0].save(tmp_path / "a.tif", save_all=True, append_images=images[1:])
    data = bytearray((tmp_path / "a.tif").read_bytes())
    at = data.rindex(struct.pack("<HHI", 259, 3, 1))
    struct.pack_into("<H", data, at + 8, 338)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.tif is damaged or incomplete"):
        open_source(tmp_path / "a.tif")


def test_a_jpeg_ls_plane_without_an_end_is_refused(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    plane = imagecodecs.jpegls_encode(thermal_files.frame())
    (tmp_path / "a.fff").write_bytes(thermal_files.fff(thermal_files.frame(), plane[:-2] + b"\0\0"))
    with pytest.raises(ValueError, match=r"a\.fff is damaged.*its JPEG-LS plane of raw counts is cut off"):
        open_source(tmp_path / "a.fff")


@pytest.mark.parametrize(("code", "count"), [(33550, 1), (33922, 1), (33922, 7), (34264, 15), (34735, 5), (33922, 12)])
def test_tags_of_the_ground_that_are_incomplete_are_left_out(code, count, tmp_path, caplog):
    """Pixel scales have 2 or 3 numbers, tie points 6 each, keys 4, and a matrix 16 (OGC GeoTIFF 19-008r4)."""
    tag = (code, 3 if code == 34735 else 12, count, tuple(range(count)), True)
    path, counts = tmp_path / "in.tif", thermal_files.frame()
    pages_of(extratags=[tag])(path, counts[None])
    open_source(path).rewrite(tmp_path / "out.tiff", lambda pages: pages, Change(blend=0))
    with files.tifffile.TiffFile(tmp_path / "out.tiff") as tif:
        assert np.array_equal(tif.asarray(), counts)
        assert (code in tif.pages.first.tags) == (count == 12)
    assert (f"tag {code}, of the ground, is damaged" in caplog.text) == (count != 12)


def test_a_clip_of_an_unknown_codec_is_refused(tmp_path):
    path = tmp_path / "a.mkv"
    files.clip(16)(path, np.zeros((2, 48, 64), np.uint16))
    path.write_bytes(path.read_bytes().replace(b"V_FFV1", b"V_XXXX"))
    with pytest.raises(ValueError, match=r"a\.mkv cannot be read as a clip: this PyAV does not know"):
        open_source(path)


@pytest.mark.parametrize("at_once", [0, 1 << 26])
def test_pages_of_different_channels_are_refused(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(stored, "_AT_ONCE", at_once)
    plane, options = thermal_files.frame(), {"photometric": "minisblack", "metadata": None}
    with files.tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(plane, **options)
        writer.write(np.stack([plane, plane]), planarconfig="separate", extrasamples=["unassalpha"], **options)
    with pytest.raises(ValueError, match="mixes pages of 64x48 .16 bits uint16, 16 bits uint16 in 2 channels apart"):
        open_source(tmp_path / "a.tif")


def test_a_recording_that_states_gigabytes_is_refused(tmp_path, monkeypatch):
    """A damaged length of a frame makes the package ask for so many bytes."""
    cptv = pytest.importorskip("cptv")

    def fails(*_):
        raise MemoryError

    monkeypatch.setattr(cptv, "CPTVReader", fails)
    (tmp_path / "a.cptv").write_bytes(b"\x1f\x8b")
    with pytest.raises(ValueError, match=r"a\.cptv is damaged"):
        open_source(tmp_path / "a.cptv")
