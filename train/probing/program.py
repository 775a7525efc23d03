"""What the programs of this folder share: their options, and how they report an error."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hidra_core.cli.console import reason

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("train")


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the options that the programs of this folder share.

    Args:
        doc: docstring of the program; its summary and examples, up to "Clean images …", become the description.
    """
    parser = argparse.ArgumentParser(
        description=(doc or "").split("Clean images")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    return parser


def run(parser: argparse.ArgumentParser, work: Callable[[argparse.Namespace], str], arguments: list[str] | None) -> int:
    """Run a program.

    Args:
        parser: of the command line.
        work: does everything and returns the text to print.
        arguments: of the command line; None: those of the process.

    Returns:
        The exit code.
    """
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        sys.stdout.write(f"{work(options)}\n")
    except (ValueError, OSError, ImportError) as error:
        log.error("error: %s", reason(error))
        return 1
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that the programs of this folder share."""
    parser.add_argument("--weights", default="hidra-tiny", help="hidra-tiny or a weights file (default: hidra-tiny)")
    parser.add_argument("--dem-backbone", help="folder of DINOv2, for weights that were written without it")
    parser.add_argument("--images", type=Path, required=True, help="folder of clean thermal images to fit on")
    parser.add_argument(
        "--held-out",
        type=Path,
        help="folder of other clean images, to calibrate and to measure on (default: every fourth of --images)",
    )
    parser.add_argument("--count", type=int, default=150, help="images of --images to use at most (default: 150)")
    parser.add_argument("--draws", type=int, default=3, help="degradations of each held-out image (default: 3)")
    parser.add_argument(
        "--frame",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        default=(240, 320),
        help="size of the degraded frames; smaller images are left out (default: 240 320)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the choice of images and of the degradations")


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of programs that write a copy of a weights file with one more part in it."""
    parser.add_argument("--output", type=Path, required=True, help="weights file to write; may be that of --weights")
    parser.add_argument("--overwrite", action="store_true", help="replace it if it exists")


def check_output(options: argparse.Namespace) -> None:
    """Check the options of :func:`add_output_options`.

    Raises:
        ValueError: the copy cannot be written there.
    """
    if options.output.suffix != ".safetensors" or not options.output.absolute().parent.is_dir():
        raise ValueError(f"--output {options.output}: name a .safetensors file in a folder that exists")
    if options.output.exists() and not options.overwrite:
        raise ValueError(f"--output {options.output} exists; --overwrite replaces it")
