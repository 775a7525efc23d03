"""The networks with their adapter in place, as one function of plain tensors that can be compiled.

Hooks that come and go with every batch (:meth:`~hidra_core.adapter.ModulatedAdapter.attached`) cannot be compiled. Here
each adapted layer gets its forward pass replaced once; :class:`Seat` hands it the Σ and the strengths of a batch.
The result is that of the hooks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidra_core.adapter import NETWORKS
from hidra_core.backbone import TIMESTEP, alpha_cumprod
from hidra_core.weights import TEXT_TOKENS
from train.method.losses import error_after_fit, structural_dissimilarity

if TYPE_CHECKING:
    from collections.abc import Callable

    from train.pretraining.clock import Loss
    from train.pretraining.model import TrainableNetworks

LINES = 8
"""Rows and columns, of the error's means over them, are compared with the one after and with the one this far away."""


UNSEEN = 4 * 10**-4.6
"""Added to the squared errors, of values in [-1, 1], whose logarithms are taken: above 46 dB nothing is gained."""


class Seat:
    """Where the adapted layers find what belongs to the batch.

    Attributes:
        sigma: modulation tensors of each network, ``[B, blocks, rank, rank]``.
        strengths: of the adapter, ``[B, 1, 1, 1]``.
    """

    def __init__(self) -> None:
        self.sigma: dict[str, Tensor] = {}
        self.strengths: Tensor = torch.empty(0)


def put_in_place(model: TrainableNetworks) -> Seat:
    """Replace the forward pass of every layer that the adapter adapts; the parameters stay where they are.

    Args:
        model: its UNet and autoencoder are changed in place.

    Returns:
        Where they look for what belongs to the batch.
    """
    seat, adapter = Seat(), model.adapter
    for network in NETWORKS:
        layers, lookup = adapter.layers[network], model.backbone.lookup(network)
        branches = zip(layers.names, layers.down, layers.up, adapter.block_index[network], strict=True)
        for name, down, up, block in branches:
            module = lookup(name)
            module.forward = _adapted(module, down, up, layers.scale, seat, network, block)
    model.unet.conv_in.forward = _blended(model.unet.conv_in, adapter.conv_in, seat)
    return seat


def _adapted(
    module: Any, down: Tensor, up: Tensor, scale: float, seat: Seat, network: str, block: int
) -> Callable[[Tensor], Tensor]:
    outputs, rank = up.shape

    def forward(x: Tensor) -> Tensor:
        # Σ and U become one projection for each image, as in the hooks
        branch = (scale * seat.sigma[network][:, block]) @ up.T  # [B, rank, out]
        branch = branch * seat.strengths[:, 0]
        if isinstance(module, nn.Linear):
            return F.linear(x, module.weight, module.bias) + F.linear(x, down.flatten(1)) @ branch.to(x.dtype)
        # one convolution reads the image once for both
        weight = torch.cat([module.weight, down if down.ndim == 4 else down[:, :, None, None]])
        both = F.conv2d(x, weight, None, module.stride, module.padding)
        base, hidden = both.split([outputs, rank], dim=1)
        added = hidden.flatten(2).transpose(1, 2) @ branch.to(hidden.dtype)  # [B, pixels, out]
        if module.bias is not None:
            base = base + module.bias.to(base.dtype)[:, None, None]
        return base + added.transpose(1, 2).unflatten(2, base.shape[2:])

    return forward


def _blended(module: Any, trained: Any, seat: Seat) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        weight = torch.cat([module.weight, trained.weight])
        bias = torch.cat([module.bias, trained.bias])
        own, new = F.conv2d(x, weight, bias, module.stride, module.padding).chunk(2, dim=1)
        return torch.lerp(own, new, seat.strengths.to(own.dtype))

    return forward


class Restorer:
    """From degraded frames and their degradation vectors to the loss; compile :meth:`loss` for speed.

    Args:
        model: the networks; see :func:`put_in_place`.
        weights: of the terms of the loss.

    Raises:
        ValueError: a backbone that predicts noise.
    """

    def __init__(self, model: TrainableNetworks, weights: Loss) -> None:
        self.model = model
        self.weights = weights
        self.seat = put_in_place(model)
        if model.backbone.prediction_type != "v_prediction":
            raise ValueError(f"only v_prediction is compiled, not {model.backbone.prediction_type}")
        alpha = alpha_cumprod()
        self.signal, self.noise = alpha**0.5, (1 - alpha) ** 0.5  # see hidra_core.backbone.denoise_step
        self.timestep = torch.full((1,), TIMESTEP, device=model.text_embedding.device)

    def restored(self, degraded: Tensor, vectors: Tensor, strengths: Tensor) -> Tensor:
        """Enhanced frames.

        Args:
            degraded: ``[B, 1, H, W]`` in [-1, 1].
            vectors: degradation vectors ``[B, 256]``.
            strengths: of the adapter, ``[B, 1, 1, 1]``.

        Returns:
            ``[B, 1, H, W]`` float32, not clamped.
        """
        model, vae, seat = self.model, self.model.vae, self.seat
        seat.sigma = {network: model.adapter.heads[network](vectors) for network in NETWORKS}
        seat.strengths = strengths
        images = degraded.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        latent = vae.quant_conv(vae.encoder(images)).chunk(2, dim=1)[0] * vae.config.scaling_factor
        text = model.text_embedding.expand(len(images), TEXT_TOKENS, -1)
        prediction = model.unet(latent, self.timestep, text, return_dict=False)[0]
        latent = self.signal * latent - self.noise * prediction.float()
        seat.sigma = {}  # what stays there would be an output of the compiled function
        latent = latent / vae.config.scaling_factor
        return vae.decoder(vae.post_quant_conv(latent)).float().mean(dim=1, keepdim=True)

    def loss(self, degraded: Tensor, clean: Tensor, vectors: Tensor, strengths: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and the mean squared error of each frame for the log.

        Args:
            degraded: see :meth:`restored`.
            clean: what it should give at full strength; below it, the blend.
            vectors: see :meth:`restored`.
            strengths: see :meth:`restored`.

        Returns:
            A scalar, and ``[B]``.
        """
        weights = self.weights
        output = self.restored(degraded, vectors, strengths)
        target = torch.lerp(degraded, clean, strengths)
        error = output - target
        squared = error.square().mean(dim=(1, 2, 3))
        full = (strengths.flatten() == 1).float()  # elsewhere a dB of copying is worth nothing
        loss = error.abs().mean() + weights.lines * line_error(error)
        for weight, errors in ((weights.log, squared), (weights.fitted, error_after_fit(output, target))):
            loss = loss + weight * ((errors + UNSEEN).log() * full).sum() / full.sum().clamp_min(1)
        return loss + weights.ssim * structural_dissimilarity(output, target), squared.detach()


def line_error(error: Tensor) -> Tensor:
    """Stripes in an error: how much the means of its rows, and those of its columns, differ from their neighbours'.

    Stripes are a few hundredths of the squared error and the first thing that is seen.

    Args:
        error: ``[B, 1, H, W]``.

    Returns:
        A scalar.
    """
    total = error.new_zeros(())
    for axis in (2, 3):
        means = error.mean(dim=axis)
        for distance in (1, LINES):
            total = total + (means[..., distance:] - means[..., :-distance]).abs().mean()
    return total
