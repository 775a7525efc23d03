"""How commands end and talk to the user: exit codes, errors as one line, messages, signals."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .words import in_words_of_shell

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

_PACKAGE = __name__.partition(".")[0]
log = logging.getLogger(_PACKAGE)

OK, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

AT_END = {"at_end": True}
"""``extra`` of a message that is held back until the command ends, so that the user finds it below the others."""

_REPEATED = 1.0
"""Seconds in which a signal is taken for the same wish as the one before: a closing terminal sends several."""


class UsageError(Exception):
    """The request cannot be met as it stands; raised before anything was written."""


def say(text: str, arguments: argparse.Namespace) -> None:
    """Write a line to the standard output, unless the user wants none."""
    if not arguments.quiet:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def report(error: Exception, arguments: argparse.Namespace, source: Path | None = None) -> None:
    """Log an error in one line, with the file that it is about; with ``--verbose`` also where an unexpected one was."""
    text = reason(error)
    if source is not None and str(source) not in text:
        text = f"{source}: {text}"
    log.error("%s", text, exc_info=error if arguments.verbose and not _is_explained(error) else None)


def _is_explained(error: Exception) -> bool:
    """Whether the text of an error was written for the user, by this package or by the system."""
    if isinstance(error, UsageError) or (isinstance(error, OSError) and error.strerror):
        return True
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    raised_here = bool(frames) and frames[-1].f_globals.get("__name__", "").partition(".")[0] == _PACKAGE
    return raised_here and isinstance(error, OSError | ValueError | ImportError)


def reason(error: Exception) -> str:
    """The error's text on one line: without the system's number, with the type where the text alone says little."""
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    elif isinstance(error, UsageError | OSError | ValueError | ImportError):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error} (--verbose shows where)"
    return " ".join(text.split())


class _Formatter(logging.Formatter):
    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__()
        self._arguments = arguments

    def format(self, record: logging.LogRecord) -> str:
        text = in_words_of_shell(super().format(record), self._arguments)
        return f"hidra: {record.levelname.lower()}: {text}"


class _Handler(logging.StreamHandler):
    """Writes to the standard error; messages that are for the end when it is closed."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(_Formatter(arguments))
        self._held: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "at_end", False):
            self._held.append(record)
        else:
            super().emit(record)

    def close(self) -> None:
        for record in self._held:
            super().emit(record)
        self._held.clear()
        super().close()


@contextmanager
def messages(arguments: argparse.Namespace) -> Iterator[None]:
    """Within the block the library's log goes to the standard error, as ``hidra: error: …``."""
    handler = _Handler(arguments)
    level, propagate = log.level, log.propagate
    log.setLevel(logging.ERROR if arguments.quiet else logging.INFO if arguments.verbose else logging.WARNING)
    log.propagate = False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
        log.setLevel(level)
        log.propagate = propagate


@contextmanager
def stoppable() -> Iterator[list[int]]:
    """Within the block SIGTERM and SIGHUP stop the command as Ctrl-C does, so that nothing half-written stays.

    Yields:
        The signals that have come so far.
    """
    received: list[int] = []
    last = -_REPEATED

    def stop(number: int, _: object) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _REPEATED:
            last = now
            received.append(number)
            raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():  # no other thread may set handlers
        signals = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
        # what the caller set, or has ignored as nohup does, is not ours to change
        before = {
            number: signal.signal(number, stop) for number in signals if signal.getsignal(number) == signal.SIG_DFL
        }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def megabytes(size: int) -> str:
    """A number of bytes for a reader."""
    return f"{size / 1e6:.1f} MB"
