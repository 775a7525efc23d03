"""Degradation vectors as a file: a small ``.safetensors`` whose header says which weights they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..enhance import DegradationVectors
from ..images.files import read_safetensors, write_safetensors
from ..names import DEGRADATION_FORMAT
from .arithmetic import fingerprint

if TYPE_CHECKING:
    from os import PathLike

    from ..weights import Weights

VERSION = 1
"""``version`` in the header."""


def about(degradation: DegradationVectors) -> dict[str, str]:
    """What a file's header says about the weights that vectors belong to: file name, fingerprint and backbone."""
    weights = degradation.weights
    return {
        "weights": Path(weights.source).name,
        "weights_fingerprint": fingerprint(weights),
        "backbone": weights.backbone,
    }


def save_degradation(degradation: DegradationVectors, path: str | PathLike) -> None:
    """Write the vectors atomically.

    Args:
        degradation: the vectors and their weights.
        path: a ``.safetensors`` file.

    Raises:
        ValueError: another suffix than ``.safetensors``.
        OSError: the file cannot be written; an existing one is not changed.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: degradations are written as .safetensors; give the file that suffix")
    vectors = degradation.vectors.detach().to("cpu", torch.float32).contiguous()
    header = {"format": DEGRADATION_FORMAT, "version": str(VERSION), **about(degradation)}
    write_safetensors({"vectors": vectors}, path, header)


def load_degradation(path: str | PathLike, weights: Weights) -> DegradationVectors:
    """Read vectors that belong to these weights.

    Args:
        path: a file that :func:`save_degradation` wrote.
        weights: the weights that the vectors were made with, or a copy of them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a degradation file of this version, a damaged one, or one that other weights made: the numbers
            of a vector mean something only to the weights that made it.
    """
    tensors, header = read_safetensors(path)
    if header.get("format") != DEGRADATION_FORMAT:
        raise ValueError(
            f"{path} holds no degradation (its header lacks format = {DEGRADATION_FORMAT}). Choose a file that Save "
            "Degradation or save_degradation wrote"
        )
    if header.get("version") != str(VERSION):
        raise ValueError(
            f"{path} is version {header.get('version')} of the format; this release reads version {VERSION}. "
            "Update the pack"
        )
    if header.get("weights_fingerprint") != fingerprint(weights):
        raise ValueError(
            f"{path} belongs to the weights {header.get('weights')} (for {header.get('backbone')}), not to "
            f"{weights.source}. Choose those weights, or estimate the degradation again"
        )
    vectors = tensors.get("vectors")
    if vectors is None:
        raise ValueError(f"{path} lacks the tensor 'vectors'. It is damaged: save it again")
    try:
        return DegradationVectors(vectors.float(), weights)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
