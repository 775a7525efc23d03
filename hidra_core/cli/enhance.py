"""``hidra enhance``: image files, counts and clips in, enhanced files of the same names out."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..names import DTYPES
from .changing import add_blend, add_clips, add_radiometric, add_running, change_of, running_of
from .console import FAILED, INTERRUPTED, OK, UsageError, advance, log, progress_bar, report, say
from .inputs import check_folder, check_model_paths, find_files, require
from .model import load_pair, pick
from .options import add_backbone, add_command, add_device, add_inputs, add_overwrite, add_quiet, add_weights
from .reading import add_mapping, add_raw, reading_of

if TYPE_CHECKING:
    import argparse

    import torch

    from ..backbone import Backbone
    from ..sources import Beside, Change, Reading, Running
    from ..weights import Weights


_NOT_FOR_CLIPS = {
    "--report": "images and counts",
    "--radiometric": "images and counts",
    "--mapping": "images and counts",
    "--limits": "images and counts",
    "--plateau": "images and counts",
    "--kelvin": "images and counts",
    "--format": "images and counts",
}
"""Options that are refused for clips, and what they are for."""


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "enhance",
        run,
        "enhance images and clips",
        "Enhance image files, thermal files and clips. Results keep the names, sub-folders, bit depth, channels, alpha "
        "and EXIF of their inputs. 16-bit counts are mapped to the range of the networks and brought back afterwards; "
        "so are the counts in radiometric JPEG (FLIR, DJI), FFF and raw Y16 files, whose results are 16-bit TIFF. "
        "Clips keep their size, frame times and sound, and become grey. An input whose result exists in the output "
        "folder is skipped, and no input is ever overwritten.",
        "  hidra enhance frame.png --output clear\n"
        "  hidra enhance flight/ 'more/**/*.tiff' --output clear --compare\n"
        "  hidra enhance FLIR0042.jpg --output clear --radiometric\n"
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
    result = parser.add_argument_group("result")
    add_running(result)
    _add_files(result)
    add_blend(result)
    add_overwrite(result, "replace results that exist (default: skip their inputs)")
    counts = parser.add_argument_group("thermal counts")
    add_mapping(counts)
    add_radiometric(counts)
    add_raw(counts)
    add_clips(parser.add_argument_group("clips"))
    add_quiet(parser)


def _add_files(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--format",
        choices=("png", "tiff"),
        help="file format of results other than clips (default: that of each input)",
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
class Job:
    """One file to enhance: where it is, where its result goes, and what is written with it."""

    source: Path
    output: Path
    beside: Beside

    @property
    def targets(self) -> list[Path]:
        """All files that the job writes."""
        return [self.output, *self.beside.paths]


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
    options = Options(reading_of(arguments), running_of(arguments), change_of(arguments))
    jobs = _plan(arguments)
    device, dtype = pick(arguments.device, arguments.dtype)
    require("diffusers", "tqdm")

    waiting = []
    for job in jobs:
        if arguments.overwrite or not job.output.exists():
            waiting.append(job)
        else:
            log.info("%s is skipped: %s exists", job.source, job.output)
    skipped = len(jobs) - len(waiting)
    if skipped:
        log.warning("%d of %d results exist and are skipped; --overwrite replaces them", skipped, len(jobs))
    if waiting:
        weights, backbone = load_pair(arguments, device, dtype)
        enhanced, failed, code = _enhance_all(waiting, backbone, weights, options, arguments)
    else:
        enhanced, failed, code = 0, 0, OK
    others = {"skipped": skipped, "not done": len(waiting) - enhanced - failed}
    rest = "".join(f", {count} {what}" for what, count in others.items() if count)
    say(f"{enhanced} enhanced, {failed} failed{rest}", arguments)
    return code or (FAILED if failed else OK)


def _enhance_all(
    jobs: list[Job], backbone: Backbone, weights: Weights, options: Options, arguments: argparse.Namespace
) -> tuple[int, int, int]:
    """(files enhanced, files failed, exit code so far)."""
    from ..sources import enhance_file, open_source

    enhanced = failed = 0
    with progress_bar(len(jobs), arguments) as bar:
        try:
            for index, job in enumerate(jobs):
                bar.set_description_str(f"{index + 1}/{len(jobs)} {job.source.name}")

                def progress(share: float, _: torch.Tensor | None, index: int = index) -> None:
                    advance(bar, index + share)

                try:
                    enhance_file(
                        open_source(job.source, options.reading),
                        job.output,
                        backbone,
                        weights,
                        running=options.running,
                        change=options.change,
                        beside=job.beside,
                        progress=progress,
                    )
                    enhanced += 1
                except Exception as error:  # noqa: BLE001  whatever is wrong with one file, the others are enhanced
                    failed += 1
                    report(error, arguments, job.source)
                    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                        log.error("stopped: no room is left on the disk of %s", arguments.output)
                        break
                advance(bar, index + 1)
        except KeyboardInterrupt:
            log.error(
                "stopped; the files in %s are complete, and the same command continues from there", arguments.output
            )
            return enhanced, failed, INTERRUPTED
    return enhanced, failed, OK


def _plan(arguments: argparse.Namespace) -> list[Job]:
    """The files to enhance and to write; raises UsageError if two share a target, or a target is an input."""
    from ..sources import result_suffix
    from ..video import import_av, is_clip

    folder = arguments.output
    files = find_files(arguments.inputs, leave_out=folder, clips=True)
    if any(is_clip(source) for source, _ in files):
        for option, what in _NOT_FOR_CLIPS.items():
            if vars(arguments)[option.removeprefix("--").replace("-", "_")] not in (None, False):
                raise UsageError(f"{option} is for {what}, not for clips: enhance clips without it")
        import_av()
    inputs = {}
    for source, _ in files:
        status = source.stat()
        inputs[status.st_dev, status.st_ino] = source
    suffix = f".{arguments.format}" if arguments.format else None
    jobs: list[Job] = []
    sources: dict[Path, Path] = {}
    for source, name in files:
        output = folder / name.with_suffix(result_suffix(source, suffix, lossless=arguments.lossless))
        job = Job(source, output, _beside(output, arguments, clip=is_clip(source)))
        for target in job.targets:
            with_same = sources.setdefault(target, source)
            if with_same is not source:
                raise UsageError(f"{with_same} and {source} would both be written to {target}; enhance them separately")
            if target.exists():
                status = target.stat()  # also equal through links and where upper and lower case are the same
                if (status.st_dev, status.st_ino) in inputs:
                    raise UsageError(
                        f"{target} would overwrite the input {inputs[status.st_dev, status.st_ino]}; "
                        "choose another --output"
                    )
        jobs.append(job)
    return jobs


def _beside(output: Path, arguments: argparse.Namespace, *, clip: bool) -> Beside:
    """The further files of a result, named after it."""
    from ..sources import Beside

    def named(ending: str) -> Path:
        return output.with_name(f"{output.stem}-{ending}")

    return Beside(
        compare=named(f"compare{output.suffix if clip else '.png'}") if arguments.compare else None,
        trust=(named("trust.png"), named("trust.json")) if arguments.report else None,
        radiometric=named("radiometric.json") if arguments.radiometric else None,
    )
