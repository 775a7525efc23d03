"""The pixels of decoded frames as a camera stored them, and frames made of such pixels.

FFmpeg's conversions to grey are for display: they multiply 12-bit counts by 16, and spread the luma of limited range.
Here counts are what the file holds.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import av

_PLAIN = re.compile(r"(?:gray|yuva?4\d\dp)(9|10|12|14|16)(le|be)")
"""Grey, and luma in a plane of its own, in the low bits of 16-bit words."""

_SHIFTED = {"p010": "yuv420p10le", "p012": "yuv420p12le", "p016": "yuv420p16le", "p210": "yuv422p10le"}
"""Luma in the high bits: the format of the same numbers in the low bits, which FFmpeg converts to without a change."""


def stored_bits(layout: av.VideoFormat) -> int:
    """Bits of a pixel in frames of this format: 8, or as many as the file has above that; 16 for deep colour.

    Raises:
        ValueError: numbers that are no counts of up to 16 bits.
    """
    most = max(component.bits for component in layout.components)
    if most > 16 or re.search(r"f(16|32)(le|be)$", layout.name):
        raise ValueError(f"its frames hold floating-point or 32-bit numbers ({layout.name}); save it as gray16le FFV1")
    if most <= 8:
        return 8
    return most if _PLAIN.fullmatch(layout.name) or layout.name[:4] in _SHIFTED else 16


def counts_of(frame: av.VideoFrame) -> np.ndarray:
    """The stored counts of a frame's grey or luma, upright, ``[H, W]``.

    Returns:
        uint8 for frames of up to 8 bits, limited range spread to 0-255; else uint16 of :func:`stored_bits`, as stored.
        Deep RGB becomes luma of 16 bits.
    """
    if stored_bits(frame.format) == 8:
        counts = frame.to_ndarray(format="gray")
    else:
        if frame.format.name[:4] in _SHIFTED:
            frame = frame.reformat(format=_SHIFTED[frame.format.name[:4]])
        plain = _PLAIN.fullmatch(frame.format.name)
        counts = _first_plane(frame, plain[2]) if plain else frame.to_ndarray(format="gray16le")
    return upright(counts, frame)


def _first_plane(frame: av.VideoFrame, order: str) -> np.ndarray:
    plane = frame.planes[0]
    words = np.frombuffer(bytes(plane), "<u2" if order == "le" else ">u2").reshape(-1, plane.line_size // 2)
    return words[: frame.height, : frame.width].astype(np.uint16)


def upright(pixels: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Pixels ``[H, W, …]`` of a frame, turned as the file says."""
    return np.rot90(pixels, frame.rotation // 90) if frame.rotation % 90 == 0 else pixels


def frame_of(counts: np.ndarray, layout: str, av: Any) -> av.VideoFrame:
    """A frame of counts ``[H, W]``, uint8 or uint16, in a grey format of FFmpeg in the machine's byte order."""
    frame = av.VideoFrame(counts.shape[1], counts.shape[0], layout)
    plane = frame.planes[0]
    rows = np.zeros((plane.buffer_size // plane.line_size, plane.line_size // counts.itemsize), counts.dtype)
    rows[: counts.shape[0], : counts.shape[1]] = counts
    plane.update(rows)
    return frame


def lossless_layout(bits: int, av: Any) -> str:
    """The grey format of FFmpeg's FFV1 that holds counts of so many bits; 16 bits where it has none for them."""
    known = {layout.name for layout in av.codec.Codec("ffv1", "w").video_formats or ()}
    own = "gray" if bits == 8 else f"gray{bits}le"
    return own if own in known else "gray16le"
