"""Small clips made for tests."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import torch

from hidra_core import degradations, scenes

if TYPE_CHECKING:
    from pathlib import Path

NTSC = Fraction(30000, 1001)


def static_scene(frames: int, height: int = 96, width: int = 128, seed: int = 0) -> list[torch.Tensor]:
    """A still scene, ``[H, W, 1]`` a frame, seen by a camera whose stripes stay and whose noise does not."""
    clean = torch.from_numpy(scenes.render("street", height, width, seed))[None, None]
    striped = degradations.apply(
        clean,
        degradations.DegradationRecord(
            seed=seed,
            low_contrast=degradations.LowContrast(0.5, 0.25),
            stripes=(degradations.Stripes("column", 0.05, 3.0),),
        ),
        to_8_bit=False,
    )
    noisy = [
        degradations.apply(striped, degradations.DegradationRecord(seed=1000 + i, gaussian_sigma=10.0))
        for i in range(frames)
    ]
    return [frame[0].movedim(0, -1) for frame in noisy]


def write_clip(
    path: Path,
    frames: list[torch.Tensor],
    *,
    times: list[int] | None = None,
    codec: str = "libx264",
    layout: str = "yuv420p",
    sound: bool = False,
    turned: int = 0,
) -> Path:
    """Write frames ``[H, W, 1]`` at 30000/1001 a second, or at ``times`` in 1/30000 s; with a second of silence.

    ``turned`` is by how many degrees players are told to turn the frames, counter-clockwise.
    """
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=NTSC, options={"g": "4"} if codec == "libx264" else {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = layout
        stream.time_base = stream.codec_context.time_base = Fraction(1, 30000)
        if turned:
            stream.set_display_rotation(turned)
        silence = container.add_stream("aac", rate=48000) if sound else None
        deep = layout == "gray16le"
        for index, pixels in enumerate(frames):
            counts = (pixels[..., 0] * (65535 if deep else 255)).round().numpy().astype(np.uint16 if deep else np.uint8)
            frame = av.VideoFrame.from_ndarray(counts, format="gray16le" if deep else "gray")
            frame.pts, frame.time_base = times[index] if times else index * 1001, Fraction(1, 30000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if silence is not None:
            for index in range(47):
                samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                samples.sample_rate, samples.pts = 48000, index * 1024
                container.mux(silence.encode(samples))
            container.mux(silence.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """A file with sound only."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        samples.sample_rate, samples.pts = 48000, 0
        container.mux(stream.encode(samples))
        container.mux(stream.encode(None))
    return path


def break_frame(path: Path, number: int) -> None:
    """Overwrite most of one coded frame of a clip (counted from 0, in the order of the file)."""
    import av

    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    position, size = packets[number]
    data = bytearray(path.read_bytes())
    noise = random.Random(0)
    data[position + 5 : position + size] = bytes(noise.randrange(256) for _ in range(size - 5))
    path.write_bytes(data)
