"""Fit probes to a weights file: what degrades an image and how much, read off its degradation vector.

    python train/probing/probes.py --images CLEAN --held-out OTHERS --output probed.safetensors  # hidra-tiny's
    python train/probing/probes.py --weights mine.safetensors --images CLEAN --output mine.safetensors --overwrite

Clean images are degraded with known parameters, by each kind of degradation alone, by all of them at the four
severities, by random mixtures, by what today's cameras do and by nothing. Linear read-outs of the DEM's vectors are
fitted on --images and calibrated on --held-out, which neither the DEM nor the fit should have seen. Figures are
measured on the held-out images too, each half of them with a calibration on the other half. Writes a copy of the
weights file with the probes in it; everything else in it stays bit for bit. Takes minutes on one processor core.

Needs scikit-learn: ``pip install 'hidra-thermal[train]'``.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import expit, softmax
from sklearn.covariance import LedoitWolf

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script from anywhere

from hidra_core.backbone import pick_device
from hidra_core.evaluation.tables import to_markdown
from hidra_core.readouts import KINDS, LEVELS, MAPS, Probes, directions
from hidra_core.weights import add_probes, load_weights
from train.probing import linear
from train.probing.labelled import (
    ALONE,
    DEFINITIONS,
    MIXTURES,
    SEVERITIES,
    Vectors,
    degraded_vectors,
    load_split,
)
from train.probing.program import add_output_options, check_output, parser_of, run

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from numpy.typing import NDArray

log = logging.getLogger("train")

FITTED = ALONE | SEVERITIES | MIXTURES
"""The presets that frames are drawn from."""

MIXED_DRAWS = 4
"""Draws of the random mixture for each draw of another preset: images are mixtures, the others are extremes."""


def present(vectors: Vectors) -> NDArray:
    """Whether each kind of degradation is visible in each frame, bool ``[N, 6]``."""
    return vectors.amounts >= [kind.threshold for kind in DEFINITIONS]


def shown(vectors: Vectors) -> NDArray:
    """Amounts within the range that probes tell, ``[N, 6]``."""
    return np.minimum(vectors.amounts, [kind.full for kind in DEFINITIONS])


def level_numbers(vectors: Vectors) -> NDArray:
    """Position in :data:`~hidra_core.readouts.probes.LEVELS` of each preset, ``[N]``; all must be levels."""
    return np.array([LEVELS.index(name) for name in vectors.presets])


def fit(vectors: Vectors) -> dict[str, list[linear.Map]]:
    """Fit the probes.

    Args:
        vectors: of the images to fit on.

    Returns:
        For each of :data:`~hidra_core.readouts.probes.MAPS` one probe per kind, or one for all levels.
    """
    there, amount, graded = present(vectors), shown(vectors), vectors.of(LEVELS)
    kinds = range(len(KINDS))
    return {
        "presence": [linear.classifier(vectors.vectors, there[:, k].astype(int), vectors.images) for k in kinds],
        "amount": [linear.regressor(vectors.vectors, amount[:, k], vectors.images) for k in kinds],
        "level": [linear.classifier(graded.vectors, level_numbers(graded), graded.images)],
    }


def calibrate(probes: dict[str, list[linear.Map]], vectors: Vectors) -> dict[str, list[linear.Map]]:
    """Calibrate probes.

    Args:
        probes: of :func:`fit`.
        vectors: of other images.

    Returns:
        The probes with honest probabilities, and amounts that are right on average, on these vectors.
    """
    there, amount, graded = present(vectors), shown(vectors), vectors.of(LEVELS)

    def corrected(name: str, correction: Callable[[NDArray, NDArray], tuple[float, float]], wanted: NDArray) -> list:
        outputs = [linear.outputs(probe, vectors.vectors)[:, 0] for probe in probes[name]]
        return [
            linear.calibrated(probe, *correction(output, wanted[:, k]))
            for k, (probe, output) in enumerate(zip(probes[name], outputs, strict=True))
        ]

    (level,) = probes["level"]
    factor = linear.temperature(linear.outputs(level, graded.vectors), level_numbers(graded))
    return {
        "presence": corrected("presence", linear.platt, there.astype(int)),
        "amount": corrected("amount", linear.straightened, amount),
        "level": [linear.calibrated(level, factor, 0.0)],
    }


def cross_calibrated(probes: dict[str, list[linear.Map]], vectors: Vectors) -> tuple[Vectors, dict[str, NDArray]]:
    """Outputs of the probes, each half of the images with a calibration on the other half.

    Args:
        probes: of :func:`fit`.
        vectors: of other images.

    Returns:
        The vectors in the order of the outputs, and probabilities ``presence`` ``[N, 6]``, ``amount`` ``[N, 6]`` and
        probabilities ``level`` ``[N, 4]``.
    """
    halves = [vectors.where(vectors.images % 2 == part) for part in (0, 1)]
    results: dict[str, list[NDArray]] = {name: [] for name in MAPS}
    for measured, other in (halves, halves[::-1]):
        for name, maps in calibrate(probes, other).items():
            results[name].append(np.concatenate([linear.outputs(probe, measured.vectors) for probe in maps], axis=1))
    outputs = {name: np.concatenate(parts) for name, parts in results.items()}
    amounts = np.clip(outputs["amount"], 0, [kind.full for kind in DEFINITIONS])
    ordered = Vectors(
        *(
            np.concatenate([getattr(half, name) for half in halves])
            for name in ("vectors", "images", "presets", "amounts")
        )
    )
    levels = softmax(outputs["level"], axis=1)
    return ordered, {"presence": expit(outputs["presence"]), "amount": amounts, "level": levels}


def measure(vectors: Vectors, outputs: dict[str, NDArray]) -> tuple[list[dict[str, float]], dict[str, float]]:
    """How good the probes are.

    Args:
        vectors: of :func:`cross_calibrated`.
        outputs: of the same.

    Returns:
        The figures of each kind, and those of the level and of untouched images.
    """
    there, amount = present(vectors), shown(vectors)
    kinds = []
    for k in range(len(KINDS)):
        said = outputs["presence"][:, k] >= 0.5
        seen, spared = (float(np.mean(said[there[:, k] == truth] == truth)) for truth in (True, False))
        kinds.append(
            {
                "accuracy": (seen + spared) / 2,
                "calibration_error": linear.calibration_error(outputs["presence"][:, k], there[:, k]),
                "amount_error": float(np.abs(outputs["amount"][:, k] - amount[:, k]).mean()),
            }
        )
    graded = np.isin(vectors.presets, LEVELS)
    shares, wanted = outputs["level"][graded], level_numbers(vectors.where(graded))
    hits = shares.argmax(axis=1) == wanted
    untouched = vectors.presets == "untouched"
    level = {
        "level_accuracy": float(hits.mean()),
        "level_within_one": float((np.abs(shares.argmax(axis=1) - wanted) <= 1).mean()),
        "level_calibration_error": linear.calibration_error(shares.max(axis=1), hits),
        "false_alarms_when_untouched": float((outputs["presence"][untouched] >= 0.5).mean()),
    }
    return kinds, level


def build(
    probes: dict[str, list[linear.Map]],
    vectors: NDArray,
    figures: list[dict[str, float]],
    level_figures: dict[str, float],
    fitted: dict[str, Any],
) -> Probes:
    """Put the part of the weights file together.

    Args:
        probes: calibrated.
        vectors: ``[N, 256]``, along whose variation a vector is moved.
        figures: of each kind; rounded to four digits.
        level_figures: of the level and of untouched images; rounded to four digits.
        fitted: what the file tells of the fit.

    Returns:
        The part.
    """

    def tensor(parts: list[NDArray]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(parts)).float()

    def rounded(values: dict[str, float]) -> dict[str, float]:
        return {name: round(value, 4) for name, value in values.items()}

    kinds = [replace(kind, figures=rounded(values)) for kind, values in zip(DEFINITIONS, figures, strict=True)]
    weight = {name: tensor([probe[0] for probe in maps]) for name, maps in probes.items()}
    bias = {name: tensor([probe[1] for probe in maps]) for name, maps in probes.items()}
    moves = directions(weight, torch.from_numpy(LedoitWolf().fit(vectors).covariance_))
    return Probes(kinds, moves, weight, bias, rounded(level_figures), fitted)


def table(probes: Probes) -> str:
    """The figures as a Markdown table and a few lines."""
    rows = [
        [
            kind.name,
            f"{kind.figures['accuracy']:.1%}",
            f"{kind.figures['calibration_error']:.3f}",
            f"{kind.figures['amount_error']:.2f} {kind.unit}",
            f"{kind.full:g}",
        ]
        for kind in probes.kinds
    ]
    level = probes.figures
    lines = [
        to_markdown(["kind", "present or not", "calibration error", "amount: mean error", "of"], rows),
        "",
        f"four severities: {level['level_accuracy']:.1%} right, {level['level_within_one']:.1%} at most one off, "
        f"calibration error {level['level_calibration_error']:.3f}",
        f"untouched images: a kind is found by mistake {level['false_alarms_when_untouched']:.1%} of the time",
    ]
    return "\n".join(lines)


def work(options: argparse.Namespace) -> str:
    """Do what the program is for, and return the text to print."""
    check_output(options)
    weights = load_weights(options.weights, dem_backbone=options.dem_backbone)
    fitting, held = load_split(options)
    estimator = weights.estimator.to(pick_device("auto"))
    log.info("%d images to fit on, %d held out", len(fitting), len(held))
    sets = []  # to fit on, held out
    for images, draws, seed in ((fitting, 1, options.seed), (held, options.draws, options.seed + 1)):
        counts = dict.fromkeys(FITTED, draws) | {"mixed": MIXED_DRAWS * draws}
        sets.append(degraded_vectors(images, FITTED, counts, estimator, tuple(options.frame), seed))
    raw = fit(sets[0])
    figures, level_figures = measure(*cross_calibrated(raw, sets[1]))
    fitted = {
        "images": len(fitting),
        "held_out_images": len(held),
        "frames": len(sets[0].vectors),
        "held_out_frames": len(sets[1].vectors),
        "frame": list(options.frame),
        "seed": options.seed,
    }
    probes = build(calibrate(raw, sets[1]), sets[0].of(["mixed"]).vectors, figures, level_figures, fitted)
    add_probes(options.weights, probes, options.output)
    return f"{table(probes)}\nwrote {options.output}"


def main(arguments: list[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: of the command line; None: those of the process.

    Returns:
        The exit code.
    """
    parser = parser_of(__doc__)
    add_output_options(parser)
    return run(parser, work, arguments)


if __name__ == "__main__":
    sys.exit(main())
