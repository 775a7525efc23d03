"""``hidra enhance --shard I/N``: several processes share the files, each with a ledger of what it has done."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .console import UsageError, log

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .results import Job

FOLDER = "hidra-ledger"
"""Name of the folder beside the results with the ledgers."""

ENHANCED, FAILED, FOUND = "enhanced", "failed", "found"
"""States of a file: ``found`` is a result that was there, of a process that ended before it could note it."""


@dataclass(frozen=True)
class Shard:
    """One of several parts of the files, which depends on nothing but their names.

    Attributes:
        number: from 1 to ``count``.
        count: of all parts.
    """

    number: int
    count: int

    def has(self, name: Path) -> bool:
        """Whether a file is in this part.

        Args:
            name: of the file, relative to the input that it was found in; so it is the same wherever that is mounted.
        """
        digest = hashlib.sha256(os.fsencode(name.as_posix())).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1

    def __str__(self) -> str:
        return f"shard-{self.number}-of-{self.count}"


def add_shard(group: argparse._ActionsContainer) -> None:
    """Add the option."""
    group.add_argument(
        "--shard",
        metavar="I/N",
        type=_shard,
        help=f"enhance only part I of N of the inputs, chosen by their names: N processes, here or on other machines, "
        f"do all of them together. OUTPUT/{FOLDER}/shard-I-of-N.jsonl gets a line for each file. After a process "
        "was killed the same command continues",
    )


def _shard(text: str) -> Shard:
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"expected I/N with I from 1 to N, such as 3/16, got '{text}'")
    return Shard(int(match[1]), int(match[2]))


class Ledger:
    """What has become of the files: a JSON object a line, of which the last about a file holds.

    Each line is written at once and is on the disk before the next file is noted. A line that a power failure cut off
    is passed over; its file counts as not noted.

    Args:
        path: of the ledger; it is made when the first line is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._states = dict(self._read())

    def state(self, job: Job) -> str | None:
        """The last state of a file; None of one that was not noted."""
        return self._states.get(job.name.as_posix())

    def add(self, job: Job, state: str, **more: Any) -> None:
        """Note a file.

        Args:
            job: the work on it.
            state: one of :data:`ENHANCED`, :data:`FAILED` and :data:`FOUND`.
            more: what else is known, in plain JSON types; what is None is left out.

        Raises:
            OSError: the ledger cannot be written.
        """
        name = job.name.as_posix()
        row = {"file": name, "state": state, "output": str(job.output), "host": platform.node()}
        row |= {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        row |= {key: value for key, value in more.items() if value is not None}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab+", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
            is_whole = not size or file.read(1) == b"\n"
            line = json.dumps(row) + "\n"
            file.write((line if is_whole else "\n" + line).encode())
            os.fsync(file.fileno())
        self._states[name] = state

    def note_kept(self, waiting: Iterable[Job], kept: Iterable[Job]) -> None:
        """Compare with the results that are there: note those that were not, and say which have gone.

        Args:
            waiting: files without a result.
            kept: files whose results exist and stay.
        """
        gone = [job for job in waiting if self.state(job) in (ENHANCED, FOUND)]
        if gone:
            log.warning(
                "%d results that %s names are no longer there, such as %s, and are made again",
                *(len(gone), self.path, gone[0].output),
            )
        for job in kept:
            if self.state(job) not in (ENHANCED, FOUND):
                self.add(job, FOUND)

    def _read(self) -> Iterable[tuple[str, str]]:
        try:
            with open(self.path, encoding="utf-8", errors="replace") as file:
                for line in file:
                    try:
                        row = json.loads(line)
                        yield row["file"], row["state"]
                    except (ValueError, KeyError, TypeError):
                        log.info("%s: a line that was cut off is passed over: %s", self.path, line.strip()[:80])
        except FileNotFoundError:
            return


def remove_leftovers(jobs: Iterable[Job]) -> None:
    """Remove temporary files that a killed process has left beside the results of these files.

    Args:
        jobs: that no other process works on.
    """
    folders: dict[Path, set[str]] = {}
    for job in jobs:
        for target in job.targets:
            folders.setdefault(target.parent, set()).add(target.name)
    for folder, names in folders.items():
        if not folder.is_dir():
            continue
        for entry in os.scandir(folder):
            match = re.fullmatch(r"\.(.+)-[0-9a-f]{8}(\.[^.]*)?", entry.name)
            if match is not None and match[1] + (match[2] or "") in names:
                os.unlink(entry.path)
                log.info("%s is removed: a process that was killed has left it", entry.path)


def ledger_of(arguments: argparse.Namespace) -> Ledger | None:
    """The ledger of a run; None where it has none."""
    if arguments.shard is not None:
        return Ledger(arguments.output / FOLDER / f"{arguments.shard}.jsonl")
    if arguments.engine_address is not None:
        return Ledger(arguments.output / FOLDER / "cluster.jsonl")
    return None


def in_shard(jobs: list[Job], arguments: argparse.Namespace) -> list[Job]:
    """The jobs of the shard that is asked for; all where none is.

    Raises:
        UsageError: the frames of a flight, which are levelled together.
    """
    shard: Shard | None = arguments.shard
    if shard is None:
        return jobs
    if arguments.flight:
        raise UsageError("--flight levels all frames together, and --shard takes a part of them: leave one of them out")
    mine = [job for job in jobs if shard.has(job.name)]
    log.info("%d of %d files are in part %d of %d", len(mine), len(jobs), shard.number, shard.count)
    return mine
