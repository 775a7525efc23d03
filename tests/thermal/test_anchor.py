"""Radiometric mode keeps temperatures and removes noise and stripes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

import hidra_core
from hidra_core import degradations, scenes
from hidra_core.thermal import BLOCK, anchor, bring_back, dead_pixels, fit, guided, noise, rounded
from hidra_core.thermal.sample import ThermalSample, thermal_sample

KELVIN = 0.04


def sample(scene: str = "street", **options) -> ThermalSample:
    return thermal_sample(scene, 256, 320, 3, **options)


def blocks(plane: np.ndarray) -> np.ndarray:
    height, width = (side // BLOCK * BLOCK for side in plane.shape)
    return plane[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK).mean((1, 3))


def errors(frame: ThermalSample, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Temperature errors ``[H, W]`` in kelvin of the degraded input and of ``counts``."""
    return tuple(frame.image.kelvin(plane) - frame.kelvin for plane in (frame.image.counts[0], counts))


# --- acceptance, on the built-in model -------------------------------------------------------------------------------


@pytest.mark.parametrize("scene", scenes.SCENES)
@pytest.mark.parametrize("axis", ["column", "row"])
def test_temperatures_are_closer_to_the_truth(tiny, scene, axis):
    backbone, weights = tiny
    frame = sample(scene, axis=axis, stripe_kelvin=0.8, noise_kelvin=1.3)
    image = frame.image
    mapping = fit("linear", image.counts)
    values = mapping.to_values(image.counts)
    enhanced = hidra_core.enhance(values[..., None], backbone, hidra_core.estimate(values[..., None], weights))
    counts, [report] = bring_back(enhanced[..., 0], image, mapping, radiometric=True)

    before, after = errors(frame, counts[0])
    assert counts.dtype == image.counts.dtype
    assert np.abs(after).mean() <= 0.5 * np.abs(before).mean()
    assert abs(after.mean()) < 0.1
    assert (blocks(np.abs(after)) <= blocks(np.abs(before))).all()
    assert abs(report.residual_kelvin.mean) < 0.1
    assert np.abs(blocks(after)).max() < 0.5


# --- with any model ----------------------------------------------------------------------------------------------


def guides(frame: ThermalSample) -> dict[str, np.ndarray]:
    """Possible outputs of networks for a frame, on counts: better and worse than those of any real model."""
    truth = frame.kelvin / KELVIN
    rows, columns = np.mgrid[0 : truth.shape[0], 0 : truth.shape[1]]
    return {
        "the truth": truth,
        "brighter and of more contrast": 1.6 * truth - 3000,
        "another brightness on every side": truth + 0.5 * columns - 0.3 * rows,
        "gamma": 8000 * (truth / 8000) ** 1.7,
        "blurred": gaussian_filter(truth, 2.0),
        "the input": frame.image.counts[0].astype(float),
        "nothing": np.full(truth.shape, 7000.0),
        "another scene": thermal_sample("night", *truth.shape, 8).kelvin / KELVIN,
        "inverted": 16000 - truth,
    }


@pytest.mark.parametrize("name", guides(sample()))
def test_temperatures_hold_with_any_model(name):
    frame = sample(stripe_kelvin=0.8, noise_kelvin=1.3)
    counts, report = anchor(frame.image.counts[0], guides(frame)[name], kelvin=frame.image.kelvin)
    before, after = errors(frame, counts)
    assert abs(after.mean()) < 0.1
    assert np.abs(after).mean() < 0.85 * np.abs(before).mean()
    assert np.abs(blocks(after)).max() < 0.6
    assert abs(report.low_frequency_kelvin.largest) < 0.1
    if name in ("the truth", "brighter and of more contrast", "another brightness on every side", "gamma", "inverted"):
        assert np.abs(after).mean() < 0.4 * np.abs(before).mean()


