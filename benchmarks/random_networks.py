"""Networks of chosen sizes with random weights, made on the device that they are for: no file is read or written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from hidra_core.adapter import NETWORKS, Adapter
from hidra_core.backbone import SD_TURBO_UNET, SD_TURBO_VAE, DiffusersBackbone, build_diffusers
from hidra_core.dem import DegradationEstimator, build_dinov2
from hidra_core.weights import DINOV2_BASE, Weights


@dataclass(frozen=True)
class Sizes:
    """Sizes of networks and images.

    Attributes:
        unet: arguments of diffusers' ``UNet2DConditionModel``.
        vae: arguments of ``AutoencoderKL``.
        thin: arguments of ``AutoencoderTiny``.
        dinov2: see :func:`hidra_core.dem.build_dinov2`.
        vit: arguments of transformers' ``ViTConfig``, for the discriminator.
        perceptual: loss of training, see ``train/method/config.py``.
        crop: side in pixels of the crops of training.
        iterations: kinds of iterations of training, of ``bilevel.ITERATIONS``.
        images: height and width in pixels.
        batches: numbers of images.
        tiny_batches: the same for hidra-tiny.
    """

    unet: dict[str, Any]
    vae: dict[str, Any]
    thin: dict[str, Any]
    dinov2: dict[str, int]
    vit: dict[str, int]
    perceptual: str
    crop: int
    iterations: tuple[str, ...]
    images: tuple[tuple[int, int], ...]
    batches: tuple[int, ...]
    tiny_batches: tuple[int, ...]


REAL_SIZE = Sizes(
    unet=SD_TURBO_UNET,
    vae=SD_TURBO_VAE,
    thin={},  # the defaults are TAESD's
    dinov2=DINOV2_BASE,
    vit={},  # the defaults are ViT-B/16's
    perceptual="lpips",
    crop=512,
    iterations=("ordinary", "bi-level"),
    images=((512, 512), (512, 640)),
    batches=(1, 8),
    tiny_batches=(1, 8, 32),
)
MINIATURE = Sizes(
    unet={
        **SD_TURBO_UNET,
        "layers_per_block": 1,
        "block_out_channels": [32, 32],
        "attention_head_dim": 2,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "cross_attention_dim": 16,
    },
    vae={**SD_TURBO_VAE, "layers_per_block": 1, "block_out_channels": [32, 32, 32, 32]},
    thin={"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4},
    dinov2={**DINOV2_BASE, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 56},
    vit={"hidden_size": 32, "num_hidden_layers": 9, "num_attention_heads": 2, "intermediate_size": 32},
    perceptual="structure",
    crop=64,
    iterations=("ordinary",),
    images=((64, 64),),
    batches=(2,),
    tiny_batches=(1,),
)


def random_backbone(sizes: Sizes, device: torch.device, dtype: torch.dtype) -> DiffusersBackbone:
    """A frozen backbone in evaluation mode, in the memory format of a loaded one.

    Args:
        sizes: of its networks.
        device: to make it on.
        dtype: of its parameters.
    """
    torch.manual_seed(0)
    with device:
        parts: list[Any] = list(build_diffusers(sizes.unet, sizes.vae))
    for network in parts:
        network.requires_grad_(False).to(dtype=dtype, memory_format=torch.channels_last)
    return DiffusersBackbone(*parts, name="sd-turbo")


def random_weights(sizes: Sizes, backbone: DiffusersBackbone) -> Weights:
    """Weights for a backbone, in fp32 on the CPU as :func:`hidra_core.load_weights` gives them.

    Args:
        sizes: of the DEM.
        backbone: that they adapt.
    """
    with backbone.device:
        adapter = Adapter.for_networks(backbone.unet, backbone.vae)
        for network in NETWORKS:
            for up in adapter.layers[network].up:
                torch.nn.init.normal_(up, std=0.02)
            torch.nn.init.normal_(adapter.heads[network].fuse.bias, std=0.1)
        estimator = DegradationEstimator(build_dinov2(sizes.dinov2))
    for module in (adapter, estimator):
        module.to("cpu", torch.float32).eval().requires_grad_(False)
    return Weights(estimator, adapter, torch.randn(1, 77, sizes.unet["cross_attention_dim"]), backbone.name)
