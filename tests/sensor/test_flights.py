"""Frames of one flight are brought to one level, as far as their overlaps say how."""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers import thermal_files
from helpers.commands import save_picture
from PIL import Image
from scipy.ndimage import gaussian_filter

from hidra_core.cli import main
from hidra_core.scenes import render
from hidra_core.sensor.flights import level_flight
from hidra_core.sensor.overlaps import find_overlap, small_frame
from hidra_core.sensor.profile import CameraProfile
from hidra_core.thermal.readers import read_thermal

if TYPE_CHECKING:
    from pathlib import Path

HEIGHT, WIDTH = 96, 128
COUNT = 13
PERIOD = 5
EVENTS = (2, 7, 12)
STEP = (3, 24)
SAWTOOTH = 3.0 * ((np.arange(COUNT) - EVENTS[0]) % PERIOD) / (PERIOD - 1)
"""Offsets in kelvin: ±1.5 around their middle, 0 right after each event."""


@cache
def ground() -> np.ndarray:
    """Ground of 20 K, larger than the way of the flight."""
    parts = [render("field", 320, 400, seed=seed) for seed in (0, 1)]
    return 20.0 * np.concatenate(parts, 1)


def sensor(seed: int = 0) -> np.ndarray:
    """What the camera adds to every frame, in kelvin: shading of lens and housing, stripes."""
    y, x = np.meshgrid(np.linspace(-1, 1, HEIGHT), np.linspace(-1, 1, WIDTH), indexing="ij")
    return 0.5 * (x**2 + y**2) + 0.2 * x + np.random.default_rng(seed).normal(0, 0.3, WIDTH)


def flown(
    offsets: np.ndarray = SAWTOOTH, step: tuple[int, int] = STEP, gradient: float = 0.0, scene: np.ndarray | None = None
) -> list[np.ndarray]:
    """Frames of a straight flight with drift, shading, stripes and noise, in kelvin."""
    scene = ground() if scene is None else scene
    scene = scene + gradient * np.linspace(0, 1, scene.shape[1])
    frames, random = [], np.random.default_rng(1)
    for index, offset in enumerate(offsets):
        top, left = (index * pixels for pixels in step)
        view = scene[top : top + HEIGHT, left : left + WIDTH]
        frames.append(view + offset + sensor() + random.normal(0, 0.05, view.shape))
    return frames


def root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


@pytest.mark.parametrize("gradient", [0.0, 12.0])
def test_drift_between_shutter_events_is_taken_off_and_real_gradients_stay(gradient: float) -> None:
    levelling = level_flight(flown(gradient=gradient), list(2.0 * np.arange(COUNT)))
    assert levelling.anchor == "events"
    assert levelling.events == EVENTS
    assert not levelling.left.any()
    error = levelling.offsets - SAWTOOTH
    assert root_mean_square(error) < 0.1  # of 1.7 K
    assert root_mean_square(error / levelling.uncertainty) < 1.5
    assert "frames after shutter events stay (3)" in levelling.summary("K")
    for overlap in levelling.overlaps:
        apart = overlap.second - overlap.first
        assert overlap.down == pytest.approx(apart * STEP[0], abs=1)
        assert overlap.across == pytest.approx(apart * STEP[1], abs=1)


def test_the_mean_stays_where_no_shutter_event_is_seen() -> None:
    offsets = np.random.default_rng(3).normal(0, 1, COUNT)
    levelling = level_flight(flown(offsets))
    assert levelling.anchor == "mean"
    assert levelling.offsets.mean() == pytest.approx(0, abs=1e-9)
    steady = np.polynomial.Polynomial.fit(np.arange(COUNT), offsets, 1)(np.arange(COUNT))
    assert root_mean_square(levelling.offsets - (offsets - steady)) < 0.1
    assert "the mean of all frames, and what changes steadily along their way, stays" in levelling.summary()


def test_frames_without_overlap_are_left_and_the_others_levelled() -> None:
    frames = flown()
    frames[10] = ground()[200:296, 600:728].T[:HEIGHT, :HEIGHT].repeat(2, 1)[:, :WIDTH] + SAWTOOTH[10]
    levelling = level_flight(frames)
    others = np.arange(COUNT) != 10
    assert root_mean_square((levelling.offsets - SAWTOOTH)[others]) < 0.15
    assert np.flatnonzero(levelling.left).tolist() == [10]
    assert levelling.offsets[10] == 0
    assert np.isnan(levelling.uncertainty[10])
    assert "12 of 13 frames" in levelling.summary()
    assert "1 that show no ground of a neighbour are left as they are" in levelling.summary()


