"""The command ``hidra``: enhance thermal images, estimate their degradation, convert and inspect weights.

Exit codes: 0 all done, 1 some or all failed, 2 the command line is wrong (nothing was loaded or written),
130 stopped with Ctrl-C. Results go to the standard output, messages and the progress bar to the standard error.
"""

# diffusers, transformers and OpenCV take seconds to import: functions import what they need, so that help and errors in
# the command line come before that.
from __future__ import annotations

import argparse
import errno
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__

if TYPE_CHECKING:
    import torch
    from tqdm import tqdm

    from .backbone import Backbone
    from .images import Picture
    from .weights import Weights

log = logging.getLogger(__package__)

BUILT_IN = "hidra-tiny"  # hidra_core.HIDRA_TINY, which only PyTorch's import gives
DTYPES = ("fp32", "bf16", "fp16")

OK, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


class UsageError(Exception):
    """What was asked for cannot be done as asked; found before anything was written."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; those of the process by default.

    Returns:
        The exit code, see the module.

    Raises:
        SystemExit: argparse ends the program itself for wrong options, ``--help`` and ``--version``.
    """
    arguments = build_parser().parse_args(argv)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # transformers draws one for every file it loads
    with _messages(arguments):
        try:
            return arguments.run(arguments)
        except UsageError as error:
            _report(error, arguments)
            return WRONG_USAGE
        except KeyboardInterrupt:
            log.error("stopped")
            return INTERRUPTED
        except BrokenPipeError:  # the reader of a pipe, such as head, has gone; nor may the exit's flush complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except Exception as error:  # the last place to turn any failure into a line and an exit code
            _report(error, arguments)
            return FAILED


# --- the command line ------------------------------------------------------------------------------------------------


def build_parser() -> argparse.ArgumentParser:
    """All commands and options; ``run`` of the parsed arguments is the function to call with them."""
    parser = argparse.ArgumentParser(
        prog="hidra",
        description="Clear thermal-infrared images: stripes, noise, blur and low contrast removed in one step.",
        epilog="hidra COMMAND --help explains a command. The built-in model hidra-tiny needs no download.",
    )
    parser.add_argument("--version", action="version", version=f"hidra {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_enhance(commands)
    _add_estimate(commands)
    _add_convert(commands)
    _add_info(commands)
    return parser


def _add_enhance(commands: argparse._SubParsersAction) -> None:
    parser = _add_command(
        commands,
        "enhance",
        _enhance,
        "enhance images",
        "Enhance images. Names, sub-folders, bit depth, grey or colour, alpha and EXIF stay as they are. A 16-bit "
        "picture is stretched to its own range for the networks and brought back onto its counts afterwards. Pictures "
        "that are in the output folder already are skipped; inputs are never overwritten.",
        "  hidra enhance frame.png --output clear\n"
        "  hidra enhance flight/ 'more/**/*.tiff' --output clear --compare\n"
        "  hidra enhance frame.png -o clear --weights hidra.safetensors --backbone sd_turbo.safetensors",
    )
    _add_inputs(parser)
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=Path, required=True, help="folder for the results; made if it is missing"
    )
    model = parser.add_argument_group("model")
    model.add_argument(
        "--backbone",
        metavar="MODEL",
        help="one-step backbone: hidra-tiny, a diffusers folder of SD-Turbo, or a single .safetensors file "
        "(default: hidra-tiny)",
    )
    _add_weights(model)
    model.add_argument(
        "--dtype",
        choices=("auto", *DTYPES),
        default="auto",
        help="number type to compute in; auto: fp16 on a GPU, bf16 on processors that have it, else fp32 "
        "(default: auto)",
    )
    _add_device(model)
    result = parser.add_argument_group("result")
    result.add_argument(
        "--strength",
        metavar="0..2",
        type=float,
        default=1.0,
        help="strength of the adaptation: 0 is the backbone as it is, 1 as trained, above 1 exaggerates (default: 1)",
    )
    result.add_argument(
        "--upscale",
        metavar="1..4",
        type=int,
        choices=(1, 2, 3, 4),
        default=1,
        help="enlarge by this whole factor: 1, 2, 3 or 4 (default: 1)",
    )
    result.add_argument(
        "--tile",
        metavar="auto|none|N",
        type=_tile,
        default="auto",
        help="work in overlapping tiles of N pixels, a multiple of 64 from 256 up; auto: only images above one "
        "megapixel; none: never. When memory runs out, smaller tiles are tried (default: auto)",
    )
    result.add_argument(
        "--format",
        choices=("png", "tiff"),
        help="file format of the results (default: that of each input)",
    )
    result.add_argument(
        "--compare",
        action="store_true",
        help="also write NAME-compare.png, before and after side by side (16-bit pictures as stretched for display)",
    )
    _add_overwrite(result, "replace results that exist (default: skip those pictures)")
    _add_quiet(parser)


