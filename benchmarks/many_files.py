"""A folder of pictures as `hidra enhance` works on it: time beside the networks' own, same results, flat memory.

    python benchmarks/many_files.py WORK --parts time --pictures 200
    python benchmarks/many_files.py WORK --parts pictures clip

WORK is a folder for rendered pictures and results. `time` compares one picture after the other (`--jobs 1`) with the
pipeline; run it on an idle machine with at least two cores. `pictures` and `clip` watch the resident memory of the
program over 2,000 pictures and over a clip of 10,000 frames.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import in_own_process, options_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

ROOT = Path(__file__).resolve().parents[1]

WAYS = {"networks": [], "sensor": ["--sensor", "only"], "none": ["--blend", "0"]}
"""Options of `hidra enhance` for what is done: everything, the sensor stage alone, or reading and writing alone."""


MOST = 1.1
"""Time of a picture in the pipeline at most, in the processor time that the networks take for it."""


@dataclass
class Spent:
    """Seconds that the networks took, by the clock and of the processor.

    Attributes:
        processor_now: reads the processor time: of all threads where none but the networks' are at work.
    """

    processor_now: Callable[[], float]
    clock: float = 0.0
    processor: float = 0.0

    def of(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, its time added."""

        def timed(*arguments: Any, **options: Any) -> Any:
            clock, processor = time.perf_counter(), self.processor_now()
            try:
                return function(*arguments, **options)
            finally:
                self.clock += time.perf_counter() - clock
                self.processor += self.processor_now() - processor

        return timed


def pictures(folder: Path, count: int, height: int, width: int) -> Path:
    """Rendered scenes with noise and stripes as 8-bit PNG files; those that are there stay."""
    import numpy as np
    from PIL import Image

    from hidra_core import scenes

    folder.mkdir(parents=True, exist_ok=True)
    names = list(scenes.SCENES)

    @cache  # rendering takes longer than noise, and the networks need no 2,000 scenes
    def scene(seed: int) -> np.ndarray:
        return scenes.render(names[seed % len(names)], height, width, seed)

    for index in range(count):
        path = folder / f"{index:05d}.png"
        if not path.exists():
            grey = _degraded(scene(index % 100), index)
            Image.fromarray(np.rint(grey * 255).astype(np.uint8)).save(path)
    return folder


def _degraded(clean: np.ndarray, seed: int) -> np.ndarray:
    import numpy as np

    draws = np.random.default_rng(seed)
    noise = draws.normal(0, 0.02, clean.shape) + draws.normal(0, 0.02, (1, clean.shape[1]))
    return np.clip(clean + noise, 0, 1)


def clip(path: Path, frames: int, height: int, width: int) -> Path:
    """A clip of a rendered scene with other noise in each frame."""
    import av
    import numpy as np

    from hidra_core import scenes

    scene = scenes.render(next(iter(scenes.SCENES)), height, width, 1)
    draws = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(frames):
            noisy = np.clip(scene + draws.normal(0, 0.02, scene.shape), 0, 1)
            frame = av.VideoFrame.from_ndarray(np.rint(noisy * 255).astype(np.uint8), format="gray")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def enhanced(folder: Path, output: Path, threads: int, options: list[str]) -> tuple[float, Spent]:
    """(seconds for a folder after the model was loaded, those of the networks); in a process of its own."""
    import torch

    from hidra_core.cli import enhance as command
    from hidra_core.cli import main
    from hidra_core.sources import enhancing

    torch.set_num_threads(threads)
    spent, begun = Spent(time.process_time if "--jobs" in options else time.thread_time), []
    enhancing.enhance, enhancing.estimate = spent.of(enhancing.enhance), spent.of(enhancing.estimate)
    load = command.load

    def loaded(*arguments: Any) -> Any:
        pair = load(*arguments)
        begun.append(time.perf_counter())
        return pair

    command.load = loaded
    code = main(["enhance", str(folder), "--output", str(output), "--quiet", "--overwrite", *options])
    if code != 0:
        raise RuntimeError(f"hidra enhance ended with {code}")
    return time.perf_counter() - begun[0], spent


