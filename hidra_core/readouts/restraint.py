"""How much of the model's change an image gets, read off its degradation vector: good images are left as they are.

An autoencoder that is small, or compresses, cannot give an image back to the bit, and a guess of the brightness that
the degradation destroyed can only harm where it destroyed nothing. The vector ``P`` knows how much is wrong with an
image; a linear read-out of it says what share of the change is worth taking, of low and of high frequencies.
``train/probing/restraint.py`` fits it for one pair of weights and backbone and stores it in the weights file. This is an
addition to the method: files without it, such as the authors' converted ones, take all of the change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..dem import DEGRADATION_WIDTH
from ..images import blend as fidelity

if TYPE_CHECKING:
    from torch import Tensor

BANDS = ("low", "high")
"""Frequencies below and above the cut-off, in the order of the outputs."""


class Restraint:
    """Shares of the change as a logistic function of ``P``.

    Args:
        weight: ``[2, 256]``.
        bias: ``[2]``.
        cutoff: between the two bands, see :func:`~hidra_core.images.blend.lowpass`.
        fitted: how it was fitted and what it does, plain JSON types.

    Raises:
        ValueError: other shapes, or a cut-off out of range.
    """

    def __init__(self, weight: Tensor, bias: Tensor, cutoff: float, fitted: dict[str, Any] | None = None) -> None:
        expected = (len(BANDS), DEGRADATION_WIDTH), (len(BANDS),)
        if (tuple(weight.shape), tuple(bias.shape)) != expected:
            raise ValueError(
                f"a restraint has weight and bias of shapes {expected[0]} and {expected[1]}, got "
                f"{tuple(weight.shape)} and {tuple(bias.shape)}"
            )
        fidelity.check_blend(1.0, cutoff=cutoff)
        self.weight = weight.detach().float().cpu()
        self.bias = bias.detach().float().cpu()
        self.cutoff = float(cutoff)
        self.fitted = dict(fitted or {})

    def shares(self, vectors: Tensor) -> Tensor:
        """The share of the change that is taken, ``[B, 2]`` in (0, 1) for low and high frequencies, by ``[B, 256]``."""
        return (vectors.detach().float().cpu() @ self.weight.T + self.bias).sigmoid()

    def apply(self, before: Tensor, after: Tensor, vectors: Tensor) -> Tensor:
        """What is taken of the change from ``before`` to ``after``, images ``[B, 1, H, W]`` on the CPU.

        Args:
            before, after: on any scale that they share.
            vectors: ``P``, ``[B, 256]``, or ``[1, 256]`` for all of them.
        """
        low_share, high_share = self.shares(vectors).T[..., None, None, None]
        change = (after - before).float()
        low = fidelity.lowpass(change[:, 0].movedim(0, -1), self.cutoff).movedim(-1, 0)[:, None]
        return before + low_share * low + high_share * (change - low)

    def header(self) -> dict[str, Any]:
        """What a file's header says of it, plain JSON types; :meth:`from_header` reads it."""
        return {"cutoff": self.cutoff, "fitted": self.fitted}

    @classmethod
    def from_header(cls, header: dict[str, Any], weight: Tensor, bias: Tensor) -> Restraint:
        """The inverse of :meth:`header`, with the tensors.

        Raises:
            ValueError: entries are missing or of another type.
        """
        cutoff, fitted = header.get("cutoff"), header.get("fitted")
        if type(cutoff) not in (int, float) or not isinstance(fitted, dict):
            raise ValueError("its header lacks the number 'cutoff' or the table 'fitted'")
        return cls(weight, bias, cutoff, fitted)
