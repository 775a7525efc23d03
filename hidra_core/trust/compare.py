"""How far an enhanced image can be trusted: what was changed, and which of its edges the input does not support.

The test for possible hallucination asks at every edge of the output whether the input has it too. An enhanced edge is
rightly sharper and stronger than the input's, and the input's may be hard to see in noise and stripes; so the output
is brought down to the input first. One contrast gain ``a`` and one Gaussian blur of deviation ``b`` are fitted by which
the output's gradients become the input's::

    ∇(G_s * input) = a · ∇(G_s * G_b * output) + noise

without the wide changes of brightness that shading is made of: fitted on the finer of two scales ``s``, tested on
both. The deviation ``σ`` of the noise is measured on what the fit leaves over, across and along columns apart, so that
stripes weaken only the evidence in their own direction. Where the output has the gradient ``g`` after blur, the input
should have ``a·g``. The test is whether it has less than half of that in the direction of ``g``, in deviations of the
noise::

    z = ⟨a·g/2 − ∇input, g⟩_σ / |g|_σ          with ⟨u, v⟩_σ = Σ_k u_k·v_k / σ_k²

Edges that noise could hide in the input have a small ``z``: they cannot be verified, but nothing speaks against them.
Invented ones that a clear view of the input contradicts have a large one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import find_objects, gaussian_filter, label, maximum_filter
from scipy.ndimage import sum as sums
from torch.nn.functional import interpolate

from ..images import check_images, to_grey
from ..images.blend import CUTOFF, lowpass
from ..vectors import Measurement, measure

if TYPE_CHECKING:
    from torch import Tensor

SCALES = (1.5, 3.0)
"""Deviations in pixels of the Gaussian derivatives that edges are looked for with."""

BLURS = (0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0)
"""Deviations in pixels of the blurs that are tried between output and input."""

FIT_PIXELS = 1_000_000
"""Of larger images a part of this size is enough to fit gain and blur."""

SUPPORT = 0.5
"""Share of an edge's expected contrast that the input must have."""

DOUBT = 4.0
"""``z`` at which the hallucination map is 0.5: four deviations of the noise."""

VISIBLE = 4.0
"""Height in grey levels (0-255) of the weakest step in the output that is looked at."""

BLOCK = 8
"""Side in pixels of the blocks whose order from cold to warm is compared."""

REGIONS = 10
"""Flagged regions that a report lists, largest first."""

SMALLEST_REGION = 8
"""Pixels; smaller ones count in the area and are not listed."""


@dataclass(frozen=True)
class Region:
    """A connected flagged region: its bounding box in pixels of the output, and how many pixels are flagged."""

    left: int
    top: int
    width: int
    height: int
    pixels: int


