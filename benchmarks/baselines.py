"""Classical baselines and the reference metrics that the benchmarks compare with.

Every baseline takes one grey picture ``[H, W]``, uint8 or float in [0, 1], and returns the same shape and dtype. Every
metric takes two of them and compares them as floats in [0, 1]. Needs OpenCV (``pip install opencv-python-headless``).
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import correlate1d, gaussian_filter, median_filter

# --- baselines -------------------------------------------------------------------------------------------------------


def clahe(image: np.ndarray) -> np.ndarray:
    """Contrast-limited adaptive histogram equalisation: clip limit 2, 8x8 tiles (8 bits inside)."""
    return _like(cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(_as_bytes(image)), image)


def median(image: np.ndarray, size: int = 3) -> np.ndarray:
    """Median of ``size`` x ``size`` pixels."""
    return _like(median_filter(_as_float(image), size=size, mode="reflect"), image)


def gaussian(image: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    """Gaussian blur, ``sigma`` in pixels."""
    return _like(gaussian_filter(_as_float(image), sigma, mode="reflect"), image)


def destripe(image: np.ndarray, window: int = 31) -> np.ndarray:
    """Moment matching of columns: each gets the mean and deviation of the ``window`` columns around it.

    The neighbourhood, not the whole picture, is matched, so that gradients across the scene survive.
    """
    values = _as_float(image)
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    weights = np.ones(min(window, values.shape[1])) / min(window, values.shape[1])
    target_mean = correlate1d(mean, weights, mode="reflect")
    target_deviation = correlate1d(deviation, weights, mode="reflect")
    gain = np.where(deviation > 1e-6, target_deviation / np.maximum(deviation, 1e-6), 1.0)
    return _like((values - mean) * gain + target_mean, image)


def nlm(image: np.ndarray, strength: float | None = None) -> np.ndarray:
    """Non-local means (8 bits inside): 7x7 patches, 21x21 search.

    Args:
        strength: filter strength in grey levels; None takes 0.8 times the estimated noise, at least 3.
    """
    values = _as_bytes(image)
    if strength is None:
        strength = max(3.0, 0.8 * 255 * noise_level(image))
    return _like(cv2.fastNlMeansDenoising(values, None, float(strength), 7, 21), image)


def noise_level(image: np.ndarray) -> float:
    """Deviation of white noise, in [0, 1]: the median absolute response to a Laplacian difference kernel."""
    values = _as_float(image)
    # [1 -2 1] in both directions removes constant and linear parts; the kernel's norm is 6.
    response = correlate1d(correlate1d(values, [1.0, -2.0, 1.0], axis=0), [1.0, -2.0, 1.0], axis=1)
    return float(np.median(np.abs(response)) / 0.6745 / 6.0)


# --- metrics ---------------------------------------------------------------------------------------------------------


def psnr(output: np.ndarray, reference: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, peak 1; infinite for equal pictures.

    Raises:
        ValueError: the shapes differ.
    """
    output, reference = _pair(output, reference)
    error = float(np.mean((output - reference) ** 2))
    return float("inf") if error == 0 else -10.0 * float(np.log10(error))


def psnr_affine(output: np.ndarray, reference: np.ndarray) -> float:
    """``psnr`` after the gain and offset of ``output`` that fit ``reference`` best (least squares), not clipped.

    Thermal contrast and brightness are arbitrary; this leaves them out.
    """
    output, reference = _pair(output, reference)
    centred = output - output.mean()
    variance = float(np.mean(centred**2))
    gain = 0.0 if variance == 0 else float(np.mean(centred * (reference - reference.mean()))) / variance
    return psnr(gain * centred + reference.mean(), reference)


def ssim(output: np.ndarray, reference: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004): 11x11 Gaussian window of sigma 1.5, K 0.01 and 0.03, data range 1.

    Mean over the positions where the whole window lies inside the picture; population covariances.

    Raises:
        ValueError: the shapes differ, or a side is below 11 pixels.
    """
    output, reference = _pair(output, reference)
    if min(output.shape) < 11:
        raise ValueError(f"SSIM needs at least 11x11 pixels, got {output.shape[0]}x{output.shape[1]}")
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    window /= window.sum()

    def local_mean(values: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(values, window, axis=0), window, axis=1)[5:-5, 5:-5]

    mean_o, mean_r = local_mean(output), local_mean(reference)
    variance_o = local_mean(output**2) - mean_o**2
    variance_r = local_mean(reference**2) - mean_r**2
    covariance = local_mean(output * reference) - mean_o * mean_r
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_o * mean_r + c1) / (mean_o**2 + mean_r**2 + c1)
    structure = (2 * covariance + c2) / (variance_o + variance_r + c2)
    return float(np.mean(luminance * structure))


# --- number formats --------------------------------------------------------------------------------------------------


def _as_float(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float64) / 255.0 if image.dtype == np.uint8 else image.astype(np.float64)


def _as_bytes(image: np.ndarray) -> np.ndarray:
    return image if image.dtype == np.uint8 else np.rint(np.clip(image, 0, 1) * 255.0).astype(np.uint8)


def _like(result: np.ndarray, image: np.ndarray) -> np.ndarray:
    """``result``, uint8 or float in [0, 1], clipped and in the dtype of ``image``."""
    return _as_bytes(result) if image.dtype == np.uint8 else np.clip(_as_float(result), 0, 1).astype(image.dtype)


def _pair(output: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if output.shape != reference.shape or output.ndim != 2:
        raise ValueError(f"two pictures [H, W] of one size are needed, got {output.shape} and {reference.shape}")
    return _as_float(output), _as_float(reference)
