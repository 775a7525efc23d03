"""Sequences: frames in, enhanced frames out, in as little memory for an hour as for a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ..adapter import NETWORKS, Network, substituted
from ..backbone import SIZE_MULTIPLE, Backbone
from ..enhance import PIXEL_BUDGET, DegradationVectors, Progress, Runner, check_options, estimate
from ..images import check_images, to_grey
from ..vectors import SMOOTHING, SmoothOverTime

if TYPE_CHECKING:
    from ..weights import Weights

LARGEST_CHUNK = 16
"""Frames in memory at once, however small they are."""

FramesDone = Callable[[float, Tensor | None], None]
"""Called with the number of frames done, fractions within a tiled one, and the frame just finished or None."""


def enhance_frames(
    frames: Iterable[Tensor],
    backbone: Backbone,
    weights: Weights,
    *,
    degradation: DegradationVectors | None = None,
    smoothing: float = SMOOTHING,
    strength: float = 1.0,
    upscale: int = 1,
    tile: int | Literal["auto"] | None = "auto",
    restraint: bool = True,
    progress: FramesDone | None = None,
) -> Iterator[Tensor]:
    """Enhance the frames of a sequence one after the other; a few at a time are in memory.

    Args:
        frames: ``[H, W, C]`` in [0, 1], see :data:`~hidra_core.enhance.Images`; read as they are needed.
        backbone: what to run on.
        weights: what the backbone is adapted with.
        degradation: one vector for all frames, such as the :func:`~hidra_core.vectors.arithmetic.average` of some. The adapter is
            then folded into copies of the adapted layers once, which takes memory for them and saves its time in every
            frame. Left out, the degradation is read off every frame and smoothed over time.
        smoothing: share of the past in a frame's degradation, see :class:`~hidra_core.vectors.arithmetic.SmoothOverTime`.
        strength, upscale, tile, restraint: see :func:`~hidra_core.enhance.enhance`.
        progress: see :data:`FramesDone`; may raise to stop.

    Returns:
        An iterator over the enhanced frames, in order: float32 on the CPU, ``upscale`` times the size.

    Raises:
        ValueError: a value out of range or weights for another backbone, at once; a frame that is not as expected when
            it is reached.
    """
    check_options(strength, upscale, tile)
    if degradation is not None and len(degradation) != 1:
        raise ValueError(
            f"{len(degradation)} degradation vectors for a sequence: give one, e.g. their average, or none"
        )
    for network in NETWORKS:
        weights.adapter.check_fits(network, backbone.lookup(network))
    like = next(weights.adapter.heads.parameters())

    if degradation is None:
        read = DegradationOverTime(weights, smoothing)

        def run(chunk: list[Tensor], done: Progress) -> list[Tensor]:
            found = read(chunk)
            modulated = weights.adapter.modulate(found.vectors.to(like), strength)
            restrained_by = found if restraint else None
            runner = Runner(backbone, weights.text_embedding, modulated, upscale, tile, done, restrained_by)
            return runner.run(chunk)
    else:
        with torch.inference_mode():
            modulated = weights.adapter.modulate(degradation.vectors.to(like), strength)
        folded: dict[Network, list[Any]] = {network: [] for network in NETWORKS}
        if strength != 0:
            folded = {n: list(modulated.folded_parameters(n, backbone.lookup(n))) for n in NETWORKS}

        def run(chunk: list[Tensor], done: Progress) -> list[Tensor]:
            with ExitStack() as stack:
                for network, parameters in folded.items():
                    stack.enter_context(substituted(parameters, backbone.lookup(network)))
                restrained_by = degradation if restraint else None
                runner = Runner(backbone, weights.text_embedding, None, upscale, tile, done, restrained_by)
                return runner.run(chunk)

    return in_chunks(frames, run, upscale=upscale, progress=progress)


class DegradationOverTime:
    """Reads the degradation off the frames of a sequence, chunk by chunk in order of time, and smooths it.

    Args:
        weights: whose DEM reads.
        smoothing: see :class:`~hidra_core.vectors.arithmetic.SmoothOverTime`.
    """

    def __init__(self, weights: Weights, smoothing: float = SMOOTHING) -> None:
        self.weights = weights
        self._smooth = SmoothOverTime(smoothing)

    def __call__(self, chunk: list[Tensor]) -> DegradationVectors:
        """One vector for each of the next frames, ``[H, W, C]`` in [0, 1]."""
        return DegradationVectors(self._smooth(estimate(chunk, self.weights).vectors, chunk), self.weights)


def in_chunks(
    frames: Iterable[Tensor],
    run: Callable[[list[Tensor], Progress], list[Tensor]],
    *,
    upscale: int = 1,
    progress: FramesDone | None = None,
) -> Iterator[Tensor]:
    """Pass a sequence through a function a few frames at a time: as many as the networks take at once.

    Args:
        frames: ``[H, W, C]`` in [0, 1].
        run: gives a result for each frame of a chunk; called with the chunk and what reports its progress.
        upscale: factor by which ``run`` enlarges the frames first.
        progress: see :data:`FramesDone`.

    Yields:
        the results, one for each frame, in order.
    """
    finished = 0
    for chunk in _chunks(frames, upscale):

        def done(share: float, picture: Tensor | None, first: int = finished, count: int = len(chunk)) -> None:
            if progress is not None:
                progress(first + share * count, picture)

        with torch.inference_mode():
            results = run(check_images(chunk), done)
        finished += len(chunk)
        yield from results


def _chunks(frames: Iterable[Tensor], upscale: int) -> Iterator[list[Tensor]]:
    chunk: list[Tensor] = []
    for frame in frames:
        chunk.append(frame)
        height, width = (-(-side * upscale // SIZE_MULTIPLE) * SIZE_MULTIPLE for side in chunk[0].shape[:2])
        if len(chunk) >= min(LARGEST_CHUNK, PIXEL_BUDGET // max(height * width, 1)):
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class Flicker:
    """How much a sequence wavers: the mean absolute difference of neighbouring frames, in grey levels of 0-255.

    Over a static scene nothing should change, and all that is measured is wavering: of the noise, of the levels, of
    the enhancement. Where things move, their motion is counted too, the same before and after enhancement.
    """

    def __init__(self) -> None:
        self.frames = 0
        self._sum = 0.0
        self._previous: Tensor | None = None

    def add(self, frame: Tensor) -> None:
        """The next frame, ``[H, W, C]`` in [0, 1], of the same size as those before."""
        grey = to_grey(frame[None])[0, 0].float()
        if self._previous is not None:
            self._sum += (grey - self._previous).abs().mean().item() * 255
        self.frames += 1
        self._previous = grey

    def watching(self, frames: Iterable[Tensor]) -> Iterator[Tensor]:
        """Hand frames on and count them in."""
        for frame in frames:
            self.add(frame)
            yield frame

    @property
    def value(self) -> float:
        """The number so far; 0 for fewer than two frames."""
        return self._sum / max(self.frames - 1, 1)


def flicker(frames: Iterable[Tensor]) -> float:
    """The number of :class:`Flicker` for a whole sequence of ``[H, W, C]`` frames in [0, 1]."""
    measure = Flicker()
    for _ in measure.watching(frames):
        pass
    return measure.value
