"""Clips: memory against length, and flicker against how the degradation is taken over time.

python benchmarks/video.py memory --frames 30 300     # each in a process of its own: clip in, clip out
python benchmarks/video.py flicker                    # a still scene, stripes that stay, noise that does not
python benchmarks/video.py flicker --sequence FOLDER  # the frames of a folder, in order of their names
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from common import clean_images, process_peak

import hidra_core
from hidra_core import degradations, scenes
from hidra_core.evaluation.provenance import machine
from hidra_core.vectors import average
from hidra_core.video import ClipReader, ClipWriter, rewrite
from hidra_core.video import sequence as video

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def still_scene(
    frames: int, height: int, width: int, preset: str = "moderate", seed: int = 0
) -> Iterator[torch.Tensor]:
    """A scene that does not change, degraded by one camera: everything stays but its noise. ``[H, W, 1]`` each."""
    clean = torch.from_numpy(scenes.render("street", height, width, seed))[None, None]
    record = degradations.sample(preset, torch.Generator().manual_seed(seed))
    for index in range(frames):
        yield degradations.apply(clean, replace(record, noise_seed=index))[0].movedim(0, -1)


def write(path: Path, frames: Iterable[torch.Tensor]) -> None:
    """A lossless clip of 25 frames a second."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.pix_fmt = "gray"
        for frame in frames:
            if not stream.codec_context.is_open:
                stream.height, stream.width = frame.shape[:2]
            counts = (frame[..., 0] * 255).round().to(torch.uint8).numpy()
            container.mux(stream.encode(av.VideoFrame.from_ndarray(counts, format="gray")))
        container.mux(stream.encode(None))


def memory_of(frames: int, height: int, width: int, dtype: str) -> None:
    """Enhance one clip from file to file; prints seconds and the peak memory of this process."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source.mkv"), Path(folder, "target.mp4")
        write(source, still_scene(frames, height, width))
        backbone = hidra_core.load_backbone("hidra-tiny", dtype=dtype)
        weights = hidra_core.load_weights("hidra-tiny")
        started = time.perf_counter()
        with ClipReader(source) as reader, ClipWriter(target, reader) as writer:
            rewrite(reader, writer, lambda clip: video.enhance_frames(clip, backbone, weights))
        seconds = time.perf_counter() - started
        with ClipReader(target) as reader:
            found = sum(1 for _ in reader.frames())
    print(f"| {found} | {seconds:.1f} | {seconds / frames:.2f} | {process_peak():.3f} |", flush=True)


def memory(options: argparse.Namespace) -> None:
    print(f"{options.width}×{options.height}, {options.dtype}; {machine()}\n")
    print("| frames | seconds | seconds a frame | peak memory of the process GB |\n|---|---|---|---|", flush=True)
    for frames in options.frames:
        arguments = [frames, "--width", options.width, "--height", options.height, "--dtype", options.dtype]
        program = [sys.executable, __file__, "memory", "--here", "--frames", *map(str, arguments)]
        subprocess.run(program, check=True)


def flicker(options: argparse.Namespace) -> None:
    if options.sequence is None:
        frames = list(still_scene(options.frames[0], options.height, options.width, options.preset))
        what = f"a still scene, {options.width}×{options.height}, preset {options.preset}"
    else:
        frames = [torch.from_numpy(image)[..., None] for image in clean_images(options.sequence).values()]
        what = f"{options.sequence.name}, {frames[0].shape[1]}×{frames[0].shape[0]}"
    backbone = hidra_core.load_backbone("hidra-tiny", dtype=options.dtype)
    weights = hidra_core.load_weights("hidra-tiny")
    vectors = hidra_core.estimate(frames, weights)
    ways = {
        "every frame for itself": {"smoothing": 0.0},
        "smoothed over time (0.9)": {},
        "one for the clip": {"degradation": average(vectors)},
    }
    print(f"{len(frames)} frames of {what}; {backbone.dtype}; {machine()}\n")
    print("| | flicker (grey levels of 255) | of the mean level |\n|---|---|---|")
    results = {"input": frames}
    for name, way in ways.items():
        results[name] = list(video.enhance_frames(frames, backbone, weights, **way))
    for name, result in results.items():
        levels = [torch.full((1, 1, 1), frame.mean().item()) for frame in result]
        print(f"| {name} | {video.flicker(result):.3f} | {video.flicker(levels):.4f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("memory", "flicker"))
    parser.add_argument("--frames", type=int, nargs="+", default=None)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--preset", default="moderate", choices=list(degradations.PRESETS))
    parser.add_argument("--sequence", type=Path, help="a folder of frames, for flicker")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.frames = options.frames or {"memory": [30, 300], "flicker": [24]}[options.what]
    if options.here:
        memory_of(options.frames[0], options.height, options.width, options.dtype)
    else:
        {"memory": memory, "flicker": flicker}[options.what](options)


if __name__ == "__main__":
    main()
