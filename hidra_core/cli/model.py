"""The model that a command computes with: device, number type, weights and a backbone that they fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .console import UsageError, reason
from .options import BUILT_IN

if TYPE_CHECKING:
    import argparse

    import torch

    from ..backbone import Backbone
    from ..weights import Weights


def computing(arguments: argparse.Namespace) -> tuple[torch.device, torch.dtype]:
    from ..backbone import pick_device, pick_dtype
    from ..enhance import check_options

    try:
        check_options(arguments.strength, arguments.upscale, arguments.tile)
        device = pick_device(arguments.device)
        return device, pick_dtype(arguments.dtype, device)
    except ValueError as error:
        raise UsageError(reason(error)) from error


def load_pair(arguments: argparse.Namespace, device: torch.device, dtype: torch.dtype) -> tuple[Weights, Backbone]:
    """Weights and a backbone that they fit."""
    from ..adapter import NETWORKS
    from ..backbone import load_backbone
    from ..weights import load_weights

    weights = load_weights(arguments.weights, dem_backbone=arguments.dem_backbone)
    if arguments.backbone is None and weights.backbone != BUILT_IN:
        raise UsageError(
            f"{arguments.weights} is for the backbone '{weights.backbone}': say where it is with --backbone "
            "(a diffusers folder or a .safetensors file)"
        )
    backbone = load_backbone(arguments.backbone or BUILT_IN, device=device, dtype=dtype)
    for network in NETWORKS:
        try:
            weights.adapter.check_fits(network, backbone.lookup(network))
        except ValueError as error:
            raise ValueError(
                f"{error} (weights {arguments.weights}, for '{weights.backbone}'; "
                f"backbone {arguments.backbone or BUILT_IN})"
            ) from error
    weights.estimator.to(device)
    return weights, backbone
