"""Names of parameters in the original layout."""

import pytest
import torch

from hidra_core.layouts import original_unet_name, original_vae_name, original_vae_state


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("conv_in.weight", "input_blocks.0.0.weight"),
        ("time_embedding.linear_2.bias", "time_embed.2.bias"),
        ("down_blocks.0.resnets.1.conv1.weight", "input_blocks.2.0.in_layers.2.weight"),
        ("down_blocks.1.downsamplers.0.conv.bias", "input_blocks.6.0.op.bias"),
        ("down_blocks.2.attentions.0.proj_in.weight", "input_blocks.7.1.proj_in.weight"),
        ("mid_block.resnets.1.norm2.weight", "middle_block.2.out_layers.0.weight"),
        ("mid_block.attentions.0.proj_out.bias", "middle_block.1.proj_out.bias"),
        ("up_blocks.0.upsamplers.0.conv.weight", "output_blocks.2.1.conv.weight"),
        ("up_blocks.1.upsamplers.0.conv.weight", "output_blocks.5.2.conv.weight"),
        ("up_blocks.3.resnets.2.conv_shortcut.bias", "output_blocks.11.0.skip_connection.bias"),
        ("conv_out.weight", "out.2.weight"),
    ],
)
def test_unet_names(ours: str, theirs: str) -> None:
    assert original_unet_name(ours) == theirs


def test_names_of_other_networks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'encoder\.conv_in\.weight' is no parameter"):
        original_unet_name("encoder.conv_in.weight")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("encoder.down_blocks.1.resnets.0.conv_shortcut.weight", "encoder.down.1.block.0.nin_shortcut.weight"),
        ("encoder.down_blocks.0.downsamplers.0.conv.bias", "encoder.down.0.downsample.conv.bias"),
        ("encoder.mid_block.attentions.0.to_q.weight", "encoder.mid.attn_1.q.weight"),
        ("encoder.mid_block.attentions.0.to_out.0.bias", "encoder.mid.attn_1.proj_out.bias"),
        ("decoder.mid_block.resnets.1.norm1.weight", "decoder.mid.block_2.norm1.weight"),
        ("decoder.up_blocks.0.upsamplers.0.conv.weight", "decoder.up.3.upsample.conv.weight"),
        ("decoder.conv_norm_out.bias", "decoder.norm_out.bias"),
    ],
)
def test_vae_names(ours: str, theirs: str) -> None:
    assert original_vae_name(ours) == theirs


def test_attention_projections_become_convolutions() -> None:
    state = {
        "encoder.mid_block.attentions.0.to_k.weight": torch.rand(4, 4),
        "encoder.mid_block.attentions.0.to_k.bias": torch.rand(4),
        "encoder.conv_in.weight": torch.rand(4, 3, 3, 3),
    }
    original = original_vae_state(state, levels=4)
    assert {name: tuple(tensor.shape) for name, tensor in original.items()} == {
        "encoder.mid.attn_1.k.weight": (4, 4, 1, 1),
        "encoder.mid.attn_1.k.bias": (4,),
        "encoder.conv_in.weight": (4, 3, 3, 3),
    }
