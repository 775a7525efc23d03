"""The bi-level solver: gradients of the lower and of the upper level.

Source: HiDRA (CVPR 2026), bi-level optimisation. The lower level finds θ (adapter) that minimises Φ on the training
set for a given ω (DEM); the upper level finds ω whose best θ minimises Ψ on freshly degraded images. After T lower
steps θ is taken as the solution; with Gauss-Newton approximations of the second derivatives the gradient is

    G = ∂Ψ/∂ω − (⟨∂Ψ/∂θ, ∂Φ/∂θ⟩ / ⟨∂Φ/∂θ, ∂Φ/∂θ⟩) · ∂Φ/∂ω

exact where Φ is the square of one linear residual. One graph of Ψ and one of Φ serve both of their derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

Term = Callable[[], AbstractContextManager[Tensor]]
"""Builds the graph of one part of a loss. The graph is valid within the block: gradient checkpointing runs parts of the
network again during the backward pass, and the adapter has to be attached then as well."""

Reduce = Callable[[list[Tensor]], list[Tensor]]
"""Averages gradients over the processes of a data-parallel run."""


def alone(gradients: list[Tensor]) -> list[Tensor]:
    """The :data:`Reduce` of a run in one process."""
    return gradients


def gradient(terms: Sequence[Term], parameters: Sequence[Tensor], reduce: Reduce = alone) -> list[Tensor]:
    """The gradient of the mean of several losses, each graph freed before the next is built.

    Args:
        terms: parts of the batch.
        parameters: leaf tensors; those that a loss does not depend on count as zero.
        reduce: averages over processes.

    Returns:
        One tensor per parameter.
    """
    total: list[Tensor] = []
    for term in terms:
        with term() as loss:
            parts = torch.autograd.grad(loss / len(terms), parameters, materialize_grads=True)
        if total:
            torch._foreach_add_(total, parts)
        else:
            total = list(parts)
    return reduce(total)


@dataclass(frozen=True)
class Hypergradient:
    """The upper level's gradient ``G`` and what it is made of.

    Attributes:
        gradient: one tensor per parameter of ω.
        ratio: ``⟨∂Ψ/∂θ, ∂Φ/∂θ⟩ / ⟨∂Φ/∂θ, ∂Φ/∂θ⟩``; 0 where the nested term was skipped.
        direct_norm: of ``∂Ψ/∂ω``.
        nested_norm: of ``weight · ratio · ∂Φ/∂ω``.
        skipped: why the nested term was left out, or None.
    """

    gradient: list[Tensor]
    ratio: float
    direct_norm: float
    nested_norm: float
    skipped: str | None = None


def hypergradient(
    upper: Sequence[Term],
    lower: Sequence[Term],
    theta: Sequence[Tensor],
    omega: Sequence[Tensor],
    *,
    weight: float = 1.0,
    reduce: Reduce = alone,
) -> Hypergradient:
    """``G`` at the current θ and ω.

    Args:
        upper: parts of Ψ, for instance one per degradation pipeline of D_val.
        lower: parts of Φ on D_tr.
        theta: the parameters of the lower level.
        omega: the parameters of the upper level.
        weight: factor on the nested term; 0 leaves it out (alternating optimisation) and never looks at ``lower``.
        reduce: averages gradients over processes. It is applied before the inner products: those of averaged gradients
            are not the average of the inner products.

    Returns:
        The gradient and its parts.
    """
    if weight == 0:
        direct = gradient(upper, omega, reduce)
        return Hypergradient(direct, 0.0, norm(direct), 0.0)
    parameters = [*theta, *omega]
    psi = gradient(upper, parameters, reduce)
    phi = gradient(lower, parameters, reduce)
    psi_theta, direct = psi[: len(theta)], psi[len(theta) :]
    phi_theta, phi_omega = phi[: len(theta)], phi[len(theta) :]
    square = inner(phi_theta, phi_theta)
    if not math.isfinite(square) or square <= torch.finfo(torch.float32).tiny:
        why = "vanishes" if square <= torch.finfo(torch.float32).tiny else "is not finite"
        return Hypergradient(direct, 0.0, norm(direct), 0.0, f"the inner gradient ∂Φ/∂θ {why}")
    ratio = inner(psi_theta, phi_theta) / square
    if not math.isfinite(ratio):
        return Hypergradient(direct, 0.0, norm(direct), 0.0, "the gradient ∂Ψ/∂θ is not finite")
    nested = [weight * ratio * part for part in phi_omega]
    total = [a - b for a, b in zip(direct, nested, strict=True)]
    return Hypergradient(total, ratio, norm(direct), norm(nested))


def inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """The inner product of two lists of tensors of the same shapes, summed over the tensors in double precision."""
    products = [torch.dot(a.flatten(), b.flatten()).double() for a, b in zip(left, right, strict=True)]
    return torch.stack(products).sum().item() if products else 0.0


def norm(tensors: Sequence[Tensor]) -> float:
    """The Euclidean norm of a list of tensors."""
    return math.sqrt(inner(tensors, tensors))
