"""The classical methods: what each removes, what it leaves alone, and its message without its package."""

import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from hidra_core.evaluation import baselines, metrics
from hidra_core.evaluation.baselines import BASELINES

NEEDS = {"BM3D": "bm3d", "wavelet-FFT": "pywt"}
DESTRIPERS = ("moment matching", "midway", "wavelet-FFT")


def scene(height: int = 96, width: int = 160) -> np.ndarray:
    field = gaussian_filter(np.random.default_rng(0).normal(size=(height, width)), 8)
    return 0.2 + 0.6 * (field - field.min()) / np.ptp(field)


def method(name: str):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    return BASELINES[name]


@pytest.mark.parametrize("name", BASELINES)
def test_shape_dtype_and_range_are_kept(name):
    run = method(name)
    for image in (scene(), scene().astype(np.float32), metrics.to_8_bit(scene())):
        before = image.copy()
        result = run(image)
        assert result.shape == image.shape
        assert result.dtype == image.dtype
        assert result.min() >= 0
        assert result.max() <= (255 if image.dtype == np.uint8 else 1)
        assert np.array_equal(image, before)


@pytest.mark.parametrize("name", DESTRIPERS)
@pytest.mark.parametrize("turn", [False, True])
def test_destripers_find_the_direction_and_remove_stripes(name, turn):
    clean = scene()
    striped = clean + np.random.default_rng(1).normal(0, 0.04, clean.shape[1])
    result = method(name)(striped.T).T if turn else method(name)(striped)
    assert metrics.column_noise_energy(result) < 0.2 * metrics.column_noise_energy(striped)
    assert metrics.psnr(result, clean) > metrics.psnr(striped, clean) + 3


@pytest.mark.parametrize("name", DESTRIPERS)
def test_destripers_leave_an_even_slope_alone(name):
    slope = np.broadcast_to(np.linspace(0.2, 0.8, 160), (96, 160))
    inner = method(name)(slope)[:, 20:-20]
    assert np.abs(inner - slope[:, 20:-20]).max() < 0.01


@pytest.mark.parametrize("name", ["median 3×3", "Gaussian σ 1", "NLM", "BM3D"])
def test_denoisers_remove_noise(name):
    clean = scene()
    noisy = np.clip(clean + np.random.default_rng(2).normal(0, 0.05, clean.shape), 0, 1)
    assert metrics.psnr(method(name)(noisy), clean) > metrics.psnr(noisy, clean) + 3


def test_the_sensor_stage_says_which_pixels_are_dead_and_spares_sound_images():
    noise = np.random.default_rng(4).normal(0, 0.005, (96, 160))
    noisy = (scene() + noise).astype(np.float32)
    image, dead = noisy.copy(), np.zeros(noisy.shape, bool)
    dead[20, 30] = dead[60, 100] = True
    image[dead] = [0, 1]
    output, found = baselines.SensorStage().find(image)
    assert np.array_equal(found, dead)
    assert np.abs(output - noisy)[dead].max() < 0.05
    assert np.array_equal(BASELINES["sensor"](image), output)
    assert np.array_equal(BASELINES["sensor"](noisy), noisy)


@pytest.mark.parametrize("name", ["CLAHE", "histogram equalisation"])
def test_equalisers_spread_a_flat_histogram(name):
    flat = 0.4 + 0.1 * scene()
    assert np.std(method(name)(flat)) > 1.5 * np.std(flat)


@pytest.mark.parametrize(("name", "package"), NEEDS.items())
def test_a_missing_package_is_named_with_its_installation(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match="pip install"):
        BASELINES[name](scene())


def test_an_unknown_direction_is_refused():
    with pytest.raises(ValueError, match="columns, rows, auto, got 'diagonal'"):
        baselines.midway(scene(), stripes="diagonal")
