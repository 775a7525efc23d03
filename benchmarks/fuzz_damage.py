"""Damage to files: bits flipped, parts cut out, moved or taken from others, numbers of headers set to extremes."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

_EXTREMES = (
    0,
    1,
    2,
    3,
    7,
    0x7F,
    0x80,
    0xFF,
    0x100,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
)
_TAGS = (255, 256, 258, 259, 273, 277, 279, 322, 324, 338, 339, 34712)  # codes of tags and compressions of TIFF
_HEADER = 400  # bytes, where most formats have their sizes


def mutated(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """A damaged version of a file; of archives and compressed files, often what is inside is damaged.

    Args:
        data: the whole file.
        others: files to take parts from.
        rng: decides everything.
    """
    inside = rng.random() < 0.6
    if inside and data[:2] == b"PK":
        return _archive(data, others, rng)
    if inside and data[:2] == b"\x1f\x8b":
        return gzip.compress(_damaged(gzip.decompress(data), others, rng), 1, mtime=0)
    damaged = _damaged(data, others, rng)
    return _with_checksums(damaged) if rng.random() < 0.5 else damaged


def _archive(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as after:
        names = before.namelist()
        chosen = rng.choice(names)
        for name in names:
            content = before.read(name)
            after.writestr(zipfile.ZipInfo(name), _damaged(content, others, rng) if name == chosen else content)
    return buffer.getvalue()


def _damaged(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        if len(result) < 8:
            break
        rng.choice((_flip, _flip, _set_field, _set_field, _set_field, _set_tag, _set_tag, _cut, _move, _splice))(
            result, others, rng
        )
    return bytes(result)


def _place(data: bytearray, rng: random.Random) -> int:
    """Somewhere in the file, most often in its header, or near its end, where some formats have their directories."""
    draw = rng.random()
    if draw < 0.6:
        return rng.randrange(min(len(data), _HEADER))
    return rng.randrange(max(0, len(data) - _HEADER), len(data)) if draw < 0.7 else rng.randrange(len(data))


def _flip(data: bytearray, _others: list[bytes], rng: random.Random) -> None:
    for _ in range(rng.choice((1, 2, 8, 40))):
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _set_field(data: bytearray, _others: list[bytes], rng: random.Random) -> None:
    size, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
    at = min(_place(data, rng) // size * size, len(data) - size)
    data[at : at + size] = (rng.choice(_EXTREMES) % (1 << 8 * size)).to_bytes(size, order)


def _set_tag(data: bytearray, others: list[bytes], rng: random.Random) -> None:
    """Change one number of one entry of one directory of a TIFF; another field of other files."""
    entries = _tiff_entries(data) if data[:2] in (b"II", b"MM") else []
    if not entries:
        _set_field(data, others, rng)
        return
    at, size = rng.choice(entries)
    width = rng.choice((2, 4))
    within = rng.choice([offset for offset in (0, 2, 4, 8, 12, 16) if offset + width <= size])
    value = rng.choice((*_EXTREMES, *_TAGS))
    order = "little" if data[:2] == b"II" else "big"
    data[at + within : at + within + width] = (value % (1 << 8 * width)).to_bytes(width, order)


def _tiff_entries(data: bytearray) -> list[tuple[int, int]]:
    """(offset, length) of the entries of the directories of a TIFF."""
    order = "<" if data[:2] == b"II" else ">"
    found: list[tuple[int, int]] = []
    try:
        big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
        pointer, count, size = ("Q", "Q", 20) if big else ("I", "H", 12)
        at = struct.unpack_from(order + pointer, data, 8 if big else 4)[0]
        while at and len(found) < 500:
            number = min(struct.unpack_from(order + count, data, at)[0], 100)
            first = at + struct.calcsize(order + count)
            found += [(first + index * size, size) for index in range(number)]
            at = struct.unpack_from(order + pointer, data, first + number * size)[0]
    except (struct.error, OverflowError):  # damaged before
        pass
    return [(at, size) for at, size in found if at + size <= len(data)]


def _cut(data: bytearray, _others: list[bytes], rng: random.Random) -> None:
    if rng.random() < 0.5:
        del data[rng.randrange(1, len(data)) :]
    else:
        start = rng.randrange(len(data))
        del data[start : start + rng.choice((1, 2, 4, 16, 200, 3000))]


def _move(data: bytearray, _others: list[bytes], rng: random.Random) -> None:
    """Swap two blocks, or repeat one."""
    size = min(rng.choice((4, 12, 64, 512, 4096)), len(data) // 2)
    first, second = (rng.randrange(len(data) - size + 1) for _ in range(2))
    block, other = bytes(data[first : first + size]), bytes(data[second : second + size])
    data[second : second + size] = block
    if rng.random() < 0.5:
        data[first : first + size] = other


def _splice(data: bytearray, others: list[bytes], rng: random.Random) -> None:
    """Put a block of another file in."""
    other = rng.choice(others)
    start, at = rng.randrange(len(other)), _place(data, rng)
    block = other[start : start + rng.choice((4, 32, 300, 5000))]
    data[at : at + (len(block) if rng.random() < 0.6 else 0)] = block


def _with_checksums(data: bytes) -> bytes:
    """The same with the checksums of all chunks of PNG in it mended."""
    result = bytearray(data)
    at = data.find(b"\x89PNG\r\n\x1a\n")
    while at >= 0:
        at += 8
        while at + 12 <= len(data):
            length = struct.unpack_from(">I", data, at)[0]
            if at + 12 + length > len(data):
                break
            struct.pack_into(">I", result, at + 8 + length, zlib.crc32(data[at + 4 : at + 8 + length]))
            at += 12 + length
        at = data.find(b"\x89PNG\r\n\x1a\n", at)
    return bytes(result)
