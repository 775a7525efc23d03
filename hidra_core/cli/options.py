"""Options that several commands have, and how a command is added to the parser."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..names import HIDRA_TINY

if TYPE_CHECKING:
    from collections.abc import Callable


def add_command(
    commands: argparse._SubParsersAction,
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    description: str,
    examples: str,
) -> argparse.ArgumentParser:
    """Add a command and return its parser, with the options that all commands have.

    Args:
        commands: the sub-parsers of the program.
        name: of the command.
        run: the function that runs it and returns the exit code.
        summary: for the list of commands.
        description: for the help of the command.
        examples: command lines, one per line, indented by two spaces.
    """
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=_HelpFormatter,
    )
    parser.set_defaults(run=run, quiet=False)
    parser.add_argument(
        "--verbose",
        action="store_true",
        help="show which files are skipped or passed over and why, and where unexpected errors come from",
    )
    return parser


class _HelpFormatter(argparse.HelpFormatter):
    """Wraps descriptions as usual and leaves the examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("examples:") else super()._fill_text(text, width, indent)


def add_inputs(parser: argparse.ArgumentParser, *, clips: bool = False) -> None:
    """Add the files to work on."""
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="image file (PNG, JPEG, TIFF, BMP, WebP, PGM), thermal file (16-bit or float TIFF, GeoTIFF, radiometric "
        "JPEG of FLIR, DJI, InfiRay and others, FFF, SEQ, CSQ, raw Y16, NPY, NPZ; with optional packages IRG, IS2, "
        f"CPTV, HCC){', clip (MP4, M4V, MOV, MKV, AVI, TS, WebM)' if clips else ''}, folder (searched with its "
        "sub-folders) or quoted pattern such as 'flight/**/*.png'",
    )


def add_backbone(group: argparse._ActionsContainer) -> None:
    """Add the option for the backbone."""
    group.add_argument(
        "--backbone",
        metavar="MODEL",
        help="one-step backbone: hidra-tiny, a diffusers folder of SD-Turbo, or a single .safetensors file "
        "(default: hidra-tiny)",
    )


def add_weights(group: argparse._ActionsContainer) -> None:
    """Add the options for the weights."""
    group.add_argument(
        "--weights",
        metavar="WEIGHTS",
        default=HIDRA_TINY,
        help="HiDRA weights: hidra-tiny or a .safetensors file (default: hidra-tiny)",
    )
    group.add_argument(
        "--dem-backbone",
        metavar="FOLDER",
        help="folder of facebook/dinov2-with-registers-base in the Hugging Face layout, for weights that were written "
        "without it",
    )


def add_device(group: argparse._ActionsContainer) -> None:
    """Add the option for the device."""
    group.add_argument(
        "--device",
        default="auto",
        help="device to compute on: auto, cpu, cuda, cuda:N, xpu or mps; auto: the accelerator of the machine if it "
        "has one (default: auto)",
    )


def add_overwrite(group: argparse._ActionsContainer, text: str) -> None:
    """Add the option to replace files that exist."""
    group.add_argument("--overwrite", action="store_true", help=text)


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add the option for silence."""
    parser.add_argument("--quiet", action="store_true", help="write errors only: no progress, no summary")


def tile_size(text: str) -> int | str | None:
    """``auto``, ``none`` (as None) or a number; its range is for the library to check."""
    if text in ("auto", "none"):
        return None if text == "none" else text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected auto, none or a number of pixels, got '{text}'") from None
