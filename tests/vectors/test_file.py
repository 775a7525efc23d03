"""Degradation vectors in files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

import hidra_core
from hidra_core.enhance import DegradationVectors
from hidra_core.images.files import read_safetensors
from hidra_core.vectors import load_degradation, save_degradation

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(weights: hidra_core.Weights, tmp_path: Path) -> Path:
    save_degradation(DegradationVectors(torch.randn(3, 256), weights), tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


def test_vectors_come_back_to_the_bit(weights: hidra_core.Weights, tmp_path: Path) -> None:
    degradation = DegradationVectors(torch.randn(3, 256), weights)
    save_degradation(degradation, tmp_path / "a.safetensors")
    loaded = load_degradation(tmp_path / "a.safetensors", weights)
    assert torch.equal(loaded.vectors, degradation.vectors)
    assert loaded.weights is weights


def test_a_copy_of_the_weights_reads_the_vectors(file: Path, weights: hidra_core.Weights, tmp_path: Path) -> None:
    hidra_core.save_weights(weights, tmp_path / "copy.safetensors")
    assert len(load_degradation(file, hidra_core.load_weights(tmp_path / "copy.safetensors"))) == 3


def test_other_weights_are_refused(file: Path, tiny) -> None:
    with pytest.raises(ValueError, match=r"a\.safetensors belongs to the weights memory .* not to hidra-tiny"):
        load_degradation(file, tiny[1])


def test_foreign_and_damaged_files_are_refused(file: Path, weights: hidra_core.Weights, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file"):
        load_degradation(tmp_path / "none.safetensors", weights)
    save_file({"vectors": torch.zeros(1, 256)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ValueError, match="holds no degradation"):
        load_degradation(tmp_path / "foreign.safetensors", weights)
    _, header = read_safetensors(file)
    for tensors, message in (
        ({"other": torch.zeros(1)}, "lacks the tensor 'vectors'"),
        ({"vectors": torch.zeros(1, 7)}, "is damaged: degradation vectors have shape"),
        ({"vectors": load_file(file)["vectors"] * float("nan")}, "is damaged: .* not finite"),
    ):
        save_file(tensors, tmp_path / "damaged.safetensors", header)
        with pytest.raises(ValueError, match=message):
            load_degradation(tmp_path / "damaged.safetensors", weights)
    save_file(load_file(file), tmp_path / "newer.safetensors", header | {"version": "2"})
    with pytest.raises(ValueError, match="version 2 of the format"):
        load_degradation(tmp_path / "newer.safetensors", weights)


def test_only_safetensors_are_written(weights: hidra_core.Weights, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give the file that suffix"):
        save_degradation(DegradationVectors(torch.zeros(1, 256), weights), tmp_path / "a.json")
