"""Checkpoints within the host's attention, which takes long where an image goes through the network in one piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import comfy.model_patcher
import torch

from ...hidra_core.checkpoints import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

PAIRS = 2**24
"""Pairs of tokens, per head, that are computed at once: those of a tile of one megapixel. They take less than a second
on a core."""
_OVERRIDE = "optimized_attention_override"


def with_checkpoints(model_options: dict[str, Any]) -> dict[str, Any]:
    """A copy of a MODEL's options with which its attention can be stopped on the CPU, where it takes long.

    Args:
        model_options: of the host's patcher; an attention that another node has set goes on being used.
    """
    options = comfy.model_patcher.create_model_options_clone(model_options)
    transformer = options.setdefault("transformer_options", {})
    given = transformer.get(_OVERRIDE)

    def attention(function: Callable[..., Tensor], *arguments: Any, **named: Any) -> Tensor:
        def attend(*tensors: Any) -> Tensor:
            return function(*tensors, **named) if given is None else given(function, *tensors, **named)

        return _in_parts(attend, arguments, named)

    transformer[_OVERRIDE] = attention
    return options


def _in_parts(attend: Callable[..., Tensor], arguments: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    """Attend with some of the queries at a time, if all of them take long."""
    query, key, *others = arguments
    axis = 2 if named.get("skip_reshape") else 1
    pairs = query.shape[axis] * key.shape[axis]
    masked = named.get("mask") is not None or any(isinstance(one, torch.Tensor) for one in others[1:])
    if query.device.type != "cpu" or masked or pairs <= PAIRS:
        return attend(*arguments)
    parts = []
    for part in query.split(max(1, PAIRS // key.shape[axis]), axis):
        checkpoint()
        parts.append(attend(part, key, *others))
    return torch.cat(parts, 2 if named.get("skip_output_reshape") else 1)
