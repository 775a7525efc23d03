"""``hidra estimate``: the degradation vectors of pictures, as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import FAILED, OK, UsageError, advance, progress_bar, reason, report, say
from .inputs import check_file, check_model_paths, find_pictures, for_networks, require
from .options import add_command, add_device, add_inputs, add_overwrite, add_quiet, add_weights

if TYPE_CHECKING:
    import torch

    from ..images import Picture


def add(commands: argparse._SubParsersAction) -> None:
    parser = add_command(
        commands,
        "estimate",
        run,
        "estimate the degradation of images, as JSON",
        "Estimate the degradation vector of images with the DEM and write them as JSON: the weights used and, for each "
        "image, its file, size, bit depth, the 256 numbers of the vector and their Euclidean norm. A 16-bit picture is "
        "stretched to its own range first, as enhance does.",
        "  hidra estimate frame.png\n  hidra estimate flight/ --output vectors.json",
    )
    add_inputs(parser)
    add_weights(parser)
    add_device(parser)
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="JSON file (default: the standard output)")
    add_overwrite(parser, "replace the JSON file if it exists (default: refuse)")
    add_quiet(parser)


def run(arguments: argparse.Namespace) -> int:
    check_model_paths(arguments.weights, arguments.dem_backbone)
    found = find_pictures(arguments.inputs)
    if arguments.output is not None:
        check_file(arguments.output, arguments.overwrite, [source for source, _ in found])
    require("tqdm")
    from ..backbone import pick_device
    from ..enhance import estimate
    from ..files import atomic_path
    from ..images import read_image
    from ..weights import load_weights

    try:
        device = pick_device(arguments.device)
    except ValueError as error:
        raise UsageError(reason(error)) from error
    weights = load_weights(arguments.weights, dem_backbone=arguments.dem_backbone)
    weights.estimator.to(device)
    entries = []
    with progress_bar(len(found), arguments) as bar:
        for index, (source, _) in enumerate(found):
            bar.set_description_str(f"{index + 1}/{len(found)} {source.name}")
            try:
                picture = read_image(source)
                vector = estimate([for_networks(picture)[0]], weights).vectors[0]
                entries.append(_entry(picture, vector))
            except Exception as error:  # as for enhance: one bad picture does not stop the others
                report(error, arguments, source)
            advance(bar, index + 1)

    about = {"source": weights.source, "backbone": weights.backbone, "training": weights.training}
    images = ",\n".join(json.dumps(entry) for entry in entries)
    text = f'{{\n"weights": {json.dumps(about)},\n"images": [\n{images}\n]\n}}\n'
    failed = len(found) - len(entries)
    if arguments.output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        with atomic_path(arguments.output) as temporary:
            temporary.write_text(text, encoding="utf-8")
        say(f"{len(entries)} estimated, {failed} failed", arguments)
    return FAILED if failed else OK


def _entry(picture: Picture, vector: torch.Tensor) -> dict[str, Any]:
    height, width = picture.pixels.shape[:2]
    return {
        "file": str(picture.path),
        "width": width,
        "height": height,
        "bit_depth": picture.bit_depth,
        "norm": _float32(vector.norm().item()),
        "vector": [_float32(value) for value in vector.tolist()],
    }


def _float32(value: float) -> float:
    """The same float32 in the fewest digits that tell it from all others, nine at most."""
    return float(f"{value:.9g}")
