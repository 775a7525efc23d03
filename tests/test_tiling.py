"""Tiles: weights that sum to one, whatever the sizes, and group normalisation shared between tiles."""

import pytest
import torch
import torch.nn.functional as F
from helpers.reference import assert_close, assert_same, load, make_backbone, run, unchanged
from torch import nn

from hidra_core.tiling import SharedNormalisation, blend_tiles, overview, pad_to_multiple, spans


def ramp(height: int, width: int, channels: int = 1) -> torch.Tensor:
    """Every pixel has a value of its own."""
    return torch.arange(channels * height * width, dtype=torch.float32).view(1, channels, height, width)


SPANS = [
    (length, tile, overlap)
    for length in (1, 2, 3, 7, 64, 65, 100, 255, 256, 257, 1000, 4097)
    for tile in (1, 2, 3, 64, 100, 256)
    for overlap in (0, 1, 2, 8, 31, 32, 33, 63, 99, 255)
    if overlap < tile and length / (tile - overlap) < 200
]


@pytest.mark.parametrize(("length", "tile", "overlap"), SPANS)
def test_spans_are_a_partition_of_unity(length, tile, overlap):
    cover = spans(length, tile, overlap)
    total = torch.zeros(length)
    for span in cover:
        assert span.slice.stop <= length
        assert len(span.weights) == min(tile, length)
        assert (span.weights >= 0).all()
        total[span.slice] += span.weights
    assert_close(total, torch.ones(length), 1e-5)
    assert cover[0].start == 0
    assert cover[-1].slice.stop == length
    for left, right in zip(cover, cover[1:], strict=False):
        assert overlap <= left.slice.stop - right.start <= tile


def test_spans_are_as_few_as_can_be():
    assert [len(spans(length, 64, 8)) for length in (64, 65, 120, 121)] == [1, 2, 2, 3]


def test_feathering_is_gradual():
    for span in spans(300, 100, 20):
        assert span.weights.diff().abs().max() <= 1 / 20 + 1e-6


@pytest.mark.parametrize("overlap", [-1, 64, 65])
def test_overlap_out_of_range(overlap):
    with pytest.raises(ValueError, match=r"tiles of 64 pixels cannot overlap by -?\d+.*from 0 to 63"):
        spans(100, 64, overlap)


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (65, 130), (3, 500), (200, 333)])
def test_blending_the_identity_gives_the_image(size):
    image = ramp(*size, channels=2) / 1000
    assert_close(blend_tiles(image, lambda part: part, 64, 16), image, 1e-3 * image.max().item())


def test_tiles_come_one_by_one_and_cover_the_image():
    image, sizes, calls = ramp(150, 260), [], []

    def function(part):
        sizes.append(tuple(part.shape))
        return part[:, :1].repeat(1, 3, 1, 1)

    result = blend_tiles(image, function, 100, 10, lambda done, total: calls.append((done, total)))
    assert sizes == [(1, 1, 100, 100)] * 6
    assert calls == [(i, 6) for i in range(1, 7)]
    assert result.shape == (1, 3, 150, 260)
    assert result.dtype == torch.float32


def test_stopping_between_tiles():
    seen = []

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        blend_tiles(ramp(100, 300), lambda part: seen.append(part) or part, 100, 0, stop)
    assert len(seen) == 2


@pytest.mark.parametrize("size", [(513, 512), (1000, 3000), (90, 5000), (5000, 300), (2048, 2048)])
@pytest.mark.parametrize("pixels", [256**2, 512**2])
def test_overview_is_the_whole_image_on_few_pixels(size, pixels):
    position = torch.stack(torch.meshgrid(*((torch.arange(side) + 0.5) / side for side in size), indexing="ij"))[None]
    small = overview(position.float(), pixels)
    height, width = small.shape[-2:]
    assert 0.5 * pixels <= height * width <= pixels
    assert height % 64 == width % 64 == 0
    assert_close(small.mean(dim=(0, 2, 3)), torch.full((2,), 0.5), 0.01)


@pytest.mark.parametrize("size", [(1, 1), (90, 120), (256, 256)])
def test_overview_of_a_small_image_is_the_image(size):
    image = ramp(*size)
    assert_same(overview(image, 256**2), image)