def _add_estimate(commands: argparse._SubParsersAction) -> None:
    parser = _add_command(
        commands,
        "estimate",
        _estimate,
        "estimate the degradation of images, as JSON",
        "Estimate the degradation vector of images with the DEM and write them as JSON: the weights used and, for each "
        "image, its file, size, bit depth, the 256 numbers of the vector and their Euclidean norm. A 16-bit picture is "
        "stretched to its own range first, as enhance does.",
        "  hidra estimate frame.png\n  hidra estimate flight/ --output vectors.json",
    )
    _add_inputs(parser)
    _add_weights(parser)
    _add_device(parser)
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="JSON file (default: the standard output)")
    _add_overwrite(parser, "replace the JSON file if it exists (default: refuse)")
    _add_quiet(parser)


def _add_convert(commands: argparse._SubParsersAction) -> None:
    parser = _add_command(
        commands,
        "convert",
        _convert,
        "convert the authors' checkpoints to a weights file",
        "Convert the checkpoints of HiDRA's authors, two pickles, to one weights file. Pickles are read without "
        "executing anything in them; one that holds more than tensors and plain containers is refused.",
        "  hidra convert --model model.pkl --dem DEM.pkl --text-encoder sd-turbo/ \\\n"
        "      --dinov2 dinov2-with-registers-base/ --output hidra.safetensors",
    )
    parser.add_argument("--model", metavar="model.pkl", required=True, help="LoRA, modulation heads and conv_in")
    parser.add_argument("--dem", metavar="DEM.pkl", required=True, help="the degradation estimation module")
    text = parser.add_mutually_exclusive_group(required=True)
    text.add_argument(
        "--text-encoder",
        metavar="FOLDER",
        help="diffusers folder of SD-Turbo with text_encoder/ and tokenizer/, to encode the empty prompt",
    )
    text.add_argument(
        "--text-embedding",
        metavar="FILE",
        help="instead: .safetensors with the empty prompt's embedding, [1, 77, width], as 'text_embedding'",
    )
    parser.add_argument(
        "--dinov2",
        metavar="FOLDER",
        help="facebook/dinov2-with-registers-base in the Hugging Face layout, to include in the file (default: left "
        "out; --dem-backbone then names it whenever the weights are used)",
    )
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, required=True, help=".safetensors file to write")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32", help="number type in the file (default: fp32)")
    _add_overwrite(parser, "replace the file if it exists (default: refuse)")


def _add_info(commands: argparse._SubParsersAction) -> None:
    parser = _add_command(
        commands,
        "info",
        _info,
        "say what a weights or backbone file holds",
        "Say what a file holds, from its header: HiDRA weights (backbone, ranks, layers, DEM, training record), a "
        "HiDRA backbone, SD-Turbo as one file or as a diffusers folder.",
        "  hidra info hidra-tiny\n  hidra info hidra.safetensors --json",
    )
    parser.add_argument("file", metavar="FILE", help="a .safetensors file, a diffusers folder, or hidra-tiny")
    parser.add_argument("--json", action="store_true", help="as a JSON list with one object a file")


