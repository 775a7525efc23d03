"""Long computations ask whether they shall go on, and stop where they are told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from hidra_core import enhance, estimate
from hidra_core.checkpoints import at_checkpoints, checkpoint
from hidra_core.evaluation.quality_report import measure_all
from hidra_core.images import palettes
from hidra_core.sensor import undo_sensor
from hidra_core.thermal.anchor import anchor
from hidra_core.trust import compare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLANE = np.random.default_rng(0).random((64, 80)).astype(np.float32)
IMAGE = torch.from_numpy(PLANE)[..., None]

LONG: dict[str, tuple[Callable[[], object], int]] = {
    "trust": (lambda: compare(IMAGE, IMAGE * 0.9), 20),
    "metrics": (lambda: measure_all(IMAGE[None], IMAGE[None]), 10),
    "radiometric": (lambda: anchor(PLANE * 1000.0, PLANE * 900.0, with_shading=True), 40),
    "palette": (lambda: palettes.invert(palettes.colour(PLANE, "ironbow"), "ironbow"), 1),
    "sensor": (lambda: undo_sensor(PLANE * 255), 10),
}


class StoppedError(Exception):
    pass


@pytest.fixture
def asked() -> Iterator[list[int]]:
    """A list that grows by one number at each checkpoint."""
    calls: list[int] = []
    at_checkpoints(lambda: calls.append(len(calls)))
    yield calls
    at_checkpoints(None)


@pytest.mark.parametrize("name", LONG)
def test_what_takes_long_asks_often(asked: list[int], name: str) -> None:
    run, least = LONG[name]
    run()
    assert len(asked) >= least


def test_networks_ask_at_every_layer_and_nothing_is_left(asked: list[int], tiny: tuple) -> None:
    backbone, weights = tiny
    vectors = estimate(IMAGE, weights)
    after_estimate = len(asked)
    assert after_estimate > 20
    enhance(IMAGE, backbone, vectors)
    assert len(asked) > after_estimate + 100
    before = len(asked)
    backbone.unet.conv_in(torch.zeros(1, backbone.unet.conv_in.in_channels, 8, 8))
    assert len(asked) == before


def test_an_exception_at_a_checkpoint_stops(tiny: tuple) -> None:
    backbone, weights = tiny
    vectors = estimate(IMAGE, weights)
    left = iter(range(30))

    def ask() -> None:
        if next(left, None) is None:
            raise StoppedError

    at_checkpoints(ask)
    try:
        with pytest.raises(StoppedError):
            enhance(IMAGE, backbone, vectors)
    finally:
        at_checkpoints(None)
    checkpoint()
    assert torch.isfinite(enhance(IMAGE, backbone, vectors)).all()
