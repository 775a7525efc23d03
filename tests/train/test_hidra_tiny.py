"""The recipe of hidra-tiny: degradations in batches, the adapter in place, and a run of seconds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import nn

import hidra_core
from hidra_core import degradations as deg
from hidra_core.degradations import DegradationRecord, Stripes
from train import hidra_tiny
from train.method.data import factors, rendered_scenes
from train.method.losses import error_after_fit
from train.pretraining.adapted import Restorer, line_error
from train.pretraining.batched import apply_batched, table, way
from train.pretraining.clock import RECIPE, Loss, rate_at, read_recipe
from train.pretraining.config import read_config
from train.pretraining.frames import Draws, Frames, after_sensor, shares
from train.pretraining.model import TrainableNetworks

if TYPE_CHECKING:
    from pathlib import Path


def _records(preset: str, count: int) -> list[DegradationRecord]:
    generator = torch.Generator().manual_seed(0)
    return sorted((deg.sample(preset, generator) for _ in range(count)), key=way)


def _batched(images: torch.Tensor, records: list[DegradationRecord]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return apply_batched(images, table(records), [way(record) for record in records], generator)


@pytest.mark.parametrize("preset", ["composite", "field", "hard"])
def test_a_batch_is_degraded_as_image_by_image(preset: str) -> None:
    rough = torch.rand(24, 1, 8, 10, generator=torch.Generator().manual_seed(1))
    images = F.interpolate(rough, (60, 76), mode="bicubic").clamp(0, 1)
    # what chance has no part in is the same up to rounding; JPEG libraries round within the transform too
    records = [
        replace(record, stripes=(), gaussian_sigma=None, poisson_scale=None, dead_fraction=None)
        for record in _records(preset, len(images))
    ]
    difference = (_batched(images, records) - deg.apply(images, records)).abs() * 255
    coded = torch.tensor([record.jpeg_quality is not None for record in records])
    assert difference[~coded].max() < 1.5
    assert (difference[~coded] > 0.5).float().mean() < 1e-3
    if coded.any():
        assert difference[coded].mean() < 0.5
    if preset == "field":
        assert coded.any()


def test_random_fields_of_a_batch_are_those_of_the_records() -> None:
    grey = torch.full((6, 1, 160, 160), 0.5)
    kinds = [
        {"stripes": (Stripes("column", 0.05, 3.0),)},
        {"stripes": (Stripes("row", 0.0, 4.0), Stripes("column", 0.02, 0.0))},
        {"gaussian_sigma": 9.0},
        {"poisson_scale": 0.8},
        {"dead_fraction": 0.02},
        {"gaussian_sigma": 9.0, "downscale": deg.Downscale(4, "area")},
    ]
    records = sorted((DegradationRecord(seed=i, **kind) for i, kind in enumerate(kinds)), key=way)
    ours, theirs = _batched(grey, records), deg.apply(grey, records)
    for measure in (
        lambda x: x.std(dim=(1, 2, 3)),
        lambda x: x.mean(dim=2).std(dim=(1, 2)),
        lambda x: x.mean((1, 2, 3)),
    ):
        for record, one, other in zip(records, measure(ours), measure(theirs), strict=True):
            assert one.item() == pytest.approx(other.item(), rel=0.2, abs=2e-3), record


def test_factors_of_a_batch_are_those_of_the_frames() -> None:
    images = [np.array(image) for image in rendered_scenes(3, 96, 120)]
    draws = Draws(
        [(96, 120)] * 3, [1.0] * 3, {"composite": 1.0}, [(80, 96, 6)], 0, tone=0.2, sensor=0, enlarge=2, partial=0
    )
    drawn = draws[4]
    batch = Frames(images, torch.device("cpu"), 0).make(drawn)
    again = Frames(images, torch.device("cpu"), 0).make(draws[4])
    assert torch.equal(batch["degraded"], again["degraded"])
    assert batch["clean"].shape == (6, 1, 80, 96)
    generator = torch.Generator().manual_seed(0)
    record = deg.sample("composite", generator)
    seen = deg.apply(batch["clean"][:1] / 2 + 0.5, record)
    expected = factors(record, seen, batch["clean"][:1] / 2 + 0.5)
    assert expected.shape == batch["factors"][0].shape
    assert batch["factors"].abs().max() < 10


def test_the_sensor_stage_leaves_a_residue() -> None:
    generator = torch.Generator().manual_seed(0)
    records = [deg.sample("hard", generator) for _ in range(40)]
    left = [after_sensor(replace(record, dead_fraction=0.01), generator) for record in records]
    assert all(record.dead_fraction is None for record in left)
    assert all(
        lines.gain_sigma == 0 and 0.2 <= lines.offset_sigma <= 1.8 for record in left for lines in record.stripes
    )
    shadings = [[record.optical.strength for record in some if record.optical] for some in (left, records)]
    assert 8 < sum(one < other for one, other in zip(*shadings, strict=True)) < 32
    assert [record.gaussian_sigma for record in left] == [record.gaussian_sigma for record in records]


def test_sources_get_their_shares(tmp_path: Path) -> None:
    names = ["drone_1.png"] * 6 + ["street_1.png"] * 2 + ["a_1.png", "b.png"]
    odds = shares([tmp_path / name for name in names], {"drone": 0.5, "street": 0.2, "others": 0.3})
    assert [sum(odds[:6]), sum(odds[6:8]), sum(odds[8:])] == pytest.approx([0.5, 0.2, 0.3])
    with pytest.raises(ValueError, match="no image is of street; their names begin with others_"):
        shares([tmp_path / "a.png"], {"street": 1.0})


@pytest.fixture(scope="module")
def model() -> TrainableNetworks:
    torch.manual_seed(0)
    return TrainableNetworks(read_config("hidra-tiny-prior", [])).eval()


def test_the_adapter_in_place_gives_what_its_hooks_give(model: TrainableNetworks) -> None:
    for up in (*model.adapter.layers["unet"].up, *model.adapter.layers["vae"].up):
        nn.init.normal_(up, std=0.1)
    nn.init.normal_(model.adapter.conv_in.weight, std=0.2)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 1, 64, 64, generator=generator) * 2 - 1
    vectors = torch.randn(3, 256, generator=generator)
    strengths = torch.tensor([1.0, 0.4, 0.0])
    with torch.no_grad():
        wanted = [model(images, vectors, strength)[row] for row, strength in enumerate(strengths.tolist())]
        restorer = Restorer(model, Loss(log=0.1, fitted=0.05, ssim=0.05, lines=0.5, factors=0.1))
        given = restorer.restored(images, vectors, strengths[:, None, None, None])
    torch.testing.assert_close(given, torch.stack(wanted), rtol=0, atol=1e-4)
    assert (wanted[0] - wanted[2]).abs().max() > 1e-2


def test_stripes_are_the_first_thing_that_is_seen() -> None:
    generator = torch.Generator().manual_seed(0)
    stripes = torch.randn(1, 1, 1, 64, generator=generator).expand(1, 1, 64, 64)
    noise = torch.randn(1, 1, 64, 64, generator=generator)
    assert line_error(stripes) > 3 * line_error(noise)
    assert line_error(torch.ones(1, 1, 16, 16)) == 0


def test_error_after_fit_leaves_out_gain_and_offset() -> None:
    target = torch.randn(2, 1, 16, 20, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(2, 1, 16, 20, generator=torch.Generator().manual_seed(1))
    faded = 0.3 * target - 0.5
    assert error_after_fit(faded, target).max() < 1e-6
    fitted = error_after_fit(faded + torch.tensor([0.0, 0.1])[:, None, None, None] * noise, target)
    assert fitted[0] < 1e-6
    assert 0.08 < fitted[1] < 0.12  # the part of (0.1 / 0.3)² that no gain takes off


def test_the_rate_falls_by_the_clock() -> None:
    phase = read_recipe(RECIPE, ["small.rate=[1e-3,1e-4]", "small.warmup=9"]).small
    assert rate_at(phase, 0.0, 1) == pytest.approx(1e-4)
    assert [rate_at(phase, share, 100) for share in (0, 0.5, 1, 2)] == pytest.approx([1e-3, 5.5e-4, 1e-4, 1e-4])


def test_a_run_resumes_and_exports_what_the_library_loads(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "run"
    options = [f"data.train={folder}", f"run.output={output}", "data.workers=0", "run.dtype=float32"]
    options += ["estimator.seconds=1", "small.seconds=1", "whole.seconds=0", "small.frames=[[64,64,1]]"]
    options += ["estimator.frames=[[56,70,2]]"]
    assert hidra_tiny.main([*options, "--estimator"]) == 0
    assert "small" not in (output / "log.csv").read_text()
    assert hidra_tiny.main(options) == 0
    firsts = [row.split(",")[0] for row in (output / "log.csv").read_text().splitlines() if row.split(",")[1] == "1"]
    assert firsts == ["estimator", "small"]  # the first phase ran once
    assert yaml.safe_load((output / "config.yaml").read_text())["small"]["seconds"] == 1
    weights = hidra_core.load_weights(output / "weights.safetensors")
    backbone = hidra_core.load_backbone(output / "backbone.safetensors", device="cpu", dtype="fp32")
    assert weights.training["steps"]["estimator"] >= 1
    image = torch.rand(1, 70, 64, 1)
    assert hidra_core.enhance(image, backbone, hidra_core.estimate(image, weights)).shape == image.shape
    assert hidra_tiny.main([*options, "loss.log=0.2"]) == 1
    assert "loss.log = 0.1, this run has 0.2" in caplog.text
