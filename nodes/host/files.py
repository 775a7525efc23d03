"""The host's folders: which files a node offers, where a chosen file lies, and how results are named."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import folder_paths

from ...hidra_core.names import HIDRA_TINY

if TYPE_CHECKING:
    from collections.abc import Sequence

WEIGHTS_FOLDER = "hidra"
DEGRADATIONS_FOLDER = "hidra_degradations"
CAMERAS_FOLDER = "hidra_cameras"


def register_weights_folder() -> None:
    """Add ``models/hidra`` to whatever ``extra_model_paths.yaml`` gives for ``hidra``; safetensors only."""
    folder_paths.add_model_folder_path(WEIGHTS_FOLDER, os.path.join(folder_paths.models_dir, WEIGHTS_FOLDER))
    folder_paths.folder_names_and_paths[WEIGHTS_FOLDER][1].add(".safetensors")


def register_saved_folders() -> None:
    """Add the folders of degradations and of camera profiles, in ``models`` and in the output folder."""
    for name, endings in ((DEGRADATIONS_FOLDER, {".safetensors"}), (CAMERAS_FOLDER, {".safetensors", ".json"})):
        for place in (folder_paths.models_dir, folder_paths.get_output_directory()):
            folder_paths.add_model_folder_path(name, os.path.join(place, name))
        folder_paths.folder_names_and_paths[name][1].update(endings)


def next_output(prefix: str, suffix: str) -> Path:
    """A new file in the output folder, numbered as the host's own nodes number theirs.

    Args:
        prefix: start of the file's name; may name sub-folders.
        suffix: its ending, with the dot.
    """
    folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory())
    return Path(folder, f"{name}_{counter:05}_{suffix}")


def temporary_file(suffix: str) -> Path:
    """A new file name in the folder that the host empties when it starts and when it ends.

    Args:
        suffix: the name's ending, with the dot.
    """
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"hidra-{uuid.uuid4().hex}{suffix}"


def choices(folder: str) -> list[str]:
    """The built-in model and the files of a model folder, for a combo.

    Args:
        folder: as the host calls it, such as ``checkpoints``.
    """
    return [HIDRA_TINY, *files(folder)]


def files(folder: str) -> list[str]:
    """The files of a model folder, for a combo.

    Args:
        folder: as the host calls it, such as ``vae``.
    """
    return folder_paths.get_filename_list(folder)


def path_of(folder: str, name: str) -> Path:
    """Where a file of a combo lies.

    Args:
        folder: as the host calls it.
        name: the file's entry in :func:`files`.

    Raises:
        FileNotFoundError: gone since the list was made; names the folders searched.
    """
    path = folder_paths.get_full_path(folder, name)
    if path is None:
        searched = ", ".join(folder_paths.get_folder_paths(folder))
        raise FileNotFoundError(f"'{name}' is not in {searched}. Put the file there, or refresh and choose another")
    return Path(path)


def fingerprint(folder: str, name: str) -> str:
    """A text that changes when the file does, so that the host runs the node again.

    Args:
        folder: as the host calls it.
        name: an entry of :func:`choices`.
    """
    if name == HIDRA_TINY:
        return HIDRA_TINY
    status = path_of(folder, name).stat()
    return f"{name} {status.st_size} {status.st_mtime_ns}"


def input_names(extensions: Sequence[str]) -> list[str]:
    """The files of the input folder with these endings, sorted; those in sub-folders as ``folder/name``.

    Args:
        extensions: in lower case, with the dot.
    """
    folder = Path(folder_paths.get_input_directory())
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in extensions and path.is_file())
    names = (path.relative_to(folder) for path in paths)
    return sorted(name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts))


def input_path(name: str) -> Path:
    """Where a file of the input folder lies.

    Args:
        name: an entry of :func:`input_names`; ``name [output]`` and ``name [temp]`` work as in the host's own nodes.

    Raises:
        FileNotFoundError: gone since the list was made.
    """
    if not folder_paths.exists_annotated_filepath(name):
        raise FileNotFoundError(
            f"'{name}' is not in {folder_paths.get_input_directory()}. Put the file there or upload it, and refresh"
        )
    return Path(folder_paths.get_annotated_filepath(name))


def input_exists(name: str) -> bool:
    """Whether :func:`input_path` finds this file.

    Args:
        name: see there.
    """
    return folder_paths.exists_annotated_filepath(name)


def input_fingerprint(name: str) -> str:
    """A text that changes when the file does, so that the host runs the node again.

    Args:
        name: see :func:`input_path`.
    """
    status = input_path(name).stat()
    return f"{name} {status.st_size} {status.st_mtime_ns}"


def output_stem(prefix: str, width: int, height: int) -> Path:
    """Folder and name, without its ending, of a new result in the output folder.

    Args:
        prefix: as in the host's Save Image: a name or ``folder/name``, with the host's ``%placeholders%``.
        width: of the image, for the placeholders.
        height: of the image, for the placeholders.

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
