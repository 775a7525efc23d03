"""Image to image: every size and kind of image, tiles, memory, progress, and errors before any work."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from helpers.reference import assert_close, assert_same, load, make_backbone, make_restraint, make_weights, unchanged
from torch import nn

from hidra_core import Backbone, DegradationVectors, DiffusersBackbone, enhance, estimate
from hidra_core import backbone as module
from hidra_core.readouts import Restraint
from hidra_core.tiling import spans

SIZES = [(1, 1), (3, 200), (64, 64), (65, 130)]


def make_images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def smooth(height: int, width: int) -> torch.Tensor:
    """Warm spots on a slope, ``[1, H, W, 1]``: nothing in it jumps."""
    y = torch.linspace(0, 1, height)[:, None]
    x = torch.linspace(0, 1, width)
    image = 0.25 + 0.2 * x + 0.15 * y
    for cy, cx, size in ((0.3, 0.3, 0.12), (0.55, 0.6, 0.2), (0.8, 0.2, 0.08)):
        image = image + 0.25 * torch.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * size**2))
    return image.clamp(0, 1)[None, :, :, None]


@pytest.fixture(scope="module")
def degradation(weights) -> DegradationVectors:
    """The reference's two vectors."""
    return DegradationVectors(load("enhance")["degradation_vector"], weights)


@pytest.fixture(scope="module")
def one(degradation) -> DegradationVectors:
    return DegradationVectors(degradation.vectors[:1], degradation.weights)


class EchoBackbone(Backbone):
    """Gives back what it is given. Remembers the sizes of its passes, and runs out of memory above ``limit`` pixels."""

    name = "echo"
    device = torch.device("cpu")
    dtype = torch.float32
    text_embedding = torch.zeros(1, 77, 1)

    def __init__(self, limit: float = float("inf"), error: type[BaseException] = torch.OutOfMemoryError) -> None:
        self.limit = limit
        self.error = error
        self.sizes: list[tuple[int, ...]] = []
        self.freed = 0

    def encode(self, images):
        self.sizes.append((len(images), *images.shape[-2:]))
        if len(images) * images.shape[-2] * images.shape[-1] > self.limit:
            raise self.error("too large")
        return images

    def denoise(self, latent, text_embedding):
        return latent

    def decode(self, latent):
        return latent

    def lookup(self, network):
        raise KeyError(network)

    def modules(self):
        return iter(())

    def free_memory(self):
        self.freed += 1


def echo(images, backbone, *, upscale=1, tile="auto", progress: Callable | None = None):
    return enhance(list(images), backbone, None, upscale=upscale, tile=tile, progress=progress)


# --- kinds of images -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_any_size_comes_back(backbone, one, size):
    result = enhance(make_images(1, *size, 1), backbone, one)
    assert result.shape == (1, *size, 1)
    assert result.dtype == torch.float32
    assert torch.isfinite(result).all()
    assert result.min() >= 0
    assert result.max() <= 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_kind_is_kept(backbone, one, channels):
    image = make_images(1, 20, 30, channels)
    result = enhance(image, backbone, one)
    assert result.shape == image.shape
    if channels in (2, 4):
        assert_same(result[..., -1], image[..., -1])
    if channels >= 3:
        assert_same(result[..., 0], result[..., 1])
        assert_same(result[..., 0], result[..., 2])


def test_grey_gives_the_same_in_any_kind(backbone, one):
    grey = make_images(1, 20, 30, 1)
    opaque = torch.ones_like(grey)
    expected = enhance(grey, backbone, one)
    for kind in ([grey, opaque], [grey] * 3, [grey] * 3 + [opaque]):
        assert_same(enhance(torch.cat(kind, dim=-1), backbone, one)[..., :1], expected)


