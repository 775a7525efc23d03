"""Measures times and peak memory on a GPU, and makes rows of a table of them."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from random_networks import Sizes

HEADER = ("part", "what", "size", "batch", "type", "ms", "images/s", "peak GiB", "note")
GIB = 2**30
ENOUGH = 250
"""Milliseconds of passes after which a measurement needs no more repeats."""


@dataclass
class Report:
    """Measures, and hands its rows on.

    Attributes:
        device: that is measured.
        sizes: of the networks.
        repeats: of a measurement at most.
        send: is called with the cells of each row, see ``HEADER``.
    """

    device: torch.device
    sizes: Sizes
    repeats: int
    send: Callable[[list[str]], None]

    @property
    def types(self) -> tuple[str, ...]:
        """Number types to measure in, the usual one first."""
        return ("fp16", "bf16", "fp32") if self.device.type == "cuda" else ("fp32",)

    def add(
        self,
        part: str,
        what: str,
        *,
        size: tuple[int, int] | None = None,
        batch: int | None = None,
        dtype: str = "",
        ms: float | None = None,
        peak: float | None = None,
        note: str = "",
    ) -> None:
        """Add a row.

        Args:
            part: of the run.
            what: was measured.
            size: height and width in pixels.
            batch: images.
            dtype: number type.
            ms: time of the whole batch.
            peak: memory in GiB.
            note: anything else.
        """
        rate = "" if ms is None or batch is None else f"{1000 * batch / ms:.2f}"
        area = "" if size is None else f"{size[1]}×{size[0]}"
        numbers = ("" if ms is None else f"{ms:.1f}", rate, "" if peak is None else f"{peak:.2f}")
        self.send([part, what, area, "" if batch is None else str(batch), dtype, *numbers, note])

    def measure(self, part: str, what: str, run: Callable[[], object], *, by_clock: bool = False, **cells: Any) -> None:
        """Time something and add its row, or the row of its error.

        Args:
            part: see :meth:`add`.
            what: see :meth:`add`.
            run: what to time.
            by_clock: by the clock, for what ends on the CPU, instead of CUDA events.
            **cells: further arguments of :meth:`add`.
        """
        try:
            ms, peak = self._timed(run, by_clock or self.device.type == "cpu")
        except Exception as error:  # noqa: BLE001  one measurement must not stop the others
            self.add(part, what, **{**cells, "note": failure(error)})
        else:
            self.add(part, what, ms=ms, peak=peak, **cells)

    def _timed(self, run: Callable[[], object], by_clock: bool) -> tuple[float, float | None]:
        """Median milliseconds, and peak memory in GiB or None on a CPU; warm passes precede."""
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            for _ in range(1 if by_clock else 2):  # allocates, and chooses kernels
                run()
        times: list[float] = []
        while len(times) < self.repeats and (len(times) < 3 or sum(times) < ENOUGH):
            if by_clock:
                started = time.perf_counter()
                run()
                times.append(1000 * (time.perf_counter() - started))
                continue
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end))
        return statistics.median(times), torch.cuda.max_memory_allocated() / GIB if on_gpu else None


def failure(error: BaseException) -> str:
    """An error in one cell of a table.

    Args:
        error: that was raised.
    """
    lines = f"{type(error).__name__}: {error}".splitlines()
    return lines[0].replace("|", "/")[:200]
