"""``hidra export``: the method as a graph in ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .bake import estimate_all
from .console import FAILED, OK, UsageError, log, megabytes, reason, say
from .inputs import check_file, check_model_paths, check_paths, find_files, require
from .model import load_pair, pick
from .options import add_backbone, add_command, add_overwrite, add_quiet, add_weights
from .reading import add_raw, reading_of

if TYPE_CHECKING:
    import argparse

    from ..enhance import DegradationVectors
    from ..export import Exported
    from ..sources import Reading
    from ..weights import Weights


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "export",
        run,
        "write the networks as ONNX, for other programs and other machines",
        "Write one ONNX graph from an image to its enhanced version, for any batch, height and width: the DEM, the "
        "adapter, the one-step networks, restraint and corrector, with the degradation vector as a second output. With "
        "images of a camera, or a saved degradation, that degradation is folded into the networks' weights, and no "
        "DEM is in the graph. Where ONNX Runtime is installed, the graph is compared with PyTorch before it is "
        "written. The sensor stage, reading and writing of files, and tiles are not in it: 'hidra enhance --engine "
        "onnx --graph FILE' does them as always.",
        "  hidra export -o hidra-tiny.onnx\n"
        "  hidra export -o hidra-tiny-fp16.onnx --dtype fp16\n"
        "  hidra export camera-3/ -o camera-3.onnx\n"
        "  hidra export -o sd-turbo.onnx --weights hidra.safetensors --backbone sd_turbo.safetensors --dtype fp16",
    )
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="*",
        help="images of a camera whose average degradation is folded in: image files, thermal files, folders or quoted "
        "patterns",
    )
    parser.add_argument("--degradation", metavar="FILE", help="file with a saved degradation, instead of images")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, required=True, help="the .onnx file to write")
    model = parser.add_argument_group("model")
    add_backbone(model)
    add_weights(model)
    model.add_argument(
        "--dtype",
        choices=("fp32", "fp16"),
        default="fp32",
        help="number type of the one-step networks in the graph; all else is in fp32 (default: fp32)",
    )
    model.add_argument(
        "--strength", metavar="0..2", type=float, default=1.0, help="strength of the adaptation (default: 1)"
    )
    for name, what in (("restraint", "the restraint"), ("corrector", "the corrector of brightness and shading")):
        model.add_argument(f"--no-{name}", dest=name, action="store_false", help=f"leave {what} out of the graph")
    add_raw(parser)
    add_overwrite(parser, "replace a file that exists (default: refuse)")
    add_quiet(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    check_model_paths(arguments.weights, arguments.backbone, arguments.dem_backbone)
    check_paths(arguments.degradation)
    if arguments.inputs and arguments.degradation is not None:
        raise UsageError("give either images of the camera or --degradation FILE, or neither for a graph with the DEM")
    if arguments.output.suffix != ".onnx":
        raise UsageError(f"--output {arguments.output}: graphs are written as .onnx; give the file that suffix")
    files = [source for source, _ in find_files(arguments.inputs)] if arguments.inputs else []
    check_file(arguments.output, arguments.overwrite, files)
    reading = reading_of(arguments)
    from ..enhance import check_options

    try:
        check_options(arguments.strength, upscale=1, tile=None)
    except ValueError as error:
        raise UsageError(reason(error)) from error
    device, dtype = pick("cpu", arguments.dtype)
    require("diffusers", "tqdm")
    from ..export import export_onnx

    weights, backbone = load_pair(arguments, device, dtype)
    degradation, failed = _degradation(files, weights, reading, arguments)
    say("the networks are traced and compared, which takes minutes", arguments)
    exported = export_onnx(
        arguments.output,
        weights,
        backbone,
        degradation=degradation,
        strength=arguments.strength,
        restraint=arguments.restraint,
        corrector=arguments.corrector,
    )
    say(_summary(exported, arguments.dtype), arguments)
    if exported.difference is None:
        log.warning('not compared with PyTorch: that needs onnxruntime (pip install "hidra-thermal[onnx]")')
    if failed:
        log.error("%d of %d files are not in the average", failed, len(files))
    return FAILED if failed else OK


def _degradation(
    files: list[Path], weights: Weights, reading: Reading, arguments: argparse.Namespace
) -> tuple[DegradationVectors | None, int]:
    """(the degradation to fold in, None for a graph with the DEM; number of files that could not be read)."""
    from ..vectors import average, load_degradation

    if arguments.degradation is not None:
        return average(load_degradation(arguments.degradation, weights)), 0
    if not files:
        return None, 0
    degradation, failed = estimate_all(files, weights, reading, arguments)
    return average(degradation), failed


def _summary(exported: Exported, dtype: str) -> str:
    from ..export.writing import OPSET

    size = sum(file.stat().st_size for file in exported.files)
    names = " and ".join(str(file) for file in exported.files)
    compared = "" if exported.difference is None else f", largest difference to PyTorch {exported.difference:.1e}"
    return f"{names} written: {megabytes(size)}, opset {OPSET}, {dtype}{compared}"