def test_list_of_sizes(backbone, one):
    images = [
        make_images(*size, channels, seed=i) for i, (size, channels) in enumerate(zip(SIZES, (1, 3, 4, 2), strict=True))
    ]
    results = enhance(images, backbone, one)
    assert isinstance(results, list)
    assert [r.shape for r in results] == [i.shape for i in images]
    assert_close(results[1], enhance([images[1]], backbone, one)[0], 1e-4)


def test_batch_equals_singles(backbone, degradation):
    images = make_images(2, 40, 70, 1)
    both = enhance(images, backbone, degradation)
    for row in range(2):
        single = DegradationVectors(degradation.vectors[row : row + 1], degradation.weights)
        assert_close(enhance(images[row : row + 1], backbone, single), both[row : row + 1], 1e-4)
    assert (
        both[0] - enhance(images[:1], backbone, DegradationVectors(degradation.vectors[1:], degradation.weights))[0]
    ).abs().max() > 0.01


def test_vectors_follow_images_of_mixed_sizes(backbone, degradation):
    """Images that cannot share a batch still get their own vector each."""
    images = [make_images(64, 64, 1), make_images(64, 30, 1)]
    results = enhance(images, backbone, degradation)
    for row, image in enumerate(images):
        single = DegradationVectors(degradation.vectors[row : row + 1], degradation.weights)
        assert_close(results[row], enhance([image], backbone, single)[0], 1e-4)


@pytest.mark.parametrize("upscale", [2, 3, 4])
def test_upscale(backbone, one, upscale):
    image = make_images(1, 10, 21, 2)
    result = enhance(image, backbone, one, upscale=upscale)
    assert result.shape == (1, 10 * upscale, 21 * upscale, 2)
    larger = nn.functional.interpolate(image.movedim(-1, 1), scale_factor=upscale, mode="bilinear").movedim(1, -1)
    assert_close(result, enhance(larger.clamp(0, 1), backbone, one), 1e-4)


def test_folded_equals_hooked(backbone, one):
    image = make_images(1, 50, 64, 1)
    with unchanged(backbone.unet, backbone.vae):
        assert_close(enhance(image, backbone, one, fold=True), enhance(image, backbone, one, fold=False), 1e-4)


def folds(backbone, monkeypatch) -> list[int]:
    """The number of vectors of each call of ``backbone.folded``, as the calls are made."""
    calls = []
    folded = backbone.folded
    monkeypatch.setattr(backbone, "folded", lambda modulated: calls.append(len(modulated)) or folded(modulated))
    return calls


def test_on_a_cpu_each_image_of_small_networks_is_folded(backbone, degradation, monkeypatch):
    images = make_images(2, 50, 64, 1)
    calls = folds(backbone, monkeypatch)
    with unchanged(backbone.unet, backbone.vae):
        result = enhance(images, backbone, degradation)
    assert calls == [1, 1]
    assert_close(result, enhance(images, backbone, degradation, fold=False), 1e-4)
    for row in range(2):
        single = DegradationVectors(degradation.vectors[row : row + 1], degradation.weights)
        assert_same(result[row], enhance(images[row], backbone, single))


@pytest.mark.parametrize(("count", "room", "expected"), [(1, True, 0), (4, True, 1), (4, False, 0)])
def test_large_networks_are_folded_where_one_vector_serves_many(backbone, one, monkeypatch, count, room, expected):
    monkeypatch.setattr(module, "FOLDED_PARAMETERS", 0)
    monkeypatch.setattr(module, "free_bytes", lambda device: None if room else 1000)
    calls = folds(backbone, monkeypatch)
    enhance(make_images(count, 64, 64, 1), backbone, one)
    assert len(calls) == expected


