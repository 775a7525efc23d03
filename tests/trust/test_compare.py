"""What the trust report says about outputs whose faults are known."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata

from hidra_core import degradations, enhance, estimate, scenes
from hidra_core.cli import main
from hidra_core.trust import Trust, compare, trust_picture
from hidra_core.vectors import measure

HEIGHT, WIDTH = 160, 192


def scene(name: str = "street", seed: int = 1) -> torch.Tensor:
    return torch.from_numpy(scenes.render(name, HEIGHT, WIDTH, seed))[..., None]


def degraded(clean: torch.Tensor, preset: str, seed: int) -> torch.Tensor:
    record = degradations.sample(preset, torch.Generator().manual_seed(seed))
    return degradations.apply(clean.movedim(-1, 0)[None], record)[0].movedim(0, -1)


def disc(y: float, x: float, radius: float) -> np.ndarray:
    """Signed distance in pixels to a circle, ``[H, W]``."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.hypot(rows - y, columns - x) - radius


def pasted(output: torch.Tensor, distance: np.ndarray, contrast: float) -> torch.Tensor:
    """The output with an object of soft edges in it, warmer if that fits into the range, else colder."""
    inside = output[..., 0].numpy()[distance < 0].mean()
    sign = -1 if inside + contrast > 1 else 1
    shape = gaussian_filter((distance < 0).astype(np.float32), 0.7)
    return (output + sign * contrast * torch.from_numpy(shape)[..., None]).clamp(0, 1)


def roc_area(trust: Trust, distance: np.ndarray) -> float:
    """How well the map separates edge pixels of the object from pixels far from it: area under the ROC curve."""
    positive, negative = trust.hallucination[np.abs(distance) < 2], trust.hallucination[distance > 8]
    ranks = rankdata(np.concatenate([positive, negative]))[: positive.size]
    return (ranks.sum() - positive.size * (positive.size + 1) / 2) / (positive.size * negative.size)


