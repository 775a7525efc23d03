"""What nodes write into the output folder: where it goes, how it is named, and what is said of it."""

from __future__ import annotations

import json
import re
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import folder_paths
from comfy.cli_args import args

from ...hidra_core.images.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterable

_SIGNATURE_AND_HEADER = 33  # bytes of a PNG before which nothing else may stand
_DRIVE = re.compile(r"[A-Za-z]:")
_OF_THE_PAGE = re.compile(r"%(date:[^%]*|[^%./\\]+\.[^%./\\]+)%")
"""Placeholders that the page has replaced before a server sees them: a date in a format, a value of another node."""
_OF_THE_SERVER = "%year% %month% %day% %hour% %minute% %second% %width% %height%"


def check_name(name: str, source: str) -> str:
    """The name of a result, without blanks around it.

    Args:
        name: a name or ``folder/name``, as the user wrote it.
        source: the input that it was written into.

    Raises:
        ValueError: it is empty, leads out of the output folder, or has a placeholder that the page should have
            replaced.
    """
    stripped = name.strip()
    parts = re.split(r"[\\/]", stripped)
    if not parts[-1] or parts[-1] == ".":
        raise ValueError(f"{source} '{name}' names no file: give a name, or folder/name")
    if not parts[0] or _DRIVE.match(stripped) or ".." in parts:
        raise ValueError(f"{source} '{name}' does not lie in the output folder: give a name, or folder/name")
    left = _OF_THE_PAGE.search(stripped)
    if left:
        raise ValueError(
            f"{source} '{name}': {left[0]} is nothing that ComfyUI's server replaces. Its page does, where node and "
            f"input are in the workflow; programs that send workflows put the value there, or use {_OF_THE_SERVER}"
        )
    return stripped


def output_stem(prefix: str, width: int = 0, height: int = 0, *, source: str = "filename_prefix") -> Path:
    """Folder and name, without its ending, of a new result in the output folder, numbered as the host's own nodes do.

    Args:
        prefix: as in the host's Save Image: a name or ``folder/name``, with the host's ``%placeholders%``.
        width: of the image, for the placeholders.
        height: of the image, for the placeholders.
        source: the input that the prefix was written into.

    Raises:
        ValueError: see :func:`check_name`.
    """
    return _numbered([check_name(prefix, source)], width, height)[0]


def output_stems(name: str, folders: Iterable[str], *, source: str) -> list[Path]:
    """Like :func:`output_stem` for files that belong together: in each of these folders, with one number.

    Args:
        name: a name or ``folder/name``.
        folders: sub-folders of the output folder.
        source: the input that the name was written into.

    Raises:
        ValueError: see :func:`check_name`.
    """
    checked = check_name(name, source)
    return _numbered([f"{folder}/{checked}" for folder in folders], 0, 0)


def _numbered(prefixes: list[str], width: int, height: int) -> list[Path]:
    output = folder_paths.get_output_directory()
    places = [folder_paths.get_save_image_path(prefix, output, width, height)[:3] for prefix in prefixes]
    number = max(counter for _, _, counter in places)
    return [Path(folder, f"{name.replace('%batch_num%', '0')}_{number:05}_") for folder, name, _ in places]


def output_name(path: Path) -> str:
    """A file of the output folder as users and programs look for it, such as ``folder/name_00001_.tiff``.

    Args:
        path: of the file.
    """
    return path.relative_to(Path(folder_paths.get_output_directory())).as_posix()


def output_entry(path: Path) -> dict[str, str]:
    """A file of the output folder as the host's history has it, and its ``/view`` takes it.

    Args:
        path: of the file.
    """
    folder, _, name = output_name(path).rpartition("/")
    return {"filename": name, "subfolder": folder, "type": "output"}


def workflow_of(node: Any) -> dict[str, Any]:
    """The workflow that a node runs in, as the host writes it into its own files: ``prompt``, ``workflow``.

    Args:
        node: an output node's class, while it runs.

    Returns:
        Nothing where the host was told to write no metadata.
    """
    if args.disable_metadata or node.hidden is None:
        return {}
    found = {"prompt": node.hidden.prompt, **(node.hidden.extra_pnginfo or {})}
    return {key: value for key, value in found.items() if value}


def add_png_texts(path: Path, texts: dict[str, Any]) -> None:
    """Add values as JSON to a PNG file, where the host's page looks for its workflow.

    Args:
        path: of the file, which is written anew, complete or not at all.
        texts: values of plain JSON types by their names.
    """
    data = path.read_bytes()
    chunks = b"".join(_text_chunk(key, json.dumps(value)) for key, value in texts.items())
    with atomic_path(path) as temporary:
        temporary.write_bytes(data[:_SIGNATURE_AND_HEADER] + chunks + data[_SIGNATURE_AND_HEADER:])


def _text_chunk(key: str, text: str) -> bytes:
    body = b"tEXt" + key.encode("latin-1") + b"\0" + text.encode("ascii")
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
