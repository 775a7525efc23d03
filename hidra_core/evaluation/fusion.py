"""Fusing an infrared image with its visible partner, and scoring the result: MI, SCD, VIF, Q^AB/F.

All images are grey ``[H, W]`` of one size, uint8 or float in [0, 1]. Floats are rounded to 8 bits first, because
published scores are measured on saved files. Publications differ in two conventions, which are chosen by name: the unit
of MI and the treatment of the border in VIF. Every score is a sum over the two sources, or combines them. Larger values
are better.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import correlate1d

from .metrics import correlation, to_8_bit

if TYPE_CHECKING:
    from collections.abc import Callable

MI_UNITS = ("bits", "nats")
VIF_BORDERS = ("valid", "same")

VIF_SIDE = 41
"""The smallest side, in pixels, that ``vif`` can be measured on: the coarsest scale then has a single position."""

_VIF_WINDOWS = (17, 9, 5, 3)

# --- scores ----------------------------------------------------------------------------------------------------------


def mutual_information(infrared: np.ndarray, visible: np.ndarray, fused: np.ndarray, unit: str = "bits") -> float:
    """MI (Qu et al. 2002): I(infrared; fused) + I(visible; fused) from joint histograms of the 256 grey levels.

    Args:
        infrared: ``[H, W]``, uint8 or float in [0, 1].
        visible: its visible partner, of the same shape.
        fused: the result to score, of the same shape.
        unit: ``"bits"``, the base-2 logarithm of most tables and of IVIF_ZOO, or ``"nats"``, the natural logarithm of
            CDDFuse's evaluator, whose values are smaller by the factor ln 2.

    Raises:
        ValueError: the shapes differ, or the unit is unknown.
    """
    if unit not in MI_UNITS:
        raise ValueError(f"MI is measured in one of {', '.join(MI_UNITS)}, not in '{unit}'")
    infrared, visible, fused = _bytes(infrared, visible, fused)
    nats = _shared_information(infrared, fused) + _shared_information(visible, fused)
    return float(nats / np.log(2)) if unit == "bits" else nats


def scd(infrared: np.ndarray, visible: np.ndarray, fused: np.ndarray) -> float:
    """Sum of the correlations of differences (Aslantas & Bendes 2015): r(F - B, A) + r(F - A, B), -2 to 2.

    A correlation with a flat image counts as 0.

    Raises:
        ValueError: the shapes differ.
    """
    infrared, visible, fused = (part.astype(np.float64) for part in _bytes(infrared, visible, fused))
    return correlation(fused - visible, infrared) + correlation(fused - infrared, visible)


def vif(infrared: np.ndarray, visible: np.ndarray, fused: np.ndarray, border: str = "valid") -> float:
    """Visual information fidelity of the pixel domain (Sheikh & Bovik 2006), against each source, summed; about 0 to 2.

    Four scales with Gaussian windows of 17, 9, 5 and 3 pixels, noise variance 2 on grey levels 0-255.

    Args:
        infrared: ``[H, W]``, uint8 or float in [0, 1].
        visible: its visible partner, of the same shape.
        fused: the result to score, of the same shape.
        border: ``"valid"`` uses the positions where the whole window lies inside the image, which is the standard of
            the authors and of CDDFuse. ``"same"`` pads with zeros and has windows half a pixel off centre, as IVIF_ZOO
            does; its values are some per cent to a quarter higher.

    Raises:
        ValueError: the shapes differ, a side is below 41 pixels (17 at the finest scale, 3 at the coarsest), or the
            border is unknown.
    """
    if border not in VIF_BORDERS:
        raise ValueError(f"VIF's border is one of {', '.join(VIF_BORDERS)}, not '{border}'")
    infrared, visible, fused = (part.astype(np.float64) for part in _bytes(infrared, visible, fused))
    if min(fused.shape) < VIF_SIDE:
        raise ValueError(f"VIF needs at least {VIF_SIDE}×{VIF_SIDE} pixels, got {fused.shape[1]}×{fused.shape[0]}")
    return _fidelity(infrared, fused, border) + _fidelity(visible, fused, border)


def qabf(infrared: np.ndarray, visible: np.ndarray, fused: np.ndarray) -> float:
    """Q^AB/F (Xydeas & Petrovic 2000): how much of the sources' edges, weighted by strength, the result keeps; 0 to 1.

    The edges are Sobel's with zeros beyond the border, which turns the border into an edge. The constants are those of
    the paper. The score is 0 when neither source has an edge.

    Raises:
        ValueError: the shapes differ.
    """
    edges_a, edges_b, edges_f = map(_edges, _bytes(infrared, visible, fused))
    weight = np.sum(edges_a[0]) + np.sum(edges_b[0])
    kept = sum(np.sum(_preserved(edges, edges_f) * edges[0]) for edges in (edges_a, edges_b))
    return float(kept / weight) if weight > 0 else 0.0


def scores(
    infrared: np.ndarray, visible: np.ndarray, fused: np.ndarray, *, mi_unit: str = "bits", vif_border: str = "valid"
) -> dict[str, float]:
    """All four scores by key: ``mi``, ``scd``, ``vif``, ``qabf``.

    Args:
        infrared: ``[H, W]``, uint8 or float in [0, 1].
        visible: its visible partner, of the same shape.
        fused: the result to score, of the same shape.
        mi_unit: ``unit`` of ``mutual_information``.
        vif_border: ``border`` of ``vif``.

    Raises:
        ValueError: see the single scores.
    """
    return {
        "mi": mutual_information(infrared, visible, fused, mi_unit),
        "scd": scd(infrared, visible, fused),
        "vif": vif(infrared, visible, fused, vif_border),
        "qabf": qabf(infrared, visible, fused),
    }


def _bytes(*images: np.ndarray) -> list[np.ndarray]:
    if len({image.shape for image in images}) > 1 or images[0].ndim != 2:
        sizes = ", ".join(str(image.shape) for image in images)
        raise ValueError(f"infrared, visible and fused image must be [H, W] of one size, got {sizes}")
    return [to_8_bit(image) for image in images]


def _shared_information(first: np.ndarray, second: np.ndarray) -> float:
    """Mutual information of two uint8 images, in nats."""
    counts = np.bincount(first.ravel().astype(np.int64) * 256 + second.ravel(), minlength=256 * 256)
    joint = counts.reshape(256, 256) / first.size
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float(np.sum(joint[seen] * np.log(joint[seen] / independent[seen])))


def _fidelity(reference: np.ndarray, test: np.ndarray, border: str) -> float:
    tiny = 1e-10
    kept = total = 0.0
    for scale, size in enumerate(_VIF_WINDOWS):
        if scale > 0:
            reference, test = (_smooth(part, size, border)[::2, ::2] for part in (reference, test))
        mean_r, mean_t = _smooth(reference, size, border), _smooth(test, size, border)
        variance_r = np.maximum(_smooth(reference**2, size, border) - mean_r**2, 0)
        variance_t = np.maximum(_smooth(test**2, size, border) - mean_t**2, 0)
        covariance = _smooth(reference * test, size, border) - mean_r * mean_t
        gain = covariance / (variance_r + tiny)
        noise = variance_t - gain * covariance
        flat = variance_r < tiny
        gain[flat], noise[flat], variance_r[flat] = 0, variance_t[flat], 0
        flat = variance_t < tiny
        gain[flat] = noise[flat] = 0
        against = gain < 0
        noise[against], gain[against] = variance_t[against], 0
        noise = np.maximum(noise, tiny)
        kept += float(np.sum(np.log10(1 + gain**2 * variance_r / (noise + 2))))
        total += float(np.sum(np.log10(1 + variance_r / 2)))
    return kept / total if total > 0 else 0.0


def _smooth(image: np.ndarray, size: int, border: str) -> np.ndarray:
    """Convolve with a Gaussian window of ``size`` pixels and of the standard deviation ``size`` / 5."""
    half = size // 2
    # IVIF_ZOO's coordinates run from floor(-size / 2) to floor(size / 2), so that the middle falls between two pixels.
    offsets = np.arange(-half, half + 1) if border == "valid" else np.linspace(-half - 1, half, size)
    window = np.exp(-(offsets**2) / (2 * (size / 5) ** 2))
    window /= window.sum()
    smooth = correlate1d(correlate1d(image, window, axis=0, mode="constant"), window, axis=1, mode="constant")
    return smooth[half:-half, half:-half] if border == "valid" else smooth


def _edges(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Strength and angle (-pi/2 to pi/2) of Sobel edges."""
    values = image.astype(np.float64)

    def sobel(difference: list[float], along: int) -> np.ndarray:
        slope = correlate1d(values, difference, axis=along, mode="constant")
        return correlate1d(slope, [1.0, 2.0, 1.0], axis=1 - along, mode="constant")

    # Rightwards and upwards: the relative sign matters, because all vertical edges are given the angle +pi/2.
    x, y = sobel([-1.0, 0.0, 1.0], 1), sobel([1.0, 0.0, -1.0], 0)
    angle = np.full_like(x, np.pi / 2)
    np.arctan(np.divide(y, x, out=np.zeros_like(x), where=x != 0), out=angle, where=x != 0)
    return np.sqrt(x**2 + y**2), angle


