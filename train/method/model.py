"""The method's networks put together for training: frozen backbone, DEM (ω) and adapter (θ)."""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hidra_core.adapter import NETWORKS, Adapter
from hidra_core.backbone import DiffusersBackbone, load_backbone
from hidra_core.convert import empty_prompt_embedding
from hidra_core.dem import DEGRADATION_WIDTH, FITS, DegradationEstimator, build_dinov2
from hidra_core.weights import DINOV2_BASE, Weights, load_dinov2, load_weights
from train.method.norm import speed_up_group_norm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from train.method.config import Config, Model


class Enhancer(nn.Module):
    """The method: degraded image to enhanced image, differentiable with respect to θ and ω, the backbone frozen.

    Args:
        backbone: of Stable Diffusion's family; it is frozen.
        estimator: the DEM; MIA and head are ω, its DINOv2 is frozen.
        adapter: θ.
        text_embedding: of the empty prompt, ``[1, 77, width]``.
        use_degradation: False: Σ is made to depend on the block alone, whatever the image.

    Attributes:
        images_enhanced: images that passed the networks so far.
    """

    unet: Any
    vae: Any
    text_embedding: Tensor

    def __init__(
        self,
        backbone: DiffusersBackbone,
        estimator: DegradationEstimator,
        adapter: Adapter,
        text_embedding: Tensor,
        *,
        use_degradation: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.unet, self.vae = backbone.unet, backbone.vae
        self.estimator = estimator
        self.adapter = adapter
        self.register_buffer("text_embedding", text_embedding.clone(), persistent=False)
        self.use_degradation = use_degradation
        self.images_enhanced = 0
        for part in (self.unet, self.vae, estimator.backbone):
            part.requires_grad_(False)
        if not use_degradation:
            # zero weights, so that Σ depends on the block alone in the exported file too, for any P
            for head in adapter.heads.values():
                for parameter in (*head.degradation.parameters(), head.fuse.weight):
                    parameter.data[..., :DEGRADATION_WIDTH] = 0
                head.degradation.requires_grad_(False)

    def theta(self) -> list[nn.Parameter]:
        """Lower-level parameters: low-rank branches, Σ heads, block embeddings, ``conv_in``."""
        return [parameter for parameter in self.adapter.parameters() if parameter.requires_grad]

    def omega(self) -> list[nn.Parameter]:
        """Upper-level parameters: MIA and head of the DEM; none where Σ does not depend on the image."""
        if not self.use_degradation:
            return []
        return [parameter for parameter in self.estimator.parameters() if parameter.requires_grad]

    def trained(self) -> dict[str, nn.Parameter]:
        """Names and tensors of θ and ω."""
        chosen = {id(parameter) for parameter in (*self.theta(), *self.omega())}
        return {name: parameter for name, parameter in self.named_parameters() if id(parameter) in chosen}

    def estimate(self, frames: Tensor) -> Tensor:
        """Degradation vectors of frames.

        Args:
            frames: ``[B, 1, H, W]`` in [-1, 1].

        Returns:
            ``[B, 256]``; zeros where Σ does not depend on the image.
        """
        if not self.use_degradation:
            return frames.new_zeros(frames.shape[0], DEGRADATION_WIDTH)
        estimator = self.estimator
        with torch.no_grad():  # DINOv2 is frozen, and nothing before it is trained
            pixels = estimator.backbone_input(frames.expand(-1, 3, -1, -1))
            features = estimator.backbone_features(pixels.to(next(estimator.backbone.parameters()).dtype))
        return estimator.head(estimator.interact([feature.float() for feature in features]).mean(dim=(2, 3)))

    @contextmanager
    def enhanced(self, degraded: Tensor, frames: Tensor) -> Iterator[Tensor]:
        """Enhanced images, valid within the block.

        The adapter stays attached for the block, as gradient checkpointing runs parts of the networks again in the
        backward pass.

        Args:
            degraded: ``[B, 1, H, W]`` in [-1, 1].
            frames: what the DEM reads of each, ``[B, 1, h, w]`` in [-1, 1].

        Yields:
            ``[B, 1, H, W]`` float32, not clamped: a clamp would stop the gradient where it is needed most.
        """
        self.images_enhanced += degraded.shape[0]
        images = degraded.expand(-1, 3, -1, -1).to(self.backbone.dtype)
        modulated = self.adapter.modulate(self.estimate(frames))
        with (
            modulated.attached("vae", self.backbone.lookup("vae")),
            modulated.attached("unet", self.backbone.lookup("unet")),
        ):
            latent = self.backbone.denoise(self.backbone.encode(images), self.text_embedding)
            yield self.backbone.decode(latent).float().mean(dim=1, keepdim=True)

    def weights(self, training: dict[str, Any]) -> Weights:
        """The weights to export.

        Args:
            training: what the file's header tells of the training.
        """
        return Weights(self.estimator, self.adapter, self.text_embedding, self.backbone.name, training)


def build_enhancer(config: Config, device: torch.device) -> Enhancer:
    """Load and assemble what the config names.

    Args:
        config: of the run.
        device: where the networks go.

    Returns:
        The networks.

    Raises:
        FileNotFoundError: a source is missing; names it and the remedy.
        ValueError: a source does not fit; names it, the expectation and the remedy.
    """
    model = config.model
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[config.run.dtype]
    backbone = load_backbone(model.backbone, device="cpu", dtype=dtype)
    init = load_weights(model.init, dem_backbone=model.dinov2) if model.init is not None else None
    adapter, estimator = _trained_parts(model, backbone, init)
    text = init.text_embedding if init is not None else _empty_prompt(model.backbone)
    width = backbone.unet.config.cross_attention_dim
    if text.shape[-1] != width:
        raise ValueError(
            f"the text embedding of {model.init or model.backbone} is {text.shape[-1]} wide, the UNet of "
            f"{model.backbone} expects {width}: start from weights for this backbone"
        )
    for network in NETWORKS:
        adapter.check_fits(network, backbone.lookup(network))
    adapter.requires_grad_(True)
    estimator.requires_grad_(True)
    estimator.backbone.to(dtype)
    enhancer = Enhancer(backbone, estimator, adapter, text, use_degradation=config.solver.strategy != "lora")
    if model.gradient_checkpointing:
        run_again = partial(checkpoint, use_reentrant=False)
        for network in (enhancer.unet, enhancer.vae):
            network.enable_gradient_checkpointing(run_again)
            network.train()  # diffusers checkpoints in training mode only; none of these networks drops out
    place: Any = enhancer.to  # whose declaration lacks memory_format
    place(device, memory_format=torch.channels_last)
    if device.type == "cpu":
        speed_up_group_norm(enhancer)
    if model.compile:
        # the part without hooks: those come and go, and each time would compile anew
        enhancer.vae.decoder.compile()
    return enhancer


def _trained_parts(
    model: Model, backbone: DiffusersBackbone, init: Weights | None
) -> tuple[Adapter, DegradationEstimator]:
    if init is not None and not model.fresh:
        ranks = {network: init.adapter.layers[network].rank for network in NETWORKS}
        if ranks != {"unet": model.unet_rank, "vae": model.vae_rank}:
            raise ValueError(
                f"{model.init} has ranks {ranks['unet']} (UNet) and {ranks['vae']} (VAE), the config asks for "
                f"{model.unet_rank} and {model.vae_rank}: set model.unet_rank and model.vae_rank to those of the file"
            )
        if (init.estimator.attention is not None) != model.mia:
            raise ValueError(f"{model.init} was trained with mia: {not model.mia}; set model.mia to that")
        return init.adapter, init.estimator
    if init is not None:
        dino, fit = init.estimator.backbone, init.estimator.fit
    else:
        source = Path(cast("str", model.dinov2))  # the configuration has checked that it names one of the two
        dino, fit = build_dinov2(_dinov2_config(source)), FITS[0]
        load_dinov2(dino, source)
    adapter = Adapter.for_networks(backbone.unet, backbone.vae, unet_rank=model.unet_rank, vae_rank=model.vae_rank)
    adapter.float()  # of a backbone in bf16
    if model.sigma == "identity":
        for head in adapter.heads.values():
            # the image moves Σ away from it as soon as there is a gradient; 1e-5 would take thousands of steps
            for linear in (head.degradation, head.block, head.fuse):
                linear.weight.data.mul_(1e4)
            head.fuse.bias.data.copy_(torch.eye(head.rank).flatten())
    return adapter, DegradationEstimator(dino, use_mia=model.mia, fit=fit)


def _dinov2_config(source: Path) -> dict[str, int]:
    """Sizes of a local DINOv2 with registers: from its ``config.json``, or the base model's for a lone file."""
    path = source / "config.json"
    if not path.is_file():
        return DINOV2_BASE
    values = json.loads(path.read_text(encoding="utf-8"))
    return {key: values.get(key, default) for key, default in DINOV2_BASE.items()}


def _empty_prompt(backbone: str) -> Tensor:
    """Of a backbone's folder; says what else there is to choose where it lacks the text encoder."""
    try:
        return empty_prompt_embedding(backbone)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; or set model.init to a weights file, which has the embedding") from error
