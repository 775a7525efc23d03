"""The restraint: how much of a change it applies, where it acts, and its fit to known degradations."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from helpers.reference import make_restraint, make_weights
from PIL import Image

from hidra_core import Weights, enhance, estimate, load_weights, save_weights, scenes
from hidra_core.cli import main
from hidra_core.enhance import DegradationVectors
from hidra_core.images.blend import CUTOFF, blend, enlarged, lowpass
from hidra_core.readouts import PARTS, Restraint
from hidra_core.video import enhance_frames
from train.probing import restraint as program

if TYPE_CHECKING:
    from pathlib import Path

NOTHING, EVERYTHING = -50.0, 50.0
"""Logits of shares that are 0 and 1 in float32."""


def constant(low: float, high: float) -> Restraint:
    """The same shares, given as logits, for any vector."""
    return Restraint(torch.zeros(2, 256), torch.tensor([low, high]), CUTOFF)


def images(count: int, height: int = 48, width: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(seed))


# --- applying --------------------------------------------------------------------------------------------------------


def test_shares_are_a_logistic_function_of_the_vector() -> None:
    weight = torch.zeros(2, 256)
    weight[0, 3], weight[1, 5] = 2.0, -1.0
    vectors = torch.zeros(3, 256)
    vectors[1, 3], vectors[2, 5] = 1.0, 4.0
    shares = Restraint(weight, torch.tensor([0.0, 1.0]), 64).shares(vectors)
    expected = torch.tensor([[0.0, 1.0], [2.0, 1.0], [0.0, -3.0]]).sigmoid()
    torch.testing.assert_close(shares, expected)


def test_ends_are_the_input_and_the_output() -> None:
    before, after, vectors = images(2), images(2, seed=1), torch.zeros(2, 256)
    torch.testing.assert_close(constant(NOTHING, NOTHING).apply(before, after, vectors), before, atol=1e-6, rtol=0)
    torch.testing.assert_close(constant(EVERYTHING, EVERYTHING).apply(before, after, vectors), after, atol=1e-6, rtol=0)


def test_bands_are_those_of_the_dial() -> None:
    before, after, vectors = images(1), images(1, seed=1), torch.zeros(1, 256)
    restrained = constant(NOTHING, EVERYTHING).apply(before, after, vectors)[0].movedim(0, -1)
    dial = blend(before[0].movedim(0, -1), after[0].movedim(0, -1), 1.0, low_frequencies=0.0)
    torch.testing.assert_close(restrained, dial, atol=1e-6, rtol=0)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_cutoff_is_in_pixels_of_the_input(factor: int) -> None:
    """A wave of the scene keeps its band when the images are enlarged: half of a period of 64 input pixels is low."""
    x = torch.arange(512, dtype=torch.float64)
    wave = torch.cos(2 * torch.pi * (x + 0.5) / CUTOFF).float().expand(48, 512)[..., None]
    after = enlarged(wave, factor).movedim(-1, 0)[None]
    low = constant(EVERYTHING, NOTHING).apply(torch.zeros_like(after), after, torch.zeros(1, 256), factor=factor)
    inside = slice(128 * factor, -128 * factor)
    passed, along = low[0, 0, 24 * factor, inside], after[0, 0, 24 * factor, inside]
    assert (passed @ along / (along @ along)).item() == pytest.approx(0.5, abs=0.02)


def test_each_image_has_its_own_shares_and_one_vector_serves_all() -> None:
    restraint, before, after = make_restraint(), images(3), images(3, seed=1)
    vectors = torch.randn(3, 256, generator=torch.Generator().manual_seed(2))
    together = restraint.apply(before, after, vectors)
    for i in range(3):
        alone = restraint.apply(before[[i]], after[[i]], vectors[[i]])
        torch.testing.assert_close(together[[i]], alone, atol=1e-6, rtol=0)
    first = restraint.apply(before, after, vectors[:1])
    torch.testing.assert_close(first[0], together[0], atol=1e-6, rtol=0)
    assert (first[1] - together[1]).abs().max() > 0.01


@pytest.mark.parametrize(
    ("weight", "bias", "cutoff", "message"),
    [
        ((2, 255), (2,), 64, "weight and bias of shapes"),
        ((2, 256), (3,), 64, "weight and bias"),
        ((2, 256), (2,), 1, "cutoff"),
    ],
)
def test_bad_restraints_are_refused(weight, bias, cutoff, message) -> None:
    with pytest.raises(ValueError, match=message):
        Restraint(torch.zeros(weight), torch.zeros(bias), cutoff)


# --- where it acts ---------------------------------------------------------------------------------------------------


@pytest.fixture
def spared(tiny) -> Weights:
    """The built-in weights with a restraint that applies nothing of a change."""
    return replace(tiny[1], restraint=constant(NOTHING, NOTHING))


@pytest.mark.parametrize("upscale", [1, 2])
@pytest.mark.parametrize("fold", [False, True])
def test_with_shares_of_0_the_result_is_the_input(tiny, spared, upscale, fold) -> None:
    pictures = images(1, 40, 56).movedim(1, -1)
    enhanced = enhance(pictures, tiny[0], estimate(pictures, spared), upscale=upscale, fold=fold)
    expected = enlarged(pictures[0], upscale)
    torch.testing.assert_close(enhanced[0], expected, atol=1e-5, rtol=0)


def test_without_restraint_all_of_the_change_is_applied(tiny, spared) -> None:
    pictures = images(2, 40, 56).movedim(1, -1)
    free = replace(spared, restraint=None)
    expected = enhance(pictures, tiny[0], estimate(pictures, free))
    assert torch.equal(enhance(pictures, tiny[0], estimate(pictures, spared), restraint=False), expected)
    assert (expected - pictures).abs().max() > 0.05


@pytest.mark.parametrize("upscale", [1, 2])
def test_enhance_says_how_much_it_enlarges(tiny, spared, upscale, monkeypatch) -> None:
    factors, apply = [], Restraint.apply

    def spy(self, *arguments, factor: int = 1, **others):
        factors.append(factor)
        return apply(self, *arguments, factor=factor, **others)

    monkeypatch.setattr(Restraint, "apply", spy)
    pictures = images(1, 40, 56).movedim(1, -1)
    enhance(pictures, tiny[0], estimate(pictures, spared), upscale=upscale)
    assert factors == [upscale]


def test_rows_follow_the_images(tiny) -> None:
    weights = replace(tiny[1], restraint=make_restraint())
    pictures = [images(1, *size, seed=i)[0].movedim(0, -1) for i, size in enumerate([(40, 56), (40, 56), (70, 64)])]
    vectors = torch.randn(3, 256, generator=torch.Generator().manual_seed(2)) * 0.3
    together = enhance(pictures, tiny[0], DegradationVectors(vectors, weights))
    for i, picture in enumerate(pictures):
        alone = enhance([picture], tiny[0], DegradationVectors(vectors[[i]], weights))[0]
        torch.testing.assert_close(together[i], alone, atol=1e-4, rtol=0)


def test_tiles_are_restrained_like_the_whole(tiny, spared) -> None:
    pictures = images(1, 300, 280).movedim(1, -1)
    enhanced = enhance(pictures, tiny[0], estimate(pictures, spared), tile=256)
    torch.testing.assert_close(enhanced, pictures, atol=1e-5, rtol=0)


@pytest.mark.parametrize("one_for_all", [False, True])
def test_frames_of_a_clip_are_restrained(tiny, spared, one_for_all) -> None:
    frames = list(images(3, 40, 56).movedim(1, -1))
    degradation = estimate(frames[:1], spared) if one_for_all else None
    for enhanced, frame in zip(enhance_frames(frames, tiny[0], spared, degradation=degradation), frames, strict=True):
        torch.testing.assert_close(enhanced, frame, atol=1e-5, rtol=0)
    free = enhance_frames(frames, tiny[0], spared, degradation=degradation, restraint=False)
    assert (next(free) - frames[0]).abs().max() > 0.05


# --- files and the command line --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clean")
    for index, name in enumerate(sorted(scenes.SCENES)[:2] * 3):
        pixels = np.round(scenes.render(name, 64, 80, index) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def test_estimate_and_info_show_the_restraint(clean: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(replace(make_weights(), restraint=constant(0.0, EVERYTHING)), path)
    picture = str(clean / "0.png")
    assert main(["estimate", picture, "--weights", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["images"][0]["restraint"] == {"low": 0.5, "high": 1.0}
    assert main(["estimate", picture, "--weights", str(path), "--text"]) == 0
    assert "share of the change applied: 50% of brightness and shading, 100% of detail" in capsys.readouterr().out
    assert main(["info", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["restraint"] == {"cutoff": 64.0, "fitted": {}}


def test_no_restraint_on_the_command_line_applies_all_of_the_change(clean: Path, spared, tmp_path: Path) -> None:
    path, picture = tmp_path / "w.safetensors", clean / "0.png"
    save_weights(spared, path)
    changes = []
    for number, options in enumerate([[], ["--no-restraint"]]):
        folder = tmp_path / str(number)
        assert main(["enhance", str(picture), "-o", str(folder), "--weights", str(path), "--quiet", *options]) == 0
        before, after = (np.asarray(Image.open(file), dtype=int) for file in (picture, folder / "0.png"))
        changes.append(np.abs(after - before).max())
    assert changes[0] == 0 < changes[1]


# --- fitting ---------------------------------------------------------------------------------------------------------


def planted(count: int = 400) -> program.Blends:
    """Frames whose best shares follow from the vector: low ``sigmoid(2 v₀)``, high ``sigmoid(1 − v₁)``."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(count, 256, generator=generator, dtype=torch.float64)
    best = torch.stack([2 * vectors[:, 0], 1 - vectors[:, 1]], dim=1).sigmoid()
    power = torch.diag_embed(torch.tensor([0.02, 0.01], dtype=torch.float64)).expand(count, 2, 2)
    gain = torch.einsum("nij,nj->ni", power, best)
    error = (best * gain).sum(dim=1) + 1e-4  # what no blend can mend
    return program.Blends(vectors, error, gain, power, np.array(["composite"] * count))


