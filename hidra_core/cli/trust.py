"""The trust report of ``hidra enhance --report``: a picture and JSON beside each result."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .console import log

if TYPE_CHECKING:
    from pathlib import Path

    import torch


def targets(output: Path) -> tuple[Path, Path]:
    """Where picture and JSON of the report on this result go."""
    return output.with_name(f"{output.stem}-trust.png"), output.with_name(f"{output.stem}-trust.json")


def write_report(source: Path, output: Path, before: torch.Tensor, after: torch.Tensor) -> None:
    """Compare a picture before and after, ``[H, W, C]`` and ``[k·H, k·W, C]``, and write what was found."""
    from ..images.files import atomic_path
    from ..trust import compare, trust_picture

    found = compare(before, after)
    picture, record = targets(output)
    picture.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(picture) as temporary:
        trust_picture(before, after, found).save(temporary)
    about = {"files": {"input": str(source), "output": str(output)}, **found.to_dict()}
    with atomic_path(record) as temporary:
        temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    log.info("%s: %s", source, found.summary().splitlines()[0])
