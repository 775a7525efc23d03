"""Clips: what is kept, what is refused, what is left behind."""

from __future__ import annotations

import logging
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
import torch
from helpers import clip_files

from hidra_core.cli import main
from hidra_core.video import BrokenFrameError, ClipReader, ClipWriter, clip_range, spread
from hidra_core.video import sequence as video

if TYPE_CHECKING:
    from pathlib import Path

av = pytest.importorskip("av")


@pytest.fixture(scope="module")
def frames() -> list[torch.Tensor]:
    return clip_files.static_scene(12, 64, 80)


def read(path: Path, **options) -> list:
    with ClipReader(path) as reader:
        return list(reader.frames(**options))


def copy(source: Path, target: Path, **options) -> Path:
    with ClipReader(source) as reader, ClipWriter(target, reader, **options) as writer:
        for frame in reader.frames(on_sound=writer.copy):
            writer.write(frame.pixels, frame.pts, frame.duration)
    return target


def test_size_times_rate_and_sound_are_kept(frames, tmp_path: Path) -> None:
    times = [i * 1001 + (300 if i > 5 else 0) for i in range(12)]  # a hiccup in the middle
    source = clip_files.write_clip(tmp_path / "a.mp4", frames, times=times, sound=True)
    target = copy(source, tmp_path / "b.mp4")
    with ClipReader(source) as before, ClipReader(target) as after:
        assert after.time_base == before.time_base == Fraction(1, 30000)
        assert after.rate == before.rate
        assert [frame.pts for frame in after.frames()] == [frame.pts for frame in before.frames()] == times
    packets = []
    for path in (source, target):
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            packets.append([(packet.pts, bytes(packet)) for packet in container.demux(stream) if packet.size])
    assert packets[0] == packets[1]
    assert len(packets[0]) >= 47


@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".mov", ".mkv", ".avi", ".ts", ".webm"])
def test_every_container_holds_the_frames(suffix: str, frames, tmp_path: Path) -> None:
    source = clip_files.write_clip(tmp_path / "a.mkv", frames, codec="ffv1", layout="gray")
    target = copy(source, tmp_path / f"b{suffix}")
    written = read(target)
    assert len(written) == 12
    for frame, expected in zip(written, frames, strict=True):
        assert (frame.pixels - expected).abs().mean() < 4 / 255  # strong noise, which compression rounds off


def test_lossless_is(frames, tmp_path: Path) -> None:
    source = clip_files.write_clip(tmp_path / "a.mkv", frames, codec="ffv1", layout="gray")
    target = copy(source, tmp_path / "b.mkv", lossless=True)
    for frame, expected in zip(read(target), frames, strict=True):
        assert (frame.pixels * 255).round().equal((expected * 255).round())


def test_sixteen_bits_stay(tmp_path: Path) -> None:
    frames = [torch.randint(20000, 21000, (16, 18, 1)).float() / 65535 for _ in range(3)]
    source = clip_files.write_clip(tmp_path / "a.mkv", frames, codec="ffv1", layout="gray16le")
    with ClipReader(source) as reader:
        assert reader.bit_depth == 16
        low, high = clip_range(reader)
    assert 20000 / 65535 <= low < high <= 21000 / 65535
    written = read(copy(source, tmp_path / "b.mkv"))
    for frame, expected in zip(written, frames, strict=True):
        assert (frame.pixels * 65535).round().equal((expected * 65535).round())
    with ClipReader(source) as reader, pytest.raises(ValueError, match="needs the suffix .mkv"):
        ClipWriter(tmp_path / "b.mp4", reader)


def test_odd_sides_work(tmp_path: Path) -> None:
    frames = clip_files.static_scene(2, 33, 47)
    source = clip_files.write_clip(tmp_path / "a.mkv", frames, codec="ffv1", layout="gray")
    assert read(copy(source, tmp_path / "b.mp4"))[0].pixels.shape == (33, 47, 1)


