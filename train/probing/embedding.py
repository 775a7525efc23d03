"""How well degradation vectors tell degradations apart: a t-SNE map, silhouettes and linear probes.

    python train/probing/embedding.py --weights hidra-tiny --images CLEAN --held-out OTHERS --output embedding.json

Clean images are degraded by each kind of degradation alone (its type) and by all of them at once at the four
severities. A linear probe of the DEM's vectors is fitted on --images, and its accuracy is measured on --held-out,
images that neither the probe nor the DEM should have seen. Silhouettes and the map are those of the held-out images;
the map has the name of the JSON file with the suffix .png. Takes minutes on one processor core.

Needs scikit-learn and matplotlib: ``pip install 'hidra-thermal[train]'``.

Source: HiDRA (CVPR 2026), t-SNE of ``P`` by degradation type and level.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script from anywhere

from hidra_core.backbone import pick_device
from hidra_core.evaluation.tables import to_markdown
from hidra_core.images.files import atomic_path
from hidra_core.vectors import draw, silhouette, tsne
from hidra_core.weights import load_weights
from train.probing import linear
from train.probing.labelled import ALONE, SEVERITIES, Vectors, degraded_vectors, load_split
from train.probing.program import parser_of, run

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

log = logging.getLogger("train")

GROUPS = {"type": tuple(ALONE), "severity": tuple(SEVERITIES)}
"""Groups of presets that are to be told apart."""


def separation(fitting: Vectors, held: Vectors, names: Sequence[str]) -> dict[str, Any]:
    """How well some presets can be told apart.

    Args:
        fitting: vectors to fit the probe on.
        held: vectors to measure on.
        names: of the presets.

    Returns:
        ``accuracy`` of a linear probe on the held-out vectors, ``chance``, ``silhouette`` of the held-out vectors, and
        ``confusion``: for each true name how many vectors the probe gave each name.
    """
    fitting, held = fitting.of(names), held.of(names)
    true, known = ([names.index(name) for name in vectors.presets] for vectors in (held, fitting))
    probe = linear.classifier(fitting.vectors, np.array(known), fitting.images)
    said = linear.outputs(probe, held.vectors).argmax(axis=1)
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (true, said), 1)
    score = silhouette(held.vectors, held.presets.tolist())
    return {
        "accuracy": round(float(np.mean(said == true)), 4),
        "chance": round(1 / len(names), 4),
        "silhouette": None if score is None else round(score, 4),
        "confusion": {
            name: dict(zip(names, row, strict=True)) for name, row in zip(names, counts.tolist(), strict=True)
        },
    }


def summary(results: dict[str, dict[str, Any]]) -> str:
    """The results as text.

    Args:
        results: of :func:`separation`, by group.

    Returns:
        One line per group, then each confusion matrix as a Markdown table with one row per true name.
    """
    lines = []
    for group, result in results.items():
        lines.append(
            f"{group}: linear probe {result['accuracy']:.1%} on held-out images (chance {result['chance']:.1%}), "
            f"silhouette {result['silhouette']:.3f}"
        )
    for group, result in results.items():
        confusion = result["confusion"]
        rows = [[name, *(str(count) for count in row.values())] for name, row in confusion.items()]
        lines += ["", to_markdown([group, *confusion], rows)]
    return "\n".join(lines)


def work(options: argparse.Namespace) -> str:
    """Do what the program is for, and return the text to print."""
    chart = options.output.with_suffix(".png")
    if options.output.suffix != ".json" or not options.output.absolute().parent.is_dir():
        raise ValueError(f"--output {options.output}: name a .json file in a folder that exists")
    for path in (options.output, chart):
        if path.exists() and not options.overwrite:
            raise ValueError(f"{path} exists; --overwrite replaces it")
    weights = load_weights(options.weights, dem_backbone=options.dem_backbone)
    images, held_images = load_split(options)
    estimator = weights.estimator.to(pick_device("auto"))
    log.info("%d images to fit on, %d held out", len(images), len(held_images))
    presets, frame, seed = ALONE | SEVERITIES, tuple(options.frame), options.seed
    once, often = ({name: int(count) for name in presets} for count in (1, options.draws))
    fitting = degraded_vectors(images, presets, once, estimator, frame, seed)
    held = degraded_vectors(held_images, presets, often, estimator, frame, seed + 1)
    results = {group: separation(fitting, held, names) for group, names in GROUPS.items()}
    points = tsne(held.vectors, seed)
    colourings = {
        f"{group}, silhouette {results[group]['silhouette']:.2f}": [
            name if name in names else "" for name in held.presets.tolist()
        ]
        for group, names in GROUPS.items()
    }
    draw(points, colourings, chart, f"degradation vectors of {len(held_images)} held-out images")
    report = {
        "weights": str(options.weights),
        "images": len(images),
        "held_out_images": len(held_images),
        "frame": list(frame),
        "seed": options.seed,
        "results": results,
        "points": [
            {"image": int(image), "preset": preset, "tsne": [round(float(value), 3) for value in point]}
            for image, preset, point in zip(held.images, held.presets.tolist(), points, strict=True)
        ],
    }
    with atomic_path(options.output) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return f"{summary(results)}\n\nwrote {options.output} and {chart}"


def main(arguments: list[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: of the command line; None: those of the process.

    Returns:
        The exit code.
    """
    parser = parser_of(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="JSON file; the map gets the suffix .png")
    parser.add_argument("--overwrite", action="store_true", help="replace both if they exist")
    return run(parser, work, arguments)


if __name__ == "__main__":
    sys.exit(main())
