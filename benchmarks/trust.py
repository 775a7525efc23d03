"""Does the hallucination map find objects that the model invented, and nothing else?

    python benchmarks/trust.py --images FOLDER

Every image is degraded with its own seed and enhanced. Then an object that is not in the input is pasted into the
output: a bar, a box, an ellipse or a ring of random size, place and direction, 0.12 to 0.35 of the grey range warmer or
colder than its surroundings, with edges as soft as those of the lens. The area under the ROC curve says how well the
map separates the object's edges (pixels within 2 of its outline) from all pixels farther than 8 from it; 0.5 is chance.
The table also has the share of pixels that is flagged without a pasted object: for the output of the model and, at
blend 0, for the input itself. Without --images the project's own rendered scenes are used.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from common import clean_images, options_of
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata
from torch import Tensor

import hidra_core
from hidra_core import degradations
from hidra_core.evaluation.provenance import machine
from hidra_core.evaluation.tables import to_markdown
from hidra_core.evaluation.tasks import degrade
from hidra_core.names import DTYPES
from hidra_core.trust import compare

SHAPES = ("bar", "box", "ellipse", "ring")


@dataclass(frozen=True)
class Plant:
    """An output with an object pasted in.

    Attributes:
        output: ``[H, W]`` float32 in [0, 1].
        edge: mask of the pixels at the object's outline, ``[H, W]``.
        elsewhere: mask of the pixels away from it, ``[H, W]``.
    """

    output: np.ndarray
    edge: np.ndarray
    elsewhere: np.ndarray


def plant(output: np.ndarray, seed: int) -> Plant:
    """Paste an object into a grey image.

    Args:
        output: ``[H, W]`` in [0, 1], at least 96 pixels high and wide.
        seed: of the object's shape, size, place and contrast.
    """
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
    }[SHAPES[rng.integers(len(SHAPES))]]
    base = output[distance < 0].mean()
    sign = -1 if base + contrast > 1 else 1 if base - contrast < 0 else rng.choice([-1, 1])
    pasted = output + sign * contrast * gaussian_filter((distance < 0).astype(np.float64), 0.7)
    return Plant(pasted.clip(0, 1).astype(np.float32), np.abs(distance) < 2, distance > 8)


def area_under_roc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a positive value is larger than a negative one; ties count half.

    Args:
        positive: values that should be large, ``[N]``.
        negative: values that should be small, ``[M]``.
    """
    ranks = rankdata(np.concatenate([positive, negative]))[: positive.size]
    return float((ranks.sum() - positive.size * (positive.size + 1) / 2) / (positive.size * negative.size))


@dataclass(frozen=True)
class Scores:
    """The scores of one planted object.

    Attributes:
        roc: area under the ROC curve.
        flagged: share of the edge that is flagged.
        without: share of all pixels that is flagged without the object.
        at_blend_0: the same for the input itself.
        score: trust score without the object.
        planted_score: trust score with it.
    """

    roc: float
    flagged: float
    without: float
    at_blend_0: float
    score: float
    planted_score: float


def measure(degraded: Tensor, enhanced: Tensor, seed: int) -> tuple[Scores, np.ndarray, np.ndarray]:
    """Plant an object and compare.

    Args:
        degraded: the input, ``[H, W, 1]`` in [0, 1].
        enhanced: the output of the model, of the same shape.
        seed: of the object.

    Returns:
        The scores, and the values of the hallucination map at the object's edge and away from it.
    """
    planted = plant(enhanced[..., 0].numpy(), seed)
    report = compare(degraded, torch.from_numpy(planted.output)[..., None])
    without, at_blend_0 = compare(degraded, enhanced), compare(degraded, degraded)
    positive, negative = report.hallucination[planted.edge], report.hallucination[planted.elsewhere]
    scores = Scores(
        area_under_roc(positive, negative),
        float((positive > 0.5).mean()),
        without.area,
        at_blend_0.area,
        without.score,
        report.score,
    )
    return scores, positive, negative


def row(name: str, entries: list[Scores]) -> list[str]:
    """A line of the table: means over some objects.

    Args:
        name: of the degradation.
        entries: their scores.
    """
    least = min(entry.roc for entry in entries)
    roc, flagged, without, at_blend_0, score, _ = np.mean([astuple(entry) for entry in entries], axis=0)
    return [name, f"{roc:.3f}, {least:.3f}", f"{flagged:.0%}", f"{without:.2%}", f"{at_blend_0:.2%}", f"{score:.2f}"]


def main() -> None:
    """Plant objects and print a table."""
    parser = options_of(__doc__)
    parser.add_argument("--images", type=Path, help="folder of clean images (default: rendered scenes)")
    parser.add_argument("--plants", type=int, default=50, help="objects to paste in (default: 50)")
    parser.add_argument(
        "--presets",
        nargs="+",
        default=["composite", "fpn", "sr-x2", "moderate", "field"],
        help="presets of degradation, in turn (default: composite fpn sr-x2 moderate field)",
    )
    parser.add_argument("--dtype", choices=("auto", *DTYPES), default="auto", help="to compute in (default: auto)")
    parser.add_argument("--backbone", default="hidra-tiny", help="hidra-tiny, a folder or a file (default: hidra-tiny)")
    parser.add_argument("--weights", default="hidra-tiny", help="hidra-tiny or a file (default: hidra-tiny)")
    options = parser.parse_args()
    for preset in options.presets:
        if preset not in degradations.PRESETS:
            parser.error(f"there is no preset '{preset}'; choose from {', '.join(degradations.PRESETS)}")

    backbone = hidra_core.load_backbone(options.backbone, dtype=options.dtype)
    weights = hidra_core.load_weights(options.weights)
    images = list(clean_images(options.images).values())
    scores: dict[str, list[Scores]] = {preset: [] for preset in options.presets}
    positives, negatives = [], []
    for seed in range(options.plants):
        preset = options.presets[seed % len(options.presets)]
        degraded = torch.from_numpy(degrade(images[seed % len(images)], preset, seed)[0])[..., None]
        enhanced = hidra_core.enhance(degraded, backbone, hidra_core.estimate(degraded, weights))
        entry, positive, negative = measure(degraded, enhanced, seed)
        scores[preset].append(entry)
        positives.append(positive)
        negatives.append(negative[::20])
    every = [entry for entries in scores.values() for entry in entries]
    print(f"{len(every)} plants on {len(images)} images; {weights.backbone}, {backbone.dtype}; {machine()}\n")
    header = ["degradation", "area under ROC: mean, least", "edges flagged", "flagged without a plant"]
    rows = [row(name, entries) for name, entries in [*scores.items(), ("all", every)] if entries]
    print(to_markdown([*header, "at blend 0", "score"], rows))
    pooled = area_under_roc(np.concatenate(positives), np.concatenate(negatives))
    worst = max(entry.without for entry in every)
    drop = np.mean([entry.score - entry.planted_score for entry in every])
    print(f"\nall pixels of all images in one ROC: {pooled:.3f}; most flagged without a plant: {worst:.2%};")
    print(f"a plant lowers the score by {drop:.3f} on average")


if __name__ == "__main__":
    main()
