"""Errors of temperatures before and after enhancement, on rendered scenes with stripes and noise.

    python benchmarks/radiometric.py [--stripes 0.8] [--noise 1.3] [--axis column]

Prints a table in kelvin: the mean absolute error of the degraded input, of the sensor stage alone, of the enhanced
counts, and of the counts of radiometric mode; the bias of the latter; and the number of 32x32 blocks in which the
latter is farther from the truth than the input.
"""

from __future__ import annotations

import numpy as np
import torch
from common import options_of

import hidra_core
from hidra_core import scenes
from hidra_core.evaluation.tables import to_markdown
from hidra_core.sensor import SensorStage
from hidra_core.sources import Change, Reading
from hidra_core.thermal import BLOCK
from hidra_core.thermal.sample import thermal_sample


def main() -> None:
    """Enhance one rendered sample per scene and print a table."""
    parser = options_of(__doc__)
    parser.add_argument(
        "--stripes", type=float, default=0.8, help="standard deviation of the stripes, K (default: 0.8)"
    )
    parser.add_argument(
        "--noise", type=float, default=1.3, help="standard deviation of the pixel noise, K (default: 1.3)"
    )
    parser.add_argument(
        "--axis", choices=("column", "row"), default="column", help="direction of the stripes (default: column)"
    )
    options = parser.parse_args()
    backbone = hidra_core.load_backbone("hidra-tiny")
    weights = hidra_core.load_weights("hidra-tiny")
    rows = []
    for scene in scenes.SCENES:
        sample = thermal_sample(
            scene, seed=3, stripe_kelvin=options.stripes, noise_kelvin=options.noise, axis=options.axis
        )
        image = sample.image
        source = Reading(sensor=SensorStage()).source(image)
        page, judged = (torch.stack(list(pages)) for pages in (source.pages(), source.given()))
        enhanced = hidra_core.enhance(page, backbone, hidra_core.estimate(judged, weights))[..., 0]
        plain, _ = source.restore(enhanced, Change())
        anchored, _ = source.restore(enhanced, Change(radiometric=True))
        assert source.undone is not None, "the stage was asked for"
        undone = source.undone.counts(0)[None]
        before, stage, free, after = (
            image.kelvin(counts[0]) - sample.kelvin for counts in (image.counts, undone, plain, anchored)
        )
        worse = int((blocks(np.abs(after)) > blocks(np.abs(before))).sum())
        errors = (f"{np.abs(error).mean():.2f}" for error in (before, stage, free, after))
        rows.append([scene, *errors, f"{after.mean():+.3f}", str(worse)])
    print(to_markdown(["scene", "input K", "sensor K", "enhanced K", "radiometric K", "bias K", "worse blocks"], rows))


def blocks(plane: np.ndarray) -> np.ndarray:
    """Means over the whole blocks of a plane ``[H, W]``."""
    height, width = (side // BLOCK for side in plane.shape)
    return plane[: height * BLOCK, : width * BLOCK].reshape(height, BLOCK, width, BLOCK).mean((1, 3))


if __name__ == "__main__":
    main()
