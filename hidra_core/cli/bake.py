"""``hidra bake``: one degradation as an ordinary LoRA and VAE."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .console import FAILED, OK, UsageError, log, reason, report, say
from .inputs import check_file, check_model_paths, check_paths, find_files, require
from .model import load_pair, pick
from .options import add_backbone, add_command, add_device, add_overwrite, add_quiet, add_weights
from .progress import progress
from .reading import add_raw, reading_of

if TYPE_CHECKING:
    import argparse

    from ..enhance import DegradationVectors
    from ..sources import Reading
    from ..weights import Weights


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "bake",
        run,
        "fold one degradation into an ordinary LoRA and VAE",
        "Fold one degradation into ordinary files, for a camera whose degradation stays the same: NAME.safetensors is "
        "a LoRA that ComfyUI's own Load LoRA node applies, and NAME-vae.safetensors is the VAE to use with it. The "
        "degradation is the average over the given images and all their pages, or one that was saved before. Files "
        "that cannot be read are left out.",
        "  hidra bake camera-3/ --output models/camera-3\n  hidra bake --degradation dusk.safetensors --output dusk",
    )
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="*",
        help="images of the camera: image files, thermal files, folders or quoted patterns",
    )
    parser.add_argument("--degradation", metavar="FILE", help="file with a saved degradation, instead of images")
    parser.add_argument(
        "-o",
        "--output",
        metavar="NAME",
        type=Path,
        required=True,
        help="write NAME.safetensors and NAME-vae.safetensors",
    )
    parser.add_argument(
        "--strength", metavar="0..2", type=float, default=1.0, help="strength of the adaptation (default: 1)"
    )
    add_raw(parser)
    model = parser.add_argument_group("model")
    add_backbone(model)
    add_weights(model)
    add_device(model)
    add_overwrite(parser, "replace files that exist (default: refuse)")
    add_quiet(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    check_model_paths(arguments.weights, arguments.backbone, arguments.dem_backbone)
    check_paths(arguments.degradation)
    if bool(arguments.inputs) == (arguments.degradation is not None):
        raise UsageError("give either images of the camera or --degradation FILE")
    files = [source for source, _ in find_files(arguments.inputs)] if arguments.inputs else []
    lora, vae = (
        arguments.output.with_name(f"{arguments.output.name.removesuffix('.safetensors')}{ending}.safetensors")
        for ending in ("", "-vae")
    )
    for path in (lora, vae):
        check_file(path, arguments.overwrite, files)
    reading = reading_of(arguments)
    from ..enhance import check_options

    try:
        check_options(arguments.strength, upscale=1, tile=None)
    except ValueError as error:
        raise UsageError(reason(error)) from error
    device, dtype = pick(arguments.device, "fp32")
    require("diffusers", "tqdm")
    from ..bake import bake, base_of, save_baked
    from ..vectors import average, load_degradation

    weights, backbone = load_pair(arguments, device, dtype)
    failed = 0
    if arguments.degradation is not None:
        degradation = load_degradation(arguments.degradation, weights)
    else:
        degradation, failed = estimate_all(files, weights, reading, arguments)
    baked = bake(average(degradation), base_of(backbone), strength=arguments.strength)
    save_baked(baked, lora, vae)
    say(f"{lora} and {vae} written", arguments)
    if failed:
        log.error("%d of %d files are not in the average", failed, len(files))
    return FAILED if failed else OK


def estimate_all(
    files: list[Path], weights: Weights, reading: Reading, arguments: argparse.Namespace
) -> tuple[DegradationVectors, int]:
    """The degradation of all pages of some files; those that cannot be read are reported.

    Args:
        files: to read.
        weights: with the DEM.
        reading: what the user says of the files.
        arguments: the parsed command line.

    Returns:
        (vectors of all pages, number of files that could not be read)

    Raises:
        ValueError: none could be read.
    """
    import torch

    from ..enhance import DegradationVectors, estimate
    from ..images.search import check_entry
    from ..sources import open_images

    vectors = []
    with progress(len(files), arguments) as shown:
        for index, source in enumerate(files):
            shown.begin(f"{index + 1}/{len(files)} {source.name}")
            try:
                check_entry(source)
                pages = list(open_images(source, reading).pages())
                vectors.append(estimate(pages, weights).vectors)
                shown.done()
            except Exception as error:  # noqa: BLE001  one bad file must not stop the others
                report(error, arguments, source)
            shown.advance(index + 1)
    if not vectors:
        raise ValueError(f"none of {len(files)} files could be estimated, and nothing is written")
    return DegradationVectors(torch.cat(vectors), weights), len(files) - len(vectors)
