"""How much of the model's change an image gets, read off its degradation vector: good images are left alone.

An autoencoder that is small, or that compresses, cannot give an image back to the bit, and a guess of the brightness
that the degradation destroyed can only do harm where nothing was destroyed. The vector ``P`` knows how much is wrong
with an image; a linear read-out of it says which share of the change to apply, for low and for high frequencies. Where
the weights have a corrector, it also says how much its word counts against that of the networks.
``train/probing/restraint.py`` fits it for one pair of weights and backbone and stores it in the weights file. This is
an addition to the method: weights without it, such as the authors' converted ones, get all of the change applied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from einops import rearrange

from ..dem import DEGRADATION_WIDTH
from ..images.blend import check_blend, lowpass

if TYPE_CHECKING:
    from torch import Tensor

BANDS = ("low", "high")
"""Frequencies below and above the cut-off, in the order of the outputs."""

PARTS = (*BANDS, "corrector")
"""What a restraint that knows the corrector weighs: the bands of the change, and how much of its word counts."""


class Restraint:
    """The shares of the change to apply, as a logistic function of ``P``.

    Args:
        weight: ``[2, 256]``, one row for each of :data:`BANDS`, or ``[3, 256]`` for :data:`PARTS`.
        bias: ``[2]`` or ``[3]``.
        cutoff: period in pixels of the input that separates the two bands, see
            :func:`~hidra_core.images.blend.lowpass`.
        fitted: how it was fitted and what it achieves, plain JSON types.

    Raises:
        ValueError: other shapes, or a cut-off out of range.
    """

    def __init__(self, weight: Tensor, bias: Tensor, cutoff: float, fitted: dict[str, Any] | None = None) -> None:
        outputs = len(PARTS) if len(weight) == len(PARTS) else len(BANDS)
        expected = (outputs, DEGRADATION_WIDTH), (outputs,)
        if (tuple(weight.shape), tuple(bias.shape)) != expected:
            raise ValueError(
                f"a restraint has weight and bias of shapes {expected[0]} and {expected[1]}, got "
                f"{tuple(weight.shape)} and {tuple(bias.shape)}"
            )
        check_blend(1.0, cutoff=cutoff)
        self.weight = weight.detach().float().cpu()
        self.bias = bias.detach().float().cpu()
        self.cutoff = float(cutoff)
        self.fitted = dict(fitted or {})

    @property
    def knows_corrector(self) -> bool:
        """Whether it has a share for the corrector."""
        return len(self.bias) == len(PARTS)

    def shares(self, vectors: Tensor) -> Tensor:
        """The shares in (0, 1) of the change to apply, ``[B, 2]`` or ``[B, 3]``, for ``[B, 256]``."""
        return (vectors.detach().float().cpu() @ self.weight.T + self.bias).sigmoid()

    def apply(
        self, before: Tensor, after: Tensor, vectors: Tensor, *, factor: int = 1, corrected: Tensor | None = None
    ) -> Tensor:
        """Go from ``before`` towards ``after`` by the shares that the vectors call for.

        Args:
            before: ``[B, 1, H, W]`` on the CPU, on any scale.
            after: the same images enhanced, on the same scale.
            vectors: ``P``, ``[B, 256]``, or ``[1, 256]`` for all of them.
            factor: how many times larger the images are than the ones that the vectors were read off. The cut-off is in
                pixels of the latter, so that a structure of the scene belongs to the same band at every enlargement.
            corrected: the change that the corrector asks of ``after``, ``[B, 1, H, W]``, for a restraint that
                :attr:`knows_corrector`: the product of its share and that of the low frequencies comes first, so that
                what it says of a good image counts for next to nothing.

        Returns:
            ``[B, 1, H, W]``.
        """
        low_share, high_share, *corrector_share = self.shares(vectors).T[..., None, None, None]
        if corrected is not None:
            after = after + low_share * corrector_share[0] * corrected
        change = (after - before).float()
        low = lowpass(rearrange(change, "b 1 h w -> h w b"), self.cutoff * factor)
        low = rearrange(low, "h w b -> b 1 h w")
        return before + low_share * low + high_share * (change - low)

    def header(self) -> dict[str, Any]:
        """What a file's header says about it, in plain JSON types; :meth:`from_header` reads it."""
        return {"cutoff": self.cutoff, "fitted": self.fitted}

    @classmethod
    def from_header(cls, header: dict[str, Any], weight: Tensor, bias: Tensor) -> Restraint:
        """The inverse of :meth:`header`, with the tensors.

        Raises:
            ValueError: entries are missing or of another type.
        """
        cutoff, fitted = header.get("cutoff"), header.get("fitted")
        if not isinstance(cutoff, int | float) or isinstance(cutoff, bool) or not isinstance(fitted, dict):
            raise ValueError("its header lacks the number 'cutoff' or the table 'fitted'")
        return cls(weight, bias, cutoff, fitted)
