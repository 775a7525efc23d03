"""Σ heads: the reference's modulation tensors, and which Σ each layer reads."""

import pytest
import torch
from helpers.reference import BLOCKS, RANKS, assert_close, load, make_head, meta

from hidra_core.adapter import NETWORKS
from hidra_core.modulation import ModulationHead, unet_block_index, vae_block_index

INDEX = {"unet": unet_block_index, "vae": vae_block_index}


@pytest.mark.parametrize("network", NETWORKS)
@torch.no_grad()
def test_reference_numbers(network):
    sigma = make_head(network)(load("enhance")["degradation_vector"])
    assert sigma.shape == (2, BLOCKS[network], RANKS[network], RANKS[network])
    expected = {key.removeprefix(f"{network}."): t for key, t in load("modulation").items() if key.startswith(network)}
    assert len(expected) >= 5
    for layer, tensor in expected.items():
        assert_close(sigma[:, INDEX[network](layer, 4)], tensor, 1e-4)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_block_has_a_layer(network):
    blocks = {INDEX[network](layer, 4) for layer in meta()[f"lora_layers_{network}"]}
    assert blocks == set(range(BLOCKS[network]))


@pytest.mark.parametrize(
    ("layer", "depth", "block"),
    [
        ("down_blocks.0.resnets.0.conv1", 2, 0),
        ("down_blocks.1.attentions.0.proj_in", 2, 1),
        ("mid_block.resnets.1.conv2", 2, 2),
        ("up_blocks.0.upsamplers.0.conv", 2, 3),
        ("up_blocks.1.resnets.2.conv_shortcut", 2, 4),
        ("conv_out", 2, 5),
        ("mid_block.resnets.0.conv1", 3, 3),
        ("up_blocks.2.resnets.0.conv1", 3, 6),
        ("conv_out", 3, 7),
    ],
)
def test_unet_blocks_of_other_depths(layer, depth, block):
    assert unet_block_index(layer, depth) == block


@pytest.mark.parametrize(
    ("layer", "depth", "block"),
    [
        ("encoder.down_blocks.2.downsamplers.0.conv", 3, 2),
        ("encoder.mid_block.attentions.0.to_q", 3, 3),
        ("encoder.conv_in", 3, 4),
        ("encoder.conv_out", 3, 4),
        ("encoder.mid_block.resnets.0.conv1", 5, 5),
        ("encoder.conv_out", 5, 6),
    ],
)
def test_vae_blocks_of_other_depths(layer, depth, block):
    assert vae_block_index(layer, depth) == block


def test_initial_weights_are_tiny_and_biases_zero():
    head = ModulationHead(3, 8)
    for linear in (head.degradation, head.block, head.fuse):
        assert 0 < linear.weight.std() < 1e-5  # Kaiming-normal times 1e-5
        assert not linear.bias.any()
    assert head.embedding.std() > 0.5
