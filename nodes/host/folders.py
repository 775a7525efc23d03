"""The host's input and output folders: what may be chosen, where a choice lies, what a result is called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import folder_paths

if TYPE_CHECKING:
    from collections.abc import Sequence


def input_names(extensions: Sequence[str]) -> list[str]:
    """Files of the input folder with these endings (lower case), sorted; sub-folders as ``folder/name``."""
    folder = Path(folder_paths.get_input_directory())
    found = (path for path in folder.rglob("*") if path.suffix.lower() in extensions and path.is_file())
    names = (path.relative_to(folder) for path in found)
    return sorted(name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts))


def input_path(name: str) -> Path:
    """Where a file of the input folder lies; ``name [output]`` and ``name [temp]`` work as in the host's own nodes.

    Raises:
        FileNotFoundError: gone since the list was made.
    """
    if not folder_paths.exists_annotated_filepath(name):
        raise FileNotFoundError(
            f"'{name}' is not in {folder_paths.get_input_directory()}. Put the file there or upload it, and refresh"
        )
    return Path(folder_paths.get_annotated_filepath(name))


def input_exists(name: str) -> bool:
    """Whether :func:`input_path` finds it."""
    return folder_paths.exists_annotated_filepath(name)


def fingerprint(name: str) -> str:
    """Changes when the file does, so that the host runs the node again."""
    status = input_path(name).stat()
    return f"{name} {status.st_size} {status.st_mtime_ns}"


def output_stem(prefix: str, width: int, height: int) -> Path:
    """Folder and name, without its ending, of a result that is not there yet; prefixes as in the host's Save Image.

    Raises:
        ValueError: a prefix that leads out of the output folder.
    """
    try:
        folder, name, counter, _, _ = folder_paths.get_save_image_path(
            prefix, folder_paths.get_output_directory(), width, height
        )
    except Exception as error:  # the host raises a plain Exception
        raise ValueError(f"'{prefix}' does not lie in the output folder: give a name, or folder/name") from error
    return Path(folder, f"{name.replace('%batch_num%', '0')}_{counter:05}_")