@dataclass(frozen=True, eq=False)
class Trust:
    """What comparing an input with its enhanced output shows; grey levels are of 0-255, output minus input.

    Attributes:
        score: one number for the image, 0 to 1: ``supported`` times ``order``, a negative one counting as 0.
        supported: share of the output's edges, weighted by their height, that nothing in the input speaks against.
        order: is warmer still warmer? Kendall's rank correlation (τ) of the means of 8×8 blocks over those pairs that
            differ in the input by more than its noise: 1 all in the same order, 0 none or by chance, -1 all reversed.
        hallucination: ``[H, W]`` float32 in [0, 1], the size of the output: ``z² / (z² + 4²)``. Above 0.5 counts as
            possible hallucination.
        area: share of pixels above 0.5.
        regions: the largest connected regions of them.
        residual: ``[H, W]`` float32, output minus input, both in [0, 1].
        bias, deviation, largest: mean, standard deviation and largest absolute value of the residual.
        low_deviation, low_largest: standard deviation and largest absolute value of its low frequencies, the mean
            taken off.
        gain: contrast of the input's edges over the output's; below 1 the output has more contrast.
        blur: deviation in pixels of the blur that the output has less of than the input, one of :data:`BLURS` times
            the factor of enlargement.
        before, after: what is measured in the input and in the output alone.
    """

    score: float
    supported: float
    order: float
    hallucination: np.ndarray
    area: float
    regions: tuple[Region, ...]
    residual: np.ndarray
    bias: float
    deviation: float
    largest: float
    low_deviation: float
    low_largest: float
    gain: float
    blur: float
    before: Measurement
    after: Measurement

    def to_dict(self) -> dict[str, Any]:
        """The numbers, for JSON; maps are left out."""
        height, width = self.hallucination.shape
        return {
            "score": round(self.score, 4),
            "size": [width, height],
            "edges": {
                "supported": round(self.supported, 4),
                "possible_hallucination_area": round(self.area, 6),
                "regions": [asdict(region) for region in self.regions],
            },
            "order_kept": round(self.order, 4),
            "change_in_grey_levels": {
                "bias": round(self.bias, 2),
                "deviation": round(self.deviation, 2),
                "largest": round(self.largest, 1),
                "low_frequencies": {"deviation": round(self.low_deviation, 2), "largest": round(self.low_largest, 1)},
            },
            "fit": {"input_contrast_over_output": round(self.gain, 3), "input_blur_pixels": self.blur},
            "input": {name: round(value, 2) for name, value in asdict(self.before).items()},
            "output": {name: round(value, 2) for name, value in asdict(self.after).items()},
        }

    def summary(self) -> str:
        """A few lines for a human."""
        lines = [f"trust {self.score:.2f}: {self.supported:.1%} of the edges supported, thermal order {self.order:.2f}"]
        found = f"possible hallucination: {self.area:.2%} of the area"
        if self.regions:
            first = self.regions[0]
            found += f", the largest region {first.width}×{first.height} pixels at ({first.left}, {first.top})"
        lines.append(found)
        lines.append(
            f"change in grey levels of 255: mean {self.bias:+.1f}, deviation {self.deviation:.1f}, largest "
            f"{self.largest:.0f}; of its low frequencies {self.low_deviation:.1f} and {self.low_largest:.0f}"
        )
        contrast = f"{1 / self.gain:.2f} times the input's" if self.gain > 0.01 else "nothing the input explains"
        lines.append(f"contrast of the output's edges: {contrast}; the input is blurred by {self.blur:g} pixels more")
        for name, found in (("input", self.before), ("output", self.after)):
            lines.append(
                f"{name}: noise {found.noise:.1f}, stripes {found.columns:.1f} (columns) {found.rows:.1f} (rows), "
                f"greys {found.low:.0f}-{found.high:.0f}"
            )
        return "\n".join(lines)


def compare(before: Tensor, after: Tensor) -> Trust:
    """Compare an image with its enhanced version.

    Args:
        before: the input, ``[H, W, C]`` in [0, 1]; colour is read as grey.
        after: the output, ``[h, w, C]`` in [0, 1] of any size with the same proportions; the input is brought to it.

    Raises:
        ValueError: shapes or values that are not as expected, or proportions that differ.
    """
    [before], [after] = check_images(before), check_images(after)
    check_pair(before, after)
    source = to_grey(before[None]).float().cpu()  # [1, 1, H, W]
    output = to_grey(after[None]).float().cpu()[0, 0]
    noise = measure(source[0, 0])
    factor = max(1.0, output.shape[0] / source.shape[-2])
    if source.shape[-2:] != output.shape:
        source = interpolate(source, output.shape, mode="bilinear", align_corners=False, antialias=True)
    source = source[0, 0]
    doubt, heights, gain, blur = _edge_test(source.numpy(), output.numpy(), factor)
    weight = float(heights.sum())
    supported = 1 - float((heights * doubt).sum()) / weight if weight > 0 else 1.0
    order = _kept_order(source.numpy(), output.numpy(), max(noise.noise, 1.0) / 255)
    flagged = doubt > 0.5
    residual = output - source
    levels = residual * 255
    low = lowpass(levels[..., None], CUTOFF * factor)[..., 0]
    low = low - low.mean()
    return Trust(
        score=supported * max(order, 0.0),
        supported=supported,
        order=order,
        hallucination=doubt,
        area=float(flagged.mean()),
        regions=_regions(flagged),
        residual=residual.numpy(),
        bias=levels.mean().item(),
        deviation=levels.std(correction=0).item(),
        largest=levels.abs().max().item(),
        low_deviation=low.std(correction=0).item(),
        low_largest=low.abs().max().item(),
        gain=gain,
        blur=blur,
        before=noise,
        after=measure(output),
    )


