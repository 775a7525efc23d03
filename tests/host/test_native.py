"""The reference numbers on ComfyUI's own networks, in a process of the host's interpreter."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from helpers import reference
from safetensors.torch import load_file, save_file
from torch import Tensor

from hidra_core import save_weights
from hidra_core.backbone import save_backbone

if TYPE_CHECKING:
    from conftest import Host

ROOT = Path(__file__).parents[2]
TOLERANCE = {"latent": 1e-4, "denoised_latent": 1e-3, "enhanced": 1e-4}


@pytest.fixture(scope="module")
def native(comfyui: Host, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    folder = tmp_path_factory.mktemp("native")
    save_backbone(reference.make_backbone(), folder / "backbone.safetensors", dtype=torch.float32)
    save_weights(reference.make_weights(), folder / "weights.safetensors")
    vectors = reference.load("enhance")
    save_file({key: vectors[key] for key in ("image", "degradation_vector")}, folder / "inputs.safetensors")
    command = [comfyui.python, Path(__file__).with_name("native.py"), comfyui.path, ROOT]
    files = [folder / f"{name}.safetensors" for name in ("backbone", "weights", "inputs", "outputs")]
    done = subprocess.run([*map(str, command + files)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return load_file(files[-1])


@pytest.mark.parametrize("name", TOLERANCE)
def test_native_networks_reproduce_the_reference(native: dict[str, Tensor], name: str) -> None:
    reference.assert_close(native[name], reference.load("enhance")[name], TOLERANCE[name])


@pytest.mark.parametrize("name", TOLERANCE)
def test_batch_equals_each_image_alone(native: dict[str, Tensor], name: str) -> None:
    for i in range(2):
        reference.assert_close(native[f"{name}.{i}"], native[name][i : i + 1], TOLERANCE[name])


def test_networks_are_left_as_they_were(native: dict[str, Tensor]) -> None:
    assert native["unchanged"]


def test_neither_diffusers_nor_pyiqa_is_imported(native: dict[str, Tensor]) -> None:
    assert native["imported"].tolist() == [False, False]
