"""The reference numbers on ComfyUI's own networks, in a process of the host's interpreter."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from diffusers import AutoencoderTiny
from helpers import reference
from safetensors.torch import load_file, save_file
from torch import Tensor

from hidra_core import save_weights
from hidra_core.backbone import SD_TURBO_UNET, SD_TURBO_VAE, DiffusersBackbone, build_diffusers, save_backbone

if TYPE_CHECKING:
    from conftest import Host

ROOT = Path(__file__).parents[2]
TOLERANCE = {"latent": 1e-4, "denoised_latent": 1e-3, "enhanced": 1e-4}


LATENT = torch.randn(1, 4, 8, 16, generator=torch.Generator().manual_seed(0))
FILES = ("backbone", "weights", "inputs", "outputs")


def small_backbone() -> DiffusersBackbone:
    """Networks whose latents have the shape of Stable Diffusion's."""
    torch.manual_seed(1)
    unet = {
        **SD_TURBO_UNET,
        "layers_per_block": 1,
        "block_out_channels": [32, 32],
        "attention_head_dim": 2,
        "norm_num_groups": 32,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "cross_attention_dim": 16,
    }
    vae = {**SD_TURBO_VAE, "layers_per_block": 1, "block_out_channels": [32] * 4}
    return DiffusersBackbone(*build_diffusers(unet, vae), name="small")


def taesd() -> dict[str, Tensor]:
    """Random weights under the names of the host's joined file: its numbers of the decoder's layers count a clamp."""
    torch.manual_seed(2)
    thin = AutoencoderTiny()
    tensors = {"vae_scale": torch.tensor(0.18215), "vae_shift": torch.tensor(0.0)}
    for side, first in (("encoder", 0), ("decoder", 1)):
        for key, tensor in getattr(thin, side).state_dict().items():
            _, number, name = key.split(".", 2)
            tensors[f"taesd_{side}.{int(number) + first}.{name}"] = tensor.clone()
    return tensors


@pytest.fixture(scope="module")
def native(comfyui: Host, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    folder = tmp_path_factory.mktemp("native")
    save_backbone(reference.make_backbone(), folder / "backbone.safetensors", dtype=torch.float32)
    save_weights(reference.make_weights(), folder / "weights.safetensors")
    vectors = reference.load("enhance")
    inputs = {key: vectors[key] for key in ("image", "degradation_vector")}
    save_file(inputs | {"small_latent": LATENT}, folder / "inputs.safetensors")
    save_backbone(small_backbone(), folder / "small.safetensors", dtype=torch.float32)
    save_file(taesd(), folder / "taesd.safetensors")
    command = [comfyui.python, Path(__file__).with_name("native.py"), comfyui.path, ROOT]
    files = [folder / f"{name}.safetensors" for name in (*FILES, "small", "taesd")]
    done = subprocess.run([*map(str, command + files)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return load_file(files[len(FILES) - 1])


@pytest.mark.parametrize("name", TOLERANCE)
def test_native_networks_reproduce_the_reference(native: dict[str, Tensor], name: str) -> None:
    reference.assert_close(native[name], reference.load("enhance")[name], TOLERANCE[name])


@pytest.mark.parametrize("name", TOLERANCE)
def test_batch_equals_each_image_alone(native: dict[str, Tensor], name: str) -> None:
    for i in range(2):
        reference.assert_close(native[f"{name}.{i}"], native[name][i : i + 1], TOLERANCE[name])


@torch.inference_mode()
def test_taesd_decodes_as_it_does_in_the_library(native: dict[str, Tensor], tmp_path: Path) -> None:
    backbone = small_backbone()
    save_file(taesd(), tmp_path / "taesd.safetensors")
    backbone.use_decoder(tmp_path / "taesd.safetensors")
    reference.assert_close(native["decoded"], backbone.decode(LATENT).clamp(-1, 1), 1e-4)


def test_taesd_of_another_scale_is_refused(native: dict[str, Tensor]) -> None:
    said = bytes(native["refusal"].tolist()).decode()
    assert (
        "decoder (TAESD) takes latents of scaling factor 0.13025 with shift 0; expected 0.18215 without shift" in said
    )


def test_networks_are_left_as_they_were(native: dict[str, Tensor]) -> None:
    assert native["unchanged"]


def test_neither_diffusers_nor_pyiqa_is_imported(native: dict[str, Tensor]) -> None:
    assert native["imported"].tolist() == [False, False]


def test_attention_can_be_stopped_between_its_parts(native: dict[str, Tensor]) -> None:
    usual, small = native["parts"].tolist()
    assert usual == 0
    assert small > 10
    difference = (native["in_parts"] - native["denoised_latent"]).abs().max()
    assert difference < 1e-4 * native["denoised_latent"].abs().max()
