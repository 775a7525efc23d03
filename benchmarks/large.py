"""Memory of a large image: hidra-tiny on 4096×3072 in tiles, beside one tile alone.

python benchmarks/large.py --width 4096 --height 3072
"""

from __future__ import annotations

import argparse
import time

import torch
from common import process_peak

import hidra_core
from hidra_core import scenes
from hidra_core.evaluation.provenance import machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--height", type=int, default=3072)
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    backbone = hidra_core.load_backbone("hidra-tiny", dtype=options.dtype)
    weights = hidra_core.load_weights("hidra-tiny")
    print(f"{backbone.dtype}; {machine()}\n\n| image | seconds | peak memory of the process GB |\n|---|---|---|")
    for height, width in ((1024, 1024), (options.height, options.width)):
        small = torch.from_numpy(scenes.render("field", height // 4, width // 4, 0))
        image = small.repeat_interleave(4, 0).repeat_interleave(4, 1)[None, :, :, None]
        started = time.perf_counter()
        hidra_core.enhance(image, backbone, hidra_core.estimate(image, weights))
        print(f"| {width}×{height} | {time.perf_counter() - started:.1f} | {process_peak():.2f} |")


if __name__ == "__main__":
    main()
