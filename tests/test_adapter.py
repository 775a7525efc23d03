"""The adapter: the reference's numbers, and what must hold of attaching and folding on any network."""

import copy

import pytest
import torch
import torch.nn.functional as F
from helpers.reference import (
    adapted,
    assert_close,
    assert_same,
    load,
    make_adapter,
    make_backbone,
    make_small_dem,
    meta,
    network_states,
    run,
    unchanged,
)
from torch import nn

from hidra_core.adapter import NETWORKS, Adapter, ConvIn, LowRankLayers, ModulatedAdapter, lora_targets
from hidra_core.modulation import ModulationHead

TOLERANCES = {"latent": 1e-4, "noise_prediction": 1e-4, "denoised_latent": 1e-3, "enhanced": 1e-4}
WAYS = [ModulatedAdapter.attached, ModulatedAdapter.folded]


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    return make_adapter().requires_grad_(False)


@pytest.fixture(scope="module", params=[torch.contiguous_format, torch.channels_last], ids=["contiguous", "last"])
def placed(request, device):
    """The reference backbone on each device in each memory layout."""
    backbone = make_backbone()
    for network in (backbone.unet, backbone.vae):
        network.to(device=device, memory_format=request.param)
    return backbone


@torch.no_grad()
def results(backbone, adapter, rows=slice(None), strength=1.0, attach=ModulatedAdapter.attached, vectors=None):
    """One adapted pass over the reference images ``rows``."""
    reference = load("enhance")
    device, dtype = backbone.device, backbone.dtype
    vectors = reference["degradation_vector"][rows] if vectors is None else vectors
    modulated = copy.deepcopy(adapter).to(device).modulate(vectors.to(device), strength)
    with adapted(backbone, modulated, attach):
        return run(backbone, reference["image"][rows].to(device, dtype), reference["text_embedding"])


@torch.no_grad()
def plain_results(backbone, rows=slice(None)):
    reference = load("enhance")
    return run(backbone, reference["image"][rows], reference["text_embedding"])


def assert_all_close(actual, expected, scale=1.0):
    for key, tolerance in TOLERANCES.items():
        assert_close(actual[key], expected[key], tolerance * scale)


def one_image(adapter, strength=1.0) -> ModulatedAdapter:
    return adapter.modulate(load("enhance")["degradation_vector"][:1], strength)


def test_targets_are_the_authors():
    for network in NETWORKS:
        modules = [key.removesuffix(".weight") for key in network_states()[network] if key.endswith(".weight")]
        assert sorted(lora_targets(network, modules)) == sorted(meta()[f"lora_layers_{network}"])


def test_hooked_reference_numbers(placed, adapter):
    assert_all_close(results(placed, adapter), load("enhance"))


@pytest.mark.parametrize("row", [0, 1])
def test_folded_reference_numbers(placed, adapter, row):
    rows = slice(row, row + 1)
    expected = {key: tensor[rows] for key, tensor in load("enhance").items()}
    assert_all_close(results(placed, adapter, rows, attach=ModulatedAdapter.folded), expected)


@pytest.mark.parametrize("row", [0, 1])
def test_each_image_of_a_batch_as_alone(backbone, adapter, row):
    rows = slice(row, row + 1)
    both, alone = results(backbone, adapter), results(backbone, adapter, rows)
    assert_all_close(alone, {key: tensor[rows] for key, tensor in both.items()})
    assert (both["enhanced"][0] - both["enhanced"][1]).abs().max() > 0.1


@torch.no_grad()
def test_rows_of_a_modulated_adapter(backbone, adapter):
    reference = load("enhance")
    second = adapter.modulate(reference["degradation_vector"]).rows(slice(1, 2))
    with adapted(backbone, second):
        actual = run(backbone, reference["image"][1:], reference["text_embedding"])
    assert len(second) == 1
    assert_all_close(actual, {key: tensor[1:] for key, tensor in reference.items() if key in actual})


def test_one_vector_serves_a_batch(backbone, adapter):
    vector = load("enhance")["degradation_vector"][:1]
    assert_all_close(
        results(backbone, adapter, vectors=vector), results(backbone, adapter, vectors=vector.repeat(2, 1))
    )


@torch.no_grad()
def test_stacked_conditional_halves(backbone, adapter):
    reference = load("enhance")
    latent = reference["latent"]
    modulated = adapter.modulate(reference["degradation_vector"])
    with modulated.attached("unet", backbone.lookup("unet")):
        stacked = backbone.predict_noise(torch.cat([latent, latent]), reference["text_embedding"])
    for half in stacked.chunk(2):
        assert_close(half, reference["noise_prediction"], 1e-4)


@torch.no_grad()
def test_vectors_that_do_not_serve_the_batch(backbone, adapter):
    reference = load("enhance")
    modulated = adapter.modulate(reference["degradation_vector"])
    with unchanged(backbone.unet, backbone.vae):
        with (
            pytest.raises(ValueError, match="2 degradation vectors cannot serve a batch of 3"),
            adapted(backbone, modulated),
        ):
            backbone.encode(reference["image"][[0, 1, 0]])
        with (
            pytest.raises(ValueError, match="one degradation vector, not 2"),
            adapted(backbone, modulated, ModulatedAdapter.folded),
        ):
            pass


