"""Linear read-outs of the degradation vector ``P``: what is wrong with an image, and how badly, in words and units.

No human can read ``P``; a probe can, as far as ``P`` knows. ``train/probing/probes.py`` fits probes for one DEM and
stores them in its weights file. All of them are linear maps of ``P``, so that they show what the vector holds and not
what a network behind it could work out, and so that ``P`` can be moved along them: with each kind comes the direction
in which ``P`` goes when there is more of it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..dem import DEGRADATION_WIDTH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KINDS = ("stripes", "noise", "blur", "low resolution", "low contrast", "non-uniformity")
"""Kinds of degradation: what can be wrong with an image, usually several of them at once."""

LEVELS = ("mild", "moderate", "severe", "extreme")
"""The four severities: degradation presets of the same names, each with every kind in it."""

MAPS = {"presence": len(KINDS), "amount": len(KINDS), "level": len(LEVELS)}
"""The linear maps and their outputs."""


@dataclass(frozen=True)
class Kind:
    """What the two probes of one kind of degradation mean, and how good they are on held-out images.

    Attributes:
        name: one of :data:`KINDS`.
        unit: what the amount is measured in.
        threshold: the least amount that counts as present.
        full: the amount of severity 1, the full scale.
        figures: measured on held-out images: ``accuracy`` (presence, mean over present and absent images),
            ``calibration_error`` (of the probability, expected, 0 to 1) and ``amount_error`` (mean absolute, in
            ``unit``).
    """

    name: str
    unit: str
    threshold: float
    full: float
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class KindReading:
    """One kind of degradation in one image.

    Attributes:
        kind: what the numbers mean.
        probability: of the amount being the threshold or more, in [0, 1].
        amount: in the kind's unit, from 0 to ``kind.full``.
    """

    kind: Kind
    probability: float
    amount: float

    @property
    def present(self) -> bool:
        """Whether this kind is more likely there than not."""
        return self.probability >= 0.5

    @property
    def severity(self) -> float:
        """The amount as a share of the kind's full scale, in [0, 1]."""
        return self.amount / self.kind.full


@dataclass(frozen=True)
class Reading:
    """What the probes say about one image.

    Attributes:
        kinds: one per kind, in the order of :data:`KINDS`.
        levels: probability of each of :data:`LEVELS`, if the image was degraded by one of the four presets.
    """

    kinds: tuple[KindReading, ...]
    levels: tuple[float, ...]

    @property
    def level(self) -> str | None:
        """The most probable level; ``None`` where no kind is present, since a level means nothing then."""
        if not any(kind.present for kind in self.kinds):
            return None
        return LEVELS[max(range(len(LEVELS)), key=self.levels.__getitem__)]

    def to_dict(self) -> dict[str, Any]:
        """The reading in plain JSON types, for ``hidra estimate``."""
        return {
            "level": self.level,
            "levels": {name: round(share, 4) for name, share in zip(LEVELS, self.levels, strict=True)},
            "kinds": {
                reading.kind.name: {
                    "probability": round(reading.probability, 4),
                    "amount": round(reading.amount, 4),
                    "unit": reading.kind.unit,
                    "severity": round(reading.severity, 4),
                }
                for reading in self.kinds
            },
        }


