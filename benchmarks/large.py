"""Memory of a large image: hidra-tiny on 4096×3072 pixels in tiles, compared with a single tile.

python benchmarks/large.py --width 4096 --height 3072
"""

from __future__ import annotations

import time

import torch
from common import options_of, process_peak

import hidra_core
from hidra_core import scenes
from hidra_core.evaluation.provenance import machine
from hidra_core.evaluation.tables import to_markdown
from hidra_core.names import DTYPES


def main() -> None:
    """Enhance one tile and then the large image, and print a table."""
    parser = options_of(__doc__)
    parser.add_argument("--width", type=int, default=4096, help="of the large image, in pixels (default: 4096)")
    parser.add_argument("--height", type=int, default=3072, help="of the large image, in pixels (default: 3072)")
    parser.add_argument("--dtype", choices=("auto", *DTYPES), default="auto", help="to compute in (default: auto)")
    options = parser.parse_args()
    backbone = hidra_core.load_backbone("hidra-tiny", dtype=options.dtype)
    weights = hidra_core.load_weights("hidra-tiny")
    print(f"{backbone.dtype}; {machine()}\n")
    rows = []
    for height, width in ((1024, 1024), (options.height, options.width)):
        small = torch.from_numpy(scenes.render("field", height // 4, width // 4, 0))
        image = small.repeat_interleave(4, 0).repeat_interleave(4, 1)[None, :, :, None]
        started = time.perf_counter()
        hidra_core.enhance(image, backbone, hidra_core.estimate(image, weights))
        rows.append([f"{width}×{height}", f"{time.perf_counter() - started:.1f}", f"{process_peak():.2f}"])
    print(to_markdown(["image", "seconds", "peak memory of the process GB"], rows))


if __name__ == "__main__":
    main()
