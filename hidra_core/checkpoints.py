"""Where long computations can be stopped: between their parts they call :func:`checkpoint`.

A program whose users can cancel says once, with :func:`at_checkpoints`, what is asked there. On the command line
nothing is: an interrupt from the keyboard ends Python itself.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch.nn.modules.module import register_module_forward_pre_hook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ask: Callable[[], object] | None = None


def at_checkpoints(ask: Callable[[], object] | None) -> None:
    """Set what every checkpoint calls.

    Args:
        ask: raises to stop the computation; must be cheap. None: nothing is asked.
    """
    global _ask
    _ask = ask


def checkpoint() -> None:
    """Between two parts of a long computation: stops it if that is wanted, by an exception."""
    if _ask is not None:
        _ask()


@contextmanager
def checkpoints_in_networks() -> Iterator[None]:
    """Within the block, every layer of every network begins with a checkpoint."""
    if _ask is None:
        yield
        return

    def before(_module: Any, _inputs: Any) -> None:
        checkpoint()

    hook = register_module_forward_pre_hook(before)
    try:
        yield
    finally:
        hook.remove()