class Probes:
    """The probes of one DEM.

    Args:
        kinds: one for each of :data:`KINDS`, in that order.
        directions: for each kind the change of ``P`` for one unit more of it, or zeros where there is none, as
            ``[6, 256]`` float32, see :func:`directions`.
        weight: for each of :data:`MAPS`, ``[outputs, 256]`` float32.
        bias: for each of :data:`MAPS`, ``[outputs]``. ``presence`` gives the logit of a probability, ``amount`` the
            amount in the kind's unit, ``level`` the logits of a softmax; all of them calibrated.
        figures: measured on held-out images: ``level_accuracy``, ``level_calibration_error``.
        fitted: what they were fitted on: numbers of images and frames, seed, frame size.

    Raises:
        ValueError: other kinds, maps of another shape, or directions that do not change the amounts by 1.
    """

    def __init__(
        self,
        kinds: Sequence[Kind],
        directions: Tensor,
        weight: Mapping[str, Tensor],
        bias: Mapping[str, Tensor],
        figures: Mapping[str, float] | None = None,
        fitted: Mapping[str, Any] | None = None,
    ) -> None:
        names = tuple(kind.name for kind in kinds)
        if names != KINDS:
            raise ValueError(f"probes are of the kinds {', '.join(names)}; expected {', '.join(KINDS)}")
        for kind in kinds:
            if not 0 <= kind.threshold < kind.full:
                raise ValueError(
                    f"the probe of {kind.name} has threshold {kind.threshold:g} and full scale {kind.full:g}; "
                    "expected 0 <= threshold < full"
                )
        for name, outputs in MAPS.items():
            shapes = tuple(weight[name].shape), tuple(bias[name].shape)
            if shapes != ((outputs, DEGRADATION_WIDTH), (outputs,)):
                raise ValueError(
                    f"the map '{name}' of the probes has shapes {shapes[0]} and {shapes[1]}; "
                    f"expected ({outputs}, {DEGRADATION_WIDTH}) and ({outputs},)"
                )
        if tuple(directions.shape) != (len(KINDS), DEGRADATION_WIDTH):
            raise ValueError(
                f"the directions of the probes have shape {tuple(directions.shape)}; "
                f"expected ({len(KINDS)}, {DEGRADATION_WIDTH})"
            )
        self.directions = directions.detach().float().cpu()
        self.kinds = tuple(kinds)
        self.weight = {name: weight[name].detach().float().cpu() for name in MAPS}
        self.bias = {name: bias[name].detach().float().cpu() for name in MAPS}
        change = (self.directions * self.weight["amount"]).sum(dim=1)
        if not torch.allclose(change, self.directions.any(dim=1).float(), atol=1e-3):
            raise ValueError("the directions of the probes do not change the amounts of their kinds by 1")
        self.figures = dict(figures or {})
        self.fitted = dict(fitted or {})

    def outputs(self, name: str, vectors: Tensor) -> Tensor:
        """The outputs of one of the linear :data:`MAPS`: logits, or amounts that may leave their range.

        Args:
            name: of the map.
            vectors: ``[B, 256]``.

        Returns:
            ``[B, outputs]`` float32 on the CPU.
        """
        return vectors.detach().float().cpu() @ self.weight[name].T + self.bias[name]

    def read(self, vectors: Tensor) -> list[Reading]:
        """What each of the degradation vectors ``[B, 256]`` says about its image."""
        presence = self.outputs("presence", vectors).sigmoid().tolist()
        amounts = self.outputs("amount", vectors).tolist()
        levels = self.outputs("level", vectors).softmax(dim=1).tolist()
        return [
            Reading(
                tuple(
                    KindReading(kind, probability, min(max(amount, 0.0), kind.full))
                    for kind, probability, amount in zip(self.kinds, *row, strict=True)
                ),
                tuple(shares),
            )
            for row, shares in zip(zip(presence, amounts, strict=True), levels, strict=True)
        ]

    def moved(self, vectors: Tensor, kind: str, by: float) -> Tensor:
        """``P`` with more (or less) of one kind of degradation; the read-outs of the other kinds do not change.

        The kind's own probability and the level change with it. Far from the vectors of real images the adapter has
        never been trained: small changes are the meaningful ones.

        Args:
            vectors: ``[B, 256]``, any device and type.
            kind: one of :data:`KINDS`.
            by: change of the amount, in the kind's unit; negative for less. :meth:`read` limits amounts to the range
                from 0 to the full scale; this does not.

        Returns:
            A new tensor like ``vectors``.

        Raises:
            ValueError: an unknown kind, a change that is not a finite number, or a kind that cannot be moved alone.
        """
        if kind not in KINDS:
            raise ValueError(f"unknown kind of degradation '{kind}'; known kinds: {', '.join(KINDS)}")
        if not torch.tensor(float(by)).isfinite():
            raise ValueError(f"the change of {kind} must be a finite number, got {by}")
        direction = self.directions[KINDS.index(kind)]
        if not direction.any():
            raise ValueError(
                f"{kind} cannot be moved alone: its probe depends on those of the other kinds, or says the same about "
                "every image; fit again"
            )
        return vectors + (direction * by).to(vectors)

    def header(self) -> dict[str, Any]:
        """What a file's header says about the probes, in plain JSON types; :meth:`from_header` reads it."""
        return {
            "kinds": [asdict(kind) for kind in self.kinds],
            "levels": list(LEVELS),
            "figures": self.figures,
            "fitted": self.fitted,
        }

    @classmethod
    def from_header(
        cls, header: Mapping[str, Any], directions: Tensor, weight: Mapping[str, Tensor], bias: Mapping[str, Tensor]
    ) -> Probes:
        """The inverse of :meth:`header`, with the tensors.

        Raises:
            ValueError: entries are missing, unknown or of another type.
        """
        try:
            kinds = [Kind(**entry) for entry in header["kinds"]]
            if tuple(header["levels"]) != LEVELS:
                raise ValueError(f"levels are {header['levels']}; expected {list(LEVELS)}")
            words = all(isinstance(kind.unit, str) for kind in kinds)
            numbers = [number for kind in kinds for number in (kind.threshold, kind.full, *kind.figures.values())]
            if not words or not all(type(n) in (int, float) for n in (*numbers, *header["figures"].values())):
                raise ValueError(f"units must be texts and figures numbers, in {[f.name for f in fields(Kind)]}")
            return cls(kinds, directions, weight, bias, header["figures"], header["fitted"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"entries of the probes are missing or of another kind ({error!r})") from error


def directions(weight: Mapping[str, Tensor], covariance: Tensor) -> Tensor:
    """For each kind the change of ``P`` that raises its amount by 1 and leaves what is read of the other kinds alone.

    Many changes do that. This is the likeliest among images: the smallest in the Mahalanobis norm of their vectors. The
    smallest in Euclidean norm would go where a probe is most sensitive, which is where hardly any image differs from
    another, and the adapter would not notice it. With the read-outs in question as rows of ``A``, the covariance ``C``
    and the wanted changes ``b`` (1 for the amount, 0 for the others), it is ``C A^T (A C A^T)^-1 b`` (cf. Haufe et al.,
    2014: the weights of a linear read-out are not the pattern of what it reads).

    Args:
        weight: of the maps ``amount`` and ``presence``, ``[6, 256]`` each.
        covariance: of degradation vectors of images with all kinds in all amounts, ``[256, 256]``.

    Returns:
        ``[6, 256]`` float32; zeros for a kind that cannot be moved alone, because its probe depends on those of the
        others or says the same about every image.
    """
    amount, presence = weight["amount"].double(), weight["presence"].double()
    spread = covariance.double()
    steps = []
    for index in range(len(KINDS)):
        others = [i for i in range(len(KINDS)) if i != index]
        rows = torch.cat([amount[[index]], amount[others], presence[others]])
        variance = (rows @ spread * rows).sum(dim=1)
        silent = variance <= 0  # a probe that says the same about every image cannot change anyhow
        if silent[0]:
            steps.append(torch.zeros_like(amount[0]))
            continue
        rows = rows[~silent] / variance[~silent, None].sqrt()
        gram = rows @ spread @ rows.T
        if torch.linalg.eigvalsh(gram)[0] < 1e-6:
            steps.append(torch.zeros_like(amount[0]))
            continue
        step = spread @ rows.T @ torch.linalg.inv(gram)[:, 0]
        steps.append(step / (amount[index] @ step))
    return torch.stack(steps).float()
