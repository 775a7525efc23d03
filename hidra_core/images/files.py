"""Writing files so that none is ever seen half-written."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well.

    When the block raises, the temporary file is removed and an existing ``path`` is as it was. The suffix is kept, for
    writers that choose a format by it.

    Raises:
        OSError: the folder is missing, not writable or full; names the file and the remedy.
    """
    path = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise _explained(error, path) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    except OSError as error:
        raise _explained(error, path) from error
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _explained(error: OSError, path: Path) -> OSError:
    reason = error.strerror or str(error)
    return type(error)(
        error.errno,
        f"cannot write {path}: {reason}. Nothing was written; choose a folder that exists, is writable and has room",
    )


def write_safetensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file atomically; failures of the disk come as OSError."""
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:  # the library wraps the system's error into its own text
            raise OSError(0, str(error)) from error


def read_safetensors(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors and the header's metadata of a file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a safetensors file, or a truncated one.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}. Check the name; weights and checkpoints are .safetensors files")
    try:
        with safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118 (no dict)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a readable safetensors file ({error}). It may be truncated or renamed: "
            "download or export it again"
        ) from error
