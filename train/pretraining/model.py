"""The networks of pretraining: a small backbone with its DEM and adapter, all of which is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hidra_core.adapter import Adapter
from hidra_core.backbone import DiffusersBackbone, build_diffusers, load_backbone
from hidra_core.dem import DEGRADATION_WIDTH, DegradationEstimator, build_dinov2
from hidra_core.weights import TEXT_TOKENS, load_weights
from train.method.data import FACTORS
from train.pretraining.start import start_as_copy

if TYPE_CHECKING:
    from pathlib import Path

    from train.pretraining.config import PretrainingConfig


class TrainableNetworks(nn.Module):
    """DEM, adapter and backbone, all trainable, with two linear read-outs of ``P`` that serve the training alone.

    ``probe`` reads the factors of :func:`~train.method.data.factors`; ``translation`` reads the vectors of an earlier
    DEM, for which the adapter was made.

    Args:
        config: sizes of the networks.
    """

    unet: Any
    vae: Any
    text_embedding: Tensor

    def __init__(self, config: PretrainingConfig) -> None:
        super().__init__()
        sizes, ranks = config.backbone, config.adapter
        self.unet, self.vae = build_diffusers(sizes.unet, sizes.vae)
        self.backbone = DiffusersBackbone(self.unet, self.vae, name=sizes.name, prediction_type=sizes.prediction_type)
        self.estimator = DegradationEstimator(build_dinov2(sizes.dem), fit=sizes.dem_fit)
        self.adapter = Adapter.for_networks(self.unet, self.vae, unet_rank=ranks.unet_rank, vae_rank=ranks.vae_rank)
        # Both Σ ≈ 0 and U = 0 would leave the branches without a gradient: they start as plain LoRA, Σ = I
        for head in self.adapter.heads.values():
            head.fuse.bias.data.copy_(torch.eye(head.rank).flatten())
            for linear in (head.degradation, head.block, head.fuse):
                nn.init.kaiming_normal_(linear.weight)
            head.fuse.weight.data.mul_(0.1)
        self.probe = nn.Linear(DEGRADATION_WIDTH, len(FACTORS))
        self.translation = nn.Linear(DEGRADATION_WIDTH, DEGRADATION_WIDTH)
        self.register_buffer("text_embedding", torch.randn(1, TEXT_TOKENS, sizes.unet["cross_attention_dim"]))

    def start_from(self, folder: Path) -> None:
        """Copy the networks of an earlier export; the read-outs, which it lacks, stay untouched.

        Args:
            folder: with ``backbone.safetensors`` and ``weights.safetensors``.

        Raises:
            FileNotFoundError: no such files.
            ValueError: they are damaged, or of another architecture.
        """
        backbone = load_backbone(folder / "backbone.safetensors", device="cpu", dtype="fp32")
        weights = load_weights(folder / "weights.safetensors")
        for name, part in (
            ("unet", backbone.unet),
            ("vae", backbone.vae),
            ("estimator", weights.estimator),
            ("adapter", weights.adapter),
        ):
            try:
                self.get_submodule(name).load_state_dict(part.state_dict())
            except RuntimeError as error:
                raise ValueError(f"run.init: the {name} in {folder} is not the config's: {error}") from error
        self.text_embedding.copy_(weights.text_embedding)

    def start_as_copy(self, images: Tensor) -> None:
        """Make the backbone return its input, and give the adapter the backbone's ``conv_in``.

        Args:
            images: ``[B, 1, H, W]`` in [-1, 1] to calibrate on; see :func:`~train.pretraining.start.start_as_copy`.
        """
        start_as_copy(self.backbone, images.expand(-1, 3, -1, -1), self.text_embedding)
        self.adapter.conv_in.load_state_dict(self.unet.conv_in.state_dict())

    def reconstruct(self, images: Tensor) -> Tensor:
        """The autoencoder alone, ``[B, 1, H, W]`` in [-1, 1] to the same."""
        return self.backbone.decode(self.backbone.encode(images.expand(-1, 3, -1, -1))).mean(dim=1, keepdim=True)

    @torch.no_grad()
    def translate(self) -> None:
        """Put the translation into the adapter, which then reads the DEM's vectors as the earlier one's."""
        weight, bias = self.translation.weight, self.translation.bias
        for head in self.adapter.heads.values():
            head.degradation.bias.add_(head.degradation.weight @ bias)
            head.degradation.weight.copy_(head.degradation.weight @ weight)

    def estimate(self, frames: Tensor) -> Tensor:
        """Degradation vectors ``[B, 256]`` of frames ``[B, 1, H, W]`` in [-1, 1]."""
        return self.estimator(frames.expand(-1, 3, -1, -1))

    def forward(self, degraded: Tensor, vectors: Tensor, strength: float) -> Tensor:
        """Enhanced images.

        Args:
            degraded: ``[B, 1, H, W]`` in [-1, 1].
            vectors: degradation vectors ``[B, 256]``.
            strength: of the adapter, from 0; above 0 gradients reach every parameter.

        Returns:
            ``[B, 1, H, W]``, not clamped.
        """
        images = degraded.expand(-1, 3, -1, -1)
        modulated = self.adapter.modulate(vectors, strength)
        with modulated.attached("vae", self.backbone.lookup("vae")):
            latent = self.backbone.encode(images)
        with modulated.attached("unet", self.backbone.lookup("unet")):
            latent = self.backbone.denoise(latent, self.text_embedding)
        return self.backbone.decode(latent).mean(dim=1, keepdim=True)
