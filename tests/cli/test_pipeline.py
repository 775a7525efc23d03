"""Files that are on their way at once give what one after the other gives: results, messages, and their order."""

from __future__ import annotations

import argparse
import threading
import time
from pathlib import Path

import pytest
import torch
from helpers import clip_files, thermal_files
from helpers.commands import files, pixels, save_picture, truncate

from hidra_core.cli.ahead import ahead
from hidra_core.cli.pipeline import LARGEST_AHEAD, Pipeline, Task, pipeline_for
from hidra_core.video import ClipReader


def contents(folder: Path) -> dict[str, object]:
    """Of all files; of clips what is stored, since lossless ones have a random number of their own."""
    return {name: stored(folder / name) for name in files(folder)}


def stored(path: Path) -> object:
    if path.suffix != ".mkv":
        return path.read_bytes()
    with ClipReader(path) as reader:
        frames = [(frame.pts, frame.duration, frame.pixels.numpy().tobytes()) for frame in reader.frames()]
    with reader._av.open(str(path)) as container:
        packets = list(container.demux())
        sound = [(packet.pts, bytes(packet)) for packet in packets if packet.stream.type == "audio"]
    return frames, sound


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Pictures, counts of several pages, a clip, and files that fail."""
    folder = tmp_path / "in"
    for name in ("a.png", "d.png", "e.png", "h.png"):
        save_picture(folder / name, seed=ord(name[0]))
    truncate(save_picture(folder / "b.png"))
    thermal_files.tiff_pages(folder / "c.tiff", [thermal_files.frame(seed=1), thermal_files.frame(seed=2)])
    clip_files.write_clip(folder / "f.mkv", clip_files.static_scene(5, 48, 64), sound=True)
    truncate(save_picture(folder / "g.png"))
    return folder


def test_same_results_and_messages_as_one_by_one(hidra, mixed, tmp_path):
    said, options = {}, ("--compare", "--lossless")
    for jobs in ("1", "4"):
        code, out_text, err_text = hidra("enhance", mixed, "-o", tmp_path / jobs, "--jobs", jobs, *options)
        assert (code, out_text) == (1, "6 enhanced, 2 failed\n")
        lines = [line.rpartition(": ")[0] if line.endswith(" s") else line for line in err_text.splitlines()]
        said[jobs] = [line.replace(str(tmp_path / jobs), "OUT") for line in lines]
    assert said["1"] == said["4"]
    assert [line for line in said["4"] if line.endswith(".png") and line[0].isdigit()][:2] == ["1/8 a.png", "4/8 d.png"]
    assert contents(tmp_path / "1") == contents(tmp_path / "4")
    assert len(files(tmp_path / "4")) == 12


def test_batches_are_made_of_what_waits(hidra, tmp_path):
    for number in range(6):
        save_picture(tmp_path / "in" / f"{number}.png", seed=number)
    for name, options in (("single", ("--jobs", "1")), ("batch", ("--jobs", "6", "--batch", "6"))):
        assert hidra("enhance", tmp_path / "in", "-o", tmp_path / name, *options)[0] == 0
    for name in files(tmp_path / "single"):
        before, after = (pixels(tmp_path / folder / name).astype(int) for folder in ("single", "batch"))
        assert abs(before - after).max() <= 1


def test_as_many_files_are_on_their_way_as_share_a_batch():
    options = argparse.Namespace(jobs="auto", batch=6)
    pipeline = pipeline_for(options, [Path(f"{number}.png") for number in range(6)], "cpu")
    together = threading.Barrier(6)
    outcomes = []
    pipeline.run(
        [Task(lambda _: together.wait(20))] * 6, lambda _, outcome: outcomes.append(outcome.exception()) is None
    )
    assert outcomes == [None] * 6


def test_a_batch_holds_pages_of_one_size_and_a_faulty_one_fails_alone():
    sizes, outcomes = [], {}
    pipeline = Pipeline(5, batch=3)
    asked = threading.Semaphore(0)

    def together(pages, judged, progress):
        if not sizes:  # while the first runs, all others ask
            for _ in range(5):
                asked.acquire()
            time.sleep(0.05)
        sizes.append([page.shape[0] for page in pages])
        if any(page.isnan().any() for page in pages):
            raise ValueError("not finite")
        return [page + 1 for page in pages]

    def work(page):
        def do(conveyor):
            asked.release()
            return conveyor.page(together, page, page, None)

        return do

    pages = [
        torch.full((side, 2, 1), value) for side, value in ((1, 0.0), (2, 1.0), (2, torch.nan), (3, 2.0), (2, 3.0))
    ]

    def finished(number, outcome):
        outcomes[number] = outcome
        return True

    pipeline.run([Task(work(page)) for page in pages], finished)
    assert list(outcomes) == [0, 1, 2, 3, 4]
    assert sizes == [[1], [2, 2], [2], [2], [3], [2]]
    assert isinstance(outcomes[2].exception(), ValueError)
    assert all(torch.equal(outcomes[index].result(), pages[index] + 1) for index in (0, 1, 3, 4))


def test_networks_run_in_the_calling_thread_while_others_are_read_and_written():
    threads, reading = set(), threading.Event()

    def networks():
        threads.add(threading.current_thread())
        assert reading.wait(10), "the second file is read while the networks run for the first"
        return 1

    def first(conveyor):
        return conveyor.call(networks)

    def second(conveyor):
        reading.set()
        return conveyor.call(networks)

    results = []
    Pipeline(2).run([Task(first), Task(second)], lambda _, outcome: results.append(outcome.result()) or True)
    assert results == [1, 1]
    assert threads == {threading.current_thread()}


def test_large_files_are_alone():
    running, most = [], []

    def work(conveyor):
        running.append(1)
        most.append(len(running))
        time.sleep(0.02)
        running.pop()

    Pipeline(4).run([Task(work, LARGEST_AHEAD) for _ in range(4)], lambda *_: True)
    assert max(most) == 1


def test_an_interrupt_ends_what_waits_and_what_computes(tmp_path):
    from hidra_core.checkpoints import checkpoint

    ended = []

    def interrupted():
        raise KeyboardInterrupt

    def first(conveyor):
        conveyor.call(interrupted)

    def second(conveyor):  # somewhere in a long computation of its own
        try:
            while True:
                checkpoint()
                time.sleep(0.001)
        except KeyboardInterrupt:
            ended.append(2)
            raise

    with pytest.raises(KeyboardInterrupt):
        Pipeline(3).run([Task(first), Task(second), Task(lambda conveyor: conveyor.call(int))], lambda *_: True)
    assert ended == [2]
    checkpoint()


def test_frames_ahead_are_bounded_and_their_maker_is_closed():
    made, closed = [], []

    def frames():
        try:
            for number in range(1000):
                made.append(number)
                yield torch.full((4, 4, 1), float(number))
        finally:
            closed.append(threading.current_thread())

    several = ahead(frames())
    assert [int(next(several)[0, 0, 0]) for _ in range(3)] == [0, 1, 2]
    time.sleep(0.05)
    assert len(made) < 30
    several.close()
    assert len(closed) == 1

    def broken():
        yield torch.zeros(1)
        raise ValueError("frame 2 is broken")

    several = ahead(broken())
    next(several)
    with pytest.raises(ValueError, match="frame 2"):
        next(several)


def test_a_clip_whose_writer_fails_leaves_nothing(hidra, tmp_path, monkeypatch):
    from hidra_core.video import ClipWriter

    clip = clip_files.write_clip(tmp_path / "a.mp4", clip_files.static_scene(40, 48, 64))
    written = []

    def fail(self, *_):
        written.append(1)
        if len(written) == 3:
            raise OSError(5, "Input/output error", "x")

    monkeypatch.setattr(ClipWriter, "write", fail)
    before = threading.active_count()
    code, out_text, err_text = hidra("enhance", clip, "-o", tmp_path / "out", "--blend", "0.5")
    assert (code, out_text) == (1, "0 enhanced, 1 failed\n")
    assert "Input/output error" in err_text
    assert files(tmp_path / "out") == []
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("option", "value"), [("--jobs", "0"), ("--jobs", "many"), ("--batch", "-1"), ("--batch", "1.5")]
)
def test_numbers_that_are_none(hidra_unloaded, tmp_path, option, value):
    code, _, err_text = hidra_unloaded("enhance", "a.png", "-o", tmp_path / "out", option, value)
    assert code == 2
    assert f"{option}: expected auto or a whole number from 1 up, got '{value}'" in err_text
