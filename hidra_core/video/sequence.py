"""Sequences: frames in, enhanced frames out, in the same memory for an hour as for a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..adapter import NETWORKS
from ..enhance import PIXEL_BUDGET, DegradationVectors, Progress, check_options, enhance, estimate, padded_pixels
from ..images import check_images, to_grey
from ..names import SMOOTHING
from ..readouts import Correction
from ..vectors import SmoothOverTime

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ..backbone import Backbone
    from ..enhance import Tile
    from ..readouts import Corrector
    from ..weights import Weights

LARGEST_CHUNK = 16
"""Frames in memory at once, however small they are."""

FramesDone = Callable[[float, Tensor | None], None]
"""Called with the number of frames done, a fraction while one is in progress, and the frame just finished or None."""


def enhance_frames(
    frames: Iterable[Tensor],
    backbone: Backbone,
    weights: Weights | None,
    *,
    given: Iterable[Tensor] | None = None,
    degradation: DegradationVectors | None = None,
    smoothing: float = SMOOTHING,
    strength: float = 1.0,
    upscale: int = 1,
    tile: Tile = "auto",
    restraint: bool = True,
    corrector: bool = True,
    before_estimate: Callable[[], None] | None = None,
    progress: FramesDone | None = None,
) -> Iterator[Tensor]:
    """Enhance the frames of a sequence one after the other; only a few at a time are in memory.

    Args:
        frames: ``[H, W, C]`` in [0, 1], see :data:`~hidra_core.enhance.Images`; read when they are needed.
        backbone: the one-step backbone.
        weights: the DEM, and the adapter for this backbone; None for a backbone that a degradation was baked into.
        given: the same frames as the camera gave them, which the DEM judges, where something was done to ``frames``
            before; read in step with them. None: ``frames``.
        degradation: one vector for all frames, such as the :func:`~hidra_core.vectors.average` of some. The adapter is
            then folded into copies of the adapted layers once, which need memory and save time in every frame. By
            default the degradation of every frame is estimated and smoothed over time.
        smoothing: share of the past in a frame's degradation, see :class:`~hidra_core.vectors.SmoothOverTime`.
        strength: see :func:`~hidra_core.enhance.enhance`.
        upscale: see :func:`~hidra_core.enhance.enhance`.
        tile: see :func:`~hidra_core.enhance.enhance`.
        restraint: see :func:`~hidra_core.enhance.enhance`.
        corrector: see :func:`~hidra_core.enhance.enhance`; its corrections are smoothed over time, too.
        before_estimate: called before the DEM processes some frames, for programs that load it onto its device then.
        progress: see :data:`FramesDone`; may raise to stop.

    Returns:
        An iterator over the enhanced frames, in order: float32 on the CPU, ``upscale`` times the size.

    Raises:
        ValueError: a value out of range or weights for another backbone, at once; a frame that is not as expected, when
            its turn comes.
    """
    check_options(strength, upscale, tile)
    if degradation is not None and len(degradation) != 1:
        raise ValueError(
            f"{len(degradation)} degradation vectors for a sequence: give one, e.g. their average, or none"
        )

    corrections = _over_time(weights, smoothing) if corrector else False
    options: dict[str, Any] = {"strength": strength, "restraint": restraint, "corrector": corrections}

    def run(chunk: list[Tensor], **more: Any) -> list[Tensor]:
        return enhance(chunk, backbone, upscale=upscale, tile=tile, **options, **more)

    if weights is None:
        return _in_chunks(frames, partial(run, degradation=None), upscale, progress)
    for network in NETWORKS:
        weights.adapter.check_fits(network, backbone.lookup(network))
    if degradation is not None:
        fold: bool | AbstractContextManager[None] = False
        if backbone.has_room_to_fold(weights.adapter):
            with torch.inference_mode():
                fold = backbone.folded(weights.adapter.modulate(degradation.vectors, strength))
        return _in_chunks(frames, partial(run, degradation=degradation, fold=fold), upscale, progress)
    read = DegradationOverTime(weights, smoothing)
    judged = None if given is None else iter(given)

    def read_and_run(chunk: list[Tensor], progress: Progress) -> list[Tensor]:
        if before_estimate is not None:
            before_estimate()
        of_chunk = chunk if judged is None else list(islice(judged, len(chunk)))
        return run(chunk, degradation=read(of_chunk), progress=progress)

    return _in_chunks(frames, read_and_run, upscale, progress)


class DegradationOverTime:
    """Estimates the degradation of the frames of a sequence, chunk by chunk in order of time, and smooths it.

    Args:
        weights: the weights with the DEM.
        smoothing: see :class:`~hidra_core.vectors.arithmetic.SmoothOverTime`.
    """

    def __init__(self, weights: Weights, smoothing: float = SMOOTHING) -> None:
        self.weights = weights
        self._smooth = SmoothOverTime(smoothing)

    def __call__(self, chunk: list[Tensor]) -> DegradationVectors:
        """One vector for each of the next frames, ``[H, W, C]`` in [0, 1]."""
        return DegradationVectors(self._smooth(estimate(chunk, self.weights).vectors, chunk), self.weights)


class CorrectionOverTime:
    """Reads the corrections of the frames of a sequence in order of time, and smooths them.

    Args:
        corrector: that reads them.
        smoothing: see :class:`~hidra_core.vectors.arithmetic.SmoothOverTime`.
    """

    def __init__(self, corrector: Corrector, smoothing: float = SMOOTHING) -> None:
        self._corrector = corrector
        self._smooth = SmoothOverTime(smoothing)

    def read(self, images: Tensor) -> Correction:
        """One for each of the next frames, ``[B, 1, H, W]`` in [0, 1]."""
        frames = [image.movedim(0, -1) for image in images]
        return Correction.unpacked(self._smooth(self._corrector.read(images).packed(), frames))


def _over_time(weights: Weights | None, smoothing: float) -> bool | CorrectionOverTime:
    """What reads the corrections of a sequence; False where nothing can."""
    if weights is None or weights.corrector is None:
        return False
    return CorrectionOverTime(weights.corrector, smoothing)


def _in_chunks(
    frames: Iterable[Tensor],
    run: Callable[..., list[Tensor]],
    upscale: int,
    progress: FramesDone | None,
) -> Iterator[Tensor]:
    """Pass a sequence through ``run(chunk, progress=…)`` a few frames at a time, as many as the networks can hold."""
    finished = 0
    for chunk in _chunks(frames, upscale):

        def done(share: float, frame: Tensor | None, first: int = finished, count: int = len(chunk)) -> None:
            if progress is not None:
                progress(first + share * count, frame)

        results = run(check_images(chunk), progress=done)
        finished += len(chunk)
        yield from results


def _chunks(frames: Iterable[Tensor], upscale: int) -> Iterator[list[Tensor]]:
    chunk: list[Tensor] = []
    for frame in frames:
        chunk.append(frame)
        height, width = chunk[0].shape[:2]
        pixels = padded_pixels(height, width, upscale)
        if len(chunk) >= min(LARGEST_CHUNK, PIXEL_BUDGET // max(pixels, 1)):
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class Flicker:
    """How much a sequence flickers: the mean absolute difference of neighbouring frames, in grey levels of 0-255.

    In a static scene nothing should change, and the number is flicker alone: of the noise, of the grey levels, of the
    enhancement. Motion is counted too, equally before and after enhancement.
    """

    def __init__(self) -> None:
        self.frames = 0
        self._sum = 0.0
        self._previous: Tensor | None = None

    def add(self, frame: Tensor) -> None:
        """Add the next frame, ``[H, W, C]`` in [0, 1], of the same size as those before."""
        grey = to_grey(frame[None])[0, 0].float()
        if self._previous is not None:
            self._sum += (grey - self._previous).abs().mean().item() * 255
        self.frames += 1
        self._previous = grey

    def watching(self, frames: Iterable[Tensor]) -> Iterator[Tensor]:
        """Add frames and pass them on."""
        for frame in frames:
            self.add(frame)
            yield frame

    @property
    def value(self) -> float:
        """The mean difference so far; 0 for fewer than two frames."""
        return self._sum / max(self.frames - 1, 1)


def flicker(frames: Iterable[Tensor]) -> float:
    """The value of :class:`Flicker` for a whole sequence of ``[H, W, C]`` frames in [0, 1]."""
    measure = Flicker()
    for _ in measure.watching(frames):
        pass
    return measure.value