def _add_command(
    commands: argparse._SubParsersAction,
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    description: str,
    examples: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=_HelpFormatter,
    )
    parser.set_defaults(run=run, quiet=False)
    parser.add_argument("--verbose", action="store_true", help="show where errors come from, and every file skipped")
    return parser


class _HelpFormatter(argparse.HelpFormatter):
    """Wraps descriptions as usual and leaves the examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("examples:") else super()._fill_text(text, width, indent)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="picture (PNG, JPEG, TIFF, BMP, WebP, PGM), folder (searched with its sub-folders) or quoted pattern such "
        "as 'flight/**/*.png'",
    )


def _add_weights(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--weights",
        metavar="WEIGHTS",
        default=BUILT_IN,
        help="HiDRA weights: hidra-tiny or a .safetensors file (default: hidra-tiny)",
    )
    group.add_argument(
        "--dem-backbone",
        metavar="FOLDER",
        help="facebook/dinov2-with-registers-base in the Hugging Face layout, for weights that were written without it",
    )


def _add_device(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N; auto: the GPU if there is one (default: auto)"
    )


def _add_overwrite(group: argparse._ActionsContainer, text: str) -> None:
    group.add_argument("--overwrite", action="store_true", help=text)


def _add_quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors: no progress bar, no summary")


def _tile(text: str) -> int | str | None:
    """``auto``, ``none`` (as None) or a number; its range is for the library to check."""
    if text in ("auto", "none"):
        return None if text == "none" else text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected auto, none or a number of pixels, got '{text}'") from None


# --- enhance ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One picture to enhance: where it is, where it goes, and where its comparison goes, if one is wanted."""

    source: Path
    output: Path
    compare: Path | None

    @property
    def targets(self) -> list[Path]:
        return [path for path in (self.output, self.compare) if path is not None]


def _enhance(arguments: argparse.Namespace) -> int:
    _check_model_paths(arguments.weights, arguments.backbone, arguments.dem_backbone)
    _check_folder(arguments.output)
    jobs = _plan(arguments)
    device, dtype = _computing(arguments)
    _require("diffusers", "tqdm")

    waiting = []
    for job in jobs:
        if arguments.overwrite or not job.output.exists():
            waiting.append(job)
        else:
            log.info("%s is skipped: %s exists", job.source, job.output)
    skipped = len(jobs) - len(waiting)
    if skipped:
        log.warning("%d of %d results exist and are skipped; --overwrite replaces them", skipped, len(jobs))
    enhanced = failed = 0
    code = OK
    if waiting:
        weights, backbone = _load_pair(arguments, device, dtype)
    with _progress(len(waiting), arguments) as bar:
        try:
            for index, job in enumerate(waiting):
                bar.set_description_str(f"{index + 1}/{len(waiting)} {job.source.name}")
                try:
                    _enhance_one(job, backbone, weights, arguments, lambda share, _, i=index: _advance(bar, i + share))
                    enhanced += 1
                except Exception as error:  # whatever is wrong with one picture, the others are to be done
                    failed += 1
                    _report(error, arguments, job.source)
                    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                        log.error("stopped: no room is left on the disk of %s", arguments.output)
                        break
                _advance(bar, index + 1)
        except KeyboardInterrupt:
            log.error("stopped; what is in %s is complete, and the same command goes on from there", arguments.output)
            code = INTERRUPTED
    others = {"skipped": skipped, "not done": len(waiting) - enhanced - failed}
    rest = "".join(f", {count} {what}" for what, count in others.items() if count)
    _say(f"{enhanced} enhanced, {failed} failed{rest}", arguments)
    return code or (FAILED if failed else OK)


