"""Compiling the networks while the DEM learns beside, and whether it paid."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from train.pretraining.clock import Batch
    from train.pretraining.clocked import ClockedTraining

log = logging.getLogger("train")

TIMED = 8
"""Steps that are timed."""


def warm_up(training: ClockedTraining) -> None:
    """Take steps of every size of restoration, as they are and compiled, and let the faster way have the run.

    No step moves a parameter.

    Args:
        training: at its start.
    """
    recipe, compiled = training.recipe, training.loss_function
    plain, total = training.restorer.loss, {"plain": 0.0, "compiled": 0.0}
    parameters = training.trained_parameters("small")
    for size in dict.fromkeys((*recipe.small.frames, *recipe.whole.frames)):
        for kind, function in (("plain", plain), ("compiled", compiled)):
            training.loss_function = function
            ready, seconds = _timed(training, size, parameters)
            total[kind] += seconds if training.loss_function == function else math.inf  # it did not compile
            log.info("%s %s: ready after %.0f s, %.0f frames a second", size, kind, ready, TIMED * size[2] / seconds)
    training.loss_function = compiled if total["compiled"] < total["plain"] else plain
    log.info("the networks run %s", min(total, key=total.__getitem__))


def _timed(training: ClockedTraining, size: Batch, parameters: list[Any]) -> tuple[float, float]:
    """Seconds until the steps neither compile nor seek algorithms, and those of :data:`TIMED` steps after that."""
    phase = training.recipe.small.model_copy(update={"frames": [size]})
    batches = training.batches(phase, training.recipe.restored, training.run.seed + 2000)
    times = [time.monotonic()]
    for step in range(TIMED + 2):
        loss, _ = training.loss(phase, next(batches))
        loss.backward()
        for parameter in parameters:
            parameter.grad = None
        if step in (1, TIMED + 1):
            loss.item()
            if training.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.monotonic())
    return times[1] - times[0], times[2] - times[1]
