"""Linear read-outs of the degradation vector ``P``: what is wrong with an image, and how badly, in words and units.

No human can read ``P``; a probe can, as far as ``P`` knows. ``train/probing/probes.py`` fits probes for one DEM and stores them
in its weights file. All of them are linear maps of ``P``, so that they show what the vector holds and not what a
network behind it could work out, and so that ``P`` can be moved along them: with each kind comes the direction in which
``P`` goes when there is more of it.
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
"""What can be wrong with an image; several at once as a rule."""

LEVELS = ("mild", "moderate", "severe", "extreme")
"""The four severities: degradation presets of the same names, each with every kind in it."""

MAPS = {"presence": len(KINDS), "amount": len(KINDS), "level": len(LEVELS)}
"""The linear maps and their outputs."""


@dataclass(frozen=True)
class Kind:
    """What the two probes of one kind of degradation mean, and how well they do on held-out images.

    Attributes:
        name: one of :data:`KINDS`.
        unit: of the amount.
        threshold: the amount from which on the kind counts as present.
        full: the amount that is severity 1.
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
        probability: that the amount is the threshold or more, in [0, 1].
        amount: in the kind's unit, from 0 to ``kind.full``.
    """

    kind: Kind
    probability: float
    amount: float

    @property
    def present(self) -> bool:
        return self.probability >= 0.5

    @property
    def severity(self) -> float:
        """The amount as a share of the kind's full scale, in [0, 1]."""
        return self.amount / self.kind.full


@dataclass(frozen=True)
class Reading:
    """What the probes say of one image.

    Attributes:
        kinds: one a kind, in the order of :data:`KINDS`.
        levels: probability of each of :data:`LEVELS`, were the image degraded by one of the four presets.
    """

    kinds: tuple[KindReading, ...]
    levels: tuple[float, ...]

    @property
    def level(self) -> str | None:
        """The most probable level; ``None`` where no kind is present, as a level says nothing then."""
        if not any(kind.present for kind in self.kinds):
            return None
        return LEVELS[max(range(len(LEVELS)), key=self.levels.__getitem__)]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, for ``hidra estimate``."""
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
        directions: for each kind the change of ``P`` for one unit more of it, or zeros, ``[6, 256]`` float32, see
            :func:`directions`.
        weight: for each of :data:`MAPS`, ``[outputs, 256]`` float32.
        bias: for each of :data:`MAPS`, ``[outputs]``. ``presence`` gives the logit of a probability, ``amount`` the
            amount in the kind's unit, ``level`` the logits of a softmax; all of them calibrated.
        figures: measured on held-out images: ``level_accuracy``, ``level_calibration_error``.
        fitted: on what they were: numbers of images and frames, seed, frame size.

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
                    "expected 0 ≤ threshold < full"
                )
        for name, outputs in MAPS.items():
            found = tuple(weight[name].shape), tuple(bias[name].shape)
            if found != ((outputs, DEGRADATION_WIDTH), (outputs,)):
                raise ValueError(
                    f"the map '{name}' of the probes has shapes {found[0]} and {found[1]}; "
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
        """One of the linear :data:`MAPS` of ``[B, 256]``, as it is: logits, or amounts that may leave their range."""
        return vectors.detach().float().cpu() @ self.weight[name].T + self.bias[name]

    def read(self, vectors: Tensor) -> list[Reading]:
        """What each of the degradation vectors ``[B, 256]`` says of its image."""
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
        """``P`` with more (or less) of one kind of degradation, and the read-outs of the other kinds as they were.

        The kind's own probability and the level follow as they will. Far from where images lie the adapter has never
        been trained: small changes are the meaningful ones.

        Args:
            vectors: ``[B, 256]``, any device and type.
            kind: one of :data:`KINDS`.
            by: change of the amount, in the kind's unit; negative for less. Amounts that are shown stay within 0 and
                the full scale, those behind them do not.

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
                f"{kind} cannot be moved alone: its probe depends on those of the other kinds, or says the same of "
                "every image; fit again"
            )
        return vectors + (direction * by).to(vectors)

    def header(self) -> dict[str, Any]:
        """What a file's header says of the probes, plain JSON types; :meth:`from_header` reads it."""
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
                raise ValueError(f"units are texts and figures numbers, of {[f.name for f in fields(Kind)]}")
            return cls(kinds, directions, weight, bias, header["figures"], header["fitted"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"entries of the probes are missing or of another kind ({error!r})") from error


def directions(weight: Mapping[str, Tensor], covariance: Tensor) -> Tensor:
    """For each kind the change of ``P`` by which its amount grows by 1 and nothing read of the other kinds changes.

    Of all such changes the likeliest among images: the smallest in the Mahalanobis norm of their vectors. The smallest
    in Euclidean norm would go where a probe is most sensitive, which is where hardly any image differs from another,
    and the adapter would not notice. With ``A`` the constraints' rows, it is ``C Aᵀ (A C Aᵀ)⁻¹`` of what they ask for
    (cf. Haufe et al., 2014: a linear read-out's weights are no pattern of what it reads).

    Args:
        weight: of the maps ``amount`` and ``presence``, ``[6, 256]`` each.
        covariance: of degradation vectors of images with all kinds in all amounts, ``[256, 256]``.

    Returns:
        ``[6, 256]`` float32; zeros for a kind that cannot be moved alone, as its probe depends on those of the others
        or says the same of every image.
    """
    amount, presence = weight["amount"].double(), weight["presence"].double()
    spread = covariance.double()
    found = []
    for index in range(len(KINDS)):
        others = [i for i in range(len(KINDS)) if i != index]
        rows = torch.cat([amount[[index]], amount[others], presence[others]])
        variance = (rows @ spread * rows).sum(dim=1)
        silent = variance <= 0  # a probe that says the same of every image stays as it is anyhow
        if silent[0]:
            found.append(torch.zeros_like(amount[0]))
            continue
        rows = rows[~silent] / variance[~silent, None].sqrt()
        gram = rows @ spread @ rows.T
        if torch.linalg.eigvalsh(gram)[0] < 1e-6:
            found.append(torch.zeros_like(amount[0]))
            continue
        step = spread @ rows.T @ torch.linalg.inv(gram)[:, 0]
        found.append(step / (amount[index] @ step))
    return torch.stack(found).float()
