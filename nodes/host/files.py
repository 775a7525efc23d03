"""The host's folders: which files a node offers, and where a chosen file lies."""

from __future__ import annotations

import logging
import os
import shutil
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
SAMPLES = Path(__file__).resolve().parents[2] / "example_workflows" / "input"
"""Images that example workflows open with *Load Image*."""


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


def place_samples() -> None:
    """Put the images of the example workflows into the input folder, unless there are files of these names.

    *Load Image* reads that folder alone. Where it cannot be written, the workflows ask for an image.
    """
    folder = Path(folder_paths.get_input_directory())
    for sample in SAMPLES.glob("*.png"):
        try:
            if not (folder / sample.name).exists():
                shutil.copyfile(sample, folder / sample.name)
        except OSError as error:
            logging.info(
                "ComfyUI-HiDRA: %s, of the example workflows, is not in the input folder: %s", sample.name, error
            )


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
    path = _in_folder(name)
    if path is None:
        raise FileNotFoundError(
            f"'{name}' is not in {folder_paths.get_input_directory()}. Put the file there or upload it, and refresh"
        )
    return path


def _in_folder(name: str) -> Path | None:
    """Where a file lies in the folder that its name says, by default the input folder; None if it does not."""
    bare, stated = folder_paths.annotated_filepath(name)
    folder = Path(stated or folder_paths.get_input_directory()).absolute()
    path = Path(os.path.normpath(folder / bare))  # links within the folder may lead out of it: users make them
    return path if path.is_relative_to(folder) and path.is_file() else None


def input_exists(name: str) -> bool:
    """Whether :func:`input_path` finds this file.

    Args:
        name: see there.
    """
    return _in_folder(name) is not None


def input_fingerprint(name: str) -> str:
    """A text that changes when the file does, so that the host runs the node again.

    Args:
        name: see :func:`input_path`.
    """
    status = input_path(name).stat()
    return f"{name} {status.st_size} {status.st_mtime_ns}"
