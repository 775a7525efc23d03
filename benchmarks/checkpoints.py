"""How long it takes until a cancelled computation stops: the longest times between two checkpoints, on a large image.

    python benchmarks/checkpoints.py [--size 4096x3072] [NAME ...]

prints for every operation of the nodes how long it takes, the three longest times between checkpoints, and the lines
after which they lie. A user who cancels waits for at most the longest. Times are of this process's processor, with one
thread, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from hidra_core import enhance, estimate, load_backbone, load_weights
from hidra_core.checkpoints import at_checkpoints
from hidra_core.evaluation.quality_report import measure_all
from hidra_core.images import palettes
from hidra_core.scenes import render
from hidra_core.sensor import undo_sensor
from hidra_core.thermal.anchor import anchor
from hidra_core.trust import compare, trust_picture
from hidra_core.vectors import degradation_report

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """The times between checkpoints, and where each began."""

    def __init__(self) -> None:
        self.gaps: list[tuple[float, str]] = []
        self._last = (time.process_time(), "the beginning")

    def __call__(self, *_: object) -> None:
        """At a checkpoint, or when progress is told."""
        now = time.process_time()
        self.gaps.append((now - self._last[0], self._last[1]))
        self._last = (time.process_time(), self._place())

    @staticmethod
    def _place() -> str:
        """The innermost line of the library that is no checkpoint itself."""
        frame = sys._getframe(2)  # noqa: SLF001  the only way to the caller
        while frame is not None:
            path = Path(frame.f_code.co_filename)
            if path.name != "checkpoints.py" and "hidra_core" in path.parts:
                return f"{path.name}:{frame.f_lineno} {frame.f_code.co_name}"
            frame = frame.f_back
        return "?"


def operations(height: int, width: int) -> dict[str, Callable[[Clock], object]]:
    """What the nodes compute, by name."""
    tile = render("street", 512, 640, 1)
    grey = np.tile(tile, (-(-height // 512), -(-width // 640)))[:height, :width].astype(np.float32)
    noisy = (grey + np.random.default_rng(0).normal(0, 0.03, grey.shape)).clip(0, 1).astype(np.float32)
    noisy += np.random.default_rng(1).normal(0, 0.01, width).astype(np.float32)
    noisy = noisy.clip(0, 1)
    image, clean = (torch.from_numpy(plane)[None, ..., None] for plane in (noisy, grey))
    weights, backbone = load_weights("hidra-tiny"), load_backbone("hidra-tiny", device="cpu", dtype="fp32")
    counts = 7000 + noisy.astype(np.float64) * 1500

    def estimated(clock: Clock) -> str:
        vectors = estimate(image, weights, progress=clock)
        return degradation_report(image, vectors, "hidra-tiny")

    def trusted(_: Clock) -> object:
        return trust_picture(image[0], clean[0], compare(image[0], clean[0]))

    def enhanced(clock: Clock, low_frequencies: float = 1.0) -> torch.Tensor:
        vectors = estimate(image[:, :256, :256], weights)
        return enhance(image, backbone, vectors, progress=clock, low_frequencies=low_frequencies)

    def to_grey(_: Clock) -> object:
        return palettes.invert(palettes.colour(noisy, "ironbow"))

    return {
        "estimate": estimated,
        "enhance": enhanced,
        "enhance, low_frequencies 0.5": lambda clock: enhanced(clock, low_frequencies=0.5),
        "trust report": trusted,
        "quality metrics": lambda _: measure_all(image, clean),
        "radiometric": lambda _: anchor(counts, 7000 + clean[0, ..., 0].double().numpy() * 1500),
        "radiometric, shading": lambda _: anchor(counts, 7000 + grey.astype(np.float64) * 1500, with_shading=True),
        "colour to grey": to_grey,
        "sensor": lambda _: undo_sensor(noisy * 255),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="operations; all by default")
    parser.add_argument("--size", default="4096x3072", help="width and height in pixels")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    width, height = map(int, arguments.size.split("x"))
    for name, run in operations(height, width).items():
        if arguments.names and name not in arguments.names:
            continue
        clock = Clock()
        at_checkpoints(clock)
        begun = time.process_time()
        run(clock)
        clock()
        at_checkpoints(None)
        longest = ", ".join(f"{gap:.2f} after {place}" for gap, place in sorted(clock.gaps, reverse=True)[:3])
        print(f"{name}: {time.process_time() - begun:.1f} s, longest {longest}", flush=True)


if __name__ == "__main__":
    main()
