"""Options of the sensor stage: what is undone before any network sees a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .console import UsageError

if TYPE_CHECKING:
    import argparse

    from ..sensor import SensorStage, Switch

_SWITCHES = ("dead_pixels", "stripes", "lens_shading")
OF_NETWORKS = (
    *("backbone", "weights", "dem_backbone", "dtype", "device", "strength", "upscale", "restraint", "tile"),
    *("corrector", "decoder", "compile", "batch"),
    *("degradation_per", "smoothing", "engine", "graph"),
)
"""Options of the networks, by their names in the parsed command line."""


@dataclass(frozen=True)
class Found:
    """What the stage found in a file, see :class:`~hidra_core.sources.undone.Findings`, without the pixels of it."""

    words: str | None
    weight: float
    nothing: str = "nothing found"


def add_sensor(group: argparse._ActionsContainer) -> None:
    """Add the options."""
    group.add_argument(
        "--sensor",
        choices=("auto", "off", "only"),
        default="auto",
        help="before the networks, take off what the sensor did to a page; auto: what is found beyond doubt, so that "
        "nothing is touched where nothing is found; off: nothing; only: the stage alone, for which no model is loaded "
        "(default: auto)",
    )
    for name, what in (
        ("--dead-pixels", "replace dead, stuck and blinking pixels and short bad lines"),
        ("--stripes", "take off offsets and gains of columns and rows"),
        (
            "--lens-shading",
            "take off the smooth field of lens and housing; auto does so with --sensor only, else the networks do",
        ),
    ):
        group.add_argument(
            name,
            choices=("auto", "on", "off"),
            default="auto",
            help=f"{what}; auto: where it is found beyond doubt; on: the best estimate in any case; off: never "
            "(default: auto)",
        )
    group.add_argument(
        "--camera",
        metavar="PROFILE",
        type=Path,
        help="first take off the pattern of the camera, from a profile that hidra calibrate made of many frames; files "
        "of another size or camera are refused",
    )


def sensor_of(arguments: argparse.Namespace) -> SensorStage | None:
    """The :class:`~hidra_core.sensor.SensorStage` that the options ask for; None where it does not run.

    Args:
        arguments: the parsed command line; a command may lack the options, and those of radiometric mode.

    Raises:
        UsageError: options that exclude each other, or a profile that cannot be read.
    """
    options = vars(arguments)
    if "sensor" not in options:
        return None
    asked = [_option(name) for name in _SWITCHES if options[name] != "auto"]
    asked += ["--camera"] if options["camera"] is not None else []
    if options["sensor"] == "off":
        if asked:
            raise UsageError(f"--sensor off undoes nothing, and {asked[0]} asks for something: leave one of them out")
        return None
    if options.get("blend", 1) == 0:
        asked = ["--sensor only", *asked] if options["sensor"] == "only" else asked
        if asked:
            raise UsageError(f"--blend 0 applies nothing of the change, and {asked[0]} is a part of it: leave one out")
        return None
    from ..sensor import SensorSettings, SensorStage

    settings = SensorSettings(options["dead_pixels"], options["stripes"], _shading(arguments))
    if settings.is_off and options["camera"] is None:
        raise UsageError("all parts of the sensor stage are off: say --sensor off instead")
    if options["camera"] is None:
        return SensorStage(settings)
    from ..sensor.profile import load_profile

    try:
        return SensorStage(settings, load_profile(options["camera"]), options["camera"].name)
    except (OSError, ValueError) as error:
        raise UsageError(f"--camera {error}") from error


def _shading(arguments: argparse.Namespace) -> Switch:
    """The switch for shading, which ``auto`` takes off where no networks run.

    Networks that were trained to take it off judge brightness worse without it (docs/use/sensor.md has the figures),
    and radiometric mode keeps what one frame cannot tell from a scene that is warmer there.
    """
    options = vars(arguments)
    choice = options["lens_shading"]
    if not options.get("radiometric"):
        return "off" if choice == "auto" and options["sensor"] != "only" else choice
    if options["shading"] and choice != "auto":
        raise UsageError(f"--shading and --lens-shading {choice} say two things of one field: leave out --shading")
    return "off" if choice == "auto" and not options["shading"] else choice


def check_alone(arguments: argparse.Namespace) -> None:
    """Refuse options of the networks for the stage alone.

    Args:
        arguments: the parsed command line, with the ``defaults`` of :data:`OF_NETWORKS`.

    Raises:
        UsageError: there is such an option.
    """
    if arguments.radiometric:
        raise UsageError(
            "--radiometric ties the change of the networks to the temperatures of the input, and --sensor only runs "
            "none: leave one of them out"
        )
    for name in OF_NETWORKS:
        if vars(arguments)[name] != arguments.defaults[name]:
            raise UsageError(
                f"{_option(name)} is about the networks, and --sensor only runs none: leave one of them out"
            )


def summary(found: list[tuple[str, Found]]) -> str | None:
    """What the stage took off the files of a run, in one line; None where it did not run or found nothing.

    Args:
        found: names of the files, and what was found in each.
    """
    touched = [(name, findings) for name, findings in found if findings.words is not None]
    if not touched:
        return None
    name, most = max(touched, key=lambda pair: pair[1].weight)
    if len(found) == 1:
        return f"sensor: {most.words}"
    return f"sensor: something was taken off {len(touched)} of {len(found)} files, most off {name}: {most.words}"


def _option(name: str) -> str:
    return ("--no-" if name in ("restraint", "corrector") else "--") + name.replace("_", "-")
