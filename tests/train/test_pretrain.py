"""Pretraining: its pieces against references, and a run of a few steps that is stopped, resumed and exported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from helpers import ROOT

import hidra_core
from hidra_core.backbone import MODELS
from hidra_core.dem import DegradationEstimator, build_dinov2
from hidra_core.weights import load_weights
from train import pretrain
from train.method.data import rendered_scenes
from train.method.losses import structural_dissimilarity
from train.pretraining.norm import speed_up_group_norm
from train.pretraining.start import start_seeing
from train.probing import linear

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = ROOT / "train" / "configs" / "hidra-tiny-prior.yaml"


def test_structural_dissimilarity() -> None:
    image = 0.5 + 0.3 * torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert structural_dissimilarity(image, image).item() == pytest.approx(0, abs=1e-5)
    negative = 2 * image.mean() - image  # the same brightness, the structure turned round
    assert structural_dissimilarity(image, negative).item() > 1


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_fast_group_norm_has_torchs_gradients(memory_format: torch.memory_format) -> None:
    norm = torch.nn.GroupNorm(8, 16).double()
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(3, 16, 5, 7, dtype=torch.float64).contiguous(memory_format=memory_format).requires_grad_()
    upstream = torch.randn_like(x)
    inputs = (x, norm.weight, norm.bias)
    expected = torch.autograd.grad(F.group_norm(x, 8, norm.weight, norm.bias, norm.eps), inputs, upstream)
    speed_up_group_norm(norm)
    for found, wanted in zip(torch.autograd.grad(norm(x), inputs, upstream), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)  # torch keeps the statistics in fp32


def test_shuffling_moves_blocks_and_keeps_them() -> None:
    images = torch.arange(2 * 6 * 9, dtype=torch.float32).view(2, 1, 6, 9)
    mixed = pretrain.shuffled(images, 3, torch.Generator().manual_seed(0))
    assert mixed.shape == images.shape
    assert not torch.equal(mixed, images)
    blocks = [
        {tuple(image[0, top : top + 3, left : left + 3].flatten().tolist()) for top in (0, 3) for left in (0, 3, 6)}
        for image in (images[0], mixed[0])
    ]
    assert blocks[0] == blocks[1]


def test_learning_rate_warms_up_then_falls() -> None:
    schedule = {"lr": 1.0, "warmup": 10, "steps": 110}
    rates = [pretrain.learning_rate(step, schedule) for step in range(111)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[110] == pytest.approx(0.02)
    assert rates[60] == pytest.approx(0.51)


def test_unknown_override_is_refused() -> None:
    for override in ("run.nothing=1", "nothing.steps=1", "run.steps"):
        with pytest.raises(ValueError, match="override"):
            pretrain.read_config(CONFIG, [override])


def test_the_copy_returns_its_image(folder: Path) -> None:
    config = pretrain.read_config(CONFIG, [])
    torch.manual_seed(0)
    model = pretrain.Enhancer(config)
    rows = torch.linspace(-0.9, 0.7, 64)[None, None, :, None]
    image = (rows + 0.2 * torch.linspace(-1, 1, 64)).clamp(-1, 1)  # smooth: the copy has half the resolution
    darker = image.expand(4, 1, 64, 64) * torch.tensor([1.0, 0.7, 0.4, 0.2])[:, None, None, None]
    model.start_as_copy(darker)
    with torch.no_grad():
        output = model(darker, torch.randn(4, 256), strength=1.0)
    inside = (..., slice(4, -4), slice(4, -4))
    assert (output - darker)[inside].square().mean().sqrt() < 0.1
    assert torch.equal(model.adapter.conv_in.weight, model.unet.conv_in.weight)


def test_run_resumes_and_exports_what_the_library_loads(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    options = ["--config", str(CONFIG), f"data.train={folder}", f"run.output={output}", "data.frames=[[64,80],[72,96]]"]
    options += ["data.workers=0", "data.pool=4", "run.checkpoint_every=1"]
    for phase in pretrain.PHASES:
        options += [f"{phase}.steps=1", f"{phase}.batch=2", f"{phase}.warmup=0"]
    options += ["autoencoder.crop=64", "joint.crop=64", "finish.crop=64", "whole.frames=[[64,80],[96,112]]"]
    options += ["run.dtype=float32"]
    assert pretrain.main(options) == 0
    assert pretrain.main([*options, "whole.steps=3"]) == 0
    rows = [row.split(",")[:2] for row in (output / "log.csv").read_text().splitlines()]
    steps = [(phase, 1) for phase in pretrain.PHASES] + [("whole", 2), ("whole", 3)]
    assert rows[1:] == [[name, str(step)] for name, step in steps]
    assert yaml.safe_load((output / "config.yaml").read_text())["whole"]["steps"] == 3
    weights = hidra_core.load_weights(output / "weights.safetensors")
    backbone = hidra_core.load_backbone(output / "backbone.safetensors", device="cpu", dtype="fp32")
    assert weights.training["steps"] == dict.fromkeys(pretrain.PHASES, 1) | {"whole": 3}
    image = torch.rand(1, 70, 64, 1)
    enhanced = hidra_core.enhance(image, backbone, hidra_core.estimate(image, weights))
    assert enhanced.shape == image.shape
    assert sum(path.stat().st_size for path in output.glob("*.safetensors")) <= 40e6


def test_whole_frames_train_the_unet_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    options = [f"data.train={folder}", "data.frames=[[64,80]]", "data.workers=0", "run.dtype=float32"]
    options += ["whole.steps=2", "whole.batch=3", "whole.frames=[[64,80],[96,128]]", "whole.warmup=0"]
    options += [f"{phase}.steps=0" for phase in pretrain.PHASES[:-1]]
    training = pretrain.Training(pretrain.read_config(CONFIG, options), tmp_path)
    shapes = {tuple(batch["degraded"].shape) for batch in training._samples("whole")}
    assert shapes <= {(3, 1, 64, 80), (1, 1, 96, 128)}
    before = {name: parameter.detach().clone() for name, parameter in training.model.named_parameters()}
    training.all_phases()
    moved = {name for name, parameter in training.model.named_parameters() if not torch.equal(parameter, before[name])}
    assert {name.split(".")[0] for name in moved} == {"unet", "adapter"}
    assert not any(".vae." in name for name in moved)


def test_a_new_dem_is_read_through_what_the_earlier_one_said(folder: Path, tmp_path: Path) -> None:
    options = [f"data.train={folder}", "data.frames=[[64,80]]", "data.pool=8", "run.dtype=float32", "run.ema=0.0"]
    options += ["estimator.steps=2", "estimator.batch=4", "estimator.lr=1e-5", "run.new_dem=true"]
    options += [f"run.init={MODELS / hidra_core.HIDRA_TINY}"]
    options += [f"{phase}.steps=0" for phase in pretrain.PHASES if phase != "estimator"]
    training = pretrain.Training(pretrain.read_config(CONFIG, options), tmp_path)
    earlier = {
        name: head.requires_grad_(False)
        for name, head in load_weights(MODELS / hidra_core.HIDRA_TINY / "weights.safetensors").adapter.heads.items()
    }
    filters = training.model.estimator.backbone.embeddings.patch_embeddings.projection
    before = filters.weight.clone()
    training.all_phases()
    assert (filters.weight - before).norm() > 0.5 * before.norm()  # another start than the earlier DEM's
    frames, _, vectors = training._make_pool([[64, 80]])[0]  # made again: the run has dropped its own
    found = training.model.estimate(frames / 127.5 - 1).detach()
    for name, head in training.model.adapter.heads.items():
        wanted = earlier[name](vectors)
        apart = (wanted - wanted.mean(dim=0)).norm()
        assert (head(found) - wanted).norm() < 0.3 * apart, name
        assert (earlier[name](found) - wanted).norm() > apart, name  # without the translation


def test_a_dem_that_starts_seeing_tells_noise_from_stripes() -> None:
    """Of the same deviation, faint beside the scene; random weights see brightness alone."""
    count, known = 60, 30
    scenes = torch.stack([torch.from_numpy(scene)[None] for scene in rendered_scenes(count, 112, 140)]) / 255.0
    generator = torch.Generator().manual_seed(0)
    noise = scenes + 0.02 * torch.randn(scenes.shape, generator=generator)
    stripes = scenes + 0.02 * torch.randn(*scenes.shape[:2], 1, 140, generator=generator)
    frames = torch.cat([noise, stripes]).clamp(0, 1) * 2 - 1
    striped, image = np.repeat([0, 1], count), np.tile(np.arange(count), 2)
    config = pretrain.read_config(CONFIG, [])
    right = {}
    for start in ("random", "seeing"):
        torch.manual_seed(0)
        estimator = DegradationEstimator(build_dinov2(config["backbone"]["dem"])).eval()
        if start == "seeing":
            start_seeing(estimator, frames[torch.from_numpy(image < known)], generator)
        with torch.inference_mode():
            features = estimator.pooled(frames.expand(-1, 3, -1, -1)).numpy()
        fitting, held = image < known, image >= known
        probe = linear.classifier(features[fitting], striped[fitting], image[fitting])
        right[start] = np.mean((linear.outputs(probe, features[held])[:, 0] > 0) == striped[held])
    assert right["seeing"] > 0.95 and right["random"] < 0.75, right


def test_missing_folder_is_a_clear_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert pretrain.main(["--config", str(CONFIG), f"data.train={tmp_path / 'no'}", f"run.output={tmp_path}"]) == 1
    assert "set data.train to a folder" in caplog.text
