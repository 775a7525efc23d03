"""The way from an image to its enhanced version as one module without choices, which can be traced for any size.

It computes what :func:`~hidra_core.enhance.estimate` and :func:`~hidra_core.enhance.enhance` do with an image that goes
through the networks as a whole. What happens to files before and after (the sensor stage, counts to grey and back,
tiles) is not in it.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..adapter import NETWORKS
from ..backbone import SIZE_MULTIPLE, alpha_cumprod
from ..images import to_grey
from ..readouts.corrector import small_view

if TYPE_CHECKING:
    from ..backbone import DiffusersBackbone
    from ..weights import Weights

SMALLEST_SIDE = SIZE_MULTIPLE // 2 + 1
"""Pixels that an image must have in both directions: a smaller one cannot be reflected up to the next multiple."""

LARGEST_SIDE = 1024
"""Pixels of the longest side of an image that is not cut into windows for the DEM, nor into tiles."""


class Graph(nn.Module):
    """Image in, enhanced image and degradation vector out.

    Args:
        weights: DEM, adapter, restraint and corrector, on the CPU.
        backbone: the one-step backbone, on the CPU; its number type is that of the networks.
        vector: ``[1, 256]``: the degradation of all images; None: the DEM estimates that of each.
        strength: see :func:`~hidra_core.enhance.enhance`.
        restraint: whether the restraint is in it, where the weights have one.
        corrector: whether the corrector is in it, where the weights have one.
    """

    vector: Tensor
    text_embedding: Tensor

    def __init__(
        self,
        weights: Weights,
        backbone: DiffusersBackbone,
        *,
        vector: Tensor | None = None,
        strength: float = 1.0,
        restraint: bool = True,
        corrector: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.unet, self.vae = backbone.unet, backbone.vae
        self.adapter = weights.adapter if vector is None else None
        self.estimator = weights.estimator if vector is None else None
        self.register_buffer("vector", vector, persistent=False)
        self.register_buffer("text_embedding", weights.text_embedding, persistent=False)
        self.strength = strength
        self.restraint = weights.restraint if restraint else None
        self.corrector = weights.corrector if corrector and strength > 0 else None
        self.corrector_network = None if self.corrector is None else self.corrector.network
        alpha_cumprod()  # a constant, computed here: within the trace it would become a part of the graph

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """The enhanced image and, where the DEM is in the graph, the degradation vector.

        Args:
            image: ``[B, 1, H, W]`` in [0, 1], both sides from :data:`SMALLEST_SIDE` to :data:`LARGEST_SIDE` pixels.

        Returns:
            ``[B, 1, H, W]`` in [0, 1], and ``[B, 256]``.
        """
        grey = image * 2 - 1
        if self.estimator is None:
            return (self._finished(grey, self._networks(grey, None), self.vector),)
        vector = self.estimator(grey.expand(-1, 3, -1, -1))
        return self._finished(grey, self._networks(grey, vector), vector), vector

    def _networks(self, grey: Tensor, vector: Tensor | None) -> Tensor:
        """One pass over ``[B, 1, H, W]`` in [-1, 1]; without a vector the weights are folded already."""
        height, width = grey.shape[-2:]
        padded = grey.index_select(2, reflected(height)).index_select(3, reflected(width))
        adapted = nullcontext()
        if vector is not None and self.adapter is not None:
            adapted = self.backbone.adapted(self.adapter.modulate(vector, self.strength))
        with adapted:
            latent = self.backbone.encode(padded.to(self.backbone.dtype).expand(-1, 3, -1, -1))
            latent = self.backbone.denoise(latent, self.text_embedding)
        enhanced = self.backbone.decode(latent)[..., :height, :width].float()
        return to_grey(enhanced.clamp(-1, 1).movedim(1, -1))

    def _finished(self, before: Tensor, after: Tensor, vector: Tensor) -> Tensor:
        """Corrector and restraint as :func:`~hidra_core.enhance.enhance` applies them; the result is in [0, 1]."""
        corrected = None
        if self.corrector is not None and self.corrector_network is not None:
            seen = before / 2 + 0.5
            aspect = torch.ones_like(seen[:, 0, 0, 0]) * (seen.shape[-1] / seen.shape[-2])
            correction = self.corrector_network(small_view(seen), aspect).scaled(min(self.strength, 1.0))
            corrected = 2 * self.corrector.change(seen, after / 2 + 0.5, correction)
            if self.restraint is None or not self.restraint.knows_corrector:
                after, corrected = (after + corrected).clamp(-1, 1), None
        if self.restraint is not None:
            after = self.restraint.apply(before, after, vector, corrected=corrected)
        return after.clamp(-1, 1) / 2 + 0.5


def reflected(length: int) -> Tensor:
    """Which pixel of an axis stands at each place once it is reflected up to a whole multiple of 64.

    Args:
        length: pixels of the axis, from :data:`SMALLEST_SIDE` up; may be symbolic.
    """
    place = torch.arange((length + SIZE_MULTIPLE - 1) // SIZE_MULTIPLE * SIZE_MULTIPLE)
    return torch.minimum(place, 2 * (length - 1) - place)


def check_fits(weights: Weights, backbone: DiffusersBackbone) -> None:
    """Raise ValueError unless these weights are for this backbone, and both are on the CPU."""
    for network in NETWORKS:
        weights.adapter.check_fits(network, backbone.lookup(network))
    devices = {backbone.device.type, next(weights.estimator.parameters()).device.type}
    if devices != {"cpu"}:
        raise ValueError(f"networks are exported from the CPU, and these are on {', '.join(sorted(devices))}")