def times(work: Path, count: int, height: int, width: int, threads: int) -> bool:
    """Print the time of each way; whether the results are the same, and the pipeline takes little more than networks.

    The networks' own processor time is what they take one by one, where nothing runs beside them. Loading the model
    counts for neither, and what the first picture takes longer counts for both.
    """
    folder = pictures(work / f"{width}x{height}-{count}", count, height, width)
    print(f"{count} PNG of {width}x{height}, networks with {threads} thread(s), {os.cpu_count()} cores")
    print("| way | s a picture | networks, clock | networks, processor | time / clock | time / processor |")
    print("|---|---|---|---|---|---|")
    results, seconds, own = [], 0.0, 0.0
    for way, options in (("one by one", ["--jobs", "1"]), ("pipeline", [])):
        output = work / way.replace(" ", "-")
        seconds, spent = in_own_process(enhanced, folder, output, threads, options)
        figures = [value / count for value in (seconds, spent.clock, spent.processor)]
        figures += [seconds / spent.clock, seconds / spent.processor]
        print(f"| {way} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |", flush=True)
        results.append([(output / path.name).read_bytes() for path in sorted(folder.iterdir())])
        own = own or spent.processor
    is_same, share = results[0] == results[1], seconds / own
    print("the results are the same, bit for bit" if is_same else "THE RESULTS DIFFER")
    print(f"time of the pipeline / the networks' own processor time: {share:.3f}, at most {MOST} is asked for")
    return is_same and share <= MOST


def memory(inputs: Path, output: Path, options: list[str]) -> bool:
    """Print the resident memory of `hidra enhance` over its run; whether it is flat within 10 %.

    The run is counted from its first result, or the first part of one: the model is loaded by then.
    """
    import psutil

    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "hidra_core", "enhance", str(inputs), "--output", str(output), "--quiet"]
    print(f"hidra enhance {inputs.name} {' '.join(options)}", flush=True)
    begun, samples = time.monotonic(), []
    program = subprocess.Popen([*command, *options], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    process = psutil.Process(program.pid)
    while program.poll() is None:
        if samples or (output.is_dir() and any(output.iterdir())):
            samples.append(process.memory_info().rss / 1e6)
        time.sleep(0.25)
    if program.returncode != 0:
        raise RuntimeError(f"hidra enhance ended with {program.returncode}")
    parts = [samples[len(samples) * part // 20 : len(samples) * (part + 1) // 20] for part in range(20)]
    middle = [statistics.median(part) for part in parts]  # each of 5 % of the run
    print(f"{time.monotonic() - begun:.0f} s; resident MB at 10 %, 50 % and 100 % of the run: ", end="")
    print(", ".join(f"{middle[part]:.0f}" for part in (1, 9, 19)))
    share = max(middle[1:]) / min(middle[1:])
    is_flat = share <= 1.1
    print(f"largest / smallest from 5 % on: {share:.3f}: {'flat' if is_flat else 'NOT FLAT'} within 10 %", flush=True)
    return is_flat


def main() -> int:
    """Run the parts that are asked for; 1 where one of them does not hold."""
    parser = options_of(__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--parts", nargs="+", choices=("time", "pictures", "clip"), default=("time",))
    parser.add_argument("--pictures", type=int, default=200, help="number of pictures of the part `time`")
    parser.add_argument("--size", default="640x512", help="of the pictures of the part `time`")
    parser.add_argument("--threads", type=int, default=1, help="of the networks in the part `time`")
    parser.add_argument("--small", default="96x96", help="size of the pictures and frames whose memory is watched")
    parser.add_argument("--many", type=int, default=2000, help="number of these pictures")
    parser.add_argument("--frames", type=int, default=10_000, help="number of frames of the clip")
    parser.add_argument("--way", choices=WAYS, default="networks", help="what is done while the memory is watched")
    arguments = parser.parse_args()
    width, height = (int(side) for side in arguments.size.split("x"))
    small = [int(side) for side in arguments.small.split("x")][::-1]
    holds = []
    if "time" in arguments.parts:
        holds.append(times(arguments.work, arguments.pictures, height, width, arguments.threads))
    if "pictures" in arguments.parts:
        folder = pictures(arguments.work / f"{arguments.small}-{arguments.many}", arguments.many, *small)
        holds.append(memory(folder, arguments.work / "memory", WAYS[arguments.way]))
    if "clip" in arguments.parts:
        path = clip(arguments.work / f"{arguments.frames}.mp4", arguments.frames, *small)
        options = WAYS[arguments.way] or ["--degradation-per", "clip"]
        holds.append(memory(path, arguments.work / "memory", options))
    return 0 if all(holds) else 1


if __name__ == "__main__":
    sys.exit(main())
