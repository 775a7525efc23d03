"""What nodes take as IMAGE; needs no host."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def images() -> ModuleType:
    spec = importlib.util.spec_from_file_location("node_images", ROOT / "nodes" / "images.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_resizing_overshoots_is_cut_off(images: ModuleType) -> None:
    image = torch.linspace(-0.2, 1.2, 48).view(1, 4, 12, 1)
    assert torch.equal(images.taken(image), image.clamp(0, 1))
    good = torch.rand(1, 4, 12, 3)
    assert images.taken(good) is good


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.linspace(-1, 1, 48).view(1, 4, 12, 1), "this image has values from -1.00 to 1.00; pictures lie"),
        (torch.full((2, 4, 4, 1), 255.0), "image 1 of 2 has values from 255.00"),
        (torch.full((1, 4, 4, 1), float("nan")), "this image has 16 of 16 values that are NaN"),
        (torch.zeros(4, 4, 3), r"has the shape \[4, 4, 3\]; expected are \[images, height"),
        (torch.zeros(0, 4, 4, 3), r"has the shape \[0, 4, 4, 3\]"),
    ],
)
def test_other_ranges_and_shapes_are_refused(images: ModuleType, image: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        images.taken(image)


def test_images_without_a_scene_are_doubted(images: ModuleType) -> None:
    assert images.doubts(torch.rand(2, 8, 8, 3)) == []
    white, grey = torch.ones(1, 8, 8, 3), torch.full((1, 8, 8, 3), 0.5)
    half = torch.cat([torch.rand(1, 8, 8, 1), torch.ones(1, 8, 9, 1)], 2)
    for image, words in (
        (white, "the image has a single value, 255"),
        (grey, "a single value, 128"),
        (half, "53% of the image are pure black or pure white"),
    ):
        (line,) = images.doubts(image)
        assert words in line
        assert "Load Thermal Image" in line
    assert "image 2 " in images.doubts(torch.cat([torch.rand(1, 8, 8, 3), white]))[0]