def _preserved(source: tuple[np.ndarray, np.ndarray], fused: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """How much of each source edge's strength and angle is in the fused image, 0 to 1."""
    (strength_s, angle_s), (strength_f, angle_f) = source, fused
    larger = np.maximum(strength_s, strength_f)
    ratio = np.divide(np.minimum(strength_s, strength_f), larger, out=np.zeros_like(larger), where=larger > 0)
    # Where the strengths are equal, the published programs use the strength itself as the ratio. The sigmoid maps it to
    # 1, or to 0 where there is no edge.
    ratio = np.where(strength_s == strength_f, strength_f, ratio)
    agreement = 1 - np.abs(angle_s - angle_f) / (np.pi / 2)
    return 0.9994 / (1 + np.exp(-15 * (ratio - 0.5))) * 0.9879 / (1 + np.exp(-22 * (agreement - 0.8)))


# --- methods ---------------------------------------------------------------------------------------------------------


def average(infrared: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """The mean of the two images, halves rounded up, as uint8 ``[H, W]``."""
    infrared, visible = _bytes(infrared, visible)
    return ((infrared.astype(np.uint16) + visible + 1) // 2).astype(np.uint8)


def maximum(infrared: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """The brighter of the two images at every pixel, as uint8 ``[H, W]``."""
    return np.maximum(*_bytes(infrared, visible))


def laplacian_pyramid(infrared: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """The larger detail of the two at every scale, on the mean of the coarsest (Burt & Adelson 1983), as uint8.

    There are as many scales as leave at least 8 pixels per side. Needs OpenCV.

    Raises:
        ValueError: the shapes differ.
        ImportError: OpenCV is missing.
    """
    try:
        import cv2
    except ImportError as error:
        raise ImportError("the Laplacian pyramid needs OpenCV: pip install opencv-python-headless") from error
    infrared, visible = (part.astype(np.float32) for part in _bytes(infrared, visible))
    details = []
    while min(infrared.shape) >= 16:
        layers = []
        for part in (infrared, visible):
            smaller = cv2.pyrDown(part)
            layers.append((part - cv2.pyrUp(smaller, dstsize=part.shape[::-1]), smaller))
        (detail_i, infrared), (detail_v, visible) = layers
        details.append(np.where(np.abs(detail_i) >= np.abs(detail_v), detail_i, detail_v))
    fused = (infrared + visible) / 2
    for detail in reversed(details):
        fused = cv2.pyrUp(fused, dstsize=detail.shape[::-1]) + detail
    return np.rint(np.clip(fused, 0, 255)).astype(np.uint8)


METHODS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "average": average,
    "maximum": maximum,
    "laplacian": laplacian_pyramid,
}
"""Fusion methods by name; each is called with the infrared and the visible image."""
