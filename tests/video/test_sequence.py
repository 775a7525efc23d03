"""Sequences: smoothing over time, frames in chunks, flicker."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import pytest
import torch
from helpers import clip_files

import hidra_core
from hidra_core import scenes
from hidra_core.enhance import DegradationVectors, estimate
from hidra_core.vectors import SmoothOverTime, average, blend
from hidra_core.video import LARGEST_CHUNK, Flicker, enhance_frames, flicker

if TYPE_CHECKING:
    from collections.abc import Iterator


def scene(name: str, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(scenes.render(name, 96, 128, seed))[..., None]


def numbered(count: int) -> torch.Tensor:
    return torch.arange(count, dtype=torch.float32)[:, None].expand(-1, 256).clone()


def test_smoothing_is_a_running_mean_that_forgets() -> None:
    frames = [scene("street")] * 8
    smoothed = SmoothOverTime(0.75)(numbered(8), frames)[:, 0].tolist()
    assert smoothed[:4] == [0.0, 0.5, 1.0, 1.5]  # plain means of the first 1 / (1 - 0.75) frames
    assert smoothed[4] == pytest.approx(0.75 * 1.5 + 0.25 * 4)


def test_chunks_do_not_show_in_the_smoothing() -> None:
    frames = [scene("street")] * 8
    whole = SmoothOverTime(0.9)(numbered(8), frames)
    smooth = SmoothOverTime(0.9)
    parts = torch.cat([smooth(numbered(8)[i : i + 3], frames[i : i + 3]) for i in (0, 3, 6)])
    assert torch.equal(whole, parts)


def test_no_smoothing_changes_nothing() -> None:
    assert torch.equal(SmoothOverTime(0.0)(numbered(5), [scene("street")] * 5), numbered(5))


def test_a_cut_starts_over_and_motion_gain_and_noise_do_not() -> None:
    steady = clip_files.static_scene(2)
    darker = (steady[1] * 0.6 + 0.1).clamp(0, 1)
    moved = steady[0].roll(3, dims=1)
    other = scene("substation", 5)
    smoothed = SmoothOverTime(0.9)(numbered(5), [steady[0], steady[1], darker, moved, other])[:, 0].tolist()
    assert smoothed == [0.0, 0.5, 1.0, 1.5, 4.0]


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_smoothing_out_of_range_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match="smoothing must be from 0"):
        SmoothOverTime(smoothing)


def test_average_and_blend(weights: hidra_core.Weights) -> None:
    pair = DegradationVectors(numbered(2), weights)
    assert torch.equal(average(pair).vectors, torch.full((1, 256), 0.5))
    one = DegradationVectors(torch.full((1, 256), 4.0), weights)
    assert torch.equal(blend(pair, one, 0.25).vectors, torch.tensor([[1.0], [1.75]]).expand(-1, 256))
    assert torch.equal(blend(pair, pair, 1.0).vectors, pair.vectors)
    with pytest.raises(ValueError, match="share must be from 0"):
        blend(pair, one, 1.5)
    with pytest.raises(ValueError, match="2 and 3 degradation vectors"):
        blend(pair, DegradationVectors(numbered(3), weights), 0.5)


def test_blend_refuses_vectors_of_other_weights(weights: hidra_core.Weights, tiny) -> None:
    with pytest.raises(ValueError, match="different weights cannot be blended"):
        blend(DegradationVectors(numbered(1), weights), DegradationVectors(numbered(1), tiny[1]), 0.5)


def test_flicker_is_the_mean_difference_in_grey_levels() -> None:
    frames = [torch.full((4, 4, 1), level / 255) for level in (10, 12, 9, 9)]
    assert flicker(frames) == pytest.approx(5 / 3, rel=1e-4)
    assert flicker(frames[:1]) == 0
    measure = Flicker()
    for frame in frames:
        measure.add(frame.expand(-1, -1, 3))
    assert measure.value == pytest.approx(5 / 3, rel=1e-4)


def test_frames_equal_images_enhanced_alone(tiny) -> None:
    backbone, weights = tiny
    frames = clip_files.static_scene(3, 64, 64)
    streamed = list(enhance_frames(frames, backbone, weights, smoothing=0.0))
    for frame, result in zip(frames, streamed, strict=True):
        alone = hidra_core.enhance([frame], backbone, estimate([frame], weights))[0]
        assert torch.allclose(result, alone, atol=1e-4)


def test_one_degradation_is_folded_and_leaves_no_trace(tiny) -> None:
    backbone, weights = tiny
    frames = clip_files.static_scene(LARGEST_CHUNK + 2, 64, 64)
    degradation = average(estimate(frames, weights))
    before = dict(backbone.unet.named_parameters())
    # the corrector's word is smoothed over time in clips
    expected = hidra_core.enhance(frames, backbone, degradation, corrector=False)
    stream = enhance_frames(frames, backbone, weights, degradation=degradation, corrector=False)
    results = [next(stream)]
    assert all(before[name] is parameter for name, parameter in backbone.unet.named_parameters())
    results += stream
    assert torch.allclose(torch.stack(results), torch.stack(expected), atol=1e-4)
    assert all(before[name] is parameter for name, parameter in backbone.unet.named_parameters())


def test_strength_zero_is_the_plain_backbone(tiny) -> None:
    backbone, weights = tiny
    frames = clip_files.static_scene(1, 64, 64)
    degradation = estimate(frames, weights)
    (plain,) = hidra_core.enhance(frames, backbone, degradation, strength=0.0)
    for given in (None, degradation):
        (enhanced,) = enhance_frames(frames, backbone, weights, degradation=given, strength=0.0)
        assert torch.equal(enhanced, plain)


def test_few_frames_are_in_memory(tiny) -> None:
    backbone, weights = tiny
    alive: weakref.WeakSet = weakref.WeakSet()
    most = 0

    def frames() -> Iterator[torch.Tensor]:
        nonlocal most
        for _ in range(3 * LARGEST_CHUNK):
            frame = torch.rand(16, 16, 1)
            alive.add(frame)
            most = max(most, len(alive))
            yield frame

    done = []
    results = enhance_frames(frames(), backbone, weights, progress=lambda count, _: done.append(count))
    assert sum(1 for _ in results) == 3 * LARGEST_CHUNK
    assert most <= 2 * LARGEST_CHUNK + 1
    assert done[-1] == 3 * LARGEST_CHUNK


def test_bad_options_are_refused_before_the_first_frame(tiny) -> None:
    backbone, weights = tiny
    with pytest.raises(ValueError, match="smoothing"):
        enhance_frames([], backbone, weights, smoothing=2.0)
    with pytest.raises(ValueError, match="strength"):
        enhance_frames([], backbone, weights, strength=3.0)
    with pytest.raises(ValueError, match="2 degradation vectors for a sequence"):
        enhance_frames([], backbone, weights, degradation=DegradationVectors(torch.zeros(2, 256), weights))


def test_a_bad_frame_is_named(tiny) -> None:
    backbone, weights = tiny
    with pytest.raises(ValueError, match="values from 0 to 255"):
        list(enhance_frames([torch.tensor([0.0, 255.0]).view(1, 2, 1)], backbone, weights))


def test_smoothing_lowers_flicker_below_the_inputs(tiny) -> None:
    backbone, weights = tiny
    frames = clip_files.static_scene(12)
    flickers = {
        smoothing: flicker(enhance_frames(frames, backbone, weights, smoothing=smoothing)) for smoothing in (0.0, 0.9)
    }
    assert flickers[0.9] < flickers[0.0] < flicker(frames)
