"""Damaged files of every kind: whether each is read, or refused in the way that callers expect.

    python benchmarks/fuzz.py --count 20000 --seed 0 --jobs 2

Every file is made from one that fuzz_seeds.py renders, by fuzz_damage.py. It is opened as any input, all its pages and
the extremes of its counts are read, and what could be read is written. Only ValueError, OSError and ImportError may
come of that, within 10 seconds and 4 GB. Files for which something else does are kept, and the program ends with 1.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING

from common import options_of
from fuzz_damage import mutated
from fuzz_seeds import KINDS, render

from hidra_core.evaluation.tables import to_markdown
from hidra_core.sources import Change, Reading, open_source
from hidra_core.sources.counts import CountsSource
from hidra_core.sources.picture import PictureSource
from hidra_core.thermal.readers import RawLayout, stored

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

SECONDS, MEMORY = 10.0, 4 << 30
EXPECTED = ("read", "ValueError", "OSError", "ImportError")

_PATIENCE = 30.0  # seconds after which a process is ended


# --- reading ---------------------------------------------------------------------------------------------------------


def attempt(path: Path, in_parts: bool) -> str:
    """Read all of a file, and write what could be read, but clips.

    Args:
        path: the file.
        in_parts: read one page at a time, as large files are read.

    Returns:
        "read", the name of an expected error, or the name of another one, its text and where it was raised.
    """
    stored._AT_ONCE = 0 if in_parts else 1 << 26  # noqa: SLF001  no option: users have no reason to choose
    reading = Reading(raw=RawLayout((32, 24)) if "32x24" in path.name else RawLayout(), as_is=True)
    try:
        source = open_source(path, reading)
        for page in source.pages():
            assert page.ndim == 3
        if isinstance(source, CountsSource):
            assert len(source.image.extremes) == 2
            assert source.image.summary()
        if isinstance(source, CountsSource | PictureSource):
            source.rewrite(path.with_name("result.tiff"), lambda pages: pages, Change(blend=0))
    except (ValueError, OSError, ImportError) as error:
        return next(kind.__name__ for kind in (ValueError, ImportError, OSError) if isinstance(error, kind))
    except BaseException as error:  # noqa: BLE001  finding these is the purpose
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = "" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        return f"{type(error).__name__}: {str(error)[:150]} ({where})"
    return "read"


def work(pipe: Connection) -> None:
    """Answer (path, in_parts) by (what came of it, seconds) until None comes; in a process of its own."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders in C complain there
    # PyTorch alone maps gigabytes
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while (job := pipe.recv()) is not None:
        started = time.perf_counter()
        outcome = attempt(*job)
        pipe.send((outcome, time.perf_counter() - started))


# --- processes -------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What came of the files of one kind: how many of each outcome, the slowest, and what was found."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    found: list[str] = field(default_factory=list)

    def add(self, path: Path, outcome: str, seconds: float, kept: Path) -> None:
        """Count a file; one that should not have come out so is kept."""
        self.slowest = max(self.slowest, seconds)
        if outcome in EXPECTED and seconds > SECONDS:
            outcome = f"slow: {seconds:.1f} s until {outcome}"
        self.outcomes[outcome if outcome in EXPECTED else "other"] += 1
        if outcome not in EXPECTED:
            target = kept / path.name
            target.write_bytes(path.read_bytes())
            self.found.append(f"{target}: {outcome}")


class Worker:
    """A process that reads files, and is replaced when it ends or hangs.

    Args:
        folder: for its files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.job: tuple[str, Path] | None = None
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=work, args=(other,), daemon=True)
        self.process.start()
        other.close()

    def give(self, kind: str, name: str, data: bytes, in_parts: bool) -> None:
        """Have a file read."""
        path = self.folder / name
        path.write_bytes(data)
        self.job, self.since = (kind, path), time.monotonic()
        self.pipe.send((path, in_parts))

    def answer(self) -> tuple[str, float] | None:
        """(outcome, seconds) if there is one by now."""
        try:
            if self.pipe.poll():
                return self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            outcome = f"the process ended ({self.process.exitcode})"
        else:
            if time.monotonic() - self.since < _PATIENCE:
                return None
            self.process.kill()
            self.process.join()
            outcome = "hangs"
        seconds = time.monotonic() - self.since
        self._start()
        return outcome, seconds


def run(kinds: dict[str, dict[str, bytes]], count: int, seed: int, jobs: int, kept: Path) -> dict[str, Tally]:
    """Make and read all files.

    Args:
        kinds: undamaged files by kind and name.
        count: number of damaged files.
        seed: for the damage.
        jobs: number of processes.
        kept: folder for the files for which something came out that should not.
    """
    tallies = {kind: Tally() for kind in kinds}
    names = [(kind, name) for kind, originals in kinds.items() for name in originals]
    waiting = ((*names[number % len(names)], number) for number in range(count))
    with tempfile.TemporaryDirectory() as place:
        workers = [Worker(Path(tempfile.mkdtemp(dir=place))) for _ in range(jobs)]
        busy = list(workers)
        while busy:
            wait([worker.pipe for worker in busy if worker.job], 0.5)
            for worker in list(busy):
                if worker.job is not None:
                    answer = worker.answer()
                    if answer is None:
                        continue
                    tallies[worker.job[0]].add(worker.job[1], *answer, kept)
                    worker.job[1].unlink()
                job = next(waiting, None)
                if job is None:
                    worker.job = None
                    worker.pipe.send(None)
                    worker.process.join()
                    busy.remove(worker)
                    continue
                kind, name, number = job
                rng = random.Random(f"{seed} {kind} {name} {number}")
                data = mutated(kinds[kind][name], list(kinds[kind].values()), rng)
                worker.give(kind, f"{number}-{name.replace(' ', '-')}", data, rng.random() < 0.5)
    return tallies


def main() -> None:
    """Read the damaged files and print a table, and a line for every file that came out wrong."""
    parser = options_of(__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="of damaged files (default: 20000)")
    parser.add_argument("--seed", type=int, default=0, help="of the damage (default: 0)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=[*KINDS], help="of files (default: all)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per CPU)")
    options = parser.parse_args()
    kinds = {}
    for kind in options.kinds:
        try:
            kinds[kind] = render(kind)
        except ImportError as error:
            print(f"{kind}: left out, {error}")
    kept = Path(tempfile.mkdtemp(prefix="fuzz-"))
    tallies = run(kinds, options.count, options.seed, options.jobs, kept)
    rows = [
        [kind, f"{tally.outcomes.total()}", *(f"{tally.outcomes[key]}" for key in (*EXPECTED, "other"))]
        + [f"{tally.slowest:.2f}"]
        for kind, tally in tallies.items()
    ]
    print(to_markdown(["kind", "files", "read all the same", *EXPECTED[1:], "other", "slowest s"], rows))
    found = [line for tally in tallies.values() for line in tally.found]
    print(*found, sep="\n")
    if not found:
        kept.rmdir()
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
