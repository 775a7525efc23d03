"""The sensor stage of one frame: what it takes off, what it leaves alone, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from hidra_core import scenes
from hidra_core.sensor import SensorSettings, undo_sensor
from hidra_core.sensor.frame import SHADING_SHOWS, SensorCorrection

SCENES = scenes.SCENES


def scene(name: str = "street", height: int = 256, width: int = 320) -> np.ndarray:
    """A clean frame in grey levels."""
    return 255 * scenes.render(name, height, width, 3).astype(np.float64)


def reduced(name: str, height: int, width: int) -> np.ndarray:
    """A clean frame as a mean over areas of a large one."""
    return scene(name, 8 * height, 8 * width).reshape(height, 8, width, 8).mean((1, 3))


def striped(clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """With gains and offsets of columns, and noise."""
    width = clean.shape[1]
    return clean * (1 + rng.normal(0, 0.05, width)) + rng.normal(0, 4, width) + rng.normal(0, 5, clean.shape)


def fine_columns(plane: np.ndarray) -> float:
    """Root mean square of the means of columns, without what is smooth across them."""
    means = plane.mean(0)
    return float(np.sqrt(np.square(means - gaussian_filter1d(means, 3)).mean()))


@pytest.mark.parametrize("name", SCENES)
def test_a_clean_frame_stays_as_it_is(name):
    clean = np.round(scene(name)).astype(np.uint8)
    result, found = undo_sensor(clean)
    assert result is clean
    assert found.is_empty
    assert found.summary() == "nothing found"


def test_upright_things_of_a_small_frame_are_no_stripes():
    clean = np.round(255 * scenes.render("substation", 256, 320, 0))[120:180, :80]
    assert undo_sensor(clean)[0] is clean
    clean = scene()[120:180, :80]
    frame = clean + np.random.default_rng(0).normal(0, 5, 80)
    assert fine_columns(undo_sensor(frame)[0] - clean) < 0.5 * fine_columns(frame - clean)


@pytest.mark.parametrize(("across", "down"), [(8, 8), (16, 12), (32, 24), (32, 32)])
def test_frames_too_small_to_tell_stay_unless_asked(across, down):
    """One with stripes and a stuck pixel: a pole and a lamp in the scene would look no different."""
    generator = np.random.default_rng(0)
    frame = np.round(reduced("street", down, across) + generator.normal(0, 6, across))
    frame[down // 2, across // 2] = 255
    result, found = undo_sensor(frame)
    assert result is frame
    assert found.summary() == "too small to tell the sensor from the scene"
    assert undo_sensor(frame, SensorSettings("off", "off", "off"))[1].summary() == "nothing found"
    asked = undo_sensor(frame, SensorSettings(stripes="on"))[1]
    assert asked.columns.any()
    assert fine_columns(frame - asked.columns) < fine_columns(frame)


def test_things_of_one_pixel_in_a_small_frame_are_no_defects():
    """Hot spots as an area mean leaves them, sharper than a lens draws, beside what is surely defective."""
    clean = np.round(reduced("field", 60, 80) * 0.5 + 60 + np.random.default_rng(0).normal(0, 1, (60, 80)))
    frame = clean.copy()
    frame[20, 30] = frame[40, 50] = 255
    spots = [(10, 10), (30, 60), (50, 20)]
    for row, column in spots:
        frame[row, column] += 40
        frame[row, column + 1] += 12
    assert not any(undo_sensor(frame)[1].dead[place] for place in spots)
    generator = np.random.default_rng(1)
    dead = generator.random(clean.shape) < 0.01
    many = np.where(dead, generator.choice([0, 255], clean.shape), clean)
    assert (undo_sensor(many)[1].dead & dead).sum() > 0.9 * dead.sum()


@pytest.mark.parametrize("turned", [False, True], ids=["columns", "rows"])
@pytest.mark.parametrize(("level", "black"), [(1.0, 0.0), (40.0, 2000.0), (-1.0, 0.0)], ids=["grey", "counts", "black"])
def test_stripes_are_taken_off(turned, level, black):
    rng = np.random.default_rng(1)
    clean = scene()
    frame = striped(clean, rng)
    if level < 0:  # a scene whose hot parts are dark
        clean, frame, level = 255 - clean, 255 - frame, 1.0
    given = np.round(black + level * (frame.T if turned else frame))
    result, found = undo_sensor(given, SensorSettings(shading="off"), level=level)
    result = (result.T if turned else result) / level - black / level
    assert fine_columns(frame - clean) > 5
    assert fine_columns(result - clean) < 1
    sizes = found.sizes()
    assert sizes["rows" if turned else "columns"] > 10 * sizes["columns" if turned else "rows"]
    assert sizes["gain"] == pytest.approx(0.05, abs=0.02)


def test_both_directions_do_not_disturb_one_another():
    rng = np.random.default_rng(2)
    clean = scene()
    frame = clean + rng.normal(0, 5, clean.shape[1]) + rng.normal(0, 3, clean.shape[0])[:, None]
    result, _ = undo_sensor(frame)
    assert fine_columns(result - clean) < 0.7
    assert fine_columns((result - clean).T) < 0.7


def test_defective_pixels_are_found_and_filled():
    rng = np.random.default_rng(3)
    clean = scene()
    frame = striped(clean, rng).clip(0, 255)
    draw = rng.random(clean.shape)
    dead = draw < 0.003
    frame[dead] = np.where(draw[dead] < 0.0015, 0, 255)
    result, found = undo_sensor(np.round(frame))
    shows = dead & (np.abs(frame - clean) > 60)
    assert (found.dead & shows).sum() > 0.97 * shows.sum()
    assert (found.dead & ~dead).sum() < 1e-4 * dead.size
    assert np.abs(result - clean)[shows].mean() < 0.1 * np.abs(frame - clean)[shows].mean()


def test_one_stuck_pixel_is_found_and_a_point_target_is_none():
    y, x = np.mgrid[:200, :240]
    clean = 90 + 20 * np.sin(x / 30) + np.random.default_rng(4).normal(0, 1, (200, 240))
    target = clean + 120 * np.exp(-((y - 60) ** 2 + (x - 70) ** 2) / (2 * 0.6**2))
    assert not undo_sensor(target)[1].dead.any()
    stuck = clean.copy()
    stuck[60, 70] += 120
    assert np.argwhere(undo_sensor(stuck)[1].dead).tolist() == [[60, 70]]


def test_pixels_where_the_camera_cut_off_stay():
    rng = np.random.default_rng(5)
    clean = scene()
    clean[100:140] = 400  # hotter than the range
    frame = (clean + rng.normal(0, 6, clean.shape[1])).clip(0, 255)
    result, found = undo_sensor(frame)
    assert found.columns.any()
    assert (result[104:136][frame[104:136] == 255] == 255).all()


def test_a_pixel_that_its_stripe_pushed_to_the_limit_comes_back():
    rng = np.random.default_rng(9)
    clean = 30 + 10 * np.sin(np.arange(320) / 25) * np.ones((240, 1)) + rng.normal(0, 3, (240, 320))
    offsets = rng.normal(0, 20, 320)
    frame = (clean + offsets).clip(0, 255)
    pushed = (frame == 0) & (offsets < -15)
    result, _ = undo_sensor(frame)
    assert pushed.sum() > 100
    assert np.abs(result - clean)[pushed].mean() < 0.7 * np.abs(frame - clean)[pushed].mean()


def test_what_is_off_stays_and_what_is_on_is_always_taken():
    rng = np.random.default_rng(6)
    clean = scene()
    frame = striped(clean, rng)
    frame[50, 60] = 400
    off = SensorSettings("off", "off", "off")
    assert off.is_off
    assert undo_sensor(frame, off)[0] is frame
    only = undo_sensor(frame, SensorSettings("off", "on", "off"))[1]
    assert only.columns.any()
    assert not only.dead.any()
    faint = clean + rng.normal(0, 0.3, clean.shape[1])
    assert not undo_sensor(faint, SensorSettings("off", "auto", "off"))[1].columns.any()
    assert undo_sensor(faint, SensorSettings("off", "on", "off"))[1].columns.any()


def test_shading_is_taken_off_frames_that_have_other_faults():
    clean = scene("night")
    y, x = np.mgrid[-1 : 1 : clean.shape[0] * 1j, -1 : 1 : clean.shape[1] * 1j]
    shaded = clean - 30 * (x**2 + y**2)
    assert undo_sensor(shaded)[1].shading is None  # the scene may be warm in its middle
    frame = shaded + np.random.default_rng(10).normal(0, 4, clean.shape[1])
    result, found = undo_sensor(frame)
    assert found.shading is not None
    assert np.ptp(found.shading) > SHADING_SHOWS
    before, after = (plane - clean - (plane - clean).mean() for plane in (frame, result))
    assert np.square(after).mean() < 0.5 * np.square(before).mean()
    forced = undo_sensor(shaded, SensorSettings("off", "off", "on"))[1]
    assert forced.shading is not None


def test_pixels_that_are_no_scene_have_no_influence_and_stay():
    rng = np.random.default_rng(7)
    clean = scene()
    frame = striped(clean, rng)
    valid = np.ones(frame.shape, bool)
    valid[:60] = valid[:, 250:] = False
    nothing = np.where(valid, frame, np.nan)
    result, found = undo_sensor(nothing, valid=valid)
    other, same = undo_sensor(np.where(valid, frame, 1e6), valid=valid)
    assert np.array_equal(found.columns, same.columns)
    assert np.array_equal(np.isnan(result), ~valid)
    assert (other[~valid] == 1e6).all()
    assert fine_columns((result - clean)[60:, :250]) < 1


def test_a_correction_says_how_large_it_is():
    dead = np.zeros((4, 6), bool)
    dead[1, 2] = True
    found = SensorCorrection(dead, np.array([1.0, -1, 1, -1, 1, -1]) * 80, np.zeros(4), level=40.0)
    assert found.summary() == "1 dead pixel; columns 2 grey levels"
    assert found.summary("K", scale=20.0) == "1 dead pixel; columns 4 K"
    assert found.summary("counts", scale=0.25) == "1 dead pixel; columns 320 counts"
    assert found.to_dict()["columns"] == 80


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 2), (3, 40), (40, 3), (17, 19)])
def test_frames_of_any_size(shape):
    frame = np.random.default_rng(8).normal(100, 20, shape)
    result, _ = undo_sensor(frame, SensorSettings("on", "on", "on"))
    assert result.shape == shape
    assert np.isfinite(result).all()


def test_one_value_everywhere():
    frame = np.full((64, 80), 7, np.uint16)
    assert undo_sensor(frame)[0] is frame


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (np.zeros((2, 3, 4)), {}, r"one plane \[H, W\]"),
        (np.zeros((0, 4)), {}, "at least one pixel"),
        (np.full((5, 5), np.nan), {}, "NaN or infinite"),
        (np.zeros((5, 5)), {"valid": np.ones((5, 4), bool)}, "of one size"),
        (np.zeros((5, 5)), {"level": 0.0}, "positive number"),
    ],
)
def test_bad_input_is_refused(frame, options, message):
    with pytest.raises(ValueError, match=message):
        undo_sensor(frame, **options)


def test_another_word_than_the_three_is_refused():
    with pytest.raises(ValueError, match="stripes is 'yes'; expected one of auto, on, off"):
        SensorSettings(stripes="yes")  # pyright: ignore[reportArgumentType]
