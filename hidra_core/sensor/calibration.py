"""The profile of a camera from ordinary frames of a scene that moves.

What stays put while the scene moves is the sensor's. Its fine part is found from differences of neighbouring pixels
over all frames, see :mod:`~hidra_core.sensor.gradients`; its smooth part, on which these say little, from frames that
show the same things at other places, see :mod:`~hidra_core.sensor.coarse`. Frames are read several times, one after
the other, so that memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from .coarse import Overlaps
from .frames import Completed, Samples
from .gradients import Gradients
from .motion import Motion, judge
from .neighbours import Neighbours
from .noise import noise
from .parts import agreed, stripes_of, take_apart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .profile import CameraProfile, Unit

FEWEST = 20
"""Frames that a profile needs."""

PASSES = 4
"""How often all frames are read."""

Progress = Callable[[int, int], None]
"""Called with (pass, from 0; frames done in it) after every frame; may raise to stop."""

_FINE = 8.0  # sigma in pixels: finer parts come from the gradients, others from overlaps
_FINE_STRIPES = 32.0  # the same for columns and rows where no frames overlap
_MOST_STILL = 0.5  # share of the picture that may be left out for it
_RAMP = 0.2  # standard deviations of the offsets, from which on an unknown slope is said
_UNMOVED = 0.5  # share of the frames that show what the one before shows, without being displaced enough
_UNCHANGING = 0.5  # share of the pixels that may keep their value
_MOST_DEAD = 0.2  # share of the pixels


def calibrate(
    frames: Iterable[np.ndarray], *, unit: Unit, camera: str = "", progress: Progress | None = None
) -> CameraProfile:
    """Find what a camera adds to its frames.

    Args:
        frames: at least 20 frames ``[H, W]`` of one camera in order, of scenes that move; NaN where a pixel is no
            scene. A sequence, array or other object that can be iterated repeatedly, which may read them from files.
        unit: what their numbers mean.
        camera: make and model, for the profile.
        progress: see :data:`Progress`.

    Returns:
        The profile; its ``about`` has ``frames``, ``method`` ("scenes"), ``motion`` (``path`` in pixels from frame to
        frame, ``registered`` and ``still`` as shares, ``overlaps`` used), ``uncertainty`` (standard errors), ``drift``
        from the first half of the frames to the second, and ``notes``.

    Raises:
        TypeError: an iterator, which can be read only once.
        ValueError: too few frames, sizes that differ, frames without numbers, or a scene that stands still, which would
            be taken for the pattern.
    """
    progress = progress or (lambda _number, _done: None)
    given = Completed(frames)
    survey = _survey(given, progress)
    notes = []
    if survey.blank:
        notes.append(f"{survey.blank} frames of a single value, such as of a closed shutter, are left out")
    motion = judge(np.stack(survey.samples), survey.seen)
    if motion.is_still:
        raise ValueError(
            f"{100 * motion.still:.0f} % of the scene stands still in these {survey.count} frames, and cannot be told "
            "from the sensor's pattern: it would be burnt into every image. Take frames while the camera pans or "
            "travels, or give frames of a uniform surface (--flat)"
        )
    if survey.neighbours.unchanging > _UNCHANGING:
        raise ValueError(
            f"{100 * survey.neighbours.unchanging:.0f} % of the pixels have the same value in all {survey.count} "
            "frames: nothing moves in them, or the sensor is dead. Take frames while the camera pans or travels"
        )
    dead, things = survey.neighbours.defective(survey.floor)
    if dead.mean() > _MOST_DEAD:
        raise ValueError(
            f"{100 * dead.mean():.0f} % of the pixels do not follow the scene: these are no frames of one working "
            "sensor, as they come from it. Give frames that were not sharpened, aligned or averaged"
        )
    left_out = motion.mask | things
    if left_out.mean() > _MOST_STILL:
        raise ValueError(
            f"{100 * left_out.mean():.0f} % of the picture stands still in these {survey.count} frames: what remains "
            "is too little for a profile. Take frames while the camera pans or travels farther"
        )
    if left_out.any():
        notes.append(
            f"{100 * left_out.mean():.1f} % of the picture stands still while the rest moves (parts of the vehicle, "
            "symbols): it is left as it is, but for columns, rows and shading"
        )
    use = survey.seen & ~dead & ~left_out
    found = _Found(use, survey)
    found.refine(given.without(~use), progress)
    return found.profile(dead, unit, camera, motion, notes)


@dataclass
class _Survey:
    """What the first pass gives."""

    count: int
    blank: int
    level: float
    floor: float
    seen: np.ndarray
    samples: list[np.ndarray]
    neighbours: Neighbours
    gradients: Gradients


def _survey(frames: Completed, progress: Progress) -> _Survey:
    samples, levels, count = Samples(), [], 0
    seen = neighbours = gradients = zero = None
    sigma = floor = 0.0
    for frame, valid in frames:
        if seen is None or neighbours is None or gradients is None or zero is None:
            seen, zero = np.zeros(frame.shape, np.int64), np.zeros(frame.shape)
            neighbours, gradients = Neighbours(frame.shape), Gradients(frame.shape)
            floor = _floor(frame)
            sigma = max(float(np.median(noise(frame, valid))), floor)
        level = float(frame.mean() if valid is None else frame[valid].mean())
        neighbours.add(frame, valid, sigma, levels[0] if levels else level)
        gradients.add(frame, valid, zero, level, sigma)
        seen += 1 if valid is None else valid
        samples.add(frame.copy())
        levels.append(level)
        count += 1
        progress(0, count)
    if count < FEWEST or seen is None or neighbours is None or gradients is None:
        blank = f" and {frames.blank} of a single value" if frames.blank else ""
        raise ValueError(
            f"{count} frames{blank} were given; a camera profile needs at least {FEWEST} in which the scene moves"
        )
    mean_level = float(np.mean(levels))
    return _Survey(count, frames.blank, mean_level, floor, 2 * seen >= count, samples.frames, neighbours, gradients)


def _floor(frame: np.ndarray) -> float:
    """The standard deviation that counts as none: that of rounding, or of the last digits."""
    return 0.29 if np.array_equal(frame, np.rint(frame)) else 1e-3 * float(frame.std()) + 1e-9


class _Found:
    """What is known of the pattern, pass by pass."""

    def __init__(self, use: np.ndarray, survey: _Survey) -> None:
        self.use, self.survey, self.count = use, survey, survey.count
        self.pivot = survey.level
        self.rough = survey.gradients.offsets(use)
        self.fine = _fine(self.rough)
        self.halves = (self.fine, self.fine)
        self.gain: np.ndarray | None = None
        self.gain_uncertainty = 0.0
        self.overlaps = Overlaps(use, survey.count)
        self.fields = (self.overlaps.field, self.overlaps.field)

    def refine(self, frames: Completed, progress: Progress) -> None:
        """The three passes after the survey."""
        use, sigma = self.use, self._sigma()
        gradients = Gradients(use.shape)
        for index, (frame, valid) in enumerate(frames):
            gradients.add(frame, valid, self.rough, self.pivot, sigma)
            progress(1, index + 1)
        self.rough = gradients.offsets(use)
        self.fine, sigma = _fine(self.rough), self._sigma()
        both = [Gradients(use.shape), Gradients(use.shape)]
        for index, (frame, valid) in enumerate(frames):
            both[2 * index >= self.count].add(frame, valid, self.rough, self.pivot, sigma)
            self.overlaps.add(index, frame - self.fine, first=True)
            progress(2, index + 1)
        self._take(both)
        if not self.overlaps.is_enough:
            if self.overlaps.registered > _UNMOVED:
                raise ValueError(
                    f"the camera moves by too little in these {self.count} frames, {self.overlaps.length:.0f} pixels "
                    "in all: coarse parts of the scene would be burnt into every image. Take frames while it pans or "
                    "travels farther, or give frames of a uniform surface (--flat)"
                )
            return
        self.overlaps.solve()
        for index, (frame, _) in enumerate(frames):
            self.overlaps.add(index, self._corrected(frame), first=False)
            progress(3, index + 1)
        self.fields = self.overlaps.solve()

    def _take(self, both: list[Gradients]) -> None:
        """Offsets, and the gain if both halves of the frames agree on one."""
        use, total = self.use, both[0] + both[1]
        self.rough, gain = total.offsets_and_gain(use)
        parts = [half.offsets_and_gain(use) for half in both]
        gain_halves = _fine(parts[0][1]), _fine(parts[1][1])
        self.gain = agreed(_fine(gain), gain_halves, use)
        if self.gain is None:
            self.rough = total.offsets(use)
            parts = [(half.offsets(use), gain) for half in both]
        else:
            self.gain_uncertainty = float((gain_halves[1] - gain_halves[0])[use].std()) / 2
        self.fine = _fine(self.rough)
        self.halves = (_fine(parts[0][0]), _fine(parts[1][0]))

    def _corrected(self, frame: np.ndarray) -> np.ndarray:
        corrected = frame - self.fine
        return corrected if self.gain is None else (corrected - self.pivot) / (1 + self.gain) + self.pivot

    def _sigma(self) -> float:
        """The noise of a pixel, with what is known of the pattern taken off."""
        some = self.survey.samples[:: max(1, len(self.survey.samples) // 5)]
        return max(float(np.median([np.median(noise(frame - self.rough)) for frame in some])), self.survey.floor)

    def profile(self, dead: np.ndarray, unit: Unit, camera: str, motion: Motion, notes: list[str]) -> CameraProfile:
        """The result."""
        overlaps = self.overlaps
        if overlaps.is_enough:
            offsets = self.fine + overlaps.full(overlaps.field, overlaps.ramp)
            halves = [
                fine + overlaps.full(field, overlaps.ramp) for fine, field in zip(self.halves, self.fields, strict=True)
            ]
            if overlaps.ramp_unknown > _RAMP * offsets[self.use].std():
                notes = [
                    *notes,
                    "a slope from one edge to the other is not known: the camera moves along one line only, or too "
                    "little, or the level of its frames changes more than the slope would",
                ]
        else:
            notes = [*notes, "too few frames overlap: shading and other smooth parts of the pattern are not known"]
            stripes = self._stripes()
            offsets, halves = self.fine + stripes, [half + stripes for half in self.halves]
        about: dict[str, Any] = {
            "method": "scenes",
            "frames": self.count,
            "motion": {
                "path": overlaps.length,
                "registered": overlaps.registered,
                "still": motion.still,
                "overlaps": len(overlaps.pairs) if overlaps.is_enough else 0,
            },
            "notes": notes,
        }
        if self.gain is not None:
            about["gain_uncertainty"] = self.gain_uncertainty
        return take_apart(
            offsets,
            (halves[0], halves[1]),
            self.use,
            dead,
            unit=unit,
            camera=camera,
            gain=self.gain,
            pivot=self.pivot,
            about=about,
            with_shading=overlaps.is_enough,
        )

    def _stripes(self) -> np.ndarray:
        """What the fine part lacks of columns and rows, ``[H, W]``, but for what changes as slowly as a scene."""
        columns, rows = (
            stripe - gaussian_filter1d(stripe, _FINE_STRIPES, mode="nearest")
            for stripe in stripes_of(self.rough - self.fine, self.use)
        )
        return columns + rows[:, None]


def _fine(field: np.ndarray) -> np.ndarray:
    return field - gaussian_filter(field, _FINE, mode="nearest")
