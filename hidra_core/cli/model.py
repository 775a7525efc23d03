"""The model that a command computes with: device, number type, weights and a backbone that they fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..names import HIDRA_TINY
from .console import UsageError, reason

if TYPE_CHECKING:
    import argparse

    import torch

    from ..backbone import DiffusersBackbone
    from ..weights import Weights


def pick(device: str, dtype: str = "auto") -> tuple[torch.device, torch.dtype]:
    """The device and the number type that the options ask for.

    Args:
        device: see :func:`~hidra_core.backbone.pick_device`.
        dtype: see :func:`~hidra_core.backbone.pick_dtype`.

    Raises:
        UsageError: unknown, or not available on this machine.
    """
    from ..backbone import pick_device, pick_dtype

    try:
        chosen = pick_device(device)
        return chosen, pick_dtype(dtype, chosen)
    except ValueError as error:
        raise UsageError(reason(error)) from error


def load_pair(
    arguments: argparse.Namespace, device: torch.device, dtype: torch.dtype
) -> tuple[Weights, DiffusersBackbone]:
    """Load the weights and the backbone that the options name.

    Args:
        arguments: the parsed command line.
        device: for the networks.
        dtype: number type of the backbone.

    Raises:
        UsageError: the weights need a backbone that was not named.
        ValueError: the weights are for another backbone, or a file is not as expected.
        OSError: a file cannot be read.
    """
    from ..backbone import load_backbone
    from ..weights import load_weights

    weights = load_weights(arguments.weights, dem_backbone=arguments.dem_backbone)
    if arguments.backbone is None and weights.backbone != HIDRA_TINY:
        raise UsageError(
            f"{arguments.weights} is for the backbone '{weights.backbone}': say where it is with --backbone "
            "(a diffusers folder or a .safetensors file)"
        )
    backbone = load_backbone(arguments.backbone or HIDRA_TINY, device=device, dtype=dtype)
    check_pair(weights, arguments.weights, backbone, arguments)
    weights.estimator.to(device)
    return weights, backbone


def check_pair(weights: Weights, source: str, backbone: DiffusersBackbone, arguments: argparse.Namespace) -> None:
    """Check that an adapter fits a backbone.

    Args:
        weights: the adapter.
        source: the name of the weights, for the message.
        backbone: the backbone.
        arguments: the parsed command line.

    Raises:
        ValueError: it does not.
    """
    from ..adapter import NETWORKS

    for network in NETWORKS:
        try:
            weights.adapter.check_fits(network, backbone.lookup(network))
        except ValueError as error:
            raise ValueError(
                f"{error} (weights {source}, for '{weights.backbone}'; backbone {arguments.backbone or HIDRA_TINY})"
            ) from error
