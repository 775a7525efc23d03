"""What the sensor stage finds and takes off: defective pixels, stripes, real stripes, and what it leaves alone.

    python benchmarks/sensor.py CLEAN... [--real STRIPED] [--seed 0]

CLEAN are folders of clean images, STRIPED is one of frames with real stripes along their columns. Prints one table per
question; every number comes from seeded draws. Grey levels are those of 8 bits; counts are 14 bits with 40 counts per
grey level.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from common import clean_images
from scipy.ndimage import gaussian_filter1d

from hidra_core.evaluation.metrics import column_noise_energy, low_frequency_correlation
from hidra_core.evaluation.tables import to_markdown
from hidra_core.sensor import SensorSettings, replaced, undo_sensor

DEAD = 0.003
"""Share of pixels that die, half of them black and half white."""

SHOWS = 10.0
"""Grey levels by which a defective pixel must differ from the scene to be seen."""

GAIN, OFFSET, NOISE = (0.03, 0.10), (0.1, 5.0), (5.0, 20.0)
"""Standard deviations of the method's stripes and noise (section 6)."""

FINE = 3.0
"""Standard deviation in pixels of the Gaussian above whose scale a change from column to column is no stripe."""

COUNTS, BLACK = 40.0, 2000.0
"""Counts per grey level, and those of black."""

STRUCTURES = 10
"""Frames with the strongest structure along their columns or rows."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("CLEAN are")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clean", nargs="+", type=Path, help="folders of clean images")
    parser.add_argument("--real", type=Path, help="folder of frames with real stripes along their columns")
    parser.add_argument("--seed", type=int, default=0, help="of all draws (default: 0)")
    parser.add_argument("--each", action="store_true", help="one line per image too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = {name: image for folder in options.clean for name, image in grey_levels(folder).items()}
    for title, measure in (
        ("untouched images", untouched),
        ("defective pixels, noise 0", lambda i, r: defects(i, r, 0.0)),
        ("defective pixels, noise 3", lambda i, r: defects(i, r, 3.0)),
        ("stripes", lambda i, r: stripes(i, r, 1.0, 0.0)),
        ("stripes, 14-bit counts", lambda i, r: stripes(i, r, COUNTS, BLACK)),
        ("structure without stripes", lambda i, r: structure(strongest(i), r)),
    ):
        show(title, measure(images, np.random.default_rng(options.seed)), each=options.each)
    if options.real:
        show("real stripes", stripes_of_cameras(grey_levels(options.real)), each=options.each)
    show("time", [("640x512", {"ms on one core": duration()})], each=True)


def grey_levels(folder: Path) -> dict[str, np.ndarray]:
    """The pictures of a folder in grey levels, ``[H, W]``."""
    return {name: np.round(255 * image.astype(np.float64)) for name, image in clean_images(folder).items()}


def show(title: str, rows: list[tuple[str, dict[str, float]]], *, each: bool) -> None:
    """Print a table: one line per image where wanted, the mean, and the worst in either direction."""
    names = list(rows[0][1])
    values = np.array([[numbers[name] for name in names] for _, numbers in rows])
    lines = [[name, *(f"{number:.4g}" for number in numbers)] for (name, _), numbers in zip(rows, values, strict=True)]
    if len(rows) > 1:
        summary = (("mean", values.mean(0)), ("least", values.min(0)), ("most", values.max(0)))
        lines = (lines if each else []) + [[name, *(f"{number:.4g}" for number in line)] for name, line in summary]
    sys.stdout.write(f"\n{title} ({len(rows)})\n\n{to_markdown(['image', *names], lines)}\n")
    sys.stdout.flush()


def untouched(images: dict[str, np.ndarray], _: np.random.Generator) -> list[tuple[str, dict[str, float]]]:
    """Whether clean images stay as they are."""
    rows = []
    for name, clean in images.items():
        result, found = undo_sensor(clean)
        error = np.square(np.round(result) - clean).mean()
        rows.append(
            (
                name,
                {
                    "identical": float(found.is_empty),
                    "PSNR": 10 * np.log10(255**2 / max(error, 1e-6)),
                    "dead %": 100 * found.dead.mean(),
                    "columns": found.columns.std(),
                    "rows": found.rows.std(),
                    "shading": 0.0 if found.shading is None else np.ptp(found.shading),
                },
            )
        )
    return rows


def defects(
    images: dict[str, np.ndarray], rng: np.random.Generator, noise: float
) -> list[tuple[str, dict[str, float]]]:
    """Defective pixels found and filled."""
    rows = []
    for name, clean in images.items():
        noisy = clean + rng.normal(0, 1, clean.shape) * noise
        draw = rng.random(clean.shape)
        dead = (draw < DEAD / 2) | (draw > 1 - DEAD / 2)
        frame = np.round(np.where(dead, np.where(draw < 0.5, 0, 255), noisy).clip(0, 255))
        result, found = undo_sensor(frame, SensorSettings(shading="off"))
        seen = dead & (np.abs(frame - clean) >= SHOWS)
        ideal = replaced(frame, dead)
        error, least = (np.abs(plane - clean)[dead].mean() for plane in (result, ideal))
        rows.append(
            (
                name,
                {
                    "found %": 100 * (found.dead & dead).sum() / dead.sum(),
                    "of those that show %": 100 * (found.dead & seen).sum() / max(1, seen.sum()),
                    "false %": 100 * (found.dead & ~dead).mean(),
                    "error there": error,
                    "of the true neighbours' median": least,
                    "ratio": error / max(least, 1e-9),
                },
            )
        )
    return rows


def stripes(
    images: dict[str, np.ndarray], rng: np.random.Generator, level: float, black: float
) -> list[tuple[str, dict[str, float]]]:
    """What is left of the method's stripes under its noise."""
    rows = []
    for name, image in images.items():
        clean = image.T if rng.random() < 0.5 else image
        gain, offset = (rng.normal(0, rng.uniform(*limits), clean.shape[1]) for limits in (GAIN, OFFSET))
        frame = clean * (1 + gain) + offset + rng.normal(0, rng.uniform(*NOISE), clean.shape)
        if level == 1.0:
            frame = frame.clip(0, 255)
        frame, clean = np.round(black + level * frame), black + level * clean
        turned = clean.shape != image.shape
        result, _ = undo_sensor(frame.T if turned else frame, level=level)
        before, after = (columns(plane - clean) / level for plane in (frame, result.T if turned else result))
        rows.append(
            (
                name,
                {
                    "input": rms(fine(before)),
                    "residual": rms(fine(after)),
                    "input, all scales": rms(before - before.mean()),
                    "residual, all scales": rms(after - after.mean()),
                },
            )
        )
    return rows


