"""How well a camera profile finds a known pattern while the scene moves, and what it gains over the stage of one frame.

Rendered scenes and, with ``--sequences``, real ones, over which a camera with a known pattern travels; real frames of
fixed cameras stand still as they are, which is to be refused, and get their motion here.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from common import options_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # for the frames of a camera with a pattern

from helpers import moving

from hidra_core import scenes
from hidra_core.sensor import CameraProfile, calibrate, undo_sensor
from hidra_core.sources import read_grey

_SIZE = (192, 256)


def measure(name: str, camera: moving.Camera, seen: np.ndarray) -> None:
    """Print the figures for what a camera saw, ``[N, H, W]`` in grey levels."""
    frames = camera.frames(seen)
    start = time.perf_counter()
    profile = calibrate(frames, unit="grey levels")
    seconds = time.perf_counter() - start
    good = ~camera.dead
    expected = camera.offsets + (camera.gain - 1) * (profile.pivot - 128)
    share = (profile.offsets - expected)[good].std() / expected[good].std()
    missed, false = int((camera.dead & ~profile.dead).sum()), int((profile.dead & good).sum())
    print(
        f"| {name} | {len(frames)} | {100 * share:.1f} % | {camera.dead.sum()} | {missed} | {false} "
        f"| {gain_in_decibels(profile, camera, frames, seen):.1f} dB | {seconds / len(frames):.2f} s |",
        flush=True,
    )


def gain_in_decibels(profile: CameraProfile, camera: moving.Camera, frames: np.ndarray, seen: np.ndarray) -> float:
    """By how much less of the pattern the profile leaves than the stage of one frame, over ten of the frames."""
    good, rests = ~camera.dead, {"one": [], "many": []}
    for frame, view in list(zip(frames, seen, strict=True))[:: max(1, len(frames) // 10)]:
        image = frame.astype(np.float32)
        for kind, undone in (("one", undo_sensor(image)[0]), ("many", profile.undo(image)[0])):
            rests[kind].append(np.var((undone - view)[good]))
    return float(10 * np.log10(np.mean(rests["one"]) / np.mean(rests["many"])))


def refused(frames: np.ndarray) -> str:
    """What is said of frames that are to be refused."""
    try:
        calibrate(frames, unit="grey levels")
    except ValueError as error:
        return str(error).partition(":")[0]
    return "NOT REFUSED"


def main() -> None:
    """Run the program."""
    parser = options_of(__doc__)
    parser.add_argument("--frames", type=int, default=200, help="of the rendered scenes (default: 200)")
    parser.add_argument("--sequences", type=Path, help="folder with sequences as NAME/clean/*.png")
    arguments = parser.parse_args()
    print(
        "| scene | frames | error of the pattern | dead pixels | missed | false | better than one frame | per frame |"
    )
    print("|---|---|---|---|---|---|---|---|")
    height, width = _SIZE
    dead = round(0.003 * height * width)
    for name in scenes.SCENES:
        large = 45 + 165 * scenes.render(name, 4 * height, 4 * width, 3)
        camera = moving.camera(height, width, dead=dead)
        measure(name, camera, moving.views(large, arguments.frames, _SIZE))
        print(f"\n{name}, standing still: {refused(camera.frames(moving.views(large, 20, _SIZE, step=0)))}\n")
    for folder in sorted(arguments.sequences.iterdir()) if arguments.sequences else ():
        whole = [40 + 255.0 * read_grey(path)[0] for path in sorted((folder / "clean").glob("*.png"))]
        camera = moving.camera(height, width, dead=dead)
        views = [moving.views(frame, len(whole), _SIZE, step=6.0)[index] for index, frame in enumerate(whole)]
        measure(folder.name, camera, np.stack(views))
        camera = moving.camera(*whole[0].shape, dead=dead)
        print(f"\n{folder.name}, as it is: {refused(camera.frames(np.stack(whole)))}\n")


if __name__ == "__main__":
    main()