def test_compiled_networks_follow_each_images_degradation_and_shared_normalisation(degradation, monkeypatch):
    # traced, but no code made, and of one network, which shows all and takes a fraction of the time
    original, compiled = nn.Module.compile, []

    def trace(network, **options):
        compiled.append(type(network).__name__)
        if compiled[-1] == "Encoder":
            original(network, backend="eager", **options)

    monkeypatch.setattr(nn.Module, "compile", trace)
    backbone = make_backbone()
    images, large = make_images(2, 64, 64, 1), make_images(1, 64, 320, 1, seed=1)
    single = DegradationVectors(degradation.vectors[1:], degradation.weights)
    plain = enhance(images, backbone, degradation), enhance(large, backbone, single, tile=256)
    backbone.compile()
    assert_close(enhance(images, backbone, degradation), plain[0], 1e-4)
    assert_close(enhance(large, backbone, single, tile=256), plain[1], 1e-4)
    assert compiled == ["UNet2DConditionModel", "Encoder", "Decoder"]
    with (
        pytest.raises(ValueError, match="folding needs one"),
        backbone.adapted(degradation.weights.adapter.modulate(degradation.vectors)),
    ):
        pass


def test_strength(backbone, one):
    image = make_images(1, 40, 40, 1)
    results = {strength: enhance(image, backbone, one, strength=strength) for strength in (0, 0.5, 1, 2)}
    values = list(results.values())
    for first, second in zip(values, values[1:], strict=False):
        assert (first - second).abs().mean() > 1e-3
    bare = DiffusersBackbone(backbone.unet, backbone.vae, name="bare")
    bare.text_embedding = one.weights.text_embedding
    assert_same(results[0], enhance(image, bare, None))


def test_two_runs_are_equal(device, one):
    backbone = make_backbone()
    for network in (backbone.unet, backbone.vae):
        network.to(device)
    image = make_images(2, 65, 100, 1)
    own = DegradationVectors(one.vectors, make_weights())
    first, second = (enhance(image, backbone, own) for _ in range(2))
    assert_same(first, second)
    assert first.device.type == "cpu"


def test_devices_agree(device, one):
    backbone = make_backbone()
    for network in (backbone.unet, backbone.vae):
        network.to(device)
    image = make_images(1, 64, 64, 1)
    on_cpu = enhance(image, make_backbone(), one)
    tolerance = 1e-5 if device.type == "cpu" else 5e-3  # TF32 convolutions
    assert_close(
        enhance(image.to(device), backbone, DegradationVectors(one.vectors, make_weights())), on_cpu, tolerance
    )


def test_the_weights_can_be_trained_afterwards(device, one):
    """Inference leaves ordinary parameters behind, not ones that autograd refuses."""
    backbone, weights = make_backbone(), make_weights()
    for network in (backbone.unet, backbone.vae):
        network.to(device)
    enhance(make_images(1, 64, 64, 1), backbone, DegradationVectors(one.vectors, weights))
    adapter = weights.adapter.requires_grad_(True)
    adapter.modulate(one.vectors.to(next(adapter.parameters()))).sigma["unet"].sum().backward()
    assert adapter.heads["unet"].fuse.weight.grad.any()


# --- tiles -----------------------------------------------------------------------------------------------------------


def jumps(image: torch.Tensor, axis: int) -> torch.Tensor:
    """Largest difference of neighbours at each position along an axis."""
    return image.diff(dim=axis).abs().amax(dim=tuple({0, 1, 2, 3} - {axis}))


def test_tiled_equals_untiled_on_a_smooth_image(tiny):
    backbone, weights = tiny
    image = smooth(384, 448)
    degradation = estimate(image, weights)
    whole = enhance(image, backbone, degradation, tile=None)
    tiled = enhance(image, backbone, degradation, tile=256)
    assert (tiled - whole).abs().mean() <= 2 / 255
    for axis in (1, 2):
        parts = spans(image.shape[axis], 256, 32)
        borders = [edge for part in parts for edge in (part.slice.start - 1, part.slice.stop - 1)]
        inside = [edge for edge in borders if 0 <= edge < image.shape[axis] - 1]
        assert len(inside) == 2
        assert jumps(tiled, axis)[inside].max() <= jumps(whole, axis).max()


