"""FLIR's sequences: frames of the FFF format one after the other."""

from __future__ import annotations

import logging
import struct
import tracemalloc
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from helpers import thermal_files
from helpers.thermal_files import MODEL, PLANCK, fff, frame

from hidra_core.thermal.frames import Frames
from hidra_core.thermal.readers import flir, flir_sequences, read_thermal

START = 1_700_000_000


def planes(count: int) -> list[np.ndarray]:
    return [frame(seed=seed) for seed in range(count)]


def encoded(counts: np.ndarray, kind: str) -> bytes | None:
    if kind == "plain":
        return None
    if kind == "jpeg-ls":
        return pytest.importorskip("imagecodecs").jpegls_encode(counts)
    return thermal_files.png_plane(counts, swapped=kind.endswith("swapped"))


def write(path, frames: list[bytes]):
    path.write_bytes(b"".join(frames))
    return path


# --- whole files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "png", "png swapped", "jpeg-ls"])
@pytest.mark.parametrize(("order", "record_order"), [(">", "<"), ("<", "<"), (">", ">")])
def test_frames_with_their_times(tmp_path, kind, order, record_order):
    counts = planes(4)
    files = [
        fff(plane, encoded(plane, kind), order, record_order, time=(START + 2 * index, 250, -90))
        for index, plane in enumerate(counts)
    ]
    sequence = flir.read_sequence(write(tmp_path / "a.seq", files))
    assert sequence.frames.shape == (4, 48, 64)
    assert np.array_equal(np.asarray(sequence.frames), np.stack(counts))
    assert np.array_equal(sequence.frames[2], counts[2])
    zone = timezone(timedelta(minutes=90))
    assert sequence.times == tuple(datetime.fromtimestamp(START + 2 * index + 0.25, zone) for index in range(4))
    assert [time.isoformat() for time in sequence.times[:1] if time] == ["2023-11-14T23:43:20.250000+01:30"]
    assert (sequence.camera.model, sequence.camera.planck) == (MODEL, PLANCK)
    assert ("swapped" in sequence.encoding) == (kind == "png swapped")
    image = read_thermal(tmp_path / "a.seq")
    assert np.array_equal(image.counts, np.stack(counts))
    assert image.relation == PLANCK


def test_frames_are_decoded_when_they_are_asked_for(tmp_path, monkeypatch):
    path = write(tmp_path / "a.seq", [fff(plane) for plane in planes(60)])
    decoded = []
    decode = flir_sequences.decode
    monkeypatch.setattr(flir_sequences, "decode", lambda *given: decoded.append(1) or decode(*given))
    frames = flir.read_sequence(path).frames
    assert len(decoded) < 10
    decoded.clear()
    assert np.array_equal(frames[37], frame(seed=37))
    assert len(decoded) == 1


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    counts = frame(120, 160)
    peaks = []
    for number in (20, 400):
        path = write(tmp_path / "a.seq", [fff(counts)] * number)
        tracemalloc.start()
        try:
            assert sum(bool((plane == counts).all()) for plane in flir.read_sequence(path).frames) == number
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] - peaks[0] < 380 * 1000  # a frame has 38 kB; its place and time take a few hundred bytes


def test_a_frame_inside_a_plane_is_no_frame(tmp_path):
    inner = fff(frame(8, 8))
    counts = np.frombuffer(inner + bytes(-len(inner) % 128), "<u2").reshape(-1, 64)
    path = write(tmp_path / "a.seq", [fff(counts)] * 3)
    sequence = flir.read_sequence(path)
    assert sequence.frames.shape == (3, *counts.shape)


