"""``hidra bake``: one degradation as an ordinary LoRA and VAE."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .console import OK, UsageError, advance, progress_bar, say
from .inputs import check_file, check_model_paths, check_paths, find_pictures, for_networks, require
from .model import computing, load_pair
from .options import add_backbone, add_command, add_device, add_overwrite, add_quiet, add_weights

if TYPE_CHECKING:
    import argparse

    from ..enhance import DegradationVectors
    from ..weights import Weights


def add(commands: argparse._SubParsersAction) -> None:
    parser = add_command(
        commands,
        "bake",
        run,
        "fold one degradation into an ordinary LoRA and VAE",
        "For a camera whose degradation stays the same: fold it into NAME.safetensors, a LoRA that ComfyUI's own Load "
        "LoRA applies, and NAME-vae.safetensors, the VAE to go with it. The degradation is the average of the pictures "
        "given, or one that was saved.",
        "  hidra bake camera-3/ --output models/camera-3\n  hidra bake --degradation dusk.safetensors --output dusk",
    )
    parser.add_argument("inputs", metavar="INPUT", nargs="*", help="pictures, folders or quoted patterns of the camera")
    parser.add_argument("--degradation", metavar="FILE", help="a saved degradation instead of pictures")
    parser.add_argument(
        "-o", "--output", metavar="NAME", type=Path, required=True, help="where to write NAME.safetensors and the other"
    )
    parser.add_argument(
        "--strength", metavar="0..2", type=float, default=1.0, help="strength of the adaptation (default: 1)"
    )
    model = parser.add_argument_group("model")
    add_backbone(model)
    add_weights(model)
    add_device(model)
    add_overwrite(parser, "replace files that exist (default: refuse)")
    add_quiet(parser)
    parser.set_defaults(dtype="fp32", upscale=1, tile=None)  # what `computing` asks of commands that enhance


def run(arguments: argparse.Namespace) -> int:
    check_model_paths(arguments.weights, arguments.backbone, arguments.dem_backbone)
    check_paths(arguments.degradation)
    if bool(arguments.inputs) == (arguments.degradation is not None):
        raise UsageError("give either pictures of the camera or --degradation FILE")
    found = [source for source, _ in find_pictures(arguments.inputs)] if arguments.inputs else []
    lora, vae = (
        arguments.output.with_name(f"{arguments.output.name.removesuffix('.safetensors')}{ending}.safetensors")
        for ending in ("", "-vae")
    )
    for path in (lora, vae):
        check_file(path, arguments.overwrite, found)
    device, dtype = computing(arguments)
    require("diffusers", "tqdm")
    from ..bake import bake, base_of, save_baked
    from ..vectors import average, load_degradation

    weights, backbone = load_pair(arguments, device, dtype)
    if arguments.degradation is not None:
        degradation = load_degradation(arguments.degradation, weights)
    else:
        degradation = _estimate(found, weights, arguments)
    baked = bake(average(degradation), base_of(backbone), strength=arguments.strength)
    save_baked(baked, lora, vae)
    say(f"{lora} and {vae} written", arguments)
    return OK


def _estimate(found: list[Path], weights: Weights, arguments: argparse.Namespace) -> DegradationVectors:
    import torch

    from ..enhance import DegradationVectors, estimate
    from ..images import read_image

    vectors = []
    with progress_bar(len(found), arguments) as bar:
        for index, source in enumerate(found):
            bar.set_description_str(f"{index + 1}/{len(found)} {source.name}")
            vectors.append(estimate([for_networks(read_image(source))[0]], weights).vectors)
            advance(bar, index + 1)
    return DegradationVectors(torch.cat(vectors), weights)