def check_pair(before: Tensor, after: Tensor) -> None:
    """Raise ValueError unless two pictures ``[H, W, C]`` have the same proportions, to a pixel of the smaller one."""
    (height, width), (tall, wide) = before.shape[:2], after.shape[:2]
    if abs(height * wide - width * tall) > max(height, width, tall, wide):
        raise ValueError(
            f"input {width}×{height} and output {wide}×{tall} have different proportions: compare an image with its "
            "own enhanced version, not cropped or turned"
        )


# --- the test --------------------------------------------------------------------------------------------------------


def _edge_test(source: np.ndarray, output: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray, float, float]:
    """The hallucination map, the heights of the output's edges (0 where too weak to look at), gain and blur."""
    doubt = np.zeros_like(output)
    heights = np.zeros_like(output)
    for scale in (scale * factor for scale in SCALES):
        source_detail, output_detail = _detail(source, scale), _detail(output, scale)
        if scale == SCALES[0] * factor:
            gain, blur = _fit(source_detail, output_detail, scale, factor)
        found = _gradients(source_detail, scale)
        sharp = _gradients(output_detail, scale)
        expected = _gradients(output_detail, np.hypot(scale, blur)) if blur else sharp.copy()
        least = max(gain, _least_gain(found, expected))
        expected *= least
        sigma = _deviations(found - expected, scale)
        weighted = expected / sigma**2
        strength = (weighted * expected).sum(0)  # (|a·g|_σ)²
        z = (weighted * (SUPPORT * expected - found)).sum(0) / np.sqrt(strength + 1e-12)
        height = np.hypot(*sharp) * (scale * np.sqrt(2 * np.pi) * 255)  # of an ideal step with that gradient
        # Beside a strong edge lie its tails, and the halo that taking off slow changes makes: they are not edges.
        strongest = maximum_filter(height, size=2 * round(4 * scale) + 1)
        visible = (height / np.maximum(VISIBLE, strongest / 4) - 0.5).clip(0, 1)
        z = z.clip(0) * visible
        np.maximum(doubt, z**2 / (z**2 + DOUBT**2), out=doubt)
        np.maximum(heights, height * visible, out=heights)
    return doubt.astype(np.float32), heights, gain, blur


def _detail(image: np.ndarray, scale: float) -> np.ndarray:
    """The image without what changes slowly at this scale."""
    return image - gaussian_filter(image, 6 * scale, mode="nearest", truncate=3)


def _gradients(image: np.ndarray, sigma: float) -> np.ndarray:
    """``[2, H, W]``: Gaussian derivatives along x and along y."""
    return np.stack([gaussian_filter(image, sigma, order=order, mode="nearest") for order in ((0, 1), (1, 0))])


def _fit(source: np.ndarray, output: np.ndarray, scale: float, factor: float) -> tuple[float, float]:
    """Gain and blur by which the output's gradients are the input's: robust regression, for each blur on the list.

    The weights of Cauchy's distribution keep edges that only one of the images has from counting.
    """
    windows = _windows(*source.shape)

    def gradients(image: np.ndarray, sigma: float) -> np.ndarray:
        step = 2 if min(image.shape) > 200 else 1  # neighbours say much the same
        parts = [_gradients(image[window], sigma)[:, ::step, ::step].reshape(2, -1) for window in windows]
        return np.concatenate(parts, axis=1)

    found = gradients(source, scale)
    before_fit = _deviations(found, scale)
    best = (np.inf, 1.0, 0.0)
    for blur in (blur * factor for blur in BLURS):
        given = gradients(output, np.hypot(scale, blur))
        sigma, weights, gain = before_fit, np.ones_like(given[0]), 1.0
        for _ in range(4):
            power = (weights * (given**2 / sigma**2).sum(0)).sum()
            if power == 0:
                return 0.0, 0.0
            gain = float((weights * (given * found / sigma**2).sum(0)).sum() / power)
            rest = found - gain * given
            sigma = _deviations(rest, scale)
            weights = 1 / (1 + (rest**2 / sigma**2).sum(0) / 9)
        cost = float(np.log1p((rest**2 / before_fit**2).sum(0) / 9).mean())
        if cost < best[0] - 1e-4:  # of two that are as good, the smaller blur
            best = (cost, gain, blur)
    return best[1:]


