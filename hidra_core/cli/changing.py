"""Options of ``hidra enhance`` that say how the networks run and how much of their change a result gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..names import CLIP_SAMPLES, CUTOFF, SMOOTHING, UPSCALES
from .console import UsageError, reason
from .options import tile_size

if TYPE_CHECKING:
    import argparse

    from ..sources import Change, Running


def add_running(group: argparse._ActionsContainer) -> None:
    """Add the options of how the networks run."""
    group.add_argument(
        "--strength",
        metavar="0..2",
        type=float,
        default=1.0,
        help="strength of the adaptation: 0 is the plain backbone, 1 the trained adapter, above 1 exaggerates "
        "(default: 1)",
    )
    group.add_argument(
        "--upscale",
        metavar="1..4",
        type=int,
        choices=UPSCALES,
        default=1,
        help="enlarge by this whole factor: 1, 2, 3 or 4 (default: 1)",
    )
    group.add_argument(
        "--no-restraint",
        dest="restraint",
        action="store_false",
        help="apply the whole change to every image; by default, weights that have a restraint apply less of the "
        "change to images that need little of it",
    )
    group.add_argument(
        "--no-corrector",
        dest="corrector",
        action="store_false",
        help="leave brightness and shading as the networks give them; by default, weights that have a corrector put "
        "them right by what the whole image looks like (never for counts in radiometric mode)",
    )
    group.add_argument(
        "--tile",
        metavar="auto|none|N",
        type=tile_size,
        default="auto",
        help="process images in overlapping tiles with sides of N pixels, a multiple of 64 from 256 up; auto: only "
        "images above one megapixel; none: never. When memory runs out, smaller tiles are tried (default: auto)",
    )


def add_blend(group: argparse._ActionsContainer) -> None:
    """Add the options of how much of the change a result gets."""
    group.add_argument(
        "--blend",
        metavar="0..1",
        type=float,
        default=1.0,
        help="share of the change that is applied: 0 changes nothing, 1 is the result of the networks (default: 1)",
    )
    group.add_argument(
        "--low-frequencies",
        metavar="0..1",
        type=float,
        default=1.0,
        help="share of the change that is applied to low frequencies: 0 keeps the brightness of wide areas, and any "
        "shading, as in the input (default: 1)",
    )
    group.add_argument(
        "--cutoff",
        metavar="PIXELS",
        type=float,
        default=CUTOFF,
        help=f"period that separates low from high frequencies, in pixels of the result (default: {CUTOFF:g})",
    )


def add_radiometric(group: argparse._ActionsContainer) -> None:
    """Add the options of radiometric mode."""
    group.add_argument(
        "--radiometric",
        action="store_true",
        help="keep temperatures: remove noise and stripes, but leave means and contrasts as measured; also write "
        "NAME-radiometric.json with the size, bias and largest value of the change",
    )
    group.add_argument(
        "--shading",
        action="store_true",
        help="with --radiometric: also remove smooth shading around the middle of the image, as --lens-shading auto "
        "does without --radiometric and what the networks took off beyond; a single image cannot tell it from a scene "
        "that is warmer there",
    )


def add_clips(group: argparse._ActionsContainer) -> None:
    """Add the options of clips."""
    group.add_argument(
        "--degradation-per",
        choices=("frame", "clip"),
        default="frame",
        help="frame: estimate the degradation of every frame and smooth it over time; clip: use one for the whole "
        f"clip, the average over {CLIP_SAMPLES} frames spread over it, which is also faster (default: frame)",
    )
    group.add_argument(
        "--smoothing",
        metavar="0..1",
        type=float,
        default=SMOOTHING,
        help="share of the past frames in the degradation of a frame, below 1; 0: every frame by itself. Smoothing "
        f"starts over where the scene changes (default: {SMOOTHING:g})",
    )
    group.add_argument(
        "--lossless",
        action="store_true",
        help="write clips as FFV1 in .mkv instead of H.264; clips of more than 8 bits are always written so",
    )
    group.add_argument(
        "--on-broken-frame",
        choices=("stop", "skip"),
        default="stop",
        help="for a frame that cannot be decoded; stop: the clip fails and nothing of it is written; skip: warn and "
        "leave the frame out, the others keep their times (default: stop)",
    )


def change_of(arguments: argparse.Namespace) -> Change:
    """The :class:`~hidra_core.sources.Change` that the options ask for.

    Args:
        arguments: the parsed command line.

    Raises:
        UsageError: options that exclude each other, or a number out of range.
    """
    from ..sources import Change

    if arguments.shading and not arguments.radiometric:
        raise UsageError("--shading is a part of radiometric mode: give --radiometric too")
    try:
        return Change(
            arguments.blend,
            arguments.low_frequencies,
            arguments.cutoff,
            radiometric=arguments.radiometric,
            shading=arguments.shading,
        )
    except ValueError as error:
        raise UsageError(reason(error)) from error


def running_of(arguments: argparse.Namespace) -> Running:
    """The :class:`~hidra_core.sources.Running` that the options ask for.

    Args:
        arguments: the parsed command line.

    Raises:
        UsageError: a number out of range.
    """
    from ..enhance import check_options
    from ..sources import Running
    from ..vectors import check_smoothing

    try:
        check_options(arguments.strength, arguments.upscale, arguments.tile)
        check_smoothing(arguments.smoothing)
    except ValueError as error:
        raise UsageError(reason(error)) from error
    return Running(
        arguments.strength,
        arguments.upscale,
        arguments.tile,
        arguments.restraint,
        arguments.corrector,
        arguments.degradation_per,
        arguments.smoothing,
        networks=arguments.sensor != "only",
    )
