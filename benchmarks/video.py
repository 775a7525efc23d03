"""Memory by the length of a clip, and flicker by the way in which the degradation is estimated over time.

python benchmarks/video.py memory --frames 30 300     # each clip in a process of its own, from file to file
python benchmarks/video.py flicker                    # a still scene with constant stripes and varying noise
python benchmarks/video.py flicker --sequence FOLDER  # the frames of a folder, in the order of their names
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from common import clean_images, in_own_process, options_of, process_peak

import hidra_core
from hidra_core import degradations, scenes
from hidra_core.evaluation.provenance import machine
from hidra_core.evaluation.tables import to_markdown
from hidra_core.names import DTYPES
from hidra_core.sources import ClipSource
from hidra_core.vectors import average
from hidra_core.video import ClipReader
from hidra_core.video import sequence as video

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator


def still_scene(
    frames: int, height: int, width: int, preset: str = "moderate", seed: int = 0
) -> Iterator[torch.Tensor]:
    """Frames ``[H, W, 1]`` of a scene that does not change, seen by one camera: only the noise varies.

    Args:
        frames: number of frames.
        height: in pixels.
        width: in pixels.
        preset: of the degradation.
        seed: of the scene and the degradation.
    """
    clean = torch.from_numpy(scenes.render("street", height, width, seed))[None, None]
    record = degradations.sample(preset, torch.Generator().manual_seed(seed))
    for index in range(frames):
        yield degradations.apply(clean, replace(record, noise_seed=index))[0].movedim(0, -1)


def write(path: Path, frames: Iterable[torch.Tensor]) -> None:
    """Write a lossless clip of 25 frames per second.

    Args:
        path: the clip, an .mkv file.
        frames: ``[H, W, 1]`` each, in [0, 1].
    """
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


def memory_of(frames: int, height: int, width: int, dtype: str) -> list[str]:
    """Enhance one clip from file to file.

    Args:
        frames: number of frames.
        height: in pixels.
        width: in pixels.
        dtype: number type to compute in.

    Returns:
        Frames written, seconds, seconds per frame and the peak memory of this process in GB.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source.mkv"), Path(folder, "target.mp4")
        write(source, still_scene(frames, height, width))
        backbone = hidra_core.load_backbone("hidra-tiny", dtype=dtype)
        weights = hidra_core.load_weights("hidra-tiny")
        started = time.perf_counter()
        ClipSource(source).rewrite(target, lambda clip: video.enhance_frames(clip, backbone, weights))
        seconds = time.perf_counter() - started
        with ClipReader(target) as reader:
            written = sum(1 for _ in reader.frames())
    return [str(written), f"{seconds:.1f}", f"{seconds / frames:.2f}", f"{process_peak():.3f}"]


def memory(options: argparse.Namespace) -> None:
    """Print a table of clips of several lengths.

    Args:
        options: of the command line.
    """
    print(f"{options.width}×{options.height}, {options.dtype}; {machine()}\n")
    rows = [
        in_own_process(memory_of, frames, options.height, options.width, options.dtype) for frames in options.frames
    ]
    print(to_markdown(["frames", "seconds", "seconds per frame", "peak memory of the process GB"], rows))


def flicker(options: argparse.Namespace) -> None:
    """Print a table of the flicker of one sequence under several ways to estimate its degradation.

    Args:
        options: of the command line.
    """
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
        "each frame on its own": {"smoothing": 0.0},
        "smoothed over time (0.9)": {},
        "one for the whole clip": {"degradation": average(vectors)},
    }
    print(f"{len(frames)} frames of {what}; {backbone.dtype}; {machine()}\n")
    results = {"input": frames}
    for name, way in ways.items():
        results[name] = list(video.enhance_frames(frames, backbone, weights, **way))
    rows = []
    for name, result in results.items():
        levels = [torch.full((1, 1, 1), frame.mean().item()) for frame in result]
        rows.append([name, f"{video.flicker(result):.3f}", f"{video.flicker(levels):.4f}"])
    print(to_markdown(["", "flicker (grey levels of 255)", "of the mean level"], rows))


def main() -> None:
    """Measure memory or flicker."""
    parser = options_of(__doc__)
    parser.add_argument("what", choices=("memory", "flicker"), help="what to measure")
    parser.add_argument(
        "--frames",
        type=int,
        nargs="+",
        help="lengths of the clips for memory, length of the sequence for flicker (default: 30 300, and 24)",
    )
    parser.add_argument("--width", type=int, default=640, help="in pixels (default: 640)")
    parser.add_argument("--height", type=int, default=512, help="in pixels (default: 512)")
    parser.add_argument("--dtype", choices=("auto", *DTYPES), default="auto", help="to compute in (default: auto)")
    parser.add_argument(
        "--preset",
        default="moderate",
        choices=list(degradations.PRESETS),
        help="degradation of the still scene (default: moderate)",
    )
    parser.add_argument("--sequence", type=Path, help="a folder of frames, for flicker")
    options = parser.parse_args()
    options.frames = options.frames or {"memory": [30, 300], "flicker": [24]}[options.what]
    {"memory": memory, "flicker": flicker}[options.what](options)


if __name__ == "__main__":
    main()