@pytest.mark.parametrize("attach", WAYS)
def test_no_trace_is_left(backbone, adapter, attach):
    with unchanged(backbone.unet, backbone.vae):
        before = plain_results(backbone, slice(1))
        results(backbone, adapter, slice(1), attach=attach)
        after = plain_results(backbone, slice(1))
    assert_same(after["enhanced"], before["enhanced"])


class _Stopped(BaseException):
    """Like the host's cancel, which is no Exception."""


@pytest.mark.parametrize("attach", WAYS)
@pytest.mark.parametrize("failing", ["block", "unet", "vae"])
@torch.no_grad()
def test_no_trace_is_left_when_the_call_raises(backbone, adapter, attach, failing, monkeypatch):
    def stop(*args, **kwargs):
        raise _Stopped

    reference = load("enhance")

    def run_adapted():
        with adapted(backbone, one_image(adapter), attach):
            if failing == "unet":
                monkeypatch.setattr(backbone.unet.mid_block.resnets[1], "forward", stop)
            if failing == "vae":
                monkeypatch.setattr(backbone.vae.encoder.mid_block.attentions[0], "forward", stop)
            if failing == "block":
                stop()
            run(backbone, reference["image"][:1], reference["text_embedding"])

    with unchanged(backbone.unet, backbone.vae), pytest.raises(_Stopped):
        run_adapted()


