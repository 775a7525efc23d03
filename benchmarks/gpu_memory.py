"""Memory of a GPU as its driver counts it, and a GPU most of which is occupied."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

GIB = 2**30
LEFT_FREE = 5.0
"""GiB that a small card has for a server, its CUDA context included."""


class Gpu:
    """Memory of the GPU as its driver counts it; 0 where there is none.

    Attributes:
        total: in GiB.
    """

    def __init__(self) -> None:
        self._handle: Any = None
        try:
            import pynvml
        except ImportError:
            self._nvml: Any = None
        else:
            self._nvml = pynvml
            try:
                pynvml.nvmlInit()
                self._handle = pynvml.nvmlDeviceGetHandleByIndex(0)
            except pynvml.NVMLError:
                self._nvml = None
        self.total = self._nvml.nvmlDeviceGetMemoryInfo(self._handle).total / GIB if self._nvml else 0.0

    @property
    def used(self) -> float:
        """GiB in use by all processes."""
        return self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used / GIB if self._nvml else 0.0

    @contextmanager
    def peak(self) -> Iterator[list[float]]:
        """A list whose last value is the most that was in use since the block began."""
        highest, stop = [self.used], threading.Event()

        def sample() -> None:
            while not stop.wait(0.02):
                highest.append(max(highest[-1], self.used))

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            yield highest
        finally:
            stop.set()
            thread.join()


OCCUPY = """
import sys, torch
free, _ = torch.cuda.mem_get_info()
block = torch.empty(max(0, free - int(float(sys.argv[1]) * 2**30)), dtype=torch.uint8, device="cuda")
print(block.numel() / 2**30, flush=True)
sys.stdin.read()
"""
"""Leaves so many GiB of the GPU free, until its standard input is closed."""


@contextmanager
def small_card() -> Iterator[None]:
    """Within the block all but ``LEFT_FREE`` GiB of the GPU are occupied."""
    command = [sys.executable, "-c", OCCUPY, str(LEFT_FREE)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if not process.stdout.readline():
            raise RuntimeError("the GPU could not be occupied")
        yield
    finally:
        process.stdin.close()
        process.wait(20)
