"""Files on their way: some are read and written in threads while the networks run for another in the main thread.

The networks stay in the main thread, so that Ctrl-C stops them at once, one copy of them serves, and each result is
that of one file after the other, bit for bit. Only pages that share a batch may differ in their last digits.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..checkpoints import at_checkpoints
from .ahead import ahead
from .console import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    from ..enhance import Progress
    from ..sources.conveyor import Conveyor, Returned, Together

Result = TypeVar("Result")

AUTO = "auto"

LARGEST_AHEAD = 64 << 20
"""Bytes of files that are on their way at once, unless a single file is larger."""

_MOMENT = 0.2  # seconds after which a wait is looked after, since some systems cannot interrupt it


def add_pipeline(group: argparse._ActionsContainer) -> None:
    """Add the options."""
    group.add_argument(
        "--jobs",
        metavar="auto|N",
        type=_count,
        default=AUTO,
        help="files that are read, enhanced or written at once, so that the networks need not wait for disks and "
        "compression; 1: one file after the other. The results are the same (default: auto: 3, on a GPU more)",
    )
    group.add_argument(
        "--batch",
        metavar="auto|N",
        type=_count,
        default=AUTO,
        help="pictures of one size that the networks enhance together, at most one megapixel in all. In batches the "
        "results may differ from those of one by one in their last digits (default: auto: 1 on processors, 8 on a GPU)",
    )


def _count(text: str) -> int | str:
    """``auto`` or a number from 1 up."""
    if text == AUTO:
        return text
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected auto or a whole number from 1 up, got '{text}'")
    return int(text)


def pipeline_for(arguments: argparse.Namespace, files: list[Path], device: str) -> Pipeline:
    """The pipeline that the options ask for.

    Args:
        arguments: the parsed command line.
        files: to enhance.
        device: the type of the device on which the networks run, ``cpu`` too where none run.
    """
    from ..video import is_clip

    on_cpu = device == "cpu"
    batch = arguments.batch if arguments.batch != AUTO else 1 if on_cpu else 8
    ahead = 0 if on_cpu else min(2 * batch, os.cpu_count() or 1)
    count = arguments.jobs if arguments.jobs != AUTO else max(3, batch, ahead)  # a batch is of files on their way
    alone = len(files) == 1 and not is_clip(files[0])  # nothing to do beside it
    return Pipeline(1 if alone else count, batch)


@dataclass(frozen=True)
class Task(Generic[Result]):
    """The work on one file.

    Attributes:
        work: does it; where networks run it asks the conveyor.
        size: of the file in bytes.
    """

    work: Callable[[Conveyor], Result]
    size: int = 0


class _File:
    """A file on its way. Messages about it are held back until it is the first that is not finished.

    Args:
        number: of its task.

    Attributes:
        has_run: whether networks have run for it.
        outcome: of its task.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.has_run = False
        self.outcome: Future[Any] = Future()
        self._records: list[logging.LogRecord] = []
        self._lock = RLock()
        self._passes = False

    def let_pass(self, record: logging.LogRecord) -> bool:
        """Whether a message may be written now; it is held if not."""
        with self._lock:
            if not self._passes:
                self._records.append(record)
            return self._passes

    def write(self) -> None:
        """Write what was held, and let all else pass."""
        with self._lock:
            self._passes = True
            for record in self._records:
                log.handle(record)
            self._records.clear()


_file: ContextVar[_File | None] = ContextVar("file", default=None)
"""That a thread works on; None in the main thread."""


@dataclass(eq=False)
class _Asked:
    """Something that is to be done where the networks are: a function to call, or a page to enhance."""

    file: _File
    function: Callable[[], Any] | None = None
    together: Together | None = None
    page: Any = None
    judged: Any = None
    progress: Progress | None = None
    answer: Future = field(default_factory=Future)

    def fits(self, other: _Asked) -> bool:
        """Whether both are pages that may share a batch."""
        return self.function is None and other.function is None and self.page.shape == other.page.shape

    def answer_with(self, function: Callable[[], Any]) -> None:
        """Answer with what the function returns or the error that it raises; interrupts pass through."""
        try:
            result = function()
        except Exception as error:  # noqa: BLE001  whoever asked is told
            self.answer.set_exception(error)
        else:
            self.answer.set_result(result)


class _InOrder(logging.Filter):
    """Lets messages about files through in the order of the files."""

    def filter(self, record: logging.LogRecord) -> bool:
        file = _file.get()
        return file is None or file.let_pass(record)


