"""What the library says while a node runs: its warnings are collected, and its errors speak of the node's inputs."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ... import hidra_core
from .words import in_words_of_nodes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ...hidra_core.thermal import ThermalImage

_LIBRARY = logging.getLogger(hidra_core.__name__)


class _Collector(logging.Handler):
    """Keeps the warnings that the thread logs in which it was made."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.messages.append(in_words_of_nodes(record.getMessage()))


@contextmanager
def noting() -> Iterator[list[str]]:
    """Within the block, collect the library's warnings, and let its errors speak of the node's inputs.

    Yields:
        the warnings so far, in the words of the nodes.

    Raises:
        ValueError: as raised in the block, in the words of the nodes.
    """
    collector = _Collector()
    _LIBRARY.addHandler(collector)
    try:
        yield collector.messages
    except ValueError as error:
        message = in_words_of_nodes(str(error))
        if message == str(error):
            raise
        raise ValueError(message) from error
    finally:
        _LIBRARY.removeHandler(collector)


def beyond(warnings: Iterable[str], image: ThermalImage) -> list[str]:
    """The warnings that are not among those of the image itself, without the name of its file.

    Args:
        warnings: from :func:`noting`.
        image: what was read.
    """
    own = {in_words_of_nodes(words) for words in image.warnings}
    rest = (words.removeprefix(f"{image.path}: ") for words in warnings)
    return [words for words in dict.fromkeys(rest) if words not in own]
