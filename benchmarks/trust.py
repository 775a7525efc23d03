"""Does the hallucination map find what the model invented, and does it keep quiet otherwise?

    python benchmarks/trust.py --images FOLDER

Every image is degraded with its own seed and enhanced. Then an object the input knows nothing of is pasted into the
output: a bar, a box, an ellipse or a ring of random size, place and direction, 0.12 to 0.35 of the grey range warmer or
colder than what is there, its edges as soft as the lens makes them. The area under the ROC curve says how well the map
tells the object's edges (pixels within 2 of its outline) from everything farther than 8 pixels from it; 0.5 is chance.
What is flagged without a planted object is beside it: with the model's output and, at blend 0, with the input itself.
Without --images the project's own rendered scenes are used.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from common import clean_images
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata

import hidra_core
from hidra_core import degradations
from hidra_core.evaluation.provenance import machine
from hidra_core.evaluation.tasks import degrade
from hidra_core.trust import compare

KINDS = ("bar", "box", "ellipse", "ring")


@dataclass(frozen=True)
class Plant:
    """An output with an object pasted in. ``edge`` and ``elsewhere`` are masks of pixels, ``[H, W]``."""

    output: np.ndarray
    edge: np.ndarray
    elsewhere: np.ndarray


def plant(output: np.ndarray, seed: int) -> Plant:
    """Paste an object into a grey picture ``[H, W]`` in [0, 1], at least 96 pixels high and wide."""
    rng = np.random.default_rng(seed)
    height, width = output.shape
    contrast, size, angle = rng.uniform(0.12, 0.35), rng.uniform(10, 28), rng.uniform(0, np.pi)
    y, x = rng.uniform(size + 4, height - size - 4), rng.uniform(size + 4, width - size - 4)
    rows, columns = np.mgrid[:height, :width]
    along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
    across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
    distance = {  # in pixels to the outline, negative inside
        "bar": np.maximum(np.abs(along) - size, np.abs(across) - 2.5),
        "box": np.maximum(np.abs(along) - size, np.abs(across) - 0.6 * size),
        "ellipse": np.hypot(along, across / 0.7) - size,
        "ring": np.abs(np.hypot(along, across) - size) - 2.5,
    }[KINDS[rng.integers(len(KINDS))]]
    base = output[distance < 0].mean()
    sign = -1 if base + contrast > 1 else 1 if base - contrast < 0 else rng.choice([-1, 1])
    pasted = output + sign * contrast * gaussian_filter((distance < 0).astype(np.float64), 0.7)
    return Plant(pasted.clip(0, 1).astype(np.float32), np.abs(distance) < 2, distance > 8)


def area_under_roc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a positive is larger than a negative, ties counting half."""
    ranks = rankdata(np.concatenate([positive, negative]))[: positive.size]
    return float((ranks.sum() - positive.size * (positive.size + 1) / 2) / (positive.size * negative.size))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder of clean images; default: rendered scenes")
    parser.add_argument("--plants", type=int, default=50)
    parser.add_argument("--presets", nargs="+", default=["composite", "fpn", "sr-x2", "moderate", "field"])
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--backbone", default="hidra-tiny", help="hidra-tiny, a folder or a file")
    parser.add_argument("--weights", default="hidra-tiny", help="hidra-tiny or a file")
    options = parser.parse_args()
    for preset in options.presets:
        if preset not in degradations.PRESETS:
            parser.error(f"no preset '{preset}'; choose of {', '.join(degradations.PRESETS)}")

    backbone = hidra_core.load_backbone(options.backbone, dtype=options.dtype)
    weights = hidra_core.load_weights(options.weights)
    images = list(clean_images(options.images).values())
    rows: dict[str, list[tuple[float, ...]]] = {preset: [] for preset in options.presets}
    positives, negatives = [], []
    for seed in range(options.plants):
        preset = options.presets[seed % len(options.presets)]
        degraded = torch.from_numpy(degrade(images[seed % len(images)], preset, seed)[0])[..., None]
        enhanced = hidra_core.enhance(degraded, backbone, hidra_core.estimate(degraded, weights))
        planted = plant(enhanced[..., 0].numpy(), seed)
        found = compare(degraded, torch.from_numpy(planted.output)[..., None])
        without, at_blend_0 = compare(degraded, enhanced), compare(degraded, degraded)
        doubt = found.hallucination
        positive, negative = doubt[planted.edge], doubt[planted.elsewhere]
        rows[preset].append(
            (
                area_under_roc(positive, negative),
                float((positive > 0.5).mean()),
                without.area,
                at_blend_0.area,
                without.score,
                found.score,
            )
        )
        positives.append(positive)
        negatives.append(negative[::20])
    every = [row for preset in rows.values() for row in preset]
    print(f"{len(every)} plants on {len(images)} images; {weights.backbone}, {backbone.dtype}; {machine()}\n")
    print(
        "| degradation | area under ROC: mean, least | edges flagged | flagged without a plant | at blend 0 | score |"
    )
    print("|---|---|---|---|---|---|")
    for name, values in [*rows.items(), ("all", every)]:
        if values:
            area, flagged, without, at_0, score, _ = np.mean(values, axis=0)
            least = min(row[0] for row in values)
            print(f"| {name} | {area:.3f}, {least:.3f} | {flagged:.0%} | {without:.2%} | {at_0:.2%} | {score:.2f} |")
    pooled = area_under_roc(np.concatenate(positives), np.concatenate(negatives))
    worst = max(row[2] for row in every)
    drop = np.mean([row[4] - row[5] for row in every])
    print(f"\nall pixels of all images in one ROC: {pooled:.3f}; most flagged without a plant: {worst:.2%}; ")
    print(f"a plant lowers the score by {drop:.3f} on average")


if __name__ == "__main__":
    main()