class Pipeline:
    """Works on several files at once; a :class:`~hidra_core.sources.conveyor.Conveyor` for each of them.

    Args:
        files: that are on their way at once. With 1 everything is done in one thread, one file after the other.
        batch: pages of different files and of one size that the networks enhance together at most.
    """

    def __init__(self, files: int, batch: int = 1) -> None:
        self._files = files
        self._batch = batch
        self._asked: SimpleQueue[_Asked | None] = SimpleQueue()
        self._waiting: list[_Asked] = []
        self._running: deque[_File] = deque()
        self._lock = Lock()
        self._is_stopped = False
        self.first = 0
        """Number of the first task that is not finished."""

    def run(self, tasks: Sequence[Task[Result]], finished: Callable[[int, Future[Result]], bool]) -> None:
        """Do tasks; returns when all are done.

        Args:
            tasks: in the order in which they are begun.
            finished: called in this order, in the calling thread, with the number of a task and its outcome; returns
                whether to go on. Messages that the task logged are written just before.

        Raises:
            KeyboardInterrupt: whoever waits for this was interrupted. Tasks that were nearly done are finished, all
                others end and remove what they have begun.
        """
        if self._files == 1:
            self._run_directly(tasks, finished)
            return
        in_order, handlers = _InOrder(), list(log.handlers)
        for handler in handlers:
            handler.addFilter(in_order)
        self._running.clear()
        self.first = 0
        pool = ThreadPoolExecutor(self._files, "hidra")
        try:
            while self.first < len(tasks):
                while self._has_room(tasks):
                    file = _File(self.first + len(self._running))
                    file.outcome = pool.submit(self._begin, tasks[file.number], file)
                    file.outcome.add_done_callback(lambda _: self._asked.put(None))
                    self._running.append(file)
                file = self._running[0]
                file.write()
                while not file.outcome.done():
                    self._serve()
                if isinstance(file.outcome.exception(), KeyboardInterrupt):
                    raise KeyboardInterrupt
                self._running.popleft()
                goes_on = finished(self.first, file.outcome)
                self.first += 1
                if not goes_on:
                    break
        finally:
            self._stop(pool)
            for file in self._running:
                if not file.outcome.cancelled() and file.outcome.exception() is None:
                    file.write()
                    finished(file.number, file.outcome)
            for handler in handlers:
                handler.removeFilter(in_order)

    def call(self, function: Callable[[], Returned]) -> Returned:
        """See :meth:`~hidra_core.sources.conveyor.Conveyor.call`."""
        return self._answer(function)

    def page(self, together: Together, page: Tensor, judged: Tensor, progress: Progress | None) -> Tensor:
        """See :meth:`~hidra_core.sources.conveyor.Conveyor.page`."""
        return self._answer(None, together, page, judged, progress)

    def ahead(self, items: Iterator[Tensor]) -> Iterator[Tensor]:
        """See :meth:`~hidra_core.sources.conveyor.Conveyor.ahead`."""
        return ahead(items)

    def _run_directly(self, tasks: Sequence[Task[Result]], finished: Callable[[int, Future[Result]], bool]) -> None:
        from ..sources.conveyor import DIRECT

        for number, task in enumerate(tasks):
            self.first, outcome = number, Future()
            try:
                outcome.set_result(task.work(DIRECT))
            except Exception as error:  # noqa: BLE001  who is told of the outcome judges it
                outcome.set_exception(error)
            if not finished(number, outcome):
                return

    def _has_room(self, tasks: Sequence[Task[Any]]) -> bool:
        """Whether one more file may be on its way."""
        number = self.first + len(self._running)
        if number >= len(tasks) or len(self._running) >= self._files:
            return False
        return not self._running or sum(task.size for task in tasks[self.first : number + 1]) <= LARGEST_AHEAD

    def _begin(self, task: Task[Result], file: _File) -> Result:
        _file.set(file)
        return task.work(self)

    def _answer(self, *what: Any) -> Any:
        file = _file.get()
        assert file is not None  # only threads of a task ask
        asked = _Asked(file, *what)
        with self._lock:
            if self._is_stopped:
                raise KeyboardInterrupt
            self._asked.put(asked)
        return asked.answer.result()

    def _serve(self) -> None:
        """Wait until something is asked for or a task is done, and do one thing of what is asked for."""
        self._take(wait=False)
        served = self._next()
        if not served:
            self._take(wait=True)
            served = self._next()
        if not served:
            return
        for asked in served:  # whoever waits is told even if this is interrupted
            self._waiting.remove(asked)
            asked.file.has_run = True
        try:
            _do(served)
        finally:
            for asked in served:
                if not asked.answer.done():
                    asked.answer.set_exception(KeyboardInterrupt())

    def _take(self, *, wait: bool) -> None:
        """Take in what is asked for until now, or wait a moment for something to happen."""
        while True:
            try:
                asked = self._asked.get(block=wait, timeout=_MOMENT)
            except Empty:
                return
            if asked is not None:
                self._waiting.append(asked)
            wait = False

    def _next(self) -> list[_Asked]:
        """What is to be done next: the networks begin with files in their order. Several pages make a batch."""
        served: list[_Asked] = []
        for asked in sorted(self._waiting, key=lambda one: one.file.number):
            files = [one.file for one in served]
            earlier = [file for file in self._running if file.number < asked.file.number]
            if not all(file.has_run or file.outcome.done() or file in files for file in earlier):
                break
            if not served or (asked.fits(served[0]) and len(served) < self._batch):
                served.append(asked)
        return served

    def _stop(self, pool: ThreadPoolExecutor) -> None:
        """End all threads: those that wait for the networks at once, others at the next step of what they do."""

        def interrupt() -> None:
            if _file.get() is not None:
                raise KeyboardInterrupt

        with self._lock:
            self._is_stopped = True
        at_checkpoints(interrupt)
        try:
            self._take(wait=False)
            for asked in self._waiting:
                asked.answer.set_exception(KeyboardInterrupt())
            self._waiting.clear()
            pool.shutdown(cancel_futures=True)
        finally:
            at_checkpoints(None)


def _do(served: list[_Asked]) -> None:
    """Do what is asked for: one thing, or pages in a batch."""
    first = served[0]
    if first.function is not None:
        first.answer_with(first.function)
        return
    together = first.together
    assert together is not None
    if len(served) > 1:
        try:
            results = together([one.page for one in served], [one.judged for one in served], first.progress)
        except Exception:  # noqa: BLE001  one of them may be at fault: each is enhanced by itself
            log.debug("%d pages could not be enhanced together", len(served), exc_info=True)
        else:
            for one, result in zip(served, results, strict=True):
                one.answer.set_result(result)
            return
    for one in served:
        one.answer_with(lambda one=one: together([one.page], [one.judged], one.progress)[0])