def changing(seed: int, size: float) -> np.ndarray:
    field = gaussian_filter(np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH)), 10)
    return size * field / field.std()


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (lambda: flown(np.zeros(COUNT), gradient=12.0), "their levels agree as well as can be told"),
        (lambda: flown(0.1 * np.arange(COUNT), step=(0, 0)), "the camera stood still and no shutter event is seen"),
        (
            lambda: [frame + changing(seed, 4.0) for seed, frame in enumerate(flown(step=(0, 0)))],
            "the camera stood still and no shutter event is seen",
        ),
        (lambda: flown(SAWTOOTH[:5], step=(0, 150)), "0 of 5 show ground that a neighbour shows too"),
    ],
    ids=["level", "hover", "hover over changing ground", "no overlap"],
)
def test_left_as_it_is_where_nothing_can_be_known(frames, reason: str) -> None:
    levelling = level_flight(frames())
    assert levelling.anchor == "none"
    assert not levelling.offsets.any()
    assert levelling.left.all()
    assert np.isnan(levelling.uncertainty).all()
    assert reason in levelling.summary()


def test_no_flight() -> None:
    frames = flown()
    with pytest.raises(ValueError, match="a flight of 2 frames cannot be levelled: at least 3 are needed"):
        level_flight(frames[:2])
    with pytest.raises(ValueError, match="frame 3 is 100×96, and those before are 128×96"):
        level_flight([*frames[:2], frames[2][:, :100]])
    for times in ([0.0, 1.0], [0.0, 2.0, 1.0], [0.0, 1.0, float("nan")], [1.0, 1.0, 1.0]):
        with pytest.raises(ValueError, match="times must be 3 rising numbers"):
            level_flight(frames[:3], times)
    with pytest.raises(ValueError, match="no pixel of the frame is scene"):
        small_frame(frames[0], np.zeros((HEIGHT, WIDTH), bool))


def test_neither_stripes_nor_what_is_no_scene_decide_on_the_shift() -> None:
    one, two = (frame + 10 * sensor(7) for frame in flown()[:2])
    valid = np.ones((HEIGHT, WIDTH), bool)
    valid[:, :8] = False
    one[~valid], two[~valid] = 400.0, np.nan
    overlap = find_overlap((small_frame(one, valid), small_frame(two, valid)))
    assert overlap is not None
    assert (overlap.down, overlap.across) == pytest.approx(STEP, abs=0.5)
    assert find_overlap((small_frame(np.zeros((HEIGHT, WIDTH))), small_frame(two, valid))) is None


# --- the command -----------------------------------------------------------------------------------------------------


