"""Files that are written with the result of an image file or of counts: comparison and trust report."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from shutil import copyfile
from typing import TYPE_CHECKING, Any

from ..images import comparison, to_grey
from ..images.blend import enlarged
from ..images.files import atomic_path, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from .base import Beside

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class StageShare:
    """The part of the sensor stage in a result, for the trust report.

    Attributes:
        page: the page with this part of the change alone, ``[H, W, C]`` on the scale of the input.
        entry: what the stage took off, in plain JSON types.
        words: the same in one line.
    """

    page: Tensor
    entry: dict[str, Any]
    words: str

    def of(self, before: Tensor, after: Tensor) -> float:
        """The share of the squares of the change that the stage explains, 0 to 1; 0 where nothing was changed."""
        factor = after.shape[0] // before.shape[0]
        first, alone = (enlarged(page, factor) for page in (before, self.page))
        whole, part = (to_grey((page - first)[None]).double() for page in (after, alone))
        power = float((whole**2).sum())
        return min(1.0, max(0.0, float((whole * part).sum()) / power)) if power > 0 else 0.0


def write_beside(
    source: Path, output: Path, before: Tensor, after: Tensor, beside: Beside, stage: StageShare | None = None
) -> None:
    """Write the comparison and the trust report that are wanted.

    Args:
        source: the input file, for the report.
        output: the file of the result, for the report.
        before: a page as the networks see it, ``[H, W, C]`` in [0, 1].
        after: its result on the same scale, ``[k·H, k·W, C]``.
        beside: the files that are wanted.
        stage: the part of the sensor stage; None where it did not run.
    """
    if beside.compare is not None:
        beside.compare.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(beside.compare) as temporary:
            comparison(before, after).save(temporary)
    if beside.trust is not None:
        from ..trust import compare, trust_picture  # SciPy needs a while to import

        trust = compare(before, after)
        entry: dict[str, Any] = {}
        words = ""
        if stage is not None:
            share = stage.of(before, after)
            entry = {"sensor": {**stage.entry, "share_of_change": round(share, 4)}}
            words = f"sensor: {stage.words}, {share:.0%} of the change"
        if beside.decoder is not None:
            entry["decoder"] = beside.decoder
            words = "; ".join([*([words] if words else []), f"decoder: {beside.decoder}"])
        panels, record = beside.trust
        panels.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(panels) as temporary:
            trust_picture(before, after, trust, note=words).save(temporary)
        write_json(record, {"files": {"input": str(source), "output": str(output)}, **trust.to_dict(), **entry})
        log.info("%s: %s", source, trust.summary().splitlines()[0])


def give_back(source: Path, output: Path) -> None:
    """Copy the input file to the output, byte for byte."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(output) as temporary:
        copyfile(source, temporary)
