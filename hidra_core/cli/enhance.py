"""``hidra enhance``: image files, counts and clips in, enhanced files of the same names out."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from .changing import add_blend, add_clips, add_radiometric, add_running
from .cluster import add_cluster, check_cluster, enhance_on_cluster
from .console import FAILED, OK, UsageError, log, say
from .engine import add_engine, check_engine, with_engine
from .enhancing import Options, enhance_all, load
from .flight import add_flight, reading_of_flight
from .inputs import check_folder, check_model_paths, find_files, local_path, require
from .model import add_computing, pick
from .options import add_backbone, add_command, add_device, add_inputs, add_overwrite, add_quiet, add_weights
from .pipeline import add_pipeline
from .reading import OBJECT_PARAMETERS, add_mapping, add_object_temperatures, add_raw
from .results import Job, in_use, plan
from .sensor import OF_NETWORKS, Found, add_sensor, check_alone, summary
from .shards import add_shard, in_shard, ledger_of, remove_leftovers

if TYPE_CHECKING:
    import argparse
    from pathlib import Path


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
        "Enhance image files, thermal files and clips. Results keep the names, sub-folders, bit depth, alpha, EXIF and "
        "georeference of their inputs, and their channels but for these: grey that 16-bit files store as colour comes "
        "back as one channel, palettes and CMYK as RGB, single bits as 8-bit grey. Counts and temperatures are mapped "
        "to the range of the networks and brought back afterwards; those of radiometric JPEG, FLIR sequences, raw "
        "frames and the like become TIFF, a page for each frame. Clips keep their size, frame times and sound, and "
        "become grey. An input whose result exists in the output folder is skipped, and no input is ever overwritten. "
        "Inputs whose results would have the same name, as a.jpg and a.png with --format tiff, give a.jpg.tiff and "
        "a.png.tiff. An option that the inputs cannot use is refused.",
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
        "-o",
        "--output",
        metavar="DIR",
        type=local_path,
        required=True,
        help="folder for the results, also as file:///DIR; made if it is missing",
    )
    model = parser.add_argument_group("model")
    add_backbone(model)
    add_weights(model)
    add_computing(model)
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
    many = parser.add_argument_group("many files")
    add_pipeline(many)
    add_shard(many)
    add_cluster(parser.add_argument_group("many machines"))
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


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    check_model_paths(arguments.weights, arguments.backbone, arguments.dem_backbone, arguments.decoder)
    check_folder(arguments.output)
    if arguments.sensor == "only":
        check_alone(arguments)
    check_engine(arguments)
    check_cluster(arguments)
    options = Options.of(arguments)
    all_jobs = _plan(arguments)
    jobs = in_shard(all_jobs, arguments)
    if arguments.engine_address is None:
        pick(arguments.device, arguments.dtype, arguments.backbone)  # says what is wrong with them before any work
    require("diffusers", "tqdm")

    waiting, kept = _to_do(jobs, arguments)
    found: list[tuple[str, Found]] = []
    if waiting and arguments.flight:
        options = replace(options, reading=reading_of_flight(arguments, options.reading, jobs, kept))
    enhanced, failed, code = _do(waiting, kept, in_use(all_jobs), options, arguments, found)
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


def _do(
    waiting: list[Job],
    kept: list[Job],
    files_in_use: set[str],
    options: Options,
    arguments: argparse.Namespace,
    found: list[tuple[str, Found]],
) -> tuple[int, int, int]:
    """(files enhanced, files failed, exit code so far), by this process or by a cluster, and noted in a ledger."""
    ledger = ledger_of(arguments)
    if ledger is not None:
        remove_leftovers(waiting)
        if not arguments.overwrite:
            ledger.note_kept(waiting, kept)
    if not waiting:
        return 0, 0, OK
    if arguments.engine_address is not None and ledger is not None:
        return enhance_on_cluster(waiting, files_in_use, arguments, ledger, found)
    options = replace(options, running=with_engine(options.running, options.change, arguments))
    weights, backbone = load(arguments, options)
    return enhance_all(waiting, files_in_use, backbone, weights, options, arguments, found, ledger)


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
    _check_used(arguments, ("batch",), "images and counts", any(not is_clip(source) for source, _ in files))
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