@pytest.mark.parametrize("size", [(256, 256), (257, 400), (100, 1100), (700, 513)])
def test_tiles_cover_the_image_exactly(size):
    image = make_images(1, *size, 1)
    backbone = EchoBackbone()
    assert_close(echo(image, backbone, tile=256)[0], image[0], 1e-5)
    assert max(h * w for _, h, w in backbone.sizes) <= 320 * 256  # a tile, padded where the image is narrower
    whole = EchoBackbone()
    assert_close(echo(image, whole, tile=None)[0], image[0], 1e-6)
    assert len(whole.sizes) == 1


def test_results_that_are_not_finite_are_an_error():
    backbone = EchoBackbone()
    backbone.decode = lambda latent: latent * float("nan")
    with pytest.raises(ValueError, match="bf16 or fp32"):
        echo(make_images(1, 64, 64, 1), backbone)


def test_large_images_are_tiled_by_themselves():
    backbone = EchoBackbone()
    image = make_images(1, 1100, 1500, 1)
    assert_close(echo(image, backbone)[0], image[0], 1e-5)
    assert len(backbone.sizes) == 1 + 2 * 2  # overview and tiles
    assert max(n * h * w for n, h, w in backbone.sizes) <= 1024 * 1024


@pytest.mark.parametrize(("count", "size", "largest"), [(40, (256, 256), 16), (3, (1024, 1024), 1), (5, (100, 100), 5)])
def test_batches_stay_within_the_pixel_budget(count, size, largest):
    backbone = EchoBackbone()
    results = echo(make_images(1, *size, 1).expand(count, -1, -1, -1), backbone)
    assert len(results) == count == sum(batch for batch, *_ in backbone.sizes)
    assert max(batch for batch, *_ in backbone.sizes) == largest


@pytest.mark.parametrize("size", [(1, 1), (2, 65)])
def test_padding_counts_in_the_pixel_budget(size):
    """Each tiny image is padded to 64 × 64 and costs as much."""
    backbone = EchoBackbone()
    echo(make_images(1, *size, 1).expand(700, -1, -1, -1), backbone)
    assert max(batch * height * width for batch, height, width in backbone.sizes) <= 1024 * 1024


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "sides"), [(512, [1024, 512]), (256, [1024, 512, 256])])
def test_tiles_are_halved_when_memory_runs_out(limit, sides, caplog):
    backbone = EchoBackbone(limit**2)
    image = make_images(1, 1000, 900, 1)
    assert_close(echo(image, backbone)[0], image[0], 1e-5)
    assert backbone.freed == len(sides) - 1
    assert backbone.sizes[0] == (1, 1024, 960)  # the whole image, padded
    for (_, h, w), side in zip(backbone.sizes[1:], sides[1:], strict=False):  # overviews, as large as a tile
        assert 0.5 * side**2 <= h * w <= side**2
    assert [r.message for r in caplog.records] == [
        f"out of memory; trying again with tiles of {s} pixels" for s in sides[1:]
    ]


def test_out_of_memory_is_raised_when_nothing_helps():
    backbone = EchoBackbone(255**2)
    with pytest.raises(torch.OutOfMemoryError, match="too large"):
        echo(make_images(1, 1000, 900, 1), backbone)
    assert backbone.sizes[-1][1] <= 320  # the overview, as large as the smallest tile


def test_small_image_out_of_memory_is_raised_at_once():
    backbone = EchoBackbone(0)
    with pytest.raises(torch.OutOfMemoryError):
        echo(make_images(1, 200, 200, 1), backbone)
    assert len(backbone.sizes) == 1


def test_a_batch_out_of_memory_runs_one_by_one():
    backbone = EchoBackbone(256**2)
    images = make_images(3, 256, 200, 1)
    assert_close(torch.stack(echo(images, backbone)), images, 1e-6)
    assert backbone.sizes == [(3, 256, 256), *[(1, 256, 256)] * 3], "every image runs once"