def save_flight(folder: Path, scale: float = 25.0) -> np.ndarray:
    """A flight of radiometric JPEGs, whose names are in the order of counting; offsets in counts."""
    folder.mkdir()
    for index, frame in enumerate(flown(), 5):
        counts = (17000 + scale * frame).astype(np.uint16)
        content = thermal_files.fff(counts, thermal_files.png_plane(counts, swapped=True))
        thermal_files.flir_jpeg(folder / f"frame{index}.jpg", content)
    return scale * SAWTOOTH


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "flight.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_command_levels_and_maps_all_frames_alike(tmp_path: Path, capsys) -> None:
    offsets = save_flight(tmp_path / "in")
    command = ["enhance", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--flight", "--blend", "0"]
    assert main(command) == 0
    said = capsys.readouterr()
    assert "flight: offsets of " in said.out
    assert "K taken off 13 of 13 frames" in said.out
    assert "ordered by their names" in said.err
    rows = table(tmp_path / "out")
    assert [row["file"].rpartition("/")[2] for row in rows] == [f"frame{index}.jpg" for index in range(5, 5 + COUNT)]
    taken = np.array([float(row["offset"]) for row in rows])
    assert root_mean_square(taken - offsets) < 2.5  # counts, 0.1 K
    assert {row["anchor"] for row in rows} == {"events"}
    assert [index for index, row in enumerate(rows) if row["after_shutter_event"] == "yes"] == [*EVENTS]
    assert {row["left_as_it_is"] for row in rows} == {"no"}
    assert len({row["mapping"] for row in rows}) == 1
    for index in (0, COUNT - 1):
        before, after = (
            read_thermal(tmp_path / name).counts[0].astype(float)
            for name in (f"in/frame{5 + index}.jpg", f"out/frame{5 + index}.tiff")
        )
        assert np.median(before - after) == pytest.approx(taken[index], abs=1)

    # the offsets of results that stay must be those of the same flight
    (tmp_path / "in" / "frame17.jpg").unlink()
    (tmp_path / "out" / "frame9.tiff").unlink()
    assert main(command) == 2
    assert "--overwrite makes all results anew" in capsys.readouterr().err


def test_levelled_counts_are_written_where_nothing_is_enhanced(tmp_path: Path) -> None:
    """Files of the same kind are else copied."""
    (tmp_path / "in").mkdir()
    for index, frame in enumerate(flown()):
        Image.fromarray((17000 + 25 * frame).astype(np.uint16)).save(tmp_path / "in" / f"{index:02}.png")
    command = ["enhance", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--blend", "0"]
    assert main([*command, "--flight", "--quiet"]) == 0
    offsets = [int(row["offset"]) for row in table(tmp_path / "out")]
    assert max(offsets) > 60
    for index, offset in enumerate(offsets):
        before, after = (
            np.asarray(Image.open(tmp_path / folder / f"{index:02}.png")).astype(int) for folder in ("in", "out")
        )
        assert (before - after == offset).all()
    assert main([*command[:3], str(tmp_path / "cut"), *command[4:], "--crop", "8,8,40x32", "--quiet"]) == 0
    assert Image.open(tmp_path / "cut" / "00.png").size == (40, 32)


def test_the_frames_are_looked_at_after_the_sensor_stage(tmp_path: Path, capsys) -> None:
    """Neither dead pixels nor the pattern of the camera are to widen the range that the frames share."""
    (tmp_path / "in").mkdir()
    pattern = np.random.default_rng(5).normal(0, 60, WIDTH)
    dead = np.random.default_rng(6).random((HEIGHT, WIDTH)) < 0.003
    clean = [17000 + 25 * frame for frame in flown()]
    for index, frame in enumerate(clean):
        counts = np.where(dead, 60000, frame + pattern).astype(np.uint16)
        Image.fromarray(counts).save(tmp_path / "in" / f"{index:02}.png")
    nothing = np.zeros((HEIGHT, WIDTH))
    profile = CameraProfile(dead, pattern, np.zeros(HEIGHT), nothing, nothing, "counts")
    profile.save(tmp_path / "camera.json")
    command = ["enhance", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--flight", "--sensor", "only", "--quiet"]
    assert main([*command, "--camera", str(tmp_path / "camera.json")]) == 0
    rows = table(tmp_path / "out")
    low, high = (float(limit) for limit in rows[0]["mapping"].split()[1:])
    assert low > min(frame.min() for frame in clean) - 60
    assert high < max(frame.max() for frame in clean) + 60
    assert root_mean_square(np.array([float(row["offset"]) for row in rows]) - 25 * SAWTOOTH) < 2.5

    replace(profile, unit="grey levels").save(tmp_path / "camera.json")
    assert main([*command, "--overwrite", "--camera", str(tmp_path / "camera.json")]) == 2
    assert "00.png: the camera profile is in grey levels, and this file in counts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: save_picture(folder / "b.png", "I;16"), "their size is 128×96 and 56×40"),
        (lambda folder: thermal_files.tiff_pages(folder / "p.tiff", [flat(), flat()]), "p.tiff has 2 pages"),
        (lambda folder: Image.fromarray(flat().astype(np.uint8)).save(folder / "b.png"), "type of counts is uint16"),
        (lambda folder: [path.unlink() for path in [*folder.iterdir()][2:]], "2 of the 2 files can be read as one"),
    ],
    ids=["size", "pages", "8 bits", "too few"],
)
def test_files_of_no_flight_are_refused(tmp_path: Path, capsys, spoil, words: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for index, frame in enumerate(flown()[:4]):
        Image.fromarray((17000 + 25 * frame).astype(np.uint16)).save(folder / f"a{index}.png")
    spoil(folder)
    assert main(["enhance", str(folder), "-o", str(tmp_path / "out"), "--flight", "--blend", "0", "--quiet"]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def flat() -> np.ndarray:
    return np.full((HEIGHT, WIDTH), 200, np.uint16)