def _plan(arguments: argparse.Namespace) -> list[Job]:
    """What to enhance into which files; raises UsageError unless every target is one of its own and no input."""
    folder = arguments.output
    found = _find(arguments.inputs, leave_out=folder)
    inputs = {}
    for source, _ in found:
        status = source.stat()
        inputs[status.st_dev, status.st_ino] = source
    jobs, sources = [], {}
    for source, name in found:
        output = folder / (name.with_suffix(f".{arguments.format}") if arguments.format else name)
        job = Job(source, output, output.with_name(f"{output.stem}-compare.png") if arguments.compare else None)
        for target in job.targets:
            with_same = sources.setdefault(target, source)
            if with_same is not source:
                raise UsageError(f"{with_same} and {source} would both be written to {target}; enhance them separately")
            if target.exists():
                status = target.stat()  # also equal through links and where upper and lower case are the same
                if (status.st_dev, status.st_ino) in inputs:
                    raise UsageError(
                        f"{target} would overwrite the input {inputs[status.st_dev, status.st_ino]}; "
                        "choose another --output"
                    )
        jobs.append(job)
    return jobs


def _find(inputs: list[str], leave_out: Path | None = None) -> list[tuple[Path, Path]]:
    """The pictures and their relative names, see ``find_images``; raises UsageError if there are none.

    Results of an earlier run are not taken for inputs: what a search finds in the folder ``leave_out`` does not count,
    unless the search was for that folder or one inside it, or the file is named itself.
    """
    from .images import find_images

    try:
        found = find_images(inputs)
    except FileNotFoundError as error:
        raise UsageError(_reason(error)) from error
    if leave_out is None:
        return found
    results = leave_out.resolve()
    given = [Path(name).expanduser().resolve() for name in inputs]
    wanted = [path for path in given if path == results or results in path.parents]

    def counts(picture: Path) -> bool:
        path = picture.resolve()
        return results not in path.parents or any(place in (path, *path.parents) for place in wanted)

    kept = [(picture, name) for picture, name in found if counts(picture)]
    if not kept:
        raise UsageError(f"all {len(found)} pictures found lie in the output folder {leave_out}; choose another one")
    return kept


def _computing(arguments: argparse.Namespace) -> tuple[torch.device, torch.dtype]:
    from .backbone import pick_device, pick_dtype
    from .enhance import check_options

    try:
        check_options(arguments.strength, arguments.upscale, arguments.tile)
        device = pick_device(arguments.device)
        return device, pick_dtype(arguments.dtype, device)
    except ValueError as error:
        raise UsageError(_reason(error)) from error


def _load_pair(arguments: argparse.Namespace, device: torch.device, dtype: torch.dtype) -> tuple[Weights, Backbone]:
    """Weights and a backbone that they fit."""
    from .adapter import NETWORKS
    from .backbone import load_backbone
    from .weights import load_weights

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


def _enhance_one(
    job: Job,
    backbone: Backbone,
    weights: Weights,
    arguments: argparse.Namespace,
    progress: Callable[[float, torch.Tensor | None], None],
) -> None:
    from .enhance import enhance, estimate
    from .images import check_writable, read_image, unstretch, write_image

    picture = read_image(job.source)
    check_writable(job.output, picture)
    before, limits = _for_networks(picture)
    [after] = enhance(
        [before],
        backbone,
        estimate([before], weights),
        strength=arguments.strength,
        upscale=arguments.upscale,
        tile=arguments.tile,
        progress=progress,
    )
    if job.compare is not None:  # before the result, whose presence says that this picture is done
        _write_comparison(job.compare, before, after)
    write_image(job.output, unstretch(after, limits), picture)


def _for_networks(picture: Picture) -> tuple[torch.Tensor, tuple[float, float]]:
    """The pixels as the networks want them, ``[H, W, C]``, and the limits to ``unstretch`` results with."""
    import torch

    from .images import stretch

    limits = picture.limits()
    return stretch(torch.from_numpy(picture.pixels), limits), limits


def _write_comparison(path: Path, before: torch.Tensor, after: torch.Tensor) -> None:
    from .files import atomic_path
    from .images import comparison

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        comparison(before, after).save(temporary)


# --- estimate --------------------------------------------------------------------------------------------------------


