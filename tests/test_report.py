"""Measured numbers: on pictures whose noise and stripes are known."""

import pytest
import torch

from hidra_core import estimate
from hidra_core.report import degradation_report, measure


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
def test_small_images(size: tuple[int, int]) -> None:
    found = measure(torch.rand(size))
    assert 0 <= found.low <= found.high <= 255
    assert all(value == value for value in vars(found).values())  # no NaN


def test_report_names_each_image_up_to_a_limit(weights) -> None:
    images = torch.rand(4, 32, 40, 1)
    text = degradation_report(images, estimate(images, weights), "mine.safetensors", limit=3)
    assert text.splitlines()[0] == "weights: mine.safetensors (for reference)"
    assert "image 3: 40×32" in text
    assert text.splitlines()[-1] == "… and 1 more images"
