"""What `--compile` costs at the start and gives for each image: hidra-tiny, with `torch.compile` and without.

    python benchmarks/compiled.py
    python benchmarks/compiled.py --dtype bf16 --sizes 512x640

Networks are loaded in processes of their own: without compiling; compiled with an empty cache, as at the very first
start; and compiled with the cache that this left behind, as at every later one. The start is what `hidra enhance` does
before the first image. Each process enhances the same image several times, its degradation folded in. Processor time is
that of all threads and of the compilers that were started.
"""

from __future__ import annotations

import os
import time
from tempfile import TemporaryDirectory
from typing import NamedTuple

from common import in_own_process, options_of


class Measured(NamedTuple):
    """Of one process: the start in seconds and in processor time, and for each size the least time and the result."""

    wall: float
    processor: float
    seconds: dict[str, float]
    results: dict[str, bytes]


def processor_time() -> float:
    """Seconds of this process and of those that it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measure(dtype: str, sizes: list[str], rounds: int, cache: str | None) -> Measured:
    """Start, and enhance an image of each size.

    Args:
        dtype: number type of the networks.
        sizes: of the images, such as ``512x640``.
        rounds: how often each is enhanced.
        cache: folder of the compiler; None: nothing is compiled.
    """
    if cache is not None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
    import torch

    import hidra_core
    from hidra_core.cli.model import start_compiled
    from hidra_core.enhance import DegradationVectors

    weights = hidra_core.load_weights(hidra_core.HIDRA_TINY)
    backbone = hidra_core.load_backbone(hidra_core.HIDRA_TINY, device="cpu", dtype=dtype)
    wall, processor = time.perf_counter(), processor_time()
    if cache is not None:
        start_compiled(weights, backbone)
    wall, processor = time.perf_counter() - wall, processor_time() - processor
    seconds, results = dict.fromkeys(sizes, float("inf")), {}
    generator = torch.Generator().manual_seed(0)
    degradation = DegradationVectors(torch.randn(1, 256, generator=generator), weights)
    for size in sizes:
        height, width = map(int, size.split("x"))
        image = torch.rand(height, width, 1, generator=generator)
        for _ in range(rounds):
            before = time.process_time()
            results[size] = hidra_core.enhance(image, backbone, degradation, fold=True).numpy().tobytes()
            seconds[size] = min(seconds[size], time.process_time() - before)
    return Measured(wall, processor, seconds, results)


def main() -> None:
    """Print the tables."""
    parser = options_of(__doc__)
    parser.add_argument("--dtype", default="fp32", choices=("fp32", "bf16"), help="number type (default: fp32)")
    parser.add_argument("--sizes", nargs="+", default=["512x640", "256x320"], metavar="HxW", help="of the images")
    parser.add_argument("--rounds", type=int, default=3, help="how often each image is enhanced (default: 3)")
    options = parser.parse_args()
    import numpy as np

    from hidra_core.evaluation.provenance import machine
    from hidra_core.evaluation.tables import to_markdown

    print(f"{machine()}; {options.dtype}\n", flush=True)
    with TemporaryDirectory() as cache:
        ways = {"as it is": None, "compiled": cache, "compiled again": cache}
        rows, plain = [], None
        for way, folder in ways.items():
            found = in_own_process(measure, options.dtype, options.sizes, options.rounds, folder)
            plain = plain or found
            for size in options.sizes:
                before, after = (np.frombuffer(one.results[size], np.float32) for one in (plain, found))
                gain = plain.seconds[size] - found.seconds[size]
                numbers = (
                    *(f"{found.wall:.0f}", f"{found.processor:.0f}", f"{found.seconds[size]:.2f}"),
                    *(f"{found.processor / gain:.0f}" if gain > 0 else "-", f"{np.abs(after - before).max():.1e}"),
                )
                rows.append([way, size, *numbers])
                print(" | ".join(rows[-1]), flush=True)
    names = ["", "image", "start, s", "processor time of it", "of an image", "images until it pays", "difference"]
    print(f"\n{to_markdown(names, rows)}")


if __name__ == "__main__":
    main()
