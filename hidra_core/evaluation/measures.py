"""The metrics of each task: their names, which values are better, and how large an image they need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from . import metrics, perceptual
from .tasks import FUSION, Case, Task

Function = Callable[[np.ndarray, Case], float]


@dataclass(frozen=True)
class Metric:
    """A column of the tables.

    Attributes:
        key: name in the JSON and on the command line.
        title: name in the Markdown.
        higher_is_better: whether higher values are better; None where neither direction is.
        decimals: digits after the point in the Markdown.
        smallest_side: pixels that the smaller side of an image must have.
        function: ``(output [H, W] uint8, case) -> value``; None for scores that ``runner`` computes on whole sets, or
            all at once (fusion, dead pixels).
    """

    key: str
    title: str
    higher_is_better: bool | None
    decimals: int = 2
    smallest_side: int = 1
    function: Function | None = None


def _with_reference(function: Callable[[np.ndarray, np.ndarray], float]) -> Function:
    return lambda output, case: function(output, metrics.to_8_bit(case.partner("reference")))


def column_noise_reduction(output: np.ndarray, case: Case) -> float:
    """How much of the input's column-noise energy has been removed, in per cent.

    Args:
        output: the enhanced image, ``[H, W]`` uint8.
        case: with the input.
    """
    before = metrics.column_noise_energy(metrics.to_8_bit(case.image))
    return 100 * (1 - metrics.column_noise_energy(output) / before) if before > 0 else 0.0


def column_noise_reduction_at_equal_contrast(output: np.ndarray, case: Case) -> float:
    """The same, after the output is scaled to the contrast of the input's low frequencies.

    An image that is merely flatter has weaker stripes too; here that does not count.

    Args:
        output: the enhanced image, ``[H, W]`` uint8.
        case: with the input.
    """
    image = metrics.to_8_bit(case.image)
    before = metrics.column_noise_energy(image)
    spread_in, spread_out = (
        gaussian_filter(metrics.as_float(part), metrics.LOW_FREQUENCY_SIGMA, mode="reflect").std()
        for part in (image, output)
    )
    if before == 0 or spread_out == 0:
        return 0.0
    return 100 * (1 - (spread_in / spread_out) ** 2 * metrics.column_noise_energy(output) / before)


FULL_REFERENCE = (
    Metric("psnr", "PSNR dB", True, function=_with_reference(metrics.psnr)),
    Metric("psnr_affine", "PSNR dB after gain and offset", True, function=_with_reference(metrics.psnr_affine)),
    Metric("ssim", "SSIM", True, 3, metrics.SSIM_SIDE, _with_reference(metrics.ssim)),
    Metric("ms_ssim", "MS-SSIM", True, 3, metrics.MS_SSIM_SIDE, _with_reference(metrics.ms_ssim)),
)
NO_REFERENCE = (
    Metric("column_noise", "column noise", False, 1, function=lambda o, _: metrics.column_noise_energy(o)),
    Metric("column_noise_reduction", "column noise down %", True, 1, function=column_noise_reduction),
    Metric(
        "column_noise_reduction_at_equal_contrast",
        "the same at equal contrast %",
        True,
        1,
        function=column_noise_reduction_at_equal_contrast,
    ),
    Metric("row_noise", "row noise", False, 1, function=lambda o, _: metrics.row_noise_energy(o)),
    Metric(
        "low_frequency_correlation",
        "low-frequency correlation",
        True,
        3,
        function=lambda o, case: metrics.low_frequency_correlation(o, metrics.to_8_bit(case.image)),
    ),
)
DEAD = (
    Metric("dead_error", "error at dead pixels", False, 1),
    Metric("dead_error_ratio", "the same / median of neighbours", False),
    Metric("dead_repaired", "dead pixels repaired %", True, 1),
    Metric("dead_found", "found %", True, 1),
    Metric("dead_found_showing", "found of those that show %", True, 1),
    Metric("dead_missed", "missed", False, 1),
    Metric("dead_false", "false %", False, 4),
)
"""The scores of ``dead.scores``."""

DEAD_PIXELS = "dead_pixels"
"""All of ``DEAD`` on the command line."""

# MANIQA enlarges images below its own 224 pixels, NIQE needs several of its blocks of 96, LPIPS AlexNet's strides.
PERCEPTUAL = {
    "lpips": Metric("lpips", "LPIPS", False, 3, 64),
    "dists": Metric("dists", "DISTS", False, 3, 32),
    "maniqa": Metric("maniqa", "MANIQA", True, 3),
    "niqe": Metric("niqe", "NIQE", False, 2, 192),
    "fid": Metric("fid", "FID", False, 1),
}
SELECTABLE = (*(metric.key for metric in FULL_REFERENCE), *perceptual.NAMES, DEAD_PIXELS)
"""Keys of the metrics that a user can choose from."""


def fusion_metrics(mi_unit: str, vif_border: str) -> tuple[Metric, ...]:
    """The four scores of a fused image, against the original infrared image and against the enhanced one."""
    columns = {"mi": f"MI {mi_unit}", "scd": "SCD", "vif": f"VIF {vif_border}", "qabf": "Qabf"}
    against = {"": "", "_enhanced": " (enhanced IR)"}
    return tuple(
        Metric(key + suffix, title + note, True, 3)
        for suffix, note in against.items()
        for key, title in columns.items()
    )


def networks_for(task: Task) -> tuple[str, ...]:
    """The metrics with trained networks, of ``perceptual.NAMES``, that are meaningful for a task."""
    if task.name == FUSION:
        return ()
    return perceptual.NAMES if task.has_reference else perceptual.NO_REFERENCE


def choose(
    task: Task,
    keys: Sequence[str],
    networks: dict[str, perceptual.Measure],
    *,
    mi_unit: str = "bits",
    vif_border: str = "valid",
) -> tuple[list[Metric], dict[str, str]]:
    """The metrics that a task is measured with.

    Args:
        task: what is measured.
        keys: the metrics asked for, of ``SELECTABLE``.
        networks: the metrics with trained networks that can be measured, from ``perceptual.load``.
        mi_unit: unit of MI in the fusion task, see ``fusion.mutual_information``.
        vif_border: border of VIF in the fusion task, see ``fusion.vif``.

    Returns:
        The metrics, and for those that do not work on the task's images the reason by key.
    """
    if task.name == FUSION:
        wanted = list(fusion_metrics(mi_unit, vif_border))
    else:
        wanted = [m for m in FULL_REFERENCE if m.key in keys] if task.has_reference else list(NO_REFERENCE)
        for key in networks_for(task):
            if key in networks:
                function = None if key in perceptual.SETS else _network(key, networks[key])
                wanted.append(replace(PERCEPTUAL[key], function=function))
        if DEAD_PIXELS in keys and task.has_dead_pixels:
            wanted += DEAD
    smallest = min(task.inputs.sizes, key=lambda name: min(task.inputs.sizes[name]))
    height, width = task.inputs.sizes[smallest]
    fitting = [metric for metric in wanted if metric.smallest_side <= min(height, width)]
    reasons = {
        metric.key: f"{smallest} has {width}×{height} pixels; {metric.smallest_side} per side are needed"
        for metric in wanted
        if metric not in fitting
    }
    return fitting, reasons


def _network(key: str, network: perceptual.Measure) -> Function:
    if key in perceptual.FULL_REFERENCE:
        return _with_reference(network)
    return lambda output, _: network(output)
