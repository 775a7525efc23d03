"""Processes and machines are killed while they share 300 pictures: each result is there once, as of one process.

    python benchmarks/many_machines.py WORK --parts shards
    python benchmarks/many_machines.py WORK --parts ray

WORK is a folder for small rendered pictures and results. `shards` starts four processes with `--shard`, kills two of
them with SIGKILL, and starts these again. `ray` (needs hidra-thermal[cluster]) starts a cluster of two nodes on this
machine, kills a worker and then a node. Ten of the inputs are broken. Each part ends with a second run, which must not
touch any result.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from common import options_of
from many_files import WAYS, pictures

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]
BROKEN = 10
PORT = 16379
"""Of the head of the cluster."""

_ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


_ways: list[str] = []
"""Options of all calls of `hidra enhance`."""


def begin(inputs: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    """Start `hidra enhance`."""
    command = [sys.executable, "-m", "hidra_core", "enhance", str(inputs), "--output", str(output), *options, *_ways]
    return subprocess.Popen(command, env=_ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def last_line(program: subprocess.Popen[str]) -> str:
    """Wait for a program; its exit code and the last line of what it says."""
    said, errors = program.communicate()
    lines = (said.strip() or errors.strip()).splitlines()
    return f"exit code {program.returncode}: {lines[-1] if lines else ''}"


def results(output: Path) -> dict[str, bytes]:
    """The content of all files of a folder but for the ledgers; hidden ones too."""
    return {path.name: path.read_bytes() for path in output.iterdir() if path.is_file()}


def until(condition: Callable[[], bool], seconds: float = 1800.0) -> None:
    """Wait for something to happen."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"nothing happened in {seconds:g} s")
        time.sleep(0.2)


def rows(output: Path) -> dict[str, str]:
    """The last state of each file in all ledgers."""
    lines = [line for path in sorted((output / "hidra-ledger").iterdir()) for line in path.read_text().splitlines()]
    return {row["file"]: row["state"] for row in map(json.loads, lines)}


def check(output: Path, expected: dict[str, bytes]) -> bool:
    """Print whether the results and the ledgers are as they should be."""
    there, states = results(output), list(rows(output).values())
    failed = states.count("failed")
    print(f"{len(there)} results of {len(expected)}; rows: {len(states)}, of which {failed} failed")
    is_same = there == expected
    print("results are those of one process, bit for bit" if is_same else "RESULTS DIFFER")
    return is_same and failed == BROKEN and len(states) == len(expected) + BROKEN


def again(output: Path, programs: Callable[[], list[subprocess.Popen[str]]]) -> bool:
    """Run everything once more; whether no result was touched."""
    before = {path.name: path.stat().st_mtime_ns for path in output.iterdir() if path.is_file()}
    for program in programs():
        print(f"second run: {last_line(program)}")
    return before == {path.name: path.stat().st_mtime_ns for path in output.iterdir() if path.is_file()}


def shards(inputs: Path, output: Path, expected: dict[str, bytes]) -> bool:
    """Four processes with a part each, two of which are killed and started again."""

    def all_four() -> list[subprocess.Popen[str]]:
        return [begin(inputs, output, "--shard", f"{number}/4", "--quiet") for number in (1, 2, 3, 4)]

    programs = all_four()
    until(lambda: output.is_dir() and len(list(output.glob("*.png"))) >= len(expected) // 4)
    for program in programs[:2]:
        program.kill()
    print(f"two of four processes killed after {len(list(output.glob('*.png')))} results")
    for number, program in enumerate(programs, 1):
        print(f"part {number}: {last_line(program)}")
    for number in (1, 2):
        print(f"part {number} again: {last_line(begin(inputs, output, '--shard', f'{number}/4'))}")
    return check(output, expected) & again(output, all_four)


def ray_cluster(inputs: Path, output: Path, expected: dict[str, bytes]) -> bool:
    """Two nodes on this machine; a worker is killed, then the second node."""
    import psutil

    program = str(Path(sys.executable).with_name("ray"))
    flags = ["--num-cpus=1", "--disable-usage-stats", "--object-store-memory=100000000"]
    head = [program, "start", "--head", f"--port={PORT}", "--include-dashboard=false", *flags, "--block"]
    second = [program, "start", f"--address=127.0.0.1:{PORT}", "--node-manager-port=16400", *flags, "--block"]
    with open(output.with_suffix(".log"), "w", encoding="utf-8") as log:
        nodes = [subprocess.Popen(head, env=_ENVIRONMENT, stdout=log, stderr=log)]
        time.sleep(20)
        nodes.append(subprocess.Popen(second, env=_ENVIRONMENT, stdout=log, stderr=log))
    time.sleep(20)

    def workers(node: int) -> list[psutil.Process]:
        children = psutil.Process(nodes[node].pid).children(recursive=True)
        return [child for child in children if "MapWorker" in " ".join(child.cmdline())]

    def run() -> list[subprocess.Popen[str]]:
        return [begin(inputs, output, "--engine-address", f"127.0.0.1:{PORT}", "--quiet")]

    try:
        [driver] = run()
        until(lambda: len(list(output.glob("*.png"))) >= len(expected) // 6 and bool(workers(0) and workers(1)))
        workers(0)[0].kill()
        print(f"a worker of the first node killed after {len(list(output.glob('*.png')))} results", flush=True)
        done = len(list(output.glob("*.png"))) + len(expected) // 6
        until(lambda: len(list(output.glob("*.png"))) >= min(done, len(expected)))
        for process in (*psutil.Process(nodes[1].pid).children(recursive=True), nodes[1]):
            process.kill()
        print(f"the second node killed after {len(list(output.glob('*.png')))} results", flush=True)
        print(f"cluster: {last_line(driver)}", flush=True)
        return check(output, expected) & again(output, run)
    finally:
        for node in nodes:
            children = psutil.Process(node.pid).children(recursive=True) if node.poll() is None else []
            node.terminate()
            psutil.wait_procs(children, 20)


def main() -> int:
    """Run the parts that are asked for; 1 where one of them does not hold."""
    parser = options_of(__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--parts", nargs="+", choices=("shards", "ray"), default=("shards",))
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--size", default="64x64")
    parser.add_argument("--way", choices=WAYS, default="networks", help="what is done with them; sensor is cheap")
    arguments = parser.parse_args()
    _ways[:] = WAYS[arguments.way]
    width, height = (int(side) for side in arguments.size.split("x"))
    inputs = pictures(arguments.work / f"in-{arguments.size}-{arguments.pictures}", arguments.pictures, height, width)
    for number in range(BROKEN):
        (inputs / f"broken-{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing else")
    one = arguments.work / "one"
    print(f"one process: {last_line(begin(inputs, one))}", flush=True)
    holds = []
    for part, run in (("shards", shards), ("ray", ray_cluster)):
        if part in arguments.parts:
            holds.append(run(inputs, arguments.work / part, results(one)))
            print(f"{part}: {'holds' if holds[-1] else 'DOES NOT HOLD'}", flush=True)
    return 0 if all(holds) else 1


if __name__ == "__main__":
    sys.exit(main())
