"""The work of ``hidra enhance``: what the command line says for all files, the model, and file after file."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .changing import change_of, running_of
from .console import INTERRUPTED, OK, log, reason, report
from .model import load_pair, pick
from .pipeline import Task, pipeline_for
from .progress import progress
from .reading import reading_of
from .results import remove_stale
from .sensor import Found
from .shards import ENHANCED, FAILED

if TYPE_CHECKING:
    import argparse
    from concurrent.futures import Future

    import torch

    from ..backbone import Backbone
    from ..enhance import Progress
    from ..sources import Change, Reading, Running
    from ..sources.conveyor import Conveyor
    from ..weights import Weights
    from .results import Job
    from .shards import Ledger


@dataclass(frozen=True)
class Options:
    """What the command line says, the same for all jobs."""

    reading: Reading
    running: Running
    change: Change

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Options:
        """Those of the parsed command line.

        Raises:
            UsageError: options that exclude each other, or a number out of range.
        """
        return cls(reading_of(arguments), running_of(arguments), change_of(arguments))


def load(arguments: argparse.Namespace, options: Options) -> tuple[Weights | None, Backbone | None]:
    """The weights and the backbone; None with a blend of 0, where no network runs, and where an exported graph does.

    Raises:
        UsageError: the device is not there, or the weights need a backbone that was not named.
        ValueError: the weights are for another backbone, or a file is not as expected.
        OSError: a file cannot be read.
    """
    if not options.change.blend or not options.running.networks or options.running.engine is not None:
        return None, None
    return load_pair(arguments, *pick(arguments.device, arguments.dtype, arguments.backbone))


def enhance_all(
    jobs: list[Job],
    files_in_use: set[str],
    backbone: Backbone | None,
    weights: Weights | None,
    options: Options,
    arguments: argparse.Namespace,
    found: list[tuple[str, Found]],
    ledger: Ledger | None,
) -> tuple[int, int, int]:
    """Enhance files.

    Args:
        jobs: the files.
        files_in_use: see :func:`~hidra_core.cli.results.in_use`.
        backbone: the one-step backbone; None where no networks run.
        weights: the weights; None as there.
        options: what the command line says.
        arguments: the parsed command line.
        found: gets what the sensor stage finds.
        ledger: gets a line for each file; None: there is none.

    Returns:
        (files enhanced, files failed, exit code so far)
    """
    enhanced = failed = 0
    pipeline = pipeline_for(
        arguments, [job.source for job in jobs], "cpu" if backbone is None else backbone.device.type
    )
    with progress(len(jobs), arguments) as shown:

        def begin(index: int) -> None:
            if index < len(jobs):
                shown.begin(f"{index + 1}/{len(jobs)} {jobs[index].source.name}")

        def task(index: int, job: Job) -> Task[Found | None]:
            def show(share: float, _: torch.Tensor | None) -> None:
                if index == pipeline.first:
                    shown.advance(index + share)

            return Task(
                lambda conveyor: enhance_job(job, files_in_use, backbone, weights, options, show, conveyor), job.size
            )

        def finished(index: int, outcome: Future[Found | None]) -> bool:
            nonlocal enhanced, failed
            job, goes_on = jobs[index], True
            try:
                findings = outcome.result()
                if findings is not None:
                    log.info("%s: sensor: %s", job.source, findings.words or findings.nothing)
                    found.append((job.source.name, findings))
                if ledger is not None:
                    ledger.add(job, ENHANCED, sensor=findings and findings.words)
                enhanced += 1
                shown.done()
            except Exception as error:  # noqa: BLE001  whatever is wrong with one file, the others are enhanced
                failed += 1
                report(error, arguments, job.source)
                if ledger is not None:
                    ledger.add(job, FAILED, error=reason(error))
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    log.error("stopped: no room is left on the disk of %s", arguments.output)
                    goes_on = False
            shown.advance(index + 1)
            begin(index + 1)
            return goes_on

        begin(0)
        try:
            pipeline.run([task(index, job) for index, job in enumerate(jobs)], finished)
        except KeyboardInterrupt:
            log.error(
                "stopped; the files in %s are complete, and the same command continues from there", arguments.output
            )
            return enhanced, failed, INTERRUPTED
    return enhanced, failed, OK


def enhance_job(
    job: Job,
    files_in_use: set[str],
    backbone: Backbone | None,
    weights: Weights | None,
    options: Options,
    show: Progress,
    conveyor: Conveyor,
) -> Found | None:
    """Do one job; a result that it replaces takes along what only that one had beside it.

    Returns:
        What the sensor stage found; None where it did not run.
    """
    from ..images.files import check_names
    from ..images.search import check_entry
    from ..sources import enhance_file, open_source

    check_names(job.targets)
    check_entry(job.source)
    replaces = job.has_result
    source = open_source(job.source, options.reading)
    enhance_file(
        source,
        job.output,
        backbone,
        weights,
        running=options.running,
        change=options.change,
        beside=job.beside,
        progress=show,
        conveyor=conveyor,
    )
    if replaces:
        remove_stale(job, files_in_use)
    found = source.findings
    return None if found is None else Found(found.words, found.weight, found.nothing)
