"""Finding the image files that folders and patterns stand for."""

from __future__ import annotations

import errno
import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING

from .picture import EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


def find_images(inputs: Iterable[str | Path], extensions: Sequence[str] = EXTENSIONS) -> list[tuple[Path, Path]]:
    """List the image files that files, folders and patterns stand for.

    Folders are searched with their sub-folders; hidden names are skipped, and "2.png" comes before "10.png". A file
    that several inputs stand for is listed once. A file that is named explicitly is listed whatever its extension.

    Args:
        inputs: files, folders, and patterns with ``*``, ``?``, ``[…]`` and ``**``.
        extensions: the ones to look for, in lower case, with their dots.

    Returns:
        (file, relative name) pairs in the order of the inputs. Relative names keep the sub-folders below the input; if
        two files would share one (ignoring case), the names of their folders are put in front until they differ.

    Raises:
        FileNotFoundError: an input does not exist, or it holds no image file.
    """
    natural = _natural_order()
    roots: dict[Path, Path] = {}  # absolute file: the folder that its relative name starts from
    spelling: dict[Path, Path] = {}  # absolute file: as the caller spelt it
    for given in inputs:
        root, files = _expand(given, extensions)
        for file in sorted(files, key=natural):
            absolute = Path(os.path.abspath(file))
            if absolute not in roots:
                roots[absolute], spelling[absolute] = Path(os.path.abspath(root)), file
    return [(spelling[file], name) for file, name in _relative_names(roots).items()]


def _expand(given: str | Path, extensions: Sequence[str]) -> tuple[Path, list[Path]]:
    """(folder that relative names start from, files) of one input."""
    if not str(given):
        raise FileNotFoundError(
            errno.ENOENT, "an empty name; name a file, a folder, a pattern, or . for this folder", "''"
        )
    path = Path(given).expanduser()
    if path.is_file():
        return path.parent, [path]
    if path.is_dir():
        files = []
        for folder, subfolders, names in os.walk(path):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            files += [Path(folder, name) for name in names if _is_image_name(name, extensions)]
        if not files:
            raise FileNotFoundError(
                errno.ENOENT, f"no image files in this folder (looked for {', '.join(extensions)})", str(path)
            )
        return path, files
    if glob.has_magic(str(path)):
        files = [Path(name) for name in glob.glob(str(path), recursive=True)]
        files = [file for file in files if file.is_file() and _is_image_name(file.name, extensions)]
        if not files:
            raise FileNotFoundError(
                errno.ENOENT,
                "no image file matches this pattern; check it, and quote it on the command line",
                str(path),
            )
        fixed = []
        for part in path.parts[:-1]:
            if glob.has_magic(part):
                break
            fixed.append(part)
        return Path(*fixed), files
    raise FileNotFoundError(errno.ENOENT, "no such file or folder; check the spelling and the folder", str(path))


def _is_image_name(name: str, extensions: Sequence[str]) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in extensions


def _natural_order() -> Callable[[Path], tuple]:
    """A sort key in which runs of digits compare as numbers and case does not count, folder by folder."""
    from natsort import natsort_keygen, ns

    key = natsort_keygen(alg=ns.IGNORECASE)
    return lambda path: (key(path.parts), str(path))


def _relative_names(roots: dict[Path, Path]) -> dict[Path, Path]:
    roots = dict(roots)
    while True:
        names = {file: file.relative_to(root) for file, root in roots.items()}
        groups: dict[str, list[Path]] = {}
        for file, name in names.items():
            groups.setdefault(str(name).casefold(), []).append(file)
        # Two names in one folder that differ in case only are possible where case counts; there they do not clash.
        clashing = [file for files in groups.values() if len({file.parent for file in files}) > 1 for file in files]
        movable = [file for file in clashing if roots[file] != roots[file].parent]
        if not movable:
            return names
        for file in movable:
            roots[file] = roots[file].parent
