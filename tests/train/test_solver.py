"""The bi-level solver against exact hypergradients, against separate autograd calls, and under data parallelism."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch
import torch.multiprocessing as multiprocessing
from helpers import reference
from torch import Tensor

from hidra_core.dem import DegradationEstimator, build_dinov2
from train.method.model import Enhancer
from train.method.solver import Term, gradient, hypergradient, inner

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDING = 1e-3
"""Relative, in fp32: one step at t = 999 multiplies rounding errors by 1/sqrt(ᾱ) = 14.6."""


def term(function) -> Term:
    @contextmanager
    def block() -> Iterator[Tensor]:
        yield function()

    return block


def leaf(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def test_exact_for_the_square_of_one_linear_residual() -> None:
    """Φ = (aᵀθ + bᵀω − c)²: its minimisers in θ form a plane; the one nearest to where θ is moves with ω."""
    a, b = leaf(5, seed=0).detach(), leaf(3, seed=1).detach()
    target, mix = leaf(5, seed=2).detach(), leaf(3, 5, seed=3).detach()
    omega, theta = leaf(3, seed=4), leaf(5, seed=5)

    def phi(theta: Tensor, omega: Tensor) -> Tensor:
        return (a @ theta + b @ omega - 0.7).square()

    def psi(theta: Tensor, omega: Tensor) -> Tensor:
        return (theta - target).square().sum() + torch.tanh(omega @ mix @ theta)

    def solution(omega: Tensor) -> Tensor:
        return theta.detach() - a * (a @ theta.detach() + b @ omega - 0.7) / (a @ a)

    # ∂Ψ/∂θ at the solution, Φ's gradients near it, where they do not vanish: G depends on their direction alone
    at = solution(omega.detach()).requires_grad_()
    near = (at.detach() + 1e-6 * a).requires_grad_()
    psi_theta, psi_omega = torch.autograd.grad(psi(at, omega), (at, omega))
    result = hypergradient(
        [term(lambda: psi_theta @ near + psi_omega @ omega)], [term(lambda: phi(near, omega))], [near], [omega]
    )
    step, exact = 1e-6, torch.empty(3, dtype=torch.float64)
    for i in range(3):
        shift = step * torch.eye(3, dtype=torch.float64)[i]
        plus, minus = omega.detach() + shift, omega.detach() - shift
        exact[i] = (psi(solution(plus), plus) - psi(solution(minus), minus)) / (2 * step)
    torch.testing.assert_close(result.gradient[0], exact, rtol=0, atol=1e-5)
    assert result.nested_norm > 0.01  # the direct term alone would not do
    assert not torch.allclose(psi_omega, exact, atol=1e-2)


def test_points_as_the_unrolled_gradient_where_the_direct_one_does_not() -> None:
    """Two-layer networks that fit one sample each; 20 lower steps of G against 200 steps differentiated through."""
    agreement = []
    for seed in range(30):
        inputs = {name: leaf(4, seed=seed + shift).detach() for name, shift in (("train", 0), ("val", 100))}
        omega = leaf(3, seed=seed + 300)
        start = [leaf(4, 3, seed=seed + 400), leaf(3, seed=seed + 500)]

        def loss(theta: list[Tensor], omega: Tensor, name: str, inputs: dict[str, Tensor] = inputs) -> Tensor:
            target = 0.8 if name == "train" else -0.3
            return (torch.tanh(inputs[name] @ theta[0] + omega) @ theta[1] - target).square()

        unrolled = start
        for _ in range(200):
            grads = torch.autograd.grad(loss(unrolled, omega, "train"), unrolled, create_graph=True)
            unrolled = [t - 0.05 * g for t, g in zip(unrolled, grads, strict=True)]
        exact = torch.autograd.grad(loss(unrolled, omega, "val"), omega)[0]
        theta = start
        for _ in range(20):
            grads = torch.autograd.grad(loss(theta, omega.detach(), "train"), theta)
            theta = [(t - 0.05 * g).detach().requires_grad_() for t, g in zip(theta, grads, strict=True)]
        terms = {name: [term(partial(loss, theta, omega, name))] for name in inputs}
        result = hypergradient(terms["val"], terms["train"], theta, [omega])
        direct = torch.autograd.grad(loss(theta, omega, "val"), omega)[0]
        agreement.append([torch.cosine_similarity(g, exact, dim=0).item() for g in (result.gradient[0], direct)])
    solver, direct = torch.tensor(agreement).T
    assert (solver > 0).sum() >= 27 > (direct > 0).sum()
    assert ((solver > 0.8) & (direct < 0)).sum() >= 3


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_useless_inner_gradient_skips_the_nested_term_and_says_so(value: float) -> None:
    theta, omega = leaf(2, seed=0), leaf(2, seed=1)
    result = hypergradient(
        [term(lambda: (theta * omega).sum())], [term(lambda: value * (theta + omega).sum())], [theta], [omega]
    )
    assert result.skipped is not None
    assert "∂Φ/∂θ" in result.skipped
    assert result.ratio == result.nested_norm == 0
    assert torch.equal(result.gradient[0], theta.detach())


def test_alternating_never_looks_at_the_lower_loss() -> None:
    theta, omega = leaf(2, seed=0), leaf(2, seed=1)

    def forbidden() -> Tensor:
        raise AssertionError

    result = hypergradient([term(lambda: (theta * omega).sum())], [term(forbidden)], [theta], [omega], weight=0)
    assert torch.equal(result.gradient[0], theta.detach())


# ------------------------------------------------------------------------------ with the reference networks


def make_enhancer(checkpointing: bool = False) -> Enhancer:
    torch.manual_seed(0)
    backbone = reference.make_backbone()
    estimator = DegradationEstimator(build_dinov2(reference.SMALL_DINOV2))
    enhancer = Enhancer(backbone, estimator, reference.make_adapter(), reference.load("enhance")["text_embedding"])
    if checkpointing:
        again = partial(torch.utils.checkpoint.checkpoint, use_reentrant=False)
        for network in (enhancer.unet, enhancer.vae):
            network.enable_gradient_checkpointing(again)
            network.train()
    return enhancer


def images(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(count, 1, 64, 64, generator=generator) * 2 - 1 for _ in range(2))


def loss_terms(enhancer: Enhancer, seed: int, count: int = 2, rows: slice = slice(None)) -> list[Term]:
    degraded, clean = images(count, seed)

    @contextmanager
    def block() -> Iterator[Tensor]:
        with enhancer.enhanced(degraded[rows], degraded[rows]) as output:
            yield (output - clean[rows]).square().mean()

    return [block]


def relative(result: list[Tensor], expected: list[Tensor]) -> float:
    error = [a - b for a, b in zip(result, expected, strict=True)]
    return (inner(error, error) / inner(expected, expected)) ** 0.5


@pytest.fixture(scope="module")
def expected() -> list[Tensor]:
    """G from four separate autograd calls on the reference networks."""
    enhancer = make_enhancer()
    theta, omega = enhancer.theta(), enhancer.omega()
    parts = {}
    for name, seed in (("psi", 1), ("phi", 2)):
        for level, parameters in (("theta", theta), ("omega", omega)):
            with loss_terms(enhancer, seed)[0]() as loss:
                parts[name, level] = torch.autograd.grad(loss, parameters, materialize_grads=True)
    ratio = inner(parts["psi", "theta"], parts["phi", "theta"]) / inner(parts["phi", "theta"], parts["phi", "theta"])
    return [a - ratio * b for a, b in zip(parts["psi", "omega"], parts["phi", "omega"], strict=True)]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_equals_four_separate_gradients(expected: list[Tensor], checkpointing: bool) -> None:
    enhancer = make_enhancer(checkpointing)
    result = hypergradient(loss_terms(enhancer, 1), loss_terms(enhancer, 2), enhancer.theta(), enhancer.omega())
    assert result.skipped is None
    assert result.nested_norm > 0
    assert relative(result.gradient, expected) < ROUNDING
    for network in (enhancer.unet, enhancer.vae):
        assert not any(module._forward_hooks for module in network.modules())


def _one_process(rank: int, port: int, queue) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    enhancer = make_enhancer()

    def mean(gradients: list[Tensor]) -> list[Tensor]:
        for tensor in gradients:
            torch.distributed.all_reduce(tensor)
            tensor /= 2
        return gradients

    half = slice(rank, rank + 1)
    result = hypergradient(
        loss_terms(enhancer, 1, rows=half),
        loss_terms(enhancer, 2, rows=half),
        enhancer.theta(),
        enhancer.omega(),
        reduce=mean,
    )
    if rank == 0:
        queue.put([tensor.numpy() for tensor in result.gradient])
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_processes_with_half_a_batch_each_equal_one_with_all(expected: list[Tensor]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    processes = multiprocessing.start_processes(_one_process, (port, queue), nprocs=2, join=False, start_method="spawn")
    result = [torch.from_numpy(array) for array in queue.get()]
    processes.join()
    assert relative(result, expected) < ROUNDING


def test_mean_of_micro_batches_is_the_batchs_gradient() -> None:
    enhancer = make_enhancer()
    parameters = [*enhancer.theta(), *enhancer.omega()]
    whole = gradient(loss_terms(enhancer, 1), parameters)
    halves = [loss_terms(enhancer, 1, rows=slice(i, i + 1))[0] for i in range(2)]
    assert relative(gradient(halves, parameters), whole) < ROUNDING
