"""DEM: the reference's numbers, DINOv2's features block by block, and any size of image and backbone."""

import math

import pytest
import torch
from helpers.reference import SMALL_DINOV2, assert_close, formula, load, make_reference_dem, make_small_dem

from hidra_core.dem import DegradationEstimator, build_dinov2


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_backbone_input_of_the_reference():
    vectors = load("dem")
    assert_close(make_reference_dem().backbone_input(vectors["image"]), vectors["backbone_input"], 1e-5)


@torch.no_grad()
def test_vector_of_the_reference():
    dem, vectors = make_reference_dem(), load("dem")
    shape = (2, 768, 5, 7)
    features = [formula(f"input.feature.{i}", shape) * math.sqrt(math.prod(shape[1:])) for i in range(4)]
    mean = dem.interact(features).mean(dim=(2, 3))
    assert_close(mean, vectors["attention_output_mean"], 1e-5)
    assert_close(dem.head(mean), vectors["degradation_vector"], 1e-5)


@pytest.mark.parametrize(("depth", "blocks"), [(4, (1, 2, 3, 4)), (6, (1, 3, 4, 6)), (12, (3, 6, 9, 12))])
@torch.no_grad()
def test_features_are_those_after_four_blocks(depth, blocks):
    dem = make_small_dem(num_hidden_layers=depth)
    dinov2 = dem.backbone
    pixels = dem.backbone_input(noise(2, 3, 45, 60))
    hidden = dinov2.embeddings(pixels)
    skipped = 1 + SMALL_DINOV2["num_register_tokens"]  # class token and registers
    expected = []
    for number, block in enumerate(dinov2.encoder.layer, 1):
        hidden = block(hidden)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden  # transformers 4 wraps it
        if number in blocks:
            patches = dinov2.layernorm(hidden)[:, skipped:]
            expected.append(patches.transpose(1, 2).reshape(2, -1, 3, 4))
    features = dem.backbone_features(pixels)
    assert len(features) == 4
    for ours, theirs in zip(features, expected, strict=True):
        assert_close(ours, theirs, 1e-5)


@pytest.mark.parametrize("use_mia", [True, False])
@pytest.mark.parametrize(("width", "heads", "depth"), [(24, 3, 5), (64, 2, 8)])
@torch.no_grad()
def test_any_width_and_depth(use_mia, width, heads, depth):
    dem = make_small_dem(use_mia=use_mia, hidden_size=width, num_attention_heads=heads, num_hidden_layers=depth)
    vectors = dem(noise(2, 3, 28, 42))
    assert vectors.shape == (2, 256)
    assert torch.isfinite(vectors).all()
    assert (vectors[0] - vectors[1]).abs().max() > 1e-6


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (13, 13), (14, 27), (75, 101)])
@torch.no_grad()
def test_any_size(size):
    dem = make_small_dem()
    pixels = dem.backbone_input(noise(1, 3, *size))
    assert pixels.shape[-2:] == tuple(max(14, side // 14 * 14) for side in size)
    assert torch.isfinite(dem(noise(1, 3, *size))).all()


@pytest.mark.parametrize("size", [(1, 1), (13, 50), (14, 27), (75, 101)])
@torch.no_grad()
def test_a_dem_that_crops_keeps_the_middle_pixels_as_they_are(size):
    dem, images = make_small_dem(), noise(1, 3, *size)
    dem.fit = "crop"
    pixels = dem.backbone_input(images)
    assert pixels.shape[-2:] == tuple(max(14, side // 14 * 14) for side in size)
    if min(size) >= 14:
        top, left = ((have - want) // 2 for have, want in zip(size, pixels.shape[-2:], strict=True))
        middle = images[..., top : top + pixels.shape[-2], left : left + pixels.shape[-1]]
        assert_close(pixels, make_small_dem().backbone_input(middle), 1e-6)  # of whole patches nothing is resized
    assert torch.isfinite(dem(images)).all()


def test_an_unknown_fit_is_refused():
    with pytest.raises(ValueError, match="by resize or crop, not by 'pad'"):
        DegradationEstimator(make_small_dem().backbone, fit="pad")


def test_backbone_input_is_imagenet_normalised_and_clipped():
    white = make_small_dem().backbone_input(torch.full((1, 3, 14, 14), 3.0))
    expected = [(1 - mean) / std for mean, std in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
    assert_close(white[0, :, 0, 0], torch.tensor(expected), 1e-5)


@torch.no_grad()
def test_without_mia_the_head_reads_the_pooled_features():
    dem, images = make_small_dem(use_mia=False), noise(2, 3, 30, 30)
    features = dem.backbone_features(dem.backbone_input(images))
    assert dem.attention is None
    assert_close(dem.pooled(images), torch.cat([f.mean(dim=(2, 3)) for f in features], dim=1), 1e-6)


@torch.no_grad()
def test_batch_equals_singles():
    dem, images = make_small_dem(), noise(3, 3, 40, 33)
    assert_close(dem(images), torch.cat([dem(image[None]) for image in images]), 1e-5)


def test_too_shallow_backbone():
    with pytest.raises(ValueError, match="reads 4 depths.*only 3 blocks"):
        build_dinov2(SMALL_DINOV2 | {"num_hidden_layers": 3})


@pytest.mark.parametrize("use_mia", [True, False])
def test_every_parameter_gets_a_gradient(use_mia):
    dem: DegradationEstimator = make_small_dem(use_mia=use_mia)
    dem.backbone.requires_grad_(False)
    (dem(noise(2, 3, 28, 42)) * noise(2, 256, seed=1)).sum().backward()
    trained = {name: p.grad for name, p in dem.named_parameters() if p.requires_grad}
    assert len(trained) == (13 if use_mia else 6)
    assert [name for name, grad in trained.items() if grad is None or not grad.any()] == []
