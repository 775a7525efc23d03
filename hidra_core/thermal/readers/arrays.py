"""Arrays that NumPy saved: .npy and .npz."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from typing import IO, TYPE_CHECKING

import numpy as np

from .packages import Content, unreadable

if TYPE_CHECKING:
    from pathlib import Path

EXTENSIONS = (".npy", ".npz")

_TYPES = ("uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")
_NAMES = ("counts", "frames")
_ERRORS = (
    *(ValueError, TypeError, EOFError, KeyError, SyntaxError, OverflowError, RuntimeError, tokenize.TokenError),
    *(zipfile.BadZipFile, zlib.error),
)
_REMEDY = "save it again with numpy.save, as an array of numbers"
_COLOURS = 4  # a last axis this short holds colours


def read(path: Path) -> Content:
    """The array of a file: one frame ``[H, W]`` or several ``[N, H, W]``. What its numbers mean it does not say.

    The array of an .npy file stays on the disk until it is used.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, holds several arrays of which none is named ``counts`` or ``frames``, or an array of
            another shape or type.
    """
    if path.suffix.lower() == ".npz":
        name, array = _from_archive(path)
        where = f"NPZ array '{name}'"
    else:
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except _ERRORS as error:
            raise unreadable(path, error, _REMEDY) from error
        where = "NPY array"
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{path} is an archive of arrays: rename it to .npz")
    if array.dtype.name not in _TYPES:
        raise ValueError(
            f"{path} holds {array.dtype.name} numbers, one of {', '.join(_TYPES)} is expected: save it again with "
            "array.astype(numpy.uint16), or float32 for temperatures"
        )
    if array.ndim not in (2, 3) or array.size == 0 or (array.ndim == 3 and array.shape[-1] <= _COLOURS):
        raise ValueError(
            f"{path} holds an array {list(array.shape)}; one frame [height, width] or several [frames, height, width] "
            "are expected: save array[..., 0], or transpose its axes"
        )
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return Content(array if array.ndim == 3 else array[None], f"{where}, {array.dtype.name}")


def _from_archive(path: Path) -> tuple[str, np.ndarray]:
    """(name, array) of the one array that is meant."""
    with path.open("rb") as source:
        try:
            with zipfile.ZipFile(source) as archive:
                entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
                chosen = list(entries) if len(entries) == 1 else [name for name in _NAMES if name in entries]
                if chosen:
                    entry = entries[chosen[0]]
                    with archive.open(entry) as file:
                        _check_length(file, entry.file_size)
                    with archive.open(entry) as file:
                        return chosen[0], np.lib.format.read_array(file, allow_pickle=False)
        except (*_ERRORS, OSError) as error:  # OSError: a damaged directory points before the beginning
            raise unreadable(path, error, _REMEDY) from error
    raise ValueError(
        f"{path} holds the arrays {', '.join(sorted(entries)) or '(none)'}: one array alone, or one that is named "
        f"'{_NAMES[0]}' or '{_NAMES[1]}', is expected"
    )


def _check_length(file: IO[bytes], size: int) -> None:
    """Refuse an array whose header claims more than its file can hold, before memory is reserved for it."""
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    needed = dtype.itemsize
    for length in shape:
        needed *= length
    if needed > size:
        raise ValueError(f"its array {list(shape)} needs {needed} bytes, the file holds {size}")