def test_byte_order_is_decided_for_all_frames_together(tmp_path):
    blank = np.full((48, 64), 0x1234, np.uint16)
    # alone, this one is smoother with swapped bytes
    stripes = np.tile(np.array([0x2001, 0x2101], np.uint16), (48, 32))
    counts = [blank, stripes, *(frame(seed=seed) + np.uint16(0x100 * seed) for seed in range(4))]
    path = write(tmp_path / "a.seq", [fff(plane) for plane in counts])
    assert np.array_equal(np.asarray(flir.read_sequence(path).frames), np.stack(counts))
    path = write(tmp_path / "b.seq", [fff(plane, thermal_files.png_plane(plane, swapped=True)) for plane in counts])
    assert np.array_equal(np.asarray(flir.read_sequence(path).frames), np.stack(counts))


def test_one_frame_is_a_sequence_too_and_blank_frames_are_read(tmp_path):
    blank = np.full((48, 64), 0x1234, np.uint16)
    sequence = flir.read_sequence(write(tmp_path / "a.seq", [fff(blank)]))
    assert np.array_equal(np.asarray(sequence.frames), blank[None])
    assert sequence.times == (None,)


# --- damaged and odd files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [10, 1100, 6000])
def test_a_last_frame_that_is_cut_off_is_left_out_and_said(tmp_path, caplog, cut):
    counts = planes(3)
    data = b"".join(fff(plane) for plane in counts)
    (tmp_path / "a.seq").write_bytes(data[:-cut])
    with caplog.at_level(logging.WARNING):
        frames = np.asarray(flir.read_sequence(tmp_path / "a.seq").frames)
    assert np.array_equal(frames, np.stack(counts[:2]))
    assert "frame 3 is cut off and left out; 2 frames are read" in caplog.text


def test_an_only_frame_that_is_cut_off_is_an_error(tmp_path):
    (tmp_path / "a.seq").write_bytes(fff(frame())[:-10])
    with pytest.raises(ValueError, match=r"a\.seq is damaged or incomplete: one of its FLIR records is cut off"):
        flir.read_sequence(tmp_path / "a.seq")


def test_lost_bytes_cost_the_frames_they_are_lost_from(tmp_path, caplog):
    counts = planes(5)
    files = [fff(plane) for plane in counts]
    for number in (1, 3):
        files[number] = files[number][:3000] + files[number][3100:]
    with caplog.at_level(logging.WARNING):
        frames = np.asarray(flir.read_sequence(write(tmp_path / "a.seq", files)).frames)
    assert np.array_equal(frames, np.stack([counts[0], counts[2], counts[4]]))
    assert "frame 2 and 4 are cut off and left out; 3 frames are read" in caplog.text


def test_bytes_between_frames_are_passed_over(tmp_path, caplog):
    counts = planes(3)
    between = b"AFF\0 and then FFF\0 without a header".ljust(100, b"\0")
    with caplog.at_level(logging.WARNING):
        frames = np.asarray(flir.read_sequence(write(tmp_path / "a.seq", [fff(p) + between for p in counts])).frames)
    assert np.array_equal(frames, np.stack(counts))
    assert "300 bytes between or after its frames" in caplog.text


def test_the_next_frame_is_found_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(flir_sequences, "_BLOCK", 7)
    counts = planes(3)
    frames = flir.read_sequence(write(tmp_path / "a.seq", [fff(plane) + b"\0" * 21 for plane in counts])).frames
    assert np.array_equal(np.asarray(frames), np.stack(counts))


def test_frames_of_another_size_are_refused(tmp_path):
    path = write(tmp_path / "a.seq", [fff(frame()), fff(frame(24, 32))])
    with pytest.raises(ValueError, match=r"a\.seq: frame 2 has 32x24 pixels, those before it 64x48.*split"):
        flir.read_sequence(path)


def test_frames_of_another_range_are_refused(tmp_path):
    path = write(tmp_path / "a.seq", [fff(frame()), fff(frame()), fff(frame(), planck=replace(PLANCK, o=-900.0))])
    with pytest.raises(ValueError, match=r"a\.seq: the Planck constants change at frame 3.*split"):
        flir.read_sequence(path)


