"""Where the results of ``hidra enhance`` go, and which files are results of an earlier run."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .console import UsageError, log

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Collection
    from pathlib import Path

    from ..sources import Beside

COMPARE, TRUST, RADIOMETRIC = "compare", "trust", "radiometric"

_BESIDE = re.compile(rf"(.+)-(?:{COMPARE}\.\w+|{TRUST}\.(?:png|json)|{RADIOMETRIC}\.json)", re.IGNORECASE)
_OF_EVALUATION = re.compile(r"sheet-.+\.png|outputs")
"""Names that ``hidra evaluate`` writes beside its ``evaluation.json``."""


@dataclass(frozen=True)
class Job:
    """One file to enhance: where it is, where its result goes, and what is written with it.

    Attributes:
        source: the file.
        output: the file of its result.
        beside: further files to write.
        name: of the source, relative to the input that it was found in.
    """

    source: Path
    output: Path
    beside: Beside
    name: Path

    @property
    def targets(self) -> list[Path]:
        """All files that the job writes."""
        return [self.output, *self.beside.paths]

    @property
    def size(self) -> int:
        """Bytes of the input; 0 where it cannot be told."""
        try:
            return self.source.stat().st_size
        except OSError:
            return 0

    @property
    def has_result(self) -> bool:
        """Whether the result exists, perhaps without all that is wanted beside it."""
        return _exists(self.output)

    @property
    def missing(self) -> list[Path]:
        """What is wanted and does not exist."""
        return [target for target in self.targets if not _exists(target)]


def is_of_earlier_run(name: str, names: Collection[str], extensions: Collection[str]) -> bool:
    """Whether this program wrote a file beside one of its results, as far as names can tell.

    Args:
        name: of the file.
        names: all names in its folder. A comparison or a report has an image file beside it that it is named after.
        extensions: those of image files and clips, in lower case.
    """
    if _OF_EVALUATION.fullmatch(name):
        return "evaluation.json" in names
    match = _BESIDE.fullmatch(name)
    if match is None:
        return False
    return match.group(1) in names or any(
        match.group(1) + suffix in names for extension in extensions for suffix in (extension, extension.upper())
    )


def plan(files: list[tuple[Path, Path]], suffix_of: Callable[[Path], str], arguments: argparse.Namespace) -> list[Job]:
    """Where the results go: below the output folder, under the relative names of their inputs, with their own suffix.

    Inputs whose results would share a file, such as a.jpg and a.png as .tiff, keep their whole names in front of the
    suffix: a.jpg.tiff and a.png.tiff. So no result is ever mistaken for that of another input. What is written beside
    results is named after their whole names too where it would be shared otherwise.

    Args:
        files: (file, relative name) pairs.
        suffix_of: gives the suffix of the result of a file.
        arguments: the parsed command line.

    Returns:
        The jobs, in the order of the files.

    Raises:
        UsageError: two inputs still have a target in common.
    """
    outputs = {source: arguments.output / name for source, name in _names(files, suffix_of).items()}
    wanted = {"compare": arguments.compare, "trust": arguments.report, "radiometric": arguments.radiometric}
    jobs = [Job(source, outputs[source], _beside(outputs[source], **wanted), name) for source, name in files]
    users = Counter(_folded(target) for job in jobs for target in job.targets)
    users_of_target: dict[Path, Path] = {}
    for index, job in enumerate(jobs):
        if any(users[_folded(path)] > 1 for path in job.beside.paths):
            job = jobs[index] = replace(job, beside=_beside(job.output, whole_name=True, **wanted))
        for target in job.targets:
            other = users_of_target.setdefault(target, job.source)
            if other is not job.source:
                raise UsageError(f"{other} and {job.source} would both be written to {target}; enhance them separately")
    return jobs


def _names(files: list[tuple[Path, Path]], suffix_of: Callable[[Path], str]) -> dict[Path, Path]:
    """The relative names of the results by source; no two are the same, even ignoring case where they are new."""
    suffixes = {source: suffix_of(source) for source, _ in files}
    names = {source: name.with_suffix(suffixes[source]) for source, name in files}
    users = Counter(_folded(name) for name in names.values())
    changed = [(source, name) for source, name in files if names[source] != name]
    taken = {_folded(names[source]) for source, name in files if names[source] == name}
    longer = 0
    example: tuple[Path, Path] | None = None
    for source, name in changed:
        result = names[source]
        if users[_folded(result)] > 1:
            result = name.with_name(name.name + suffixes[source])
        while _folded(result) in taken:
            result = result.with_name(result.name + suffixes[source])
        taken.add(_folded(result))
        if result != names[source]:
            names[source], longer, example = result, longer + 1, example or (source, result)
    if example is not None:
        log.warning(
            "%d of %d results have the whole names of their inputs, as they would share a name with others: %s gives "
            "%s",
            *(longer, len(files), *example),
        )
    return names


def in_use(jobs: list[Job]) -> set[str]:
    """The real paths of all files that jobs read and write."""
    return {os.path.realpath(path) for job in jobs for path in (job.source, *job.targets)}


def remove_stale(job: Job, kept: set[str]) -> None:
    """Remove what an older result had beside it and the new one has not: it would be taken for the new one's.

    Args:
        job: the one whose result was replaced.
        kept: of all jobs, from :func:`in_use`; these files stay.

    Raises:
        OSError: a file cannot be removed.
    """
    for whole_name in (False, True):
        prefix = job.output if whole_name else job.output.with_suffix("")
        for path in _beside(job.output, compare=True, trust=True, radiometric=True, whole_name=whole_name).paths:
            if not path.is_file() or os.path.realpath(path) in kept:
                continue
            if _images_of(prefix) == [job.output]:
                path.unlink()
                log.info("%s is removed: it belonged to the result that was replaced", path)
            else:
                log.warning("%s may be about an older result: it has the name of several, and stays", path)


def _images_of(prefix: Path) -> list[Path]:
    """The image files and clips that files beside them, with names that begin so, may be about."""
    from ..sources.opening import CLIPS, IMAGES

    suffixes = [suffix for extension in (*IMAGES, *CLIPS) for suffix in (extension, extension.upper())]
    return [
        path for path in (prefix, *(prefix.with_name(prefix.name + suffix) for suffix in suffixes)) if _exists(path)
    ]


def _beside(output: Path, *, compare: bool, trust: bool, radiometric: bool, whole_name: bool = False) -> Beside:
    """The further files of a result, named after it; the comparison of a clip is a clip."""
    from ..sources import Beside
    from ..video import is_clip

    def named(what: str, suffix: str) -> Path:
        return output.with_name(f"{output.name if whole_name else output.stem}-{what}{suffix}")

    return Beside(
        compare=named(COMPARE, output.suffix if is_clip(output) else ".png") if compare else None,
        trust=(named(TRUST, ".png"), named(TRUST, ".json")) if trust else None,
        radiometric=named(RADIOMETRIC, ".json") if radiometric else None,
    )


def _folded(path: Path) -> str:
    """The same for names that differ in case only, which are one file in many places."""
    return str(path).casefold()


def _exists(path: Path) -> bool:
    """``Path.exists`` that also answers for names that are too long."""
    try:
        return path.exists()
    except OSError:
        return False