def test_failed_allocations_on_a_cpu_are_recognised():
    """PyTorch raises a plain RuntimeError there: asking for more memory than any machine has shows which."""

    class Greedy(EchoBackbone):
        def encode(self, images):
            self.sizes.append((len(images), *images.shape[-2:]))
            if images.shape[-2] * images.shape[-1] > 512**2:
                torch.empty(2**55, dtype=torch.uint8)
            return images

    backbone = Greedy()
    image = make_images(1, 700, 600, 1)
    assert_close(echo(image, backbone)[0], image[0], 1e-5)
    assert backbone.freed == 1


def test_a_backbone_without_baked_degradation_needs_one(backbone):
    with pytest.raises(ValueError, match="has no degradation baked into it"):
        enhance(make_images(1, 64, 64, 1), backbone, None)


def test_restraint_sees_the_same_frequencies_at_every_upscale(backbone, one):
    """The restraint's cut-off is in pixels of the input, whatever the factor of enlargement."""
    factors = []

    class Watching(Restraint):
        def apply(self, before, after, vectors, *, factor=1, corrected=None):
            factors.append(factor)
            return super().apply(before, after, vectors, factor=factor, corrected=corrected)

    restraint = make_restraint()
    watching = Watching(restraint.weight, restraint.bias, restraint.cutoff)
    restrained = DegradationVectors(one.vectors, replace(one.weights, restraint=watching))
    for upscale in (1, 2, 4):
        enhance(make_images(1, 20, 30, 1), backbone, restrained, upscale=upscale)
    assert factors == [1, 2, 4]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, ValueError])
def test_other_errors_are_not_retried(error):
    backbone = EchoBackbone(0, error)
    with pytest.raises(error, match="too large"):
        echo(make_images(1, 900, 900, 1), backbone)
    assert len(backbone.sizes) == 1


class _NoMemoryToDecode(DiffusersBackbone):
    def decode(self, latent):
        raise torch.OutOfMemoryError("no memory left")


@pytest.mark.parametrize("tile", ["auto", 256])
def test_nothing_is_left_after_out_of_memory(one, tile):
    plain = make_backbone()
    backbone = _NoMemoryToDecode(plain.unet, plain.vae, name="full")
    with unchanged(plain.unet, plain.vae), pytest.raises(torch.OutOfMemoryError, match="no memory left"):
        enhance(make_images(1, 64, 320, 1), backbone, one, tile=tile)


# --- progress --------------------------------------------------------------------------------------------------------


def test_progress_reaches_one():
    shares, finished = [], []

    def progress(share, image=None):
        shares.append(share)
        finished.extend([] if image is None else [image])

    images = [make_images(64, 64, 1), make_images(700, 300, 3), make_images(64, 64, 1)]
    results = echo(images, EchoBackbone(), tile=256, progress=progress)
    assert shares == sorted(shares)
    assert shares[0] > 0
    assert shares[-1] == 1
    assert len(shares) > 6
    assert max(after - before for before, after in pairwise([0, *shares])) < 0.2  # one image is a third of the work
    assert len(finished) == 3
    for ours, theirs in zip(finished, results, strict=True):
        assert_same(ours, theirs)


class _Cancelled(BaseException):
    pass


@pytest.mark.parametrize("fold", [False, True])
def test_cancelling_between_tiles_leaves_nothing(backbone, one, fold):
    shares = []

    def cancel(share, image=None):
        shares.append(share)
        raise _Cancelled

    with unchanged(backbone.unet, backbone.vae), pytest.raises(_Cancelled):
        enhance(make_images(1, 64, 300, 1), backbone, one, tile=256, fold=fold, progress=cancel)
    assert shares == [pytest.approx(1 / 9)]  # a third of the overview, which two tiles follow


# --- errors ----------------------------------------------------------------------------------------------------------