@pytest.mark.parametrize("attach", WAYS)
def test_no_trace_is_left_when_a_layer_is_missing(backbone, adapter, attach):
    names = adapter.layers["unet"].names

    def lookup(name):
        if name == names[len(names) // 2]:
            raise AttributeError(name)
        return backbone.unet.get_submodule(name)

    with (
        unchanged(backbone.unet, backbone.vae),
        pytest.raises(AttributeError),
        attach(one_image(adapter), "unet", lookup),
    ):
        pass


@pytest.mark.parametrize("attach", WAYS)
def test_strength_zero_is_the_backbone(backbone, adapter, attach):
    actual = results(backbone, adapter, slice(1), strength=0, attach=attach)
    for key, tensor in plain_results(backbone, slice(1)).items():
        assert_same(actual[key], tensor)


@pytest.mark.parametrize("attach", WAYS)
@pytest.mark.parametrize("layer", ["conv_in", "conv_out", "down_blocks.0.attentions.0.proj_in"])
@torch.no_grad()
def test_a_layer_is_linear_in_strength(backbone, adapter, attach, layer):
    module = backbone.unet.get_submodule(layer)
    shape = (1, module.in_channels, 8, 8) if isinstance(module, nn.Conv2d) else (1, 5, module.in_features)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    outputs = {}
    for strength in (0.0, 0.5, 1.0, 1.5):
        with attach(one_image(adapter, strength), "unet", backbone.lookup("unet")):
            outputs[strength] = module(x)
    change = outputs[1.0] - outputs[0.0]
    assert change.abs().max() > 1e-2
    assert_close(outputs[0.5], outputs[0.0] + 0.5 * change, 1e-5)
    assert_close(outputs[1.5], outputs[0.0] + 1.5 * change, 1e-5)


@torch.no_grad()
def test_full_strength_replaces_conv_in(backbone, adapter):
    x = load("enhance")["latent"][:1]
    with one_image(adapter).attached("unet", backbone.lookup("unet")):
        actual = backbone.unet.conv_in(x)
    assert_close(actual, F.conv2d(x, adapter.conv_in.weight, adapter.conv_in.bias, padding=1), 1e-6)


@torch.no_grad()
def test_identity_sigma_is_plain_lora(backbone, adapter):
    """Written out: every weight plus ``s·U V``, on a copy."""
    identity = {network: torch.eye(head.rank).expand(1, head.blocks, -1, -1) for network, head in adapter.heads.items()}
    reference = load("enhance")
    with adapted(backbone, ModulatedAdapter(adapter, identity, 1.0)):
        actual = run(backbone, reference["image"], reference["text_embedding"])

    explicit = make_backbone()
    for network, scale in (("unet", 0.25), ("vae", 0.5)):
        layers = adapter.layers[network]
        for name, down, up in zip(layers.names, layers.down, layers.up, strict=True):
            weight = explicit.lookup(network)(name).weight
            weight += scale * (up @ down.flatten(1)).view(weight.shape)
    explicit.unet.conv_in.load_state_dict(adapter.conv_in.state_dict())
    assert_all_close(actual, run(explicit, reference["image"], reference["text_embedding"]))


@pytest.mark.parametrize("attach", WAYS)
def test_a_fresh_adapter_changes_nothing(backbone, attach):
    fresh = Adapter.for_networks(backbone.unet, backbone.vae)
    assert [fresh.layers[n].scale for n in NETWORKS] == [0.25, 0.5]
    assert_all_close(results(backbone, fresh, slice(1), attach=attach), plain_results(backbone, slice(1)), scale=0.1)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_attention_projections_as_linear_and_as_convolution(memory_format):
    """Diffusers' VAE projects with Linear where ComfyUI's has 1×1 convolutions: the same numbers on both."""
    generator = torch.Generator().manual_seed(0)
    linear, conv = nn.Linear(24, 16), nn.Conv2d(24, 16, 1).to(memory_format=memory_format)
    conv.weight.copy_(linear.weight[:, :, None, None])
    conv.bias.copy_(linear.bias)
    maps = torch.randn(2, 24, 5, 6, generator=generator).to(memory_format=memory_format)
    rows = maps.flatten(2).transpose(1, 2)
    down, up = torch.randn(4, 24, generator=generator), torch.randn(16, 4, generator=generator)
    name = "encoder.mid_block.attentions.0.to_q"
    sigma = torch.randn(2, 6, 4, 4, generator=generator)
    outputs = []
    for kernel in ((), (1, 1)):  # the weights file may have either form, too
        layers = LowRankLayers({name: (down.view(4, 24, *kernel), up.view(16, 4, *kernel))})
        unet = LowRankLayers({"conv_out": (down, up)})
        small = Adapter(
            {"unet": unet, "vae": layers},
            {"unet": ModulationHead(10, 4), "vae": ModulationHead(6, 4)},
            ConvIn(torch.zeros(1, 1, 3, 3), torch.zeros(1)),
        )
        modulated = ModulatedAdapter(small, {"unet": sigma, "vae": sigma}, 1.0)
        single = modulated.rows(slice(1))
        for module, x in ((linear, rows), (conv, maps)):
            lookup = {name: module}.__getitem__
            small.check_fits("vae", lookup)
            with unchanged(module):
                with modulated.attached("vae", lookup):
                    hooked = module(x)
                with single.folded("vae", lookup):
                    folded = module(x[:1])
            hooked, folded = (t if t.ndim == 3 else t.flatten(2).transpose(1, 2) for t in (hooked, folded))
            assert_close(folded, hooked[:1], 1e-4)
            outputs.append(hooked)
    scale = 8 / 4
    expected = linear(rows) + scale * ((rows @ down.T) @ sigma[:, 4]) @ up.T
    for output in outputs:
        assert_close(output, expected, 1e-4)


def test_gradients_reach_every_parameter(backbone):
    adapter, dem = make_adapter(), make_small_dem()
    dem.backbone.requires_grad_(False)
    reference = load("enhance")
    images = reference["image"][:1, :, :, :64]
    with adapted(backbone, adapter.modulate(dem(images))):
        run(backbone, images, reference["text_embedding"])["enhanced_unclamped"].square().mean().backward()
    parameters = dict(adapter.named_parameters()) | {f"dem.{name}": p for name, p in dem.named_parameters()}
    trained = {name: p.grad for name, p in parameters.items() if p.requires_grad}
    assert {"conv_in.weight", "heads.unet.embedding", "layers.vae.down.0", "dem.head.0.weight"} <= set(trained)
    assert [name for name, grad in trained.items() if grad is None or not grad.any()] == []
    assert all(p.grad is None for p in backbone.unet.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("attach", WAYS)
def test_half_precision_is_as_close_as_the_backbones_own(backbone, device, adapter, dtype, attach):
    if dtype == torch.float16 and device.type == "cpu":
        pytest.skip("fp16 convolutions take seconds on CPUs")
    half = make_backbone()
    for network in (half.unet, half.vae):
        network.to(device, dtype)

    def errors(actual, exact):
        return {key: (actual[key].cpu().float() - exact[key][:1]).norm() / exact[key][:1].norm() for key in TOLERANCES}

    plain = errors(results(half, adapter, slice(1), strength=0), plain_results(backbone, slice(1)))
    actual = results(half, adapter, slice(1), attach=attach)
    assert {tensor.dtype for tensor in actual.values()} == {dtype}
    for key, error in errors(actual, load("enhance")).items():
        assert error < 1.5 * plain[key] < 0.15, key


def test_fits_the_reference(backbone, adapter):
    for network in NETWORKS:
        adapter.check_fits(network, backbone.lookup(network))


@pytest.mark.parametrize(
    ("network", "layer"),
    [("unet", "up_blocks.3.resnets.0.conv1"), ("unet", "conv_in"), ("vae", "encoder.conv_out")],
)
@pytest.mark.parametrize("replacement", ["nothing", "another shape", "no weight"])
def test_another_backbone_is_named(backbone, adapter, network, layer, replacement):
    def lookup(name):
        if name != layer:
            return backbone.lookup(network)(name)
        if replacement == "nothing":
            raise KeyError(name)
        return nn.Conv2d(3, 7, 3) if replacement == "another shape" else nn.Identity()

    with pytest.raises(ValueError, match=rf"another backbone.*{network} layer '{layer}'"):
        adapter.check_fits(network, lookup)
