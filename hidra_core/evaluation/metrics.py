"""Image quality as numbers: likeness to a reference, or stripes and fidelity where there is no reference.

Every metric is measured on grey images ``[H, W]``, uint8 or float in [0, 1], and computed in float64. Published numbers
are measured on 8 bits: round outputs first (``to_8_bit``). Metrics that need a trained network are in ``perceptual``,
scores of fused images in ``fusion``.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import correlate1d, gaussian_filter, gaussian_filter1d

from ..checkpoints import checkpoint

SSIM_SIDE = 11
"""Width of the window of ``ssim`` in pixels, hence the smallest side that it can be measured on."""

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, finest first (Wang et al. 2003, calibrated by observers)."""

MS_SSIM_SIDE = SSIM_SIDE * 2 ** (len(MS_SSIM_WEIGHTS) - 1)
"""The smallest side that ``ms_ssim`` can be measured on."""

LOW_FREQUENCY_SIGMA = 8.0
"""Standard deviation, in pixels, of the Gaussian that defines low frequencies in ``low_frequency_correlation``."""

STRIPE_SIGMA = 3.0
"""Standard deviation, in pixels, of the Gaussian that ``column_noise_energy`` compares columns with."""


# --- likeness to a reference -----------------------------------------------------------------------------------------


def psnr(output: np.ndarray, reference: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, peak 1, no border left out; infinite for equal images.

    Raises:
        ValueError: the shapes differ.
    """
    output, reference = _pair(output, reference)
    error = float(np.mean((output - reference) ** 2))
    return float("inf") if error == 0 else -10.0 * float(np.log10(error))


def psnr_affine(output: np.ndarray, reference: np.ndarray) -> float:
    """``psnr`` after the gain and offset of ``output`` that fit ``reference`` best (least squares), not clipped.

    Thermal contrast and brightness are arbitrary; this metric leaves them out.

    Raises:
        ValueError: the shapes differ.
    """
    output, reference = _pair(output, reference)
    centred = output - output.mean()
    variance = float(np.mean(centred**2))
    gain = 0.0 if variance == 0 else float(np.mean(centred * (reference - reference.mean()))) / variance
    return psnr(gain * centred + reference.mean(), reference)


def ssim(output: np.ndarray, reference: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004): 11x11 Gaussian window of sigma 1.5, K 0.01 and 0.03, data range 1.

    Mean over the positions where the whole window lies inside the image; population covariances.

    Raises:
        ValueError: the shapes differ, or a side is below 11 pixels.
    """
    output, reference = _pair(output, reference)
    if min(output.shape) < SSIM_SIDE:
        raise ValueError(f"SSIM needs at least {SSIM_SIDE}×{SSIM_SIDE} pixels, got {output.shape[1]}×{output.shape[0]}")
    luminance, structure = _similarity(output, reference)
    return float(np.mean(luminance * structure))


def ms_ssim(output: np.ndarray, reference: np.ndarray) -> float:
    """Multi-scale structural similarity (Wang et al. 2003): five scales, each the 2x2 mean of the one before.

    Windows and constants are those of ``ssim``. The value is the product of the contrast and structure of every scale
    and of the luminance of the coarsest, raised to the powers ``MS_SSIM_WEIGHTS``. A negative mean of a scale, for
    which these powers are not defined, counts as 0.

    Raises:
        ValueError: the shapes differ, or a side is below 176 pixels (11 at the coarsest scale).
    """
    output, reference = _pair(output, reference)
    if min(output.shape) < MS_SSIM_SIDE:
        raise ValueError(
            f"MS-SSIM needs at least {MS_SSIM_SIDE}×{MS_SSIM_SIDE} pixels, got {output.shape[1]}×{output.shape[0]}"
        )
    product = 1.0
    for scale, weight in enumerate(MS_SSIM_WEIGHTS, 1):
        luminance, structure = _similarity(output, reference)
        coarsest = scale == len(MS_SSIM_WEIGHTS)
        product *= max(float(np.mean(luminance * structure if coarsest else structure)), 0.0) ** weight
        output, reference = _halved(output), _halved(reference)
    return product


def _similarity(output: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Luminance term and contrast-structure term of SSIM at every position of the window."""
    offsets = np.arange(-(SSIM_SIDE // 2), SSIM_SIDE // 2 + 1)
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    inside = slice(SSIM_SIDE // 2, -(SSIM_SIDE // 2))

    def local_mean(values: np.ndarray) -> np.ndarray:
        checkpoint()
        return correlate1d(correlate1d(values, window, axis=0), window, axis=1)[inside, inside]

    mean_o, mean_r = local_mean(output), local_mean(reference)
    variance_o = local_mean(output**2) - mean_o**2
    variance_r = local_mean(reference**2) - mean_r**2
    covariance = local_mean(output * reference) - mean_o * mean_r
    checkpoint()
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_o * mean_r + c1) / (mean_o**2 + mean_r**2 + c1)
    return luminance, (2 * covariance + c2) / (variance_o + variance_r + c2)


def _halved(image: np.ndarray) -> np.ndarray:
    height, width = (side // 2 * 2 for side in image.shape)
    return image[:height, :width].reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))


# --- without a reference ---------------------------------------------------------------------------------------------


def column_noise_energy(image: np.ndarray) -> float:
    """Energy of column stripes in squared grey levels (0-255): the variance of the columns' offsets.

    A column's offset is the median over its pixels of the image minus its smooth part along the row (a Gaussian of
    sigma 3). Medians ignore edges of the scene, which do not run along whole columns. Texture leaks in, so that a clean
    image has an energy too. The definition is this project's own.
    """
    levels = 255.0 * as_float(image)
    detail = levels - gaussian_filter1d(levels, STRIPE_SIGMA, axis=1, mode="reflect")
    return float(np.var(np.median(detail, axis=0)))


def row_noise_energy(image: np.ndarray) -> float:
    """The same as ``column_noise_energy``, for the rows."""
    return column_noise_energy(image.T)


def low_frequency_correlation(output: np.ndarray, image: np.ndarray) -> float:
    """Pearson correlation of the two images' low frequencies (Gaussian of sigma 8 pixels), -1 to 1.

    A value of 1 says that large structures of the output equal those of the input, up to contrast and brightness. The
    value is 0 when one of the images is flat.

    Raises:
        ValueError: the shapes differ.
    """
    pair = _pair(output, image)
    return correlation(*(gaussian_filter(part, LOW_FREQUENCY_SIGMA, mode="reflect") for part in pair))


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson correlation over all pixels, in float64; 0 if one image is flat, where it is not defined."""
    first, second = (part.astype(np.float64) - part.mean(dtype=np.float64) for part in (first, second))
    norm = float(np.sqrt(np.sum(first**2) * np.sum(second**2)))
    return float(np.sum(first * second)) / norm if norm > 0 else 0.0


def noise_level(image: np.ndarray) -> float:
    """Standard deviation of white noise, in [0, 1], from the median absolute response to a Laplacian kernel."""
    # [1 -2 1] in both directions removes constant and linear parts; the kernel's norm is 6.
    values = correlate1d(correlate1d(as_float(image), [1.0, -2.0, 1.0], axis=0), [1.0, -2.0, 1.0], axis=1)
    return float(np.median(np.abs(values)) / 0.6745 / 6.0)


# --- number formats --------------------------------------------------------------------------------------------------


def as_float(image: np.ndarray) -> np.ndarray:
    """The image as float64: uint8 is divided by 255, floats keep their values."""
    return image.astype(np.float64) / 255.0 if image.dtype == np.uint8 else image.astype(np.float64)


def to_8_bit(image: np.ndarray) -> np.ndarray:
    """The image as uint8: floats in [0, 1] are clipped and rounded to levels of 1/255; uint8 is returned unchanged."""
    return image if image.dtype == np.uint8 else np.rint(np.clip(image, 0, 1) * 255.0).astype(np.uint8)


def _pair(output: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if output.shape != reference.shape or output.ndim != 2:
        raise ValueError(f"two images [H, W] of one size are needed, got {output.shape} and {reference.shape}")
    return as_float(output), as_float(reference)
