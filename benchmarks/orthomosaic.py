"""A large GeoTIFF through ``hidra enhance``: peak memory, time, and whether its georeference stays.

Renders an orthomosaic of counts (0.01 K) with a collar without data, tiled and compressed, enhances it, and compares
size, coordinate system, transform, value for no data and number of its pixels by rasterio.

    python benchmarks/orthomosaic.py --side 20000
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

STEP = 1000


def render(path: Path, side: int, share: float) -> None:
    """An orthomosaic of ``side`` x ``side`` pixels, of which about ``share`` hold data, within a tilted ellipse."""
    generator = np.random.default_rng(0)
    profile = {
        "driver": "GTiff",
        "width": side,
        "height": side,
        "count": 1,
        "dtype": "uint16",
        "nodata": 0,
        "crs": "EPSG:32633",
        "transform": rasterio.Affine(0.05, 0, 500000, 0, -0.05, 5200000),
        "tiled": True,
        "compress": "deflate",
    }
    radius = side * np.sqrt(share / np.pi)
    with rasterio.open(path, "w", **profile) as file:
        for top in range(0, side, STEP):
            for left in range(0, side, STEP):
                height, width = min(STEP, side - top), min(STEP, side - left)
                y, x = np.mgrid[top : top + height, left : left + width]
                counts = 29000 + 700 * np.sin(x / 400) * np.cos(y / 300) + 200 * ((x // 90 + y // 130) % 2)
                counts += generator.normal(0, 15, counts.shape) + 20 * np.sin(1.7 * x)
                inside = ((x - side / 2) / 1.3) ** 2 + ((y - side / 2) * 1.3) ** 2 < radius**2
                window = Window.from_slices((top, top + height), (left, left + width))
                file.write(np.where(inside, counts, 0).astype(np.uint16), 1, window=window)


def facts(path: Path) -> dict[str, object]:
    """What rasterio says of a file, and how many of its pixels hold no data."""
    with rasterio.open(path) as file:
        blank = sum(
            int((file.read(1, window=Window.from_slices(rows, (0, file.width))) == 0).sum())
            for rows in ((top, min(top + STEP, file.height)) for top in range(0, file.height, STEP))
        )
        return {
            "size": (file.width, file.height),
            "crs": str(file.crs),
            "transform": tuple(file.transform)[:6],
            "nodata": file.nodata,
            "blank": blank,
        }


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=20000, help="pixels (default: 20000)")
    parser.add_argument("--share", type=float, default=0.5, help="share of the pixels with data (default: 0.5)")
    parser.add_argument("--options", nargs="*", default=[], help="further options of 'hidra enhance', without dashes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "mosaic.tif"), Path(folder, "out")
        render(source, arguments.side, arguments.share)
        before = facts(source)
        command = [sys.executable, "-m", "hidra_core", "enhance", str(source), "--output", str(output)]
        start = time.monotonic()
        subprocess.run([*command, *(f"--{option}" for option in arguments.options)], check=True)
        seconds = time.monotonic() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        after = facts(output / source.name)
    print(f"{arguments.side}x{arguments.side}, {arguments.share:.0%} with data: {seconds:.0f} s, peak {peak:.2f} GB")
    for name, value in before.items():
        print(f"{name}: {value} {'kept' if after[name] == value else f'became {after[name]}'}")


if __name__ == "__main__":
    main()
