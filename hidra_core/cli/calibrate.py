"""``hidra calibrate``: the profile of a camera from many of its frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .console import OK, UsageError, reason, say
from .inputs import check_file, find_files, require
from .options import add_command, add_overwrite, add_quiet
from .progress import progress
from .reading import add_raw, reading_of

if TYPE_CHECKING:
    import argparse


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "calibrate",
        run,
        "find what a camera adds to its frames: dead pixels, stripes, pixel pattern, shading",
        "Find what one camera adds to every frame, and write it as its profile: dead, stuck and blinking pixels, "
        "columns, rows, the offset and gain of each pixel, and shading, each with its uncertainty. What stays put "
        "while the scene moves is the camera's, so give 20 to some thousand frames in order while it pans or travels; "
        "a scene that stands still is refused. With --flat the frames show a uniform surface or the closed shutter, "
        "at one level or, for the gain, at several. All files are of one camera, size and kind: 8-bit pictures and "
        "counts have profiles of their own. Files that cannot be read end the command.",
        "  hidra calibrate flight/ --output camera.safetensors\n"
        "  hidra calibrate pan.mkv --output camera.json\n"
        "  hidra calibrate --flat shutter/ --output camera.safetensors",
    )
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="frames of the camera: image files, thermal files, clips, folders or quoted patterns",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, required=True, help="profile to write, .safetensors or .json"
    )
    parser.add_argument(
        "--flat",
        action="store_true",
        help="the frames show a uniform surface or the closed shutter, and are used as they are",
    )
    parser.add_argument(
        "--camera", metavar="NAME", default="", help="name of the camera (default: make and model from the first file)"
    )
    add_raw(parser)
    add_overwrite(parser, "replace a file that exists (default: refuse)")
    add_quiet(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    files = [source for source, _ in find_files(arguments.inputs, clips=True)]
    from ..sensor.profile import check_suffix

    try:
        check_suffix(arguments.output)
    except ValueError as error:
        raise UsageError(f"--output {reason(error)}") from error
    check_file(arguments.output, arguments.overwrite, files)
    reading = reading_of(arguments)
    require("tqdm")
    from ..sensor.calibration import PASSES, calibrate
    from ..sensor.flat import calibrate_flat
    from ..sources import CameraFrames

    passes = 1 if arguments.flat else PASSES
    done = 0  # files, in all passes
    with progress(passes * len(files), arguments) as shown:

        def after_file(_number: int) -> None:
            nonlocal done
            done += 1
            shown.advance(min(done, passes * len(files)))

        def after_frame(number: int, frames: int) -> None:
            shown.begin(f"pass {number + 1} of {passes}, frame {frames}")

        frames = CameraFrames(files, reading, after_file)
        find = calibrate_flat if arguments.flat else calibrate
        profile = find(frames, unit=frames.unit, camera=arguments.camera or frames.camera, progress=after_frame)
    profile.save(arguments.output)
    say(profile.summary(), arguments)
    say(f"{arguments.output} written", arguments)
    return OK
