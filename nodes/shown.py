"""What a node shows when it has run: a report and pictures, which stay on it and are in the host's history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

from ..hidra_core.checkpoints import checkpoint
from . import host

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import torch

MOST_PAGES = 32
"""Pages of a file that a node shows at most: the host writes a picture for each."""


def shown(
    node: type[io.ComfyNode],
    report: str | None = None,
    images: torch.Tensor | None = None,
    saved: Iterable[Path] | None = None,
) -> dict[str, Any]:
    """The ``ui`` of a node's output; the report is drawn by ``web/reports.js``.

    The host joins the parts of a node that runs for each entry of a list, which must all be there each time.

    Args:
        node: whose output it is.
        report: lines of text; an empty one takes that of an earlier run away.
        images: ``[B, H, W, C]`` in [0, 1].
        saved: files that it wrote into the output folder, for whoever reads the history: ``files``.
    """
    result: dict[str, Any] = {}
    if images is not None:
        grey = images.shape[-1] == 1  # the host makes pictures of three or four channels
        for one in (images.expand(-1, -1, -1, 3) if grey else images).split(1):
            checkpoint()  # a large picture takes a second
            picture = ui.PreviewImage(one, cls=node).as_dict()
            result |= picture | {"images": [*result.get("images", []), *picture["images"]]}
    if report is not None:
        result |= ui.PreviewText(report).as_dict() if report else {"text": []}
    if saved is not None:
        result["files"] = [host.output_entry(path) for path in saved]
    return result
