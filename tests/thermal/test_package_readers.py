"""Files that optional packages read, and arrays of NumPy."""

from __future__ import annotations

import io
import logging
import os
import struct
import sys
import zipfile
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers import thermal_files as files
from helpers.thermal_files import frame

from hidra_core.thermal import LinearKelvin
from hidra_core.thermal.readers import arrays, cacophony, fluke, irg, telops

if TYPE_CHECKING:
    from pathlib import Path

# (reader, module, package, extra)
PACKAGES = {
    ".irg": (irg, "infiray_irg", "infiray-irg", "irg"),
    ".is2": (fluke, "fluke_thermal_reader.parsers", "fluke-thermal-reader", "fluke"),
    ".cptv": (cacophony, "cptv", "cptv", "cptv"),
    ".hcc": (telops, "fasthcc", "fasthcc", "telops"),
}
CELSIUS = LinearKelvin(1.0, 273.15)


@pytest.mark.parametrize("suffix", PACKAGES)
def test_a_missing_package_is_named(tmp_path, monkeypatch, suffix):
    reader, module, package, extra = PACKAGES[suffix]
    assert suffix in reader.EXTENSIONS
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / f"a{suffix}").write_bytes(b"x")
    with pytest.raises(ImportError, match=rf"a\{suffix}: {suffix} files.*pip install {package}.*thermal\[{extra}\]"):
        reader.read(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", PACKAGES)
@pytest.mark.parametrize("data", [b"", b"x", b"PK\3\4" + bytes(100), bytes(3000), b"TC\0\x0c" + bytes(600)])
def test_what_is_no_such_file_is_refused(tmp_path, suffix, data):
    reader, module, _, _ = PACKAGES[suffix]
    pytest.importorskip(module)
    (tmp_path / f"a{suffix}").write_bytes(data)
    with pytest.raises(ValueError, match=rf"a\{suffix} is damaged, incomplete or of an unknown kind"):
        reader.read(tmp_path / f"a{suffix}")
    with pytest.raises(OSError, match="none"):
        reader.read(tmp_path / f"none{suffix}")


# --- InfiRay ---------------------------------------------------------------------------------------------------------


def test_irg(tmp_path):
    pytest.importorskip("infiray_irg")
    decikelvin = (frame() / 6).astype(np.uint16)
    path = tmp_path / "a.irg"
    path.write_bytes(files.irg(decikelvin))
    planes = irg.read(path)
    assert planes.counts.dtype == np.float32
    assert planes.relation == CELSIUS
    assert planes.relation.kelvin(planes.counts[0]) == pytest.approx(decikelvin / 10, abs=1e-3)
    path.write_bytes(files.irg(decikelvin)[:5000])
    with pytest.raises(ValueError, match=r"a\.irg is damaged"):
        irg.read(path)


# --- Fluke -----------------------------------------------------------------------------------------------------------


def is2_properties(low: float, high: float) -> dict[str, object]:
    return {
        "IRPROP_THERMAL_IMAGE_MIN_TEMP_C": low,
        "IRPROP_THERMAL_IMAGE_MAX_TEMP_C": high,
        "IRPROP_THERMAL_IMAGER_MAKE": "Fluke",
        "IRPROP_THERMAL_IMAGER_MODEL": '"Ti300"',
        "IRPROP_THERMAL_IMAGE_BG_TEMP_C": 20.0,
    }


def is2_celsius(counts: np.ndarray) -> np.ndarray:
    a, b, c = files.IS2_CURVE
    return (-b + np.sqrt(b * b - 4 * a * (c - counts.astype(float)))) / (2 * a)


def test_is2(tmp_path, monkeypatch, caplog):
    pytest.importorskip("fluke_thermal_reader")
    monkeypatch.chdir(tmp_path)
    counts = (frame() - 10_000).astype(np.uint16)
    celsius = is2_celsius(counts)
    path = files.is2(tmp_path / "a.is2", counts, is2_properties(celsius.min() + 0.4, celsius.max() - 1))
    planes = fluke.read(path)
    assert planes.counts[0] == pytest.approx(celsius, abs=1e-2)
    assert (planes.relation, planes.camera) == (CELSIUS, "Fluke Ti300")
    assert planes.parameters == {"emissivity": 1.0, "transmission": 1.0, "reflected_temperature": 293.15}
    assert os.listdir(tmp_path) == ["a.is2"], "the package would unpack into the current folder"
    assert caplog.text == ""


def test_is2_whose_temperatures_are_not_those_of_the_camera(tmp_path, caplog):
    pytest.importorskip("fluke_thermal_reader")
    counts = (frame() - 10_000).astype(np.uint16)
    celsius = is2_celsius(counts)
    path = files.is2(tmp_path / "a.is2", counts, is2_properties(celsius.min() - 5, celsius.max() - 5))
    with pytest.raises(ValueError, match=r"a\.is2: the package fluke-thermal-reader computes.*the camera states"):
        fluke.read(path)
    fluke.read(files.is2(tmp_path / "b.is2", counts, {}))
    assert "does not state any to compare them with" in caplog.text


def test_is2_that_would_unpack_to_gigabytes(tmp_path):
    pytest.importorskip("fluke_thermal_reader")
    with zipfile.ZipFile(tmp_path / "a.is2", "w", zipfile.ZIP_DEFLATED) as archive:
        for index in range(5):
            archive.writestr(f"{index}", bytes(1 << 26))
    with pytest.raises(ValueError, match=r"a\.is2.*would unpack to 320 MiB"):
        fluke.read(tmp_path / "a.is2")


# --- Cacophony -------------------------------------------------------------------------------------------------------


def write_cptv(path: Path, frames: list[np.ndarray], background: bool = False) -> Path:
    cptv = pytest.importorskip("cptv")
    writer = cptv.CPTVWriter(path.open("wb"))
    writer.fps, writer.model, writer.brand = 9, b"lepton3.5", b"flir"
    writer.device_name = b"gp"
    zero = timedelta(0)
    for index, counts in enumerate(frames):
        is_background = background and index == 0
        writer.write_frame(cptv.Frame(counts, timedelta(seconds=index), zero, 20.0, 20.0, is_background))
    writer.close()
    return path


@pytest.mark.parametrize("background", [False, True])
def test_cptv(tmp_path, background):
    frames = [frame(120, 160, seed) for seed in range(4)]
    planes = cacophony.read(write_cptv(tmp_path / "a.cptv", frames, background))
    assert planes.counts.dtype == np.uint16
    assert np.array_equal(planes.counts, np.stack(frames[1 if background else 0 :]))
    assert (planes.relation, planes.camera) == (None, "flir lepton3.5")
    assert planes.parameters == {"frame_rate": 9.0}


def test_cptv_that_is_cut_off(tmp_path, caplog):
    frames = [frame(120, 160, seed) for seed in range(4)]
    path = write_cptv(tmp_path / "a.cptv", frames)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 8])
    planes = cacophony.read(path)
    assert np.array_equal(planes.counts, np.stack(frames[: len(planes.counts)]))
    assert f"its first {len(planes.counts)} frames are read" in caplog.text
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"a\.cptv is damaged"):
        cacophony.read(path)


