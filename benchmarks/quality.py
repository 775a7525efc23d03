"""hidra-tiny against its degraded input and classical filters, on seeded degradations.

    python benchmarks/quality.py --images FOLDER --preset composite --sheet sheet.png

Each clean image is degraded with its own seed, 8 bits; every method gets the same input and its output is rounded to
8 bits before it is measured. PSNR after the best gain and offset is given beside plain PSNR, as the contrast of thermal
pictures is arbitrary. Without --images the project's own rendered scenes are used.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import baselines
import numpy as np
import torch
from common import clean_images, machine
from PIL import Image, ImageDraw

import hidra_core
from hidra_core import degradations

METHODS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "degraded input": lambda image: image,
    "CLAHE": baselines.clahe,
    "median 3×3": lambda image: baselines.median(image, 3),
    "median 5×5": lambda image: baselines.median(image, 5),
    "Gaussian σ 1": lambda image: baselines.gaussian(image, 1.0),
    "destripe": baselines.destripe,
    "destripe + NLM": lambda image: baselines.nlm(baselines.destripe(image)),
}


def degrade(clean: np.ndarray, preset: str, seed: int) -> np.ndarray:
    """One draw of the preset; drawn again while no stage is in it, as PSNR then is infinite."""
    generator, image = torch.Generator().manual_seed(seed), torch.from_numpy(clean)[None, None]
    while True:
        degraded = degradations.apply(image, degradations.sample(preset, generator))[0, 0].numpy()
        if np.abs(degraded - clean).max() > 1 / 255:
            return degraded


def to_8_bit(image: np.ndarray) -> np.ndarray:
    return np.round(np.clip(image, 0, 1) * 255) / 255


def sheet(rows: list[tuple[str, list[np.ndarray]]], titles: list[str], path: Path, width: int = 320) -> None:
    """A picture with one row an image and one column a method."""
    cells = []
    for _, images in rows:
        height = round(width * images[0].shape[0] / images[0].shape[1])
        cells.append([Image.fromarray((to_8_bit(i) * 255).astype(np.uint8)).resize((width, height)) for i in images])
    header = 18
    heights = [row[0].height + header for row in cells]
    canvas = Image.new("L", (len(titles) * (width + 4), sum(heights)), 255)
    draw, top = ImageDraw.Draw(canvas), 0
    for (name, _), row, height in zip(rows, cells, heights, strict=True):
        for column, (title, cell) in enumerate(zip(titles, row, strict=True)):
            draw.text((column * (width + 4) + 2, top + 2), f"{title}: {name}" if column == 0 else title, fill=0)
            canvas.paste(cell, (column * (width + 4), top + header))
        top += height
    canvas.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder of clean images; default: rendered scenes")
    parser.add_argument("--preset", default="composite", choices=list(degradations.PRESETS))
    parser.add_argument("--seed", type=int, default=0, help="of the first image; the others count up")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--backbone", default="hidra-tiny", help="hidra-tiny, a folder or a file")
    parser.add_argument("--weights", default="hidra-tiny", help="hidra-tiny or a file")
    parser.add_argument("--sheet", type=Path, help="write before/after pictures here")
    parser.add_argument("--rows", type=int, default=8, help="images on the sheet")
    options = parser.parse_args()

    backbone = hidra_core.load_backbone(options.backbone, dtype=options.dtype)
    weights = hidra_core.load_weights(options.weights)

    def enhance(image: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(image)[None, :, :, None]
        return hidra_core.enhance(images, backbone, hidra_core.estimate(images, weights))[0, :, :, 0].numpy()

    methods = METHODS | {weights.backbone: enhance}
    scores: dict[str, list[tuple[float, float, float]]] = {name: [] for name in methods}
    rows = []
    images = clean_images(options.images)
    for index, (name, clean) in enumerate(images.items()):
        degraded = degrade(clean, options.preset, options.seed + index)
        outputs = {method: to_8_bit(function(degraded)) for method, function in methods.items()}
        for method, output in outputs.items():
            scores[method].append(
                (
                    baselines.psnr(output, clean),
                    baselines.psnr_affine(output, clean),
                    baselines.ssim(output, clean),
                )
            )
        rows.append((name, [degraded, outputs["CLAHE"], outputs["destripe + NLM"], outputs[weights.backbone], clean]))
    print(f"{len(images)} images, preset {options.preset}, seeds from {options.seed}; {backbone.dtype}; {machine()}\n")
    print("| method | PSNR dB | PSNR dB after gain and offset | SSIM |\n|---|---|---|---|")
    for method, values in scores.items():
        plain, affine, ssim = (statistics.mean(column) for column in zip(*values, strict=True))
        print(f"| {method} | {plain:.2f} | {affine:.2f} | {ssim:.3f} |")
    if options.sheet is not None:
        step = max(1, len(rows) // options.rows)
        titles = ["degraded", "CLAHE", "destripe + NLM", weights.backbone, "clean"]
        sheet(rows[::step][: options.rows], titles, options.sheet)


if __name__ == "__main__":
    main()
