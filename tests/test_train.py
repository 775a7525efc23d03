"""Training: the pieces against references, and a run of two steps that is interrupted, resumed and exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image

import hidra_core
from train import run
from train.data import DegradedCrops, load_folder
from train.losses import structural_dissimilarity
from train.norm import speed_up_group_norm

CONFIG = Path(__file__).parents[1] / "train" / "configs" / "hidra-tiny.yaml"
PRESETS = {"composite": 0.5, "field": 0.5}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images" / "nested"
    images.mkdir(parents=True)
    for i in range(3):
        values = np.random.default_rng(i).integers(0, 256, (72 + i, 96), dtype=np.uint8)
        Image.fromarray(values).save(images / f"{i}.png")
    (images / "broken.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(images / "small.png")
    return tmp_path / "images"


def test_unusable_images_are_skipped_and_reported(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(load_folder(folder, 64)) == 3
    assert "1 images, unreadable" in caplog.text
    assert "1 images, smaller than 64 pixels" in caplog.text


@pytest.mark.parametrize("name", ["nothing", "images"])
def test_no_usable_image_is_an_error(folder: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match="image"):
        load_folder(folder.parent / name, 1000)


def test_samples_depend_on_seed_and_index_alone(folder: Path) -> None:
    images = load_folder(folder, 64)
    first, second = (DegradedCrops(images, PRESETS, 64, 80, seed, 10) for seed in (1, 1))
    for a, b in zip(first[7], second[7], strict=True):
        assert a.shape == (1, 64, 64)
        assert -1 <= a.min() <= a.max() <= 1
        assert torch.equal(a, b)
    assert not torch.equal(first[7][1], first[8][1])
    assert not torch.equal(first[7][1], DegradedCrops(images, PRESETS, 64, 80, 2, 10)[7][1])


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


def test_learning_rate_warms_up_then_falls() -> None:
    schedule = {"lr": 1.0, "final_lr": 0.1, "warmup": 10, "steps": 110}
    rates = [run.learning_rate(step, schedule) for step in range(111)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[110] == pytest.approx(0.1)
    assert rates[60] == pytest.approx(0.55)


def test_unknown_override_is_refused() -> None:
    for override in ("run.nothing=1", "nothing.steps=1", "run.steps"):
        with pytest.raises(ValueError, match="override"):
            run.read_config(CONFIG, [override])


def test_run_resumes_and_exports_what_the_library_loads(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    options = ["--config", str(CONFIG), f"data.train={folder}", f"run.output={output}", "data.crop=64", "data.frame=64"]
    options += ["data.workers=0", "run.batch=1", "run.autoencoder_steps=1"]
    assert run.main([*options, "run.steps=1"]) == 0
    assert run.main([*options, "run.steps=3"]) == 0
    rows = (output / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "1", "2", "3"]
    assert yaml.safe_load((output / "config.yaml").read_text())["run"]["steps"] == 3
    weights = hidra_core.load_weights(output / "weights.safetensors")
    backbone = hidra_core.load_backbone(output / "backbone.safetensors", device="cpu", dtype="fp32")
    assert weights.training["steps"] == 3
    image = torch.rand(1, 70, 64, 1)
    enhanced = hidra_core.enhance(image, backbone, hidra_core.estimate(image, weights))
    assert enhanced.shape == image.shape
    assert sum(path.stat().st_size for path in output.glob("*.safetensors")) <= 40e6


def test_missing_folder_is_a_clear_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run.main(["--config", str(CONFIG), f"data.train={tmp_path / 'no'}", f"run.output={tmp_path / 'run'}"]) == 1
    assert "set data.train to a folder" in caplog.text
