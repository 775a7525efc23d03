"""Training of the corrector: small frames are degraded as full ones, and the program makes a part of the weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from hidra_core import degradations, load_weights
from hidra_core.degradations import UNTOUCHED, Preset
from hidra_core.degradations.stages import optical_field
from hidra_core.readouts.corrector import Correction, small_view
from train import corrector as program
from train.correcting.degrading import Degraded, Degrader, _cut_off, _field, _Native
from train.correcting.frames import FINE, Clean, Frames, Stored, stored
from train.correcting.training import loss
from train.method.data import rendered_scenes


def scene(height: int = 240, width: int = 320) -> np.ndarray:
    return rendered_scenes(1, height, width)[0]


@pytest.fixture(scope="module")
def frames() -> Frames:
    images = [(Path(f"scene_{i}.png"), image) for i, image in enumerate(rendered_scenes(3))]
    return Frames(stored(images), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("form", ["cos4", "mirror"])
def test_fields_are_those_of_the_full_frame(form: str) -> None:
    size = _Native(torch.full((1, 1, 1), 240.0), torch.full((1, 1, 1), 320.0))
    centre = torch.full((1, 1, 1), 0.3), torch.full((1, 1, 1), 0.6)
    cos4 = torch.full((1, 1, 1), float(form == "cos4"))
    found = _field(size, centre, cos4, torch.zeros(1, 1, 1))[0]
    expected = F.adaptive_avg_pool2d(optical_field(240, 320, 0.3 * 240, 0.6 * 320, form), FINE)[0, 0]
    torch.testing.assert_close(found, expected - (0.5 if form == "mirror" else 0), atol=0.03, rtol=0)


def test_cutting_off_is_what_it_is_for_many_pixels() -> None:
    mean, deviation = torch.tensor([0.02, 0.5, 0.97]), torch.tensor([0.05, 0.3, 0.1])
    pixels = mean + deviation * torch.randn(200_000, 3, generator=torch.Generator().manual_seed(0))
    cut = pixels.clamp(0, 1)
    edge = 0.5 / 255
    expected = cut.mean(0), cut.std(0), (cut <= edge).float().mean(0), (cut >= 1 - edge).float().mean(0)
    for found, wanted in zip(_cut_off(mean, deviation), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=4e-3, rtol=0)


@pytest.mark.parametrize(
    "preset",
    [
        replace(UNTOUCHED, p_contrast=1.0, alpha=(0.4, 0.4), beta=(0.3, 0.3)),
        replace(UNTOUCHED, p_contrast=1.0, alpha=(1.6, 1.6), beta=(-0.3, -0.3)),  # much of it is cut off
        replace(UNTOUCHED, p_random=1.0, p_poisson=0.0, gaussian_sigma=(20.0, 20.0)),
        replace(UNTOUCHED, p_random=1.0, p_poisson=1.0, poisson_scale=(1.5, 1.5)),
        replace(UNTOUCHED, p_dead=1.0, dead_fraction=(0.01, 0.01)),
    ],
    ids=["contrast", "cut off", "noise", "shot noise", "dead pixels"],
)
def test_small_frames_are_degraded_as_full_ones(preset: Preset) -> None:
    pixels = scene()
    small = stored([(Path("scene.png"), pixels)])
    generator = torch.Generator().manual_seed(0)
    mean = F.adaptive_avg_pool2d(torch.from_numpy(small.means)[:, None].float() / 255, FINE)[:, 0]
    clean = Clean(mean, torch.from_numpy(small.details).float() / 500)
    found = Degrader(Frames(small, generator), {"one": (preset, 1.0)}, restretched=0.0)(clean).view[0]
    image = torch.from_numpy(pixels.copy())[None, None].float() / 255
    expected = small_view(degradations.apply(image, degradations.sample(preset, generator)))[0]
    differences = F.avg_pool2d(found - expected, 8).abs().amax(dim=(1, 2))
    assert (differences < torch.tensor([0.01, 0.03, 0.1, 0.03])).all()  # means, deviations, black, white


def test_frames_are_ever_new_and_in_range(frames: Frames) -> None:
    first, second = frames.draw(40), frames.draw(40)
    for drawn in (first, second):
        assert drawn.mean.shape == drawn.detail.shape == (40, *FINE)
        assert 0 <= drawn.mean.min() <= drawn.mean.max() <= 1
        assert drawn.detail.min() >= 0
    differences = (first.mean[:, None] - second.mean[None]).abs().mean(dim=(2, 3))
    assert differences.min() > 0.005
    degraded = Degrader(frames)(first)
    assert degraded.view.isfinite().all()
    assert -1e-6 <= degraded.view.min() <= degraded.view.max() <= 1 + 1e-6


def test_the_loss_is_least_for_the_truth(frames: Frames) -> None:
    shading = torch.linspace(-0.1, 0.1, 40).expand(1, 32, 40)
    clean = F.avg_pool2d(frames.draw(1).mean[:, None], 2)[:, 0]
    seen = 0.5 * clean + 0.2 + shading
    view = torch.cat([seen[:, None], torch.zeros(1, 3, 32, 40)], dim=1)
    degraded = Degraded(view, torch.tensor([1.25]), torch.tensor([0.5]), shading)
    shift = (clean.mean() - seen.mean())[None]
    truth = loss(Correction(torch.tensor([2.0]), shift, shading), degraded, clean)
    for other in (
        Correction(torch.tensor([1.8]), shift, shading),
        Correction(torch.tensor([2.0]), shift + 0.05, shading),
        Correction(torch.tensor([2.0]), shift, 0.5 * shading),
    ):
        assert loss(other, degraded, clean) > truth + 0.1


def test_program(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Images are measured, a network is trained, goes on from its checkpoint, and becomes a part of a weights file."""
    for name in ("clean", "others"):
        (tmp_path / name).mkdir()
        for index, image in enumerate(rendered_scenes(2, 160, 200)):
            Image.fromarray(image).save(tmp_path / name / f"scene_{index}.png")
    pack, run, result = tmp_path / "views.npz", tmp_path / "run", tmp_path / "weights.safetensors"
    options = ["--width", "8", "--batch", "4", "--every", "0.001", "--device", "cpu", "--output", str(run)]
    measured = ["--images", str(tmp_path / "clean"), "--held-out", str(tmp_path / "others")]
    assert program.main([*measured, "--pack", str(pack), *options, "--steps", "2"]) == 0
    assert torch.load(run / "checkpoint.pt", weights_only=True)["step"] == 2
    assert program.main(["--pack", str(pack), *options, "--steps", "4", "--into", str(result)]) == 0
    assert torch.load(run / "checkpoint.pt", weights_only=True)["step"] == 4
    found = load_weights(result).corrector
    assert found is not None
    assert found.fitted["images"] == 2
    both = ["--with", str(run / "corrector.safetensors"), "--into", str(result)]
    before = result.read_bytes()
    assert program.main(["--output", str(run), "--weights", str(result), *both]) == 1
    assert result.read_bytes() == before
    assert program.main(["--output", str(run), "--weights", str(result), *both, "--overwrite"]) == 0
    mean = load_weights(result).corrector
    assert mean is not None
    assert mean.header()["width"] == [8, 8]
    image = torch.rand(1, 1, 64, 80)
    torch.testing.assert_close(mean.read(image).packed(), found.read(image).packed())
    assert {"unseen hard", "seen untouched fitted"} < set((run / "log.csv").read_text().splitlines()[0].split(","))
    assert program.main(["--pack", str(pack), *options, "--seed", "1"]) == 1
    assert "checkpoint.pt was made with seed 0 (now 1): ask for the same" in caplog.text


def test_unusable_options_and_files_are_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "views.npz").write_bytes(b"nothing of the kind")
    for options, message in (
        ([], "nothing to do"),
        (["--images", "x"], "--held-out"),
        (["--pack", str(tmp_path / "views.npz"), "--output", str(tmp_path / "run")], "views.npz is no pack"),
    ):
        assert program.main(options) == 1
        assert message in caplog.text


def test_large_sources_do_not_drown_small_ones() -> None:
    names = [Path(f"many_{i}.png") for i in range(16)] + [Path("few_0.png")]
    small: Stored = stored([(name, np.zeros((160, 200), np.uint8)) for name in names])
    assert small.odds.sum() == pytest.approx(1)
    assert small.odds[:16].sum() == pytest.approx(2 * small.odds[16])
