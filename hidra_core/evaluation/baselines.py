"""The classical methods of thermal image enhancement that the evaluation compares a model with.

Every baseline maps one grey image ``[H, W]``, uint8 or float in [0, 1], to a result of the same shape and dtype. None
is told how the image was degraded: a method that needs the noise level or the direction of the stripes estimates it.
The widths of the destripers are those that did best on FPN correction of hidra-tiny's training images. The project's
own sensor stage, which runs before any network, is among them, so that its share of a result can be told.
``BASELINES`` has them all by name. A package that a baseline needs is imported when the baseline is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import correlate1d, gaussian_filter, gaussian_filter1d, median_filter

from ..sensor import undo_sensor
from .metrics import as_float, column_noise_energy, noise_level, row_noise_energy, to_8_bit

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

DIRECTIONS = ("columns", "rows", "auto")
"""Directions of stripes; ``auto`` chooses the one of columns and rows with more stripe energy."""

# --- contrast and smoothing ------------------------------------------------------------------------------------------


def clahe(image: np.ndarray) -> np.ndarray:
    """Contrast-limited adaptive histogram equalisation: clip limit 2, 8x8 tiles (8 bits inside). Needs OpenCV."""
    return _like(_opencv().createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(to_8_bit(image)), image)


def equalise(image: np.ndarray) -> np.ndarray:
    """Histogram equalisation of the whole image (8 bits inside). Needs OpenCV."""
    return _like(_opencv().equalizeHist(to_8_bit(image)), image)


def median(image: np.ndarray, size: int = 3) -> np.ndarray:
    """Median of ``size`` x ``size`` pixels."""
    return _like(median_filter(as_float(image), size=size, mode="reflect"), image)


def gaussian(image: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    """Gaussian blur, ``sigma`` in pixels."""
    return _like(gaussian_filter(as_float(image), sigma, mode="reflect"), image)


# --- denoising -------------------------------------------------------------------------------------------------------


def nlm(image: np.ndarray, strength: float | None = None) -> np.ndarray:
    """Non-local means (Buades et al. 2005; 8 bits inside): 7x7 patches, 21x21 search. Needs OpenCV.

    Args:
        image: ``[H, W]``, uint8 or float in [0, 1].
        strength: filter strength in grey levels; None means 0.8 times the estimated noise, at least 3.
    """
    if strength is None:
        strength = max(3.0, 0.8 * 255 * noise_level(image))
    return _like(_opencv().fastNlMeansDenoising(to_8_bit(image), None, float(strength), 7, 21), image)


def bm3d(image: np.ndarray, sigma: float | None = None) -> np.ndarray:
    """Block matching and 3D filtering (Dabov et al. 2007) by its authors' package, which is free for research only.

    Args:
        image: ``[H, W]``, uint8 or float in [0, 1].
        sigma: standard deviation of the noise in [0, 1]; None means the estimate, at least half a grey level.

    Raises:
        ImportError: the package is missing.
    """
    try:
        import bm3d as package
    except ImportError as error:
        raise ImportError(
            "BM3D needs its authors' package, whose licence allows non-commercial use only: pip install bm3d"
        ) from error
    values = as_float(image)
    return _like(package.bm3d(values, sigma_psd=max(noise_level(image), 0.5 / 255) if sigma is None else sigma), image)


# --- destriping ------------------------------------------------------------------------------------------------------


def moment_matching(image: np.ndarray, window: int = 15, stripes: str = "auto") -> np.ndarray:
    """Moment matching: each column gets the mean and standard deviation of the ``window`` columns around it.

    The neighbourhood, not the whole image, is matched, so that gradients across the scene survive.

    Args:
        image: ``[H, W]``, uint8 or float in [0, 1].
        window: width of the neighbourhood, in columns.
        stripes: direction of the stripes, one of ``DIRECTIONS``.

    Raises:
        ValueError: ``stripes`` is another direction.
    """

    def columns(values: np.ndarray) -> np.ndarray:
        mean, deviation = values.mean(axis=0), values.std(axis=0)
        weights = np.ones(min(window, values.shape[1])) / min(window, values.shape[1])
        target_mean = correlate1d(mean, weights, mode="reflect")
        target_deviation = correlate1d(deviation, weights, mode="reflect")
        gain = np.where(deviation > 1e-6, target_deviation / np.maximum(deviation, 1e-6), 1.0)
        return (values - mean) * gain + target_mean

    return _along(columns, image, stripes)


def midway(image: np.ndarray, stripes: str = "auto") -> np.ndarray:
    """Midway equalisation (Tendero et al. 2010): each column gets the mean histogram of the columns around it.

    The mean is that of the sorted columns, weighted by a Gaussian. Of the standard deviations from 0 to 8 columns the
    one is used that leaves the least total variation across columns, which is the authors' criterion.

    Args:
        image: ``[H, W]``, uint8 or float in [0, 1].
        stripes: direction of the stripes, one of ``DIRECTIONS``.

    Raises:
        ValueError: ``stripes`` is another direction.
    """

    def columns(values: np.ndarray) -> np.ndarray:
        order = np.argsort(values, axis=0, kind="stable")
        ranked = np.take_along_axis(values, order, axis=0)
        best, least = values, np.abs(np.diff(values, axis=1)).sum()
        for sigma in np.arange(0.5, 8.5, 0.5):
            result = np.empty_like(values)
            np.put_along_axis(result, order, gaussian_filter1d(ranked, sigma, axis=1, mode="reflect"), axis=0)
            variation = np.abs(np.diff(result, axis=1)).sum()
            if variation < least:
                best, least = result, variation
        return best

    return _along(columns, image, stripes)


def wavelet_fft(image: np.ndarray, sigma: float = 2.0, stripes: str = "auto") -> np.ndarray:
    """Wavelet-Fourier destriping (Münch et al. 2009). Needs PyWavelets.

    Stripes of every scale gather in the vertical detail of a wavelet decomposition, and there in the lowest frequencies
    along the stripes, which are damped by 1 - exp(-k² / (2 sigma²)). The wavelet is the authors' Daubechies 25, or a
    shorter one for images below 200 pixels, so that there are at least two scales. All scales that the image has room
    for are treated.

    Args:
        image: ``[H, W]``, uint8 or float in [0, 1].
        sigma: width of the damping, in frequencies of the transform.
        stripes: direction of the stripes, one of ``DIRECTIONS``.

    Raises:
        ImportError: PyWavelets is missing.
        ValueError: ``stripes`` is another direction.
    """
    try:
        import pywt
    except ImportError as error:
        raise ImportError("the wavelet-FFT destriper needs PyWavelets: pip install PyWavelets") from error

    order = min(25, max(1, (min(image.shape) // 4 + 1) // 2))
    wavelet = f"db{order}"

    def columns(values: np.ndarray) -> np.ndarray:
        smooth, *details = pywt.wavedec2(values, wavelet, mode="symmetric")
        damped = []
        for horizontal, vertical, diagonal in details:
            spectrum = np.fft.rfft(vertical, axis=0)
            frequency = np.arange(len(spectrum))[:, None]
            spectrum *= 1 - np.exp(-(frequency**2) / (2 * sigma**2))
            damped.append((horizontal, np.fft.irfft(spectrum, n=len(vertical), axis=0), diagonal))
        return pywt.waverec2([smooth, *damped], wavelet, mode="symmetric")[: values.shape[0], : values.shape[1]]

    return _along(columns, image, stripes)


# --- this project's sensor stage --------------------------------------------------------------------------------------


class SensorStage:
    """Dead pixels, stripes and shading undone by :func:`~hidra_core.sensor.undo_sensor`, and nothing else."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The image without what the sensor added to it.

        Args:
            image: ``[H, W]``, uint8 or float in [0, 1].
        """
        return self.find(image)[0]

    def find(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same, and ``[H, W]`` bool, the pixels that were taken for dead.

        Args:
            image: ``[H, W]``, uint8 or float in [0, 1].
        """
        result, correction = undo_sensor(as_float(image), level=1 / 255)
        return _like(result, image), correction.dead