# --- Telops ----------------------------------------------------------------------------------------------------------


def write_hcc(path: Path, frames: np.ndarray, mode: int, offsets: list[float] | None = None) -> Path:
    header = pytest.importorskip("fasthcc.header")
    content = b""
    for index, counts in enumerate(frames):
        offset = 273.15 if offsets is None else offsets[index]
        height, width = counts.shape
        content += header.build_header(width, height, index, offset, -8, mode, frame_rate=100.0)
        content += counts.astype("<u2").tobytes()
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_hcc(tmp_path, mode):
    frames = np.stack([frame(seed=seed) for seed in range(3)])
    planes = telops.read(write_hcc(tmp_path / "a.hcc", frames, mode))
    assert planes.counts.dtype == np.uint16
    assert np.array_equal(planes.counts, frames)
    offset = float(np.float32(273.15))
    assert planes.relation == (LinearKelvin(1 / 256, offset) if mode == 2 else None)
    assert planes.parameters == {"frame_rate": 100.0}


def test_hcc_whose_frames_have_their_own_relation(tmp_path):
    """The package itself looks at the first, middle and last frame alone."""
    frames = np.stack([frame(seed=seed) for seed in range(20)])
    offsets = [273.15 if index != 3 else 200.0 for index in range(20)]
    planes = telops.read(write_hcc(tmp_path / "a.hcc", frames, 2, offsets))
    assert planes.counts.dtype == np.float32
    assert planes.relation == LinearKelvin(1.0)
    assert planes.counts == pytest.approx(frames / 256 + np.array(offsets)[:, None, None], rel=1e-6)


