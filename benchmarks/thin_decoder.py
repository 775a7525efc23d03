"""SD-Turbo's real size with its own decoder and with one of TAESD's shape, on a CPU.

    python benchmarks/thin_decoder.py FOLDER
    python benchmarks/thin_decoder.py FOLDER --miniature        # small networks: does the program work?

All weights are random, which cost as much as trained ones. The thin decoder is written into FOLDER and read as
``hidra enhance --decoder`` reads it. Both ways run ``hidra_core.enhance`` on one image, in turn, in one process; times
are the least of the rounds, by the clock and in processor time. Ends with 1 where the thin decoder takes more than
half of the processor time of the other.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch
from common import options_of
from diffusers import AutoencoderTiny
from diffusers.utils import logging
from random_networks import MINIATURE, REAL_SIZE, random_backbone, random_weights

import hidra_core
from hidra_core.computing import pick_dtype
from hidra_core.enhance import DegradationVectors
from hidra_core.evaluation.provenance import machine
from hidra_core.evaluation.tables import to_markdown
from hidra_core.names import DTYPES

SHARE = 0.5


def main() -> None:
    """Print the table."""
    logging.set_verbosity_error()
    parser = options_of(__doc__)
    parser.add_argument("folder", type=Path, help="to write the thin decoder into")
    parser.add_argument("--side", type=int, default=512, help="height and width of the image (default: 512)")
    parser.add_argument("--rounds", type=int, default=2, help="rounds (default: 2)")
    parser.add_argument("--dtype", choices=("auto", *DTYPES), default="auto", help="to compute in (default: auto)")
    parser.add_argument("--miniature", action="store_true", help="small networks")
    options = parser.parse_args()
    sizes = MINIATURE if options.miniature else REAL_SIZE
    cpu = torch.device("cpu")
    backbone = random_backbone(sizes, cpu, pick_dtype(options.dtype, cpu, "sd-turbo"))
    weights = random_weights(sizes, backbone)
    thin: Any = AutoencoderTiny(**sizes.thin)
    options.folder.mkdir(parents=True, exist_ok=True)
    thin.save_pretrained(options.folder / "taesd")
    image = torch.rand(options.side, options.side, 1)
    degradation = DegradationVectors(torch.randn(1, 256), weights)
    print(f"{options.side}×{options.side}, {backbone.dtype}; {machine()}", flush=True)
    best: dict[str, tuple[float, float]] = {}
    for way, decoder in (("own decoder", None), ("thin decoder", options.folder / "taesd")):
        if decoder is not None:
            backbone.use_decoder(decoder)
        for _ in range(options.rounds):
            clock, processor = time.perf_counter(), time.process_time()
            hidra_core.enhance(image, backbone, degradation)
            seconds = (time.perf_counter() - clock, time.process_time() - processor)
            print(f"{way}: {seconds[0]:.1f} s by the clock, {seconds[1]:.1f} s of processor time", flush=True)
            best[way] = min(best.get(way, seconds), seconds, key=lambda one: one[1])
    own, small = best.values()
    rows = [[way, *(f"{seconds:.1f}" for seconds in pair)] for way, pair in best.items()]
    rows.append(["share", *(f"{after / before:.2f}" for before, after in zip(own, small, strict=True))])
    print(f"\n{to_markdown(['', 'seconds by the clock', 'seconds of processor time'], rows)}")
    if small[1] > SHARE * own[1] and not options.miniature:
        sys.exit("the thin decoder's run takes more than half of the time")


if __name__ == "__main__":
    main()
