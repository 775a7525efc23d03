"""Sigma heads: from the degradation vector to one small matrix per block of the network.

A degradation-guided LoRA changes a frozen layer's weight by an update that depends on the image::

    W'   = W + s · U Sigma_b(P) V        V: rank × in, U: out × rank, Sigma_b: rank × rank, s: a constant scale

All adapted layers of block ``b`` share one ``Sigma_b``. With ``P`` the degradation vector of the image and ``e_b`` a
learned embedding of the block, each of the two networks (UNet, VAE encoder) has one head::

    d    = ReLU(W_d P + a_d)             degradation branch, 256 -> 256
    g_b  = ReLU(W_g e_b + a_g)           block branch, 64 -> 64
    M_b  = reshape(W_f [d; g_b] + a_f)   fusion, 320 -> rank² -> rank × rank

``Sigma_b`` is ``M_b`` transposed: with ``h = V x`` the rank activations, ``h' = Sigma_b h`` means
``h'[r] = sum over k of h[k] · M_b[k, r]``.

Source: HiDRA (CVPR 2026), section "Degradation-guided LoRA".
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import Linear

from .dem import DEGRADATION_WIDTH

BLOCK_EMBEDDING_WIDTH = 64
"""Length of a block's embedding ``e_b``."""


def unet_block_index(layer: str, depth: int) -> int:
    """Block id of a UNet layer: down blocks first, then the middle, the up blocks, and last everything else.

    Args:
        layer: diffusers module name; outside the blocks lies ``conv_out``.
        depth: number of levels of the UNet.
    """
    parts = layer.split(".")
    if parts[0] == "down_blocks":
        return int(parts[1])
    if parts[0] == "mid_block":
        return depth
    if parts[0] == "up_blocks":
        return depth + 1 + int(parts[1])
    return 2 * depth + 1


def vae_block_index(layer: str, depth: int) -> int:
    """Block id of a layer of the VAE's encoder: down blocks first, then the middle, then everything else.

    Args:
        layer: diffusers module name, ``encoder.…``; outside the blocks lie ``conv_in`` and ``conv_out``.
        depth: number of levels of the encoder.
    """
    parts = layer.split(".")
    if parts[1] == "down_blocks":
        return int(parts[2])
    return depth if parts[1] == "mid_block" else depth + 1


class ModulationHead(nn.Module):
    """Degradation branch, block branch and their fusion: from ``P`` to one ``rank × rank`` matrix per block.

    The three linear maps start from Kaiming-normal weights times 1e-5 and biases of 0.

    Args:
        blocks: number of blocks, see :func:`unet_block_index` and :func:`vae_block_index`.
        rank: rank of the low-rank branches.
    """

    def __init__(self, blocks: int, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.degradation = Linear(DEGRADATION_WIDTH, DEGRADATION_WIDTH)
        self.block = Linear(BLOCK_EMBEDDING_WIDTH, BLOCK_EMBEDDING_WIDTH)
        self.fuse = Linear(DEGRADATION_WIDTH + BLOCK_EMBEDDING_WIDTH, rank * rank)
        self.embedding = nn.Parameter(torch.randn(blocks, BLOCK_EMBEDDING_WIDTH))
        for linear in (self.degradation, self.block, self.fuse):
            nn.init.kaiming_normal_(linear.weight)
            linear.weight.data.mul_(1e-5)
            nn.init.zeros_(linear.bias)

    @property
    def blocks(self) -> int:
        """Number of blocks, each with a matrix of its own."""
        return self.embedding.shape[0]

    def forward(self, vectors: Tensor) -> Tensor:
        """The modulation tensors ``M_b`` of all blocks.

        Args:
            vectors: degradation vectors ``P``, ``[B, 256]``.

        Returns:
            ``[B, blocks, rank, rank]``; with ``M = out[image, block]`` the rank activations transform as
            ``h'[r] = sum over k of h[k] · M[k, r]``.
        """
        degradation = repeat(F.relu(self.degradation(vectors)), "B d -> B b d", b=self.blocks)
        block = repeat(F.relu(self.block(self.embedding)), "b g -> B b g", B=vectors.shape[0])
        fused = self.fuse(torch.cat([degradation, block], dim=-1))
        return rearrange(fused, "B b (k r) -> B b k r", k=self.rank)
