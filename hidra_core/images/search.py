"""Finding the image files that folders and patterns stand for."""

from __future__ import annotations

import errno
import glob
import os
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .picture import EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    Made = Callable[[str, Collection[str]], bool]

OTHER_KIND = "not looked for by extension"
EARLIER_RUN = "made by an earlier run"
_LINKED_FOLDER = "linked from elsewhere (links to folders are not followed)"
_NO_FILE = "neither file nor folder"
_MATCHED_FOLDER = "matched as a folder (a pattern searches folders with **)"

_MOST_KINDS = 8
"""The number of extensions that a summary names."""


@dataclass(frozen=True)
class PassedOver:
    """An entry of a folder that was not taken.

    Attributes:
        path: the entry.
        reason: why, in words that fit behind the entry and behind a number of such entries.
    """

    path: Path
    reason: str


@dataclass(frozen=True)
class Found:
    """What inputs stand for.

    Attributes:
        files: (file, relative name) pairs, see :func:`find_images`.
        passed_over: what folders and patterns have besides; hidden names do not count.
    """

    files: list[tuple[Path, Path]]
    passed_over: list[PassedOver]


def find_images(inputs: Iterable[str | Path], extensions: Sequence[str] = EXTENSIONS) -> list[tuple[Path, Path]]:
    """List the image files that files, folders and patterns stand for.

    Folders are searched with their sub-folders; hidden names are skipped, and "2.png" comes before "10.png". A file
    that several inputs stand for is listed once. A file that is named explicitly is listed whatever its extension.
    Broken links and folders that cannot be listed are listed as if they were files, so that reading them fails and
    nothing is left out unseen; :func:`check_entry` says what is wrong with them.

    Args:
        inputs: files, folders, and patterns with ``*``, ``?``, ``[…]`` and ``**``.
        extensions: the ones to look for, in lower case, with their dots.

    Returns:
        (file, relative name) pairs in the order of the inputs. Relative names keep the sub-folders below the input; if
        two files would share one (ignoring case), the names of their folders are put in front until they differ.

    Raises:
        FileNotFoundError: an input does not exist, or it holds no image file.
    """
    return search(inputs, extensions).files


def search(inputs: Iterable[str | Path], extensions: Sequence[str] = EXTENSIONS, made: Made | None = None) -> Found:
    """The same, with what was passed over.

    Args:
        inputs: see :func:`find_images`.
        extensions: see :func:`find_images`.
        made: says of the name of an entry, given all names in its folder, whether this program made it; such entries
            are passed over.

    Raises:
        FileNotFoundError: see :func:`find_images`.
    """
    natural = _natural_order()
    roots: dict[Path, Path] = {}  # absolute file: the folder that its relative name starts from
    spelling: dict[Path, Path] = {}  # absolute file: as the caller spelt it
    passed_over: dict[Path, PassedOver] = {}
    for given in inputs:
        root, files, passed = _expand(given, extensions, made or (lambda _name, _names: False))
        for file in sorted(files, key=natural):
            absolute = Path(os.path.abspath(file))
            if absolute not in roots:
                roots[absolute], spelling[absolute] = Path(os.path.abspath(root)), file
        for entry in sorted(passed, key=lambda entry: natural(entry.path)):
            passed_over.setdefault(Path(os.path.abspath(entry.path)), entry)
    left = [entry for absolute, entry in passed_over.items() if absolute not in roots]
    return Found([(spelling[file], name) for file, name in _relative_names(roots).items()], left)


def in_words(passed_over: Iterable[PassedOver]) -> str:
    """How many entries were passed over for each reason, on one line; those of other kinds by their extensions."""
    kinds: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for entry in passed_over:
        if entry.reason == OTHER_KIND:
            kinds[entry.path.suffix.lower() or "without extension"] += 1
        else:
            reasons[entry.reason] += 1
    common = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))[:_MOST_KINDS]
    rest = kinds.total() - sum(count for _, count in common)
    parts = [f"{count} {kind}" for kind, count in common] + ([f"{rest} of other kinds"] if rest else [])
    if parts:
        parts[-1] += f" ({OTHER_KIND})"
    return ", ".join(parts + [f"{count} {reason}" for reason, count in reasons.items()])