def test_squared_error_is_that_of_the_blend() -> None:
    before, after, clean = images(1)[0, 0], images(1, seed=1)[0, 0], images(1, seed=2)[0, 0]
    change = (after - before)[..., None]
    low = lowpass(change, CUTOFF)
    parts, wanted = torch.stack([low, change - low]).flatten(1).double(), (clean - before).flatten().double()
    found = program.Blends(
        torch.zeros(1, 256),
        wanted.square().mean()[None],
        (parts @ wanted / len(wanted))[None],
        (parts @ parts.T / len(wanted))[None],
        np.array(["mild"]),
    )
    mixed = constant(-0.5, 0.8).apply(before[None, None], after[None, None], torch.zeros(1, 256))
    shares = torch.tensor([-0.5, 0.8], dtype=torch.float64).sigmoid()
    expected = (mixed - clean).square().mean().double()
    torch.testing.assert_close(found.squared_error(shares)[0], expected, atol=1e-6, rtol=1e-4)


def test_the_fit_finds_what_was_planted_and_takes_more_brightness_in_doubt() -> None:
    found = planted()
    weight, bias = program.fit(found)
    shares = Restraint(weight, bias, 64).shares(found.vectors).double()
    best = torch.linalg.solve(found.power, found.gain)
    assert (shares[:, 1] - best[:, 1]).abs().mean() < 0.1
    assert (shares[:, 0] - (2 * best[:, 0].logit() + program.DOUBT).sigmoid()).abs().mean() < 0.1
    fitted = program.figures(found, Restraint(weight, bias, 64))["composite"]
    assert fitted["restrained"] > max(fitted["input"], fitted["unrestrained"]) + 0.5
    all_taken = program.figures(found, constant(EVERYTHING, EVERYTHING))["composite"]
    assert all_taken["restrained"] == all_taken["unrestrained"]


def test_the_program_writes_a_copy(clean: Path, tmp_path: Path, capsys, caplog) -> None:
    output = tmp_path / "spared.safetensors"
    arguments = ["--images", clean, "--held-out", clean, "--frame", 64, 80, "--draws", 1, "--output", output]
    assert program.main([str(argument) for argument in arguments]) == 0
    assert "| untouched " in capsys.readouterr().out
    restraint, built_in = load_weights(output).restraint, load_weights("hidra-tiny")
    assert restraint.fitted["images"] == 6
    assert restraint.fitted["presets"] == program.FRAMES
    assert restraint.fitted["figures"].keys() == program.FRAMES.keys()
    assert torch.equal(load_weights(output).adapter.conv_in.weight, built_in.adapter.conv_in.weight)
    assert program.main([str(argument) for argument in arguments]) == 1
    assert "exists; --overwrite replaces it" in caplog.text
    assert len(PARTS) == restraint.weight.shape[0]
