"""Where the networks run while files are enhanced: at once, or in turn for several files that are on their way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..enhance import Progress

Returned = TypeVar("Returned")

Together = Callable[[list[Tensor], list[Tensor], "Progress | None"], list[Tensor]]
"""Enhances pages ``[H, W, C]`` by what the DEM reads in as many others, the same ones before the sensor stage. It does
the same for all files that are on one conveyor."""


class Conveyor(Protocol):
    """Runs the networks for files that are read and written elsewhere."""

    def call(self, function: Callable[[], Returned]) -> Returned:
        """What a function that runs networks returns, or the error that it raises."""
        ...

    def page(self, together: Together, page: Tensor, judged: Tensor, progress: Progress | None) -> Tensor:
        """A page enhanced with its own degradation, perhaps in one batch with pages of other files."""
        ...

    def ahead(self, items: Iterator[Tensor]) -> Iterator[Tensor]:
        """The same items in their order, perhaps made before they are asked for; a generator that is to be closed."""
        ...


class Direct:
    """The conveyor for one file at a time: everything is done when it is asked for."""

    def call(self, function: Callable[[], Returned]) -> Returned:
        """See :meth:`Conveyor.call`."""
        return function()

    def page(self, together: Together, page: Tensor, judged: Tensor, progress: Progress | None) -> Tensor:
        """See :meth:`Conveyor.page`."""
        return together([page], [judged], progress)[0]

    def ahead(self, items: Iterator[Tensor]) -> Iterator[Tensor]:
        """See :meth:`Conveyor.ahead`."""
        return items


DIRECT = Direct()
