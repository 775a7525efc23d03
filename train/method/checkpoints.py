"""Checkpoints: written whole or not at all, kept a few deep, and refused by a run with another configuration."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch

from hidra_core.images.files import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"checkpoint-(\d+)\.pt")


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    found = [(int(match[1]), path) for path in folder.glob("checkpoint-*.pt") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def save_checkpoint(folder: Path, iteration: int, state: dict[str, Any], keep: int) -> Path:
    """Write ``checkpoint-N.pt`` and remove all but the ``keep`` newest.

    Raises:
        OSError: the disk is full or not writable; the earlier checkpoints are as they were.
    """
    path = folder / f"checkpoint-{iteration:07d}.pt"
    with atomic_path(path) as temporary:
        try:
            torch.save({"iteration": iteration} | state, temporary)
        except RuntimeError as error:  # how torch's writer reports a failing disk
            raise OSError(0, f"{error}".splitlines()[0]) from error
    for old in checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def load_checkpoint(folder: Path, fixed: dict[str, Any]) -> dict[str, Any] | None:
    """The newest checkpoint of a run, or None where there is none.

    Args:
        folder: of the run.
        fixed: the part of the configuration that must be the checkpoint's.

    Raises:
        ValueError: it belongs to another configuration, or cannot be read; names the difference and the remedy.
    """
    found = checkpoints(folder)
    if not found:
        return None
    path = found[-1]
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises a wide choice for damaged files
        raise ValueError(
            f"cannot read {path} ({type(error).__name__}: {error}). Remove it to go on from the one before, if any"
        ) from error
    for section, values in fixed.items():
        for key, value in values.items():
            theirs = state["config"].get(section, {}).get(key)
            if theirs != value:
                raise ValueError(
                    f"{path} was written with {section}.{key} = {theirs!r}, this run has {value!r}: set it back, or "
                    "choose another run.output"
                )
    return state