GOOD = make_images(1, 64, 64, 1)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (GOOD * float("nan"), {}, "image 1 of 1 has .* NaN"),
        ([make_images(9, 9, 1), make_images(9, 9, 1) / 0], {}, "image 2 of 2 has .* infinite"),
        (torch.zeros(0, 64, 64, 1), {}, "no images"),
        ([], {}, "no images"),
        (torch.zeros(1, 0, 5, 1), {}, "empty"),
        (torch.zeros(1, 64, 64, 5), {}, "1 to 4 channels"),
        (GOOD * 255, {}, r"\[0, 1\] is expected"),
        ((GOOD * 255).byte(), {}, "floats in"),
        (GOOD, {"strength": -0.1}, "strength must be from 0 to 2, got -0.1"),
        (GOOD, {"strength": 2.1}, "strength must be"),
        (GOOD, {"strength": float("nan")}, "strength must be"),
        (GOOD, {"upscale": 0}, "upscale must be 1, 2, 3 or 4, got 0"),
        (GOOD, {"upscale": 1.5}, "upscale must be"),
        (GOOD, {"tile": 128}, "tile must be .* from 256 pixels up, got 128"),
        (GOOD, {"tile": 300}, "tile must be .*multiple of 64"),
        (GOOD, {"tile": "large"}, "tile must be"),
        (make_images(3, 64, 64, 1), {}, "2 degradation vectors for 3 images"),
        (GOOD, {}, "2 degradation vectors for 1 images"),
        (make_images(2, 64, 64, 1), {"fold": True}, "one degradation vector, not 2"),
    ],
)
def test_bad_input(backbone, degradation, images, options, message):
    with unchanged(backbone.unet, backbone.vae), pytest.raises(ValueError, match=message):
        enhance(images, backbone, degradation, **options)


def test_weights_for_another_backbone(tiny, one):
    with pytest.raises(ValueError, match="the weights are for another backbone"):
        enhance(GOOD, tiny[0], one)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (torch.zeros(256), r"shape \(256,\); expected \[B >= 1, 256\]"),
        (torch.zeros(2, 255), r"shape \(2, 255\)"),
        (torch.zeros(0, 256), "B >= 1"),
        (torch.full((1, 256), float("nan")), "not finite"),
    ],
)
def test_bad_vectors(weights, vectors, message):
    with pytest.raises(ValueError, match=message):
        DegradationVectors(vectors, weights)


# --- estimation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_estimate(weights, size, channels):
    degradation = estimate(make_images(2, *size, channels), weights)
    assert degradation.weights is weights
    assert len(degradation) == 2
    assert degradation.vectors.shape == (2, 256)
    assert degradation.vectors.dtype == torch.float32
    assert torch.isfinite(degradation.vectors).all()


@torch.no_grad()
def test_estimate_is_the_dem_on_grey(weights):
    image = make_images(1, 50, 70, 1)
    expected = weights.estimator((image.movedim(-1, 1) * 2 - 1).expand(-1, 3, -1, -1))
    assert_same(estimate(image, weights).vectors, expected)
    assert_same(estimate(image.expand(-1, -1, -1, 3), weights).vectors, expected)


def test_estimate_of_a_list_equals_singles(weights):
    images = [make_images(*size, 1, seed=i) for i, size in enumerate(SIZES)]
    degradation = estimate(images, weights)
    for row, image in enumerate(images):
        assert_same(degradation.vectors[row : row + 1], estimate([image], weights).vectors)


@torch.no_grad()
def test_large_images_are_read_in_windows(weights):
    image = make_images(1, 40, 1500, 1)
    grey = image.movedim(-1, 1).expand(-1, 3, -1, -1) * 2 - 1
    windows = [weights.estimator.pooled(grey[..., start : start + 1024]) for start in (0, 476)]
    expected = weights.estimator.head(torch.stack(windows).mean(0))
    assert_close(estimate(image, weights).vectors, expected, 1e-5)


@pytest.mark.parametrize("images", [[], torch.zeros(0, 4, 4, 1), GOOD * float("nan"), GOOD * 3])
def test_estimate_of_bad_images(weights, images):
    with pytest.raises(ValueError, match="image"):
        estimate(images, weights)
