"""Compiling the networks while the DEM learns beside."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from train.pretraining.clocked import ClockedTraining

log = logging.getLogger("train")

UNTIMED = 2
"""First steps of a size, in which the networks are compiled and the algorithms of convolutions are found."""


def warm_up(training: ClockedTraining, timed: int = 8) -> None:
    """Take steps of every size of restoration, and log how long they took; no step moves a parameter.

    Args:
        training: at its start.
        timed: steps that are timed, after those that compile.
    """
    recipe = training.recipe
    parameters = training.trained_parameters("small")
    for size in dict.fromkeys((*recipe.small.frames, *recipe.whole.frames)):
        phase = recipe.small.model_copy(update={"frames": [size]})
        batches = training.batches(phase, recipe.restored, training.run.seed + 2000)
        times = [time.monotonic()]
        for step in range(1, UNTIMED + timed + 1):
            loss, _ = training.loss(phase, next(batches))
            loss.backward()
            for parameter in parameters:
                parameter.grad = None
            if step in (UNTIMED, UNTIMED + timed):
                loss.item()  # waits for the device
                times.append(time.monotonic())
        speed = timed * size[2] / max(1e-9, times[-1] - times[1])
        log.info("%s: ready after %.0f s, %.0f frames a second", tuple(size), times[1] - times[0], speed)
        if training.device.type == "cuda":
            log.info("%.1f GiB at most", torch.cuda.max_memory_allocated() / 2**30)