def test_an_invented_object_gets_no_temperature():
    frame = sample(noise_kelvin=0.5, stripe_kelvin=0.0)
    guide = frame.kelvin / KELVIN
    guide[100:140, 200:240] += 400  # a warm object of 16 K that the input does not show
    counts, _ = anchor(frame.image.counts[0], guide)
    _, after = errors(frame, counts)
    assert np.abs(after[104:136, 204:236]).max() < 2.0


def test_an_object_that_the_model_lost_stays():
    frame = sample(noise_kelvin=0.3, stripe_kelvin=0.0)
    measured = frame.image.counts[0].copy()
    measured[100:104, 200:204] += 300
    counts, _ = anchor(measured, gaussian_filter(frame.kelvin / KELVIN, 1.0))
    assert (counts[100:104, 200:204] - frame.kelvin[100:104, 200:204] / KELVIN).mean() > 270


def test_a_clean_frame_does_not_change():
    frame = sample(stripe_kelvin=0.0, noise_kelvin=0.0)
    counts, report = anchor(frame.image.counts[0], frame.kelvin / KELVIN * 1.3 - 2000)
    _, after = errors(frame, rounded(counts, np.dtype(np.uint16)))
    assert np.abs(after).mean() < 2 * KELVIN
    assert report.columns < 0.5
    assert report.rows < 0.5


def test_tall_structures_do_not_count_as_stripes():
    frame = sample("substation", stripe_kelvin=0.0, noise_kelvin=0.5)
    _, report = anchor(frame.image.counts[0], frame.kelvin / KELVIN)
    assert report.columns * KELVIN < 0.05
    assert report.rows * KELVIN < 0.05


def test_stripes_are_measured():
    for axis in ("column", "row"):
        frame = sample("night", stripe_kelvin=1.0, noise_kelvin=0.3, axis=axis)
        _, report = anchor(frame.image.counts[0], frame.kelvin / KELVIN)
        along, across = (report.columns, report.rows) if axis == "column" else (report.rows, report.columns)
        assert along * KELVIN == pytest.approx(1.0, rel=0.15)
        assert across * KELVIN < 0.1
        assert report.noise * KELVIN == pytest.approx(0.3, rel=0.2)


def test_dead_pixels_are_replaced_and_points_of_the_scene_stay():
    frame = sample(noise_kelvin=0.2, stripe_kelvin=0.0)
    counts = frame.image.counts[0].copy()
    for row, column, value in ((50, 60, 65535), (120, 33, 0), (0, 0, 65535)):
        counts[row, column] = value
    point = np.zeros(counts.shape)
    point[200, 200] = 1.0
    warm = gaussian_filter(point, 0.7)
    counts = rounded(counts + 500 * warm / warm.max(), counts.dtype)  # as optics spread a point
    anchored, report = anchor(counts, frame.kelvin / KELVIN)
    assert report.dead_pixels == 3
    truth = frame.kelvin / KELVIN
    for row, column in ((50, 60), (120, 33), (0, 0)):
        assert abs(anchored[row, column] - truth[row, column]) < 100
    assert anchored[200, 200] - truth[200, 200] > 400


def test_shading_is_taken_off_on_request_only():
    frame = sample(stripe_kelvin=0.0, noise_kelvin=0.3)
    truth = torch.from_numpy(frame.kelvin / KELVIN).float()[None, None]
    field = (
        degradations.optical_field(256, 320, 128, 160, "cos4")
        - degradations.optical_field(256, 320, 128, 160, "cos4").mean()
    )
    counts = rounded(
        (truth + 100 * field).numpy()[0, 0] + np.random.default_rng(0).normal(0, 7, (256, 320)), np.dtype(np.uint16)
    )
    guide = 1.4 * truth.numpy()[0, 0] - 2500
    kept, without = anchor(counts, guide)
    taken, with_field = anchor(counts, guide, with_shading=True)
    assert without.shading == 0
    assert with_field.shading == pytest.approx(float(100 * np.ptp(field.numpy())), rel=0.4)
    truth = truth.numpy()[0, 0]
    assert np.abs(taken - truth).mean() < 0.4 * np.abs(kept - truth).mean()


