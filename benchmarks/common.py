"""What the benchmarks share: test images and peak memory."""

from __future__ import annotations

import resource
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for train/, which is no installed package

from typing import TYPE_CHECKING

from hidra_core import scenes

if TYPE_CHECKING:
    from collections.abc import Iterator


def clean_images(folder: Path | None) -> dict[str, np.ndarray]:
    """Clean grey images ``[H, W]`` float32 in [0, 1]: those of a folder, or the project's own rendered scenes."""
    if folder is None:
        return {f"{name} {seed}": scenes.render(name, 512, 640, seed) for name in scenes.SCENES for seed in (11, 12)}
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".tif", ".tiff"))
    if not files:
        raise FileNotFoundError(f"no images in {folder}")
    return {path.stem: np.asarray(Image.open(path).convert("L"), dtype=np.float32) / 255 for path in files}


class PeakMemory:
    """Peak resident memory of this process in GB while the ``with`` block runs (sampled every 10 ms)."""

    def __init__(self) -> None:
        self.peak = 0.0

    @contextmanager
    def watch(self) -> Iterator[None]:
        import psutil  # not needed by the demo, which runs with the command line's packages only

        process, stop = psutil.Process(), threading.Event()
        self.peak = 0.0

        def sample() -> None:
            while not stop.is_set():
                self.peak = max(self.peak, process.memory_info().rss / 1e9)
                time.sleep(0.01)

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def process_peak() -> float:
    """Peak resident memory of this process since its start, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
