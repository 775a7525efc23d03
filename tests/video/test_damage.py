"""Damage that decoders conceal: changed bytes of FFV1, and parts of a transport stream that are lost."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import av
import pytest
import torch
from helpers import clip_files

from hidra_core.video import ClipReader
from hidra_core.video.clips import BrokenFrameError

if TYPE_CHECKING:
    from pathlib import Path

    from hidra_core.video.clips import Frame, OnBroken

PACKET = 188
"""Bytes of a packet of a transport stream."""


def read(path: Path, on_broken: OnBroken = "stop") -> list[Frame]:
    with ClipReader(path) as reader:
        return list(reader.frames(on_broken=on_broken))


def packets(path: Path) -> list[tuple[int, int]]:
    """Place and size of the packets of a clip."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    return clip_files.write_clip(
        tmp_path / "counts.mkv", clip_files.counts_scene(14, 16), codec="ffv1", layout="gray16le"
    )


def test_changed_bytes_of_counts_are_found(counts: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = {frame.pts: frame.pixels for frame in read(counts)}
    assert len(whole) == 14
    place, size = packets(counts)[5]
    data = bytearray(counts.read_bytes())
    for byte in range(place + size // 2, place + size // 2 + 20):
        data[byte] ^= 0x5A
    counts.write_bytes(data)
    with pytest.raises(BrokenFrameError, match=r"frame 6 of .*counts\.mkv.* is broken"):
        read(counts)
    with caplog.at_level(logging.WARNING):
        rest = read(counts, "skip")
    assert len(rest) in range(5, 14)
    assert all(torch.equal(frame.pixels, whole[frame.pts]) for frame in rest)
    assert "built on" in caplog.text


def test_frames_without_checksums_are_read(tmp_path: Path) -> None:
    path = tmp_path / "plain.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25, options={"level": "3", "slicecrc": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "gray16le"
        for pixels in clip_files.counts_scene(4, 16):
            frame = av.VideoFrame.from_ndarray(
                (pixels[..., 0] * 65535).round().numpy().astype("uint16"), format="gray16le"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert len(read(path)) == 4


def test_a_gap_in_a_transport_stream_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    noise = torch.Generator().manual_seed(0)
    path = clip_files.write_clip(tmp_path / "a.ts", [torch.rand(96, 128, 1, generator=noise) for _ in range(12)])
    with caplog.at_level(logging.WARNING):
        read(path)
    assert "missing" not in caplog.text
    data = path.read_bytes()
    cut = len(data) // PACKET // 2 * PACKET
    path.write_bytes(data[:cut] + data[cut + 6 * PACKET :])
    with caplog.at_level(logging.WARNING):
        read(path, "skip")
    assert re.search(r"a\.ts: data are missing around \d\.\d\d s", caplog.text)
