"""What stays put while the scene moves is the camera's: found with known patterns, and refused where it cannot be."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from helpers import ROOT, moving
from PIL import Image

from hidra_core.sensor import calibrate, calibrate_flat, undo_sensor

SEQUENCES = ROOT.parent / "shared" / "data" / "test" / "sequence"
CLEAN = SEQUENCES.parent / "clean"


def relative_error(profile, camera):
    """Root mean square of the error of the offsets where pixels work, in multiples of the offsets' own."""
    good = ~camera.dead
    error = (profile.offsets - camera.offsets - (camera.gain - 1) * (profile.pivot - 128))[good]
    return error.std() / camera.offsets[good].std()


@pytest.fixture(scope="module")
def scene():
    return moving.large_scene()


@pytest.fixture(scope="module")
def travelled(scene):
    """(camera, what it saw in 120 frames, its profile)."""
    camera = moving.camera()
    seen = moving.views(scene, 120)
    return camera, seen, calibrate(camera.frames(seen), unit="grey levels", camera="Maker 1")


def test_a_known_pattern_is_found_while_the_scene_moves(travelled):
    camera, _, profile = travelled
    assert relative_error(profile, camera) < 0.1
    assert np.array_equal(profile.dead, camera.dead)
    assert profile.gain is None
    assert profile.camera == "Maker 1"
    assert profile.about["frames"] == 120


def test_its_parts_are_told_apart(travelled):
    camera, _, profile = travelled
    columns = camera.offsets.mean(0) - profile.shading.mean(0)
    assert np.abs(profile.columns - columns).mean() < 0.5
    assert np.abs(profile.pattern.mean(0)).max() < 1
    assert 8 < np.ptp(profile.shading) < 22  # 12 from the middle to the corners, 6 of the ramp


def test_the_uncertainty_says_how_large_the_error_is(travelled):
    camera, _, profile = travelled
    good = ~camera.dead
    error = (profile.offsets - camera.offsets)[good]
    stated = np.sqrt((profile.standard_error[good] ** 2).mean())
    assert 0.7 < stated / error.std() < 3
    assert profile.about["motion"]["path"] > 120


def test_the_profile_is_undone_in_other_frames(travelled, scene):
    camera, _, profile = travelled
    seen = scene[None, 200:296, 300:428]
    [frame] = camera.frames(seen, noise=0.0)
    undone, correction = profile.undo(frame)
    error = undone - seen[0]
    assert (error[~camera.dead]).std() < 0.15 * camera.offsets.std()
    assert np.abs(error[camera.dead]).mean() < 20
    assert f"{camera.dead.sum()} dead pixels" in correction.summary()


def test_a_scene_that_stands_still_is_refused(scene):
    frames = moving.camera(dead=0).frames(moving.views(scene, 24, step=0))
    with pytest.raises(ValueError, match=r"of the scene stands still in these 24 frames.*burnt.*--flat"):
        calibrate(frames, unit="grey levels")


def test_a_scene_before_which_only_something_small_passes_is_refused(scene):
    seen = moving.views(scene, 24, step=0).copy()
    for index, view in enumerate(seen):
        view[40:60, 2 * index : 2 * index + 12] = 220
    with pytest.raises(ValueError, match="stands still"):
        calibrate(moving.camera(dead=0).frames(seen), unit="grey levels")


