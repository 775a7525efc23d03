"""The parts that several benchmarks share: their options, test images, processes of their own, and peak memory."""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for train/, which is no installed package

from hidra_core import scenes
from hidra_core.evaluation.tasks import read_page
from hidra_core.thermal.readers import THERMAL_EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

Returned = TypeVar("Returned")


def options_of(documentation: str | None) -> argparse.ArgumentParser:
    """A parser of options whose description is the first line of a program's documentation.

    Args:
        documentation: ``__doc__`` of the program.
    """
    return argparse.ArgumentParser(description=(documentation or "").partition("\n")[0])


def clean_images(folder: Path | None) -> dict[str, np.ndarray]:
    """Clean grey images by name, ``[H, W]`` float32 in [0, 1].

    Args:
        folder: with image files or thermal files, which are read as ``hidra enhance`` reads them and sorted by name;
            None for the project's own rendered scenes.

    Raises:
        FileNotFoundError: there are no images in the folder.
        ValueError: a file is damaged or has several pages.
    """
    if folder is None:
        return {f"{name} {seed}": scenes.render(name, 512, 640, seed) for name in scenes.SCENES for seed in (11, 12)}
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in THERMAL_EXTENSIONS)
    if not files:
        raise FileNotFoundError(f"no images in {folder}")
    return {path.stem: read_page(path) for path in files}


def in_own_process(function: Callable[..., Returned], *arguments: Any) -> Returned:
    """Call a function in a new process, so that its peak memory is its own.

    Args:
        function: a function of a module.
        arguments: its arguments; they and the result can be pickled.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


class PeakMemory:
    """Peak resident memory of this process while a block runs, sampled every 10 ms.

    Attributes:
        peak: of the last block, in GB.
    """

    def __init__(self) -> None:
        self.peak = 0.0

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Measure the peak within the ``with`` block."""
        import psutil  # the demo needs this module too, and runs with the command line's packages only

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
