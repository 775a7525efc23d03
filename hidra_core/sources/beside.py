"""Files that are written with the result of an image file or of counts: comparison and trust report."""

from __future__ import annotations

import logging
from shutil import copyfile
from typing import TYPE_CHECKING

from ..images import comparison
from ..images.files import atomic_path, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from .base import Beside

log = logging.getLogger(__name__)


def write_beside(source: Path, output: Path, before: Tensor, after: Tensor, beside: Beside) -> None:
    """Write the comparison and the trust report that are wanted.

    Args:
        source: the input file, for the report.
        output: the file of the result, for the report.
        before: a page as the networks see it, ``[H, W, C]`` in [0, 1].
        after: its result on the same scale, ``[k·H, k·W, C]``.
        beside: the files that are wanted.
    """
    if beside.compare is not None:
        beside.compare.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(beside.compare) as temporary:
            comparison(before, after).save(temporary)
    if beside.trust is not None:
        from ..trust import compare, trust_picture  # SciPy needs a while to import

        trust = compare(before, after)
        panels, record = beside.trust
        panels.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(panels) as temporary:
            trust_picture(before, after, trust).save(temporary)
        write_json(record, {"files": {"input": str(source), "output": str(output)}, **trust.to_dict()})
        log.info("%s: %s", source, trust.summary().splitlines()[0])


def give_back(source: Path, output: Path) -> None:
    """Copy the input file to the output, byte for byte."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(output) as temporary:
        copyfile(source, temporary)