@torch.no_grad()
def test_imposing_an_inputs_own_statistics_changes_nothing(backbone):
    vectors = load("enhance")
    args = (vectors["image"][:1], vectors["text_embedding"])
    with unchanged(backbone.unet, backbone.vae):
        shared = SharedNormalisation(backbone.modules())
        with shared.recording():
            recorded = run(backbone, *args)
        with shared.imposed():
            imposed = run(backbone, *args)
    plain = run(backbone, *args)
    assert_close(recorded["enhanced"], plain["enhanced"], 1e-4)
    assert_close(imposed["latent"], plain["latent"], 1e-5)
    assert_close(imposed["enhanced"], plain["enhanced"], 1e-4)


@torch.no_grad()
def test_other_inputs_get_the_recorded_statistics():
    layer = nn.GroupNorm(2, 6, eps=1e-3)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    first, second = torch.randn(1, 6, 4, 5) * 3 + 1, torch.randn(1, 6, 7, 2)
    shared = SharedNormalisation([nn.Conv2d(1, 1, 1), layer])
    with shared.recording():
        layer(first)
    with shared.imposed():
        imposed = layer(second)
    groups = first.view(2, -1)
    mean, deviation = groups.mean(1), (groups.var(1, correction=0) + 1e-3).sqrt()
    normal = (second.view(2, -1) - mean[:, None]) / deviation[:, None]
    expected = normal.view_as(second) * layer.weight.view(1, 6, 1, 1) + layer.bias.view(1, 6, 1, 1)
    assert_close(imposed, expected, 1e-5)


@torch.no_grad()
def test_a_batch_is_normalised_as_one_image():
    layer = nn.GroupNorm(2, 4)
    image = torch.randn(1, 4, 6, 8) * torch.linspace(1, 5, 8)
    halves = torch.cat(image.split(4, dim=3))
    shared = SharedNormalisation([layer])
    with shared.recording():
        normalised = layer(halves)
    assert_close(torch.cat(normalised.split(1), dim=3), layer(image), 1e-5)


@torch.no_grad()
def test_half_precision_statistics_are_imposed_precisely():
    """Group normalisation computes in fp32 whatever comes in; so must its stand-in, far from zero mean too."""
    layer = nn.GroupNorm(1, 4).bfloat16()
    x = (torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)) + 8).bfloat16()
    shared = SharedNormalisation([layer])
    with shared.recording():
        plain = layer(x)
    with shared.imposed():
        assert_close(layer(x).float(), plain.float(), 0.02)


@pytest.mark.parametrize("way", ["recording", "imposed"])
def test_normalisation_hooks_are_gone_when_the_call_raises(way):
    backbone = make_backbone()
    shared = SharedNormalisation(backbone.modules())
    with unchanged(backbone.unet, backbone.vae), pytest.raises(KeyboardInterrupt), getattr(shared, way)():
        raise KeyboardInterrupt


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (32, 33), (33, 64), (64, 128), (65, 130)])
def test_padding(size):
    image = torch.rand(2, 1, *size)
    padded = pad_to_multiple(image, 64)
    bottom, right = (-side % 64 for side in size)
    assert padded.shape[-2:] == (size[0] + bottom, size[1] + right)
    assert_same(padded[..., : size[0], : size[1]], image)
    for axis, (side, pad) in enumerate(zip(size, (bottom, right), strict=True), start=2):
        position = torch.arange(side, side + pad)
        mirror = 2 * (side - 1) - position if pad < side else torch.full_like(position, side - 1)
        assert_same(padded.index_select(axis, position), padded.index_select(axis, mirror))


def test_padding_of_one_pixel_is_its_value():
    assert_same(pad_to_multiple(torch.full((1, 1, 1, 1), 0.3), 64), torch.full((1, 1, 64, 64), 0.3))


def test_multiples_are_left_alone():
    image = torch.rand(1, 1, 64, 128)
    assert pad_to_multiple(image, 64) is image
    assert F.mse_loss(pad_to_multiple(image, 32), image) == 0