@pytest.mark.parametrize("factor", [2, 3])
def test_enlarged_results_are_anchored_too(factor):
    frame = sample(noise_kelvin=0.5, stripe_kelvin=0.5)
    guide = 1.3 * frame.kelvin.repeat(factor, 0).repeat(factor, 1) / KELVIN - 1000
    counts, report = anchor(frame.image.counts[0], guide)
    assert counts.shape == (256 * factor, 320 * factor)
    native = counts.reshape(256, factor, 320, factor).mean((1, 3))
    before, after = errors(frame, native)
    assert np.abs(after).mean() < 0.5 * np.abs(before).mean()
    assert abs(report.residual.mean * KELVIN) < 0.1


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (3, 40), (40, 3), (33, 47)])
def test_any_size(size):
    counts = np.random.default_rng(0).integers(7000, 7200, size).astype(np.uint16)
    anchored, report = anchor(counts, counts * 1.5)
    assert anchored.shape == size
    assert np.isfinite(anchored).all()
    json.dumps(report.to_dict(), allow_nan=False)


# --- the report ------------------------------------------------------------------------------------------------------


def test_report_agrees_with_the_result():
    frame = sample()
    measured = frame.image.counts[0].astype(float)
    counts, report = anchor(frame.image.counts[0], frame.kelvin / KELVIN, kelvin=frame.image.kelvin)
    residual = counts - measured
    assert report.residual.mean == pytest.approx(residual.mean())
    assert report.residual.mean_absolute == pytest.approx(np.abs(residual).mean())
    assert abs(report.residual.largest) == pytest.approx(np.abs(residual).max())
    assert residual[report.residual.row, report.residual.column] == pytest.approx(report.residual.largest)
    assert report.residual_kelvin.largest == pytest.approx(report.residual.largest * KELVIN)  # the relation is linear
    record = json.loads(json.dumps(report.to_dict()))
    assert record["residual"]["largest"] == report.residual.largest
    assert "K at row" in report.summary()
    _, without = anchor(frame.image.counts[0], frame.kelvin / KELVIN)
    assert without.residual_kelvin is None
    assert "counts at row" in without.summary()


# --- parts -----------------------------------------------------------------------------------------------------------


def test_guided_filter_finds_a_linear_relation():
    guide = np.random.default_rng(0).normal(0, 5, (40, 50))
    slope, offset = guided(guide, 3 * guide + 7, 4, 1e-9)
    assert slope == pytest.approx(np.full_like(guide, 3.0))
    assert offset == pytest.approx(np.full_like(guide, 7.0))


def test_noise_is_measured_locally():
    rng = np.random.default_rng(0)
    plane = np.hstack([rng.normal(0, 10, (96, 96)), np.zeros((96, 96))])
    sigma = noise(plane)
    assert sigma[:, :64] == pytest.approx(np.full((96, 64), 10), rel=0.2)
    assert sigma[:, 128:].max() < 0.1
    assert not dead_pixels(plane, sigma)[:, :80].any()


def test_images_that_do_not_belong_together_are_refused():
    frame = sample()
    mapping = fit("linear", frame.image.counts)
    with pytest.raises(ValueError, match="2 enhanced images for the 1 pages"):
        bring_back(torch.zeros(2, 256, 320), frame.image, mapping)
    with pytest.raises(ValueError, match="320x250 do not belong"):
        bring_back(torch.zeros(1, 250, 320), frame.image, mapping)
    with pytest.raises(ValueError, match="same size or a whole multiple"):
        anchor(frame.image.counts[0], np.zeros((200, 300)))
    with pytest.raises(ValueError, match="NaN"):
        anchor(frame.image.counts[0], np.full((256, 320), np.nan))
