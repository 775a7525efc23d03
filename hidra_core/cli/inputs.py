"""What a command works on: pictures found, and checks of paths before any work."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from .console import UsageError, reason
from .options import BUILT_IN

if TYPE_CHECKING:
    import torch

    from ..images import Picture


def find_pictures(inputs: list[str], leave_out: Path | None = None, *, clips: bool = False) -> list[tuple[Path, Path]]:
    """The pictures, thermal files (and clips) and their relative names, see ``find_images``.

    Raises UsageError if there are none.

    Results of an earlier run are not taken for inputs: what a search finds in the folder ``leave_out`` does not count,
    unless the search was for that folder or one inside it, or the file is named itself.
    """
    from ..images import find_images
    from ..thermal.readers import THERMAL_EXTENSIONS
    from ..video import clips as clip_files

    try:
        found = find_images(inputs, (*THERMAL_EXTENSIONS, *(clip_files.EXTENSIONS if clips else ())))
    except FileNotFoundError as error:
        raise UsageError(reason(error)) from error
    if leave_out is None:
        return found
    results = leave_out.resolve()
    given = [Path(name).expanduser().resolve() for name in inputs]
    wanted = [path for path in given if path == results or results in path.parents]

    def counts(picture: Path) -> bool:
        path = picture.resolve()
        return results not in path.parents or any(place in (path, *path.parents) for place in wanted)

    kept = [(picture, name) for picture, name in found if counts(picture)]
    if not kept:
        raise UsageError(f"all {len(found)} pictures found lie in the output folder {leave_out}; choose another one")
    return kept


def for_networks(picture: Picture) -> tuple[torch.Tensor, tuple[float, float]]:
    """The pixels as the networks want them, ``[H, W, C]``, and the limits to ``unstretch`` results with."""
    import torch

    from ..images import stretch

    limits = picture.limits()
    return stretch(torch.from_numpy(picture.pixels), limits), limits


def check_model_paths(*sources: str | None) -> None:
    check_paths(*(source for source in sources if source != BUILT_IN))


def check_paths(*sources: str | None) -> None:
    for source in sources:
        if source is not None and not Path(source).exists():
            raise UsageError(f"{source}: no such file or folder; check the spelling")


def check_folder(folder: Path, option: str = "--output") -> None:
    """Raise UsageError unless files can be written in this folder, or it can be made."""
    from .. import images
    from ..video import clips

    place = Path(os.path.abspath(folder))
    if folder.suffix.lower() in (*images.EXTENSIONS, *clips.EXTENSIONS) and not place.is_dir():
        kind = "clip" if clips.is_clip(folder) else "picture"
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
    for module in modules:
        if find_spec(module) is None:
            raise ImportError(f"the command line needs {module}: pip install 'hidra-thermal[cli]'")
