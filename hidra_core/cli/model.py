"""The model that a command computes with: device, number type, weights and a backbone that they fit."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING

from ..names import DTYPES, HIDRA_TINY
from .console import UsageError, log, reason, say

if TYPE_CHECKING:
    import argparse

    import torch

    from ..backbone import DiffusersBackbone
    from ..weights import Weights


def add_computing(group: argparse._ActionsContainer) -> None:
    """Add the options of how the networks compute: number type, decoder and compiling."""
    group.add_argument(
        "--dtype",
        choices=("auto", *DTYPES),
        default="auto",
        help="number type to compute in; auto: fp16 on a GPU, on a CPU whichever of bf16 and fp32 is faster, which is "
        "measured once and remembered (HIDRA_CALIBRATE=1 in the environment measures again) (default: auto)",
    )
    group.add_argument(
        "--decoder",
        metavar="FILE",
        help="another decoder of the backbone's latents: a .safetensors file or a diffusers folder of TAESD, which "
        "takes most of the time off SD-Turbo and some of its detail; the trust report names it (default: the "
        "backbone's own)",
    )
    group.add_argument(
        "--compile",
        action="store_true",
        help="have torch.compile make faster code for the networks at the start, and say how long that took: for "
        "thousands of images. On a CPU it needs a C++ compiler, each start takes minutes, and with hidra-tiny it pays "
        "after hundreds of images, after a thousand at the very first start",
    )


def pick(device: str, dtype: str = "auto", backbone: str | None = None) -> tuple[torch.device, torch.dtype]:
    """The device and the number type that the options ask for.

    Args:
        device: see :func:`~hidra_core.computing.pick_device`.
        dtype: see :func:`~hidra_core.computing.pick_dtype`.
        backbone: what the option says, None where it says nothing.

    Raises:
        UsageError: unknown, or not available on this machine.
    """
    from ..computing import pick_device, pick_dtype

    try:
        chosen = pick_device(device)
        return chosen, pick_dtype(dtype, chosen, backbone or HIDRA_TINY)
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
    if getattr(arguments, "decoder", None) is not None:
        backbone.use_decoder(arguments.decoder)
    if getattr(arguments, "compile", False):
        _compile(weights, backbone, arguments)
    return weights, backbone


def _compile(weights: Weights, backbone: DiffusersBackbone, arguments: argparse.Namespace) -> None:
    """Compile the networks, and say what that took."""
    if backbone.device.type == "cpu":
        log.warning("--compile takes minutes on a CPU, which with hidra-tiny pays after hundreds of images")
    else:
        log.info("torch.compile is at work, which takes a minute or more")
    started = time.perf_counter()
    try:
        start_compiled(weights, backbone)
    except Exception as error:  # the compiler's parts raise errors of their own kinds
        raise ValueError(
            f"--compile failed ({reason(error)}). On a CPU it needs a C++ compiler, on a GPU Triton; leave out "
            "--compile to compute without"
        ) from error
    say(f"compiled in {time.perf_counter() - started:.0f} s", arguments)


def start_compiled(weights: Weights, backbone: DiffusersBackbone) -> None:
    """Compile the networks on small images, so that the code is there before the first image."""
    import torch

    from ..dem import DEGRADATION_WIDTH
    from ..enhance import DegradationVectors, enhance

    degradation = DegradationVectors(torch.zeros(1, DEGRADATION_WIDTH), weights)
    backbone.compile()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler speaks of diffusers' code, which the user cannot change
        for size in ((128, 192), (192, 256)):  # the second shows whether the code serves other sizes
            enhance(torch.zeros(*size, 1), backbone, degradation, restraint=False, corrector=False)


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
