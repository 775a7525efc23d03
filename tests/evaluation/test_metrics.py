"""Quality as numbers: known values, invariants, and agreement with independent programs."""

import json

import numpy as np
import pytest
from helpers import SHARED
from PIL import Image
from scipy.ndimage import gaussian_filter

from hidra_core.evaluation import metrics

REFERENCE = SHARED / "data" / "metrics"


def picture(height: int = 192, width: int = 208, seed: int = 0) -> np.ndarray:
    """A smooth scene in [0.2, 0.8]."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), 6)
    return 0.2 + 0.6 * (field - field.min()) / np.ptp(field)


def noisy(image: np.ndarray, sigma: float, seed: int = 1) -> np.ndarray:
    return np.clip(image + np.random.default_rng(seed).normal(0, sigma, image.shape), 0, 1)


def striped(image: np.ndarray, levels: float, seed: int = 2) -> np.ndarray:
    """Columns offset by a deviation of this many grey levels."""
    return image + np.random.default_rng(seed).normal(0, levels / 255, image.shape[1])


def triples() -> list[tuple[dict, list[np.ndarray]]]:
    if not REFERENCE.is_dir():
        pytest.skip("the reference values of ../shared/data/metrics are not here")
    entries = json.loads((REFERENCE / "reference.json").read_text())["triples"]
    return [(e, [np.asarray(Image.open(REFERENCE / name).convert("L")) for name in e["files"]]) for e in entries]


# --- likeness --------------------------------------------------------------------------------------------------------


def test_psnr_of_a_known_error():
    image = picture()
    assert metrics.psnr(image + 0.1, image) == pytest.approx(20.0)
    assert metrics.psnr(image, image) == float("inf")


def test_psnr_after_gain_and_offset_forgives_contrast_and_nothing_else():
    image = picture()
    assert metrics.psnr_affine(0.3 * image + 0.1, image) > 200
    wrong = noisy(image, 0.05)
    assert metrics.psnr_affine(0.5 * wrong + 0.2, image) == pytest.approx(metrics.psnr_affine(wrong, image))
    assert metrics.psnr_affine(wrong, image) >= metrics.psnr(wrong, image)
    flat = np.full_like(image, 0.3)
    assert metrics.psnr_affine(flat, image) == pytest.approx(-10 * np.log10(image.var()))


@pytest.mark.parametrize("metric", [metrics.ssim, metrics.ms_ssim])
def test_similarity_is_one_for_itself_and_falls_with_noise(metric):
    image = picture()
    values = [metric(noisy(image, sigma), image) for sigma in (0.02, 0.05, 0.1)]
    assert metric(image, image) == pytest.approx(1.0)
    assert 1 > values[0] > values[1] > values[2] > 0


def test_ms_ssim_forgives_fine_noise_more_than_ssim():
    image = picture()
    assert metrics.ms_ssim(noisy(image, 0.05), image) > metrics.ssim(noisy(image, 0.05), image)


def test_ms_ssim_of_an_inverted_image_is_zero_not_nan():
    image = picture()
    assert metrics.ms_ssim(1 - image, image) == 0


def test_ssim_and_psnr_agree_with_the_reference_values():
    for entry, (infrared, visible, fused) in triples():
        expected = entry["ssim_standard"]["gauss11_s1.5_valid_dr255"]
        assert metrics.ssim(fused, infrared) == pytest.approx(expected["ir"], abs=1e-9)
        assert metrics.ssim(fused, visible) == pytest.approx(expected["vis"], abs=1e-9)
        assert metrics.psnr(fused, infrared) == pytest.approx(entry["psnr_standard_8bit"]["ir"], abs=1e-9)


def test_ms_ssim_agrees_with_the_reference_values():
    """Their program feeds 0 to 255 at data range 1, and pads odd sides: only sizes that halve four times compare."""
    compared = 0
    for entry, images in triples():
        if all(side % 16 == 0 for side in entry["shape"]):
            infrared, visible, fused = (image.astype(np.float64) for image in images)
            total = metrics.ms_ssim(fused, infrared) + metrics.ms_ssim(fused, visible)
            assert total == pytest.approx(entry["ivif_zoo"]["MS_SSIM_sum"], abs=3e-4)
            compared += 1
    assert compared >= 3


def test_bytes_and_floats_measure_the_same():
    image = metrics.to_8_bit(picture())
    other = metrics.to_8_bit(noisy(picture(), 0.05))
    for metric in (metrics.psnr, metrics.psnr_affine, metrics.ssim, metrics.ms_ssim, metrics.low_frequency_correlation):
        assert metric(other, image) == pytest.approx(metric(other / 255.0, image / 255.0))


@pytest.mark.parametrize(
    "metric", [metrics.psnr, metrics.psnr_affine, metrics.ssim, metrics.ms_ssim, metrics.low_frequency_correlation]
)
def test_different_sizes_are_refused(metric):
    with pytest.raises(ValueError, match=r"one size.*\(192, 208\).*\(192, 207\)"):
        metric(picture(), picture()[:, :-1])


def test_images_too_small_for_the_windows_are_refused():
    with pytest.raises(ValueError, match="SSIM needs at least 11×11 pixels, got 208×10"):
        metrics.ssim(picture()[:10], picture()[:10])
    with pytest.raises(ValueError, match="MS-SSIM needs at least 176×176 pixels, got 175×192"):
        metrics.ms_ssim(picture()[:, :175], picture()[:, :175])
    assert metrics.ms_ssim(picture(176, 176), picture(176, 176)) == pytest.approx(1)


# --- without a reference ---------------------------------------------------------------------------------------------


def test_column_noise_energy_is_the_variance_of_the_offsets():
    image = picture()
    clean = metrics.column_noise_energy(image)
    energies = [metrics.column_noise_energy(striped(image, levels)) for levels in (5, 10)]
    assert clean < 0.02 * energies[1]
    # White offsets keep this share of their variance once their Gaussian neighbourhood is taken off.
    offsets = np.arange(-12, 13)
    kernel = np.exp(-0.5 * (offsets / metrics.STRIPE_SIGMA) ** 2)
    kernel /= kernel.sum()
    share = 1 - 2 * kernel.max() + np.sum(kernel**2)
    assert energies[1] == pytest.approx(100 * share, rel=0.15)
    assert energies[1] / energies[0] == pytest.approx(4, rel=0.05)


def test_stripes_of_one_direction_are_not_seen_in_the_other():
    image = striped(picture(), 10)
    assert metrics.row_noise_energy(image) < 0.02 * metrics.column_noise_energy(image)
    assert metrics.row_noise_energy(image.T) == pytest.approx(metrics.column_noise_energy(image))


def test_low_frequency_correlation_passes_over_noise_stripes_and_contrast():
    image = picture()
    assert metrics.low_frequency_correlation(0.2 + 0.5 * image, image) == pytest.approx(1)
    assert metrics.low_frequency_correlation(noisy(striped(image, 5), 0.05), image) > 0.98
    assert metrics.low_frequency_correlation(picture(seed=9), image) < 0.9
    assert metrics.low_frequency_correlation(np.full_like(image, 0.5), image) == 0


def test_noise_level_is_that_of_white_noise():
    assert metrics.noise_level(noisy(picture(), 0.04)) == pytest.approx(0.04, rel=0.05)
