"""Checkpoints: written whole or not at all, and refused by a run with another configuration."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch

from hidra_core.images.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_NAME = re.compile(r"checkpoint-(\d+)\.pt")


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write one file of tensors and plain values.

    Args:
        path: the file; one that is there is replaced.
        state: with the fixed part of the configuration as ``config``, which :func:`read_checkpoint` compares.

    Raises:
        OSError: the disk is full or not writable; an existing file stays untouched.
    """
    with atomic_path(path) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # how torch's writer reports a failing disk
            raise OSError(0, f"{error}".splitlines()[0]) from error


def read_checkpoint(path: Path, fixed: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Read what :func:`write_checkpoint` wrote; tensors come to the CPU.

    Args:
        path: the file.
        fixed: the part of the configuration that must be the checkpoint's, by section and key.

    Returns:
        The state.

    Raises:
        ValueError: it belongs to another configuration, or cannot be read; names the difference and the remedy.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises a wide choice for damaged files
        raise ValueError(
            f"cannot read {path} ({type(error).__name__}: {error}). Remove it to continue from the one before, if any"
        ) from error
    # checkpoints that say nothing of their configuration come from versions that did not store it
    theirs = state.get("config", fixed)
    for section, values in fixed.items():
        for key, value in values.items():
            other = theirs.get(section, {}).get(key)
            if other != value:
                raise ValueError(
                    f"{path} was written with {section}.{key} = {other!r}, this run has {value!r}: set it back, or "
                    "choose another run.output"
                )
    return state


# ------------------------------------------------------------------------------------------- several, numbered


def checkpoints(folder: Path) -> list[Path]:
    """The numbered checkpoints of a run, oldest first."""
    numbered = [
        (int(match[1]), path) for path in folder.glob("checkpoint-*.pt") if (match := _NAME.fullmatch(path.name))
    ]
    return [path for _, path in sorted(numbered)]


def save_checkpoint(folder: Path, iteration: int, state: dict[str, Any], keep: int) -> Path:
    """Write ``checkpoint-N.pt`` and remove all but the newest.

    Args:
        folder: of the run.
        iteration: ``N``; it becomes part of the state as ``iteration``.
        state: see :func:`write_checkpoint`.
        keep: checkpoints to keep.

    Returns:
        The file.

    Raises:
        OSError: the disk is full or not writable; the earlier checkpoints stay untouched.
    """
    path = folder / f"checkpoint-{iteration:07d}.pt"
    write_checkpoint(path, {"iteration": iteration} | state)
    for old in checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def load_checkpoint(folder: Path, fixed: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The newest numbered checkpoint of a run, or None where there is none.

    Args:
        folder: of the run.
        fixed: see :func:`read_checkpoint`.

    Returns:
        The state.

    Raises:
        ValueError: see :func:`read_checkpoint`.
    """
    numbered = checkpoints(folder)
    return read_checkpoint(numbered[-1], fixed) if numbered else None
