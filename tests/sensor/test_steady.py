"""Corrections of neighbouring frames: steady where the sensor is, with a step where the shutter closed."""

from __future__ import annotations

import numpy as np
import pytest

from hidra_core.sensor import SensorCorrection, SensorSettings, SensorStage, Undone, steady

HEIGHT, WIDTH = 6, 20
ROWS = np.zeros(HEIGHT)
NONE = np.zeros((HEIGHT, WIDTH), bool)
GENERATOR = np.random.default_rng(0)
FIRST, SECOND = GENERATOR.normal(0, 4, (2, WIDTH))


def undone(columns: np.ndarray, dead: np.ndarray = NONE, shading: np.ndarray | None = None) -> Undone:
    base = np.full((HEIGHT, WIDTH), 100.0) + columns
    correction = SensorCorrection(dead, columns, ROWS, shading=shading)
    return Undone(correction.apply(base), base, None, correction)


def test_what_scatters_from_frame_to_frame_is_averaged_and_a_step_stays():
    true = [FIRST] * 20 + [SECOND] * 20
    frames = [undone(columns + GENERATOR.normal(0, 0.5, WIDTH)) for columns in true]
    found = [frame.frame.columns for frame in steady(frames)]
    assert len(found) == len(frames)
    for index, (columns, actual) in enumerate(zip(true, found, strict=True)):
        assert np.abs(columns - actual).std() < 0.35, index  # of single frames 0.5
    flicker = np.std(np.diff(found[:20], axis=0))
    assert flicker < 0.2 * 0.5 * np.sqrt(2)


def test_a_single_odd_frame_and_a_closed_shutter_do_no_harm():
    frames = [undone(FIRST) for _ in range(20)]
    frames[7] = undone(20 * SECOND)
    with_gap = [*frames[:10], None, *frames[10:]]
    result = list(steady(with_gap))
    assert result[10] is None
    assert all(np.allclose(frame.frame.columns, FIRST) for frame in result if frame is not None)
    assert np.allclose(result[3].image, 100)
    assert np.allclose(result[7].image, 100 + 20 * SECOND - FIRST)


def test_dead_in_most_frames_is_dead_in_all_and_blinking_stays_single():
    dead, blinking = NONE.copy(), NONE.copy()
    dead[2, 3] = blinking[2, 3] = blinking[4, 5] = True
    frames = [undone(FIRST, dead) for _ in range(20)]
    frames[5], frames[12] = undone(FIRST), undone(FIRST, blinking)
    found = [frame.frame.dead for frame in steady(frames)]
    for index, actual in enumerate(found):
        assert np.array_equal(actual, blinking if index == 12 else dead)


def test_a_field_that_comes_and_goes_is_averaged():
    field = np.tile(np.linspace(-1, 1, WIDTH), (HEIGHT, 1))
    frames = [undone(FIRST, shading=field if index % 2 else None) for index in range(40)]
    sizes = [np.ptp(frame.frame.shading) for frame in steady(frames)]
    assert sizes[10:30] == pytest.approx([1.0] * 20, abs=0.07)


def test_frames_in_which_nothing_is_found_are_the_very_same():
    frames = [undone(np.zeros(WIDTH)) for _ in range(3)]
    assert all(new.image is old.base for new, old in zip(steady(frames), frames, strict=True))


def test_a_profile_goes_first_and_its_parts_are_counted_once():
    class Profile:
        def check(self, *_):
            raise ValueError("other")

        def undo(self, image, valid=None, level=1.0):
            correction = SensorCorrection(NONE, FIRST, ROWS, pattern=np.ones((HEIGHT, WIDTH)), level=level)
            return correction.apply(image), correction

    stage = SensorStage(SensorSettings(dead_pixels="on"), Profile(), "p.json")
    image = np.full((HEIGHT, WIDTH), 100.0) + FIRST + 1
    image[2, 3] = 250
    result = stage.undo(image, None, 1.0, (slice(1, HEIGHT), slice(0, WIDTH)))
    assert result.image.shape == (HEIGHT - 1, WIDTH)
    assert np.allclose(result.image, 100)
    assert np.array_equal(np.argwhere(result.correction.dead), [[1, 3]])
    assert np.allclose(result.correction.columns, FIRST)
    assert result.correction.pattern.shape == (HEIGHT - 1, WIDTH)
    assert stage.to_dict() == {"dead_pixels": "on", "stripes": "auto", "shading": "off", "camera": "p.json"}
