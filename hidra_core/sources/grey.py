"""Files as grey pages, for programs that measure or train."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ..images import Picture, stretch, to_grey
from ..thermal import fit
from ..thermal.readers import read_input

if TYPE_CHECKING:
    from pathlib import Path


def read_grey(path: str | Path) -> list[np.ndarray]:
    """The pages of a file as ``hidra enhance`` sees them.

    Args:
        path: a picture, or a file with the counts of a thermal camera.

    Returns:
        ``[H, W]`` float32 in [0, 1], one per page. Counts of more than 8 bits are stretched between the extremes of
        the scene, all pages by one mapping; 8-bit pictures are as they are.

    Raises:
        OSError: the file is missing, is a folder, or may not be read.
        ValueError: it is damaged or of an unknown kind; names the file, what is wrong and the remedy.
        ImportError: it needs an optional package; names it.
    """
    found = read_input(path)
    if isinstance(found, Picture):
        pixels = stretch(torch.from_numpy(found.pixels), found.limits())
        return [to_grey(pixels[None])[0, 0].numpy()]
    return list(fit("linear", found.counts).to_values(found.counts).numpy())
