"""Clips for ``hidra enhance``: options, names of results, and one clip enhanced."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from . import fidelity
from .console import UsageError, reason

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import torch

    from ..backbone import Backbone
    from ..video import Frame
    from ..weights import Weights

CLIP_SAMPLES = 16


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("clips")
    group.add_argument(
        "--degradation-per",
        choices=("frame", "clip"),
        default="frame",
        help="frame: read the degradation off every frame and smooth it over time; clip: one for the whole clip, the "
        f"average of {CLIP_SAMPLES} frames spread over it, which is also faster (default: frame)",
    )
    group.add_argument(
        "--smoothing",
        metavar="0..1",
        type=float,
        default=0.9,
        help="share of the past in a frame's degradation, below 1; 0: every frame for itself. It starts over where the "
        "scene changes (default: 0.9)",
    )
    group.add_argument(
        "--lossless",
        action="store_true",
        help="write clips as FFV1 in .mkv instead of H.264; clips of more than 8 bits always are",
    )
    group.add_argument(
        "--on-broken-frame",
        choices=("stop", "skip"),
        default="stop",
        help="what to do about a frame that cannot be decoded: give up on that clip and leave nothing of it, or say so "
        "and leave the frame out; the others keep their times (default: stop)",
    )


def check_options(arguments: argparse.Namespace) -> None:
    from ..vectors import check_smoothing

    try:
        check_smoothing(arguments.smoothing)
    except ValueError as error:
        raise UsageError(reason(error)) from error


def result_name(source: Path, name: Path, arguments: argparse.Namespace) -> Path:
    """What the enhanced clip is called: like the clip, but ``.mkv`` where it has to be lossless."""
    from ..video import LOSSLESS_EXTENSION, ClipReader

    lossless = arguments.lossless
    if not lossless:
        try:
            with ClipReader(source) as reader:
                lossless = reader.bit_depth == 16
        except (OSError, ValueError):
            pass  # reported when its turn comes, like an unreadable picture
    return name.with_suffix(LOSSLESS_EXTENSION) if lossless else name


def enhance_clip(
    source: Path,
    output: Path,
    compare: Path | None,
    backbone: Backbone,
    weights: Weights,
    arguments: argparse.Namespace,
    progress: Callable[[float, torch.Tensor | None], None],
) -> None:
    """Enhance one clip; results appear complete or not at all."""
    import torch

    from ..enhance import estimate
    from ..images import stretch
    from ..images.files import atomic_path
    from ..vectors import average
    from ..video import ClipReader, ClipWriter, clip_range, enhance_frames, rewrite, spread

    on_broken = arguments.on_broken_frame
    with ClipReader(source, quiet=True) as reader:
        count = reader.frame_count
        limits = clip_range(reader, on_broken)
    degradation = None
    if arguments.degradation_per == "clip":
        with ClipReader(source, quiet=True) as reader:
            samples = [stretch(frame, limits) for frame in spread(reader, CLIP_SAMPLES, on_broken)]
        degradation = average(estimate(samples, weights))

    def done(frames: float, picture: torch.Tensor | None) -> None:
        progress(min(frames / count, 1.0) if count else 0.0, picture)

    def enhanced(frames: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        return enhance_frames(
            frames,
            backbone,
            weights,
            degradation=degradation,
            smoothing=arguments.smoothing,
            strength=arguments.strength,
            upscale=arguments.upscale,
            tile=arguments.tile,
            restraint=arguments.restraint,
            progress=done,
        )

    output.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # the result's file is the last to appear: its presence says that this clip is done
        target = stack.enter_context(atomic_path(output))
        beside = None if compare is None else stack.enter_context(atomic_path(compare))
        reader = stack.enter_context(ClipReader(source))
        writer = stack.enter_context(ClipWriter(target, reader, lossless=arguments.lossless))
        look = None
        if beside is not None:
            pair = stack.enter_context(ClipWriter(beside, reader, lossless=arguments.lossless, sound=False))

            def look(before: torch.Tensor, after: torch.Tensor, frame: Frame) -> None:
                height, width = after.shape[:2]
                enlarged = torch.nn.functional.interpolate(before.movedim(-1, 0)[None], (height, width))
                pair.write(torch.cat([enlarged[0].movedim(0, -1), after], dim=1), frame.pts, frame.duration)

        blended = None
        if not fidelity.takes_all(arguments):

            def blended(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
                return fidelity.blended(before, after, arguments).clamp(0, 1)

        rewrite(reader, writer, enhanced, limits=limits, on_broken=on_broken, blend=blended, look=look)
