"""Metrics that need a trained network, through the package pyiqa: LPIPS, DISTS, FID, MANIQA, NIQE.

pyiqa downloads missing weights when a metric is made. Here nothing is ever downloaded: a metric is made only if its
files of weights are on this machine, and while the Hugging Face hub is offline. A metric whose package or weights are
missing is left out, and the reason names the file to put in place.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
from huggingface_hub import constants as hub

from .metrics import to_8_bit

FULL_REFERENCE = ("lpips", "dists")
"""Metrics that compare with a reference; lower is better."""

NO_REFERENCE = ("maniqa", "niqe")
"""Metrics that judge an image alone; for MANIQA higher is better, for NIQE lower."""

SETS = ("fid",)
"""Metrics that compare two folders of images; lower is better."""

NAMES = FULL_REFERENCE + NO_REFERENCE + SETS

Measure = Callable[..., float]
"""``(output, reference)`` for a full-reference metric, ``(output)`` for one without, each ``[H, W]`` uint8 or float in
[0, 1]; ``(folder, folder)`` for sets."""


def load(names: Sequence[str], device: torch.device | str = "cpu") -> tuple[dict[str, Measure], dict[str, str]]:
    """Make the metrics that can be measured on this machine.

    Args:
        names: of ``NAMES``.
        device: to compute on.

    Returns:
        The metrics by name, and for every other name the reason why it cannot be measured.

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
    except ImportError as error:
        reason = f"needs pyiqa: pip install 'hidra-thermal[evaluate]' ({error})"
        return {}, dict.fromkeys(names, reason)
    measures, missing = {}, {}
    for name in names:
        try:
            with _quietly(), _offline():
                absent = [(url, path) for url, path in _weight_files(name) if not path.is_file()]
                metric = None if absent else pyiqa.create_metric(name, device=torch.device(device))
        except FileNotFoundError:  # from the Hugging Face hub, for a file that is not in its cache
            missing[name] = (
                "its weights are not on this machine: run pyiqa's own "
                f"python -c \"import pyiqa; pyiqa.create_metric('{name}')\" once, with a network"
            )
        except Exception as error:  # noqa: BLE001  another package may raise anything; the other metrics still work
            missing[name] = f"pyiqa cannot load it ({type(error).__name__}: {' '.join(str(error).split())})"
        else:
            if absent:
                places = " and ".join(f"{url} at {path}" for url, path in absent)
                missing[name] = f"its weights are not on this machine: put {places}"
            else:
                measures[name] = _measure(name, metric)
    return measures, missing


def _weight_files(name: str) -> list[tuple[str, Path]]:
    """Address and place of the files that pyiqa loads for a metric, apart from those in the cache of the hub.

    The addresses are read from the packages' own tables, for another version may need other files. A table that has
    moved raises an AttributeError or a KeyError, so that a download is never risked.
    """
    own, pretrained = {
        "lpips": (lambda: _pyiqa("lpips_arch").default_model_urls["0.1_alex"], "AlexNet_Weights"),
        "dists": (lambda: _pyiqa("dists_arch").default_model_urls["url"], "VGG16_Weights"),
        "maniqa": (lambda: _pyiqa("maniqa_arch").default_model_urls["koniq"], None),  # its transformer is in the hub
        "niqe": (lambda: _pyiqa("niqe_arch").default_model_urls["url"], None),
        "fid": (lambda: _pyiqa("inception").FID_WEIGHTS_URL, None),
    }[name]
    folder = Path(import_module("pyiqa.utils.download_util").DEFAULT_CACHE_DIR)
    files = [(own(), folder)]
    if pretrained is not None:
        weights = getattr(import_module("torchvision.models"), pretrained).IMAGENET1K_V1
        files.append((weights.url, Path(torch.hub.get_dir(), "checkpoints")))
    return [(url, place / Path(urlparse(url).path).name) for url, place in files]


def _pyiqa(architecture: str) -> Any:
    return import_module(f"pyiqa.archs.{architecture}")


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


@contextmanager
def _offline() -> Iterator[None]:
    """The Hugging Face hub answers from its cache alone, as with HF_HUB_OFFLINE, which it reads only when imported."""
    before = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence pyiqa, which prints, logs and warns while it loads."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
