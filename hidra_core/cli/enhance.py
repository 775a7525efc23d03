"""``hidra enhance``: image files, counts and clips in, enhanced files of the same names out."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..names import DTYPES
from .changing import add_blend, add_clips, add_radiometric, add_running, change_of, running_of
from .console import FAILED, INTERRUPTED, OK, UsageError, log, report, say
from .engine import add_engine, check_engine, with_engine
from .flight import add_flight, reading_of_flight
from .inputs import check_folder, check_model_paths, find_files, require
from .model import load_pair, pick
from .options import add_backbone, add_command, add_device, add_inputs, add_overwrite, add_quiet, add_weights
from .progress import progress
from .reading import OBJECT_PARAMETERS, add_mapping, add_object_temperatures, add_raw, reading_of
from .results import Job, in_use, plan, remove_stale
from .sensor import OF_NETWORKS, add_sensor, check_alone, summary

if TYPE_CHECKING:
    import argparse

    import torch

    from ..backbone import Backbone
    from ..enhance import Progress
    from ..sources import Change, Reading, Running
    from ..sources.undone import Findings
    from ..weights import Weights


_NOT_FOR_CLIPS = {
    "--report": "images and counts",
    "--radiometric": "images and counts",
    "--mapping": "images and counts",
    "--limits": "images and counts",
    "--plateau": "images and counts",
    "--kelvin": "counts",
    "--unit": "counts",
    "--object-temperatures": "counts",
    **{f"--{name}": "counts" for name in OBJECT_PARAMETERS},
    "--crop": "images and counts",
    "--telemetry": "images and counts",
    "--plane": "images and counts",
    "--format": "images and counts",
    "--flight": "images and counts",
    "--graph": "images and counts",
}
"""Options that are refused for clips, and what they are for."""

_FOR_CLIPS = ("degradation_per", "smoothing", "on_broken_frame", "lossless")
_FOR_RAW = ("raw_size", "raw_order", "raw_offset")
"""Options for one kind of file, by their names in the parsed command line, that are refused if no input is of it."""


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "enhance",
        run,
        "enhance images and clips",
        "Enhance image files, thermal files and clips. Results keep the names, sub-folders, bit depth, channels, "
        "alpha, EXIF and georeference of their inputs. Counts and temperatures are mapped to the range of the "
        "networks and brought back afterwards; those of radiometric JPEG, FLIR sequences, raw frames and the like "
        "become TIFF, a page for each frame. Clips keep their size, frame times and sound, and become grey. An input "
        "whose result exists in the output folder is skipped, and no input is ever overwritten. Inputs whose results "
        "would have the same name, as a.jpg and a.png with --format tiff, give a.jpg.tiff and a.png.tiff. An option "
        "that the inputs cannot use is refused.",
        "  hidra enhance frame.png --output clear\n"
        "  hidra enhance flight/ 'more/**/*.tiff' --output clear --compare\n"
        "  hidra enhance FLIR0042.jpg --output clear --radiometric\n"
        "  hidra enhance flight.seq --output celsius --blend 0 --unit celsius\n"
        "  hidra enhance flight/ --output clear --sensor only\n"
        "  hidra enhance flight.mp4 --output clear --degradation-per clip\n"
        "  hidra enhance frame.png -o clear --weights hidra.safetensors --backbone sd_turbo.safetensors",
    )
    add_inputs(parser, clips=True)
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=Path, required=True, help="folder for the results; made if it is missing"
    )
    model = parser.add_argument_group("model")
    add_backbone(model)
    add_weights(model)
    model.add_argument(
        "--dtype",
        choices=("auto", *DTYPES),
        default="auto",
        help="number type to compute in; auto: fp16 on a GPU, bf16 on processors that have it, else fp32 "
        "(default: auto)",
    )
    add_device(model)
    add_engine(model)
    result = parser.add_argument_group("result")
    add_running(result)
    _add_files(result)
    add_blend(result)
    add_overwrite(
        result,
        "replace results that exist, and remove what only they had beside them (default: skip their inputs)",
    )
    add_sensor(parser.add_argument_group("sensor"))
    counts = parser.add_argument_group("thermal counts")
    add_mapping(counts)
    add_object_temperatures(counts)
    add_radiometric(counts)
    add_raw(counts)
    add_flight(counts)
    add_clips(parser.add_argument_group("clips"))
    add_quiet(parser)
    parser.set_defaults(defaults={name: parser.get_default(name) for name in (*_FOR_CLIPS, *_FOR_RAW, *OF_NETWORKS)})


def _add_files(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--format",
        choices=("png", "tiff"),
        help="file format of the results, refused with clips (default: that of each input; TIFF for radiometric JPEG, "
        "sequences, raw frames and arrays)",
    )
    group.add_argument(
        "--compare",
        action="store_true",
        help="also write NAME-compare.png with input and result side by side (of clips a clip; 16-bit images are "
        "stretched for display)",
    )
    group.add_argument(
        "--report",
        action="store_true",
        help="also write NAME-trust.png and NAME-trust.json: what was changed, how far the input supports it, and "
        "where it does not; of files with several pages only the first is reported",
    )


@dataclass(frozen=True)
class Options:
    """What the command line says, the same for all jobs."""

    reading: Reading
    running: Running
    change: Change


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    check_model_paths(arguments.weights, arguments.backbone, arguments.dem_backbone)
    check_folder(arguments.output)
    if arguments.sensor == "only":
        check_alone(arguments)
    check_engine(arguments)
    options = Options(reading_of(arguments), running_of(arguments), change_of(arguments))
    jobs = _plan(arguments)
    device, dtype = pick(arguments.device, arguments.dtype)
    require("diffusers", "tqdm")

    waiting, kept = _to_do(jobs, arguments)
    found: list[tuple[str, Findings]] = []
    if waiting and arguments.flight:
        options = replace(options, reading=reading_of_flight(arguments, options.reading, jobs, kept))
    if waiting:
        options = replace(options, running=with_engine(options.running, options.change, arguments))
        # with a blend of 0 no network runs, and none has to be loaded
        runs = options.change.blend and options.running.networks and options.running.engine is None
        weights, backbone = load_pair(arguments, device, dtype) if runs else (None, None)
        enhanced, failed, code = _enhance_all(waiting, jobs, backbone, weights, options, arguments, found)
    else:
        enhanced, failed, code = 0, 0, OK
    incomplete = sum(bool(job.missing) for job in kept)
    others = {
        "skipped": len(kept) - incomplete,
        "left incomplete": incomplete,
        "not done": len(waiting) - enhanced - failed,
    }
    rest = "".join(f", {count} {what}" for what, count in others.items() if count)
    words = summary(found)
    if words is not None:
        say(words, arguments)
    say(f"{enhanced} enhanced, {failed} failed{rest}", arguments)
    return code or (FAILED if failed or incomplete else OK)


def _to_do(jobs: list[Job], arguments: argparse.Namespace) -> tuple[list[Job], list[Job]]:
    """(jobs to do, jobs whose results exist and stay)."""
    if arguments.overwrite:
        return jobs, []
    waiting = [job for job in jobs if not job.has_result]
    kept = [job for job in jobs if job.has_result]
    incomplete = 0
    for job in kept:
        if job.missing:
            incomplete += 1
            names = ", ".join(target.name for target in job.missing)
            log.info("%s is left incomplete: %s exists, but not %s", job.source, job.output, names)
        else:
            log.info("%s is skipped: %s exists", job.source, job.output)
    if len(kept) > incomplete:
        count = len(kept) - incomplete
        log.warning("%d of %d results exist and are skipped; --overwrite replaces them", count, len(jobs))
    if incomplete:
        log.warning(
            "%d of %d results exist, but not all files that are wanted beside them; --overwrite makes them all anew",
            *(incomplete, len(jobs)),
        )
    return waiting, kept


def _enhance_all(
    jobs: list[Job],
    all_jobs: list[Job],
    backbone: Backbone | None,
    weights: Weights | None,
    options: Options,
    arguments: argparse.Namespace,
    found: list[tuple[str, Findings]],
) -> tuple[int, int, int]:
    """(files enhanced, files failed, exit code so far); what the sensor stage finds is added to ``found``."""
    enhanced = failed = 0
    files_in_use = in_use(all_jobs)
    with progress(len(jobs), arguments) as shown:
        try:
            for index, job in enumerate(jobs):
                shown.begin(f"{index + 1}/{len(jobs)} {job.source.name}")

                def show(share: float, _: torch.Tensor | None, index: int = index) -> None:
                    shown.advance(index + share)

                try:
                    findings = _enhance(job, files_in_use, backbone, weights, options, show)
                    if findings is not None:
                        log.info("%s: sensor: %s", job.source, findings.words or "nothing found")
                        found.append((job.source.name, findings))
                    enhanced += 1
                    shown.done()
                except Exception as error:  # noqa: BLE001  whatever is wrong with one file, the others are enhanced
                    failed += 1
                    report(error, arguments, job.source)
                    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                        log.error("stopped: no room is left on the disk of %s", arguments.output)
                        break
                shown.advance(index + 1)
        except KeyboardInterrupt:
            log.error(
                "stopped; the files in %s are complete, and the same command continues from there", arguments.output
            )
            return enhanced, failed, INTERRUPTED
    return enhanced, failed, OK


def _enhance(
    job: Job,
    files_in_use: set[str],
    backbone: Backbone | None,
    weights: Weights | None,
    options: Options,
    show: Progress,
) -> Findings | None:
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
    )
    if replaces:
        remove_stale(job, files_in_use)
    return source.findings


def _plan(arguments: argparse.Namespace) -> list[Job]:
    """The files to enhance and to write; raises UsageError if a target is an input."""
    from ..sources import result_suffix
    from ..thermal.readers.y16 import EXTENSIONS as RAW
    from ..video import import_av, is_clip

    folder = arguments.output
    files = find_files(arguments.inputs, leave_out=folder, clips=True)
    if any(is_clip(source) for source, _ in files):
        for option, what in _NOT_FOR_CLIPS.items():
            if vars(arguments)[option.removeprefix("--").replace("-", "_")] not in (None, False):
                raise UsageError(f"{option} is for {what}, not for clips: enhance clips without it")
        import_av()
    _check_used(arguments, _FOR_CLIPS, "clips", any(is_clip(source) for source, _ in files))
    _check_used(arguments, _FOR_RAW, "raw frames", any(source.suffix.lower() in RAW for source, _ in files))
    if arguments.unit is not None and arguments.format == "png":
        raise UsageError("--unit writes floating-point numbers, which PNG cannot hold: leave out --format png")
    suffix = f".{arguments.format}" if arguments.format else None
    suffix = ".tiff" if arguments.unit is not None else suffix

    def suffix_of(source: Path) -> str:
        if not os.path.isfile(source):  # a pipe would be waited for; opening it says what is wrong
            return source.suffix
        return result_suffix(source, suffix, lossless=arguments.lossless)

    jobs = plan(files, suffix_of, arguments)
    inputs = {_identity(source): source for source, _ in files}
    inputs.pop(None, None)
    for job in jobs:
        for target in job.targets:
            same = inputs.get(_identity(target))  # also through links and where upper and lower case are the same
            if same is not None:
                raise UsageError(f"{target} would overwrite the input {same}; choose another --output")
    return jobs


def _check_used(arguments: argparse.Namespace, names: tuple[str, ...], kind: str, are_there: bool) -> None:
    """Refuse options for one kind of file where none of the inputs is of it."""
    for name in names:
        if not are_there and vars(arguments)[name] != arguments.defaults[name]:
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{option} is for {kind}, and none of the inputs is of that kind: leave it out")


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from all others; None of one that is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