def _estimate(arguments: argparse.Namespace) -> int:
    _check_model_paths(arguments.weights, arguments.dem_backbone)
    found = _find(arguments.inputs)
    if arguments.output is not None:
        _check_file(arguments.output, arguments.overwrite, [source for source, _ in found])
    _require("tqdm")
    from .backbone import pick_device
    from .enhance import estimate
    from .files import atomic_path
    from .images import read_image
    from .weights import load_weights

    try:
        device = pick_device(arguments.device)
    except ValueError as error:
        raise UsageError(_reason(error)) from error
    weights = load_weights(arguments.weights, dem_backbone=arguments.dem_backbone)
    weights.estimator.to(device)
    entries = []
    with _progress(len(found), arguments) as bar:
        for index, (source, _) in enumerate(found):
            bar.set_description_str(f"{index + 1}/{len(found)} {source.name}")
            try:
                picture = read_image(source)
                vector = estimate([_for_networks(picture)[0]], weights).vectors[0]
                entries.append(_entry(picture, vector))
            except Exception as error:  # as for enhance: one bad picture does not stop the others
                _report(error, arguments, source)
            _advance(bar, index + 1)

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
        _say(f"{len(entries)} estimated, {failed} failed", arguments)
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


# --- convert ---------------------------------------------------------------------------------------------------------


def _convert(arguments: argparse.Namespace) -> int:
    sources = [arguments.model, arguments.dem, arguments.text_encoder, arguments.text_embedding, arguments.dinov2]
    _check_paths(*sources)
    if arguments.output.suffix != ".safetensors":
        raise UsageError(f"--output {arguments.output}: weights are written as .safetensors; give it that suffix")
    _check_file(arguments.output, arguments.overwrite, [Path(source) for source in sources if source is not None])
    from .backbone import DTYPES as TORCH_DTYPES
    from .convert import convert_authors, empty_prompt_embedding
    from .weights import save_weights

    if arguments.text_encoder is not None:
        text_embedding = empty_prompt_embedding(arguments.text_encoder)
    else:
        text_embedding = _read_text_embedding(arguments.text_embedding)
    weights = convert_authors(
        arguments.model, arguments.dem, text_embedding, arguments.dinov2, dinov2_config=_dinov2_sizes(arguments.dinov2)
    )
    included = arguments.dinov2 is not None
    save_weights(weights, arguments.output, dtype=TORCH_DTYPES[arguments.dtype], include_dem_backbone=included)
    _say(f"wrote {arguments.output} ({_megabytes(arguments.output.stat().st_size)})", arguments)
    if not included:
        log.warning(
            "the DEM's DINOv2 backbone is not in it, since --dinov2 was not given: name its folder with "
            "--dem-backbone whenever these weights are used"
        )
    return OK


def _read_text_embedding(path: str) -> torch.Tensor:
    from .files import read_safetensors

    tensors, _ = read_safetensors(path)
    if "text_embedding" not in tensors:
        raise ValueError(f"{path} has no tensor 'text_embedding'; expected the empty prompt's, [1, 77, width]")
    return tensors["text_embedding"]


