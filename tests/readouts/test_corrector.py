"""The corrector: what it sees, what its parts mean, where it acts, and its place in the weights file."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F

from hidra_core import Weights, enhance, estimate, load_weights, save_weights
from hidra_core.images import to_grey
from hidra_core.images.files import read_safetensors, write_safetensors
from hidra_core.readouts import Correction, Corrector, CorrectorEnsemble, CorrectorNetwork, Restraint
from hidra_core.readouts.corrector import GRID, small_view
from hidra_core.video import enhance_frames
from hidra_core.weights import add_corrector, weights_path
from train.probing import restraint as fitting

if TYPE_CHECKING:
    from pathlib import Path


def corrector(brightness: float = 0.0, contrast: float = 0.0) -> Corrector:
    """One that says the same about every image: a change of brightness, and a logarithm of a contrast below 2."""
    network = CorrectorNetwork(8)
    last = network.tone[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.bias.copy_(torch.tensor([2 * torch.tensor(contrast / 2).atanh(), brightness, 50.0]))
    return Corrector(network, 6.0, {"images": 3})


def trained(seed: int = 0) -> Corrector:
    """One whose every part says something else about every image."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = CorrectorNetwork(8)
        for last in (network.tone[-1], network.field):
            assert isinstance(last, torch.nn.Linear | torch.nn.Conv2d)
            torch.nn.init.normal_(last.weight, std=0.05)
    return Corrector(network, 6.0)


def images(count: int = 1, height: int = 64, width: int = 80, seed: int = 0) -> torch.Tensor:
    return 0.2 + 0.5 * torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(seed))


def cells(image: torch.Tensor) -> torch.Tensor:
    return F.adaptive_avg_pool2d(image, GRID)[:, 0]


# --- what it sees, and what it says ----------------------------------------------------------------------------------


def test_view_has_mean_deviation_and_what_was_cut_off() -> None:
    image = torch.full((1, 1, 64, 80), 0.5)
    image[..., :2, :2] = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    view = small_view(image)
    torch.testing.assert_close(view[0, :, 0, 0], torch.tensor([0.75, 0.1875**0.5, 0.25, 0.75]))
    torch.testing.assert_close(view[0, :, 5, 5], torch.tensor([0.5, 0.0, 0.0, 0.0]))


