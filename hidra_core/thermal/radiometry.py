"""FLIR's radiometric chain: from counts to the temperature of the object, through its surroundings, and back.

A camera does not see the object alone. What it counts is a sum of five parts, whose weights add up to one (W. Minkina
and S. Dudzik, *Infrared Thermography: Errors and Uncertainties*, 2009; the window and the air as in ``raw2temp`` of
Thermimage, https://github.com/gtatters/Thermimage)::

    counts = e·t·w·t · object + (1 - e)·t·w·t · reflected + (1 - t)·w·t · air
             + (1 - w)·t · window + (1 - t) · air

with emissivity e, transmission t of the air on either side of the window and transmission w of the window. Each part
is the count that a black body of that temperature gives by the camera's Planck curve. The window is taken to be half
way between object and camera, and to reflect nothing.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from math import isfinite, sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .counts import Planck

_COLDEST, _WARMEST = 100.0, 5000.0  # K; outside, a number is not in kelvin, or was never set
_ROUNDING = 1e-9


@dataclass(frozen=True)
class ObjectParameters:
    """What lies between an object and the count it gives.

    The names are those under which the readers of FLIR files give them (``ThermalImage.parameters``).

    Attributes:
        emissivity: of the object, above 0, up to 1.
        reflected_temperature: of the surroundings that the object reflects, in K.
        atmospheric_temperature: of the air, in K.
        relative_humidity: of the air, 0 to 1.
        object_distance: from the camera, in m; 0 leaves the air out.
        ir_window_temperature: of a window in front of the camera, in K; None as the air.
        ir_window_transmission: of that window, above 0, up to 1; 1 without a window.
        atmospheric_alpha1: attenuation by dry air, in 1/sqrt(m); this and the following have FLIR's usual values.
        atmospheric_alpha2: see ``atmospheric_alpha1``.
        atmospheric_beta1: attenuation by water vapour.
        atmospheric_beta2: see ``atmospheric_beta1``.
        atmospheric_x: weight of the first pair against the second.
    """

    emissivity: float
    reflected_temperature: float
    atmospheric_temperature: float
    relative_humidity: float
    object_distance: float
    ir_window_temperature: float | None = None
    ir_window_transmission: float = 1.0
    atmospheric_alpha1: float = 0.006569
    atmospheric_alpha2: float = 0.01262
    atmospheric_beta1: float = -0.002276
    atmospheric_beta2: float = -0.00667
    atmospheric_x: float = 1.9

    def __post_init__(self) -> None:
        for name in ("emissivity", "ir_window_transmission"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{_words(name)} must be above 0 and at most 1, got {getattr(self, name):g}")
        if not 0 <= self.relative_humidity <= 1:
            raise ValueError(
                f"relative humidity must be between 0 and 1 (0.5 for 50 %), got {self.relative_humidity:g}"
            )
        if not (isfinite(self.object_distance) and self.object_distance >= 0):
            raise ValueError(f"object distance must be at least 0 m, got {self.object_distance:g}")
        for name in ("reflected_temperature", "atmospheric_temperature", "ir_window_temperature"):
            kelvin = getattr(self, name)
            if kelvin is not None and not _COLDEST <= kelvin <= _WARMEST:
                raise ValueError(
                    f"{_words(name)} must be in kelvin, between {_COLDEST:g} and {_WARMEST:g}, got {kelvin:g} "
                    "(20 °C are 293.15 K)"
                )
        if not 0 < self.transmission <= 1:
            raise ValueError(
                f"the air of {self.object_distance:g} m would let through {self.transmission:g} of the radiation; a "
                "share above 0 and at most 1 is expected: check distance, humidity and the atmosphere's constants"
            )

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, float], **overrides: float | None) -> ObjectParameters:
        """Take the parameters that a file states, and others where the user knows better.

        Args:
            parameters: numbers by name, as a reader gives them; other names are passed over.
            overrides: numbers that replace the file's; None leaves the file's.

        Raises:
            ValueError: one is missing, or out of range.
        """
        known = {field.name: field.default is MISSING for field in fields(cls)}
        unknown = sorted(overrides.keys() - known)
        if unknown:
            raise ValueError(f"unknown parameters {', '.join(unknown)}; known are {', '.join(known)}")
        numbers = {name: parameters[name] for name in known if name in parameters}
        numbers |= {name: value for name, value in overrides.items() if value is not None}
        missing = [_words(name) for name, required in known.items() if required and name not in numbers]
        if missing:
            raise ValueError(
                f"temperatures of objects need the {', '.join(missing)}, which the file does not state; give them"
            )
        return cls(**numbers)

    @property
    def transmission(self) -> float:
        """Transmission t of the air on either side of the window, 0 to 1."""
        celsius = self.atmospheric_temperature - 273.15
        path = sqrt(self.object_distance / 2)
        with np.errstate(all="ignore"):  # absurd numbers give no share between 0 and 1, and are refused for that
            vapour = self.relative_humidity * np.exp(
                1.5587 + 0.06939 * celsius - 0.00027816 * celsius**2 + 0.00000068455 * celsius**3
            )
            first = np.exp(-path * (self.atmospheric_alpha1 + self.atmospheric_beta1 * np.sqrt(vapour)))
            second = np.exp(-path * (self.atmospheric_alpha2 + self.atmospheric_beta2 * np.sqrt(vapour)))
            share = float(self.atmospheric_x * first + (1 - self.atmospheric_x) * second)
        return 1.0 if abs(share - 1) < _ROUNDING else share


@dataclass(frozen=True)
class RadiometricChain:
    """The relation of counts to the temperature of the object.

    Attributes:
        planck: the camera's curve from counts to apparent temperature.
        parameters: what lies between object and camera.
    """

    planck: Planck
    parameters: ObjectParameters

    def kelvin(self, counts: np.ndarray) -> np.ndarray:
        """Temperature of the object for counts of any shape, float64; NaN where there is none.

        There is none where the surroundings alone give more than the count.
        """
        gain, surroundings = self._weights()
        return self.planck.kelvin((np.asarray(counts, dtype=np.float64) - surroundings) / gain)

    def counts(self, kelvin: np.ndarray) -> np.ndarray:
        """Counts of objects of these temperatures, any shape, float64, not rounded; the inverse of :meth:`kelvin`."""
        gain, surroundings = self._weights()
        return gain * _black_body(self.planck, np.asarray(kelvin, dtype=np.float64)) + surroundings

    def _weights(self) -> tuple[float, float]:
        """(weight of the object's radiation, count of everything else)."""
        given = self.parameters
        air, window = given.transmission, given.ir_window_transmission
        through_all = air * window * air
        parts = (
            ((1 - given.emissivity) * through_all, given.reflected_temperature),
            ((1 - air) * window * air + (1 - air), given.atmospheric_temperature),
            ((1 - window) * air, given.ir_window_temperature or given.atmospheric_temperature),
        )
        surroundings = sum(weight * float(_black_body(self.planck, np.float64(kelvin))) for weight, kelvin in parts)
        return given.emissivity * through_all, surroundings


def _black_body(planck: Planck, kelvin: np.ndarray | np.float64) -> np.ndarray:
    """Counts of a black body of this temperature: the inverse of :meth:`Planck.kelvin`."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return planck.r1 / (planck.r2 * (np.exp(planck.b / kelvin) - planck.f)) - planck.o


def _words(name: str) -> str:
    return name.replace("_", " ").replace("ir window", "window")