@pytest.mark.skipif(not hasattr(av.VideoStream, "set_display_rotation"), reason="this PyAV cannot write turned clips")
def test_turned_clips_come_out_upright(tmp_path: Path) -> None:
    frame = torch.zeros(32, 48, 1)
    frame[:16, :24] = 1.0  # bright at the top left; turned, at the bottom left
    source = clip_files.write_clip(tmp_path / "a.mp4", [frame] * 2, turned=90)
    for path in (source, copy(source, tmp_path / "b.mp4")):
        pixels = read(path)[0].pixels
        assert pixels.shape == (48, 32, 1)
        assert pixels[28:, :12].mean() > 0.9
        assert pixels[:20].mean() < 0.1


def test_levels_survive_the_limited_range_of_video(tmp_path: Path) -> None:
    frames = [torch.full((32, 32, 1), level / 255) for level in (0, 128, 255)]
    source = clip_files.write_clip(tmp_path / "a.mkv", frames, codec="ffv1", layout="gray")
    levels = [frame.pixels.mean().item() * 255 for frame in read(copy(source, tmp_path / "b.mp4"))]
    assert levels == pytest.approx([0, 128, 255], abs=1.5)


def test_spread_frames_cover_the_clip(tmp_path: Path) -> None:
    frames = [torch.full((16, 16, 1), level / 255) for level in range(50)]
    source = clip_files.write_clip(tmp_path / "a.mkv", frames, codec="ffv1", layout="gray")
    with ClipReader(source) as reader:
        levels = [round(frame.mean().item() * 255) for frame in spread(reader, 5)]
    assert 3 <= len(levels) <= 5
    assert levels[0] == 0
    assert levels[-1] >= 30
    assert len({b - a for a, b in zip(levels, levels[1:], strict=False)}) == 1


def test_a_broken_frame_stops(frames, tmp_path: Path) -> None:
    source = clip_files.write_clip(tmp_path / "a.mp4", frames)
    clip_files.break_frame(source, 6)
    with pytest.raises(BrokenFrameError, match=rf"frame \d+ of {source}.* is broken"):
        read(source)


def test_a_broken_frame_is_skipped_and_the_others_keep_their_times(frames, tmp_path: Path, caplog) -> None:
    source = clip_files.write_clip(tmp_path / "a.mp4", frames)
    clip_files.break_frame(source, 6)
    with caplog.at_level(logging.WARNING):
        times = [frame.pts for frame in read(source, on_broken="skip")]
    assert 1 <= 12 - len(times) <= 4  # and what is predicted from the broken one
    assert set(times) <= {i * 1001 for i in range(12)}
    assert "is broken" in caplog.text


def test_a_change_of_size_is_a_broken_frame(frames, tmp_path: Path) -> None:
    parts = []
    for index, part in enumerate((frames[:2], [frame[:48, :64] for frame in frames[:3]])):
        parts.append(clip_files.write_clip(tmp_path / f"{index}.ts", part).read_bytes())
    joined = tmp_path / "joined.ts"  # transport streams are made to be joined
    joined.write_bytes(b"".join(parts))
    with pytest.raises(BrokenFrameError, match=r"frame 3 of .*joined\.ts, at .* s, is 64×48, those before 80×64"):
        read(joined)
    assert len(read(joined, on_broken="skip")) == 2


def test_what_is_no_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no clip"):
        ClipReader(tmp_path / "none.mp4")
    text = tmp_path / "text.mp4"
    text.write_text("no clip at all")
    with pytest.raises(ValueError, match=r"text\.mp4 cannot be read as a clip"):
        ClipReader(text)
    with pytest.raises(ValueError, match="has no video stream, only audio"):
        ClipReader(clip_files.write_sound(tmp_path / "sound.m4a"))


# ---------------------------------------------------------------- the command


def run(*arguments: object) -> int:
    return main([*map(str, arguments), "--device", "cpu", "--dtype", "fp32", "--quiet"])