def check_entry(path: Path) -> None:
    """Say what is wrong with an entry of a folder before anything tries to read it.

    Args:
        path: from :func:`find_images`.

    Raises:
        OSError: a link that leads nowhere, a folder that cannot be listed, a pipe, socket or device (which might be
            waited for without end), or a file that may not be read; names it and the remedy.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            next(os.scandir(path), None)
            raise IsADirectoryError(errno.EISDIR, "a file is expected, this is a folder", str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "a pipe, a socket or a device; save what it gives as a file", str(path))
        path.open("rb").close()
    except FileNotFoundError as error:
        if not path.is_symlink():
            raise FileNotFoundError(errno.ENOENT, "no such file; was it moved or deleted?", str(path)) from error
        text = f"a broken link: there is no {os.readlink(path)}; mend or remove it"
        raise FileNotFoundError(errno.ENOENT, text, str(path)) from error
    except PermissionError as error:
        raise PermissionError(error.errno, "may not be read; change its permissions", str(path)) from error
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, "a link that leads back to itself; mend or remove it", str(path)) from error


def _expand(given: str | Path, extensions: Sequence[str], made: Made) -> tuple[Path, list[Path], list[PassedOver]]:
    """(folder that relative names start from, files, what was passed over) of one input."""
    path = Path(os.path.expanduser(given))
    if not str(given).strip() and not (str(given) and os.path.lexists(path)):
        raise FileNotFoundError(
            errno.ENOENT, "an empty name; name a file, a folder, a pattern, or . for this folder", f"'{given}'"
        )
    if os.path.isdir(path):
        files, passed = _walk(path, extensions, made)
        if not files:
            looked_for = f"no image files in this folder (looked for {', '.join(extensions)})"
            raise FileNotFoundError(errno.ENOENT, looked_for + _besides(passed), str(path))
        return path, files, passed
    if os.path.lexists(path):
        return path.parent, [path], []
    if glob.has_magic(str(path)):
        files, passed = _match(path, extensions, made)
        if not files:
            remedy = "no image file matches this pattern; check it, and quote it on the command line"
            raise FileNotFoundError(errno.ENOENT, remedy + _besides(passed), str(path))
        fixed = []
        for part in path.parts[:-1]:
            if glob.has_magic(part):
                break
            fixed.append(part)
        return Path(*fixed), files, passed
    raise FileNotFoundError(errno.ENOENT, "no such file or folder; check the spelling and the folder", str(path))


def _besides(passed_over: list[PassedOver]) -> str:
    return f"; passed over: {in_words(passed_over)}" if passed_over else ""


def _walk(top: Path, extensions: Sequence[str], made: Made) -> tuple[list[Path], list[PassedOver]]:
    """(files, what was passed over) in a folder and its sub-folders."""
    files: list[Path] = []
    passed: list[PassedOver] = []
    unlisted: list[Path] = []
    for folder, subfolders, names in os.walk(top, onerror=lambda error: unlisted.append(Path(error.filename))):
        everything = {*subfolders, *names}
        searched = []
        for name in subfolders:
            if name.startswith("."):
                continue
            if os.path.islink(os.path.join(folder, name)):
                passed.append(PassedOver(Path(folder, name), _LINKED_FOLDER))
            elif made(name, everything):
                passed.append(PassedOver(Path(folder, name), EARLIER_RUN))
            else:
                searched.append(name)
        subfolders[:] = searched
        for name in names:
            _sort_in(Path(folder, name), everything, extensions, made, files, passed)
    return [*files, *unlisted], passed


def _match(pattern: Path, extensions: Sequence[str], made: Made) -> tuple[list[Path], list[PassedOver]]:
    """(files, what was passed over) among what a pattern matches."""
    files: list[Path] = []
    passed: list[PassedOver] = []
    names: dict[Path, set[str]] = {}
    for match in glob.glob(str(pattern), recursive=True):
        path = Path(match)
        if os.path.isdir(path):
            if "**" not in pattern.parts:  # with it, the content of the folder matches too
                passed.append(PassedOver(path, _MATCHED_FOLDER))
            continue
        if path.parent not in names:
            names[path.parent] = set(os.listdir(path.parent))
        _sort_in(path, names[path.parent], extensions, made, files, passed)
    return files, passed


def _sort_in(
    path: Path,
    names: Collection[str],
    extensions: Sequence[str],
    made: Made,
    files: list[Path],
    passed: list[PassedOver],
) -> None:
    """Put an entry that is no folder, and whose folder has these names, to the files or to what is passed over."""
    if path.name.startswith("."):
        return
    if made(path.name, names):
        passed.append(PassedOver(path, EARLIER_RUN))
    elif path.suffix.lower() not in extensions:
        passed.append(PassedOver(path, OTHER_KIND))
    elif os.path.exists(path) and not os.path.isfile(path):
        passed.append(PassedOver(path, _NO_FILE))
    else:
        files.append(path)


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
