"""How well degradation vectors tell degradations apart: a t-SNE picture, silhouettes and linear probes.

    python train/probing/embedding.py --weights hidra-tiny --images CLEAN --held-out OTHERS --output embedding.json

Clean images are degraded by each kind of degradation alone (its type) and by all of them at once at the four
severities. A linear probe of the DEM's vectors is fitted on --images, and its accuracy measured on --held-out, images
that neither it nor the DEM should have seen. Silhouettes and the picture, beside the JSON under the same name, are of
the held-out images. Minutes on one processor core.

Needs scikit-learn and matplotlib: ``pip install 'hidra-thermal[train]'``.

Source: HiDRA (CVPR 2026), t-SNE of ``P`` by degradation type and level.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script from anywhere

from hidra_core.backbone import pick_device
from hidra_core.images.files import atomic_path
from hidra_core.vectors import draw, silhouette, tsne
from hidra_core.weights import load_weights
from train.probing import linear
from train.probing.labelled import ALONE, SEVERITIES, Vectors, add_options, degraded_vectors, load_split

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger("train")

GROUPS = {"type": tuple(ALONE), "severity": tuple(SEVERITIES)}
"""What is to be told apart, and the presets among which."""


def separation(fitting: Vectors, held: Vectors, names: Sequence[str]) -> dict[str, Any]:
    """How well the presets of these names can be told apart.

    Returns:
        ``accuracy`` of a linear probe on the held-out vectors, ``chance``, ``silhouette`` of the held-out vectors, and
        ``confusion``: for each true name how many vectors the probe gave each name.
    """
    fitting, held = fitting.of(names), held.of(names)
    true, known = ([names.index(name) for name in vectors.recipes] for vectors in (held, fitting))
    probe = linear.classifier(fitting.vectors, np.array(known), fitting.images)
    said = linear.outputs(probe, held.vectors).argmax(axis=1)
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (true, said), 1)
    score = silhouette(held.vectors, held.recipes.tolist())
    return {
        "accuracy": round(float(np.mean(said == true)), 4),
        "chance": round(1 / len(names), 4),
        "silhouette": None if score is None else round(score, 4),
        "confusion": {
            name: dict(zip(names, row, strict=True)) for name, row in zip(names, counts.tolist(), strict=True)
        },
    }


def summary(results: dict[str, dict[str, Any]]) -> str:
    """One line a group, then each confusion matrix as a Markdown table, rows true."""
    lines = []
    for group, found in results.items():
        lines.append(
            f"{group}: linear probe {found['accuracy']:.1%} on held-out images (chance {found['chance']:.1%}), "
            f"silhouette {found['silhouette']:.3f}"
        )
    for group, found in results.items():
        names = list(found["confusion"])
        lines += ["", f"| {group} | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        lines += [
            f"| {name} | " + " | ".join(str(count) for count in row.values()) + " |"
            for name, row in found["confusion"].items()
        ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.split("Clean images")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--output", type=Path, required=True, help="JSON file; the picture gets the suffix .png")
    parser.add_argument("--overwrite", action="store_true", help="replace both if they exist")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        picture = options.output.with_suffix(".png")
        if options.output.suffix != ".json" or not options.output.absolute().parent.is_dir():
            raise ValueError(f"--output {options.output}: name a .json file in a folder that exists")
        for path in (options.output, picture):
            if path.exists() and not options.overwrite:
                raise ValueError(f"{path} exists; --overwrite replaces it")
        weights = load_weights(options.weights, dem_backbone=options.dem_backbone)
        images, held_images = load_split(options)
        estimator = weights.estimator.to(pick_device("auto"))
        log.info("%d images to fit on, %d held out", len(images), len(held_images))
        recipes, frame = ALONE | SEVERITIES, tuple(options.frame)
        fitting = degraded_vectors(images, recipes, dict.fromkeys(recipes, 1), estimator, frame, options.seed)
        held = degraded_vectors(
            held_images, recipes, dict.fromkeys(recipes, options.draws), estimator, frame, options.seed + 1
        )
        results = {group: separation(fitting, held, names) for group, names in GROUPS.items()}
        points = tsne(held.vectors, options.seed)
        colourings = {
            f"{group}, silhouette {results[group]['silhouette']:.2f}": [
                name if name in names else "" for name in held.recipes.tolist()
            ]
            for group, names in GROUPS.items()
        }
        draw(points, colourings, picture, f"degradation vectors of {len(held_images)} held-out images")
        report = {
            "weights": str(options.weights),
            "images": len(images),
            "held_out_images": len(held_images),
            "frame": list(frame),
            "seed": options.seed,
            "results": results,
            "points": [
                {"image": int(image), "preset": preset, "tsne": [round(float(value), 3) for value in point]}
                for image, preset, point in zip(held.images, held.recipes.tolist(), points, strict=True)
            ],
        }
        with atomic_path(options.output) as temporary:
            temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        sys.stdout.write(f"{summary(results)}\n\nwrote {options.output} and {picture}\n")
    except (ValueError, OSError, ImportError) as error:
        log.error("error: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