def _dinov2_sizes(source: str | None) -> dict[str, int]:
    """Sizes of a DINOv2 with registers from its folder's ``config.json``; those of the base model without one."""
    from .weights import DINOV2_BASE

    config = Path(source, "config.json") if source is not None else None
    if config is None or not config.is_file():
        return DINOV2_BASE
    try:
        stated = json.loads(config.read_text(encoding="utf-8"))
        return DINOV2_BASE | {key: int(stated[key]) for key in DINOV2_BASE.keys() & stated.keys()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{config} is not a readable model configuration ({error}); download it again") from error


# --- info ------------------------------------------------------------------------------------------------------------


def _info(arguments: argparse.Namespace) -> int:
    _check_model_paths(arguments.file)
    if arguments.file == BUILT_IN:
        from .backbone import HIDRA_TINY, MODELS

        paths = [MODELS / HIDRA_TINY / "weights.safetensors", MODELS / HIDRA_TINY / "backbone.safetensors"]
    else:
        paths = [Path(arguments.file)]
    descriptions = [_describe_folder(path) if path.is_dir() else _describe_file(path) for path in paths]
    if arguments.json:
        _say(json.dumps(descriptions, indent=2), arguments)
    else:
        _say("\n\n".join("\n".join(_outline(description)) for description in descriptions), arguments)
    return OK


def _describe_file(path: Path) -> dict[str, Any]:
    """What a ``.safetensors`` file says of itself; tensors are counted, not read."""
    from math import prod

    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 (no dict)
            shapes = {key: tuple(part.get_shape()) for key, part in slices.items()}
            dtypes = sorted({part.get_dtype() for part in slices.values()})
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a readable safetensors file ({error}): truncated, renamed, or of another kind. "
            "The authors' .pkl files become one with 'hidra convert'"
        ) from error
    try:
        kind = _describe_kind(metadata, shapes)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} has a damaged header ({error!r}); export or download it again") from error
    if kind is None:
        raise ValueError(
            f"{path} holds neither HiDRA weights nor a backbone for it: {len(shapes)} tensors, "
            f"the first '{min(shapes, default='')}'"
        )
    size = path.stat().st_size
    numbers = sum(prod(shape) for shape in shapes.values())
    return {
        "file": str(path),
        **kind,
        "content": {"tensors": len(shapes), "numbers": numbers, "types": dtypes, "bytes": size},
    }


def _describe_kind(metadata: dict[str, str], shapes: dict[str, tuple[int, ...]]) -> dict[str, Any] | None:
    from .backbone import _SD_TURBO_SHAPES, FORMAT
    from .weights import FORMAT as WEIGHTS_FORMAT

    if metadata.get("format") == WEIGHTS_FORMAT:
        included = any(key.startswith("dem.backbone.") for key in shapes)
        return {
            "kind": "HiDRA weights",
            "format": metadata["format"],
            "version": metadata["version"],
            "backbone": metadata["backbone"],
            "architecture": json.loads(metadata["architecture"]),
            "dem_backbone": {"included": included, **json.loads(metadata["dem_backbone"])},
            "training": json.loads(metadata["training"]),
        }
    if metadata.get("format") == FORMAT:
        return {
            "kind": "HiDRA backbone",
            "format": metadata["format"],
            "version": metadata["version"],
            "name": metadata["name"],
            "prediction_type": metadata["prediction_type"],
            **_network_sizes(json.loads(metadata["unet_config"]), json.loads(metadata["vae_config"])),
        }
    if all(shapes.get(key) == shape for key, shape in _SD_TURBO_SHAPES.items()):
        return {"kind": "SD-Turbo or another Stable Diffusion 2.1, one file in the original layout"}
    return None


def _describe_folder(path: Path) -> dict[str, Any]:
    try:
        configs = [json.loads((path / part / "config.json").read_text(encoding="utf-8")) for part in ("unet", "vae")]
        return {"file": str(path), "kind": "diffusers folder", **_network_sizes(*configs)}
    except FileNotFoundError as error:
        raise ValueError(f"{path} is not a diffusers folder: there is no {error.filename}") from error
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{path} has a damaged config.json ({error!r}); download it again") from error


def _network_sizes(unet: dict[str, Any], vae: dict[str, Any]) -> dict[str, Any]:
    return {
        "unet": {
            "channels": unet["block_out_channels"],
            "layers_per_block": unet["layers_per_block"],
            "text_width": unet["cross_attention_dim"],
        },
        "vae": {
            "channels": vae["block_out_channels"],
            "layers_per_block": vae["layers_per_block"],
            "latent_channels": vae["latent_channels"],
        },
    }