@pytest.fixture(scope="module")
def restored(tiny) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Degraded scenes and what the built-in model makes of them."""
    backbone, weights = tiny
    before = [
        degraded(scene(name, seed), preset, seed)
        for seed, (name, preset) in enumerate(
            (("street", "composite"), ("substation", "fpn"), ("field", "moderate"), ("night", "field"))
        )
    ]
    return list(zip(before, enhance(before, backbone, estimate(before, weights)), strict=True))


def test_planted_objects_are_found_in_the_models_output(restored) -> None:
    areas = []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        radius = rng.uniform(6, 16)
        y, x = rng.uniform(radius + 4, HEIGHT - radius - 4), rng.uniform(radius + 4, WIDTH - radius - 4)
        before, after = restored[seed % len(restored)]
        distance = disc(y, x, radius)
        areas.append(roc_area(compare(before, pasted(after, distance, rng.uniform(0.12, 0.35))), distance))
    assert np.mean(areas) >= 0.9


def test_edges_of_the_model_are_supported(restored) -> None:
    for before, after in restored:
        trust = compare(before, after)
        assert trust.area < 0.01
        assert trust.supported > 0.95


@pytest.mark.parametrize("preset", ["composite", "fpn", "extreme", "field"])
def test_nothing_is_flagged_at_blend_0(preset: str) -> None:
    before = degraded(scene(), preset, 3)
    trust = compare(before, before)
    assert trust.area == 0
    assert trust.hallucination.max() == 0
    assert trust.score == 1
    assert trust.bias == trust.deviation == trust.largest == 0


@pytest.mark.parametrize("preset", ["composite", "fpn", "sr-x2", "moderate", "severe"])
def test_the_true_image_is_no_hallucination(preset: str) -> None:
    """A perfect model gives sharper and stronger edges than its input: they still count as supported."""
    for seed in range(3):
        clean = scene("substation", seed)
        assert compare(degraded(clean, preset, seed), clean).area < 0.01


def test_gain_and_offset_do_not_matter() -> None:
    before = degraded(scene(), "fpn", 2)
    trust = compare(before * 0.4 + 0.3, before)
    assert trust.area == 0
    assert trust.gain == pytest.approx(0.4, abs=0.02)
    assert trust.order == pytest.approx(1, abs=1e-3)
    assert trust.bias == pytest.approx(((before - before * 0.4 - 0.3).mean() * 255).item(), abs=0.01)


def test_blur_of_the_input_is_found() -> None:
    clean = scene()
    blurred = torch.from_numpy(gaussian_filter(clean.numpy(), (2, 2, 0)))
    noisy = blurred + torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)) * 2 / 255
    trust = compare(noisy.clamp(0, 1), clean)
    assert trust.blur in (1.5, 2.0, 3.0)
    assert trust.area < 0.01


def test_a_hidden_edge_cannot_be_verified_and_is_not_accused() -> None:
    """The same faint object is flagged on a clear input and not on one whose noise could hide it."""
    clean, distance = scene("night", 2), disc(80, 90, 10)
    output = pasted(clean, distance, 0.08)
    edge = np.abs(distance) < 1
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    clear = compare((clean + noise / 255).clamp(0, 1), output).hallucination[edge].mean()
    buried = compare((clean + 40 * noise / 255).clamp(0, 1), output).hallucination[edge].mean()
    assert clear > 0.5 > 0.2 > buried


def test_reversed_contrast_has_no_support() -> None:
    clean = scene()
    trust = compare(clean, 1 - clean)
    assert trust.order == pytest.approx(-1, abs=0.01)
    assert trust.score == 0
    assert trust.supported < 0.7


def test_another_scene_is_not_trusted() -> None:
    assert compare(degraded(scene("street"), "fpn", 1), scene("field")).score < 0.3


def test_a_flat_output_has_no_edges_and_no_order() -> None:
    trust = compare(scene(), torch.full((HEIGHT, WIDTH, 1), 0.5))
    assert trust.area == 0
    assert trust.score == 0


def test_regions_say_where() -> None:
    clean, distance = scene("night", 2), disc(60, 120, 12)
    trust = compare(clean, pasted(clean, distance, 0.3))
    first = trust.regions[0]
    assert first.left == pytest.approx(108, abs=4)
    assert first.top == pytest.approx(48, abs=4)
    assert first.width == pytest.approx(24, abs=10)
    assert first.pixels > 40
    assert sum(region.pixels for region in trust.regions) <= (trust.hallucination > 0.5).sum()


def test_low_frequency_change_is_reported_without_the_mean() -> None:
    clean = scene() * 0.5 + 0.2
    slope = torch.linspace(-0.1, 0.1, WIDTH).expand(HEIGHT, WIDTH)[..., None]
    trust = compare(clean, clean + slope + 0.05)
    assert trust.bias == pytest.approx(0.05 * 255, abs=0.1)
    assert trust.low_largest == pytest.approx(0.1 * 255, abs=4)
    assert trust.area == 0  # shading is no edge


def test_enlarged_outputs_are_compared_with_the_enlarged_input(tiny) -> None:
    backbone, weights = tiny
    before = degraded(scene(), "sr-x2", 1)[::2, ::2].contiguous()
    after = enhance(before, backbone, estimate(before, weights), upscale=2)
    trust = compare(before, after)
    assert trust.hallucination.shape == (HEIGHT, WIDTH)
    assert trust.area < 0.01
    distance = disc(80, 90, 16)
    assert roc_area(compare(before, pasted(after, distance, 0.25)), distance) > 0.9


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (9, 9)])
def test_small_images(size: tuple[int, int]) -> None:
    images = torch.rand(2, *size, 1, generator=torch.Generator().manual_seed(0))
    trust = compare(images[0], images[1])
    assert trust.hallucination.shape == size
    assert np.isfinite(trust.hallucination).all()
    assert 0 <= trust.score <= 1
    json.dumps(trust.to_dict(), allow_nan=False)


def test_cropped_output_is_refused() -> None:
    with pytest.raises(ValueError, match="different proportions"):
        compare(scene(), scene()[:, :150])


def test_numbers_and_words_agree() -> None:
    before = degraded(scene(), "fpn", 1)
    trust = compare(before, scene())
    record = json.loads(json.dumps(trust.to_dict(), allow_nan=False))
    assert record["score"] == pytest.approx(trust.score, abs=1e-4)
    assert record["size"] == [WIDTH, HEIGHT]
    assert record["input"]["noise"] == pytest.approx(measure(before[..., 0]).noise, abs=0.01)
    assert f"trust {trust.score:.2f}" in trust.summary()
    assert f"mean {trust.bias:+.1f}" in trust.summary()


def test_picture_shows_the_planted_object() -> None:
    clean, distance = scene("night", 2), disc(60, 120, 12)
    output = pasted(clean, distance, 0.3)
    picture = np.asarray(trust_picture(clean, output, compare(clean, output))).astype(int)
    magenta = (picture[..., 0] > 150) & (picture[..., 1] < 90) & (picture[..., 2] > 120)
    rows, columns = np.nonzero(magenta[: -picture.shape[0] // 16])  # the legend is below
    assert len(rows) > 50
    assert columns.min() > picture.shape[1] / 2  # in the overlay, not in the others
    assert rows.min() > picture.shape[0] / 2


# --- on the command line ---------------------------------------------------------------------------------------------


def save(path: Path) -> Path:
    Image.fromarray((degraded(scene(), "fpn", 1)[..., 0].numpy() * 255).astype(np.uint8)).save(path)
    return path


def test_report_is_written_next_to_the_result(tmp_path: Path) -> None:
    source, out = save(tmp_path / "a.png"), tmp_path / "out"
    assert main(["enhance", str(source), "-o", str(out), "--report", "--quiet"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["a-trust.json", "a-trust.png", "a.png"]
    record = json.loads((out / "a-trust.json").read_text())
    assert record["files"] == {"input": str(source), "output": str(out / "a.png")}
    assert 0 < record["score"] <= 1
    with Image.open(out / "a-trust.png") as picture:
        assert picture.width > 2 * WIDTH


def test_report_describes_the_written_image(tmp_path: Path) -> None:
    source, out = save(tmp_path / "a.png"), tmp_path / "out"
    assert main(["enhance", str(source), "-o", str(out), "--report", "--blend", "0", "--quiet"]) == 0
    record = json.loads((out / "a-trust.json").read_text())
    assert record["score"] == 1
    assert record["change_in_grey_levels"]["largest"] == 0


def test_report_of_a_clip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"")
    assert main(["enhance", str(tmp_path / "clip.mp4"), "-o", str(tmp_path / "out"), "--report"]) == 2
