"""Degradations of small frames: what the stages of ``hidra_core.degradations`` do to the means of areas.

All stages but blur act on each pixel by itself. Noise and stripes vanish from the mean of an area, except where pixels
are cut off at black and white; this, and what is left of them, follows from their deviation: with ``v`` normal of mean
``μ`` and deviation ``σ``, ``z = (edge − μ) / σ``, ``φ`` and ``Φ`` the normal density and distribution::

    E[max(v, 0)]  = μ·Φ(μ/σ) + σ·φ(μ/σ)
    E[min(v, 1)]  = E[v] − E[max(v − 1, 0)]

So a frame costs a thousandth of a full one, and a network sees millions of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from hidra_core.degradations import PRESETS, UNTOUCHED, Preset
from hidra_core.readouts.corrector import GREY_LEVELS

from .frames import FINE, Clean, Frames

if TYPE_CHECKING:
    from collections.abc import Mapping

FADED = replace(PRESETS["hm-tir"], p_contrast=1.0, alpha=(0.2, 1.0), beta=(-0.4, 0.4), optical_strength=(5, 75))
"""Faded below as well as above: darkened and brightened."""

CUT = replace(PRESETS["composite"], p_contrast=1.0, alpha=(1.0, 1.8), beta=(-0.5, 0.1), optical_strength=(5, 75))
"""Too much contrast, so that the darkest and the brightest parts are cut off."""

SHADED = replace(FADED, alpha=(0.4, 1.0), beta=(-0.1, 0.2), optical_centre=(-0.1, 1.1), p_stripes=0.5, p_random=0.5)
"""Both forms of shading about any centre, on frames with little else: what the stages before the networks leave."""

MIXTURE: dict[str, tuple[Preset, float]] = {
    "composite": (PRESETS["composite"], 3.0),
    "hm-tir": (PRESETS["hm-tir"], 2.0),
    "hard": (PRESETS["hard"], 3.0),
    "mild": (PRESETS["mild"], 0.7),
    "moderate": (PRESETS["moderate"], 0.7),
    "severe": (PRESETS["severe"], 1.0),
    "extreme": (PRESETS["extreme"], 1.0),
    "faded": (FADED, 1.5),
    "cut": (CUT, 0.5),
    "shaded": (SHADED, 1.5),
    "shaded, mirror": (replace(SHADED, optical_form="mirror"), 1.0),
    "fpn": (PRESETS["fpn"], 1.0),
    "sr-x4": (PRESETS["sr-x4"], 0.3),
    "field": (PRESETS["field"], 1.5),
    "field-mild": (PRESETS["field-mild"], 0.7),
    "untouched": (UNTOUCHED, 2.0),
}
"""Presets and how often each is drawn."""

_CHANCES = (
    *("p_untouched", "p_contrast", "p_resolution", "p_blur", "p_noise", "p_optical", "p_stripes", "p_random"),
    *("p_poisson", "p_dead"),
)
_RANGES = (
    *("alpha", "beta", "optical_centre", "optical_strength", "stripe_gain", "stripe_offset", "gaussian_sigma"),
    *("poisson_scale", "dead_fraction"),
)


@dataclass(frozen=True)
class Degraded:
    """What the corrector sees of ``B`` degraded frames, and what was done to them.

    Attributes:
        view: ``[B, 4, 32, 40]``, see :func:`~hidra_core.readouts.corrector.small_view`.
        aspect: width of each frame divided by its height, ``[B]``.
        contrast: factor by which the contrast was compressed or raised, ``[B]``.
        shading: the field that was added, less its mean, in grey values of the degraded frame, ``[B, 32, 40]``.
    """

    view: Tensor
    aspect: Tensor
    contrast: Tensor
    shading: Tensor

    def to(self, device: torch.device) -> Degraded:
        """The same on another device."""
        return Degraded(*(value.to(device) for value in vars(self).values()))


class Degrader:
    """Draws degradations for small frames and applies them.

    Args:
        frames: whose generator and device are used.
        mixture: presets and how often each is drawn.
        restretched: share of frames whose grey range is moved and cut off once more at the end, as the automatic gain
            of a camera does.
        undone: share of frames that the sensor stage has seen before: of their stripes little is left but the part
            that is as wide as the view's cells.
    """

    def __init__(
        self,
        frames: Frames,
        mixture: Mapping[str, tuple[Preset, float]] = MIXTURE,
        restretched: float = 0.1,
        undone: float = 0.7,
    ) -> None:
        self.frames = frames
        self.restretched = restretched
        self.undone = undone
        self._presets = [preset for preset, _ in mixture.values()]
        self._odds = torch.tensor([odds for _, odds in mixture.values()], device=frames.device)
        self._tables: dict[str, Tensor] = {}
        for name in (*_CHANCES, *_RANGES):
            self._tables[name] = self._table([getattr(preset, name) for preset in self._presets])
        self._tables["cos4"] = self._table([preset.optical_form == "cos4" for preset in self._presets])
        self._tables["reduced"] = self._table(
            [sum(factor > 1 for factor in preset.factors) / len(preset.factors) for preset in self._presets]
        )

    def _table(self, values: list) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.frames.device)

    def __call__(self, clean: Clean) -> Degraded:
        """Degrade frames, each by a draw of its own."""
        frames, count = self.frames, len(clean.mean)
        family = torch.multinomial(self._odds, count, replacement=True, generator=frames.generator)

        def has(name: str) -> Tensor:
            return (frames.uniform(0, 1, count) < self._tables[name][family]).float()[:, None, None]

        def value(name: str) -> Tensor:
            low, high = self._tables[name][family].unbind(1)
            return torch.lerp(low, high, frames.uniform(0, 1, count))[:, None, None]

        touched = 1 - has("p_untouched")
        size = self._sizes(count)
        reduced = touched * has("p_resolution")
        factor = 1 + reduced * has("reduced") * (1 + 2 * frames.chance(0.5, count))
        native = _Native(size.rows / factor, size.columns / factor)

        contrast, alpha, beta = touched * has("p_contrast"), value("alpha"), value("beta")
        beta = torch.where(beta < 0, beta * alpha, beta)  # as a preset draws it
        faded = _cut_off(clean.mean * alpha + beta, clean.detail * alpha)[:2]
        mean, detail = (
            torch.lerp(old, new, contrast) for old, new in zip((clean.mean, clean.detail), faded, strict=True)
        )
        detail = detail * (1 - reduced * has("p_blur") * frames.uniform(0.2, 0.8, count, 1, 1)) / factor.sqrt()

        noisy = touched * has("p_noise")
        centre = value("optical_centre"), value("optical_centre")
        field = _field(size, centre, self._tables["cos4"][family][:, None, None], frames.chance(0.5, count))
        shading = noisy * has("p_optical") * field * value("optical_strength") / GREY_LEVELS
        mean = (mean + shading).clamp(0, 1)

        gain, offset = value("stripe_gain"), value("stripe_offset") / GREY_LEVELS
        striped = noisy * has("p_stripes") * (offset.square() + (mean * gain).square()).sqrt()
        undone = frames.chance(self.undone, count)
        mean = mean + striped * self._lines(count, native) * (1 - undone * frames.uniform(0.1, 0.7, count, 1, 1))
        striped = striped * (1 - undone * frames.uniform(0.8, 0.97, count, 1, 1))

        shot = value("poisson_scale") * (mean.clamp(0, 1) / GREY_LEVELS).sqrt()
        sigma = torch.lerp(value("gaussian_sigma") / GREY_LEVELS, shot, has("p_poisson"))
        sigma = noisy * has("p_random") * sigma
        dead = (1 - undone) * touched * has("p_dead") * value("dead_fraction")

        again = frames.chance(self.restretched, count)
        stretch = 1 + again * frames.uniform(-0.4, 0.6, count, 1, 1)
        mean = (mean - 0.5) * stretch + 0.5 + again * frames.uniform(-0.2, 0.2, count, 1, 1)
        deviation = stretch * (detail.square() + striped.square() + sigma.square()).sqrt()
        means, deviations, black, white = _cut_off(mean, deviation)
        # what is left of the noise in a mean of some hundred pixels
        pixels = (native.rows * native.columns / (FINE[0] * FINE[1])).clamp_min(1)
        means = means + stretch * sigma * frames.normal(count, *FINE) / pixels.sqrt()
        shading = F.avg_pool2d((stretch * (shading - shading.mean(dim=(1, 2), keepdim=True)))[:, None], 2)[:, 0]
        return Degraded(
            _view(means, deviations, black, white, dead),
            (size.columns / size.rows).flatten(),
            (stretch * (1 + contrast * (alpha - 1))).flatten(),
            shading,
        )

    def _sizes(self, count: int) -> _Native:
        """Sizes of the frames that the small ones stand for: mostly wide, sometimes upright, of all resolutions."""
        frames = self.frames
        rows = torch.exp(frames.uniform(math.log(200), math.log(720), count, 1, 1))
        aspect = frames.uniform(1.0, 1.6, count, 1, 1)
        return _Native(rows, rows * torch.where(frames.chance(0.1, count) > 0, 1 / aspect, aspect))

    def _lines(self, count: int, native: _Native) -> Tensor:
        """Stripes of deviation 1 as means over the lines behind each row or column."""
        frames = self.frames
        rows = frames.normal(count, FINE[0], 1) * (FINE[0] / native.rows).clamp_max(1).sqrt()
        columns = frames.normal(count, 1, FINE[1]) * (FINE[1] / native.columns).clamp_max(1).sqrt()
        return torch.lerp(rows.expand(-1, *FINE), columns.expand(-1, *FINE), frames.chance(0.5, count))


@dataclass(frozen=True)
class _Native:
    """Rows and columns of pixels of the frames that the small ones stand for, ``[B, 1, 1]`` each."""

    rows: Tensor
    columns: Tensor


def _field(size: _Native, centre: tuple[Tensor, Tensor], cos4: Tensor, inverted: Tensor) -> Tensor:
    """:func:`~hidra_core.degradations.stages.optical_field` of a batch, as ``optical_nonuniformity`` adds it.

    Args:
        size: of the frames, in pixels.
        centre: row and column as shares of the sides, ``[B, 1, 1]`` each.
        cos4: 1 for the form "cos4", 0 for "mirror", ``[B, 1, 1]``.
        inverted: 1 or 0, ``[B, 1, 1]``.

    Returns:
        ``[B, 64, 80]``.
    """
    device = cos4.device
    y = (torch.arange(FINE[0], device=device)[None, :, None] + 0.5) / FINE[0] * size.rows - 0.5
    x = (torch.arange(FINE[1], device=device)[None, None, :] + 0.5) / FINE[1] * size.columns - 0.5
    cy, cx = centre[0] * size.rows, centre[1] * size.columns

    def squared_distance(to_y: Tensor, to_x: Tensor) -> Tensor:
        return (y - to_y).square() + (x - to_x).square()

    to_centre = squared_distance(cy, cx)
    radial = torch.cos((to_centre / to_centre.amax(dim=(1, 2), keepdim=True)).sqrt() * (math.pi / 2)) ** 4
    mirrors = [squared_distance(*mirror) for mirror in ((cy, -3 * cx), (-3 * cy, cx), (5 * cy, cx), (cy, 5 * cx))]
    to_mirror = torch.stack(mirrors).amin(0)
    log = to_centre.clamp_min(100).log() - to_mirror.clamp_min(1).log()
    low, high = log.amin(dim=(1, 2), keepdim=True), log.amax(dim=(1, 2), keepdim=True)
    field = torch.where(cos4 > 0, radial, ((log - low) / (high - low)) ** 4)
    return torch.lerp(field, 1 - field, inverted) - 0.5 * (1 - cos4)


def _cut_off(mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What cutting off at 0 and 1 makes of normally distributed values.

    Args:
        mean: of the values.
        deviation: of the values.

    Returns:
        Mean and deviation of the result, and the shares within half a grey level of 0 and of 1.
    """
    sigma = deviation.clamp_min(1e-4)

    def above(edge: float) -> tuple[Tensor, Tensor]:
        """E[max(v - edge, 0)] and E[max(v - edge, 0)²]."""
        distance = mean - edge
        z = distance / sigma
        density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
        share = torch.special.ndtr(z)
        first = distance * share + sigma * density
        return first, (distance.square() + sigma.square()) * share + distance * sigma * density

    (low, low_square), (high, high_square) = above(0.0), above(1.0)
    result = low - high
    square = low_square - high_square - 2 * high  # (v)² up to 1, and 1 beyond: v² − (v − 1)² − 2 (v − 1) = 1
    edge = 0.5 / GREY_LEVELS
    black, white = torch.special.ndtr((edge - mean) / sigma), torch.special.ndtr((mean - 1 + edge) / sigma)
    return result, (square - result.square()).clamp_min(0).sqrt(), black, white


def _view(mean: Tensor, deviation: Tensor, black: Tensor, white: Tensor, dead: Tensor) -> Tensor:
    """The small view ``[B, 4, 32, 40]`` from the values of its quarter cells; ``dead``: share of pixels at 0 and 1."""
    # half of the dead pixels are black, half are white
    mean, black, white = (torch.lerp(plane, torch.full_like(plane, 0.5), dead) for plane in (mean, black, white))
    mean, deviation = mean.clamp(0, 1), (deviation.square() + dead / 4).sqrt()
    planes = torch.stack([mean, mean.square() + deviation.square(), black, white], dim=1)
    planes = F.avg_pool2d(planes, 2)
    variance = planes[:, 1] - planes[:, 0].square()
    return torch.stack([planes[:, 0], variance.clamp_min(0).sqrt(), planes[:, 2], planes[:, 3]], dim=1)
