"""Small clips made for tests."""

from __future__ import annotations

import random
import re
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import torch

from hidra_core import degradations, scenes
from hidra_core.images import palettes

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
    """Write frames ``[H, W, 1 or 3]`` at 30000/1001 a second, or at ``times`` in 1/30000 s; with a second of silence.

    ``turned`` is by how many degrees players are told to turn the frames, counter-clockwise. Grey layouts of more than
    8 bits are stored as ``pixels * (2**bits - 1)``.
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
        deep = re.fullmatch(r"gray(\d+)le", layout)
        full = 2 ** int(deep[1]) - 1 if deep else 255
        for index, pixels in enumerate(frames):
            counts = (pixels * full).round().numpy().astype(np.uint16 if deep else np.uint8)
            if counts.shape[-1] == 3:
                frame = av.VideoFrame.from_ndarray(counts, format="rgb24")
            else:
                frame = av.VideoFrame.from_ndarray(counts[..., 0], format=layout if deep else "gray")
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


def coloured_scene(frames: int, palette: str, height: int = 96, width: int = 128) -> list[torch.Tensor]:
    """A still scene in the colours of a palette, ``[H, W, 3]`` a frame."""
    clean = scenes.render("street", height, width, 1)
    return [torch.from_numpy(palettes.colour(clean, palette))] * frames


def counts_scene(frames: int, bits: int, height: int = 48, width: int = 64) -> list[torch.Tensor]:
    """Frames ``[H, W, 1]`` whose counts of ``bits`` fill a narrow band, but for a dead pixel at either end."""
    full = 2**bits - 1
    scene = scenes.render("street", height, width, 2)
    made = []
    for index in range(frames):
        counts = np.round(full * (0.3 + 0.05 * scene)) + index
        counts[5, 7], counts[20, 30] = 0, full
        made.append(torch.from_numpy(counts / full)[..., None].float())
    return made


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
