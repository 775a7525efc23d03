"""The host's progress bar, previews, cancelling and texts on nodes."""

from __future__ import annotations

import comfy.model_management
import comfy.utils
import torch
from PIL import Image
from torch import Tensor


class Progress:
    """The host's progress bar with previews; each update stops the run when the user has cancelled."""

    STEPS = 1000

    def __init__(self) -> None:
        self._bar = comfy.utils.ProgressBar(self.STEPS)

    def __call__(self, share: float, frame: Tensor | None = None) -> None:
        """Move the bar.

        Args:
            share: done so far, in [0, 1].
            frame: ``[H, W, C]`` in [0, 1], to show while the node runs.
        """
        comfy.model_management.throw_exception_if_processing_interrupted()
        preview = None
        if frame is not None:
            grey = (frame[..., 0].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
            preview = ("JPEG", Image.fromarray(grey), 512)
        self._bar.update_absolute(round(share * self.STEPS), self.STEPS, preview)


def show_text(text: str, node_id: str | None) -> None:
    """Show a text on a node while the page is open; hosts without that service show nothing.

    Args:
        text: what to show.
        node_id: the node's, from its hidden inputs.
    """
    from server import PromptServer

    send = getattr(PromptServer.instance, "send_progress_text", None)
    if send is not None and node_id is not None:
        send(text, node_id)
