"""The method's reference numbers and the networks they were made with.

``vectors/`` holds inputs and outputs of the authors' own program on a small backbone. No weights are stored there:
every parameter follows from its name by :func:`formula`, so that any test rebuilds them.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hidra_core import Backbone, DiffusersBackbone, Weights
from hidra_core.adapter import NETWORKS, Adapter, ConvIn, LowRankLayers, ModulatedAdapter, Network
from hidra_core.backbone import build_diffusers, denoise_step
from hidra_core.dem import DegradationEstimator, build_dinov2
from hidra_core.modulation import ModulationHead
from hidra_core.readouts import KINDS, MAPS, Kind, Probes, Restraint, directions

VECTORS = Path(__file__).parent / "vectors"
RANKS = {"unet": 32, "vae": 16}
BLOCKS = {"unet": 10, "vae": 6}
TEMPERATURE = 3.7
HEAD_PARTS = {"degradation": "de_mlp.0", "block": "block_mlp.0", "fuse": "fuse_mlp"}
DEM_PARTS = {"attention": "0", "head.0": "3", "head.1": "4", "head.3": "6"}
SMALL_DINOV2 = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_register_tokens": 3,
    "patch_size": 14,
    "image_size": 56,
}


def formula(name: str, shape: tuple[int, ...]) -> Tensor:
    """The values of the reference tensor called ``name``."""
    count = math.prod(shape)
    phase = 2 * math.pi * zlib.crc32(name.encode()) / 2**32
    s = 43758.5453 * np.sin(phase + 12.9898 * np.arange(count, dtype=np.float64))
    u = 2 * (s - np.floor(s)) - 1
    if len(shape) >= 2:
        u = u * math.sqrt(3 / math.prod(shape[1:]))
    else:
        u = 0.05 * u if name.endswith("bias") else 1 + 0.1 * u
    return torch.from_numpy(u.astype(np.float32)).reshape(shape)


@cache
def meta() -> dict:
    return json.loads((VECTORS / "meta.json").read_text(encoding="utf-8"))


@cache
def load(name: str) -> dict[str, Tensor]:
    """Inputs and outputs of ``dem``, ``modulation`` or ``enhance``; shared between tests, not to be changed."""
    return load_file(VECTORS / f"{name}.safetensors")


@cache
def network_states() -> dict[Network, dict[str, Tensor]]:
    """The parameters of ``unet`` and ``vae`` under diffusers' names; shared between tests, not to be changed."""
    with torch.device("meta"):
        networks = build_diffusers(meta()["unet_config"], meta()["vae_config"])
    return {
        network: {key: formula(f"{network}.{key}", tuple(t.shape)) for key, t in module.state_dict().items()}
        for network, module in zip(NETWORKS, networks, strict=True)
    }


def make_backbone() -> DiffusersBackbone:
    """The reference backbone, fp32 on the CPU, a new one at every call."""
    with torch.device("meta"):
        networks = build_diffusers(meta()["unet_config"], meta()["vae_config"])
    for network, module in zip(NETWORKS, networks, strict=True):
        state = {key: tensor.clone() for key, tensor in network_states()[network].items()}
        module.load_state_dict(state, assign=True)
        module.requires_grad_(False)
    return DiffusersBackbone(*networks, name="reference")


def make_layers(network: Network) -> LowRankLayers:
    layers, rank = {}, RANKS[network]
    for name in meta()[f"lora_layers_{network}"]:
        shape = network_states()[network][f"{name}.weight"].shape
        down = formula(f"{network}.{name}.lora_A", (rank, *shape[1:]))
        layers[name] = (down, formula(f"{network}.{name}.lora_B", (shape[0], rank)))
    return LowRankLayers(layers)


@torch.no_grad()
def make_head(network: Network) -> ModulationHead:
    head = ModulationHead(BLOCKS[network], RANKS[network])
    for ours, theirs in HEAD_PARTS.items():
        for key, parameter in head.get_submodule(ours).named_parameters():
            parameter.copy_(formula(f"{network}_{theirs}.{key}", tuple(parameter.shape)))
    head.embedding.copy_(formula(f"{network}_block_embeddings.weight", tuple(head.embedding.shape)))
    return head


def make_adapter() -> Adapter:
    """The reference adapter, with gradients."""
    conv_in = {
        key: formula(f"adapter.unet.conv_in.{key}", tuple(network_states()["unet"][f"conv_in.{key}"].shape))
        for key in ("weight", "bias")
    }
    return Adapter(
        {network: make_layers(network) for network in NETWORKS},
        {network: make_head(network) for network in NETWORKS},
        ConvIn(**conv_in),
    )


