"""Metrics that need a trained network, through the package pyiqa: LPIPS, DISTS, FID, MANIQA, NIQE.

pyiqa fetches a missing network's weights when a metric is made. Here nothing is ever downloaded: a metric whose
package or weights are not on this machine is left out, with the reason and the file to put where.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import torch

from .metrics import to_8_bit

if TYPE_CHECKING:
    from pathlib import Path

FULL_REFERENCE = ("lpips", "dists")
"""Compare with a reference; lower is better."""

NO_REFERENCE = ("maniqa", "niqe")
"""Judge a picture alone; MANIQA: higher is better, NIQE: lower."""

SETS = ("fid",)
"""Compare two folders of pictures; lower is better."""

NAMES = FULL_REFERENCE + NO_REFERENCE + SETS

Measure = Callable[..., float]
"""``(output, reference)`` for a full-reference metric, ``(output)`` for one without, each ``[H, W]`` uint8 or float in
[0, 1]; ``(folder, folder)`` for sets."""


def load(names: Sequence[str], device: torch.device | str = "cpu") -> tuple[dict[str, Measure], dict[str, str]]:
    """Make the metrics that this machine can measure.

    Args:
        names: of ``NAMES``.
        device: to compute on.

    Returns:
        the metrics by name, and for every other name the reason why it cannot be measured.

    Raises:
        ValueError: an unknown name.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ValueError(f"unknown metric '{unknown[0]}'; choose from {', '.join(NAMES)}")
    if not names:
        return {}, {}
    try:
        with _quietly():
            import pyiqa
            import pyiqa.utils.download_util
    except ImportError as error:
        reason = f"needs pyiqa: pip install 'hidra-thermal[evaluate]' ({error})"
        return {}, dict.fromkeys(names, reason)
    measures, missing = {}, {}
    for name in names:
        try:
            with _quietly(), _no_downloads():
                metric = pyiqa.create_metric(name, device=torch.device(device))
        except _NotHere as error:
            missing[name] = str(error)
        except FileNotFoundError:  # the Hugging Face hub's own word for a file that is not in its cache
            missing[name] = (
                "its weights are not on this machine: run pyiqa's own "
                f"python -c \"import pyiqa; pyiqa.create_metric('{name}')\" once, with a network"
            )
        except Exception as error:  # whatever is wrong with another package's metric, the others can be measured
            missing[name] = f"pyiqa cannot load it ({type(error).__name__}: {' '.join(str(error).split())})"
        else:
            measures[name] = _measure(name, metric)
    return measures, missing


def _measure(name: str, metric: Any) -> Measure:
    if name in SETS:

        def between(outputs: Path, references: Path) -> float:
            with _quietly():
                return float(metric(str(outputs), str(references), num_workers=0, verbose=False))

        return between

    def of(*images: np.ndarray) -> float:
        with torch.inference_mode():
            return float(metric(*(_tensor(image) for image in images)))

    return of


def _tensor(image: np.ndarray) -> torch.Tensor:
    """``[1, 3, H, W]`` in [0, 1], rounded to 8 bits; the networks were trained on colour."""
    return torch.from_numpy(to_8_bit(image).astype(np.float32) / 255)[None, None].repeat(1, 3, 1, 1)


class _NotHere(Exception):
    """A download was asked for; no OSError, which libraries catch to try another address."""


@contextmanager
def _no_downloads() -> Iterator[None]:
    """Whatever way pyiqa, torchvision and timm fetch weights, it ends in ``_NotHere`` or a FileNotFoundError."""
    import huggingface_hub.constants
    import pyiqa.utils.download_util

    def refuse(url: str, target: str, *_: Any, **__: Any) -> None:
        raise _NotHere(f"its weights are not on this machine: put {url} at {target}")

    with (
        patch.object(torch.hub, "download_url_to_file", refuse),
        patch.object(pyiqa.utils.download_util, "download_url_to_file", refuse),
        patch.object(huggingface_hub.constants, "HF_HUB_OFFLINE", True),
    ):
        yield


@contextmanager
def _quietly() -> Iterator[None]:
    """Pyiqa prints, logs and warns while it loads; that it is 'downloading' would be wrong besides."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