def strongest(images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The frames whose columns (or rows, turned) differ most."""
    turned = {f"{name} (turned)": image.T for name, image in images.items()}
    every = {**images, **turned}
    names = sorted(every, key=lambda name: -rms(fine(columns(every[name]))))
    return {name: every[name] for name in names[:STRUCTURES]}


def structure(images: dict[str, np.ndarray], rng: np.random.Generator) -> list[tuple[str, dict[str, float]]]:
    """How much of true structure along columns the stage takes off, without and with noise."""
    rows = []
    for name, clean in images.items():
        numbers = {"structure": rms(fine(columns(clean)))}
        for noise in (0.0, 5.0, 20.0):
            drawn = rng.normal(0, 1, clean.shape) * noise
            frame = np.round((clean + drawn - drawn.mean(0)).clip(0, 255))
            result, _ = undo_sensor(frame)
            numbers[f"changed, noise {noise:.0f}"] = rms(fine(columns(result - frame)))
        rows.append((name, numbers))
    return rows


def stripes_of_cameras(images: dict[str, np.ndarray]) -> list[tuple[str, dict[str, float]]]:
    """Real stripes and defects taken off: the column noise that is gone, and whether the low frequencies stay."""
    rows = []
    for name, frame in images.items():
        found = undo_sensor(frame)[1]
        result, _ = undo_sensor(frame, SensorSettings(shading="off"))  # it would count as a change of low frequencies
        before, after = (np.round(plane.clip(0, 255)).astype(np.uint8) for plane in (frame, result))
        down = 100 * (1 - column_noise_energy(after) / column_noise_energy(before))
        rows.append(
            (
                name,
                {
                    "column noise down %": down,
                    "low-frequency correlation": low_frequency_correlation(after, before),
                    "dead pixels": float(found.dead.sum()),
                    "columns": found.columns.std(),
                    "shading": 0.0 if found.shading is None else np.ptp(found.shading),
                },
            )
        )
    return rows


def duration() -> float:
    """Processor time of one frame of 640x512 with everything on it, in milliseconds."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:512, :640]
    frame = 128 + 60 * np.sin(x / 40) * np.cos(y / 30) + rng.normal(0, 5, 640) + rng.normal(0, 8, (512, 640))
    frame[rng.random(frame.shape) < DEAD] = 255
    times = []
    for _ in range(7):
        started = time.process_time()
        undo_sensor(frame)
        times.append(time.process_time() - started)
    return 1000 * float(np.median(times))


def columns(plane: np.ndarray) -> np.ndarray:
    """Means of the columns."""
    return plane.mean(0)


def fine(line: np.ndarray) -> np.ndarray:
    """A line without its smooth part."""
    return line - gaussian_filter1d(line, FINE, mode="nearest")


def rms(line: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.square(line).mean()))


if __name__ == "__main__":
    main()
