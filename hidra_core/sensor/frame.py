"""What the sensor did to one frame, estimated from this frame alone and undone before any network sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from .defects import find_dead, replaced

Switch = Literal["auto", "on", "off"]
"""``auto`` takes off what is found beyond doubt, ``on`` the best estimate in any case."""


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

    A frame is taken as ``gain · (scene - pivot) + pivot + columns + rows + shading + pattern``, but for its defective
    pixels, whose values are lost.

    Attributes:
        dead: ``[H, W]`` bool, the pixels that are replaced.
        columns: offsets of the columns, ``[W]``.
        rows: offsets of the rows, ``[H]``.
        gain: ``[H, W]``; None: 1.
        pivot: the value that the gain leaves as it is.
        shading: ``[H, W]``; None: none.
        pattern: offsets of single pixels, from a camera profile, ``[H, W]``; None: none.
        level: what one of 255 grey levels is in the unit of the image.
    """

    dead: np.ndarray
    columns: np.ndarray
    rows: np.ndarray
    gain: np.ndarray | None = None
    pivot: float = 0.0
    shading: np.ndarray | None = None
    pattern: np.ndarray | None = None
    level: float = 1.0

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found, so that the image stays as it is."""
        return not (
            self.dead.any()
            or self.columns.any()
            or self.rows.any()
            or any(field is not None for field in (self.gain, self.shading, self.pattern))
        )

    def apply(self, image: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """Undo it.

        Args:
            image: ``[H, W]``.
            valid: ``[H, W]`` bool: the pixels that may serve to replace defective ones; None: all.

        Returns:
            ``[H, W]`` floats, of 64 bits; the image itself where nothing was found.
        """
        if self.is_empty:
            return image
        result = image.astype(np.float64) - self.columns - self.rows[:, None]
        for field in (self.shading, self.pattern):
            if field is not None:
                result -= field
        if self.gain is not None:
            result = (result - self.pivot) / self.gain + self.pivot
        return replaced(result, self.dead, valid) if self.dead.any() else result

    def sizes(self) -> dict[str, float]:
        """How much was found: numbers of pixels, standard deviations and ranges in the unit of the image."""
        fields = {
            "shading": self.shading,
            "pattern": self.pattern,
        }
        return {
            "dead_pixels": int(self.dead.sum()),
            "columns": float(self.columns.std()),
            "rows": float(self.rows.std()),
            "gain": 0.0 if self.gain is None else float(self.gain.std()),
            **{name: 0.0 if field is None else float(np.ptp(field)) for name, field in fields.items()},
        }

    def to_dict(self) -> dict[str, Any]:
        """The sizes, in plain JSON types, with the size of a grey level."""
        return {**self.sizes(), "grey_level": self.level}

    def summary(self, unit: str = "grey levels") -> str:
        """One line for a human: "212 dead pixels; columns 4.3 grey levels; shading 11"."""
        sizes = self.sizes()
        parts = []
        if sizes["dead_pixels"]:
            parts.append(f"{sizes['dead_pixels']} dead pixel{'s' if sizes['dead_pixels'] > 1 else ''}")
        said = False
        for name in ("columns", "rows", "pattern", "shading"):
            if sizes[name]:
                parts.append(f"{name} {sizes[name]:.1f}{'' if said else f' {unit}'}")
                said = True
        if sizes["gain"]:
            parts.append(f"gain {100 * sizes['gain']:.1f} %")
        return "; ".join(parts) or "nothing found"


def undo_sensor(
    image: np.ndarray,
    settings: SensorSettings | None = None,
    *,
    valid: np.ndarray | None = None,
    level: float = 1.0,
) -> tuple[np.ndarray, SensorCorrection]:
    """Find and undo what the sensor did to a frame.

    Args:
        image: ``[H, W]`` numbers in any unit.
        settings: what may be undone; all of it where it is found by default.
        valid: ``[H, W]`` bool: the pixels that are scene; None: all. The others have no influence.
        level: what one of 255 grey levels is in the unit of the image, for counts the span of the scene / 255.

    Returns:
        (the frame, ``[H, W]`` floats or, where nothing was found, the image itself; what was found)

    Raises:
        ValueError: not a plane of finite numbers with some pixels, or a level that is not positive.
    """
    settings = settings or SensorSettings()
    height, width = image.shape
    dead = np.zeros((height, width), bool)
    if settings.dead_pixels != "off":
        dead = find_dead(image.astype(np.float64), valid, level=level)
    correction = SensorCorrection(dead, np.zeros(width), np.zeros(height), level=level)
    return correction.apply(image, valid), correction
