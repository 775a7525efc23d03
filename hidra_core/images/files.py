"""Writing files so that none is ever seen half-written, and reading safetensors with messages that help."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..names import HIDRA_TINY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

_OF_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, 0}
"""``errno`` of errors that only writing raises; 0 stands for a disk error that a library passed on without it."""

_CUT_SHORT = re.compile(r"\d+ requested and \d+ written")
"""What NumPy, with which TIFFs are written, says instead of an ``errno`` when a disk takes a part only."""

_NO_ROOM = 2**20  # bytes that are left on a disk that counts as full: of the last blocks not all can be used


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path in the folder of ``path`` that replaces it when the block ends without an error.

    When the block raises, the temporary file is removed and an existing ``path`` stays untouched. The suffix is kept,
    for writers that choose a format by it.

    Args:
        path: the file to write.

    Yields:
        The temporary path; it exists and is empty.

    Raises:
        OSError: the folder is missing, not writable or full; names the file and the remedy. Errors of the block that
            are about other files, such as an input that cannot be read, pass through unchanged.
    """
    path = Path(path)
    try:
        temporary = _create_beside(path)
        rights = temporary.stat().st_mode
    except OSError as error:
        raise _explained(error, path) from error
    try:
        try:
            yield temporary
        except OSError as error:
            if _is_about(error, temporary):
                raise _explained(error, path) from error
            raise
        try:
            temporary.chmod(rights)  # safetensors replaces the file by one that its owner alone may read
            os.replace(temporary, path)
        except OSError as error:
            raise _explained(error, path) from error
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def check_names(paths: Iterable[Path]) -> None:
    """Say before any work whether files may have these names.

    Args:
        paths: the files to write; their folders need not exist yet.

    Raises:
        OSError: a name is longer than its file system allows; says how long, the limit and the remedy.
    """
    for path in paths:
        size, limit = _size(path.name), _longest_name(path.parent)
        if size > limit:
            unit = "characters" if os.name == "nt" else "bytes"
            raise OSError(
                errno.ENAMETOOLONG,
                f"the name is {size} {unit} long, and {limit} are allowed; give the input a shorter name",
                str(path),
            )


def _size(name: str) -> int:
    """The length of a name as file systems count it: in UTF-16 units on Windows, else in bytes."""
    return len(name.encode("utf-16-le", "surrogatepass")) // 2 if os.name == "nt" else len(os.fsencode(name))


def _longest_name(folder: Path) -> int:
    """The length that names may have in a folder, or in the one that it would be made in."""
    existing = Path(os.path.abspath(folder))
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        return os.pathconf(existing, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # Windows has no pathconf, some file systems have no answer
        return 255


def _create_beside(path: Path) -> Path:
    """A new empty file in the folder of ``path``, with the permissions that the process gives to new files.

    Its name is that of ``path`` between a dot and a random part, cut where it would become longer than names may be.
    """
    longest = _longest_name(path.parent)
    while True:
        stem, ending = path.stem, f"-{secrets.token_hex(4)}{path.suffix}"
        while stem and _size(f".{stem}{ending}") > longest:
            stem = stem[:-1]
        temporary = path.with_name(f".{stem}{ending}")
        with suppress(FileExistsError):
            # the kernel applies the umask, which Python could read only by changing it for a moment
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return temporary


def _is_about(error: OSError, temporary: Path) -> bool:
    """Whether an error of a block concerns the file that the block writes."""
    if error.filename is not None:
        return Path(os.fsdecode(error.filename)) == temporary
    return error.errno in _OF_WRITING or _is_cut_short(error)


def _is_cut_short(error: OSError) -> bool:
    return error.errno is None and _CUT_SHORT.search(str(error)) is not None


def _explained(error: OSError, path: Path) -> OSError:
    if _is_cut_short(error):  # 0: a quota perhaps, of which nothing is known
        is_full = shutil.disk_usage(path.parent).free < _NO_ROOM
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if is_full else OSError(0, str(error))
    reason = error.strerror or str(error)
    remedy = "choose a folder that exists, is writable and has room"
    if error.errno == errno.EISDIR:
        remedy = "choose a name that no folder has"
    elif error.errno == errno.ENAMETOOLONG:
        remedy = f"choose a name of at most {_longest_name(path.parent)} bytes"
    return type(error)(error.errno, f"cannot write {path}: {reason}. This file was not written; {remedy}")


def write_json(path: Path, record: Any) -> None:
    """Write plain JSON types atomically, indented by one space; missing folders are made.

    Args:
        path: the file to write.
        record: the content, of plain JSON types.

    Raises:
        OSError: the file cannot be written; an existing one stays untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def write_safetensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file atomically.

    Args:
        tensors: by name; contiguous, on the CPU.
        path: the file to write.
        metadata: texts for the header.

    Raises:
        OSError: the file cannot be written; an existing one stays untouched.
    """
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:  # the library puts the system's error into a text of its own
            raise OSError(0, str(error)) from error


def read_safetensors(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read all tensors and the header's metadata of a file.

    Args:
        path: the file.

    Returns:
        (tensors by name, metadata).

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a safetensors file, or a truncated one.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no file {path}. Check the name; weights and checkpoints are .safetensors files, the built-in ones are "
            f"called {HIDRA_TINY}"
        )
    try:
        with safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118 (no dict)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a readable safetensors file ({error}). It may be truncated or renamed: "
            "download or export it again"
        ) from error
