"""What the sensor did to one frame, estimated from this frame alone and undone before any network sees it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, uniform_filter

from ..checkpoints import checkpoint, checkpoints_in_networks
from .defects import MANY, find_dead, replaced
from .networks import sensor_networks
from .shading import estimate_shading
from .stripes import LEVEL_SPAN, smoothed

if TYPE_CHECKING:
    from .shading import ShadingNetwork
    from .stripes import StripeNetwork

Switch = Literal["auto", "on", "off"]
"""``auto`` takes off what is found beyond doubt, ``on`` the best estimate in any case."""

NOTHING, TOO_SMALL = "nothing found", "too small to tell the sensor from the scene"
"""What is said of a frame that stays as it is."""

STRIPES_SHOW = 0.6
"""Root mean square of the fine stripes, in grey levels, from which on ``auto`` takes them off."""

HALVES_AGREE = 0.5
"""Correlation of the fine stripes of one half of a frame with those of the other, from which on they are no scene: on
clean frames that seem striped it stays below in nine of ten, on frames with real stripes it is 0.9."""

BEYOND_SCENES, TALL = 3.0, 200
"""Root mean square of the fine stripes in grey levels, and pixels along them, from which on they are no scene without a
look at the halves: it takes time, and no clean frame of that size seems that striped."""

UNCORRECTED = 1.0
"""Standard deviation of the stripes, in grey levels, from which on a camera does not correct its frames."""

SHADING_SHOWS, SHADING_CLEAR = 12.0, 2.0
"""Range of the shading in grey levels, and its standard deviation in multiples of the doubt about it, from which on
``auto`` takes it off a frame that has stripes or defects too."""

SMALLEST_SHADED = 64
"""Pixels along the shorter side of the smallest frame whose shading is looked for."""

SMALLEST_STRIPED, FEWEST_JUDGED = 48, 64 * 48
"""Pixels along the shorter side of the smallest frame whose stripes ``auto`` looks for, and pixels of the smallest in
which it looks for defects: in smaller ones a part of the scene that runs through the frame, or a thing of one pixel, is
like them. Of 50 clean pictures reduced to 32x24 it took 13 for striped, at 80x60 one, by 0.03 of its deviation."""

_AROUND_CUT_OFF = 7  # side in pixels of the window that says whether an area is cut off
_CUT_OFF = 5e-4  # share of the pixels at the highest or lowest value from which on the camera cut them off there
_ROUGH = 25.0  # grey levels from its neighbours in the column from which on a pixel does not count


@dataclass(frozen=True)
class SensorSettings:
    """What the stage may undo.

    Attributes:
        dead_pixels: replace defective pixels.
        stripes: take off the offsets and gains of columns and rows.
        shading: take off the smooth field of lens and housing.

    Raises:
        ValueError: another word than ``auto``, ``on`` and ``off``.
    """

    dead_pixels: Switch = "auto"
    stripes: Switch = "auto"
    shading: Switch = "auto"

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value not in get_args(Switch):
                raise ValueError(f"{name} is {value!r}; expected one of {', '.join(get_args(Switch))}")

    @property
    def is_off(self) -> bool:
        """Whether nothing is undone."""
        return set(vars(self).values()) == {"off"}


@dataclass(frozen=True, eq=False)
class SensorCorrection:
    """What was found in one frame, in the unit of the image.

    It is undone in this order: the pattern and gain of single pixels, which a camera profile knows; the columns; the
    rows; shading; and at last the defective pixels, so that they are filled from neighbours that are right already.

    Attributes:
        dead: ``[H, W]`` bool, the pixels that are replaced.
        columns: offsets of the columns at the pivot, ``[W]``.
        rows: offsets of the rows at the pivot, ``[H]``.
        column_gains: what multiplies differences from the pivot in each column, ``[W]``; None: 1.
        row_gains: the same of the rows, ``[H]``.
        gain: the same of single pixels, ``[H, W]``; None: 1.
        pivot: the value that gains leave as it is.
        shading: ``[H, W]``; None: none.
        pattern: offsets of single pixels, ``[H, W]``; None: none.
        level: what one of 255 grey levels is in the unit of the image.
        limits: values at which the camera cuts off; areas there stay, as their true values are beyond. Infinite where
            it does not.
        too_small: whether something was not looked for because the frame is too small to tell it from the scene.
    """

    dead: np.ndarray
    columns: np.ndarray
    rows: np.ndarray
    column_gains: np.ndarray | None = None
    row_gains: np.ndarray | None = None
    gain: np.ndarray | None = None
    pivot: float = 0.0
    shading: np.ndarray | None = None
    pattern: np.ndarray | None = None
    level: float = 1.0
    limits: tuple[float, float] = (-np.inf, np.inf)
    too_small: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found, so that the image stays as it is."""
        fields = (self.column_gains, self.row_gains, self.gain, self.shading, self.pattern)
        return not (
            self.dead.any() or self.columns.any() or self.rows.any() or any(field is not None for field in fields)
        )

    def apply(self, image: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """Undo it.

        Args:
            image: ``[H, W]``.
            valid: ``[H, W]`` bool: the pixels that may serve to replace defective ones; None: all.

        Returns:
            ``[H, W]`` floats, of 32 bits where the image has them, else of 64; the image itself where nothing was
            found.
        """
        if self.is_empty:
            return image
        if image.dtype != np.float32:
            image = image.astype(np.float64)
        result = self._without(image, self.pattern, self.gain)
        result = self._without(result, self.columns, self.column_gains)
        rows = self.rows[:, None]
        result = self._without(result, rows, None if self.row_gains is None else self.row_gains[:, None])
        if result is not image:
            result = self._with_cut_off(image, result)
        if self.shading is not None:
            result = result - self.shading.astype(image.dtype)
        return replaced(result, self.dead, valid) if self.dead.any() else result

    def _with_cut_off(self, image: np.ndarray, result: np.ndarray) -> np.ndarray:
        """The result with the pixels that the camera cut off as they are, where most of their neighbours are cut off.

        There the scene is beyond the range, and the stripes are too. A single one among others is cut off because of
        its stripe, so that its true value is near theirs.
        """
        lowest, highest = self.limits
        cut_off = (image <= lowest) | (image >= highest)
        if not cut_off.any():
            return result
        share = uniform_filter(cut_off.astype(np.float32), _AROUND_CUT_OFF, mode="nearest")
        weight = ((share - 0.4) / 0.4).clip(0, 1).astype(image.dtype)
        return np.where(cut_off, weight * image + (1 - weight) * result, result)

    def _without(self, image: np.ndarray, offset: np.ndarray | None, gain: np.ndarray | None) -> np.ndarray:
        """An image without an offset and a gain about the pivot: one multiplication and one addition."""
        if offset is None or not (offset.any() or gain is not None):
            return image if gain is None else self._without(image, np.zeros(1), gain)
        if gain is None:
            return image - offset.astype(image.dtype)
        slope = 1 / gain
        constant = self.pivot - (offset + self.pivot) * slope
        return image * slope.astype(image.dtype) + constant.astype(image.dtype)

    @property
    def shading_alone(self) -> SensorCorrection:
        """The same with nothing but the shading."""
        nothing = SensorCorrection(
            np.zeros_like(self.dead), np.zeros_like(self.columns), np.zeros_like(self.rows), level=self.level
        )
        return replace(nothing, shading=self.shading)

    def sizes(self) -> dict[str, float]:
        """How much was found: a number of pixels, standard deviations, ranges, in the unit of the image."""
        gains = [gain.std() for gain in (self.column_gains, self.row_gains, self.gain) if gain is not None]
        return {
            "dead_pixels": int(self.dead.sum()),
            "columns": float(self.columns.std()),
            "rows": float(self.rows.std()),
            "gain": float(np.sqrt(np.square(gains).sum())),
            "pattern": 0.0 if self.pattern is None else float(self.pattern.std()),
            "shading": 0.0 if self.shading is None else float(np.ptp(self.shading)),
        }

    def to_dict(self) -> dict[str, Any]:
        """The sizes, in plain JSON types, with the size of a grey level."""
        return {**self.sizes(), "grey_level": self.level}

    def summary(self, unit: str = "grey levels", scale: float | None = None) -> str:
        """One line for a human: "212 dead pixels; columns 4.3 grey levels; shading 11".

        Args:
            unit: of the numbers.
            scale: what one of this unit is in the unit of the image; None: a grey level.
        """
        sizes, scale = self.sizes(), scale or self.level
        parts = []
        if count := int(sizes["dead_pixels"]):
            parts.append(f"{count} dead pixel{'s' if count > 1 else ''}")
        said = False
        for name in ("columns", "rows", "pattern", "shading"):
            if sizes[name]:
                parts.append(f"{name} {figure(sizes[name] / scale)}{'' if said else f' {unit}'}")
                said = True
        if sizes["gain"]:
            parts.append(f"gain {100 * sizes['gain']:.1f} %")
        return "; ".join(parts) or (TOO_SMALL if self.too_small else NOTHING)


def figure(value: float) -> str:
    """A size for a reader: two digits, or all before the point, never a power of ten for a large one."""
    return f"{value:.0f}" if abs(value) >= 99.5 else f"{value:.2g}"


@checkpoints_in_networks()
def undo_sensor(
    image: np.ndarray,
    settings: SensorSettings | None = None,
    *,
    valid: np.ndarray | None = None,
    level: float = 1.0,
) -> tuple[np.ndarray, SensorCorrection]:
    """Find and undo what the sensor did to a frame.

    The order of estimation: the worst defective pixels first, as a single one moves the mean of its column; then
    columns and rows, which hide weaker defects from their neighbours and whose sum looks like shading to a small view;
    then all defects, in the image without stripes; then shading. Columns and rows do not disturb one another: what is
    constant along a column is the same in every row.

    Args:
        image: ``[H, W]`` numbers in any unit.
        settings: what may be undone; all of it where it is found by default.
        valid: ``[H, W]`` bool: the pixels that are scene; None: all. The others have no influence, and stay.
        level: what one of 255 grey levels is in the unit of the image, for counts the span of the scene / 255.

    Returns:
        (the frame, ``[H, W]`` floats or, where nothing was found, the image itself; what was found)

    Raises:
        ValueError: not a plane with some pixels, numbers of the scene that are NaN or infinite, a mask of another size,
            or a level that is not positive.
    """
    settings = settings or SensorSettings()
    _check(image, valid, level)
    height, width = image.shape
    networks = sensor_networks()
    complete = _complete(image, valid)
    middle = float(complete.mean(dtype=np.float64))
    seen = ((complete - middle) / level).astype(np.float32)
    # in grey levels from the mean until the end, so that no estimate depends on the unit
    found = SensorCorrection(np.zeros(image.shape, bool), np.zeros(width), np.zeros(height), limits=_limits(seen))
    small = {"stripes": min(image.shape) < SMALLEST_STRIPED, "dead_pixels": image.size < FEWEST_JUDGED}
    left_out = {name: "off" for name, is_small in small.items() if is_small and vars(settings)[name] == "auto"}
    settings, found = replace(settings, **left_out), replace(found, too_small=bool(left_out))
    if settings.stripes != "off":
        found = _with_stripes(found, seen, networks.stripes, surely=settings.stripes == "on")
    checkpoint()
    seen = found.apply(seen)
    checkpoint()
    if settings.dead_pixels != "off":
        surely = settings.dead_pixels == "on"
        found = replace(found, dead=find_dead(seen, networks.defects, valid, surely=surely))
    checkpoint()
    if settings.shading != "off":
        seen = replaced(seen, found.dead, valid)
        found = _with_shading(found, seen, networks.shading, surely=settings.shading == "on")
    checkpoint()
    correction = replace(_in_unit(found, level, middle), limits=_limits(complete))
    if correction.is_empty:
        return image, correction
    result = correction.apply(image, valid)
    return result if valid is None else np.where(valid, result, image), correction


def _check(image: np.ndarray, valid: np.ndarray | None, level: float) -> None:
    if image.ndim != 2 or image.size == 0 or not np.issubdtype(image.dtype, np.number):
        raise ValueError(
            f"the sensor stage takes one plane [H, W] of numbers with at least one pixel, got {list(image.shape)} of "
            f"{image.dtype}"
        )
    if valid is not None and valid.shape != image.shape:
        raise ValueError(f"the mask is {list(valid.shape)}, the image {list(image.shape)}: they must be of one size")
    if not level > 0 or not np.isfinite(level):
        raise ValueError(f"a grey level must be a positive number in the unit of the image, got {level}")
    if not np.isfinite(image if valid is None else image[valid]).all():
        raise ValueError("the image has values that are NaN or infinite; mark them as no scene with a mask")


def _complete(image: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """The image, with pixels that are no scene filled by the nearest that are."""
    if valid is None or valid.all():
        return image
    if not valid.any():
        return np.zeros_like(image)
    nearest = np.asarray(distance_transform_edt(~valid, return_distances=False, return_indices=True))
    return image[nearest[0], nearest[1]]


def _limits(image: np.ndarray) -> tuple[float, float]:
    """The lowest and the highest value where many pixels have it, so that the camera cut off there."""
    lowest, highest = float(image.min()), float(image.max())
    if lowest == highest:  # one value everywhere, as while a shutter is closed
        return -np.inf, np.inf
    below, above = ((image == value).mean() > _CUT_OFF for value in (lowest, highest))
    return (lowest if below else -np.inf), (highest if above else np.inf)


def _with_stripes(
    found: SensorCorrection, seen: np.ndarray, network: StripeNetwork, *, surely: bool
) -> SensorCorrection:
    """Add the stripes of an image in grey levels."""
    if min(seen.shape) < 2:  # a single row has no neighbour to differ from
        return found
    offsets, gains = _along_columns(seen, network, surely=surely)
    found = replace(found, columns=offsets, column_gains=gains)
    offsets, gains = _along_columns(found.apply(seen).T, network, surely=surely)
    return replace(found, rows=offsets, row_gains=gains)


def _along_columns(image: np.ndarray, network: StripeNetwork, *, surely: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Offsets of the columns and their gains about 0; zeros and None where there are no stripes that show.

    The scene shows better without the stripes that were found, so that a second look finds most of what was left.
    """
    plane = _without_outliers(torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)))
    offsets, gains, size = _one_look(plane, network)
    sure = surely or (size >= BEYOND_SCENES and len(plane) >= TALL)
    if size == 0 or not (sure or (size >= STRIPES_SHOW and _halves_agree(plane, network))):
        return np.zeros(image.shape[1]), None
    more, gains_of_more, _ = _one_look((plane - offsets) / gains, network)
    return (offsets + more * gains).double().numpy(), (gains * gains_of_more).double().numpy()


def _halves_agree(plane: torch.Tensor, network: StripeNetwork) -> bool:
    """Whether the upper halves of the columns have the stripes of the lower ones: those of the scene differ."""
    half = len(plane) // 2
    with torch.no_grad():
        means = network(torch.stack([plane[:half], plane[-half:]])).segments.mean(1, keepdim=True)
    fine = (means - smoothed(means))[:, 0]
    return float(torch.corrcoef(fine)[0, 1]) >= HALVES_AGREE


def _one_look(plane: torch.Tensor, network: StripeNetwork) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Offsets ``[W]``, gains ``[W]`` about 0, and the root mean square of the fine stripes."""
    with torch.no_grad():
        stripes = network(plane[None])
    segments = stripes.segments
    size = float((segments - smoothed(segments)).square().mean().sqrt())
    slope = stripes.gains[0] / LEVEL_SPAN
    # The network's stripes are offset + slope · level as it was measured: the gain that undoes this.
    gain = 1 / (1 - slope.clamp(-0.5, 0.5))
    return (stripes.offsets[0] - slope * stripes.pivot[0]) * gain, gain, size


def _without_outliers(image: torch.Tensor) -> torch.Tensor:
    """The image with pixels far from both their neighbours in the column set to the median of the three.

    A defective pixel would move the mean of its column. Neighbours in the same column have the same stripe.
    """
    if len(image) < 3:
        return image
    above, below = image.roll(1, 0), image.roll(-1, 0)
    above[0], below[-1] = image[2], image[-3]  # beyond the edge
    middle = torch.maximum(torch.minimum(above, below), torch.minimum(torch.maximum(above, below), image))
    away = (image - middle).abs()
    spread = away.flatten()[:: max(1, away.numel() // 20_000)].mean()
    return torch.where(away > torch.clamp(8 * spread, min=_ROUGH), middle, image)


def _with_shading(
    found: SensorCorrection, seen: np.ndarray, network: ShadingNetwork, *, surely: bool
) -> SensorCorrection:
    """Add the shading of an image in grey levels.

    A frame without stripes and defects comes from a camera that corrects its frames; what looks like shading there is
    more likely scene.
    """
    striped = max(found.columns.std(), found.rows.std()) > UNCORRECTED
    uncorrected = striped or found.dead.sum() > MANY * found.dead.size
    if min(seen.shape) < SMALLEST_SHADED or not (surely or uncorrected):
        return found
    surface, doubt = estimate_shading(torch.from_numpy(seen.astype(np.float32)), network)
    shows = np.ptp(surface) > SHADING_SHOWS and surface.std() > SHADING_CLEAR * doubt
    return replace(found, shading=surface) if surely or shows else found


def _in_unit(found: SensorCorrection, level: float, middle: float) -> SensorCorrection:
    """A correction in grey levels from the mean, in the unit of the image."""
    return replace(
        found,
        columns=found.columns * level,
        rows=found.rows * level,
        pivot=middle,
        shading=None if found.shading is None else found.shading * level,
        level=level,
    )
