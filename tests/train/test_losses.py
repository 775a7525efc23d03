"""Loss terms and discriminators, on random weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from train.method import losses
from train.method.discriminator import (
    FAKE,
    REAL,
    BlurPool,
    PatchDiscriminator,
    TransformerDiscriminator,
    adversarial_loss,
    discriminator_loss,
)
from train.method.losses import MultiScaleStructure, Objective, build_objective

if TYPE_CHECKING:
    from pathlib import Path


def noise(count: int = 2, side: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def vit():
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(hidden_size=32, num_hidden_layers=12, num_attention_heads=2, intermediate_size=64)
    return ViTModel(config, add_pooling_layer=False)


def test_structure_ignores_what_it_should_and_sees_the_rest() -> None:
    metric, image = MultiScaleStructure(), noise()
    smooth = nn.functional.avg_pool2d(image, 9, stride=1, padding=4)
    assert metric(image, image).item() == pytest.approx(0, abs=1e-5)
    assert metric(smooth + 0.05, smooth) < metric(smooth + 0.3 * noise(seed=1), smooth)


def test_blur_pool_keeps_constants_and_removes_the_finest_stripes() -> None:
    blur = BlurPool(2)
    assert torch.allclose(blur(torch.full((1, 2, 8, 8), 3.0)), torch.tensor(3.0))
    stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 2, 8, 8)
    assert blur(stripes)[..., 1:-1].abs().max() < 1e-6


def test_transformer_discriminator_reads_three_depths(vit) -> None:
    judge = TransformerDiscriminator(vit)
    shapes = [tuple(head.shape) for head in judge(noise(side=128))]
    assert shapes == [(2, 1, 4, 4), (2, 1, 4, 4), (2, 1)]
    assert not any(parameter.requires_grad for parameter in judge.backbone.parameters())
    image = noise(side=128).requires_grad_()
    adversarial_loss(judge(image), REAL).backward()
    assert image.grad.abs().sum() > 0
    assert not judge.train().backbone.training


def test_transformer_discriminator_loads_from_a_folder(vit, tmp_path: Path) -> None:
    assert "config.json" in losses.missing_dino(tmp_path)
    vit.save_pretrained(tmp_path)
    assert losses.missing_dino(tmp_path) is None
    judge = TransformerDiscriminator.from_folder(tmp_path)
    for ours, theirs in zip(judge.backbone.parameters(), vit.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_adversarial_loss_is_summed_cross_entropy() -> None:
    logits = [torch.zeros(2, 1, 3, 3), torch.zeros(2, 1)]
    assert adversarial_loss(logits, REAL).item() == pytest.approx(2 * math.log(2))
    assert adversarial_loss([torch.full((1, 1), 20.0)], FAKE).item() == pytest.approx(20, rel=1e-3)


def test_a_discriminator_learns_to_tell_noise() -> None:
    torch.manual_seed(0)
    judge = PatchDiscriminator(8)
    optimiser = torch.optim.AdamW(judge.parameters(), 1e-2)
    real = torch.linspace(-1, 1, 64).expand(4, 1, 64, 64)
    fake = real + 0.5 * noise(4)
    first = discriminator_loss(judge, real, fake).item()
    for _ in range(40):
        loss = discriminator_loss(judge, real, fake)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.8 * first


def test_the_objective_is_the_weighted_sum() -> None:
    torch.manual_seed(0)
    judge = PatchDiscriminator(8)
    objective = Objective(2.0, MultiScaleStructure(), 5.0, judge, 0.5)
    output, target = noise(), noise(seed=1)
    total, parts = objective(output, target)
    judge.eval()  # spectral normalisation refines its estimate in training mode
    assert parts["mse"] == pytest.approx((output - target).square().mean().item())
    expected = 2 * parts["mse"] + 5 * parts["perceptual"] + 0.5 * parts["adversarial"]
    assert total.item() == pytest.approx(expected, rel=1e-5)
    nothing = Objective(1.0, None, 0.0, None, 0.0)
    assert nothing(output, target)[1].keys() == {"mse"}


def test_lpips_is_built_from_its_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The real code path, with random values in VGG16's file."""
    lpips = pytest.importorskip("lpips")
    torchvision = pytest.importorskip("torchvision")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    options = {"mse": 2.0, "perceptual_weight": 5.0, "adversarial": "none", "adversarial_weight": 0.0, "dino": None}
    with pytest.raises(FileNotFoundError, match=losses.VGG_FILE):
        build_objective(perceptual="lpips", **options)
    assert lpips is not None
    (tmp_path / "checkpoints").mkdir()
    torch.manual_seed(0)
    torch.save(torchvision.models.vgg16(weights=None).state_dict(), tmp_path / "checkpoints" / losses.VGG_FILE)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    objective = build_objective(perceptual="lpips", **options)
    image = noise(1)
    assert objective.perceptual(image, image).item() == pytest.approx(0, abs=1e-6)
    other = noise(1, seed=1).requires_grad_()
    objective.perceptual(other, image).backward()
    assert other.grad.abs().sum() > 0
