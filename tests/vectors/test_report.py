"""Measurements on images whose noise and stripes are known, and the report in words."""

from dataclasses import replace

import pytest
import torch
from helpers.reference import make_probes

from hidra_core import estimate
from hidra_core.readouts import KINDS, Kind, KindReading, Reading
from hidra_core.vectors import bar, degradation_report, measure, reading_lines


def smooth(height: int = 128, width: int = 160) -> torch.Tensor:
    return torch.linspace(0.3, 0.6, width).expand(height, width).contiguous()


def test_noise_is_measured() -> None:
    noise = torch.randn(128, 160, generator=torch.Generator().manual_seed(0)) * 8 / 255
    assert measure(smooth() + noise).noise == pytest.approx(8, rel=0.15)
    assert measure(smooth()).noise < 0.1


def test_stripes_are_measured_on_their_axis() -> None:
    offsets = torch.randn(160, generator=torch.Generator().manual_seed(0)) * 6 / 255
    striped = measure(smooth() + offsets)
    assert striped.columns == pytest.approx(6, rel=0.3)
    assert striped.rows < 0.5
    turned = measure((smooth() + offsets).T)
    assert turned.rows == pytest.approx(striped.columns)


@pytest.mark.parametrize("size", [(1, 1), (2, 50), (3, 3)])
def test_small_images_can_be_measured(size: tuple[int, int]) -> None:
    measured = measure(torch.rand(size))
    assert 0 <= measured.low <= measured.high <= 255
    assert all(value == value for value in vars(measured).values())  # no NaN


def test_report_names_each_image_up_to_a_limit(weights) -> None:
    images = torch.rand(4, 32, 40, 1)
    text = degradation_report(images, estimate(images, weights), "mine.safetensors", limit=3)
    assert text.splitlines()[0] == "weights: mine.safetensors (for reference)"
    assert "image 3: 40×32" in text
    assert text.splitlines()[-1] == "… and 1 more images"


def test_bars_are_in_the_report_if_the_weights_have_probes(weights) -> None:
    images = torch.rand(2, 32, 40, 1)
    degradation = estimate(images, weights)
    plain = degradation_report(images, degradation, "mine").splitlines()
    assert len(plain) == 3
    assert not any(set(line) & set("█░") for line in plain)

    probed = replace(weights, probes=make_probes())
    text = degradation_report(images, replace(degradation, weights=probed), "mine").splitlines()
    assert [line for line in text if line in plain] == plain
    expected = [reading_lines(reading) for reading in probed.probes.read(degradation.vectors)]
    assert text[2:10] == expected[0]
    assert text[11:19] == expected[1]


def reading(present: float, amount: float, levels: tuple[float, ...] = (0.1, 0.2, 0.6, 0.1)) -> Reading:
    """Stripes as given, nothing else."""
    kinds = [Kind(name, "grey levels", 2.0, 10.0) for name in KINDS]
    return Reading((KindReading(kinds[0], present, amount), *(KindReading(k, 0.01, 3.0) for k in kinds[1:])), levels)


def test_lines_of_a_reading() -> None:
    lines = reading_lines(reading(0.98, 5.2))
    assert lines[:4] == [
        "severity: severe (60%)",
        "estimated, before blur and shrinking, with the probability of each:",
        "█████░░░░░ stripes: 5.2 grey levels (98%)",
        "░░░░░░░░░░ noise: none (1%)",
    ]
    assert [line.split(" ", 1)[1].partition(":")[0] for line in lines[2:]] == list(KINDS)


def test_an_image_with_nothing_wrong_has_no_level_and_empty_bars() -> None:
    lines = reading_lines(reading(0.49, 9.0))
    assert lines[0] == "no degradation found"
    assert lines[2] == "░░░░░░░░░░ stripes: none (49%)"
    assert not any("█" in line for line in lines)


@pytest.mark.parametrize(("share", "cells"), [(0.0, 0), (0.001, 1), (0.14, 1), (0.5, 5), (0.96, 10), (1.0, 10)])
def test_bars_fill_with_the_share(share: float, cells: int) -> None:
    assert bar(share) == "█" * cells + "░" * (10 - cells)
