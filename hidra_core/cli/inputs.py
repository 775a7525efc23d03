"""The files that a command works on, and checks of paths before any work."""

from __future__ import annotations

import argparse
import logging
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..names import HIDRA_TINY
from .console import AT_END, UsageError, log, reason, report
from .results import is_of_earlier_run

if TYPE_CHECKING:
    from ..images.search import PassedOver


def find_files(inputs: list[str], leave_out: Path | None = None, *, clips: bool = False) -> list[tuple[Path, Path]]:
    """Find the image files, thermal files (and clips) that inputs stand for.

    Results of an earlier run do not count as inputs: files in the folder ``leave_out`` are left out, unless an input
    names that folder, a folder inside it, or the file itself; so are comparisons and reports beside the image that they
    are named after, unless an input names the file itself. What was passed over is said when the command ends.

    Args:
        inputs: files, folders and patterns; also ``file:///FOLDER``.
        leave_out: the output folder.
        clips: whether clips count.

    Returns:
        (file, relative name) pairs, see :func:`~hidra_core.images.find_images`. Some may turn out not to be readable,
        see :func:`~hidra_core.images.search.check_entry`.

    Raises:
        UsageError: there are no such files, or a URL names something else than a file or a folder.
    """
    from ..images.search import PassedOver, search
    from ..sources.opening import CLIPS, THERMAL_EXTENSIONS

    extensions = (*THERMAL_EXTENSIONS, *(CLIPS if clips else ()))
    known = frozenset((*THERMAL_EXTENSIONS, *CLIPS))
    try:
        inputs = [str(local_path(name)) if "://" in name else name for name in inputs]
    except argparse.ArgumentTypeError as error:
        raise UsageError(str(error)) from error
    try:
        found = search(inputs, extensions, lambda name, names: is_of_earlier_run(name, names, known))
    except FileNotFoundError as error:
        raise UsageError(reason(error)) from error
    if leave_out is None:
        _say_passed_over(inputs, found.passed_over)
        return found.files
    results = Path(os.path.realpath(leave_out))
    given = [Path(os.path.realpath(os.path.expanduser(name))) for name in inputs]
    wanted = [path for path in given if path == results or results in path.parents]

    def is_input(file: Path) -> bool:
        path = Path(os.path.realpath(file))
        return results not in path.parents or any(name in (path, *path.parents) for name in wanted)

    kept = [(file, name) for file, name in found.files if is_input(file)]
    if not kept:
        raise UsageError(
            f"all {len(found.files)} inputs lie in the output folder {leave_out}; choose another output folder"
        )
    passed_over = [entry for entry in found.passed_over if is_input(entry.path)]
    passed_over += [PassedOver(file, "in the output folder") for file, _ in found.files if not is_input(file)]
    _say_passed_over(inputs, passed_over)
    return kept


def _say_passed_over(inputs: list[str], passed_over: list[PassedOver]) -> None:
    from ..images.search import in_words

    for entry in passed_over:
        log.info("%s is passed over: %s", entry.path, entry.reason)
    if passed_over:
        where = inputs[0] if len(inputs) == 1 else "the inputs"
        count, words = len(passed_over), in_words(passed_over)
        were = "entry of %s was" if count == 1 else "entries of %s were"
        hint = "" if log.isEnabledFor(logging.INFO) else "; --verbose names each"
        log.warning(f"%d {were} passed over: %s%s", count, where, words, hint, extra=AT_END)


def readable(files: list[Path], arguments: argparse.Namespace) -> list[Path]:
    """The files without those that cannot be read as they are named, such as broken links, which are reported.

    Args:
        files: from :func:`find_files`.
        arguments: the parsed command line.

    Raises:
        ValueError: none is left.
    """
    from ..images.search import check_entry

    kept = []
    for file in files:
        try:
            check_entry(file)
            kept.append(file)
        except OSError as error:
            report(error, arguments, file)
    if not kept:
        raise ValueError(f"none of the {len(files)} inputs can be read")
    return kept


def local_path(text: str) -> Path:
    """The path that a text names, also as the URL of a file: ``file:///shared/clear`` is ``/shared/clear``.

    Raises:
        argparse.ArgumentTypeError: the URL of something that is no folder of this machine.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is None:  # of two letters or more: C:// is a drive
        return Path(text)
    url = urlsplit(text)
    if url.scheme == "file" and url.netloc in ("", "localhost") and url.path.startswith("/"):
        return Path(url2pathname(url.path))
    if url.scheme == "file":
        raise argparse.ArgumentTypeError(f"{text}: expected file:///FOLDER, with the whole path of a folder")
    raise argparse.ArgumentTypeError(
        f"{text}: {url.scheme}:// is not read or written directly: mount the bucket or share as a folder, on all "
        "machines where there are several, and name that folder"
    )


def check_model_paths(*sources: str | None) -> None:
    """Raise UsageError for the path of a model that does not exist; the built-in model needs no path."""
    check_paths(*(source for source in sources if source != HIDRA_TINY))


def check_paths(*sources: str | None) -> None:
    """Raise UsageError for a path that does not exist."""
    for source in sources:
        if source is not None and not Path(source).exists():
            raise UsageError(f"{source}: no such file or folder; check the spelling")


def check_folder(folder: Path, option: str = "--output") -> None:
    """Raise UsageError unless files can be written in this folder, or the folder can be made."""
    from ..sources.opening import CLIPS, IMAGES

    existing = Path(os.path.abspath(folder))
    suffix = folder.suffix.lower()
    if suffix in (*IMAGES, *CLIPS) and not existing.is_dir():
        kind = "a clip" if suffix in CLIPS else "an image file"
        raise UsageError(f"{option} {folder} is named like {kind}: name a folder, in which results keep their names")
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise UsageError(f"{option} {folder}: {existing} is a file, a folder is needed")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"{option} {folder}: {existing} is not writable; choose another folder")


def check_file(path: Path, overwrite: bool, inputs: list[Path], option: str = "--output") -> None:
    """Raise UsageError unless this file can be written, is no input, and does not exist or may be replaced."""
    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder, a file name is needed")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{option} {path}: no folder {path.parent}; make it first")
    check_folder(path.absolute().parent, option)
    if path.exists():
        if any(os.path.exists(source) and path.samefile(source) for source in inputs):
            raise UsageError(f"{option} {path} is one of the inputs; choose another name")
        if not overwrite:
            raise UsageError(f"{option} {path} exists; --overwrite replaces it")


def require(*modules: str) -> None:
    """Raise ImportError, with the remedy, for a module that is not installed."""
    for module in modules:
        if find_spec(module) is None:
            raise ImportError(f"the command line needs {module}: pip install 'hidra-thermal[cli]'")
