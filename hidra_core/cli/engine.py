"""Options of the program that runs the networks: PyTorch, or another one with an exported graph."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .console import UsageError
from .inputs import check_paths

if TYPE_CHECKING:
    import argparse

    from ..export import Engine
    from ..sources import Change, Running

ENGINES = ("torch", "onnx", "openvino")

_IN_THE_GRAPH = (
    *("backbone", "weights", "dem_backbone", "dtype", "strength", "upscale", "restraint", "corrector", "tile"),
    *("degradation_per", "smoothing", "decoder", "compile"),
)
"""Options, by their names in the parsed command line, that are refused because a graph holds what they are about."""


def add_engine(group: argparse._ActionsContainer) -> None:
    """Add the options."""
    group.add_argument(
        "--engine",
        choices=ENGINES,
        default="torch",
        help="what runs the networks; onnx: ONNX Runtime, openvino: OpenVINO, both with a graph that hidra export "
        "wrote, for images and counts with sides from 33 to 1024 pixels (default: torch)",
    )
    group.add_argument("--graph", metavar="FILE", help="the .onnx file for --engine onnx and openvino")


def check_engine(arguments: argparse.Namespace) -> None:
    """Refuse what a graph cannot do, before anything is loaded.

    Args:
        arguments: the parsed command line, with the ``defaults`` of the options that a graph holds.

    Raises:
        UsageError: there is such an option, or a graph is missing or too many.
    """
    if arguments.engine == "torch":
        if arguments.graph is not None:
            raise UsageError("--graph is for --engine onnx and --engine openvino: give one of them too")
        return
    if arguments.graph is None:
        raise UsageError(
            f"--engine {arguments.engine} needs --graph FILE; write one with: hidra export -o hidra-tiny.onnx"
        )
    if arguments.engine_address is not None:
        raise UsageError("--engine-address loads the networks with PyTorch: leave --engine out, or use --shard")
    if arguments.batch != arguments.defaults["batch"]:
        raise UsageError("--batch is for PyTorch, and graphs run picture by picture: leave it out, or --engine")
    check_paths(arguments.graph)
    for name in _IN_THE_GRAPH:
        if vars(arguments)[name] != arguments.defaults[name]:
            option = ("--no-" if name in ("restraint", "corrector") else "--") + name.replace("_", "-")
            raise UsageError(
                f"{option} is about what the graph {arguments.graph} holds already: leave it out, or export another"
            )


def with_engine(running: Running, change: Change, arguments: argparse.Namespace) -> Running:
    """How the networks run, with the graph that the options name, if they do.

    Args:
        running: what the other options ask for.
        change: how much of the change a result gets.
        arguments: the parsed command line.

    Raises:
        UsageError: a graph that cannot do what is asked for.
        ValueError: not a graph.
        ImportError: what runs it is not installed.
    """
    if arguments.engine == "torch" or not change.blend or not running.networks:
        return running
    from ..export import open_engine

    engine: Engine = open_engine(arguments.graph, arguments.engine, device=arguments.device)
    if change.radiometric and engine.has_corrector:
        raise UsageError(
            f"--radiometric keeps the input's temperatures, and {arguments.graph} has the corrector in it, which "
            "changes them: export one with --no-corrector"
        )
    return replace(running, engine=engine)
