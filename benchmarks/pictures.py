"""Pictures of the report of trust, of the radiometric mode and of video, from the project's own rendered scenes.

    python benchmarks/pictures.py docs/images

Writes ``trust.jpg``, ``radiometric.jpg`` and ``video.jpg``, with hidra-tiny.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile
import torch
from common import options_of

import hidra_core
from hidra_core import cli, scenes
from hidra_core.evaluation.sheets import sheet
from hidra_core.evaluation.tasks import degrade
from hidra_core.images.files import atomic_path
from hidra_core.trust import compare, trust_picture

if TYPE_CHECKING:
    from PIL import Image


def restore(images: np.ndarray) -> np.ndarray:
    """Enhance grey images with hidra-tiny.

    Args:
        images: ``[B, H, W]`` in [0, 1].
    """
    given = torch.from_numpy(images.astype(np.float32))[..., None]
    weights = hidra_core.load_weights("hidra-tiny")
    backbone = hidra_core.load_backbone("hidra-tiny", device="cpu", dtype="fp32")
    enhanced = hidra_core.enhance(given, backbone, hidra_core.estimate(given, weights))
    return enhanced[..., 0].numpy().clip(0, 1)


def trust() -> Image.Image:
    """What the report of trust shows where a warm spot was added to the result that the input does not have."""
    clean = scenes.render("substation", 384, 480, 3)
    given = degrade(clean, "moderate", 2)[0]
    after = restore(given[None])[0]
    after[60:90, 330:350] = np.minimum(1, after[60:90, 330:350] + 0.35)
    before, output = (torch.from_numpy(image.astype(np.float32))[..., None] for image in (given, after))
    return trust_picture(before, output, compare(before, output), "a warm box was pasted into the output")


def radiometric() -> Image.Image:
    """Counts of 40 mK before and after, and how far each is from the true temperatures."""
    clean = scenes.render("field", 384, 480, 3)
    given = degrade(clean, "stripes", 4)[0]
    counts = {name: (7000 + 500 * image).round().astype(np.uint16) for name, image in (("a", given), ("t", clean))}
    images = {"measured": counts["a"]}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "counts.tiff"
        tifffile.imwrite(source, counts["a"])
        for name, options in (("enhanced", ()), ("radiometric", ("--radiometric",))):
            output = Path(folder) / name
            if cli.main(["enhance", str(source), "--output", str(output), *options]):
                raise RuntimeError("hidra enhance failed, see above")
            images[name] = tifffile.imread(output / source.name)
    titles = {
        f"{name}, {0.04 * np.abs(image.astype(float) - counts['t']).mean():.2f} K off": image
        for name, image in images.items()
    }
    titles["truth"] = counts["t"]
    shown = {title: ((image - 7000.0) / 500).clip(0, 1) for title, image in titles.items()}
    return sheet([("20 K from black to white", shown)], width=330)


def video() -> Image.Image:
    """Frames of a camera that pans, whose pattern stays."""
    clean = scenes.pan("street", 60, 192, 256, 3)[::20]
    rng = np.random.default_rng(3)
    pattern = rng.normal(0, 0.05, 256) + rng.normal(0, 0.02, (192, 256))
    given = (0.25 + 0.5 * clean + pattern + rng.normal(0, 0.02, clean.shape)).clip(0, 1)
    after = restore(given)
    shown = [*zip(given, after, clean, strict=True)]
    rows = [
        (f"{2 * number} s", {"before": before, "after": enhanced, "truth": truth})
        for number, (before, enhanced, truth) in enumerate(shown)
    ]
    return sheet(rows, width=330)


def main() -> None:
    """Write the pictures."""
    parser = options_of(__doc__)
    parser.add_argument("folder", type=Path, help="folder to write into")
    folder = parser.parse_args().folder
    for name, draw in {"trust.jpg": trust, "radiometric.jpg": radiometric, "video.jpg": video}.items():
        with atomic_path(folder / name) as temporary:
            draw().save(temporary, quality=75)
        print(folder / name)


if __name__ == "__main__":
    main()
