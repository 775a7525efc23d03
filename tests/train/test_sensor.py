"""Training of the networks of the sensor stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from hidra_core.sensor.defects import REACH
from hidra_core.sensor.networks import PATH
from train import sensor
from train.method.data import rendered_scenes
from train.sensing import defects, stripes
from train.sensing.scenes import Scenes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    images = rendered_scenes(3, 240, 320)
    return Scenes(images, np.full(3, 1 / 3))


def test_a_run_trains_what_it_is_asked_to_and_keeps_the_rest(tmp_path: Path) -> None:
    for number, image in enumerate(rendered_scenes(2, 240, 320)):
        Image.fromarray(image).save(tmp_path / f"scene_{number}.png")
    output = tmp_path / "networks.safetensors"
    options = ["--seconds", "0.1", "--batch", "2", "--views", "8", "--workers", "0"]
    assert sensor.main(["--images", str(tmp_path), "-o", str(output), "--only", "shading", "defects", *options]) == 0
    new, old = load_file(output), load_file(PATH)
    assert new.keys() == old.keys()
    same = {name.partition(".")[0] for name in new if torch.equal(new[name], old[name])}
    assert same == {"stripes"}


def test_a_folder_without_images_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert sensor.main(["--images", str(tmp_path), "-o", str(tmp_path / "x.safetensors")]) == 1
    assert "no images" in caplog.text
    assert not (tmp_path / "x.safetensors").exists()


def test_stripes_are_what_a_frame_has_more_than_without_them(scenes: Scenes) -> None:
    rng = np.random.default_rng(0)
    for _ in range(6):
        frame, wanted = stripes.striped_frame(scenes, (240, 256), rng)
        assert frame.shape == wanted.shape == (240, 256)
        rest = (frame - wanted).mean(0)
        assert np.abs(np.diff(rest)).mean() < np.abs(np.diff(frame.mean(0))).mean() + 0.5


def test_candidates_hold_nearly_all_defects_that_show(scenes: Scenes) -> None:
    rng = np.random.default_rng(1)
    found = [defects.judged_candidates(scenes, rng) for _ in range(6)]
    assert sum(defective.sum() for _, defective, _ in found) > 100
    for described, defective, weight in found:
        centre = described[:, (2 * REACH + 1) ** 2 // 2]
        assert (centre >= 0).all()
        assert ((weight == 0) <= (defective == 1)).all()
