"""Σ heads: from the degradation vector to one small matrix a block of the network.

Source: HiDRA (CVPR 2026), "Degradation-guided LoRA". All adapted layers of one block share one Σ.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dem import DEGRADATION_WIDTH

BLOCK_EMBEDDING_WIDTH = 64


def unet_block_index(layer: str, depth: int) -> int:
    """Block id of a UNet layer (diffusers module name) in a UNet of ``depth`` levels.

    Down blocks come first, then the middle, the up blocks, and last everything outside the blocks (``conv_out``).
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
    """Block id of a VAE-encoder layer: down blocks, then the middle, then everything else."""
    parts = layer.split(".")
    if parts[1] == "down_blocks":
        return int(parts[2])
    return depth if parts[1] == "mid_block" else depth + 1


class ModulationHead(nn.Module):
    """Degradation branch, block branch and their fusion: ``P`` to one ``rank × rank`` matrix a block.

    Args:
        blocks: number of blocks, see :func:`unet_block_index` and :func:`vae_block_index`.
        rank: rank of the low-rank branches.
    """

    def __init__(self, blocks: int, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.degradation = nn.Linear(DEGRADATION_WIDTH, DEGRADATION_WIDTH)
        self.block = nn.Linear(BLOCK_EMBEDDING_WIDTH, BLOCK_EMBEDDING_WIDTH)
        self.fuse = nn.Linear(DEGRADATION_WIDTH + BLOCK_EMBEDDING_WIDTH, rank * rank)
        self.embedding = nn.Parameter(torch.randn(blocks, BLOCK_EMBEDDING_WIDTH))
        for linear in (self.degradation, self.block, self.fuse):
            nn.init.kaiming_normal_(linear.weight)
            linear.weight.data.mul_(1e-5)
            nn.init.zeros_(linear.bias)

    @property
    def blocks(self) -> int:
        return self.embedding.shape[0]

    def forward(self, vectors: Tensor) -> Tensor:
        """The modulation tensors.

        Args:
            vectors: degradation vectors ``P``, ``[B, 256]``.

        Returns:
            ``[B, blocks, rank, rank]``; with ``M = out[b, block]`` the rank activations transform as
            ``h'[r] = Σ_k h[k]·M[k, r]``.
        """
        batch = vectors.shape[0]
        degradation = F.relu(self.degradation(vectors))[:, None].expand(-1, self.blocks, -1)
        block = F.relu(self.block(self.embedding))[None].expand(batch, -1, -1)
        fused = self.fuse(torch.cat([degradation, block], dim=-1))
        return fused.view(batch, self.blocks, self.rank, self.rank)
