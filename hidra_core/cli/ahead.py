"""Frames made ahead in a thread of their own, a bounded number of them."""

from __future__ import annotations

from collections import deque
from contextvars import copy_context
from threading import Condition, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

_FRAMES, _NUMBERS = 16, 4 << 20  # that are made ahead at most
_MOMENT = 0.2  # seconds after which a wait is looked after, since some systems cannot interrupt it


def ahead(items: Iterator[Tensor]) -> Iterator[Tensor]:
    """Items made in a thread of their own before they are asked for, at most 16 of them, fewer of large ones.

    The thread has ended, and ``items`` is closed, when the generator is exhausted or closed.

    Args:
        items: of which only this thread takes any.
    """
    queue = _Queue()
    thread = Thread(target=copy_context().run, args=(queue.fill, items), daemon=True)
    thread.start()
    try:
        yield from queue.items()
    finally:
        queue.close()
        thread.join()


class _Queue:
    """A bounded queue of tensors between two threads."""

    def __init__(self) -> None:
        self._items: deque[Tensor] = deque()
        self._changed = Condition()
        self._is_closed = self._is_filled = False
        self._error: BaseException | None = None

    def fill(self, items: Iterator[Tensor]) -> None:
        """Put in all items, until it is closed."""
        try:
            for item in items:
                with self._changed:
                    while not self._is_closed and not self._has_room(item.numel()):
                        self._changed.wait()
                    if self._is_closed:
                        break
                    self._items.append(item)
                    self._changed.notify_all()
            close = getattr(items, "close", None)
            if close is not None:
                close()
        except BaseException as error:  # noqa: BLE001  raised again where the items are taken
            self._error = error
        finally:
            with self._changed:
                self._is_filled = True
                self._changed.notify_all()

    def items(self) -> Iterator[Tensor]:
        """Take out all items; raises the error that stopped the filling after those before it."""
        while True:
            with self._changed:
                while not self._items and not self._is_filled:
                    self._changed.wait(_MOMENT)
                if not self._items:
                    break
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """No more items are wanted."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _has_room(self, size: int) -> bool:
        return not self._items or (
            len(self._items) < _FRAMES and size + sum(item.numel() for item in self._items) <= _NUMBERS
        )