def test_changed_parameters_are_said(tmp_path, caplog):
    path = write(tmp_path / "a.seq", [fff(frame()), fff(frame(), floats={32: 0.8}), fff(frame())])
    with caplog.at_level(logging.WARNING):
        assert flir.read_sequence(path).camera.parameters["emissivity"] == pytest.approx(0.95)
    assert "emissivity, distance or the like change at frame 2" in caplog.text


def test_pixels_that_the_camera_marks_as_its_own_are_said(tmp_path, caplog):
    data = bytearray(fff(frame()))
    struct.pack_into("<4H", data, 64 + 2 * 32 + 10, 0, 63, 2, 47)  # first and last valid column, row
    with caplog.at_level(logging.WARNING):
        sequence = flir.read_sequence(write(tmp_path / "a.seq", [bytes(data)]))
    assert sequence.valid == (0, 2, 64, 46)
    assert "only 64×46 pixels from column 0 and row 2" in caplog.text


def test_a_damaged_plane_is_named_when_it_is_read(tmp_path):
    files = [fff(frame(), thermal_files.png_plane(frame(), swapped=False)) for _ in range(60)]
    at = files[30].index(b"IDAT")
    files[30] = files[30][:at] + b"JUNK" + files[30][at + 4 :]
    frames = flir.read_sequence(write(tmp_path / "a.seq", files)).frames
    assert np.array_equal(frames[31], frame())
    with pytest.raises(ValueError, match=r"a\.seq is damaged.*frame 31: its PNG plane"):
        frames[30]


@pytest.mark.parametrize(
    ("place", "number", "message"),
    [
        (0, 3, "3 bytes per pixel, 2 are expected"),
        (2, 0, "0x48 pixels"),
        (4, 65535, "plane of 64x65535 raw counts is cut off"),
    ],
)
def test_odd_planes_are_refused(tmp_path, place, number, message):
    data = bytearray(fff(frame()))
    struct.pack_into("<H", data, 64 + 2 * 32 + place, number)
    with pytest.raises(ValueError, match=rf"a\.seq is damaged.*{message}"):
        flir.read_sequence(write(tmp_path / "a.seq", [bytes(data)]))


def test_a_sequence_without_counts_is_refused(tmp_path):
    data = bytearray(fff(frame()))
    struct.pack_into(">H", data, 64, 7)  # the type of the first record
    with pytest.raises(ValueError, match=r"a\.seq is a FLIR file without raw counts"):
        flir.read_sequence(write(tmp_path / "a.seq", [bytes(data)] * 2))


def test_mutated_sequences_raise_only_what_readers_may(tmp_path):
    random = np.random.default_rng(0)
    small = frame(8, 16)
    whole = b"".join([fff(small), fff(small, thermal_files.png_plane(small, swapped=True)), fff(small)])
    path = tmp_path / "a.seq"
    for _ in range(500):
        data = bytearray(whole)
        for place in random.integers(0, len(data), random.integers(1, 30)):
            data[place] = random.integers(256)
        path.write_bytes(b"FFF\0" + data[4 : random.integers(64, len(data) + 1)])
        try:
            np.asarray(flir.read_sequence(path).frames)
        except (ValueError, OSError, ImportError) as error:
            assert "a.seq" in str(error)  # noqa: PT017 — most mutants are read; those that are not name the file


# --- planes that are read one at a time ------------------------------------------------------------------------------


def test_frames_serve_as_an_array():
    counts = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    frames = Frames(counts.__getitem__, counts.shape, counts.dtype)
    assert (frames.shape, frames.dtype, frames.ndim, len(frames)) == ((2, 3, 4), np.uint16, 3, 2)
    assert np.array_equal(np.asarray(frames), counts)
    assert np.asarray(frames, dtype=np.float32).dtype == np.float32
    assert np.array_equal(frames[-1], counts[1])
    assert [plane[0, 0] for plane in frames] == [0, 12]
    for index in (2, -3):
        with pytest.raises(IndexError, match=f"plane {index} of 2"):
            frames[index]
    with pytest.raises(ValueError, match="ask for a copy"):
        np.asarray(frames, copy=False)
