"""What radiometric mode did, in counts and in kelvin."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..sensor import SensorCorrection, joined

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK = 32
"""Side in pixels of the blocks whose means stand for the low frequencies in the report."""


@dataclass(frozen=True)
class Deviation:
    """How far an output is from its input, in one unit.

    Attributes:
        mean: signed mean, the bias.
        mean_absolute: mean of the absolute values.
        largest: the value of largest absolute size, with its sign.
        row: where that is, in pixels of the input (for means of blocks the first pixel of the block).
        column: the same.
    """

    mean: float
    mean_absolute: float
    largest: float
    row: int
    column: int


@dataclass(frozen=True)
class AnchorReport:
    """What radiometric mode did, in counts and, where the relation is known, in kelvin.

    Attributes:
        noise: standard deviation of the pixel noise in the input, median over the image, counts.
        columns: standard deviation of the offsets that were taken off the columns as stripes, counts.
        rows: the same of the rows.
        shading: from the lowest to the highest value of the field that was taken off as shading, counts.
        dead_pixels: number of single defective pixels that were replaced.
        residual: output minus input, pixel by pixel, counts.
        low_frequency: means of 32x32 blocks of the output minus those of the input without dead pixels, stripes and
            shading, counts.
        residual_kelvin: the residual in kelvin, or None.
        low_frequency_kelvin: the low frequencies in kelvin, or None.
        sensor: what the sensor stage took off before, which is counted in all of the above: the sizes of
            :meth:`~hidra_core.sensor.SensorCorrection.to_dict` in counts, and the same as ``kelvin`` where the relation
            is known; None where it did not run.
    """

    noise: float
    columns: float
    rows: float
    shading: float
    dead_pixels: int
    residual: Deviation
    low_frequency: Deviation
    residual_kelvin: Deviation | None = None
    low_frequency_kelvin: Deviation | None = None
    sensor: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report in plain JSON types, without what the sensor stage did where it did not run."""
        record = asdict(self)
        return record if self.sensor is not None else {key: value for key, value in record.items() if key != "sensor"}

    def moved(self, down: int, right: int) -> AnchorReport:
        """The report on a part of a file, with its places counted from the first pixel of the file."""
        places = {
            name: replace(deviation, row=deviation.row + down, column=deviation.column + right)
            for name in ("residual", "low_frequency", "residual_kelvin", "low_frequency_kelvin")
            if (deviation := getattr(self, name)) is not None
        }
        return replace(self, **places)

    def summary(self) -> str:
        """One line for a human."""
        residual, blocks, unit = self.residual, self.low_frequency, "counts"
        if self.residual_kelvin is not None and self.low_frequency_kelvin is not None:
            residual, blocks, unit = self.residual_kelvin, self.low_frequency_kelvin, "K"
        return (
            f"noise {self.noise:.1f}, stripes {self.columns:.1f} (columns) {self.rows:.1f} (rows), shading "
            f"{self.shading:.1f} counts, {self.dead_pixels} dead pixels; change of temperature: bias "
            f"{residual.mean:+.3f} {unit}, mean {residual.mean_absolute:.3f} {unit}, largest {residual.largest:+.3f} "
            f"{unit} at row {residual.row}, column {residual.column}; of {BLOCK}x{BLOCK} means: largest "
            f"{blocks.largest:+.3f} {unit}{self._of_sensor()}"
        )

    def _of_sensor(self) -> str:
        """The share of the sensor stage in the stripes and shading above, in words."""
        if self.sensor is None:
            return ""
        sizes, unit = self.sensor.get("kelvin", self.sensor), "K" if "kelvin" in self.sensor else "counts"
        fields = ", ".join(f"{name} {sizes[name]:.2f} {unit}" for name in ("columns", "rows", "shading", "pattern"))
        return f"; of it by the sensor stage: {self.sensor['dead_pixels']} dead pixels, {fields}"


def report_of(
    planes: tuple[np.ndarray, np.ndarray, np.ndarray],
    sigma: float,
    found: SensorCorrection,
    valid: np.ndarray | None,
    kelvin: Callable[[np.ndarray], np.ndarray] | None,
    measured: tuple[np.ndarray, SensorCorrection] | None,
) -> AnchorReport:
    """The report on (result, input, input without what was found), all in counts and of the input's size."""
    native, original, data = planes
    sensor = None
    if measured is not None:
        original, taken = measured[0].astype(np.float64), measured[1]
        sensor = taken.to_dict()
        found = joined(taken, found)
    sizes = found.sizes()
    report = AnchorReport(
        noise=sigma,
        columns=sizes["columns"],
        rows=sizes["rows"],
        shading=sizes["shading"],
        dead_pixels=int(sizes["dead_pixels"]),
        residual=_deviation(native - original, valid),
        low_frequency=_block_deviation(native - data, valid),
        sensor=sensor,
    )
    if kelvin is None:
        return report
    counted = slice(None) if valid is None else valid
    in_kelvin = [kelvin(plane) for plane in (native, original, data)]
    if not all(np.isfinite(plane[counted]).all() for plane in in_kelvin):
        return report
    if measured is not None:
        report = replace(report, sensor=with_kelvin(measured[1], kelvin, float(np.median(original[counted]))))
    return replace(
        report,
        residual_kelvin=_deviation(in_kelvin[0] - in_kelvin[1], valid),
        low_frequency_kelvin=_block_deviation(in_kelvin[0] - in_kelvin[2], valid),
    )


def with_kelvin(
    correction: SensorCorrection, kelvin: Callable[[np.ndarray], np.ndarray], count: float
) -> dict[str, Any]:
    """What the sensor stage took off in plain JSON types, in counts and as ``kelvin`` too.

    Args:
        correction: in counts.
        kelvin: from counts to kelvin.
        count: the count at which the kelvin of one more are taken, such as the scene's median.
    """
    cold, warm = kelvin(np.array([count - correction.level, count + correction.level]))
    scale = float(warm - cold) / (2 * correction.level)
    sizes = correction.sizes()
    in_kelvin = {name: sizes[name] * scale for name in ("columns", "rows", "shading", "pattern")}
    return {**correction.to_dict(), **({"kelvin": in_kelvin} if np.isfinite(scale) else {})}


def _deviation(difference: np.ndarray, valid: np.ndarray | None, step: int = 1) -> Deviation:
    counted = difference if valid is None else np.where(valid, difference, 0)
    picked = difference if valid is None else difference[valid]
    row, column = np.unravel_index(np.abs(counted).argmax(), counted.shape)
    return Deviation(
        mean=float(picked.mean()),
        mean_absolute=float(np.abs(picked).mean()),
        largest=float(counted[row, column]),
        row=int(row) * step,
        column=int(column) * step,
    )


def _block_deviation(difference: np.ndarray, valid: np.ndarray | None) -> Deviation:
    """The deviation of the means of ``BLOCK`` x ``BLOCK`` pixels; those at the right and lower edge may be smaller."""
    rows, columns = (np.arange(0, side, BLOCK) for side in difference.shape)

    def sums(plane: np.ndarray) -> np.ndarray:
        return np.add.reduceat(np.add.reduceat(plane, rows, 0), columns, 1)

    if valid is None:
        sizes = [np.diff([*starts, side]) for starts, side in zip((rows, columns), difference.shape, strict=True)]
        return _deviation(sums(difference) / np.outer(*sizes), None, BLOCK)
    counted = sums(valid.astype(np.float64))
    return _deviation(sums(np.where(valid, difference, 0)) / np.maximum(counted, 1), counted > 0, BLOCK)