@torch.no_grad()
def make_reference_dem() -> DegradationEstimator:
    """MIA and head of the reference. Its DINOv2 has no weights: the vectors give the features it would see."""
    with torch.device("meta"):
        backbone = build_dinov2(SMALL_DINOV2 | {"hidden_size": 768, "num_attention_heads": 12})
    estimator = DegradationEstimator(backbone)
    for ours, theirs in DEM_PARTS.items():
        for key, parameter in estimator.get_submodule(ours).named_parameters():
            if key == "temperature":
                parameter.fill_(TEMPERATURE)
            else:
                parameter.copy_(formula(f"dem.adapter.{theirs}.{key}", tuple(parameter.shape)))
    return estimator


def make_small_dem(*, use_mia: bool = True, seed: int = 0, **dinov2: int) -> DegradationEstimator:
    """A whole DEM with random weights, for tests that need one to run; ``dinov2`` overrides :data:`SMALL_DINOV2`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return DegradationEstimator(build_dinov2(SMALL_DINOV2 | dinov2).eval(), use_mia=use_mia)


def make_weights(*, use_mia: bool = True) -> Weights:
    """The reference adapter with a small DEM, as a weights file would give it."""
    estimator, adapter = make_small_dem(use_mia=use_mia), make_adapter()
    for module in (estimator, adapter):
        module.eval().requires_grad_(False)
    return Weights(estimator, adapter, load("enhance")["text_embedding"], "reference", {"steps": 3})


def make_probes(seed: int = 0) -> Probes:
    """Probes with random weights of a full scale of 8 grey levels, present from 2."""
    generator = torch.Generator().manual_seed(seed)
    kinds = [Kind(name, "grey levels", 2.0, 8.0, {"accuracy": 0.75}) for name in KINDS]
    weight = {name: torch.randn(outputs, 256, generator=generator) for name, outputs in MAPS.items()}
    bias = {name: torch.randn(outputs, generator=generator) for name, outputs in MAPS.items()}
    return Probes(kinds, directions(weight, torch.eye(256)), weight, bias, {"level_accuracy": 0.5}, {"images": 3})


def make_restraint(seed: int = 0) -> Restraint:
    """A restraint with random weights."""
    generator = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(2, 256, generator=generator) * 0.3, torch.randn(2, generator=generator)
    return Restraint(weight, bias, 32.0, {"images": 3})


Attach = Callable[[ModulatedAdapter, Network, Callable], object]


@contextmanager
def adapted(
    backbone: Backbone, modulated: ModulatedAdapter, attach: Attach = ModulatedAdapter.attached
) -> Iterator[None]:
    """Both networks with the adapter on them, hooked (``ModulatedAdapter.attached``) or ``folded``."""
    with ExitStack() as stack:
        for network in NETWORKS:
            stack.enter_context(attach(modulated, network, backbone.lookup(network)))
        yield


def run(backbone: DiffusersBackbone, images: Tensor, text_embedding: Tensor) -> dict[str, Tensor]:
    """All intermediate results of one pass, under the names of ``enhance.safetensors``."""
    latent = backbone.encode(images)
    prediction = backbone.predict_noise(latent, text_embedding)
    clean = denoise_step(latent, prediction, backbone.prediction_type)
    decoded = backbone.decode(clean)
    return {
        "latent": latent,
        "noise_prediction": prediction,
        "denoised_latent": clean,
        "enhanced_unclamped": decoded,
        "enhanced": decoded.clamp(-1, 1),
    }


def assert_close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Every element within ``tolerance``, absolute; same shape and type."""
    torch.testing.assert_close(found.cpu(), expected.cpu(), rtol=0, atol=tolerance)


def assert_same(found: Tensor, expected: Tensor) -> None:
    """Bit for bit."""
    assert_close(found, expected, 0)


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@contextmanager
def unchanged(*modules: nn.Module) -> Iterator[None]:
    """Afterwards every parameter is the same object with the same bits, and no module has a hook."""

    def parameters() -> dict[str, Tensor]:
        return {f"{i}.{name}": p for i, module in enumerate(modules) for name, p in module.named_parameters()}

    before, copies = parameters(), {name: p.detach().clone() for name, p in parameters().items()}
    try:
        yield
    finally:
        after = parameters()
        assert list(after) == list(before)
        assert [name for name in before if after[name] is not before[name]] == []
        assert [name for name in copies if not torch.equal(copies[name], after[name])] == []
        inner = [m for module in modules for m in module.modules()]
        assert [m for m in inner if any(getattr(m, kind) for kind in _HOOKS)] == []
