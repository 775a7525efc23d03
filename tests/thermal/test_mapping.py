"""Mappings from counts to the networks' range and back."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers import SHARED
from helpers.thermal_files import frame

from hidra_core.names import MAPPINGS
from hidra_core.thermal import Mapping, fit, identity, rounded
from hidra_core.thermal.readers import read_thermal

REAL = SHARED / "data" / "radiometric"
FILES = json.loads((REAL / "index.json").read_text()) if REAL.is_dir() else []


def counts_of(name: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    flat = np.full((32, 40), 17000, np.uint16)
    hot = flat + rng.integers(0, 9, flat.shape).astype(np.uint16)
    hot[4:9, 5:9] = 65535
    two = np.where(rng.random((32, 40)) < 0.5, 100, 60000).astype(np.uint16)
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    return {"frame": frame(), "flat": flat, "hot spot": hot, "two levels": two, "every count": every}[name][None]


def assert_round_trip(mapping: Mapping, counts: np.ndarray) -> None:
    values = mapping.to_values(counts)
    assert values.dtype == torch.float32
    assert values.min() >= 0
    assert values.max() <= 1
    assert np.array_equal(rounded(mapping.restore(values, counts), counts.dtype), counts)
    within = (counts >= mapping.counts[0]) & (counts <= mapping.counts[-1])
    assert np.abs(mapping.to_counts(values) - counts)[within].max(initial=0) < 0.5


@pytest.mark.parametrize("kind", MAPPINGS)
@pytest.mark.parametrize("name", ["frame", "flat", "hot spot", "two levels", "every count"])
def test_round_trip_is_exact(kind, name):
    counts = counts_of(name)
    assert_round_trip(fit(kind, counts), counts)


@pytest.mark.parametrize("kind", MAPPINGS)
@pytest.mark.parametrize("entry", FILES, ids=lambda entry: entry["file"])
def test_round_trip_of_real_files_is_exact(kind, entry):
    counts = read_thermal(REAL / entry["file"]).counts
    assert_round_trip(fit(kind, counts), counts)


def test_identity_covers_the_whole_type():
    for dtype in (np.uint8, np.uint16):
        counts = np.arange(256, dtype=dtype).reshape(1, 16, 16)
        mapping = identity(dtype)
        assert torch.equal(mapping.to_values(counts), torch.from_numpy(counts / np.iinfo(dtype).max).float())
        assert_round_trip(mapping, counts)


@pytest.mark.parametrize("kind", MAPPINGS)
def test_curves_rise_from_0_to_1_and_survive_json(kind):
    counts = counts_of("frame")
    mapping = fit(kind, counts)
    assert mapping.kind == kind
    assert (mapping.values[0], mapping.values[-1]) == (0, 1)
    assert np.diff(mapping.values).min() > 0
    assert Mapping.from_dict(json.loads(json.dumps(mapping.to_dict()))) == mapping


def test_linear_mapping_spans_the_scene_or_the_given_counts():
    counts = counts_of("frame")
    counts[0, 0, 0], counts[0, 20, 20] = 0, 65535  # dead pixels do not set the scale
    assert 16000 < fit("linear", counts).counts[0] < fit("linear", counts).counts[-1] < 18000
    stated = fit("linear", counts, low=10000, high=20000)
    assert stated.counts == (10000, 20000)
    assert stated.to_values(np.array([5000, 15000, 30000])).tolist() == [0, 0.5, 1]


def test_percentile_clips_its_share():
    counts = counts_of("every count")
    values = fit("percentile", counts, low=2, high=95).to_values(counts)
    assert (values == 0).double().mean().item() == pytest.approx(0.02, abs=1e-3)
    assert (values == 1).double().mean().item() == pytest.approx(0.05, abs=1e-3)


def test_plateau_gives_crowded_counts_more_room_the_higher_it_is():
    rng = np.random.default_rng(0)
    crowded = rng.normal(1000, 10, (1, 60, 50))
    counts = np.where(rng.random(crowded.shape) < 0.1, rng.uniform(0, 4000, crowded.shape), crowded)
    counts = counts.clip(0, 65535).astype(np.uint16)
    room = []
    for height in (1.0, 3.0, 100.0):
        mapping = fit("plateau", counts, plateau=height, linear=0.1)
        low, high = mapping.to_values(np.array([970, 1030]))
        room.append((high - low).item())
    assert room == sorted(room)
    assert room[-1] > 0.5 > 4 * room[0]


def test_one_mapping_serves_all_pages():
    pages = np.stack([frame(), frame() + 2000])
    mapping = fit("linear", pages)
    assert mapping.counts[0] < pages[0].max() < pages[1].min() < mapping.counts[-1] + 1
    assert_round_trip(mapping, pages)


def test_changes_come_back_as_counts():
    counts = counts_of("frame")
    mapping = fit("linear", counts, low=16000, high=18000)
    values = mapping.to_values(counts)
    changed = mapping.restore(values + 0.01, counts)
    assert np.abs(changed - counts - 20).max() < 0.01


def test_a_clipped_hot_spot_keeps_its_temperature_and_a_dead_pixel_does_not():
    counts = counts_of("frame")
    counts[0, 10:14, 10:14] = 40000
    counts[0, 30, 30] = 65535
    mapping = fit("linear", counts, low=16000, high=18000)
    values = mapping.to_values(counts)
    values[0, 10:14, 10:14] -= 0.02  # networks change everything a little
    values[0, 30, 30] = 0.6  # and replace impossible values
    restored = mapping.restore(values, counts)[0]
    assert (restored[10:14, 10:14] > 37000).all()
    assert restored[30, 30] == pytest.approx(17200, abs=1)


def test_enlarged_values_come_back_as_counts():
    counts = counts_of("hot spot")
    mapping = fit("percentile", counts)
    values = mapping.to_values(counts)
    large = torch.nn.functional.interpolate(values[:, None], scale_factor=2, mode="bilinear")[:, 0]
    restored = mapping.restore(large, counts)
    assert restored.shape == (1, 64, 80)
    assert restored.max() == pytest.approx(65535, abs=1)


def test_rounded_stays_within_the_type():
    assert rounded(np.array([-3.0, 1.4, 1.6, 70000.0]), np.dtype(np.uint16)).tolist() == [0, 1, 2, 65535]


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        ("gamma", {}, "unknown mapping 'gamma'.*linear, percentile, plateau"),
        ("linear", {"low": 5, "high": 5}, "low below high"),
        ("linear", {"plateau": 3}, "plateau"),
        ("percentile", {"low": 50, "high": 40}, "percentiles must be"),
        ("percentile", {"low": -1}, "percentiles must be"),
        ("plateau", {"plateau": 0}, "above 0"),
        ("plateau", {"linear": 0}, "0.05 to 1"),
    ],
)
def test_parameters_out_of_range_are_refused(kind, parameters, message):
    with pytest.raises(ValueError, match=message):
        fit(kind, counts_of("frame"), **parameters)


def test_bad_mappings_are_refused():
    with pytest.raises(ValueError, match="not a mapping"):
        Mapping.from_dict({"kind": "linear"})
    with pytest.raises(ValueError, match="knots"):
        Mapping("linear", {}, (0.0, 0.0), (0.0, 1.0))
    with pytest.raises(ValueError, match="NaN"):
        fit("linear", counts_of("frame")).restore(torch.full((1, 48, 64), torch.nan), counts_of("frame"))