def test_hcc_that_is_cut_off_or_mixed(tmp_path, caplog):
    frames = np.stack([frame(seed=seed) for seed in range(3)])
    path = write_hcc(tmp_path / "a.hcc", frames, 2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    assert np.array_equal(telops.read(path).counts, frames[:2])
    assert "trailing bytes after 2 complete frames" in caplog.text
    other = write_hcc(tmp_path / "b.hcc", frames, 0).read_bytes()
    path.write_bytes(whole + other)
    with pytest.raises(ValueError, match=r"a\.hcc mixes frames of the calibration modes \[0, 2\]"):
        telops.read(path)


# --- arrays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">u2", "<u2", "<i4", "<u4", "<f4", ">f8"])
@pytest.mark.parametrize("pages", [1, 3])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays(tmp_path, dtype, pages, suffix):
    array = np.stack([frame(seed=seed) // 80 for seed in range(pages)]).astype(dtype)
    stored = array[0] if pages == 1 else array
    path = tmp_path / f"a{suffix}"
    if suffix == ".npz":
        np.savez_compressed(path, anything=stored)
    else:
        np.save(path, stored)
    planes = arrays.read(path)
    assert np.array_equal(planes.counts, array)
    assert planes.counts.dtype == np.dtype(dtype).newbyteorder("=")
    assert planes.relation is None
    if suffix == ".npy" and np.dtype(dtype).isnative:
        assert isinstance(planes.counts.base, np.memmap) or isinstance(planes.counts, np.memmap)


@pytest.mark.parametrize("name", ["counts", "frames"])
def test_the_array_that_is_meant_is_named(tmp_path, name):
    np.savez(tmp_path / "a.npz", times=np.arange(3), **{name: frame()})
    assert np.array_equal(arrays.read(tmp_path / "a.npz").counts[0], frame())


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({"first": frame(), "second": frame()}, "holds the arrays first, second"),
        ({"counts": frame().astype(np.int64)}, r"holds int64 numbers.*astype\(numpy.uint16\)"),
        ({"counts": frame().astype(np.float16)}, "holds float16 numbers"),
        ({"counts": frame() > 5}, "holds bool numbers"),
        ({"counts": np.array([{}])}, "damaged.*(O|o)bject"),
        ({"counts": np.zeros((48, 64, 3), np.uint8)}, r"holds an array \[48, 64, 3\]"),
        ({"counts": np.zeros(64, np.uint16)}, r"holds an array \[64\]"),
        ({"counts": np.zeros((0, 48, 64), np.uint16)}, r"holds an array \[0, 48, 64\]"),
        ({}, r"holds the arrays \(none\)"),
    ],
)
def test_arrays_that_are_no_planes_are_refused(tmp_path, content, what):
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(ValueError, match=rf"a\.npz.*{what}"):
        arrays.read(tmp_path / "a.npz")
    if len(content) == 1:
        np.save(tmp_path / "a.npy", *content.values())
        with pytest.raises(ValueError, match=rf"a\.npy.*{what}"):
            arrays.read(tmp_path / "a.npy")


def test_damaged_arrays_are_refused(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, frame())
    whole = buffer.getvalue()
    huge = whole.replace(b"(48, 64)", b"(60000, 60000)".ljust(8))[: len(whole)]
    for data in (
        b"",
        whole[:60],
        whole[:-10],
        huge,
        b"\x93NUMPY\1\0" + struct.pack("<H", 20) + b"not a header  ((((((",
    ):
        (tmp_path / "a.npy").write_bytes(data)
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("counts.npy", data)
        for name in ("a.npy", "a.npz"):
            with pytest.raises(ValueError, match=rf"{name} is damaged"):
                arrays.read(tmp_path / name)
    np.savez(tmp_path / "a.npz", frame())
    archive_bytes = bytearray((tmp_path / "a.npz").read_bytes())
    at = archive_bytes.rindex(b"PK\5\6")
    struct.pack_into("<I", archive_bytes, at + 16, at)  # the array would begin before the file
    (tmp_path / "a.npz").write_bytes(archive_bytes)
    with pytest.raises(ValueError, match=r"a\.npz is damaged"):
        arrays.read(tmp_path / "a.npz")
    with pytest.raises(OSError, match="none"):
        arrays.read(tmp_path / "none.npz")
    (tmp_path / "a.npz").write_bytes(whole)
    with pytest.raises(ValueError, match=r"a\.npz is damaged"):
        arrays.read(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "b.npy", "w") as archive:
        archive.writestr("counts.npy", whole)
    with pytest.raises(ValueError, match=r"rename it to \.npz"):
        arrays.read(tmp_path / "b.npy")


@pytest.mark.parametrize("suffix", [".irg", ".is2", ".cptv", ".hcc", ".npy", ".npz"])
def test_mutated_files_are_values_or_clear_errors(tmp_path, suffix, caplog):
    source = tmp_path / f"whole{suffix}"
    if suffix in PACKAGES:
        pytest.importorskip(PACKAGES[suffix][1])
    if suffix == ".irg":
        source.write_bytes(files.irg(frame() // 6))
    elif suffix == ".is2":
        files.is2(source, frame() - 10_000, {})
    elif suffix == ".cptv":
        write_cptv(source, [frame(120, 160)])
    elif suffix == ".hcc":
        write_hcc(source, frame()[None], 2)
    else:
        np.save(source, frame()) if suffix == ".npy" else np.savez(source, frame())
    reader = PACKAGES[suffix][0] if suffix in PACKAGES else arrays
    whole, generator, path = source.read_bytes(), np.random.default_rng(0), tmp_path / f"mutated{suffix}"
    messages = []
    with caplog.at_level(logging.CRITICAL):
        for _ in range(60):
            data = bytearray(whole[: generator.integers(1, len(whole) + 1)] if generator.random() < 0.3 else whole)
            for at in generator.integers(0, len(data), 4):
                data[min(at, 200) if generator.random() < 0.7 else at] = generator.integers(0, 256)
            path.write_bytes(data)
            try:
                assert reader.read(path).counts.ndim == 3
            except ValueError as error:
                messages.append(str(error))
    assert messages
    assert all("mutated" in message for message in messages)
