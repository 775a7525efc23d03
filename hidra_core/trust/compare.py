"""How far an enhanced image can be trusted: what was changed, and which of its edges the input does not support.

The test for possible hallucination asks at every edge of the output whether the input has it too. An enhanced edge is
rightly sharper and stronger than the input's, and the input's may be hard to see in noise and stripes; so the output
is brought down to the input first. One contrast gain ``a`` and one Gaussian blur of deviation ``b`` are fitted that
turn the output's gradients into the input's::

    grad(G_s * input) = a · grad(G_s * G_b * output) + noise

Wide changes of brightness, as in shading, are taken off both images before. The fit uses the finer of two scales ``s``,
the test uses both. The deviation ``d`` of the noise is measured on the residual of the fit, separately across and along
columns, so that stripes weaken only the evidence in their own direction. Where the output has the gradient ``g`` after
the blur, the input should have ``a·g``. The test is whether it has less than half of that in the direction of ``g``, in
deviations of the noise::

    z = <a·g/2 - grad(input), g> / |g|          with <u, v> = sum over k of u_k·v_k / d_k²

Edges that noise could hide in the input have a small ``z``: they cannot be verified, but nothing speaks against them.
Invented edges that a clear view of the input contradicts have a large one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from scipy.ndimage import find_objects, gaussian_filter, label, maximum_filter
from scipy.ndimage import sum as sums
from torch.nn.functional import interpolate

from ..checkpoints import checkpoint
from ..images import check_images, to_grey
from ..images.blend import CUTOFF, lowpass
from ..images.smoothing import gaussian
from ..vectors import Measurement, measure

if TYPE_CHECKING:
    from torch import Tensor

SCALES = (1.5, 3.0)
"""Standard deviations in pixels of the Gaussian derivatives that find edges."""

BLURS = (0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0)
"""Standard deviations in pixels of the blurs that are tried between output and input."""

FIT_PIXELS = 1_000_000
"""Gain and blur are fitted on a part of this size of larger images."""

SUPPORT = 0.5
"""Share of an edge's expected contrast that the input must have."""

DOUBT = 4.0
"""``z`` at which the hallucination map is 0.5: four deviations of the noise."""

VISIBLE = 4.0
"""Height in grey levels (0-255) of the weakest step in the output that counts as an edge."""

BLOCK = 8
"""Side in pixels of the blocks whose order from cold to warm is compared."""

REGIONS = 10
"""Flagged regions that a report lists, largest first."""

SMALLEST_REGION = 8
"""Pixels of the smallest region that is listed; smaller ones still count in the area."""

_NORMAL = 1.4826  # from the median absolute deviation to the standard deviation of a normal distribution


@dataclass(frozen=True)
class Region:
    """A connected flagged region, in pixels of the output.

    Attributes:
        left: first column of its bounding box.
        top: first row.
        width: of the box.
        height: of the box.
        pixels: how many pixels in it are flagged.
    """

    left: int
    top: int
    width: int
    height: int
    pixels: int


