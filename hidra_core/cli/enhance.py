"""``hidra enhance``: pictures and clips in, enhanced ones of the same names out."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import clip, fidelity, thermal, trust
from .console import FAILED, INTERRUPTED, OK, UsageError, advance, log, progress_bar, report, say
from .inputs import check_folder, check_model_paths, find_pictures, for_networks, require
from .model import computing, load_pair
from .options import (
    DTYPES,
    add_backbone,
    add_command,
    add_device,
    add_inputs,
    add_overwrite,
    add_quiet,
    add_weights,
    tile_size,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    import torch

    from ..backbone import Backbone
    from ..weights import Weights


def add(commands: argparse._SubParsersAction) -> None:
    parser = add_command(
        commands,
        "enhance",
        run,
        "enhance images",
        "Enhance images. Names, sub-folders, bit depth, grey or colour, alpha and EXIF stay as they are. 16-bit counts "
        "are mapped to the networks' range and brought back afterwards; so are those in radiometric JPEG (FLIR, DJI), "
        "FFF and raw Y16 files, whose results are 16-bit TIFF. Clips "
        "keep their size, frame times and sound, and come out grey. What is in the output folder already is skipped; "
        "inputs are never overwritten.",
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
    result.add_argument(
        "--strength",
        metavar="0..2",
        type=float,
        default=1.0,
        help="strength of the adaptation: 0 is the backbone as it is, 1 as trained, above 1 exaggerates (default: 1)",
    )
    result.add_argument(
        "--upscale",
        metavar="1..4",
        type=int,
        choices=(1, 2, 3, 4),
        default=1,
        help="enlarge by this whole factor: 1, 2, 3 or 4 (default: 1)",
    )
    result.add_argument(
        "--no-restraint",
        dest="restraint",
        action="store_false",
        help="take all of the change, also of images that need little of it by what the weights know; weights without "
        "a restraint always do",
    )
    result.add_argument(
        "--tile",
        metavar="auto|none|N",
        type=tile_size,
        default="auto",
        help="work in overlapping tiles of N pixels, a multiple of 64 from 256 up; auto: only images above one "
        "megapixel; none: never. When memory runs out, smaller tiles are tried (default: auto)",
    )
    result.add_argument(
        "--format",
        choices=("png", "tiff"),
        help="file format of the results (default: that of each input)",
    )
    result.add_argument(
        "--compare",
        action="store_true",
        help="also write NAME-compare.png, before and after side by side (16-bit pictures as stretched for display)",
    )
    result.add_argument(
        "--report",
        action="store_true",
        help="also write NAME-trust.png and NAME-trust.json: what was changed, how far the input supports it, and "
        "where it does not (of files with several pages the first one)",
    )
    fidelity.add_options(result)
    add_overwrite(result, "replace results that exist (default: skip those pictures)")
    thermal.add_options(parser)
    clip.add_options(parser)
    add_quiet(parser)


@dataclass(frozen=True)
class Job:
    """One picture or clip to enhance: where it is, and where it, its comparison and its reports go, if wanted."""

    source: Path
    output: Path
    compare: Path | None
    report: Path | None
    trust: tuple[Path, ...]

    @property
    def targets(self) -> list[Path]:
        return [path for path in (self.output, self.compare, self.report, *self.trust) if path is not None]


def run(arguments: argparse.Namespace) -> int:
    check_model_paths(arguments.weights, arguments.backbone, arguments.dem_backbone)
    check_folder(arguments.output)
    thermal.check_options(arguments)
    fidelity.check_options(arguments)
    clip.check_options(arguments)
    jobs = _plan(arguments)
    device, dtype = computing(arguments)
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
    enhanced = failed = 0
    code = OK
    if waiting:
        weights, backbone = load_pair(arguments, device, dtype)
    with progress_bar(len(waiting), arguments) as bar:
        try:
            for index, job in enumerate(waiting):
                bar.set_description_str(f"{index + 1}/{len(waiting)} {job.source.name}")
                try:
                    _enhance_one(job, backbone, weights, arguments, lambda share, _, i=index: advance(bar, i + share))
                    enhanced += 1
                except Exception as error:  # whatever is wrong with one picture, the others are to be done
                    failed += 1
                    report(error, arguments, job.source)
                    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                        log.error("stopped: no room is left on the disk of %s", arguments.output)
                        break
                advance(bar, index + 1)
        except KeyboardInterrupt:
            log.error("stopped; what is in %s is complete, and the same command goes on from there", arguments.output)
            code = INTERRUPTED
    others = {"skipped": skipped, "not done": len(waiting) - enhanced - failed}
    rest = "".join(f", {count} {what}" for what, count in others.items() if count)
    say(f"{enhanced} enhanced, {failed} failed{rest}", arguments)
    return code or (FAILED if failed else OK)


def _plan(arguments: argparse.Namespace) -> list[Job]:
    """What to enhance into which files; raises UsageError unless every target is one of its own and no input."""
    folder = arguments.output
    from ..video import import_av, is_clip

    found = find_pictures(arguments.inputs, leave_out=folder, clips=True)
    if any(is_clip(source) for source, _ in found):
        if arguments.report:
            raise UsageError("--report is about single pictures: enhance clips without it")
        import_av()
    inputs = {}
    for source, _ in found:
        status = source.stat()
        inputs[status.st_dev, status.st_ino] = source
    jobs, sources = [], {}
    for source, name in found:
        if is_clip(source):
            output = folder / clip.result_name(source, name, arguments)
        else:
            output = folder / thermal.result_name(source, name, arguments)
        beside = output.with_name(f"{output.stem}-compare{output.suffix if is_clip(source) else '.png'}")
        measured = arguments.radiometric and not is_clip(source)
        job = Job(
            source,
            output,
            beside if arguments.compare else None,
            thermal.report_path(output) if measured else None,
            trust.targets(output) if arguments.report else (),
        )
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


def _enhance_one(
    job: Job,
    backbone: Backbone,
    weights: Weights,
    arguments: argparse.Namespace,
    progress: Callable[[float, torch.Tensor | None], None],
) -> None:
    import torch

    from ..enhance import enhance, estimate
    from ..images import check_writable, stretch, unstretch, write_image
    from ..images.blend import untouched
    from ..thermal import ThermalImage
    from ..video import is_clip

    if is_clip(job.source):
        clip.enhance_clip(job.source, job.output, job.compare, backbone, weights, arguments, progress)
        return

    def enhanced(before: torch.Tensor, progress: Callable[[float, torch.Tensor | None], None]) -> torch.Tensor:
        if arguments.blend == 0:
            return untouched([before], arguments.upscale)[0]
        [after] = enhance(
            [before],
            backbone,
            estimate([before], weights),
            strength=arguments.strength,
            upscale=arguments.upscale,
            tile=arguments.tile,
            restraint=arguments.restraint,
            progress=progress,
        )
        return after

    def look(before: torch.Tensor, after: torch.Tensor) -> None:
        # before the result, whose presence says that this picture is done
        if job.compare is not None:
            _write_comparison(job.compare, before, after)
        if job.trust:
            trust.write_report(job.source, job.output, before, after)

    picture = thermal.read(job.source, arguments)
    if isinstance(picture, ThermalImage):
        thermal.enhance_counts(picture, job.output, enhanced, arguments, progress, look)
        return
    check_writable(job.output, picture)
    before, limits = for_networks(picture)
    after = enhanced(before, progress)
    if fidelity.takes_all(arguments):
        pixels = unstretch(after, limits)
    else:
        pixels = fidelity.blended(torch.from_numpy(picture.pixels), unstretch(after, limits), arguments)
        after = stretch(pixels, limits)
    look(before, after)
    if fidelity.gives_back(job.source, job.output, arguments):
        fidelity.copy(job.source, job.output)
    else:
        write_image(job.output, pixels, picture)


def _write_comparison(path: Path, before: torch.Tensor, after: torch.Tensor) -> None:
    from ..images import comparison
    from ..images.files import atomic_path

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        comparison(before, after).save(temporary)
