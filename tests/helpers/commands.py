"""Pictures to give to commands, and what commands have written."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from . import ROOT

if TYPE_CHECKING:
    from pathlib import Path

HEIGHT, WIDTH = 40, 56


def save_picture(path: Path, mode: str = "L", seed: int = 0) -> Path:
    """A noisy slope as a file of this Pillow mode, ``I;16`` with counts in a narrow band as cameras give them."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    grey = 60 + rows + 2 * columns + np.random.default_rng(seed).normal(0, 6, (HEIGHT, WIDTH))
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == "I;16":
        Image.fromarray((20000 + 8 * grey).astype(np.uint16)).save(path)
        return path
    image = Image.fromarray(grey.astype(np.uint8)).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.fromarray((rows * 6).astype(np.uint8)))
    image.save(path)
    return path


def truncate(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def files(folder: Path) -> list[str]:
    """All files below a folder, hidden ones too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def run_program(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "hidra_core", *map(str, arguments)], env=environment, capture_output=True, text=True
    )
