"""Damage that decoders conceal: they fill gaps with what was there before, and give the frame out as a good one."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av

_TRAILER = 8  # bytes at the end of a slice of FFV1: three of its length, one of its state, four of the checksum
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def time_of(packet: av.Packet) -> int | None:
    """When a packet is shown, or decoded where the container does not say that, in the stream's time base."""
    return packet.dts if packet.pts is None else packet.pts


class Damage:
    """Which frames of a stream are damaged, by what its packets say; packets come in the order of decoding.

    FFV1 has a checksum of each slice (RFC 9043, section 4.9.3), unless it was switched off. Frames up to the next that
    stands by itself are built on a damaged one. In other codecs bytes that changed cannot be told from others.

    Args:
        codec: its name, as FFmpeg has it.
    """

    def __init__(self, codec: str) -> None:
        self._has_checksums = codec == "ffv1"
        self._is_sure = False  # that the last bytes of slices are checksums
        self._lasts = False
        self._times: set[int | None] = set()

    def look_at(self, packet: av.Packet) -> None:
        """Look at the next packet of the stream."""
        if self._has_checksums and self._differs(bytes(packet)):
            self._lasts = True
        elif packet.is_keyframe:
            self._lasts = False
        if self._lasts:
            self._times.add(time_of(packet))

    def is_in(self, frame: av.VideoFrame) -> bool:
        """Whether a frame is damaged, after all packets up to its own were looked at."""
        return frame.pts is not None and frame.pts in self._times

    def _differs(self, data: bytes) -> bool:
        """Whether the checksum of a slice is wrong; False where the slices have none."""
        matches = []
        end = len(data)
        while end > 0:
            start = end - _TRAILER - int.from_bytes(data[max(end - _TRAILER, 0) : max(end - 5, 0)], "big")
            if start < 0:  # no chain of slices with such trailers
                return self._is_sure
            matches.append(_checksum(data[start:end]) == 0)
            end = start
        self._is_sure |= any(matches)
        return self._is_sure and not all(matches)


def _checksum(data: bytes) -> int:
    """CRC-32 with the highest bit first and a start of 0: 0 for data that end with theirs.

    zlib's has the lowest bit first; what is 0 is so in either order.
    """
    return zlib.crc32(data.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