def test_the_command_enhances_a_clip(frames, tmp_path: Path) -> None:
    source = clip_files.write_clip(tmp_path / "a.mp4", frames, sound=True)
    assert run("enhance", source, "--output", tmp_path / "out", "--compare") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a-compare.mp4", "a.mp4"]
    written = read(tmp_path / "out" / "a.mp4")
    assert [frame.pts for frame in written] == [i * 1001 for i in range(12)]
    assert video.flicker(frame.pixels for frame in written) < video.flicker(frames) / 2
    assert read(tmp_path / "out" / "a-compare.mp4")[0].pixels.shape == (64, 160, 1)
    with av.open(str(tmp_path / "out" / "a.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"


def test_one_degradation_for_the_clip_losslessly(frames, tmp_path: Path) -> None:
    source = clip_files.write_clip(tmp_path / "a.mp4", frames[:4])
    options = ("--degradation-per", "clip", "--lossless", "--upscale", 2)
    assert run("enhance", source, "--output", tmp_path / "out", *options) == 0
    assert read(tmp_path / "out" / "a.mkv")[0].pixels.shape == (128, 160, 1)


def test_the_fidelity_dial_turns_clips_too(frames, tmp_path: Path) -> None:
    source = clip_files.write_clip(tmp_path / "a.mkv", frames[:2], codec="ffv1", layout="gray")
    levels = {}
    for blend in (0.0, 0.5, 1.0):
        out = tmp_path / str(blend)
        assert run("enhance", source, "--output", out, "--lossless", "--blend", blend) == 0
        levels[blend] = torch.stack([frame.pixels for frame in read(out / "a.mkv")]) * 255
    assert torch.allclose(levels[0.0], torch.stack(frames[:2]) * 255, atol=0.51)
    assert torch.allclose(levels[0.5], (levels[0.0] + levels[1.0]) / 2, atol=1.01)


def test_a_folder_of_images_and_clips(frames, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    clip_files.write_clip(folder / "sub" / "a.mp4", frames[:2])
    Image.fromarray((frames[0][..., 0] * 255).byte().numpy()).save(folder / "b.png")
    assert run("enhance", folder, "--output", tmp_path / "out") == 0
    names = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*"))
    assert names == ["b.png", "sub/a.mp4"]


def test_a_clip_with_a_broken_frame_leaves_nothing_or_skips(frames, tmp_path: Path, capsys) -> None:
    source = clip_files.write_clip(tmp_path / "a.mp4", frames)
    clip_files.break_frame(source, 6)
    out = tmp_path / "out"
    assert run("enhance", source, "--output", out) == 1
    assert "is broken" in capsys.readouterr().err
    assert not out.exists() or not list(out.iterdir())
    assert run("enhance", source, "--output", out, "--on-broken-frame", "skip") == 0
    assert [path.name for path in out.iterdir()] == ["a.mp4"]


def test_stopping_leaves_nothing(frames, tmp_path: Path, monkeypatch) -> None:
    source = clip_files.write_clip(tmp_path / "a.mp4", frames[:3])
    written = []

    def stop(self, *frame: object) -> None:
        written.append(frame)
        if len(written) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(ClipWriter, "write", stop)
    assert run("enhance", source, "--output", tmp_path / "out") == 130
    assert not list((tmp_path / "out").iterdir())


def test_wrong_options_are_refused_before_work(frames, tmp_path: Path, capsys) -> None:
    source = clip_files.write_clip(tmp_path / "a.mp4", frames[:1])
    assert run("enhance", source, "--output", tmp_path / "out", "--smoothing", 1) == 2
    assert "smoothing must be from 0" in capsys.readouterr().err
    assert run("enhance", source, "--output", tmp_path / "out.mp4") == 2
    assert "is named like a clip" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_clip_without_frames_is_a_failure_that_names_it(tmp_path: Path, capsys) -> None:
    sound = clip_files.write_sound(tmp_path / "sound.mov")
    assert run("enhance", sound, "--output", tmp_path / "out") == 1
    assert "sound.mov has no video stream" in capsys.readouterr().err