def _outline(values: dict[str, Any], indent: str = "") -> Iterator[str]:
    """A nested dict as indented lines for a reader."""
    for key, value in values.items():
        name = f"{indent}{key.replace('_', ' ')}:"
        if isinstance(value, dict):
            yield name
            yield from _outline(value, indent + "  ") if value else [f"{indent}  not recorded"]
        elif isinstance(value, bool):
            yield f"{name} {'yes' if value else 'no'}"
        elif isinstance(value, list):
            yield f"{name} {', '.join(map(str, value))}"
        elif key == "bytes":
            yield f"{indent}size: {_megabytes(value)}"
        else:
            yield f"{name} {value}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


# --- checks before any work ------------------------------------------------------------------------------------------


def _check_model_paths(*sources: str | None) -> None:
    _check_paths(*(source for source in sources if source != BUILT_IN))


def _check_paths(*sources: str | None) -> None:
    for source in sources:
        if source is not None and not Path(source).exists():
            raise UsageError(f"{source}: no such file or folder; check the spelling")


def _check_folder(folder: Path) -> None:
    """Raise UsageError unless files can be written in this folder, or it can be made."""
    from .images import EXTENSIONS

    place = Path(os.path.abspath(folder))
    if folder.suffix.lower() in EXTENSIONS and not place.is_dir():
        raise UsageError(f"--output {folder} is named like a picture: name a folder, results keep their names in it")
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise UsageError(f"--output {folder}: {place} is a file, a folder is needed")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"--output {folder}: {place} is not writable; choose another folder")


def _check_file(path: Path, overwrite: bool, inputs: list[Path]) -> None:
    """Raise UsageError unless this file can be written, is no input, and does not exist or may be replaced."""
    if path.is_dir():
        raise UsageError(f"--output {path} is a folder, a file name is needed")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--output {path}: no folder {path.parent}; make it first")
    _check_folder(path.absolute().parent)
    if path.exists():
        if any(path.samefile(source) for source in inputs):
            raise UsageError(f"--output {path} is one of the inputs; choose another name")
        if not overwrite:
            raise UsageError(f"--output {path} exists; --overwrite replaces it")


def _require(*modules: str) -> None:
    for module in modules:
        if find_spec(module) is None:
            raise ImportError(f"the command line needs {module}: pip install 'hidra-thermal[cli]'")


# --- talking to the user ---------------------------------------------------------------------------------------------


def _say(text: str, arguments: argparse.Namespace) -> None:
    if not arguments.quiet:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def _report(error: Exception, arguments: argparse.Namespace, source: Path | None = None) -> None:
    """One line for an error, with the picture it is about; with ``--verbose`` also where it came from."""
    reason = _reason(error)
    text = reason if source is None or str(source) in reason else f"{source}: {reason}"
    log.error(text, exc_info=error if arguments.verbose and not isinstance(error, UsageError) else None)


def _reason(error: Exception) -> str:
    """The error's text on one line: without the system's number, with the type where the text alone says little."""
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    elif isinstance(error, UsageError | OSError | ValueError | ImportError):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error} (--verbose shows where)"
    return " ".join(text.split())


@contextmanager
def _messages(arguments: argparse.Namespace) -> Iterator[None]:
    """The library's log goes to the standard error, as ``hidra: error: …``."""

    class Formatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return f"hidra: {record.levelname.lower()}: {super().format(record)}"

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter())
    level, propagate = log.level, log.propagate
    log.setLevel(logging.ERROR if arguments.quiet else logging.INFO if arguments.verbose else logging.WARNING)
    log.propagate = False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate


@contextmanager
def _progress(total: int, arguments: argparse.Namespace) -> Iterator[tqdm]:
    """A bar over ``total`` pictures, drawn if the standard error is a terminal; messages do not run into it."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    bar = tqdm(
        total=total,
        bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}",
        disable=True if arguments.quiet or total == 0 else None,
    )
    with bar, nullcontext() if bar.disable else logging_redirect_tqdm([log]):
        yield bar


def _advance(bar: tqdm, position: float) -> None:
    """Move the bar to so many pictures; a tiled one counts by the share that is done."""
    bar.update(position - bar.n)
