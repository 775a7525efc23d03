"""What both training programs do with an optimiser: its learning rate, a clipped step, and the averaged parameters."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


def learning_rate(
    iteration: int, *, peak: float, warmup: int, fall: tuple[int, int] | None = None, floor: float = 0.0
) -> float:
    """Linear warm-up to the peak, then constant, or half a cosine down to a share of it.

    Args:
        iteration: counted from 1.
        peak: the highest rate.
        warmup: iterations of the warm-up, of which the last has the peak; 0 leaves it out.
        fall: the iterations at which the cosine leaves the peak and ends; None: the rate stays constant.
        floor: share of the peak at the end of the cosine.

    Returns:
        The rate of this iteration.
    """
    if iteration <= warmup:
        return peak * iteration / warmup
    if fall is None:
        return peak
    start, end = fall
    share = min(1.0, (iteration - start) / max(1, end - start))
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share)))


def set_rate(optimisers: Iterable[torch.optim.Optimizer], rate: float) -> None:
    """Give every parameter group of the optimisers this learning rate."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = rate


def clipped_step(optimiser: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], limit: float) -> float:
    """Clip the gradient, step, and clear the gradient. A gradient that is not finite moves nothing.

    Args:
        optimiser: of the parameters.
        parameters: with their gradients.
        limit: the largest Euclidean norm that the gradient of all together keeps.

    Returns:
        The norm before clipping; not finite where no step was made.
    """
    norm = nn.utils.clip_grad_norm_(parameters, limit).item()
    if math.isfinite(norm):
        optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return norm


class Average:
    """Exponential moving average of parameters.

    ``torch.optim.swa_utils.AveragedModel`` copies the whole module, which would double the memory of a frozen backbone
    with a billion parameters and a small trained part. This one holds the trained parameters alone.

    Args:
        parameters: by name; they are referred to, and their values are copied as the start.

    Attributes:
        values: the averages by name.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self._parameters = dict(parameters)
        self.values: dict[str, Tensor] = {}
        self.restart()

    def restart(self) -> None:
        """Start again from the parameters."""
        self.values = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    def update(self, decay: float) -> None:
        """Move the averages by ``1 − decay`` of the way to the parameters."""
        now = [parameter.detach() for parameter in self._parameters.values()]
        torch._foreach_lerp_(list(self.values.values()), now, 1 - decay)

    def restore(self, values: Mapping[str, Tensor]) -> None:
        """Go on with averages that were kept in a checkpoint."""
        self.values = {name: values[name].to(parameter.device) for name, parameter in self._parameters.items()}

    @torch.no_grad()
    def adopt(self) -> None:
        """Give the parameters the averaged values."""
        torch._foreach_copy_(list(self._parameters.values()), list(self.values.values()))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the parameters have the averaged values."""
        kept = {name: parameter.data for name, parameter in self._parameters.items()}
        for name, parameter in self._parameters.items():
            parameter.data = self.values[name]
        try:
            yield
        finally:
            for name, parameter in self._parameters.items():
                parameter.data = kept[name]
