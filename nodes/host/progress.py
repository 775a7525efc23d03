"""The host's progress bar, previews and cancelling."""

from __future__ import annotations

import comfy.model_management
import comfy.utils
import torch
from PIL import Image
from torch import Tensor

from ...hidra_core.checkpoints import at_checkpoints


def stop_at_checkpoints() -> None:
    """Have the library's computations stop when the user cancels, also between two updates of a progress bar."""
    at_checkpoints(comfy.model_management.throw_exception_if_processing_interrupted)


class Progress:
    """The host's progress bar with previews; each update stops the run when the user has cancelled.

    Args:
        pictures: whether pictures are shown on the way. They stay on the node, on some hosts beside what it shows at
            the end: for nodes that show no picture then.
    """

    STEPS = 1000
    LARGEST = 1024
    """Longer side of pictures in pixels, which are made smaller where theirs is longer."""

    def __init__(self, *, pictures: bool = False) -> None:
        self._bar = comfy.utils.ProgressBar(self.STEPS)
        self._pictures = pictures

    def __call__(self, share: float, frame: Tensor | None = None) -> None:
        """Move the bar.

        Args:
            share: done so far, in [0, 1].
            frame: ``[H, W, C]`` in [0, 1], to show while the node runs.
        """
        comfy.model_management.throw_exception_if_processing_interrupted()
        preview = None
        if frame is not None and self._pictures:
            grey = (frame[..., 0].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
            preview = ("JPEG", Image.fromarray(grey), min(max(grey.shape), self.LARGEST))
        self._bar.update_absolute(round(share * self.STEPS), self.STEPS, preview)
