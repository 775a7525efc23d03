"""Processes and machines are killed while they share 300 pictures: each result is there once, as of one process.

    python benchmarks/many_machines.py WORK --parts shards
    python benchmarks/many_machines.py WORK --parts ray

WORK is a folder for small rendered pictures and results. `shards` starts four processes with `--shard`, kills two of
them with SIGKILL, and starts these again. `ray` (needs hidra-thermal[cluster]) starts a cluster of two nodes on this
machine, kills a worker and then the second node with all its processes. Ten of the inputs are broken. Each part ends
with a second run, which must not touch any result, and with a table of what was to be seen; the exit code is 0 if
everything was.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from common import options_of
from many_files import WAYS, pictures

if TYPE_CHECKING:
    from collections.abc import Callable

    import psutil

ROOT = Path(__file__).resolve().parents[1]
BROKEN = 10
PATIENCE = 1800.0
"""Seconds after which something that does not happen is an error."""

_ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # only the programs of this benchmark may join its cluster, whatever Ray's default is
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(16),
}

_ways: list[str] = []
"""Options of all calls of `hidra enhance`."""

Claims = dict[str, tuple[bool, str]]
"""What was to be seen: whether it was, and in words."""


def begin(inputs: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    """Start `hidra enhance`."""
    command = [sys.executable, "-m", "hidra_core", "enhance", str(inputs), "--output", str(output), *options, *_ways]
    return subprocess.Popen(command, env=_ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def outcome(program: subprocess.Popen[str]) -> str:
    """Wait for a program; its exit code and how many files it did, or how many errors it names."""
    said, errors = program.communicate()
    counts = [line for line in said.splitlines() if re.match(r"\d+ enhanced", line)]
    named = f"{errors.count('hidra: error: ')} errors named"
    return f"exit code {program.returncode}: {counts[0] if counts else named}"


def count(output: Path) -> int:
    """Number of results that are there by now."""
    return len(list(output.glob("*.png"))) if output.is_dir() else 0


def results(output: Path) -> dict[str, bytes]:
    """The content of all files of a folder but for the ledgers; hidden ones too."""
    return {path.name: path.read_bytes() for path in output.iterdir() if path.is_file()}


def until(condition: Callable[[], bool], at_work: Callable[[], bool] = lambda: True) -> None:
    """Wait for something to happen.

    Args:
        condition: whether it has.
        at_work: whether it still may.

    Raises:
        RuntimeError: it can happen no more, or has not in time.
    """
    end = time.monotonic() + PATIENCE
    while not condition():
        if not at_work():
            raise RuntimeError("all was over before anything could be killed: take more or larger pictures")
        if time.monotonic() > end:
            raise RuntimeError(f"nothing happened in {PATIENCE:g} s")
        time.sleep(0.2)


def rows(output: Path) -> list[dict[str, str]]:
    """The lines of all ledgers."""
    ledgers = sorted((output / "hidra-ledger").iterdir())
    return [json.loads(line) for path in ledgers for line in path.read_text().splitlines()]


def of_results(output: Path, expected: dict[str, bytes]) -> Claims:
    """Whether the results and the ledgers are as they should be."""
    there, noted = results(output), rows(output)
    files = Counter(row["file"] for row in noted)
    failed = {row["file"] for row in noted if row["state"] == "failed"}
    same = sum(there.get(name) == content for name, content in expected.items())
    twice = sum(times > 1 for times in files.values())
    broken = [name for name in failed if name.startswith("broken-")]
    return {
        "all results, and nothing else": (there.keys() == expected.keys(), f"{len(there)} of {len(expected)}"),
        "as of one process, bit for bit": (same == len(expected), f"{same} of {len(expected)}"),
        "a row for each file, and one only": (
            len(files) == len(expected) + BROKEN and not twice,
            f"{len(files)} files have rows, {twice} of them several",
        ),
        "broken inputs are rows": (len(failed) == len(broken) == BROKEN, f"{len(failed)} of {BROKEN}"),
    }


def again(output: Path, programs: Callable[[], list[subprocess.Popen[str]]]) -> Claims:
    """Run everything once more; whether no result was touched."""
    before = {path.name: path.stat().st_mtime_ns for path in output.iterdir() if path.is_file()}
    said = [outcome(program) for program in programs()]
    after = {path.name: path.stat().st_mtime_ns for path in output.iterdir() if path.is_file()}
    return {"a second run touches no result": (before == after, "; ".join(said))}


def shards(inputs: Path, output: Path, expected: dict[str, bytes]) -> Claims:
    """Four processes with a part each, two of which are killed and started again."""

    def all_four() -> list[subprocess.Popen[str]]:
        return [begin(inputs, output, "--shard", f"{number}/4") for number in (1, 2, 3, 4)]

    programs = all_four()
    until(lambda: count(output) >= len(expected) // 4, lambda: programs[0].poll() is None is programs[1].poll())
    for program in programs[:2]:
        program.kill()
    killed = f"after {count(output)} results"
    ended = [outcome(program).partition(":")[0] for program in programs]
    continued = [outcome(begin(inputs, output, "--shard", f"{number}/4")) for number in (1, 2)]
    return {
        "two of four processes killed": (ended[:2] == ["exit code -9"] * 2, f"{killed}; {', '.join(ended)}"),
        "they continue": (all("failed" in line for line in continued), "; ".join(continued)),
        **of_results(output, expected),
        **again(output, all_four),
    }


class Node:
    """A node of a Ray cluster on this machine.

    Args:
        number: 0 for the head.
        head: port of the head.
        log: file for what it says.

    Raises:
        RuntimeError: it does not start.
    """

    def __init__(self, number: int, head: int, log: Path) -> None:
        # two nodes on one machine must not share ports, and the head's own must not be one of workers
        first = 20_000 + 1_000 * number
        ports = [f"--min-worker-port={first}", f"--max-worker-port={first + 999}"]
        where = [f"--address=127.0.0.1:{head}"]
        if number == 0:
            where = ["--head", f"--port={head}", f"--ray-client-server-port={free_port()}", "--include-dashboard=false"]
        program = str(Path(sys.executable).with_name("ray"))
        flags = ["--num-cpus=1", "--disable-usage-stats", "--object-store-memory=100000000", "--block"]
        for _ in range(5):  # Ray gives up after 30 s, which is little where others are at work
            with open(log, "w", encoding="utf-8") as file:
                self.program = subprocess.Popen(
                    [program, "start", *where, *ports, *flags], env=_ENVIRONMENT, stdout=file, stderr=file
                )
            until(lambda: "Ray runtime started" in log.read_text() or self.program.poll() is not None)
            if self.program.poll() is None:
                return
        raise RuntimeError(f"Ray does not start: see {log}")

    @property
    def processes(self) -> list[psutil.Process]:
        """All processes of the node but for the first, newest last."""
        import psutil

        return psutil.Process(self.program.pid).children(recursive=True) if self.program.poll() is None else []

    @property
    def workers(self) -> list[psutil.Process]:
        """Those that have a model, or are about to load it."""
        import psutil

        found = []
        for process in self.processes:
            try:
                found += [process] if "MapWorker" in " ".join(process.cmdline()) else []
            except psutil.Error:  # it ended meanwhile
                continue
        return found

    def kill(self) -> None:
        """End all its processes at once, as a machine does that loses its power."""
        for process in (*self.processes, self.program):
            process.kill()
        self.program.wait()

    def stop(self) -> None:
        """End it in order."""
        import psutil

        processes = self.processes
        self.program.terminate()
        _, left = psutil.wait_procs(processes, 20)
        for process in left:
            process.kill()
        self.program.wait()


def free_port() -> int:
    """A port that no program has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ray_cluster(inputs: Path, output: Path, expected: dict[str, bytes]) -> Claims:
    """Two nodes on this machine; a worker is killed, then the second node."""
    head = free_port()

    def run() -> list[subprocess.Popen[str]]:
        return [begin(inputs, output, "--engine-address", f"127.0.0.1:{head}", "--quiet")]

    claims: Claims = {}
    nodes = [Node(0, head, output.with_name("ray-head.log"))]
    try:
        nodes.append(Node(1, head, output.with_name("ray-second.log")))
        [driver] = run()
        at_work = lambda: driver.poll() is None  # noqa: E731  as short as what it is given to
        until(lambda: count(output) >= len(expected) // 6 and all(node.workers for node in nodes), at_work)
        victim = nodes[0].workers[0]
        victim.kill()
        claims["a worker killed"] = True, f"process {victim.pid} of the head, after {count(output)} results"
        done = count(output) + len(expected) // 6
        until(lambda: count(output) >= done and bool(nodes[1].workers), at_work)
        lost = len(nodes[1].processes) + 1
        nodes[1].kill()
        claims["a node killed"] = True, f"{lost} processes, after {count(output)} results"
        said = outcome(driver)
        claims["the command goes on to its end"] = driver.returncode == 1, said
        return claims | of_results(output, expected) | again(output, run)
    finally:
        for node in nodes:
            node.stop()


def main() -> int:
    """Run the parts that are asked for; 1 where one of them does not hold."""
    parser = options_of(__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--parts", nargs="+", choices=("shards", "ray"), default=("shards",))
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--size", default="64x64")
    parser.add_argument("--way", choices=WAYS, default="networks", help="what is done with them; sensor is cheap")
    arguments = parser.parse_args()
    # machines that measure which number type is faster may come to different ones
    _ways[:] = WAYS[arguments.way] or ["--dtype", "fp32"]
    width, height = (int(side) for side in arguments.size.split("x"))
    of_these = f"{arguments.size}-{arguments.pictures}"
    inputs = pictures(arguments.work / f"in-{of_these}", arguments.pictures, height, width)
    for number in range(BROKEN):
        (inputs / f"broken-{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing else")
    one = arguments.work / f"one-{of_these}-{arguments.way}"
    begun = time.monotonic()
    print(f"one process: {outcome(begin(inputs, one))} ({time.monotonic() - begun:.0f} s)", flush=True)
    if count(one) != arguments.pictures:
        raise RuntimeError(f"{one} has {count(one)} results of {arguments.pictures}")
    holds = True
    for part, run in (("shards", shards), ("ray", ray_cluster)):
        if part in arguments.parts:
            output = arguments.work / part
            shutil.rmtree(output, ignore_errors=True)
            begun = time.monotonic()
            claims = run(inputs, output, results(one))
            print(f"\n| {part}: {arguments.pictures} pictures, {BROKEN} broken files | holds | |\n|---|---|---|")
            for claim, (is_so, words) in claims.items():
                print(f"| {claim} | {'yes' if is_so else 'NO'} | {words} |")
            print(f"\n{part}: {time.monotonic() - begun:.0f} s", flush=True)
            holds &= all(is_so for is_so, _ in claims.values())
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
