"""From a camera's counts to the range the networks know, and back.

A 14- or 16-bit frame fills a narrow band of its counts; the networks were trained on images that fill [0, 1]. A
:class:`Mapping` is the monotone curve between the two, kept with its parameters, so that what the networks change can
be brought back onto the counts. There are three kinds, as in the gain control of thermal cameras:

- ``linear``: straight between two counts, by default the extremes of the scene (``images.display_range``);
- ``percentile``: straight between two percentiles, clipped outside;
- ``plateau``: plateau equalisation, the cumulative histogram with its bins limited to a plateau, mixed with a
  straight line (FLIR, "Camera Adjustments", 102-PS242-100-01).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from scipy.ndimage import median_filter
from torch import Tensor

from ..images import Metadata
from ..names import MAPPINGS
from .counts import ThermalImage
from .masking import Scene

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Mapping as MappingType

_BINS = 256  # of the histogram
_FADE = 0.25  # change, in the range of the networks, above which a clipped pixel no longer keeps its excess


@dataclass(frozen=True)
class Mapping:
    """A strictly rising curve from counts to [0, 1], flat outside its limits.

    Attributes:
        kind: one of :data:`~hidra_core.names.MAPPINGS`, or ``identity`` for counts that fill their bits (8-bit images).
        parameters: those it was made with, in plain numbers.
        counts: counts at the knots of the curve, rising; straight between them.
        values: values in [0, 1] at the same knots, rising from 0 to 1.

    Raises:
        ValueError: knots that do not rise.
    """

    kind: str
    parameters: dict[str, float]
    counts: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        rising = len(self.counts) == len(self.values) >= 2 and all(
            np.diff(knots).min() > 0 for knots in (self.counts, self.values)
        )
        if not rising or self.values[0] != 0 or self.values[-1] != 1:
            raise ValueError("a mapping needs two or more knots whose counts rise and whose values rise from 0 to 1")

    def to_values(self, counts: np.ndarray) -> Tensor:
        """Counts of any shape as float32 in [0, 1], clipped outside the limits."""
        return torch.from_numpy(np.interp(counts, self.counts, self.values).astype(np.float32))

    def to_counts(self, values: Tensor | np.ndarray) -> np.ndarray:
        """The inverse of :meth:`to_values`, float64; within the limits it is exact to a small part of a count."""
        values = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
        return np.interp(np.asarray(values, dtype=np.float64), self.values, self.counts)

    def restore(self, values: Tensor, counts: np.ndarray) -> np.ndarray:
        """Bring values that the networks changed back onto counts.

        A pixel that was not changed gets its count back, exactly, also where the curve clips: the excess beyond the
        limits is added again. It fades away as the change grows, so that a dead pixel does not keep its excess.

        Args:
            values: ``[N, h, w]`` in [0, 1], made from ``to_values(counts)``; may be a whole multiple larger.
            counts: ``[N, H, W]``, the counts that they were made from.

        Returns:
            ``[N, h, w]``, float64 and not rounded.

        Raises:
            ValueError: values that are not finite.
        """
        if not torch.isfinite(values).all():
            raise ValueError("values to bring back onto counts are NaN or infinite; look at what made them")
        mapped = self.to_values(counts)
        excess = counts - self.to_counts(mapped)
        if values.shape != mapped.shape:
            height, width = values.shape[-2:]
            mapped = _enlarged(mapped, height, width)
            excess = _enlarged(torch.from_numpy(excess), height, width).numpy()
        kept = (1 - (values.double() - mapped.double()).abs() / _FADE).clamp(0, 1).numpy()
        return self.to_counts(values) + excess * kept

    def to_dict(self) -> dict[str, Any]:
        """The mapping in plain JSON types; :meth:`from_dict` reads it."""
        return {
            "kind": self.kind,
            "parameters": dict(self.parameters),
            "counts": list(self.counts),
            "values": list(self.values),
        }

    @classmethod
    def from_dict(cls, record: MappingType[str, Any]) -> Mapping:
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: anything else than a mapping's record.
        """
        try:
            return cls(record["kind"], dict(record["parameters"]), tuple(record["counts"]), tuple(record["values"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a mapping of counts: {error!r}") from error


def _enlarged(planes: Tensor, height: int, width: int) -> Tensor:
    """``[N, H, W]`` as ``[N, height, width]``, bilinear as the networks' input is enlarged."""
    planes = rearrange(planes, "n h w -> n 1 h w")
    enlarged = F.interpolate(planes, (height, width), mode="bilinear", align_corners=False)
    return rearrange(enlarged, "n 1 h w -> n h w")


def rounded(counts: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Counts rounded and limited to the range of an integer type; of a floating-point type only converted."""
    if dtype.kind == "f":
        return counts.astype(dtype)
    limits = np.iinfo(dtype)
    return np.rint(counts).clip(limits.min, limits.max).astype(dtype)


# --- making one ------------------------------------------------------------------------------------------------------


def identity(dtype: np.dtype) -> Mapping:
    """All counts of an integer type onto [0, 1]."""
    return Mapping("identity", {}, (0.0, float(np.iinfo(dtype).max)), (0.0, 1.0))


def fit(kind: str, scene: Scene | np.ndarray, **parameters: float) -> Mapping:
    """The mapping of a kind that suits these counts.

    Args:
        kind: one of :data:`~hidra_core.names.MAPPINGS`.
        scene: the counts; or an array of them, ``[N, H, W]``, all of them scene. One mapping serves all pages.
        **parameters: those of :func:`linear`, :func:`percentile` or :func:`plateau`.

    Raises:
        ValueError: an unknown kind, an unknown parameter, or one out of range.
    """
    makers: tuple[Callable[..., Mapping], ...] = (linear, percentile, plateau)
    if kind not in MAPPINGS:
        raise ValueError(f"unknown mapping '{kind}'; choose one of {', '.join(MAPPINGS)}")
    try:
        return makers[MAPPINGS.index(kind)](as_scene(scene), **parameters)
    except TypeError as error:
        raise ValueError(f"mapping '{kind}': {error}") from error


def as_scene(counts: Scene | np.ndarray) -> Scene:
    """An array of counts ``[N, H, W]`` as a scene without masked pixels."""
    return counts if isinstance(counts, Scene) else Scene.of(ThermalImage(Metadata(Path()), counts, "array"))


def linear(scene: Scene, low: float | None = None, high: float | None = None) -> Mapping:
    """Straight from count ``low`` to ``high``.

    Args:
        scene: the counts.
        low: count that becomes 0; None: the lowest of the scene, single dead pixels and lines apart.
        high: count that becomes 1; None: the highest of the scene, single dead pixels and lines apart.

    Raises:
        ValueError: ``low`` is not below ``high``.
    """
    if low is None or high is None:
        lowest, highest = scene_range(scene)
        low, high = lowest if low is None else low, highest if high is None else high
        if high <= low:
            low, high = _around(low, scene)
    elif not low < high:
        raise ValueError(f"a linear mapping needs low below high, got {low:g} and {high:g} counts")
    return Mapping("linear", {"low": float(low), "high": float(high)}, (float(low), float(high)), (0.0, 1.0))


def scene_range(scene: Scene) -> tuple[float, float]:
    """Lowest and highest count of the scene on all pages, single dead pixels and lines apart (of the 3x3 medians).

    Blank pages, as sequences have them while the shutter is closed, do not count where there are others.
    """
    ranges = []
    for page in range(len(scene.image.counts)):
        low, high = np.inf, -np.inf
        for counts, valid in scene.bands(page, margin=1):
            smooth = median_filter(counts, size=3, mode="nearest")
            smooth = smooth if valid is None else smooth[valid]
            low, high = min(low, float(smooth.min())), max(high, float(smooth.max()))
        ranges.append((low, high))
    ranges = [(low, high) for low, high in ranges if low < high] or ranges
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _around(count: float, scene: Scene) -> tuple[float, float]:
    """Limits for a flat scene: it lies in the middle of a band wide enough for its noise not to be blown up."""
    half = 127.5 * scene.image.step
    return count - half, count + half


def percentile(scene: Scene, low: float = 0.5, high: float = 99.5) -> Mapping:
    """Straight between two percentiles of the counts; flat scenes as in :func:`linear`.

    Args:
        scene: the counts.
        low: percentile that becomes 0, in percent.
        high: percentile that becomes 1, in percent.

    Raises:
        ValueError: percentiles out of range.
    """
    first, last = _tails(scene, sample(scene), low, high)
    return Mapping("percentile", {"low": float(low), "high": float(high)}, (first, last), (0.0, 1.0))


def sample(scene: Scene, most: int = 1 << 24) -> np.ndarray:
    """Counts of the scene, ``[n]``, without blank pages: all of them, or of very many some that are spread evenly.

    Args:
        scene: the counts.
        most: about how many are returned at most.
    """
    every = -(-scene.image.counts.size // most)
    pages = []
    for page in range(len(scene.image.counts)):
        bands = [counts.ravel() if valid is None else counts[valid] for counts, valid in scene.bands(page)]
        pages.append(np.concatenate([band[::every].copy() for band in bands]))
    return np.concatenate([page for page in pages if np.ptp(page)] or pages)


def plateau(scene: Scene, low: float = 0.1, high: float = 99.9, plateau: float = 3.0, linear: float = 0.3) -> Mapping:
    """Plateau equalisation between two percentiles.

    Args:
        scene: the counts.
        low: percentile, in percent, below which values are clipped.
        high: percentile, in percent, above which values are clipped.
        plateau: number of pixels that bins of the histogram are limited to, in multiples of what a bin would hold if
            all held the same; 1 and less comes close to a straight line, large values to full equalisation.
        linear: share of the straight line, 0.05 to 1; it keeps the curve rising where the histogram is empty.

    Raises:
        ValueError: a parameter out of range.
    """
    if not plateau > 0:
        raise ValueError(f"the plateau must be above 0, got {plateau:g}; usual are 1 to 10")
    if not 0.05 <= linear <= 1:
        raise ValueError(f"the linear share must be from 0.05 to 1, got {linear:g}")
    counts = sample(scene)
    first, last = _tails(scene, counts, low, high)
    bins = int(min(_BINS, max(1, (last - first) / scene.image.step)))
    edges = np.linspace(first, last, bins + 1)
    held = np.histogram(counts, edges)[0].astype(np.float64)
    held = np.minimum(held, plateau * held.sum() / bins)
    total = held.sum()
    equalised = np.concatenate([[0.0], np.cumsum(held) / total]) if total else np.linspace(0, 1, bins + 1)
    values = (1 - linear) * equalised + linear * np.linspace(0, 1, bins + 1)
    values[-1] = 1.0
    parameters = {"low": low, "high": high, "plateau": plateau, "linear": linear}
    return Mapping(
        "plateau",
        {name: float(value) for name, value in parameters.items()},
        tuple(edges.tolist()),
        tuple(values.tolist()),
    )


def _tails(scene: Scene, counts: np.ndarray, low: float, high: float) -> tuple[float, float]:
    if not 0 <= low < high <= 100:
        raise ValueError(f"percentiles must be 0 <= low < high <= 100, got {low:g} and {high:g}")
    first, last = (float(np.percentile(counts, share, method="nearest")) for share in (low, high))
    return (first, last) if first < last else _around(first, scene)