def test_a_camera_that_hardly_moves_is_refused(scene):
    seen = np.stack([scene[140:236, 200 + k // 4 : 328 + k // 4] for k in range(32)])
    with pytest.raises(ValueError, match="stands still in these 32 frames|moves by too little in these 32 frames"):
        calibrate(moving.camera(dead=0).frames(seen), unit="grey levels")


def test_what_stands_still_before_a_moving_scene_is_left_out(scene):
    camera, seen = moving.camera(dead=0), moving.views(scene, 40, step=9.0).copy()
    seen[:, :30, :40] = scene[100:130, 200:240]  # a part of the vehicle
    profile = calibrate(camera.frames(seen), unit="grey levels")
    assert any("stands still while the rest moves" in note for note in profile.about["notes"])
    assert not profile.pattern[5:20, 5:30].any()
    there = np.zeros(camera.dead.shape, bool)
    there[:56, :64] = True  # and the blocks that it reaches into
    error = (profile.offsets - camera.offsets)[~there]
    assert error.std() < 0.25 * camera.offsets.std()


def test_the_gain_is_found_where_the_level_changes(scene):
    camera = moving.camera(gain=0.05, dead=0)
    seen = moving.views(scene, 60)
    levels = np.random.default_rng(5).uniform(-60, 40, len(seen))
    profile = calibrate(camera.frames(0.5 * seen + 64 + levels[:, None, None]), unit="grey levels")
    assert profile.gain is not None
    assert np.corrcoef(profile.gain.ravel(), camera.gain.ravel())[0, 1] > 0.9
    assert any("a slope from one edge to the other is not known" in note for note in profile.about["notes"])
    x = np.linspace(-1, 1, 128)  # the slope of 3 from the middle to the edge, which stays
    assert relative_error(profile, dataclasses.replace(camera, offsets=camera.offsets - 3 * x)) < 0.15


def test_flat_frames_are_used_as_they_are():
    camera = moving.camera(gain=0.05)
    levels = np.repeat([90.0, 170.0], 10)[:, None, None] + np.zeros((1, 96, 128))
    profile = calibrate_flat(camera.frames(levels), unit="grey levels")
    assert np.array_equal(profile.dead, camera.dead)
    assert np.corrcoef(profile.gain[~camera.dead], camera.gain[~camera.dead])[0, 1] > 0.95
    assert relative_error(profile, camera) < 0.1
    one_level = calibrate_flat(camera.frames(levels[:10]), unit="grey levels")
    assert one_level.gain is None
    assert relative_error(one_level, camera) < 0.1


def test_scenes_are_no_flat_frames(scene):
    with pytest.raises(ValueError, match="no flat field.*without --flat"):
        calibrate_flat(moving.camera().frames(moving.views(scene, 8)), unit="grey levels")


@pytest.mark.parametrize("contrast", [1.0, 0.2])
def test_a_scene_that_stands_still_is_no_flat_frame(scene, contrast):
    seen = 128 + contrast * (moving.views(scene, 6, step=0) - 128)
    with pytest.raises(ValueError, match="show a scene.*no flat field.*Cap the lens.*without --flat"):
        calibrate_flat(moving.camera().frames(seen, noise=2.0), unit="grey levels")


@pytest.mark.skipif(not CLEAN.is_dir(), reason="the real pictures are not there (../shared)")
@pytest.mark.parametrize("name", ["raw_tparser_M3T_DJI_0004_R", "dlsnuc_93", "m3svd_0114_1609_0000"])
def test_real_scenes_that_stand_still_are_no_flat_frames(name):
    with Image.open(CLEAN / f"{name}.png") as image:
        picture = np.asarray(image.convert("L").reduce(2), float)
    frames = moving.camera(*picture.shape, dead=0).frames(picture[None] + np.zeros((6, 1, 1)))
    with pytest.raises(ValueError, match="show a scene"):
        calibrate_flat(frames, unit="grey levels")


@pytest.mark.parametrize(("height", "width"), [(60, 80), (120, 160)])
@pytest.mark.parametrize("field", ["cos4", "vignette", "dust", "quadrants"])
def test_lenses_and_dust_are_no_scene(height, width, field):
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    radius2 = (x - 0.1) ** 2 + (y * height / width) ** 2
    radius2 /= radius2.max()
    dust = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.002) for a, b in ((-0.6, 0.3), (0.2, -0.5), (0.7, 0.6)))
    fields = {
        "cos4": 60 / (1 + 1.5 * radius2) ** 2,
        "vignette": -60 / (1 + np.exp(-(np.sqrt(radius2) - 0.85) / 0.02)),
        "dust": -20 * radius2 - 12 * dust,
        "quadrants": 8.0 * (y > 0) + 4.0 * (x > 0),
    }
    camera = moving.camera(height, width)
    frames = camera.frames(np.stack([110 + fields[field]] * 6))
    assert calibrate_flat(frames, unit="grey levels").shading is not None


def stuck() -> list[np.ndarray]:
    return [np.random.default_rng(0).integers(0, 255, (32, 40)).astype(np.uint8)] * 20


def some(count: int, *others: np.ndarray) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [*(generator.integers(0, 255, (32, 40)).astype(np.uint16) for _ in range(count)), *others]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (some(1), "1 frames were given; a camera profile needs at least 20"),
        (some(3, np.zeros((40, 32), np.uint16)), "frame 4 is 32x40 and the first 40x32"),
        (some(2, np.full((32, 40), np.nan)), "frame 3 has no finite number"),
        (some(2, np.zeros((32, 40, 3))), r"frame 3 is float64 \[32, 40, 3\]; expected numbers"),
        (some(0, *[np.zeros((32, 40))] * 20), "0 frames and 20 of a single value were given"),
        (stuck(), "100 % of the pixels have the same value in all 20 frames"),
    ],
)
def test_other_frames_have_their_message(frames, expected):
    with pytest.raises(ValueError, match=expected):
        calibrate(frames, unit="counts")


def test_an_iterator_is_refused():
    with pytest.raises(TypeError, match="not an iterator"):
        calibrate(iter(some(20)), unit="counts")


@pytest.mark.skipif(not SEQUENCES.is_dir(), reason="the real sequences are not there (../shared)")
@pytest.mark.parametrize("name", ["0114_1609", "0115_1847"])
def test_real_frames(name):
    """Of fixed cameras: as they are they are refused; with motion the profile beats the stage of one frame by 3 dB."""
    whole = [np.asarray(Image.open(path).convert("L"), float) for path in sorted(SEQUENCES.glob(f"{name}/clean/*.png"))]
    camera = moving.camera(120, 160, dead=0)
    still = np.stack([frame[180:300, 80:240] for frame in whole])
    with pytest.raises(ValueError, match="stands still"):
        calibrate(camera.frames(40 + still), unit="grey levels")
    seen = 40 + np.stack([moving.views(frame, 20, (120, 160), 6.0)[k] for k, frame in enumerate(whole)])
    frames = camera.frames(seen)
    profile = calibrate(frames, unit="grey levels")

    def left(undo) -> float:
        rests = [undo(frame)[0] - view for frame, view in zip(frames[::6].astype(float), seen[::6], strict=True)]
        return float(np.mean([np.var(rest) for rest in rests]))

    assert 10 * np.log10(left(undo_sensor) / left(profile.undo)) > 3