@pytest.mark.parametrize("size", [(7, 500), (77, 111), (512, 640), (641, 33)])
def test_little_noise_is_measured_as_it_is(size: tuple[int, int]) -> None:
    """Also in cells that share pixels, and not lost in rounding where the cell is bright."""
    image = 0.95 + 2e-4 * torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(0))
    image[..., : size[0] // 2, :] *= 0.3
    exact = image.double()
    expected = (F.adaptive_avg_pool2d(exact.square(), GRID) - cells(exact)[:, None].square()).clamp_min(0).sqrt()
    torch.testing.assert_close(small_view(image)[:, 1:2], expected.float(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", [(1, 1), (7, 500), (512, 640), (641, 33)])
def test_images_of_any_size_are_read_and_corrected(size: tuple[int, int]) -> None:
    image, good = images(1, *size), trained()
    correction = good.read(image)
    assert correction.shading.shape == (1, *GRID)
    result = image + good.change(image, image, correction)
    assert result.shape == image.shape
    assert result.isfinite().all()


def test_the_parts_undo_what_was_done() -> None:
    """Contrast compressed, brightness moved, shading added: the correction with these numbers gives the scene back."""
    scene = cells(images())
    shading = torch.linspace(-0.1, 0.1, GRID[1]).expand(1, *GRID)
    seen = 0.4 * scene + 0.3 + shading
    correction = Correction(torch.tensor([2.5]), scene.mean()[None] - seen.mean()[None], shading)
    torch.testing.assert_close(correction.target(seen), scene)
    assert correction.summary().startswith("shading taken off: 51 grey levels, brightness")
    assert "contrast ×2.50" in correction.summary()


def test_none_of_a_correction_is_nothing_and_packing_loses_nothing() -> None:
    correction = trained().read(images(2))
    mean = cells(images(2))
    torch.testing.assert_close(correction.scaled(0.0).target(mean), mean)
    again = Correction.unpacked(correction.packed())
    torch.testing.assert_close(again.target(mean), correction.target(mean))


def test_several_networks_say_their_mean_and_pass_through_a_file(tmp_path: Path) -> None:
    members = trained(0), trained(1)
    networks = [member.network for member in members if isinstance(member.network, CorrectorNetwork)]
    both = Corrector(CorrectorEnsemble.of(networks), 6.0)
    path = tmp_path / "weights.safetensors"
    add_corrector("hidra-tiny", both, path)
    found = load_weights(path).corrector
    expected = sum(member.read(images(2)).packed() for member in members) / 2
    assert found is not None
    torch.testing.assert_close(both.read(images(2)).packed(), expected)
    torch.testing.assert_close(found.read(images(2)).packed(), expected, atol=2e-3, rtol=0)  # stored in fp16


def test_untrained_it_corrects_nothing() -> None:
    image = images()
    fresh = Corrector(CorrectorNetwork(8), 6.0)
    torch.testing.assert_close(image + fresh.change(image, image, fresh.read(image)), image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("factor", [1, 2])
def test_low_frequencies_are_replaced_and_detail_is_kept(factor: int) -> None:
    """An output whose brightness is off by a ramp gets that of the scene; its detail stays."""
    scene = images(1, 128, 160)
    large = F.interpolate(scene, scale_factor=factor, mode="bilinear", align_corners=False)
    ramp = torch.linspace(-0.15, 0.15, large.shape[-1]).expand_as(large)
    nothing = Correction(torch.ones(1), torch.zeros(1), torch.zeros(1, *GRID))  # the input is right as it is
    result = large + ramp + corrector().change(scene, large + ramp, nothing)
    inside = (..., slice(16, -16), slice(16 * factor, -16 * factor))
    assert (result - large)[inside].abs().max() < 0.03
    assert (large + ramp - large)[inside].abs().max() > 0.1


# --- where it acts ---------------------------------------------------------------------------------------------------


@pytest.fixture
def brighter(tiny) -> Weights:
    """The built-in weights without a restraint, and with a corrector that makes everything brighter."""
    return replace(tiny[1], restraint=None, corrector=corrector(brightness=0.2))


def test_enhance_corrects_unless_told_not_to(tiny, brighter) -> None:
    pictures = images(2).movedim(1, -1)
    degradation = estimate(pictures, brighter)
    plain = enhance(pictures, tiny[0], estimate(pictures, replace(brighter, corrector=None)))
    assert torch.equal(enhance(pictures, tiny[0], degradation, corrector=False), plain)
    means = to_grey(enhance(pictures, tiny[0], degradation)).mean(dim=(1, 2, 3))
    torch.testing.assert_close(means, to_grey(pictures).mean(dim=(1, 2, 3)) + 0.2, atol=0.02, rtol=0)


@pytest.mark.parametrize(("strength", "expected"), [(0.0, None), (0.5, 0.1), (1.5, 0.2)])
def test_it_follows_the_strength(tiny, brighter, strength, expected) -> None:
    pictures = images().movedim(1, -1)
    degradation = estimate(pictures, brighter)
    result = enhance(pictures, tiny[0], degradation, strength=strength)
    if expected is None:
        assert torch.equal(result, enhance(pictures, tiny[0], degradation, strength=strength, corrector=False))
    else:
        assert result.mean().item() == pytest.approx(pictures.mean().item() + expected, abs=0.02)


def test_the_restraint_has_the_last_word(tiny, brighter) -> None:
    spared = replace(brighter, restraint=Restraint(torch.zeros(2, 256), torch.tensor([-50.0, -50.0]), 64))
    pictures = images().movedim(1, -1)
    result = enhance(pictures, tiny[0], estimate(pictures, spared))
    torch.testing.assert_close(result, pictures, atol=1e-5, rtol=0)


def weighing(low: float, high: float, by_corrector: float) -> Restraint:
    """A restraint with a share for the corrector, of given logits for any vector."""
    return Restraint(torch.zeros(3, 256), torch.tensor([low, high, by_corrector]), 64)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_restraint_that_knows_it_weighs_its_word(tiny, brighter, share) -> None:
    """Of the corrector's word its share counts against that of the networks; its bands restrain what comes of it."""
    pictures = images().movedim(1, -1)
    said = torch.tensor([share]).logit(eps=1e-9).item()
    networks = enhance(pictures, tiny[0], estimate(pictures, brighter), restraint=False, corrector=False)
    for all_of_it in (50.0, -50.0):
        weights = replace(brighter, restraint=weighing(all_of_it, all_of_it, said))
        result = enhance(pictures, tiny[0], estimate(pictures, weights)).mean().item()
        heard = networks.mean().item() * (1 - share) + (pictures.mean().item() + 0.2) * share
        assert result == pytest.approx(heard if all_of_it > 0 else pictures.mean().item(), abs=2e-3)


def test_without_it_the_bands_restrain_the_networks(tiny, brighter) -> None:
    pictures = images().movedim(1, -1)
    of_both = replace(brighter, restraint=weighing(1.0, 0.5, 50.0))
    of_networks = replace(brighter, restraint=Restraint(torch.zeros(2, 256), torch.tensor([1.0, 0.5]), 64))
    expected = enhance(pictures, tiny[0], estimate(pictures, of_networks), corrector=False)
    found = enhance(pictures, tiny[0], estimate(pictures, of_both), corrector=False)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert (found - enhance(pictures, tiny[0], estimate(pictures, of_both))).abs().mean() > 0.05


def test_details_get_the_contrast_that_it_calls_for() -> None:
    """Networks that leave contrast as it was get all of it, those that have restored it get none on top."""
    seen, doubled = 0.3 + 0.2 * images(), 0.3 + 0.4 * images()
    doubler = corrector(contrast=math.log(2))
    said = doubler.read(seen)
    for after, gain in ((seen, 2.0), (doubled, 1.0)):
        result = after + doubler.change(seen, after, said)
        fine = [image - F.avg_pool2d(image, 32, stride=1).mean() for image in (after, result)]
        assert (fine[1].std() / fine[0].std()).item() == pytest.approx(gain, abs=0.1)


def test_the_fit_of_the_restraint_reckons_with_it(tiny, brighter) -> None:
    """The error that the fit reckons with is that of the enhanced image; where the corrector is right it is heard."""
    clean = [(images(1, 64, 80, seed)[0, 0].numpy() * 255).astype("uint8") for seed in range(2)]
    frames = fitting.blends(clean, {"untouched": 1}, brighter, tiny[0], (64, 80), 0, 0.0)
    assert frames.parts == ("low", "high", "corrector")
    weights = replace(brighter, restraint=weighing(0.4, 1.0, -0.3))
    for number, image in enumerate(clean):
        picture = torch.from_numpy(image)[None, ..., None] / 255
        error = (enhance(picture, tiny[0], estimate(picture, weights)) - picture).square().mean()
        shares = torch.tensor([0.4, 1.0, -0.3]).sigmoid().double()
        torch.testing.assert_close(frames.squared_error(shares)[number], error.double(), atol=1e-4, rtol=0)
    alike = torch.randn(100, 256, generator=torch.Generator().manual_seed(0)).double()
    power = torch.diag_embed(torch.tensor([0.02, 0.01, 0.02, 0.01]).double()).expand(100, 4, 4)
    best = torch.tensor([0.4, 0.6, 0.8]).double()
    coefficients = torch.cat([best[:2], best[:2] * best[0] * best[2]]).expand(100, 4)
    gain = torch.einsum("nij,nj->ni", power, coefficients)
    error = (coefficients * gain).sum(dim=1) + 1e-4
    planted = fitting.Blends(alike, error, gain, power, frames.presets[[0] * 100])
    found = Restraint(*fitting.fit(planted), 64).shares(alike).mean(dim=0)
    torch.testing.assert_close(found.double(), best, atol=0.05, rtol=0)
    kept = weighing(1.0, -1.0, 0.0)
    weight, bias = fitting.fit(planted, kept)
    assert torch.equal(weight[:2], kept.weight[:2])
    assert torch.equal(bias[:2], kept.bias[:2])
    assert weight.shape == (3, 256)


def test_tiled_and_enlarged_images_are_read_once_and_whole(tiny, brighter, monkeypatch) -> None:
    sizes, read = [], Corrector.read

    def spy(self: Corrector, seen: torch.Tensor) -> Correction:
        sizes.append(tuple(seen.shape))
        return read(self, seen)

    monkeypatch.setattr(Corrector, "read", spy)
    pictures = images(1, 64, 150).movedim(1, -1)
    enhance(pictures, tiny[0], estimate(pictures, brighter), upscale=2, tile=256)
    assert sizes == [(1, 1, 64, 150)]


def test_clips_are_corrected_steadily_until_the_scene_changes(tiny, monkeypatch) -> None:
    """What is said of single frames jumps about; what is applied does not, and starts over with another scene."""
    said = iter([0.1, 0.2, 0.1, 0.2, -0.1])

    def read(_: Corrector, seen: torch.Tensor) -> Correction:
        count = len(seen)
        shift = torch.tensor([next(said) for _ in range(count)])
        return Correction(torch.ones(count), shift, torch.zeros(count, *GRID))

    monkeypatch.setattr(Corrector, "read", read)
    applied, change = [], Corrector.change

    def spy(self: Corrector, before: torch.Tensor, after: torch.Tensor, correction: Correction) -> torch.Tensor:
        applied.extend(correction.brightness.tolist())
        return change(self, before, after, correction)

    monkeypatch.setattr(Corrector, "change", spy)
    weights = replace(tiny[1], corrector=corrector())
    scene = images(1, 64, 64)[0].movedim(0, -1)
    scene[:32] *= 0.3
    frames = [scene, scene, scene, scene, scene.transpose(0, 1)]
    list(enhance_frames(frames, tiny[0], weights, smoothing=0.9))
    assert applied == pytest.approx([0.1, 0.15, 0.4 / 3, 0.15, -0.1])
    said = iter([0.1, 0.2])
    list(enhance_frames(frames[:2], tiny[0], weights, corrector=False))
    assert len(applied) == 5


# --- the weights file ------------------------------------------------------------------------------------------------


def test_it_is_written_and_read(tmp_path: Path, tiny) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(replace(tiny[1], corrector=trained()), path)
    found, expected = load_weights(path).corrector, trained()
    assert found is not None
    assert (found.cutoff, found.fitted) == (6.0, {})
    image = images()
    torch.testing.assert_close(found.read(image).shading, expected.read(image).shading, atol=2e-3, rtol=0)


def test_adding_it_leaves_everything_else(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    add_corrector("hidra-tiny", corrector(), path)
    add_corrector(path, trained(), path)
    tensors, metadata = read_safetensors(path)
    before, header = read_safetensors(weights_path("hidra-tiny"))
    rest = {key: tensor for key, tensor in tensors.items() if not key.startswith("corrector.")}
    kept = {key: tensor for key, tensor in before.items() if not key.startswith("corrector.")}
    assert rest.keys() == kept.keys()
    assert all(torch.equal(rest[key], kept[key]) for key in rest)
    assert {key: text for key, text in metadata.items() if key != "corrector"} == {
        key: text for key, text in header.items() if key != "corrector"
    }
    assert load_weights(path).corrector is not None


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"width": 12, "cutoff": 6.0, "fitted": {}}, "multiple of 8"),
        ({"width": 16, "cutoff": 6.0, "fitted": {}}, "has 'corrector.stem.weight' of shape"),
        ({"width": 8, "fitted": {}}, "lacks the number 'cutoff'"),
        ({"width": 8, "cutoff": 1.0, "fitted": {}}, "from 2 to 40 cells"),
    ],
)
def test_damaged_correctors_are_refused(tmp_path: Path, header: dict, message: str) -> None:
    path = tmp_path / "weights.safetensors"
    add_corrector("hidra-tiny", corrector(), path)
    tensors, metadata = read_safetensors(path)
    write_safetensors(tensors, path, metadata | {"corrector": json.dumps(header)})
    with pytest.raises(ValueError, match=message) as caught:
        load_weights(path)
    assert str(path) in str(caught.value)
