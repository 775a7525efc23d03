"""Fusion scores against independent programs' values, and the built-in fusion methods."""

import json

import numpy as np
import pytest
from helpers import SHARED
from PIL import Image
from scipy.ndimage import gaussian_filter

from hidra_core.evaluation import fusion

REFERENCE = SHARED / "data" / "metrics"


def images(height: int = 64, width: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """An infrared and a visible image that share nothing, uint8."""
    fields = [gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), 2) for seed in (0, 1)]
    return tuple((255 * (field - field.min()) / np.ptp(field)).round().astype(np.uint8) for field in fields)


# --- scores ----------------------------------------------------------------------------------------------------------


def test_scores_agree_with_the_reference_values():
    """spec: an independent program, the rest: two public evaluators, which compute in single precision."""
    if not REFERENCE.is_dir():
        pytest.skip("the reference values of ../shared/data/metrics are not here")
    for entry in json.loads((REFERENCE / "reference.json").read_text())["triples"]:
        infrared, visible, fused = images = [
            np.asarray(Image.open(REFERENCE / name).convert("L")) for name in entry["files"]
        ]
        spec, cddfuse, zoo = entry["spec"], entry["cddfuse"], entry["ivif_zoo"]
        standard = fusion.scores(*images)
        assert standard["mi"] == pytest.approx(spec["MI_bits"], abs=1e-9)
        assert standard["scd"] == pytest.approx(spec["SCD"], abs=1e-9)
        assert standard["vif"] == pytest.approx(spec["VIF_valid"], abs=1e-8)
        assert standard["qabf"] == pytest.approx(spec["Qabf"], abs=1e-9)
        assert standard["vif"] == pytest.approx(cddfuse["VIFF"], abs=1e-4)
        assert standard["qabf"] == pytest.approx(cddfuse["Qabf"], abs=1e-4)
        other = fusion.scores(*images, mi_unit="nats", vif_border="same")
        assert other["mi"] == pytest.approx(cddfuse["MI_nats"], abs=1e-9)
        assert other["vif"] == pytest.approx(zoo["VIF"], abs=1e-4)
        assert standard["qabf"] == pytest.approx(zoo["Qabf"], abs=1e-4)
        assert np.array_equal(fusion.average(infrared, visible), fused)


def test_mutual_information_of_a_copy_is_its_entropy():
    infrared, _ = images()
    flat = np.zeros_like(infrared)
    shares = np.bincount(infrared.ravel()) / infrared.size
    entropy = -np.sum(shares[shares > 0] * np.log2(shares[shares > 0]))
    assert fusion.mutual_information(infrared, flat, infrared) == pytest.approx(entropy)
    assert fusion.mutual_information(infrared, flat, infrared, "nats") == pytest.approx(entropy * np.log(2))


def test_scd_is_two_for_a_sum_of_unrelated_images():
    infrared, visible = (image // 4 for image in images())
    assert fusion.scd(infrared, visible, infrared + visible) == pytest.approx(2)


def test_vif_and_qabf_of_a_copy():
    infrared, visible = images()
    for border in fusion.VIF_BORDERS:
        assert 0.97 < fusion.vif(infrared, infrared, infrared, border) / 2 <= 1
    assert fusion.qabf(infrared, infrared, infrared) == pytest.approx(0.98, abs=0.01)
    assert fusion.vif(infrared, visible, infrared) < fusion.vif(infrared, infrared, infrared)


def test_black_images_score_zero_and_not_nan():
    flat = np.zeros((64, 64), np.uint8)
    assert fusion.scores(flat, flat, flat) == {"mi": 0, "scd": 0, "vif": 0, "qabf": 0}


def test_floats_are_rounded_to_bytes():
    infrared, visible = images()
    fused = fusion.average(infrared, visible)
    floats = fusion.scores(infrared / 255.0, visible / 255.0, fused / 255.0 + 0.001)
    assert floats == fusion.scores(infrared, visible, fused)


def test_conventions_and_sizes_are_checked():
    infrared, visible = images()
    with pytest.raises(ValueError, match="bits, nats, not in 'bans'"):
        fusion.mutual_information(infrared, visible, infrared, "bans")
    with pytest.raises(ValueError, match="valid, same, not 'wrap'"):
        fusion.vif(infrared, visible, infrared, "wrap")
    with pytest.raises(ValueError, match=r"one size.*\(64, 80\).*\(64, 79\)"):
        fusion.scores(infrared, visible[:, :-1], infrared)
    with pytest.raises(ValueError, match="VIF needs at least 41×41 pixels, got 80×40"):
        fusion.vif(infrared[:40], visible[:40], infrared[:40])
    assert np.isfinite(fusion.vif(infrared[:41, :41], visible[:41, :41], infrared[:41, :41]))


# --- methods ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", fusion.METHODS)
def test_fusing_an_image_with_itself_gives_it_back(name):
    infrared, _ = images(63, 81)
    fused = fusion.METHODS[name](infrared, infrared)
    assert fused.dtype == np.uint8
    assert np.abs(fused.astype(int) - infrared).max() <= 1


def test_average_and_maximum():
    infrared, visible = np.array([[1, 200, 255]], np.uint8), np.array([[2, 100, 255]], np.uint8)
    assert fusion.average(infrared, visible).tolist() == [[2, 150, 255]]
    assert fusion.maximum(infrared, visible).tolist() == [[2, 200, 255]]


def test_the_pyramid_keeps_detail_that_the_average_halves():
    infrared, visible = np.full((64, 64), 100, np.uint8), np.full((64, 64), 100, np.uint8)
    infrared[:, ::2] = 140
    visible[20:40, 20:40] = 160
    pyramid = fusion.laplacian_pyramid(infrared, visible).astype(float)
    average = fusion.average(infrared, visible).astype(float)
    assert np.abs(np.diff(pyramid, axis=1)).mean() > 1.5 * np.abs(np.diff(average, axis=1)).mean()
    assert fusion.qabf(infrared, visible, pyramid.astype(np.uint8)) > fusion.qabf(
        infrared, visible, average.astype(np.uint8)
    )
