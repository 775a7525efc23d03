"""``hidra convert``: the authors' checkpoints become one weights file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..names import DTYPES
from .console import OK, UsageError, log, megabytes, say
from .inputs import check_file, check_paths
from .options import add_command, add_overwrite

if TYPE_CHECKING:
    import argparse

    import torch


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "convert",
        run,
        "convert the authors' checkpoints to a weights file",
        "Convert the two checkpoints of HiDRA's authors, which are pickle files, to one weights file. They are read "
        "without executing anything in them; a file that holds more than tensors and plain containers is refused.",
        "  hidra convert --model model.pkl --dem DEM.pkl --text-encoder sd-turbo/ \\\n"
        "      --dinov2 dinov2-with-registers-base/ --output hidra.safetensors",
    )
    parser.add_argument(
        "--model", metavar="model.pkl", required=True, help="checkpoint with LoRA, modulation heads and conv_in"
    )
    parser.add_argument(
        "--dem", metavar="DEM.pkl", required=True, help="checkpoint with the degradation estimation module"
    )
    text = parser.add_mutually_exclusive_group(required=True)
    text.add_argument(
        "--text-encoder",
        metavar="FOLDER",
        help="diffusers folder of SD-Turbo with text_encoder/ and tokenizer/, to encode the empty prompt",
    )
    text.add_argument(
        "--text-embedding",
        metavar="FILE",
        help="instead of --text-encoder: a .safetensors file whose tensor 'text_embedding', [1, 77, width], is the "
        "embedding of the empty prompt",
    )
    parser.add_argument(
        "--dinov2",
        metavar="FOLDER",
        help="facebook/dinov2-with-registers-base in the Hugging Face layout, to include in the file (default: not "
        "included; name the folder with --dem-backbone whenever the weights are used)",
    )
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, required=True, help=".safetensors file to write")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32", help="number type of the tensors (default: fp32)")
    add_overwrite(parser, "replace the file if it exists (default: refuse)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    sources = [arguments.model, arguments.dem, arguments.text_encoder, arguments.text_embedding, arguments.dinov2]
    check_paths(*sources)
    if arguments.output.suffix != ".safetensors":
        raise UsageError(f"--output {arguments.output}: weights are written as .safetensors; give it that suffix")
    check_file(arguments.output, arguments.overwrite, [Path(source) for source in sources if source is not None])
    from ..computing import DTYPES as TORCH_DTYPES
    from ..convert import convert_authors, empty_prompt_embedding
    from ..weights import save_weights

    if arguments.text_encoder is not None:
        text_embedding = empty_prompt_embedding(arguments.text_encoder)
    else:
        text_embedding = _read_text_embedding(arguments.text_embedding)
    weights = convert_authors(
        arguments.model, arguments.dem, text_embedding, arguments.dinov2, dinov2_config=_dinov2_sizes(arguments.dinov2)
    )
    included = arguments.dinov2 is not None
    save_weights(weights, arguments.output, dtype=TORCH_DTYPES[arguments.dtype], include_dem_backbone=included)
    say(f"wrote {arguments.output} ({megabytes(arguments.output.stat().st_size)})", arguments)
    if not included:
        log.warning(
            "the file does not include the DEM's DINOv2 backbone, since --dinov2 was not given: name its folder with "
            "--dem-backbone whenever these weights are used"
        )
    return OK


def _read_text_embedding(path: str) -> torch.Tensor:
    from ..images.files import read_safetensors

    tensors, _ = read_safetensors(path)
    if "text_embedding" not in tensors:
        raise ValueError(
            f"{path} has no tensor 'text_embedding'; expected the embedding of the empty prompt, [1, 77, width]"
        )
    return tensors["text_embedding"]


def _dinov2_sizes(source: str | None) -> dict[str, int]:
    """Sizes of a DINOv2 with registers from its folder's ``config.json``; those of the base model without one."""
    from ..weights import DINOV2_BASE

    config = Path(source, "config.json") if source is not None else None
    if config is None or not config.is_file():
        return DINOV2_BASE
    try:
        stated = json.loads(config.read_text(encoding="utf-8"))
        return DINOV2_BASE | {key: int(stated[key]) for key in DINOV2_BASE.keys() & stated.keys()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{config} is not a readable model configuration ({error}); download it again") from error
