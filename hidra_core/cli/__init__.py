"""The command ``hidra``: enhance thermal images, estimate their degradation, evaluate, convert and inspect weights.

Exit codes: 0: everything was done; 1: something failed; 2: the command line is wrong (nothing was loaded or written);
130: stopped with Ctrl-C; 143 and 129: stopped by SIGTERM and SIGHUP. Results go to the standard output, messages and
the progress to the standard error.

Each command is a module with ``add``, which adds its options to the parser, and ``run``, which returns the exit code.
"""

# diffusers, transformers and OpenCV need seconds to import. Functions of this package import them when they are called,
# so that help texts and errors in the command line appear at once.
from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from .. import __version__
from . import bake, calibrate, convert, enhance, estimate, evaluate, export, info
from .console import FAILED, INTERRUPTED, WRONG_USAGE, UsageError, log, messages, report, stoppable
from .parser import Parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

COMMANDS = (enhance, estimate, evaluate, convert, info, bake, calibrate, export)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; those of the process by default.

    Returns:
        The exit code, see the docstring of the module.

    Raises:
        SystemExit: argparse ends the program itself for wrong options, ``--help`` and ``--version``.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    parser.check(words)
    arguments = parser.parse_args(words)
    arguments.command_line = words
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # transformers draws one for every file it loads
    with messages(arguments), stoppable() as signals:
        code = _run(arguments)
    return 128 + signals[0] if signals and code == INTERRUPTED else code


def _run(arguments: argparse.Namespace) -> int:
    """Run the command that was parsed; every failure becomes a line and an exit code."""
    try:
        return arguments.run(arguments)
    except UsageError as error:
        report(error, arguments)
        return WRONG_USAGE
    except KeyboardInterrupt:
        log.error("stopped")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe, such as head, has ended; the flush at exit must not fail
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001  any failure becomes a line and an exit code here
        report(error, arguments)
        return FAILED


def build_parser() -> Parser:
    """The parser of all commands and options; the parsed arguments have the function of the command as ``run``."""
    parser = Parser(
        prog="hidra",
        description="Enhance thermal-infrared images: remove stripes, noise, blur and low contrast in one step.",
        epilog="'hidra COMMAND --help' explains a command. The built-in model hidra-tiny needs no download.",
    )
    parser.add_argument("--version", action="version", version=f"hidra {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    parser.commands = dict(commands.choices)
    return parser