@dataclass(frozen=True, eq=False)
class Trust:
    """What the comparison of an input with its enhanced output shows; changes are output minus input, in levels of 255.

    Attributes:
        score: one number for the image, 0 to 1: ``supported`` times ``order``, where a negative order counts as 0.
        supported: share of the output's edges, weighted by their height, that nothing in the input speaks against.
        order: is warmer still warmer? Kendall's rank correlation (tau) of the means of 8×8 blocks over those pairs that
            differ in the input by more than its noise: 1 all in the same order, 0 none or by chance, -1 all reversed.
        hallucination: ``[H, W]`` float32 in [0, 1], the size of the output: ``z² / (z² + 4²)``. Above 0.5 counts as
            possible hallucination.
        area: share of pixels above 0.5.
        regions: the largest connected regions of them.
        residual: ``[H, W]`` float32, output minus input, both in [0, 1].
        bias: mean of the residual.
        deviation: its standard deviation.
        largest: its largest absolute value.
        low_deviation: standard deviation of its low frequencies.
        low_largest: largest absolute value of its low frequencies, without their mean.
        gain: contrast of the input's edges over the output's; below 1 the output has more contrast.
        blur: standard deviation in pixels of the blur that the input has and the output has not; one of :data:`BLURS`
            times the factor of enlargement.
        before: what is measured in the input alone.
        after: what is measured in the output alone.
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
        """The numbers without the maps, in plain JSON types."""
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
        doubt = f"possible hallucination: {self.area:.2%} of the area"
        if self.regions:
            first = self.regions[0]
            doubt += f", the largest region {first.width}×{first.height} pixels at ({first.left}, {first.top})"
        lines.append(doubt)
        lines.append(
            f"change in grey levels of 255: mean {self.bias:+.1f}, deviation {self.deviation:.1f}, largest "
            f"{self.largest:.0f}; of its low frequencies {self.low_deviation:.1f} and {self.low_largest:.0f}"
        )
        contrast = f"{1 / self.gain:.2f} times the input's" if self.gain > 0.01 else "nothing the input explains"
        blur = f"; the input is blurred by {self.blur:g} pixels more" if self.blur else ""
        lines.append(f"contrast of the output's edges: {contrast}{blur}")
        lines += [
            f"{name}: noise {own.noise:.1f}, stripes {own.columns:.1f} (columns) {own.rows:.1f} (rows), "
            f"greys {own.low:.0f}-{own.high:.0f}"
            for name, own in (("input", self.before), ("output", self.after))
        ]
        return "\n".join(lines)


def compare(before: Tensor, after: Tensor) -> Trust:
    """Compare an image with its enhanced version.

    Args:
        before: the input, ``[H, W, C]`` in [0, 1]; colour is read as grey.
        after: the output, ``[h, w, C]`` in [0, 1], of any size with the same proportions; the input is resized to it.

    Raises:
        ValueError: shapes or values that are not as expected, or proportions that differ.
    """
    [before], [after] = check_images(before), check_images(after)
    check_pair(before, after)
    source = to_grey(before[None]).float().cpu()  # [1, 1, H, W]
    output = to_grey(after[None]).float().cpu()[0, 0]
    noise = measure(source[0, 0])
    checkpoint()
    factor = max(1.0, output.shape[0] / source.shape[-2])
    if source.shape[-2:] != output.shape:
        source = interpolate(source, output.shape, mode="bilinear", align_corners=False, antialias=True)
    source = source[0, 0]
    checkpoint()
    doubt, heights, gain, blur = _edge_test(source.numpy(), output.numpy(), factor)
    weight = float(heights.sum())
    supported = 1 - float((heights * doubt).sum()) / weight if weight > 0 else 1.0
    checkpoint()
    order = _kept_order(source.numpy(), output.numpy(), max(noise.noise, 1.0) / 255)
    flagged = doubt > 0.5
    residual = output - source
    levels = residual * 255
    low = lowpass(levels[..., None], CUTOFF * factor)[..., 0]
    low = low - low.mean()
    checkpoint()
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
    """Raise ValueError unless two images ``[H, W, C]`` have the same proportions, to a pixel of the smaller one."""
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
    scales = [scale * factor for scale in SCALES]
    gain, blur = _fit(_detail(source, scales[0]), _detail(output, scales[0]), scales[0], factor)
    for scale in scales:
        actual = _gradients(_detail(source, scale), scale)
        output_detail = _detail(output, scale)
        sharp = _gradients(output_detail, scale)
        expected = _gradients(output_detail, np.hypot(scale, blur)) if blur else sharp.copy()
        expected *= max(gain, _least_gain(actual, expected))
        sigma = _deviations(actual - expected, scale)
        checkpoint()
        weighted = expected / sigma**2
        strength = (weighted * expected).sum(0)  # |a·g|²
        z = (weighted * (SUPPORT * expected - actual)).sum(0) / np.sqrt(strength + 1e-12)
        checkpoint()
        height = np.hypot(*sharp) * (scale * np.sqrt(2 * np.pi) * 255)  # of an ideal step with that gradient
        # Next to a strong edge lie its tails, and the halo that taking off slow changes makes: they are not edges.
        strongest = maximum_filter(height, size=2 * round(4 * scale) + 1)
        checkpoint()
        visible = (height / np.maximum(VISIBLE, strongest / 4) - 0.5).clip(0, 1)
        z = z.clip(0) * visible
        np.maximum(doubt, z**2 / (z**2 + DOUBT**2), out=doubt)
        np.maximum(heights, height * visible, out=heights)
    return doubt.astype(np.float32), heights, gain, blur


def _detail(image: np.ndarray, scale: float) -> np.ndarray:
    """The image without its slow changes at this scale."""
    return image - gaussian(image, 6 * scale, mode="nearest", truncate=3)


def _gradients(image: np.ndarray, sigma: float) -> np.ndarray:
    """``[2, H, W]``: Gaussian derivatives along x and along y."""
    orders: Any = ((0, 1), (1, 0))  # one order per axis, which SciPy's annotations do not know
    both = []
    for order in orders:
        checkpoint()
        both.append(gaussian_filter(image, sigma, order=order, mode="nearest"))
    return np.stack(both)


def _fit(source: np.ndarray, output: np.ndarray, scale: float, factor: float) -> tuple[float, float]:
    """Gain and blur that turn the output's gradients into the input's: one robust regression for each of the blurs.

    Weights after Cauchy's distribution keep edges that only one of the images has from counting.
    """
    windows = _windows(*source.shape)

    def gradients(image: np.ndarray, sigma: float) -> np.ndarray:
        step = 2 if min(image.shape) > 200 else 1  # neighbours say much the same
        parts = [_gradients(image[window], sigma)[:, ::step, ::step].reshape(2, -1) for window in windows]
        return np.concatenate(parts, axis=1)

    actual = gradients(source, scale)
    before_fit = _deviations(actual, scale)
    least, best = np.inf, (1.0, 0.0)
    for blur in (blur * factor for blur in BLURS):
        checkpoint()
        given = gradients(output, np.hypot(scale, blur))
        sigma, weights, gain, residual = before_fit, np.ones_like(given[0]), 1.0, actual
        for _ in range(4):
            power = (weights * (given**2 / sigma**2).sum(0)).sum()
            if power == 0:
                return 0.0, 0.0
            gain = float((weights * (given * actual / sigma**2).sum(0)).sum() / power)
            residual = actual - gain * given
            sigma = _deviations(residual, scale)
            weights = 1 / (1 + (residual**2 / sigma**2).sum(0) / 9)
        cost = float(np.log1p((residual**2 / before_fit**2).sum(0) / 9).mean())
        if cost < least - 1e-4:  # of two that are equally good, the smaller blur
            least, best = cost, (gain, blur)
    return best


def _windows(height: int, width: int) -> list[tuple[slice, slice]]:
    """The whole image, or above FIT_PIXELS nine parts of it, evenly spread."""
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
    deviation = _NORMAL * np.median(np.abs(sample - np.median(sample, axis=1, keepdims=True)), axis=1)
    rounding = 1 / 255 / np.sqrt(12) / (scale**2 * np.sqrt(8 * np.pi))
    return np.hypot(deviation, rounding).reshape(2, *[1] * (gradients.ndim - 1))


def _least_gain(actual: np.ndarray, expected: np.ndarray) -> float:
    """Half the ratio of both images' edge contrast: the gain of an output that shares no edge with the input.

    The power of the noise, by the robust deviation, is taken off that of the gradients: the rest is the edges'.
    """
    noise = (_deviations(actual, 1.0) ** 2).sum()
    edges = max(float((actual**2).sum(0).mean() - noise), 0.0)
    power = float((expected**2).sum(0).mean())
    return 0.5 * np.sqrt(edges / power) if power > 0 else 0.0


def _kept_order(source: np.ndarray, output: np.ndarray, noise: float) -> float:
    """Kendall's tau of the blocks, from pairs drawn at random, the same for all images of a size."""
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
    whole = image[: rows * BLOCK, : columns * BLOCK]
    return whole.reshape(rows, BLOCK, columns, BLOCK).mean(axis=(1, 3)).ravel()


def _regions(flagged: np.ndarray) -> tuple[Region, ...]:
    checkpoint()
    labels, count = cast("tuple[np.ndarray, int]", label(flagged, structure=np.ones((3, 3))))
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
