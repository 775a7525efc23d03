"""What a command works on: pictures found, and checks of paths before any work."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from ..names import HIDRA_TINY
from .console import UsageError, reason


def find_pictures(inputs: list[str], leave_out: Path | None = None, *, clips: bool = False) -> list[tuple[Path, Path]]:
    """The pictures, thermal files (and clips) and their relative names, see ``find_images``.

    Results of an earlier run do not count as inputs: what a search finds in the folder ``leave_out`` is left out,
    unless the search was for that folder or one inside it, or the file is named itself.

    Raises:
        UsageError: there are none.
    """
    from ..images import find_images
    from ..sources.opening import CLIPS, THERMAL_EXTENSIONS

    try:
        files = find_images(inputs, (*THERMAL_EXTENSIONS, *(CLIPS if clips else ())))
    except FileNotFoundError as error:
        raise UsageError(reason(error)) from error
    if leave_out is None:
        return files
    results = leave_out.resolve()
    given = [Path(name).expanduser().resolve() for name in inputs]
    wanted = [path for path in given if path == results or results in path.parents]

    def counts(picture: Path) -> bool:
        path = picture.resolve()
        return results not in path.parents or any(place in (path, *path.parents) for place in wanted)

    kept = [(picture, name) for picture, name in files if counts(picture)]
    if not kept:
        raise UsageError(f"all {len(files)} pictures found lie in the output folder {leave_out}; choose another one")
    return kept


def check_model_paths(*sources: str | None) -> None:
    """Raise UsageError for a model that does not exist; the built-in one does."""
    check_paths(*(source for source in sources if source != HIDRA_TINY))


def check_paths(*sources: str | None) -> None:
    """Raise UsageError for a path that does not exist."""
    for source in sources:
        if source is not None and not Path(source).exists():
            raise UsageError(f"{source}: no such file or folder; check the spelling")


def check_folder(folder: Path, option: str = "--output") -> None:
    """Raise UsageError unless files can be written in this folder, or it can be made."""
    from ..sources.opening import CLIPS, PICTURES

    place = Path(os.path.abspath(folder))
    suffix = folder.suffix.lower()
    if suffix in (*PICTURES, *CLIPS) and not place.is_dir():
        kind = "clip" if suffix in CLIPS else "picture"
        raise UsageError(f"{option} {folder} is named like a {kind}: name a folder, results keep their names in it")
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise UsageError(f"{option} {folder}: {place} is a file, a folder is needed")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"{option} {folder}: {place} is not writable; choose another folder")


def check_file(path: Path, overwrite: bool, inputs: list[Path], option: str = "--output") -> None:
    """Raise UsageError unless this file can be written, is no input, and does not exist or may be replaced."""
    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder, a file name is needed")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{option} {path}: no folder {path.parent}; make it first")
    check_folder(path.absolute().parent, option)
    if path.exists():
        if any(path.samefile(source) for source in inputs):
            raise UsageError(f"{option} {path} is one of the inputs; choose another name")
        if not overwrite:
            raise UsageError(f"{option} {path} exists; --overwrite replaces it")


def require(*modules: str) -> None:
    """Raise ImportError, with the remedy, for a module that is not installed."""
    for module in modules:
        if find_spec(module) is None:
            raise ImportError(f"the command line needs {module}: pip install 'hidra-thermal[cli]'")
