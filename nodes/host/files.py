"""The host's model, output and temporary folders."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import folder_paths

from ...hidra_core.backbone import HIDRA_TINY

WEIGHTS_FOLDER = "hidra"


DEGRADATIONS_FOLDER = "hidra_degradations"


def register_weights_folder() -> None:
    """Add ``models/hidra`` beside whatever ``extra_model_paths.yaml`` gives for ``hidra``; safetensors only."""
    folder_paths.add_model_folder_path(WEIGHTS_FOLDER, os.path.join(folder_paths.models_dir, WEIGHTS_FOLDER))
    folder_paths.folder_names_and_paths[WEIGHTS_FOLDER][1].add(".safetensors")


def register_degradations_folder() -> None:
    """Add ``models/hidra_degradations``, and the folder of the same name in the output folder, where they are saved."""
    for place in (folder_paths.models_dir, folder_paths.get_output_directory()):
        folder_paths.add_model_folder_path(DEGRADATIONS_FOLDER, os.path.join(place, DEGRADATIONS_FOLDER))
    folder_paths.folder_names_and_paths[DEGRADATIONS_FOLDER][1].add(".safetensors")


def next_output(prefix: str, suffix: str) -> Path:
    """A new file in the output folder, numbered as the host's own nodes do; ``prefix`` may name sub-folders."""
    folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory())
    return Path(folder, f"{name}_{counter:05}_{suffix}")


def temporary_file(suffix: str) -> Path:
    """A new name in the folder that the host empties when it starts and ends."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"hidra-{uuid.uuid4().hex}{suffix}"


def choices(folder: str) -> list[str]:
    """The built-in model and the files of a model folder, for a combo."""
    return [HIDRA_TINY, *files(folder)]


def files(folder: str) -> list[str]:
    """The files of a model folder, for a combo."""
    return folder_paths.get_filename_list(folder)


def path_of(folder: str, name: str) -> Path:
    """Where a file of a combo lies.

    Raises:
        FileNotFoundError: gone since the list was made; names the folders searched.
    """
    path = folder_paths.get_full_path(folder, name)
    if path is None:
        searched = ", ".join(folder_paths.get_folder_paths(folder))
        raise FileNotFoundError(f"'{name}' is not in {searched}. Put the file there, or refresh and choose another")
    return Path(path)


def fingerprint(folder: str, name: str) -> str:
    """Changes when the file does, so that the host runs the node again."""
    if name == HIDRA_TINY:
        return HIDRA_TINY
    status = path_of(folder, name).stat()
    return f"{name} {status.st_size} {status.st_mtime_ns}"
