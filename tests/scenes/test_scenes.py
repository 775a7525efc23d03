"""The sample scenes: deterministic, in range, of any size, and with the look of a thermal image."""

import time

import numpy as np
import pytest

from hidra_core.scenes import SCENES, pan, render


@pytest.mark.parametrize("name", SCENES)
def test_images_have_range_type_and_contrast(name):
    image = render(name, 192, 256, seed=0)
    assert image.shape == (192, 256)
    assert image.dtype == np.float32
    assert np.isfinite(image).all()
    assert image.min() >= 0
    assert image.max() <= 1
    assert image.std() > 0.05
    assert len(np.unique((image * 255).round())) > 60  # gradients, not flat areas


@pytest.mark.parametrize("name", SCENES)
def test_the_seed_decides_the_scene(name):
    first = render(name, 96, 128, seed=3)
    assert np.array_equal(first, render(name, 96, 128, seed=3))
    assert np.abs(first - render(name, 96, 128, seed=4)).mean() > 0.01


def test_composition_does_not_depend_on_size():
    small, large = render("substation", 96, 120, seed=1), render("substation", 192, 240, seed=1)
    reduced = large.reshape(96, 2, 120, 2).mean((1, 3))
    assert np.corrcoef(small.ravel(), reduced.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("size", [(16, 16), (17, 300), (200, 33), (65, 64)])
@pytest.mark.parametrize("name", SCENES)
def test_any_size_can_be_drawn(name, size):
    image = render(name, *size, seed=2)
    assert image.shape == size
    assert np.isfinite(image).all()


@pytest.mark.parametrize(
    ("name", "size", "seed"),
    [("street", (16, 16), 1), ("street", (33, 33), 11), ("night", (17, 300), 0), ("night", (17, 300), 7)],
)
def test_horizon_and_slopes_may_leave_the_image(name, size, seed):
    """A row above the horizon has no ground, and a slope may lie below the image."""
    assert np.isfinite(render(name, *size, seed=seed)).all()


@pytest.mark.parametrize("name", SCENES)
def test_the_optics_are_soft(name):
    """No single-pixel edges: a real lens spreads a point over its neighbours."""
    image = render(name, 192, 256, seed=0)
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2
    fy, fx = np.meshgrid(np.fft.fftfreq(192), np.fft.fftfreq(256), indexing="ij")
    assert power[np.hypot(fy, fx) > 0.45].sum() < 0.005 * power.sum()


def test_night_has_little_contrast():
    assert np.quantile(render("night", 192, 256), 0.95) < 0.5


def test_unknown_scenes_and_small_sizes_are_refused():
    with pytest.raises(ValueError, match="street"):
        render("beach")
    with pytest.raises(ValueError, match="16x16"):
        render("street", 8, 640)


def test_a_scene_is_drawn_quickly():
    start = time.process_time()
    render("street", 512, 640)
    assert time.process_time() - start < 5  # about 0.3 s on one core; the margin is for slow machines


def test_a_camera_pans_over_one_scene():
    frames = pan("street", 12, 64, 80, seed=3)
    assert frames.shape == (12, 64, 80)
    whole = render("street", 102, 128, seed=3)
    places = np.lib.stride_tricks.sliding_window_view(whole, (64, 80))
    found = [np.argwhere((places == frame).all((2, 3))) for frame in frames]
    assert [len(place) for place in found] == [1] * 12
    steps = np.hypot(*np.diff(np.concatenate(found), axis=0).T)
    assert steps.min() >= 4  # it never stands still
    with pytest.raises(ValueError, match="at least one frame, got 0"):
        pan("street", 0)