def _along(columns: Callable[[np.ndarray], np.ndarray], image: np.ndarray, stripes: str) -> np.ndarray:
    """Apply a destriper of columns to columns or rows."""
    if stripes not in DIRECTIONS:
        raise ValueError(f"stripes must be one of {', '.join(DIRECTIONS)}, got '{stripes}'")
    if stripes == "auto":
        stripes = "columns" if column_noise_energy(image) >= row_noise_energy(image) else "rows"
    values = as_float(image)
    return _like(columns(values) if stripes == "columns" else columns(values.T).T, image)


# --- all by name -----------------------------------------------------------------------------------------------------

BASELINES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "CLAHE": clahe,
    "histogram equalisation": equalise,
    "median 3×3": lambda image: median(image, 3),
    "median 5×5": lambda image: median(image, 5),
    "Gaussian \N{GREEK SMALL LETTER SIGMA} 1": lambda image: gaussian(image, 1.0),
    "NLM": nlm,
    "BM3D": bm3d,
    "moment matching": moment_matching,
    "moment matching + NLM": lambda image: nlm(moment_matching(image)),
    "midway": midway,
    "wavelet-FFT": wavelet_fft,
    "sensor": SensorStage(),
}
"""The baselines of the evaluation, by their names in its tables."""


def _opencv() -> ModuleType:
    try:
        import cv2
    except ImportError as error:
        raise ImportError("this baseline needs OpenCV: pip install opencv-python-headless") from error
    return cv2


def _like(result: np.ndarray, image: np.ndarray) -> np.ndarray:
    """``result``, uint8 or float in [0, 1], clipped and in the dtype of ``image``."""
    return to_8_bit(result) if image.dtype == np.uint8 else np.clip(as_float(result), 0, 1).astype(image.dtype)
