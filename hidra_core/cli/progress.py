"""How far a command is: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from .console import log

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from tqdm import tqdm

_SECONDS = 30.0
"""Time after which a line says how far a long file is."""


class Progress(Protocol):
    """Shows how far a command is."""

    def begin(self, text: str) -> None:
        """Name what is worked on now."""
        ...

    def advance(self, position: float) -> None:
        """Show the number of files that are done; its fraction is the share of the current one."""
        ...

    def done(self) -> None:
        """Say that the current file is done and has not failed."""
        ...


@contextmanager
def progress(total: int, arguments: argparse.Namespace) -> Iterator[Progress]:
    """Progress over ``total`` files, on the standard error: a bar on a terminal, else lines; nothing with ``--quiet``.

    Messages appear above the bar.
    """
    if arguments.quiet or total == 0:
        yield _Nothing()
    elif not sys.stderr.isatty():
        yield _Lines(total)
    else:
        from tqdm import tqdm
        from tqdm.contrib.logging import logging_redirect_tqdm

        with (
            tqdm(total=total, bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}") as bar,
            logging_redirect_tqdm([log]),
        ):
            yield _Bar(bar)


class _Nothing:
    def begin(self, text: str) -> None:
        pass

    def advance(self, position: float) -> None:
        pass

    def done(self) -> None:
        pass


class _Bar:
    def __init__(self, bar: tqdm) -> None:
        self._bar = bar

    def begin(self, text: str) -> None:
        self._bar.set_description_str(" ".join(text.split()))

    def advance(self, position: float) -> None:
        self._bar.update(position - self._bar.n)

    def done(self) -> None:
        pass  # the bar moves by advance


class _Lines:
    """A line for each of several files when it is done, and now and then one while a long file is worked on."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._text = ""
        self._begun = self._written = time.monotonic()

    def begin(self, text: str) -> None:
        self._text = " ".join(text.split())
        self._begun = time.monotonic()

    def advance(self, position: float) -> None:
        if time.monotonic() - self._written >= _SECONDS:
            self._write(f"{self._text}: {100 * position / self._total:.1f} % of all")

    def done(self) -> None:
        if self._total > 1:
            self._write(f"{self._text}: {time.monotonic() - self._begun:.1f} s")

    def _write(self, line: str) -> None:
        self._written = time.monotonic()
        with suppress(OSError):  # the work goes on when the reader of a pipe has ended
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
