"""The fidelity dial of ``hidra enhance``: its options, and files that come back as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .console import UsageError, reason

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    import numpy as np

CUTOFF = 64.0  # hidra_core.images.blend.CUTOFF, which only PyTorch's import gives


def add_options(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--blend",
        metavar="0..1",
        type=float,
        default=1.0,
        help="share of the change that is taken: 0 gives the input back, file and all, 1 is the result as it is "
        "(default: 1)",
    )
    group.add_argument(
        "--low-frequencies",
        metavar="0..1",
        type=float,
        default=1.0,
        help="the same for low frequencies alone: 0 keeps the brightness of wide areas, and any shading, as the input "
        "has it (default: 1)",
    )
    group.add_argument(
        "--cutoff",
        metavar="PIXELS",
        type=float,
        default=CUTOFF,
        help=f"period at which low frequencies end, in pixels of the result (default: {CUTOFF:g})",
    )


def check_options(arguments: argparse.Namespace) -> None:
    from ..images.blend import check_blend

    try:
        check_blend(arguments.blend, **_bands(arguments))
    except ValueError as error:
        raise UsageError(reason(error)) from error
    if arguments.radiometric and not takes_all(arguments):
        raise UsageError(
            "--radiometric keeps the input's temperatures itself, and reports what it changed: leave out --blend and "
            "--low-frequencies, or --radiometric"
        )


def takes_all(arguments: argparse.Namespace) -> bool:
    """Whether the result is the model's output alone."""
    return arguments.blend == 1 and arguments.low_frequencies == 1


def blended(before: Any, after: Any, arguments: argparse.Namespace) -> Any:
    """``hidra_core.images.blend.blend`` with the options given."""
    from ..images.blend import blend

    return blend(before, after, arguments.blend, **_bands(arguments))


def blended_counts(before: np.ndarray, after: np.ndarray, arguments: argparse.Namespace) -> np.ndarray:
    """The same on counts, pages ``[N, H, W]`` and ``[N, k·H, k·W]`` of one unsigned type, rounded to it."""
    import numpy as np
    import torch

    if takes_all(arguments):
        return after
    pages = []
    for old, new in zip(before, after, strict=True):
        planes = (torch.from_numpy(page.astype(np.float32))[..., None] for page in (old, new))
        pages.append(blended(*planes, arguments)[..., 0].numpy())
    limit = np.iinfo(after.dtype).max
    return np.rint(np.stack(pages)).clip(0, limit).astype(after.dtype)


def gives_back(source: Path, output: Path, arguments: argparse.Namespace) -> bool:
    """Whether the result is the very file that came in."""
    same_kind = source.suffix.lower() == output.suffix.lower()
    return arguments.blend == 0 and arguments.upscale == 1 and same_kind


def copy(source: Path, output: Path) -> None:
    from shutil import copyfile

    from ..images.files import atomic_path

    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(output) as temporary:
        copyfile(source, temporary)


def _bands(arguments: argparse.Namespace) -> dict[str, float]:
    return {"low_frequencies": arguments.low_frequencies, "cutoff": arguments.cutoff}
