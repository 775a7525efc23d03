"""How far exported graphs are from PyTorch, in ONNX Runtime and in OpenVINO.

    hidra export -o hidra-tiny.onnx
    python benchmarks/export.py hidra-tiny.onnx

A graph of one degradation is compared with PyTorch under the vector in its metadata.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F

from hidra_core import Backbone, DegradationVectors, Weights, enhance, estimate, load_backbone, load_weights
from hidra_core.export import Engine, open_engine

SIZES = ((192, 256), (640, 512), (333, 511))
"""Height and width of the images."""


def main() -> None:
    """Compare the graphs that are named, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graphs", metavar="GRAPH", nargs="+", help="files of hidra export")
    parser.add_argument("--weights", default="hidra-tiny", help="the weights that they were made of")
    parser.add_argument("--backbone", default="hidra-tiny", help="the backbone that they were made of")
    parser.add_argument("--engines", nargs="+", default=["onnx", "openvino"], help="what runs them")
    arguments = parser.parse_args()
    backbone = load_backbone(arguments.backbone, device="cpu", dtype="fp32")
    weights = load_weights(arguments.weights)
    print("| graph | engine | size | largest difference in [0, 1] |\n|---|---|---|---|")
    for graph in arguments.graphs:
        for name in arguments.engines:
            engine = open_engine(graph, name, device="cpu")
            for height, width in SIZES:
                difference = compare(engine, picture(height, width), backbone, weights)
                print(f"| {Path(graph).name} | {name} | {width}×{height} | {difference:.1e} |", flush=True)


def compare(engine: Engine, page: torch.Tensor, backbone: Backbone, weights: Weights) -> float:
    """Largest difference between a graph and PyTorch for one page, ``[H, W, 1]``."""
    vector = engine.metadata.get("hidra.vector")
    if vector is None:
        degradation = estimate(page, weights)
    else:
        degradation = DegradationVectors(torch.tensor([json.loads(vector)]), weights)
    expected = enhance(
        page,
        backbone,
        degradation,
        strength=engine.strength,
        restraint=engine.has_restraint,
        corrector=engine.has_corrector,
    )
    return float((expected - engine.enhance(page)).abs().max())


def picture(height: int, width: int) -> torch.Tensor:
    """A smooth image with noise, ``[H, W, 1]`` in [0, 1]."""
    generator = torch.Generator().manual_seed(height)
    coarse = F.interpolate(torch.rand(1, 1, 9, 11, generator=generator), (height, width), mode="bicubic").clamp(0, 1)
    noisy = 0.1 + 0.7 * coarse + 0.05 * torch.randn(coarse.shape, generator=generator)
    return noisy.clamp(0, 1)[0].movedim(0, -1)


if __name__ == "__main__":
    main()
