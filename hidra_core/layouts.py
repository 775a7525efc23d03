"""Names of parameters: from diffusers' to the original Stable Diffusion code's, as in single files and ComfyUI."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_PROJECTION = re.compile(r"attentions\.0\.to_.*weight$")


def original_unet_name(name: str, layers: int = 2) -> str:
    """The original name of a parameter of Stable Diffusion 2.1's UNet.

    Args:
        name: diffusers' name.
        layers: resnets per down block; an up block has one more.

    Raises:
        ValueError: a name that is none of this network's.
    """
    for ours, theirs in _OUTSIDE.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs, 1)
    match = re.match(r"(down_blocks|up_blocks)\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", name)
    if match:
        side, level, kind, index = match[1], int(match[2]), match[3], int(match[4])
        rest = match[5]
        if side == "down_blocks":
            block = 1 + level * (layers + 1) + (layers if kind == "downsamplers" else index)
            prefix = f"input_blocks.{block}"
        else:
            block = level * (layers + 1) + (layers if kind == "upsamplers" else index)
            prefix = f"output_blocks.{block}"
        if kind == "downsamplers":
            return f"{prefix}.0.op.{rest.removeprefix('conv.')}"
        if kind == "upsamplers":
            return f"{prefix}.{2 if level > 0 else 1}.{rest}"  # the first up block has no attention before it
        place = 0 if kind == "resnets" else 1
    else:
        match = re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name)
        if match is None:
            raise ValueError(f"'{name}' is no parameter of Stable Diffusion's UNet in diffusers' layout")
        kind, rest = match[1], match[3]
        prefix, place = "middle_block", 2 * int(match[2]) if kind == "resnets" else 1
    if kind == "resnets":
        part, _, leaf = rest.rpartition(".")
        rest = f"{_RESNET[part]}.{leaf}"
    return f"{prefix}.{place}.{rest}"


def original_vae_name(name: str, levels: int = 4) -> str:
    """The original name of a parameter of Stable Diffusion's VAE.

    Args:
        name: diffusers' name.
        levels: number of levels of encoder and decoder, which count the decoder's in opposite directions.
    """
    name = name.replace("mid_block.attentions.0.group_norm", "mid.attn_1.norm")
    name = name.replace("mid_block.attentions.0", "mid.attn_1").replace("to_out.0", "proj_out")
    for ours, theirs in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("conv_shortcut", "nin_shortcut")):
        name = name.replace(ours, theirs)
    for i in (0, 1):
        name = name.replace(f"mid_block.resnets.{i}", f"mid.block_{i + 1}")
    name = re.sub(r"down_blocks\.(\d)", r"down.\1", name)
    name = re.sub(r"up_blocks\.(\d)", lambda match: f"up.{levels - 1 - int(match[1])}", name)
    name = name.replace("downsamplers.0", "downsample").replace("upsamplers.0", "upsample")
    return name.replace("resnets", "block").replace("conv_norm_out", "norm_out")


def original_vae_state(state: dict[str, Tensor], levels: int) -> dict[str, Tensor]:
    """A VAE's state dict in the original layout, where attention projections are 1×1 convolutions.

    Args:
        state: diffusers' state dict.
        levels: number of levels of encoder and decoder.
    """
    return {
        original_vae_name(key, levels): tensor[:, :, None, None] if _PROJECTION.search(key) else tensor
        for key, tensor in state.items()
    }
