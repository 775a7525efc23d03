"""``hidra enhance --engine-address``: the files are enhanced by the workers of a Ray cluster."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import platform
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from .console import FAILED, INTERRUPTED, OK, UsageError, log, messages, reason
from .pipeline import AUTO
from .sensor import Found
from .shards import ENHANCED
from .shards import FAILED as HAS_FAILED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .results import Job
    from .shards import Ledger

MOST_BLOCKS = 10_000
"""Blocks of files that Ray hands out: one file each where there are fewer, so that little is lost with a worker."""

_OF_MACHINES = ("workers", "worker_cpus", "worker_gpus")


def add_cluster(group: argparse._ActionsContainer) -> None:
    """Add the options."""
    group.add_argument(
        "--engine-address",
        metavar="local|auto|ADDRESS",
        help="enhance on a Ray cluster (hidra-thermal[cluster]): local starts one on this machine for this command; "
        "auto is the one that this machine belongs to; else HOST:PORT or ray://HOST:PORT. Inputs, results and models "
        "must have the same paths on all machines",
    )
    group.add_argument(
        "--workers",
        metavar="N",
        type=_positive(int),
        help="workers of the cluster at most, each with a copy of the model (default: as many as there is room for)",
    )
    group.add_argument(
        "--worker-cpus", metavar="N", type=_positive(int), help="processor cores for each worker (default: 1)"
    )
    group.add_argument(
        "--worker-gpus",
        metavar="SHARE",
        type=_positive(float, zero=True),
        help="GPUs for each worker, or a share of one such as 0.5; 0: none (default: 1 if the cluster has any)",
    )


def _positive(kind: type[int] | type[float], zero: bool = False) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = -1
        if not (0 < value < 1e6 or (zero and value == 0)):
            raise argparse.ArgumentTypeError(f"expected a number above 0{' or 0' if zero else ''}, got '{text}'")
        return value

    return parse


def check_cluster(arguments: argparse.Namespace) -> None:
    """Check the options against each other before any work.

    Raises:
        UsageError: options that exclude each other or need another one.
        ImportError: Ray is not installed.
    """
    if arguments.engine_address is None:
        for name in _OF_MACHINES:
            if vars(arguments)[name] is not None:
                raise UsageError(f"--{name.replace('_', '-')} is about a cluster: give --engine-address too")
        return
    for name, is_given in {
        "--flight": arguments.flight,
        "--shard": arguments.shard is not None,
        "--jobs": arguments.jobs != AUTO,
        "--batch": arguments.batch != AUTO,
    }.items():
        if is_given:
            raise UsageError(f"{name} is for this machine alone, and --engine-address is given: leave one of them out")
    _import_ray()


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(f"--engine-address needs Ray ({error}): pip install 'hidra-thermal[cluster]'") from error
    return ray


class Worker:
    """Enhances files on one machine of a cluster; Ray starts it again where it dies.

    Args:
        arguments: the parsed command line, with absolute paths.
        jobs: the work, by number.
        files_in_use: see :func:`~hidra_core.cli.results.in_use`.
        version: of the program that sends the work.

    Raises:
        RuntimeError: another version is installed here.
    """

    def __init__(self, arguments: argparse.Namespace, jobs: list[Job], files_in_use: set[str], version: str) -> None:
        if version != __version__:
            raise RuntimeError(
                f"hidra-thermal {__version__} is installed on {platform.node()}, and the command is of {version}: "
                "install the same version on all machines"
            )
        import torch

        from .enhancing import Options, load

        torch.set_num_threads(arguments.worker_cpus or 1)
        self._messages = messages(arguments)
        self._messages.__enter__()  # for as long as the worker lives
        self._arguments = arguments
        self._jobs = jobs
        self._files_in_use = files_in_use
        self._options = Options.of(arguments)
        self._weights, self._backbone = load(arguments, self._options)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """A row for each file of a block."""
        rows = [self._row(int(number)) for number in batch["number"]]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def close(self) -> None:
        """No more files come, and messages go where they went before."""
        self._messages.__exit__(None, None, None)

    def _row(self, number: int) -> dict[str, Any]:
        from ..sources.conveyor import DIRECT
        from .enhancing import enhance_job

        job = self._jobs[number]
        row = {"number": number, "error": "", "code": 0, "words": "", "weight": -1.0, "where": "", "seconds": 0.0}
        row["host"] = platform.node()
        if job.has_result and not self._arguments.overwrite:  # by a worker that died before it could say so
            return row
        begun = time.monotonic()
        try:
            found = enhance_job(
                job, self._files_in_use, self._backbone, self._weights, self._options, lambda *_: None, DIRECT
            )
            if found is not None:
                row |= {"words": found.words or "", "weight": found.weight}
        except Exception as error:  # noqa: BLE001  whatever is wrong with one file is a row
            row |= {"error": reason(error) or type(error).__name__, "code": getattr(error, "errno", 0) or 0}
            row["where"] = traceback.format_exc()
        row["seconds"] = round(time.monotonic() - begun, 3)
        return row


def enhance_on_cluster(
    waiting: list[Job],
    files_in_use: set[str],
    arguments: argparse.Namespace,
    ledger: Ledger,
    found: list[tuple[str, Found]],
) -> tuple[int, int, int]:
    """Enhance files on a cluster.

    Args:
        waiting: the files.
        files_in_use: see :func:`~hidra_core.cli.results.in_use`.
        arguments: the parsed command line.
        ledger: gets a line for each file.
        found: gets what the sensor stages find.

    Returns:
        (files enhanced, files failed, exit code so far)

    Raises:
        UsageError: there is no such cluster.
    """
    ray = _import_ray()
    _connect(ray, arguments)
    enhanced = failed = 0
    try:
        for row in _rows(ray, waiting, files_in_use, arguments):
            job = waiting[row["number"]]
            more = {"host": row["host"], "seconds": row["seconds"]}
            if row["error"]:
                failed += 1
                text = row["error"]
                log.error("%s", text if str(_absolute(job.source)) in text else f"{job.source}: {text}")
                log.info("%s", row["where"])
                ledger.add(job, HAS_FAILED, error=text, **more)
                if row["code"] in (errno.ENOSPC, errno.EDQUOT):
                    log.error("stopped: no room is left on the disk of %s", arguments.output)
                    break
                continue
            enhanced += 1
            if row["weight"] >= 0:
                log.info("%s: sensor: %s", job.source, row["words"] or "nothing found")
                found.append((job.source.name, Found(row["words"] or None, row["weight"])))
            ledger.add(job, ENHANCED, sensor=row["words"] or None, **more)
    except KeyboardInterrupt:
        log.error("stopped; the files in %s are complete, and the same command continues from there", arguments.output)
        return enhanced, failed, INTERRUPTED
    except ray.exceptions.RayError as error:
        log.error("the cluster stopped: %s", _last_line(error))
        log.info("%s", error)
        return enhanced, failed, FAILED
    finally:
        ray.shutdown()
    return enhanced, failed, OK


def _connect(ray: Any, arguments: argparse.Namespace) -> None:
    address = arguments.engine_address
    quiet = {"logging_level": logging.ERROR if arguments.quiet else logging.WARNING}
    try:
        if address == "local":
            ray.init(address="local", include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError, ray.exceptions.RayError) as error:
        if _is_about_token(error):
            raise UsageError(
                f"--engine-address {address}: the Ray cluster asks for its token: set RAY_AUTH_MODE=token here as on "
                "all its machines, with the same ~/.ray/auth_token or RAY_AUTH_TOKEN"
            ) from error
        why = _last_line(error) if isinstance(error, ray.exceptions.RayError) else reason(error)
        remedy = "start one with 'ray start --head', check the address, or use --engine-address local"
        raise UsageError(f"--engine-address {address}: no Ray cluster answers ({why}); {remedy}") from error


def _is_about_token(error: BaseException | None) -> bool:
    """Whether a cluster refused a program without its token; Ray hands that on as text, or as a cause."""
    while error is not None:
        if "AuthenticationError" in f"{type(error).__name__}: {error}":
            return True
        error = error.__cause__
    return False


def _rows(
    ray: Any, waiting: list[Job], files_in_use: set[str], arguments: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """A row for each file, in the order in which they are finished."""
    room = ray.cluster_resources()
    cpus = arguments.worker_cpus or 1
    gpus = arguments.worker_gpus
    if gpus is None:
        gpus = 1 if room.get("GPU", 0) >= 1 and arguments.device != "cpu" else 0
    has_room = any(
        node["Alive"] and node["Resources"].get("CPU", 0) >= cpus and node["Resources"].get("GPU", 0) >= min(gpus, 1)
        for node in ray.nodes()
    )
    if not has_room:  # a cluster may grow when it is asked to
        log.warning(
            "no machine of the cluster has room for a worker with %d cores and %g GPUs yet: waiting for one", cpus, gpus
        )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = not arguments.quiet
    if arguments.quiet:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
    data = ray.data.from_items(
        [{"number": number} for number in range(len(waiting))], override_num_blocks=min(len(waiting), MOST_BLOCKS)
    ).map_batches(
        Worker,
        fn_constructor_args=(
            _with_absolute_paths(arguments),
            [_absolute_job(job) for job in waiting],
            files_in_use if arguments.overwrite else set(),
            __version__,
        ),
        batch_size=None,
        num_cpus=cpus,
        num_gpus=gpus,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=arguments.workers),
    )
    return data.iter_rows()


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _absolute_job(job: Job) -> Job:
    """The same work for a process in another folder."""
    beside = job.beside
    return replace(
        job,
        source=_absolute(job.source),
        output=_absolute(job.output),
        beside=replace(
            beside,
            compare=beside.compare and _absolute(beside.compare),
            trust=beside.trust and (_absolute(beside.trust[0]), _absolute(beside.trust[1])),
            radiometric=beside.radiometric and _absolute(beside.radiometric),
        ),
    )


def _with_absolute_paths(arguments: argparse.Namespace) -> argparse.Namespace:
    """The command line for a process in another folder."""
    changed = argparse.Namespace(**vars(arguments))
    for name in ("weights", "backbone", "dem_backbone", "camera", "output"):
        value = getattr(changed, name)
        if value is not None and Path(value).exists():
            setattr(changed, name, type(value)(os.path.abspath(value)))
    return changed


def _last_line(error: Exception) -> str:
    """What an error of Ray comes down to: the last line, below the tracebacks of several processes."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
