"""What nodes take as IMAGE; needs no host."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from hidra_core import scenes
from hidra_core.images import palettes

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def images() -> Iterator[ModuleType]:
    """The module inside a package as the host makes one, without running the pack's own start."""
    for name, folder in (("pack_of_nodes", ROOT), ("pack_of_nodes.nodes", ROOT / "nodes")):
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [str(folder)]
    yield importlib.import_module("pack_of_nodes.nodes.images")
    for name in [name for name in sys.modules if name.partition(".")[0] == "pack_of_nodes"]:
        del sys.modules[name]


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


def test_pure_pixels_are_counted_and_not_channels_or_alpha(images: ModuleType) -> None:
    grey = torch.rand(1, 8, 8, 1).clamp(0.1, 0.9)
    assert images.doubts(torch.cat([grey, torch.ones_like(grey)], -1)) == []
    red_of_two = torch.cat([torch.ones_like(grey), grey / 20, torch.zeros_like(grey), torch.ones_like(grey)], -1)
    assert [line for line in images.doubts(red_of_two) if "pure" in line] == []


@pytest.fixture(scope="module")
def grey() -> np.ndarray:
    return scenes.render("street", 120, 160, 1)


@pytest.mark.parametrize("palette", ["rainbow", "ironbow", "jet"])
def test_false_colours_are_warned_of(images: ModuleType, grey: np.ndarray, palette: str) -> None:
    (line,) = images.doubts(torch.from_numpy(palettes.colour(grey, palette))[None])
    assert line.startswith("warning: the image is in false colours: ")
    assert f"'{palette}'" in line
    assert "Colour Thermal Image (Palette)" in line


def test_images_of_a_batch_are_named(images: ModuleType, grey: np.ndarray) -> None:
    coloured = torch.from_numpy(palettes.colour(grey, "rainbow"))
    plain = torch.from_numpy(grey)[..., None].expand(-1, -1, 3)
    lines = images.colour_doubts(torch.stack([plain, *[coloured] * 10]))
    assert [line.partition(" is ")[0] for line in lines[:-1]] == [f"warning: image {number}" for number in range(2, 10)]
    assert lines[-1] == "warning: 2 more images are coloured"


def test_other_colours_are_not_false_colours(images: ModuleType, grey: np.ndarray) -> None:
    generator = np.random.default_rng(1)
    fields = gaussian_filter(generator.random((120, 160, 3)), (9, 9, 0))
    photograph = (fields - fields.min((0, 1))) / np.ptp(fields, (0, 1))
    plain = np.repeat(grey[..., None], 3, -1)
    with_objects = plain.copy()
    with_objects[:60, :60] = photograph[:60, :60]  # 19 % of it
    little = plain.copy()
    little[:12, :100] = (1, 0.1, 0.1)
    tint = np.clip(plain * (1, 0.75, 0.4), 0, 1)
    for picture in (photograph, plain, with_objects, little, tint, palettes.colour(grey, "white hot"), plain[..., :1]):
        assert images.colour_doubts(torch.from_numpy(picture.astype(np.float32))[None]) == []
