"""The dial between input and output: exact ends, a straight line between them, low frequencies on their own."""

from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from PIL import Image

from hidra_core import enhance, estimate
from hidra_core.backbone import Backbone, DiffusersBackbone
from hidra_core.cli import main
from hidra_core.enhance import DegradationVectors
from hidra_core.images.blend import blend, enlarged, lowpass


def random_image(seed: int, height: int = 40, width: int = 56, channels: int = 1) -> torch.Tensor:
    return torch.rand(height, width, channels, generator=torch.Generator().manual_seed(seed))


def wave(period: float, width: int = 512) -> torch.Tensor:
    """A horizontal wave of amplitude 1, ``[64, width, 1]``."""
    x = torch.arange(width, dtype=torch.float64)
    return torch.cos(2 * torch.pi * (x + 0.5) / period).float().expand(64, width)[..., None].contiguous()


def test_both_ends_are_exact() -> None:
    before, after = random_image(0), random_image(1)
    assert torch.equal(blend(before, after, 0.0), before)
    assert torch.equal(blend(before, after, 0.0, low_frequencies=0.3), before)
    assert torch.equal(blend(before, after, 1.0), after)


def test_the_change_is_in_proportion_to_the_dial() -> None:
    before, after = random_image(0), random_image(1)
    for low in (1.0, 0.25):
        whole = blend(before, after, 1.0, low_frequencies=low) - before
        half = blend(before, after, 0.5, low_frequencies=low) - before
        torch.testing.assert_close(half, whole / 2, atol=1e-6, rtol=0)


@pytest.mark.parametrize("cutoff", [16.0, 64.0, 128.0])
def test_half_the_amplitude_passes_at_the_cutoff(cutoff: float) -> None:
    inside = slice(int(cutoff) * 2, -int(cutoff) * 2) if cutoff < 128 else slice(200, -200)
    for period, share in ((cutoff, 0.5), (cutoff * 4, 0.957), (cutoff / 3, 0.002)):
        source = wave(period, 1024)
        passed = lowpass(source, cutoff)[32, inside, 0]
        along = source[32, inside, 0]
        amplitude = (passed @ along / (along @ along)).item()
        assert amplitude == pytest.approx(share, abs=0.01)


def test_the_input_keeps_its_low_frequencies() -> None:
    before = random_image(0, 128, 160)
    after = (random_image(1, 128, 160) + 0.3).clamp(0, 1)
    kept = blend(before, after, 1.0, low_frequencies=0.0, cutoff=32)
    torch.testing.assert_close(kept.mean(), before.mean(), atol=2e-3, rtol=0)
    low = lowpass(kept - before, 128)[32:-32, 32:-32]
    assert low.abs().max() < 0.03 < lowpass(after - before, 128)[32:-32, 32:-32].abs().min()
    high_kept, high_after = (part - lowpass(part, 8) for part in (kept - before, after - before))
    torch.testing.assert_close(high_kept, high_after, atol=0.02, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (3, 5)])
def test_small_images_can_be_blended(size: tuple[int, int]) -> None:
    before, after = random_image(0, *size), random_image(1, *size)
    result = blend(before, after, 0.5, low_frequencies=0.0)
    assert result.shape == before.shape
    assert result.isfinite().all()


def test_enlarged_output_blends_with_the_enlarged_input() -> None:
    before, after = random_image(0, 12, 16, 3), random_image(1, 24, 32, 3)
    assert torch.equal(blend(before, after, 0.0), enlarged(before, 2))
    assert blend(before, after, 0.5).shape == (24, 32, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"blend": 1.5}, "blend must be from 0"),
        ({"blend": float("nan")}, "blend must be from 0"),
        ({"blend": 0.5, "low_frequencies": -1}, "low_frequencies must be from 0"),
        ({"blend": 0.5, "cutoff": 1}, "cutoff must be a period"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        blend(random_image(0), random_image(1), **options)


@pytest.mark.parametrize("shape", [(40, 56, 3), (60, 56, 1), (80, 56, 1)])
def test_images_that_do_not_belong_together_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="with a whole k"):
        blend(random_image(0), random_image(1, *shape), 0.5)


# --- in enhance and on the command line ------------------------------------------------------------------------------


def test_enhance_blends(backbone, weights) -> None:
    images = torch.rand(2, 40, 56, 3, generator=torch.Generator().manual_seed(0))
    degradation = estimate(images, weights)
    model = enhance(images, backbone, degradation)
    assert torch.equal(enhance(images, backbone, degradation, blend=0.0), images)
    half = enhance(images, backbone, degradation, blend=0.5)
    torch.testing.assert_close(half, (images + model) / 2, atol=1e-6, rtol=0)
    kept = enhance(images, backbone, degradation, low_frequencies=0.0)
    expected = blend(images[0], model[0], 1.0, low_frequencies=0.0).clamp(0, 1)
    torch.testing.assert_close(kept[0], expected)


