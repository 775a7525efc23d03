"""How commands end and talk to the user: exit codes, errors as one line, the progress bar."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from tqdm import tqdm

log = logging.getLogger(__name__.partition(".")[0])

OK, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


class UsageError(Exception):
    """The request cannot be met as it stands; raised before anything was written."""


def say(text: str, arguments: argparse.Namespace) -> None:
    """Write a line to the standard output, unless the user wants none."""
    if not arguments.quiet:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def report(error: Exception, arguments: argparse.Namespace, source: Path | None = None) -> None:
    """Log an error in one line, with the file that it is about; with ``--verbose`` also where it came from."""
    text = reason(error)
    if source is not None and str(source) not in text:
        text = f"{source}: {text}"
    log.error(text, exc_info=error if arguments.verbose and not isinstance(error, UsageError) else None)


def reason(error: Exception) -> str:
    """The error's text on one line: without the system's number, with the type where the text alone says little."""
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    elif isinstance(error, UsageError | OSError | ValueError | ImportError):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error} (--verbose shows where)"
    return " ".join(text.split())


@contextmanager
def messages(arguments: argparse.Namespace) -> Iterator[None]:
    """Within the block the library's log goes to the standard error, as ``hidra: error: …``."""

    class Formatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return f"hidra: {record.levelname.lower()}: {super().format(record)}"

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter())
    level, propagate = log.level, log.propagate
    log.setLevel(logging.ERROR if arguments.quiet else logging.INFO if arguments.verbose else logging.WARNING)
    log.propagate = False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate


@contextmanager
def progress_bar(total: int, arguments: argparse.Namespace) -> Iterator[tqdm]:
    """A bar over ``total`` files, drawn if the standard error is a terminal; messages appear above it."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    bar = tqdm(
        total=total,
        bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}",
        disable=True if arguments.quiet or total == 0 else None,
    )
    with bar, nullcontext() if bar.disable else logging_redirect_tqdm([log]):
        yield bar


def advance(bar: tqdm, position: float) -> None:
    """Move the bar to a number of files; its fraction is the share of the current file that is done."""
    bar.update(position - bar.n)


def megabytes(size: int) -> str:
    """A number of bytes for a reader."""
    return f"{size / 1e6:.1f} MB"
