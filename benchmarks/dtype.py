"""Is the automatic choice of number type and path the fastest here? hidra-tiny in bf16 and fp32, hooked and folded.

    python benchmarks/dtype.py
    ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 HIDRA_CALIBRATE=1 python benchmarks/dtype.py    # as on a processor without AMX

Each way enhances one image of 512×640 pixels, one of 1024×1024, and a batch in which every image has its own
degradation; the automatic one is ``load_backbone()`` and ``enhance()`` without options. Times are processor time of all
threads, so that other programs count little, the least of some rounds in which the ways take turns. Ends with 1 where
the automatic choice takes over 5 % more than the fastest way.
"""

from __future__ import annotations

import sys
import time
from typing import Any, Literal

import torch
from common import options_of

import hidra_core
from hidra_core.enhance import DegradationVectors
from hidra_core.evaluation.provenance import machine
from hidra_core.evaluation.tables import to_markdown

TOLERANCE = 1.05
WAYS: dict[str, tuple[str, bool | Literal["auto"]]] = {
    "fp32, hooked": ("fp32", False),
    "fp32, folded": ("fp32", True),
    "bf16, hooked": ("bf16", False),
    "bf16, folded": ("bf16", True),
    "automatic": ("auto", "auto"),
}
CASES: dict[str, tuple[int, int, int]] = {
    "512×640": (1, 512, 640),
    "1024×1024": (1, 1024, 1024),
    "{batch} of 512×640": (0, 512, 640),
}
"""Images, height and width; 0 images stand for the option ``--batch``."""


def run(backbone: Any, images: torch.Tensor, degradation: DegradationVectors, fold: bool | Literal["auto"]) -> None:
    """Enhance images; folded, one by one where each has its own degradation.

    Args:
        backbone: the networks.
        images: ``[B, H, W, 1]``.
        degradation: one vector for each.
        fold: see :func:`hidra_core.enhance`.
    """
    if fold is not True:
        hidra_core.enhance(images, backbone, degradation, fold=fold)
        return
    for row, image in enumerate(images):
        own = DegradationVectors(degradation.vectors[row : row + 1], degradation.weights)
        hidra_core.enhance(image, backbone, own, fold=True)


def main() -> None:
    """Print the table."""
    parser = options_of(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each case (default: 3)")
    parser.add_argument("--batch", type=int, default=4, help="images in the batch (default: 4)")
    options = parser.parse_args()
    weights = hidra_core.load_weights(hidra_core.HIDRA_TINY)
    started = time.perf_counter()
    backbones = {
        dtype: hidra_core.load_backbone(hidra_core.HIDRA_TINY, device="cpu", dtype=dtype)
        for dtype in ("fp32", "bf16", "auto")
    }
    loading = time.perf_counter() - started
    chosen = str(backbones["auto"].dtype).removeprefix("torch.")
    print(f"{machine()}; chosen: {chosen}; loaded three times, with calibration, in {loading:.1f} s\n", flush=True)
    rows, slow = [], []
    for case, (count, height, width) in CASES.items():
        torch.manual_seed(0)
        count = count or options.batch
        images = torch.rand(count, height, width, 1)
        degradation = DegradationVectors(torch.randn(count, 256), weights)
        best = dict.fromkeys(WAYS, float("inf"))
        for _ in range(options.rounds):
            for way, (dtype, fold) in WAYS.items():
                before = time.process_time()
                run(backbones[dtype], images, degradation, fold)
                best[way] = min(best[way], time.process_time() - before)
        least = min(best.values())
        name = case.format(batch=count)
        rows.append(
            [name, *(f"{seconds / count:.2f}" for seconds in best.values()), f"{best['automatic'] / least:.2f}"]
        )
        print(" | ".join(rows[-1]), flush=True)
        if best["automatic"] > TOLERANCE * least:
            slow.append(name)
    print(f"\n{to_markdown(['seconds an image', *WAYS, 'automatic / fastest'], rows)}")
    if slow:
        sys.exit(f"the automatic choice is not within 5 % of the fastest for {', '.join(slow)}")


if __name__ == "__main__":
    main()
