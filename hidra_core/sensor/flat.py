"""The profile of a camera from frames of a uniform surface or of its closed shutter, which show the pattern itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter

from .frames import Completed, Samples
from .motion import judge
from .noise import noise
from .parts import agreed, take_apart
from .uniform import structure_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .calibration import Progress
    from .profile import CameraProfile, Unit

FEWEST_FLAT = 4
"""Frames of a flat field that a profile needs: half of them tell how certain the others are."""

_LEVELS = 10.0  # spread of the levels, in multiples of the noise, above which a gain can be found
_MOVING = 0.1  # share of the picture in which something may come and go
_NOISY = 6.0  # variance over time of a defective pixel, in multiples of the usual one
_FOLLOWS = 0.5  # gain below which a pixel does not follow the level
_FAR = 12.0  # offset of a defective pixel in robust standard deviations of all
_MOST_DEAD = 0.2  # share of the pixels


def calibrate_flat(
    frames: Iterable[np.ndarray], *, unit: Unit, camera: str = "", progress: Progress | None = None
) -> CameraProfile:
    """Find what a camera adds to its frames from frames that show a uniform surface.

    Frames at several levels, such as of a warm and of a cold surface, give the gain of each pixel too. Frames of a
    shutter behind the lens lack the shading of the lens.

    Args:
        frames: at least 4 frames ``[H, W]``, see :func:`~hidra_core.sensor.calibrate`; read once.
        unit: what their numbers mean.
        camera: make and model, for the profile.
        progress: called with (0; frames done).

    Returns:
        The profile, see :func:`~hidra_core.sensor.calibrate`; its ``method`` is "flat".

    Raises:
        TypeError: an iterator.
        ValueError: too few frames, sizes that differ, frames without numbers, or with a scene, which moves or has
            structure that no sensor adds, see :mod:`~hidra_core.sensor.uniform`.
    """
    given, samples = Completed(frames), Samples()
    sums: list[_Sums] = []
    reference, count = 0.0, 0
    for frame, valid in given:
        if not sums:
            sums = [_Sums(frame.shape), _Sums(frame.shape)]
            reference = float(np.median(frame))
        # every other frame, so that both halves see all levels
        sums[count % 2].add(frame, valid, reference)
        samples.add(frame.copy())
        count += 1
        if progress is not None:
            progress(0, count)
    if count < FEWEST_FLAT:
        raise ValueError(f"{count} frames of a flat field were given; a camera profile needs at least {FEWEST_FLAT}")
    whole = sums[0] + sums[1]
    seen = whole.count >= count / 2
    stack = np.stack(samples.frames)
    sigma = _noise_over_time(stack)
    if (moving := judge(stack, seen).moving) > _MOVING:
        raise ValueError(
            f"{100 * moving:.0f} % of the picture changes from frame to frame: this is no flat field. Give frames of a "
            "uniform surface that fills the picture, or frames of scenes without --flat"
        )
    _refuse_scene(whole.mean(), seen, unit, whole=bool(np.array_equal(stack, np.rint(stack))))
    gain = None
    if whole.level_spread > _LEVELS * sigma:
        gain = agreed(whole.slope() - 1, (sums[0].slope() - 1, sums[1].slope() - 1), seen)
    dead = _defective(whole, gain is not None, sigma) & seen
    if dead.mean() > _MOST_DEAD:
        raise ValueError(
            f"{100 * dead.mean():.0f} % of the pixels are unlike their neighbours or change from frame to frame: this "
            "is no flat field of a working sensor. Give frames of a uniform surface that fills the picture, or frames "
            "of scenes without --flat"
        )
    notes = [f"{given.blank} frames of a single value are left out"] if given.blank else []
    about: dict[str, Any] = {"method": "flat", "frames": count, "motion": {}, "notes": notes}
    if gain is not None:
        about["gain_uncertainty"] = float((sums[0].slope() - sums[1].slope())[seen & ~dead].std()) / 2
    offsets, *halves = (
        (part.mean() if gain is None else part.at(whole.level)) - whole.level for part in (whole, *sums)
    )
    profile = take_apart(
        offsets,
        (halves[0], halves[1]),
        seen & ~dead,
        dead,
        unit=unit,
        camera=camera,
        gain=gain,
        pivot=whole.level + reference,
        about=about,
        with_shading=True,
    )
    profile.about["drift"] = {}  # the halves are of the same time
    return profile


def _refuse_scene(mean: np.ndarray, seen: np.ndarray, unit: Unit, *, whole: bool) -> None:
    structure = structure_of(mean, seen, whole=whole)
    if structure.is_scene:
        raise ValueError(
            f"the frames show a scene: structure of {structure.size:.2g} {unit} that is no shading, and that is "
            f"{structure.beyond_chance:.0f} times what the pattern of single pixels explains. This is no flat field, "
            "and the scene would be taken off every image. Cap the lens, close the shutter, or point the camera at an "
            "even wall that fills the picture, out of focus; or give frames of scenes without --flat while the camera "
            "pans"
        )


class _Sums:
    """Sums over frames of each pixel and of the frames' levels, with the counts of each pixel."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.count, self.pixel, self.pixel2, self.levels, self.levels2, self.product = (
            np.zeros(shape) for _ in range(6)
        )

    def __add__(self, other: _Sums) -> _Sums:
        both = _Sums(self.count.shape)
        for name in vars(both):
            setattr(both, name, getattr(self, name) + getattr(other, name))
        return both

    def add(self, frame: np.ndarray, valid: np.ndarray | None, reference: float) -> None:
        """Add a frame less a level near that of all, which keeps the sums exact."""
        good = np.ones(frame.shape, bool) if valid is None else valid
        pixel = np.where(good, frame - reference, 0.0)
        level = float(np.median(pixel[good]))  # defective pixels do not move it
        self.count += good
        self.pixel += pixel
        self.pixel2 += pixel * pixel
        self.levels += good * level
        self.levels2 += good * level**2
        self.product += pixel * level

    @property
    def level(self) -> float:
        """The mean level."""
        return float(self.levels.sum() / self.count.sum())

    @property
    def level_spread(self) -> float:
        """The standard deviation of the levels."""
        return float(np.sqrt(max(self.levels2.sum() / self.count.sum() - self.level**2, 0)))

    def mean(self) -> np.ndarray:
        """The mean of each pixel."""
        return self.pixel / np.maximum(self.count, 1)

    def slope(self) -> np.ndarray:
        """By how much each pixel rises with the level."""
        count = np.maximum(self.count, 1)
        level = self.levels / count
        spread = np.maximum(self.levels2 / count - level**2, 1e-12)
        return (self.product / count - self.mean() * level) / spread

    def at(self, level: float) -> np.ndarray:
        """Each pixel at a level, on its line."""
        return self.mean() + self.slope() * (level - self.levels / np.maximum(self.count, 1))

    def variance(self, *, with_slope: bool) -> np.ndarray:
        """Of each pixel over time, the frames' levels taken off."""
        count = np.maximum(self.count, 1)
        slope = self.slope() if with_slope else 1.0
        level = self.levels / count
        own, levels = self.pixel2 / count - self.mean() ** 2, self.levels2 / count - level**2
        together = self.product / count - self.mean() * level
        return np.maximum(own + slope**2 * levels - 2 * slope * together, 0)


def _noise_over_time(samples: np.ndarray) -> float:
    """The standard deviation of a pixel's noise, from the differences of frames, in which the pattern has gone."""
    half = len(samples) // 2
    return float(np.median([noise(samples[k] - samples[k + half]) for k in range(half)])) / np.sqrt(2) + 1e-9


def _defective(sums: _Sums, with_slope: bool, sigma: float) -> np.ndarray:
    offset = sums.mean() - gaussian_filter(sums.mean(), 8.0, mode="nearest")
    for axis in (0, 1):
        offset = offset - np.median(offset, axis=axis, keepdims=True)
    spread = 1.4826 * float(np.median(np.abs(offset))) + sigma / np.sqrt(max(float(sums.count.max()), 1))
    dead = np.abs(offset) > _FAR * spread
    variance = sums.variance(with_slope=with_slope)
    dead |= variance > _NOISY * max(float(np.median(variance)), sigma**2)
    return dead | (sums.slope() < _FOLLOWS) if with_slope else dead