def test_enhance_at_blend_0_does_not_run_the_networks(weights) -> None:
    def run(*_arguments: Any, **_named: Any) -> NoReturn:
        raise AssertionError("the networks ran")

    class Unusable(Backbone):
        encode = denoise = decode = lookup = modules = run

    images = torch.rand(1, 40, 56, 1)
    vectors = torch.zeros(1, 256)
    assert torch.equal(enhance(images, Unusable(), DegradationVectors(vectors, weights), blend=0.0), images)
    doubled = enhance(images, Unusable(), DegradationVectors(vectors, weights), blend=0.0, upscale=2)
    assert doubled.shape == (1, 80, 112, 1)


def save_counts(path: Path) -> np.ndarray:
    """A 16-bit frame whose counts fill a narrow band, with a dead and a stuck pixel outside it."""
    counts = np.random.default_rng(0).integers(21_000, 21_400, (40, 56)).astype(np.uint16)
    counts[3, 4], counts[20, 30] = 0, 65_535
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(counts).save(path)
    return counts


@pytest.mark.parametrize("name", ["frame.png", "frame.tiff"])
def test_blend_0_gives_a_16_bit_file_back(tmp_path: Path, name: str) -> None:
    save_counts(tmp_path / name)
    assert main(["enhance", str(tmp_path / name), "-o", str(tmp_path / "out"), "--blend", "0", "--quiet"]) == 0
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_blend_0_gives_a_jpeg_back(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.jpg", quality=60)
    options = ["--blend", "0", "--as-is", "--quiet"]
    assert main(["enhance", str(tmp_path / "a.jpg"), "-o", str(tmp_path / "out"), *options]) == 0
    assert (tmp_path / "out" / "a.jpg").read_bytes() == (tmp_path / "a.jpg").read_bytes()


def test_blend_0_keeps_counts_in_another_format(tmp_path: Path) -> None:
    counts = save_counts(tmp_path / "frame.png")
    arguments = ["enhance", str(tmp_path / "frame.png"), "-o", str(tmp_path / "out"), "--format", "tiff"]
    assert main([*arguments, "--blend", "0", "--quiet"]) == 0
    with Image.open(tmp_path / "out" / "frame.tiff") as image:
        assert (np.asarray(image) == counts).all()


def test_blend_on_the_command_line_is_on_counts(tmp_path: Path) -> None:
    counts = save_counts(tmp_path / "frame.png").astype(int)
    results = {}
    for value in ("1", "0.5"):
        out = tmp_path / value
        arguments = ["enhance", str(tmp_path / "frame.png"), "-o", str(out), "--blend", value, "--quiet"]
        assert main([*arguments, "--dtype", "fp32"]) == 0
        with Image.open(out / "frame.png") as image:
            results[value] = np.asarray(image).astype(int)
    assert np.abs(results["0.5"] - (counts + results["1"]) / 2).max() <= 1
    assert results["0.5"][3, 4] < 12_000  # the dead pixel's own count takes part, not that of the stretched range


def test_blend_0_on_the_command_line_runs_no_network(tmp_path: Path, monkeypatch) -> None:
    def run(*_: object) -> None:
        raise AssertionError("the networks were run")

    monkeypatch.setattr(DiffusersBackbone, "encode", run)
    save_counts(tmp_path / "frame.png")
    arguments = ["enhance", str(tmp_path / "frame.png"), "-o", str(tmp_path / "out"), "--quiet"]
    assert main([*arguments, "--blend", "0", "--upscale", "2"]) == 0
    with Image.open(tmp_path / "out" / "frame.png") as image:
        assert image.size == (112, 80)
    assert main([*arguments, "--overwrite"]) == 1


def test_radiometric_mode_has_no_blend(tmp_path: Path) -> None:
    save_counts(tmp_path / "frame.png")
    arguments = ["enhance", str(tmp_path / "frame.png"), "-o", str(tmp_path / "out"), "--radiometric"]
    assert main([*arguments, "--blend", "0.5"]) == 2
    assert main([*arguments, "--low-frequencies", "0"]) == 2


def test_wrong_blend_is_wrong_usage(tmp_path: Path) -> None:
    save_counts(tmp_path / "frame.png")
    assert main(["enhance", str(tmp_path / "frame.png"), "-o", str(tmp_path / "out"), "--blend", "2"]) == 2
    assert not (tmp_path / "out").exists()
