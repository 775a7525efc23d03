"""Pretraining: its pieces against references, and a run of a few steps that is stopped, resumed and exported."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from helpers import ROOT
from safetensors.torch import load_file

import hidra_core
from hidra_core.backbone import MODELS
from hidra_core.dem import DegradationEstimator, build_dinov2
from hidra_core.weights import load_weights
from train import pretrain
from train.method import checkpoints
from train.method.data import rendered_scenes
from train.method.losses import structural_dissimilarity
from train.method.norm import speed_up_group_norm
from train.pretraining.config import PHASES, read_config
from train.pretraining.model import TrainableNetworks
from train.pretraining.pool import fit_linear, shuffled
from train.pretraining.start import start_seeing
from train.pretraining.trainer import Training
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
    for gradient, wanted in zip(torch.autograd.grad(norm(x), inputs, upstream), expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-5)  # torch keeps the statistics in fp32


def test_shuffling_moves_blocks_and_keeps_them() -> None:
    images = torch.arange(2 * 6 * 9, dtype=torch.float32).view(2, 1, 6, 9)
    mixed = shuffled(images, 3, torch.Generator().manual_seed(0))
    assert mixed.shape == images.shape
    assert not torch.equal(mixed, images)
    blocks = [
        {tuple(image[0, top : top + 3, left : left + 3].flatten().tolist()) for top in (0, 3) for left in (0, 3, 6)}
        for image in (images[0], mixed[0])
    ]
    assert blocks[0] == blocks[1]


def test_linear_maps_are_fitted_to_vectors() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors, weight = torch.randn(200, 5, generator=generator), torch.randn(3, 5, generator=generator)
    layer = torch.nn.Linear(5, 3)
    wanted = vectors @ weight.T + 2
    fit_linear(vectors, {layer: [wanted[:50], wanted[50:]]})
    torch.testing.assert_close(layer.weight.data, weight, rtol=0, atol=0.01)
    torch.testing.assert_close(layer.bias.data, torch.full((3,), 2.0), rtol=0, atol=0.01)


# ------------------------------------------------------------------------------------------------------ config


@pytest.mark.parametrize(
    ("addition", "expected"),
    [
        ("finnish: {steps: 3}", "unknown key 'finnish'; known: backbone, adapter, data"),
        ("whole: {stepps: 3}", "unknown key 'whole.stepps'; known: steps, batch, lr, warmup, frames"),
        ("joint: 3", "joint: .*dictionary.*"),
        ("data: {presets: {fog: 1}}", "data.presets: unknown degradation preset 'fog'; known presets: composite"),
        ("run: {dtype: int8}", "run.dtype: .*'float32' or 'bfloat16'"),
        ("backbone: {unet: {}}", "backbone.unet: it lacks 'cross_attention_dim'"),
    ],
)
def test_misspelt_sections_keys_and_values_are_refused(addition: str, expected: str, tmp_path: Path) -> None:
    values, changes = (yaml.safe_load(text) for text in (CONFIG.read_text(encoding="utf-8"), addition))
    for section, change in changes.items():
        values[section] = (values.get(section, {}) | change) if isinstance(change, dict) else change
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ValueError, match=rf"mine\.yaml: {expected}"):
        read_config(path, [])


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    values = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    del values["joint"]["lr"]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ValueError, match=r"mine\.yaml: joint.lr: Field required"):
        read_config(tmp_path / "mine.yaml", [])


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("run.nothing=1", "unknown key 'run.nothing'; known: init"),
        ("nothing.steps=1", "unknown key 'nothing'; known: backbone"),
        ("run.steps", "cannot override 'run.steps': write section.key=value"),
        ("backbone.unet.sampel_size=64", "no 'backbone.unet.sampel_size'; known: sample_size"),
        ("backbone.unett.sample_size=64", "no dictionary 'unett'"),
    ],
)
def test_unknown_overrides_are_refused(override: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        read_config("hidra-tiny-prior", [override])


def test_overrides_reach_the_sizes_of_the_networks() -> None:
    overrides = ["backbone.unet.sample_size=32", "backbone.vae.scaling_factor=5e-1", "joint.lr=1e-5"]
    config = read_config("hidra-tiny-prior", overrides)
    assert (config.backbone.unet["sample_size"], config.backbone.vae["scaling_factor"]) == (32, 0.5)
    assert config.joint.lr == 1e-5
    assert config.backbone.unet["block_out_channels"] == [32, 64, 128, 256]


def test_an_unknown_config_lists_those_there_are() -> None:
    with pytest.raises(FileNotFoundError, match="of hidra-tiny-prior$"):
        read_config("hidra-small", [])


# ------------------------------------------------------------------------------------------------------ phases


def test_the_copy_returns_its_image(folder: Path) -> None:
    config = read_config(CONFIG, [])
    torch.manual_seed(0)
    model = TrainableNetworks(config)
    rows = torch.linspace(-0.9, 0.7, 64)[None, None, :, None]
    image = (rows + 0.2 * torch.linspace(-1, 1, 64)).clamp(-1, 1)  # smooth: the copy has half the resolution
    darker = image.expand(4, 1, 64, 64) * torch.tensor([1.0, 0.7, 0.4, 0.2])[:, None, None, None]
    model.start_as_copy(darker)
    with torch.no_grad():
        output = model(darker, torch.randn(4, 256), strength=1.0)
    inside = (..., slice(4, -4), slice(4, -4))
    assert (output - darker)[inside].square().mean().sqrt() < 0.1
    assert torch.equal(model.adapter.conv_in.weight, model.unet.conv_in.weight)


def test_run_resumes_and_exports_what_the_library_loads(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "run"
    options = ["--config", str(CONFIG), f"data.train={folder}", f"run.output={output}", "data.frames=[[64,80],[72,96]]"]
    options += ["data.workers=0", "data.pool=4", "run.checkpoint_every=1"]
    for phase in PHASES:
        options += [f"{phase}.steps=1", f"{phase}.batch=2", f"{phase}.warmup=0"]
    options += ["autoencoder.crop=64", "joint.crop=64", "finish.crop=64", "whole.frames=[[64,80],[96,112]]"]
    options += ["run.dtype=float32"]
    assert pretrain.main(options) == 0
    started = yaml.safe_load((output / "config.yaml").read_text())
    assert pretrain.main([*options, "joint.lr=1e-5"]) == 1
    assert re.search(r"joint.lr = 0.0004, this run has 1e-05.*run.output", caplog.text)
    assert yaml.safe_load((output / "config.yaml").read_text()) == started
    assert pretrain.main([*options, "whole.steps=3"]) == 0
    rows = [row.split(",")[:2] for row in (output / "log.csv").read_text().splitlines()]
    steps = [(phase, 1) for phase in PHASES] + [("whole", 2), ("whole", 3)]
    assert rows[1:] == [[name, str(step)] for name, step in steps]
    assert yaml.safe_load((output / "config.yaml").read_text())["whole"]["steps"] == 3
    weights = hidra_core.load_weights(output / "weights.safetensors")
    backbone = hidra_core.load_backbone(output / "backbone.safetensors", device="cpu", dtype="fp32")
    assert weights.training["steps"] == dict.fromkeys(PHASES, 1) | {"whole": 3}
    image = torch.rand(1, 70, 64, 1)
    enhanced = hidra_core.enhance(image, backbone, hidra_core.estimate(image, weights))
    assert enhanced.shape == image.shape
    assert sum(path.stat().st_size for path in output.glob("*.safetensors")) <= 40e6
    before = load_file(output / "weights.safetensors")
    (output / "weights.safetensors").unlink()
    assert pretrain.main([*options, "whole.steps=3", "--export"]) == 0
    after = load_file(output / "weights.safetensors")
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())


def test_export_needs_a_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert pretrain.main(["--config", "hidra-tiny-prior", f"run.output={tmp_path}", "--export"]) == 1
    assert f"no checkpoint.pt in {tmp_path}: train first" in caplog.text


def test_a_checkpoint_that_does_not_tell_its_configuration_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoints.write_checkpoint(path, {"step": 3})
    assert checkpoints.read_checkpoint(path, {"run": {"seed": 1}})["step"] == 3
    checkpoints.write_checkpoint(path, {"step": 3, "config": {"run": {"seed": 0}}})
    with pytest.raises(ValueError, match="run.seed = 0, this run has 1"):
        checkpoints.read_checkpoint(path, {"run": {"seed": 1}})


def test_whole_frames_train_the_unet_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    options = [f"data.train={folder}", "data.frames=[[64,80]]", "data.workers=0", "run.dtype=float32"]
    options += ["whole.steps=2", "whole.batch=3", "whole.frames=[[64,80],[96,128]]", "whole.warmup=0"]
    options += [f"{phase}.steps=0" for phase in PHASES[:-1]]
    training = Training(read_config(CONFIG, [*options, f"run.output={tmp_path}"]))
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
    options += [f"{phase}.steps=0" for phase in PHASES if phase != "estimator"]
    training = Training(read_config(CONFIG, [*options, f"run.output={tmp_path}"]))
    earlier = {
        name: head.requires_grad_(False)
        for name, head in load_weights(MODELS / hidra_core.HIDRA_TINY / "weights.safetensors").adapter.heads.items()
    }
    filters = training.model.estimator.backbone.embeddings.patch_embeddings.projection
    before = filters.weight.clone()
    training.all_phases()
    assert (filters.weight - before).norm() > 0.5 * before.norm()  # another start than the earlier DEM's
    part = training._make_pool([(64, 80)])[0]  # made again: the run has dropped its own
    read = training.model.estimate(part.frames / 127.5 - 1).detach()
    for name, head in training.model.adapter.heads.items():
        wanted = earlier[name](part.vectors)
        apart = (wanted - wanted.mean(dim=0)).norm()
        assert (head(read) - wanted).norm() < 0.3 * apart, name
        assert (earlier[name](read) - wanted).norm() > apart, name  # without the translation


def test_a_dem_that_starts_seeing_tells_noise_from_stripes() -> None:
    """Of the same deviation, faint compared with the scene; random weights see brightness alone."""
    count, known = 60, 30
    scenes = torch.stack([torch.from_numpy(scene)[None] for scene in rendered_scenes(count, 112, 140)]) / 255.0
    generator = torch.Generator().manual_seed(0)
    noise = scenes + 0.02 * torch.randn(scenes.shape, generator=generator)
    stripes = scenes + 0.02 * torch.randn(*scenes.shape[:2], 1, 140, generator=generator)
    frames = torch.cat([noise, stripes]).clamp(0, 1) * 2 - 1
    striped, image = np.repeat([0, 1], count), np.tile(np.arange(count), 2)
    config = read_config(CONFIG, [])
    right = {}
    for start in ("random", "seeing"):
        torch.manual_seed(0)
        estimator = DegradationEstimator(build_dinov2(config.backbone.dem)).eval()
        if start == "seeing":
            start_seeing(estimator, frames[torch.from_numpy(image < known)], generator)
        with torch.inference_mode():
            features = estimator.pooled(frames.expand(-1, 3, -1, -1)).numpy()
        fitting, held = image < known, image >= known
        probe = linear.classifier(features[fitting], striped[fitting], image[fitting])
        right[start] = np.mean((linear.outputs(probe, features[held])[:, 0] > 0) == striped[held])
    assert right["random"] < 0.75
    assert right["seeing"] > 0.95


def test_missing_folder_is_a_clear_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert pretrain.main(["--config", str(CONFIG), f"data.train={tmp_path / 'no'}", f"run.output={tmp_path}"]) == 1
    assert "set data.train to a folder" in caplog.text