def _windows(height: int, width: int) -> list[tuple[slice, slice]]:
    """Parts of an image that stand for all of it: nine, evenly spread, of one above FIT_PIXELS; else the whole."""
    if height * width <= FIT_PIXELS:
        return [(slice(None), slice(None))]
    share = np.sqrt(FIT_PIXELS / (height * width)) / 3
    starts = ((1 / 6 - share / 2), (1 / 2 - share / 2), (5 / 6 - share / 2))
    rows, columns = (
        [slice(round(start * side), round((start + share) * side)) for start in starts] for side in (height, width)
    )
    return [(row, column) for row in rows for column in columns]


def _deviations(gradients: np.ndarray, scale: float) -> np.ndarray:
    """Robust deviation of each component of ``[2, …]``, at least that of 8-bit rounding, as ``[2, 1, …]``."""
    sample = gradients.reshape(2, -1)[:, ::7]
    deviation = 1.4826 * np.median(np.abs(sample - np.median(sample, axis=1, keepdims=True)), axis=1)
    rounding = 1 / 255 / np.sqrt(12) / (scale**2 * np.sqrt(8 * np.pi))
    return np.hypot(deviation, rounding).reshape(2, *[1] * (gradients.ndim - 1))


def _least_gain(found: np.ndarray, expected: np.ndarray) -> float:
    """Half the ratio of both images' edge contrast: the gain of an output whose edges are not the input's at all.

    Noise is taken off: it is what the robust deviation tells, edges are what stands out from it.
    """
    noise = (_deviations(found, 1.0) ** 2).sum()
    edges = max(float((found**2).sum(0).mean() - noise), 0.0)
    power = float((expected**2).sum(0).mean())
    return 0.5 * np.sqrt(edges / power) if power > 0 else 0.0


def _kept_order(source: np.ndarray, output: np.ndarray, noise: float) -> float:
    """Kendall's τ of the blocks, from pairs drawn at random, the same for all images of a size."""
    first, second = (_blocks(image) for image in (source, output))
    pairs = np.random.default_rng(0).integers(0, first.size, (2, 100_000))
    before, after = (blocks[pairs[0]] - blocks[pairs[1]] for blocks in (first, second))
    told_apart = np.abs(before) > 2 * noise / BLOCK * np.sqrt(2)
    if not told_apart.any():
        return 1.0
    return float((np.sign(before) * np.sign(after))[told_apart].mean())


def _blocks(image: np.ndarray) -> np.ndarray:
    """Means of whole 8×8 blocks, flat; of single pixels where the image is smaller than a block."""
    height, width = image.shape
    if min(height, width) < BLOCK:
        return image.ravel()
    rows, columns = height // BLOCK, width // BLOCK
    cut = image[: rows * BLOCK, : columns * BLOCK]
    return cut.reshape(rows, BLOCK, columns, BLOCK).mean(axis=(1, 3)).ravel()


def _regions(flagged: np.ndarray) -> tuple[Region, ...]:
    labels, count = label(flagged, structure=np.ones((3, 3)))
    if count == 0:
        return ()
    pixels = sums(flagged, labels, np.arange(1, count + 1)).astype(int)
    boxes = find_objects(labels)
    regions = []
    for index in np.argsort(-pixels, kind="stable")[:REGIONS]:
        if pixels[index] < SMALLEST_REGION:
            break
        rows, columns = boxes[index]
        size = (columns.stop - columns.start, rows.stop - rows.start)
        regions.append(Region(columns.start, rows.start, *size, int(pixels[index])))
    return tuple(regions)
