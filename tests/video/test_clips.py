"""Clips: what is kept, what is refused, what is left behind."""

from __future__ import annotations

import logging
import re
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from helpers import clip_files

from hidra_core.cli import main
from hidra_core.sources import ClipSource
from hidra_core.video import BrokenFrameError, ClipReader, ClipWriter, clip_range, depth, spread
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


def stored(path: Path) -> list[np.ndarray]:
    """The counts of a clip by FFmpeg alone: no conversion, as PyAV decodes them."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
def test_counts_are_those_that_are_stored(bits: int, tmp_path: Path) -> None:
    frames = clip_files.counts_scene(3, bits)
    source = clip_files.write_clip(tmp_path / "a.mkv", frames, codec="ffv1", layout=f"gray{bits}le")
    before = stored(source)
    assert [counts.max() for counts in before] == [2**bits - 1] * 3
    with ClipReader(source) as reader:
        assert (reader.bits, reader.bit_depth) == (bits, 16)
        for frame, counts in zip(reader.frames(), before, strict=True):
            assert np.array_equal((frame.pixels[..., 0].double() * (2**bits - 1)).round().numpy(), counts)
    assert run("enhance", source, "--output", tmp_path / "out", "--blend", 0) == 0
    after = stored(tmp_path / "out" / "a.mkv")
    with av.open(str(tmp_path / "out" / "a.mkv")) as container:
        assert container.streams.video[0].codec_context.format.name == f"gray{bits}le"
    for old, new in zip(before, after, strict=True):
        assert np.array_equal(old, new)  # dead pixels beyond the range of the scene too


@pytest.mark.parametrize("layout", ["yuv420p10le", "yuv444p12le", "yuv422p10le"])
def test_luma_of_more_than_8_bits_is_what_is_stored(layout: str, tmp_path: Path) -> None:
    frames = clip_files.static_scene(2, 32, 48)
    source = clip_files.write_clip(tmp_path / "a.mkv", frames, codec="ffv1", layout=layout)
    with av.open(str(source)) as container:
        luma = [np.frombuffer(f.planes[0], "<u2").reshape(32, -1)[:, :48] for f in container.decode(video=0)]
    with ClipReader(source) as reader:
        for frame, counts in zip(reader.frames(), luma, strict=True):
            assert np.array_equal((frame.pixels[..., 0].double() * (2**reader.bits - 1)).round().numpy(), counts)


def test_big_endian_and_shifted_counts_are_what_is_stored() -> None:
    counts = np.random.default_rng(0).integers(0, 1024, (34, 46)).astype(np.uint16)
    frame = depth.frame_of(counts, "gray10le", av)
    assert np.array_equal(depth.counts_of(frame.reformat(format="gray10be")), counts)
    colour = frame.reformat(format="yuv420p10le")
    assert np.array_equal(depth.counts_of(colour.reformat(format="p010le")), depth.counts_of(colour))
    with pytest.raises(ValueError, match="floating-point"):
        depth.stored_bits(av.VideoFormat("grayf32le"))


def test_a_depth_that_cannot_be_written_keeps_its_counts(tmp_path: Path, monkeypatch, caplog) -> None:
    source = clip_files.write_clip(tmp_path / "a.mkv", clip_files.counts_scene(2, 14), codec="ffv1", layout="gray14le")
    monkeypatch.setattr("hidra_core.video.writing.lossless_layout", lambda bits, av: "gray16le")
    with caplog.at_level(logging.INFO):
        target = copy(source, tmp_path / "b.mkv")
    assert "kept in gray16le" in caplog.text
    for old, new in zip(stored(source), stored(target), strict=True):
        assert new.dtype == np.uint16
        assert np.array_equal(old, new)


def test_a_clip_that_is_cut_off_says_so(frames, tmp_path: Path, caplog) -> None:
    for name, codec, layout in (("a.mkv", "ffv1", "gray"), ("b.webm", "libvpx-vp9", "yuv420p")):
        source = clip_files.write_clip(tmp_path / name, frames, codec=codec, layout=layout)
        whole = source.read_bytes()
        with caplog.at_level(logging.WARNING):
            assert len(read(source)) == 12
        assert caplog.text == ""
        source.write_bytes(whole[: len(whole) * 2 // 3])
        with caplog.at_level(logging.WARNING):
            assert 5 < len(read(source)) < 12
        assert f"{source} says that it lasts 0.40 s, but its frames end after 0.2" in caplog.text
        assert "it is cut off" in caplog.text
        caplog.clear()
    source = clip_files.write_clip(tmp_path / "a.avi", frames, codec="ffv1", layout="gray")
    source.write_bytes(source.read_bytes()[:-20_000])
    with caplog.at_level(logging.WARNING):
        try:
            read(source)
            said = caplog.text
        except BrokenFrameError as error:  # some versions of FFmpeg hand on the half frame, others leave it out
            said = str(error)
    assert re.search(r"a\.avi (is broken|says .* it is cut off)", said)


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_frames_of_doubled_height_are_refused(suffix: str, tmp_path: Path) -> None:
    path = clip_files.write_clip(
        tmp_path / f"a{suffix}", [torch.rand(384, 256, 1)] * 2, codec="rawvideo", layout="yuyv422"
    )
    with pytest.raises(ValueError, match=r"lower half of its frames, 256x384 YUYV, .* -f rawvideo FRAMES\.raw"):
        ClipSource(path)
    assert len(list(ClipSource(path, as_is=True).pages())) == 2
    picture = clip_files.write_clip(
        tmp_path / f"b{suffix}", [torch.rand(192, 256, 1)] * 2, codec="rawvideo", layout="yuyv422"
    )
    ClipSource(picture)


def test_a_view_of_deep_results(tmp_path: Path) -> None:
    source = clip_files.write_clip(tmp_path / "a.mkv", clip_files.counts_scene(3, 12), codec="ffv1", layout="gray12le")
    clip = ClipSource(source)
    clip.rewrite(tmp_path / "b.mkv", lambda pages: pages)
    low, high = clip.write_view(tmp_path / "b.mkv", tmp_path / "view.mp4")
    full = 4095
    assert 0.29 * full < low < 0.32 * full
    assert 0.33 * full < high < 0.36 * full
    with ClipReader(source) as before, ClipReader(tmp_path / "view.mp4") as view:
        assert view.bits == 8
        for old, new in zip(before.frames(), view.frames(), strict=True):
            assert (old.pts * before.time_base) == new.pts * view.time_base
            shown = ((old.pixels * full - low) / (high - low)).clamp(0, 1)
            assert (new.pixels - shown).abs().mean() < 3 / 255


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
    errors = capsys.readouterr().err
    assert "is broken" in errors
    assert "have broken frames skipped with --on-broken-frame skip" in errors
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


@pytest.mark.parametrize(
    "option",
    [["--mapping", "plateau"], ["--limits", "1", "2"], ["--kelvin", "0.01"], ["--format", "tiff"], ["--report"]],
)
def test_options_that_clips_do_not_have_are_refused(option: list[str], frames, tmp_path: Path, capsys) -> None:
    source = clip_files.write_clip(tmp_path / "a.mp4", frames[:1])
    assert run("enhance", source, "--output", tmp_path / "out", *option) == 2
    what = "counts" if option[0] == "--kelvin" else "images and counts"
    assert f"{option[0]} is for {what}, not for clips" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_clip_without_frames_is_a_failure_that_names_it(tmp_path: Path, capsys) -> None:
    sound = clip_files.write_sound(tmp_path / "sound.mov")
    assert run("enhance", sound, "--output", tmp_path / "out") == 1
    assert "sound.mov has no video stream" in capsys.readouterr().err
