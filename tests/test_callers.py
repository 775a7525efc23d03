"""What programs do around the library: threads that share networks, results that are used on, arguments mixed up."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from helpers.reference import load, unchanged

from hidra_core import DegradationVectors, enhance, estimate

if TYPE_CHECKING:
    from hidra_core import DiffusersBackbone, Weights


@pytest.fixture(scope="module")
def degradation(weights: Weights) -> DegradationVectors:
    """The reference's two vectors."""
    return DegradationVectors(load("enhance")["degradation_vector"], weights)


def image(seed: int = 0, channels: int = 1) -> torch.Tensor:
    return torch.rand((64, 64, channels), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("fold", [True, False])
def test_threads_that_share_a_backbone_do_not_share_adaptations(
    backbone: DiffusersBackbone, degradation: DegradationVectors, fold: bool
) -> None:
    single = [DegradationVectors(vector[None], degradation.weights) for vector in degradation.vectors]
    alone = [enhance(image(number), backbone, single[number], fold=fold) for number in range(2)]
    assert not torch.equal(
        enhance(image(0), backbone, single[1], fold=fold), alone[0]
    )  # else nothing could be told apart
    both_began = threading.Barrier(2)
    results: dict[int, list[torch.Tensor]] = {0: [], 1: []}

    def work(number: int) -> None:
        both_began.wait(20)
        for _ in range(6):
            results[number].append(enhance(image(number), backbone, single[number], fold=fold))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    with unchanged(backbone.unet, backbone.vae):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number, expected in enumerate(alone):
        assert [torch.equal(result, expected) for result in results[number]] == [True] * 6


def test_threads_that_share_a_folded_context_take_turns(
    backbone: DiffusersBackbone, degradation: DegradationVectors
) -> None:
    one = DegradationVectors(degradation.vectors[:1], degradation.weights)
    context = backbone.folded(degradation.weights.adapter.modulate(one.vectors, 1.0))
    expected = enhance(image(), backbone, one, fold=context)
    results: list[torch.Tensor] = []
    threads = [
        threading.Thread(target=lambda: results.append(enhance(image(), backbone, one, fold=context))) for _ in range(4)
    ]
    with unchanged(backbone.unet, backbone.vae):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [torch.equal(result, expected) for result in results] == [True] * 4


@pytest.mark.parametrize("blend", [0.0, 0.5, 1.0])
def test_results_can_be_changed_and_trained_on(
    backbone: DiffusersBackbone, degradation: DegradationVectors, blend: float
) -> None:
    result = enhance(image(), backbone, DegradationVectors(degradation.vectors[:1], degradation.weights), blend=blend)
    result[0, 0] = 0.5
    layer = torch.nn.Conv2d(1, 1, 3)
    layer(result.permute(2, 0, 1)[None]).sum().backward()
    assert layer.weight.grad is not None


def test_vectors_can_be_trained_on(weights: Weights) -> None:
    probe = torch.nn.Linear(256, 2)
    probe(estimate(image(), weights).vectors).sum().backward()
    assert probe.weight.grad is not None


@pytest.mark.parametrize("form", ["image", "batch", "list"])
def test_the_result_of_blend_0_is_a_copy(
    backbone: DiffusersBackbone, degradation: DegradationVectors, form: str
) -> None:
    before = image(channels=3)
    images: Any = {"image": before, "batch": before[None], "list": [before]}[form]
    result = enhance(images, backbone, DegradationVectors(degradation.vectors[:1], degradation.weights), blend=0)
    unwrapped = result if form == "image" else result[0]
    assert torch.equal(unwrapped, image(channels=3))
    unwrapped.fill_(7)
    assert torch.equal(before, image(channels=3))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"backbone": "hidra-tiny"}, r"backbone must be what load_backbone\(\) returns, got str"),
        (
            {"degradation": torch.zeros(1, 256)},
            r"degradation must be what estimate\(images, weights\) returns, got Tensor",
        ),
        ({"fold": "always"}, "fold must be True, False, 'auto' or a context of .*, got 'always'"),
        ({"fold": None}, "fold must be"),
        ({"corrector": None}, "corrector must be True, False, or have .*, got None"),
        ({"corrector": 0}, "corrector must be"),
    ],
)
def test_arguments_of_another_kind(
    backbone: DiffusersBackbone, degradation: DegradationVectors, changed: dict[str, Any], message: str
) -> None:
    arguments: dict[str, Any] = {"backbone": backbone, "degradation": degradation} | changed
    with pytest.raises(TypeError, match=message):
        enhance(image(), **arguments)


def test_weights_and_vectors_of_another_kind(backbone: DiffusersBackbone, degradation: DegradationVectors) -> None:
    wrong: Any = "hidra-tiny"
    with pytest.raises(TypeError, match=r"weights must be what load_weights\(\) returns, got str"):
        estimate(image(), wrong)
    wrong = np.zeros((1, 256), np.float32)
    with pytest.raises(TypeError, match="must be a torch tensor .*, got ndarray"):
        DegradationVectors(wrong, degradation.weights)
    wrong = "1"
    with pytest.raises(ValueError, match="strength must be from 0 to 2, got '1'"):
        enhance(image(), backbone, degradation, strength=wrong)


def test_printed_objects_stay_short(degradation: DegradationVectors) -> None:
    text = repr(degradation)
    assert "[2, 256]" in text
    assert degradation.weights.backbone in text
    assert len(text) < 300
