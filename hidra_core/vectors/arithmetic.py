"""Arithmetic on degradation vectors: averages, blends, edits in the terms of the report, smoothing over time."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..images import to_grey
from ..names import SMOOTHING
from ..readouts import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..enhance import DegradationVectors
    from ..weights import Weights

THUMBNAIL = 16
"""Side in pixels of the thumbnails that scene changes are found on."""

CUT = 0.5
"""Difference between two thumbnails, in multiples of their contrast, above which they show different scenes."""

FLAT = 2 / 255
"""Contrast that even a flat scene counts with, or its noise would decide."""


def fingerprint(weights: Weights) -> str:
    """A SHA-256 that tells whether vectors belong to these weights.

    It covers the parts that make vectors (MIA and the DEM's head) and the part that reads them (the Sigma heads), as
    values in fp32: a copy of the file under another name, or without the DINOv2 backbone, has the same fingerprint.
    """
    digest = hashlib.sha256()
    modules = {"head": weights.estimator.head, "attention": weights.estimator.attention, "heads": weights.adapter.heads}
    for place, module in modules.items():
        for name, tensor in sorted(module.state_dict().items()) if module is not None else ():
            digest.update(f"{place}.{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def average(degradation: DegradationVectors) -> DegradationVectors:
    """One vector for all: the mean of the given ones, for instance of several frames of one camera."""
    return replace(degradation, vectors=degradation.vectors.mean(dim=0, keepdim=True))


def blend(first: DegradationVectors, second: DegradationVectors, share: float) -> DegradationVectors:
    """Linear interpolation, vector by vector.

    Args:
        first: any number of vectors.
        second: as many, or one in either of them; made with the same weights.
        share: 0 is the first, 1 the second.

    Raises:
        ValueError: a share outside [0, 1], counts that do not match, or vectors of different weights, whose numbers
            mean different things.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be from 0 (the first) to 1 (the second), got {share}")
    if fingerprint(first.weights) != fingerprint(second.weights):
        raise ValueError(
            f"degradations of different weights cannot be blended: {first.weights.source} and {second.weights.source}. "
            "Estimate or load both with the same weights"
        )
    if len(first) != len(second) and 1 not in (len(first), len(second)):
        raise ValueError(f"{len(first)} and {len(second)} degradation vectors: give as many, or one in either of them")
    return replace(first, vectors=torch.lerp(first.vectors, second.vectors, share))


def edit(degradation: DegradationVectors, changes: Mapping[str, float]) -> DegradationVectors:
    """More or less of some kinds of degradation, in the bars of the report.

    Each kind is moved alone (:meth:`~hidra_core.readouts.probes.Probes.moved`): what the report says about the kinds
    that are not named stays. A bar stops at its ends, empty and full, since the adapter knows no image beyond them.

    Args:
        degradation: one vector or more; each is changed relative to its own reading.
        changes: for some of :data:`~hidra_core.readouts.probes.KINDS` the change of the bar, as a share of the full
            one, in [-1, 1].

    Raises:
        ValueError: weights without probes, an unknown kind, or a change outside [-1, 1].
    """
    probes = degradation.weights.probes
    if probes is None:
        raise ValueError(
            f"the weights {degradation.weights.source} have no probes, and without them nothing says where in the "
            "vector a kind of degradation is. Fit them with train/probing/probes.py, or use weights that have them"
        )
    for name, change in changes.items():
        if name not in KINDS:
            raise ValueError(f"unknown kind of degradation '{name}'; known kinds: {', '.join(KINDS)}")
        if not -1 <= change <= 1:
            raise ValueError(f"the change of {name} must be from -1 (a full bar less) to 1 (more), got {change}")
    vectors = []
    raw = probes.outputs("amount", degradation.vectors)
    for vector, reading, amounts in zip(
        degradation.vectors.split(1), probes.read(degradation.vectors), raw.tolist(), strict=True
    ):
        moved = vector
        for bar, amount in zip(reading.kinds, amounts, strict=True):
            target = min(max(bar.severity + changes.get(bar.kind.name, 0.0), 0.0), 1.0)
            if target != bar.severity:  # from the probe's own amount, which may be beyond the end of its bar
                moved = probes.moved(moved, bar.kind.name, target * bar.kind.full - amount)
        vectors.append(moved)
    return replace(degradation, vectors=torch.cat(vectors))


class SmoothOverTime:
    """Exponential moving average of degradation vectors that starts over where the scene changes.

    A vector read off one noisy frame differs from the next frame's although the camera has not changed, and the
    difference shows as flicker. For the first ``1 / (1 - smoothing)`` frames all frames have the same weight, so that
    the first one, as noisy as any other, does not linger.

    Args:
        smoothing: share of the past, in [0, 1): 0 changes nothing.

    Raises:
        ValueError: a share outside [0, 1).
    """

    def __init__(self, smoothing: float = SMOOTHING) -> None:
        check_smoothing(smoothing)
        self.smoothing = smoothing
        self._mean: Tensor | None = None
        self._since_start = 0
        self._thumbnail: Tensor | None = None

    def __call__(self, vectors: Tensor, frames: Sequence[Tensor]) -> Tensor:
        """The smoothed vectors of the next frames.

        Args:
            vectors: ``[N, length]``, in order of time; they continue those of the call before.
            frames: the N frames, ``[H, W, C]`` in [0, 1], for finding scene changes.

        Returns:
            The shape of ``vectors``.
        """
        smoothed = []
        for vector, frame in zip(vectors, frames, strict=True):
            thumbnail = _thumbnail(frame)
            if self._mean is None or self._thumbnail is None or is_cut(self._thumbnail, thumbnail):
                self._mean, self._since_start = vector, 1
            else:
                self._since_start += 1
                weight = max(1 - self.smoothing, 1 / self._since_start)
                self._mean = torch.lerp(self._mean, vector, weight)
            self._thumbnail = thumbnail
            smoothed.append(self._mean)
        return torch.stack(smoothed)


def check_smoothing(smoothing: float) -> None:
    """Raise ValueError for a share of the past that is not in [0, 1)."""
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must be from 0 (none) to below 1, got {smoothing}")


def is_cut(before: Tensor, after: Tensor) -> bool:
    """Whether two thumbnails, ``[h, w]`` in [0, 1], show different scenes.

    Their mean absolute difference, with the mean of each taken off, is compared with the mean of their contrasts.
    Unrelated scenes of equal contrast are at about 1.1, a scene and a closed shutter at 1.6. Level and gain, which a
    thermal camera adjusts all the time, change it little.
    """
    before, after = before - before.mean(), after - after.mean()
    contrast = max((before.std().item() + after.std().item()) / 2, FLAT)
    return (before - after).abs().mean().item() > CUT * contrast


def _thumbnail(frame: Tensor) -> Tensor:
    """The frame averaged to 16 × 16 areas, which hides noise and narrow stripes; ``[16, 16]``."""
    return F.interpolate(to_grey(frame[None]).float(), (THUMBNAIL, THUMBNAIL), mode="area")[0, 0].cpu()
