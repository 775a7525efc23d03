"""Baking: the files, applied as other programs apply them, give what the hooks give."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING

import pytest
import torch
from PIL import Image
from torch import Tensor

import hidra_core
from hidra_core import scenes
from hidra_core.bake import TEXT_EMBEDDING, bake, base_of, read_baked_vae, save_baked
from hidra_core.cli import main
from hidra_core.enhance import DegradationVectors, estimate
from hidra_core.images.files import read_safetensors
from hidra_core.layouts import original_vae_state
from hidra_core.names import LORA_FORMAT
from hidra_core.vectors import save_degradation

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def image() -> Tensor:
    clean = torch.from_numpy(scenes.render("street", 64, 96, 0))
    return (clean + 0.06 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)[
        None, ..., None
    ]


def with_lora(unet: torch.nn.Module, lora: dict[str, Tensor]) -> torch.nn.Module:
    """A UNet patched as LoRA loaders do, by names with underscores: ``alpha / rank · up @ down``, and ``diff``."""
    unet = copy.deepcopy(unet)
    used = set()
    for name, module in unet.named_modules():
        key = f"lora_unet_{name.replace('.', '_')}"
        if f"{key}.lora_up.weight" in lora:
            up, down, alpha = (
                lora[f"{key}.{part}"].float() for part in ("lora_up.weight", "lora_down.weight", "alpha")
            )
            module.weight.data += (alpha / len(down) * up.flatten(1) @ down.flatten(1)).view(module.weight.shape)
            used |= {f"{key}.lora_up.weight", f"{key}.lora_down.weight", f"{key}.alpha"}
        if f"{key}.diff" in lora:
            module.weight.data += lora[f"{key}.diff"]
            module.bias.data += lora[f"{key}.diff_b"]
            used |= {f"{key}.diff", f"{key}.diff_b"}
    assert used == set(lora)
    return unet


def with_vae(vae: torch.nn.Module, state: dict[str, Tensor]) -> torch.nn.Module:
    """A VAE with a state dict in the original layout."""
    vae = copy.deepcopy(vae)
    levels = len(vae.config.block_out_channels)
    names = {name: next(iter(original_vae_state({name: tensor}, levels))) for name, tensor in vae.state_dict().items()}
    assert set(names.values()) == set(state)
    vae.load_state_dict({name: state[names[name]].view(t.shape) for name, t in vae.state_dict().items()})
    return vae


@pytest.mark.parametrize("strength", [1.0, 0.6])
@pytest.mark.parametrize("which", ["tiny", "reference"])
def test_files_give_what_the_hooks_give(
    which: str, strength: float, tiny, backbone, weights, image: Tensor, tmp_path: Path
) -> None:
    network, adapted = tiny if which == "tiny" else (backbone, weights)
    degradation = estimate(image, adapted)
    expected = hidra_core.enhance(  # what reads each image is not baked
        image, network, degradation, strength=strength, restraint=False, corrector=False
    )
    baked = bake(degradation, base_of(network), strength=strength)
    save_baked(baked, tmp_path / "a.safetensors", tmp_path / "a-vae.safetensors")
    lora, _ = read_safetensors(tmp_path / "a.safetensors")
    state, config, text_embedding = read_baked_vae(tmp_path / "a-vae.safetensors")
    assert config["block_out_channels"] == list(network.vae.config.block_out_channels)
    copied = hidra_core.DiffusersBackbone(
        with_lora(network.unet, lora),
        with_vae(network.vae, state),
        name="copy",
        prediction_type=network.prediction_type,
    )
    copied.text_embedding = text_embedding.float()
    result = hidra_core.enhance(image, copied, None)
    assert (result - expected).abs().mean() * 255 < 0.5
    plain = hidra_core.enhance(image, network, degradation, strength=0.0, restraint=False, corrector=False)
    assert (plain - expected).abs().mean() * 255 > 2  # the adapter does something here


def test_headers_say_what_is_in_the_files(tiny, image: Tensor) -> None:
    network, adapted = tiny
    degradation = estimate(image, adapted)
    baked = bake(degradation, base_of(network), strength=0.5)
    header = baked.lora_header
    assert header["format"] == LORA_FORMAT
    assert (header["weights"], header["strength"]) == ("hidra-tiny", "0.5")
    assert len(header["weights_fingerprint"]) == 64
    assert torch.tensor(json.loads(header["vector"])).equal(degradation.vectors[0])
    assert baked.vae[TEXT_EMBEDDING].shape == adapted.text_embedding.shape


def test_what_cannot_be_baked_is_refused(tiny) -> None:
    network, adapted = tiny
    two = DegradationVectors(torch.zeros(2, 256), adapted)
    with pytest.raises(ValueError, match="needs one degradation vector, not 2"):
        bake(two, base_of(network))
    one = DegradationVectors(torch.zeros(1, 256), adapted)
    with pytest.raises(ValueError, match="strength"):
        bake(one, base_of(network), strength=3.0)
    huge = DegradationVectors(torch.full((1, 256), 1e9), adapted)
    with pytest.raises(ValueError, match=r"cannot hold"):
        bake(huge, base_of(network))


def test_only_baked_vaes_are_read(tmp_path: Path, tiny) -> None:
    baked = bake(DegradationVectors(torch.zeros(1, 256), tiny[1]), base_of(tiny[0]))
    with pytest.raises(ValueError, match="give the file that suffix"):
        save_baked(baked, tmp_path / "a.pt", tmp_path / "b.safetensors")
    save_baked(baked, tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match=r"a\.safetensors is not a baked VAE"):
        read_baked_vae(tmp_path / "a.safetensors")


def test_the_command_bakes_images_or_a_saved_degradation(tiny, image: Tensor, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "camera"
    folder.mkdir()
    for index in range(2):
        Image.fromarray((image[0, ..., 0].roll(index, 0) * 255).byte().numpy()).save(folder / f"{index}.png")
    assert main(["bake", str(folder), "--output", str(tmp_path / "a"), "--device", "cpu"]) == 0
    assert sorted(p.name for p in tmp_path.glob("*.safetensors")) == ["a-vae.safetensors", "a.safetensors"]
    _, header = read_safetensors(tmp_path / "a.safetensors")
    save_degradation(
        DegradationVectors(torch.tensor([json.loads(header["vector"])]), tiny[1]), tmp_path / "d.safetensors"
    )
    options = ["--degradation", str(tmp_path / "d.safetensors"), "--output", str(tmp_path / "b"), "--device", "cpu"]
    assert main(["bake", *options]) == 0
    first, second = (read_safetensors(tmp_path / f"{name}.safetensors")[0] for name in "ab")
    assert all(torch.equal(first[key], second[key]) for key in first)
    capsys.readouterr()
    for name, said in (("a", "baked into a LoRA"), ("a-vae", "baked into a VAE"), ("d", "vectors: 1")):
        assert main(["info", str(tmp_path / f"{name}.safetensors")]) == 0
        assert said in capsys.readouterr().out
    assert main(["bake", *options]) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert main(["bake", "--output", str(tmp_path / "c")]) == 2
    assert "either images" in capsys.readouterr().err
