"""Enhancing a whole file, as ``hidra enhance`` does for each of its inputs."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch

from ..enhance import PIXEL_BUDGET, enhance, estimate
from ..images.blend import untouched
from ..names import CLIP_SAMPLES, SMOOTHING
from ..tiling import SharedNormalisation
from ..vectors import average
from ..video import enhance_frames
from .base import Beside, Change, Source
from .clip import ClipSource
from .conveyor import DIRECT
from .large import LargeCountsSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from ..backbone import Backbone
    from ..enhance import DegradationVectors, Progress, Tile
    from ..export import Engine
    from ..weights import Weights
    from .conveyor import Conveyor


PART_SAMPLES = 32
"""Parts of a large page whose degradation is averaged for the whole."""


@dataclass(frozen=True)
class Running:
    """How the networks run.

    Attributes:
        strength: see :func:`~hidra_core.enhance.enhance`.
        upscale: see :func:`~hidra_core.enhance.enhance`.
        tile: see :func:`~hidra_core.enhance.enhance`.
        restraint: see :func:`~hidra_core.enhance.enhance`.
        corrector: see :func:`~hidra_core.enhance.enhance`. Not for large pages, which are stitched of many frames as a
            rule, and not in radiometric mode, where the temperatures of the input stand.
        degradation_per: for clips: ``"frame"`` estimates the degradation of every frame and smooths it over time;
            ``"clip"`` uses one for the whole clip, the average over 16 frames spread over it.
        smoothing: see :func:`~hidra_core.video.enhance_frames`.
        networks: whether they run at all; without them a result is what the sensor stage makes of a file.
        engine: an exported graph that runs in the place of backbone and weights, for all but clips and large pages;
            what it was exported with stands, whatever is said here.
    """

    strength: float = 1.0
    upscale: int = 1
    tile: Tile = "auto"
    restraint: bool = True
    corrector: bool = True
    degradation_per: Literal["frame", "clip"] = "frame"
    smoothing: float = SMOOTHING
    networks: bool = True
    engine: Engine | None = None


def enhance_file(
    source: Source,
    output: Path,
    backbone: Backbone | None,
    weights: Weights | None,
    *,
    running: Running | None = None,
    change: Change | None = None,
    beside: Beside | None = None,
    progress: Progress | None = None,
    conveyor: Conveyor = DIRECT,
) -> None:
    """Enhance a file and write the result to another.

    Args:
        source: from :func:`~hidra_core.sources.open_source`.
        output: the file to write, see :meth:`Source.rewrite`.
        backbone: the one-step backbone; None serves where none of them runs, as with a blend of 0.
        weights: the DEM, and the adapter for this backbone; None as there.
        running: how the networks run.
        change: how much of the change the result gets.
        beside: further files to write.
        progress: called with the share of the file that is done; may raise to stop.
        conveyor: where the networks run, for programs that work on several files at once.

    Raises:
        ValueError: options out of range, weights for another backbone, or what :meth:`Source.rewrite` refuses.
        OSError: a file cannot be written.
    """
    running, change = running or Running(), change or Change()
    if change.radiometric:
        running = replace(running, corrector=False)

    def enhanced(pages: Iterator[Tensor]) -> Iterator[Tensor]:
        if change.blend == 0 or not running.networks:  # of the networks' change nothing is applied
            return (untouched([page], running.upscale)[0] for page in pages)
        if running.engine is not None:
            return _by_engine(source, pages, running.engine, progress, conveyor)
        if backbone is None or weights is None:
            raise ValueError("a backbone and weights are needed, unless blend is 0 or no networks run")
        if isinstance(source, ClipSource):
            return _frames(source, pages, backbone, weights, running, progress, conveyor)
        if isinstance(source, LargeCountsSource):
            return _parts(source, pages, backbone, weights, running, progress, conveyor)
        return _pages(source, pages, backbone, weights, running, progress, conveyor)

    if beside is not None and backbone is not None:
        beside = replace(beside, decoder=backbone.decoder_name)
    source.rewrite(output, enhanced, change, beside)


def _by_engine(
    source: Source, pages: Iterator[Tensor], engine: Engine, progress: Progress | None, conveyor: Conveyor
) -> Iterator[Tensor]:
    """Enhance each page by an exported graph."""
    if isinstance(source, ClipSource | LargeCountsSource):
        what = "clips" if isinstance(source, ClipSource) else "pages so large that they are enhanced part by part"
        raise ValueError(f"{source.path}: exported graphs are for images, not for {what}: use the engine torch")
    total = source.page_count or 1
    given = None if source.findings is None else source.given()
    for index, page in enumerate(pages):
        judged = None if given is None else next(given)
        enhanced = conveyor.call(partial(engine.enhance, page, judged))
        if progress is not None:
            progress((index + 1) / total, enhanced)
        yield enhanced


def _pages(
    source: Source,
    pages: Iterator[Tensor],
    backbone: Backbone,
    weights: Weights,
    running: Running,
    progress: Progress | None,
    conveyor: Conveyor,
) -> Iterator[Tensor]:
    """Enhance each page with its own degradation, which is that of the page as the camera gave it."""
    total = source.page_count or 1
    given = None if source.findings is None else source.given()

    def together(pages: list[Tensor], judged: list[Tensor], done: Progress | None) -> list[Tensor]:
        return enhance(
            pages,
            backbone,
            estimate(judged, weights),
            strength=running.strength,
            upscale=running.upscale,
            tile=running.tile,
            restraint=running.restraint,
            corrector=running.corrector,
            progress=done,
        )

    for index, page in enumerate(pages):

        def done(share: float, image: Tensor | None, index: int = index) -> None:
            if progress is not None:
                progress((index + share) / total, image)

        yield conveyor.page(together, page, page if given is None else next(given), done)


def _parts(
    source: LargeCountsSource,
    parts: Iterator[Tensor],
    backbone: Backbone,
    weights: Weights,
    running: Running,
    progress: Progress | None,
    conveyor: Conveyor,
) -> Iterator[Tensor]:
    """Enhance the parts of large pages with one degradation and one normalisation, so that they agree."""
    # one tall image: the DEM sees large images in windows of this size and averages what it reads in them
    samples, whole = torch.cat(source.samples(PART_SAMPLES)), source.overview(PIXEL_BUDGET)
    shared = SharedNormalisation(backbone.modules())
    options = {"strength": running.strength, "restraint": running.restraint, "corrector": False}

    def looked_at() -> DegradationVectors:
        degradation = estimate([samples], weights)
        with shared.recording():
            enhance([whole], backbone, degradation, tile=None, **options)
        return degradation

    def enhanced(part: Tensor) -> Tensor:
        with shared.imposed():
            return enhance([part], backbone, degradation, upscale=running.upscale, tile=None, **options)[0]

    degradation = conveyor.call(looked_at)
    total = source.page_count or 1
    for index, part in enumerate(parts):
        result = conveyor.call(partial(enhanced, part))
        if progress is not None:
            progress(min(1.0, (index + 1) / total), None)
        yield result


def _frames(
    source: Source,
    pages: Iterator[Tensor],
    backbone: Backbone,
    weights: Weights,
    running: Running,
    progress: Progress | None,
    conveyor: Conveyor,
) -> Iterator[Tensor]:
    """Enhance the frames of a clip, with a degradation that is smoothed over time or one for all frames."""
    samples = source.samples(CLIP_SAMPLES) if running.degradation_per == "clip" else None
    read = conveyor.ahead(pages)
    given = None if source.findings is None else conveyor.ahead(source.given())

    def done(frames: float, frame: Tensor | None) -> None:
        if progress is not None:
            progress(min(frames / source.page_count, 1.0) if source.page_count else 0.0, frame)

    def begun() -> Iterator[Tensor]:
        return enhance_frames(
            read,
            backbone,
            weights,
            given=given,
            degradation=None if samples is None else average(estimate(samples, weights)),
            smoothing=running.smoothing,
            strength=running.strength,
            upscale=running.upscale,
            tile=running.tile,
            restraint=running.restraint,
            corrector=running.corrector,
            progress=done,
        )

    def enhanced() -> Iterator[Tensor]:
        try:
            frames = conveyor.call(begun)
            while (frame := conveyor.call(partial(next, frames, None))) is not None:
                yield frame
        finally:  # whoever reads a clip ahead must have ended before the clip is closed
            for ahead in (read, given):
                if isinstance(ahead, Generator):
                    ahead.close()

    return conveyor.ahead(enhanced())
