"""Image to image: degradation vectors of images, and images enhanced with them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .adapter import NETWORKS, ModulatedAdapter
from .backbone import SIZE_MULTIPLE, Backbone
from .dem import DEGRADATION_WIDTH
from .images import blend as fidelity
from .images import check_images, from_grey, to_grey
from .tiling import SharedNormalisation, blend_tiles, overview, pad_to_multiple, spans

if TYPE_CHECKING:
    from .weights import Weights

log = logging.getLogger(__name__)

Images = Tensor | Sequence[Tensor]
"""``[B, H, W, C]`` or ``[H, W, C]`` float in [0, 1], C of 1 (grey), 2 (with alpha), 3 or 4; or a list of the latter."""

Progress = Callable[[float, Tensor | None], None]
"""Called with the share done, in (0, 1], and the image just finished, ``[H, W, C]``, or None within one."""

PIXEL_BUDGET = 1024 * 1024
"""Pixels that go through the networks at once; more are tiled (images) or split (batches)."""

SMALLEST_TILE = 256
DEM_WINDOW = 1024


@dataclass(frozen=True)
class DegradationVectors:
    """DegradationVectors vectors and the weights they belong to.

    Attributes:
        vectors: ``P``, ``[B, 256]`` float32 on the CPU, one per image; a single one serves any number of images.
        weights: the weights whose DEM made them; the adapter of the same file is the one that reads them.
    """

    vectors: Tensor
    weights: Weights

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.vectors.shape[1] != DEGRADATION_WIDTH or len(self.vectors) == 0:
            raise ValueError(
                f"degradation vectors have shape {tuple(self.vectors.shape)}; expected [B, {DEGRADATION_WIDTH}], B ≥ 1"
            )
        if not torch.isfinite(self.vectors).all():
            raise ValueError("degradation vectors have values that are not finite; estimate them again")

    def __len__(self) -> int:
        return self.vectors.shape[0]

    def check_serves(self, images: int) -> None:
        """Raise ValueError unless there is one vector, or one for each of this many images."""
        if len(self) not in (1, images):
            raise ValueError(
                f"{len(self)} degradation vectors for {images} images: give one vector, or one for each image. "
                "Estimate the degradation of the same images that are enhanced"
            )

    def restrained(self, before: Tensor, after: Tensor, rows: slice) -> Tensor:
        """What is taken of a change by the restraint of the weights; all of it where they have none.

        Args:
            before, after: some of the images, ``[b, 1, H, W]`` on the CPU, on any scale that they share.
            rows: which of them; all the same where there is one vector.
        """
        if self.weights.restraint is None:
            return after
        return self.weights.restraint.apply(before, after, self.vectors if len(self) == 1 else self.vectors[rows])


@torch.inference_mode()
def estimate(
    images: Images, weights: Weights, *, after_image: Callable[[int, int], None] | None = None
) -> DegradationVectors:
    """Read the degradation vector off each image with the DEM (HiDRA, "Degradation estimation module").

    Images of more than about 1 megapixel are read in evenly spread windows whose pooled features are averaged.

    Args:
        images: see :data:`Images`.
        weights: from :func:`~hidra_core.weights.load_weights`; computed where and in the type its DEM is.
        after_image: called with (images done, images in all); may raise to stop.

    Raises:
        ValueError: no images, a wrong shape, or values that are not finite numbers in [0, 1].
    """
    pictures = check_images(images)
    estimator = weights.estimator
    like = next(estimator.parameters())
    vectors = []
    for done, picture in enumerate(pictures, 1):
        grey = to_grey(picture[None]) * 2 - 1
        rows, columns = (spans(side, DEM_WINDOW, 0) for side in grey.shape[-2:])
        pooled = [
            estimator.pooled(grey[:, :, row.slice, column.slice].to(like).expand(-1, 3, -1, -1))
            for row in rows
            for column in columns
        ]
        vectors.append(estimator.head(torch.stack(pooled).mean(dim=0)).float().cpu())
        if after_image is not None:
            after_image(done, len(pictures))
    return DegradationVectors(torch.cat(vectors), weights)


@torch.inference_mode()
def enhance(
    images: Images,
    backbone: Backbone,
    degradation: DegradationVectors,
    *,
    strength: float = 1.0,
    upscale: int = 1,
    tile: int | Literal["auto"] | None = "auto",
    fold: bool = False,
    restraint: bool = True,
    blend: float = 1.0,
    low_frequencies: float = 1.0,
    cutoff: float = fidelity.CUTOFF,
    progress: Progress | None = None,
) -> Images:
    """Enhance thermal images in one step (HiDRA, "One-step backbone" and "Degradation-guided LoRA").

    Args:
        images: see :data:`Images`; colour is reduced to grey, alpha is carried along.
        backbone: what to run on.
        degradation: from :func:`estimate` on the same images.
        strength: 0 is the backbone with its own ``conv_in``, 1 the trained adapter; above 1 extrapolates.
        upscale: integer factor by which images are enlarged (bilinear) before the network.
        tile: side of the tiles in pixels; ``"auto"`` tiles images above :data:`PIXEL_BUDGET`; ``None`` never tiles.
            In any case tiles are halved when memory runs out, down to 256 pixels.
        fold: add the update to copies of the weights instead of hooking it in: takes memory for a second copy of the
            adapted layers and is free of cost per image. One degradation vector only.
        restraint: whether images that need less get less of the change, if the weights know how much, see
            :class:`~hidra_core.readouts.restraint.Restraint`.
        blend, low_frequencies, cutoff: how much of that is taken, see :func:`~hidra_core.images.blend.blend`; with
            ``blend`` 0 the input is returned to the bit and the networks do not run.
        progress: called after every tile and image, see :data:`Progress`; may raise to stop.

    Returns:
        The same kind as ``images``: grey in the same number of channels, float32 in [0, 1] on the CPU, ``upscale``
        times the size.

    Raises:
        ValueError: a value out of range, images that are not as expected, a vector count that does not match, weights
            for another backbone.
    """
    pictures = check_images(images)
    check_options(strength, upscale, tile)
    fidelity.check_blend(blend, low_frequencies, cutoff)
    degradation.check_serves(len(pictures))
    if blend == 0:
        return _like(images, fidelity.untouched(pictures, upscale))
    adapter = degradation.weights.adapter
    for network in NETWORKS:
        adapter.check_fits(network, backbone.lookup(network))
    vectors = degradation.vectors.to(next(adapter.heads.parameters()))
    modulated = adapter.modulate(vectors, strength)
    text_embedding = degradation.weights.text_embedding
    with ExitStack() as stack:
        if fold:
            for network in NETWORKS:
                stack.enter_context(modulated.folded(network, backbone.lookup(network)))
        attach = None if fold else modulated
        restrained_by = degradation if restraint else None
        runner = Runner(backbone, text_embedding, attach, upscale, tile, progress, restrained_by)
        results = runner.run(pictures)
    blended = fidelity.blend_all(pictures, results, blend, low_frequencies=low_frequencies, cutoff=cutoff)
    return _like(images, blended)


def _like(images: Images, results: list[Tensor]) -> Images:
    """The results as the images came: a batch, one picture or a list."""
    if not isinstance(images, Tensor):
        return results
    return torch.stack(results) if images.ndim == 4 else results[0]


def check_options(strength: float, upscale: int, tile: int | str | None) -> None:
    """Raise ValueError, naming the option, its range and what was given, for options out of range."""
    if not 0 <= strength <= 2:
        raise ValueError(f"strength must be from 0 to 2, got {strength}")
    if upscale not in (1, 2, 3, 4):
        raise ValueError(f"upscale must be 1, 2, 3 or 4, got {upscale}")
    if tile not in ("auto", None) and not (isinstance(tile, int) and tile >= SMALLEST_TILE and tile % 64 == 0):
        raise ValueError(f"tile must be 'auto', none, or a multiple of 64 from {SMALLEST_TILE} pixels up, got {tile}")


class Runner:
    """Runs checked pictures through an adapted backbone: batches, tiles, out-of-memory, progress.

    Args:
        backbone: what to run on.
        text_embedding: ``[1, 77, width]``.
        modulated: attached around each call; ``None`` when the backbone comes adapted already.
        upscale, tile, progress: see :func:`enhance`.
        restrained_by: the degradation whose weights say how much of the change is taken; ``None`` takes all of it.
    """

    def __init__(
        self,
        backbone: Backbone,
        text_embedding: Tensor,
        modulated: ModulatedAdapter | None,
        upscale: int,
        tile: int | Literal["auto"] | None,
        progress: Progress | None,
        restrained_by: DegradationVectors | None = None,
    ) -> None:
        self.backbone = backbone
        self.text_embedding = text_embedding
        self.modulated = modulated
        self.upscale = upscale
        self.tile = tile
        self.progress = progress
        self.restrained_by = restrained_by

    def run(self, pictures: Sequence[Tensor]) -> list[Tensor]:
        """Enhance pictures ``[H, W, C]``; neighbours of one size share a batch within the pixel budget."""
        results: list[Tensor] = []
        while len(results) < len(pictures):
            first = len(results)
            count = self._batch_size(pictures[first:])
            batch = torch.stack(list(pictures[first : first + count]))
            grey = to_grey(batch).float() * 2 - 1
            if self.upscale > 1:
                grey = F.interpolate(grey, scale_factor=self.upscale, mode="bilinear", align_corners=False)
            rows = slice(first, first + count)
            with self.backbone.rows(rows):
                enhanced = self._with_smaller_tiles(grey, rows, len(pictures))
            if self.restrained_by is not None:
                enhanced = self.restrained_by.restrained(grey.cpu(), enhanced, rows)
            results += from_grey(enhanced.clamp(-1, 1) / 2 + 0.5, batch).unbind(0)
            self._report((first + count) / len(pictures), results[-1])
        return results

    def _batch_size(self, pictures: Sequence[Tensor]) -> int:
        # padding counts: a single pixel costs as much as 64 × 64
        height, width = (-(-side * self.upscale // SIZE_MULTIPLE) * SIZE_MULTIPLE for side in pictures[0].shape[:2])
        budget = PIXEL_BUDGET // (height * width)
        count = 1
        while count < min(budget, len(pictures)) and pictures[count].shape == pictures[0].shape:
            count += 1
        return count

    def _with_smaller_tiles(self, grey: Tensor, rows: slice, pictures: int) -> Tensor:
        tile = self._first_tile(grey)
        while True:
            try:
                if tile is None:
                    return self._pass(grey, self._rows(rows))
                return torch.cat(
                    [self._tiled(grey[i : i + 1], tile, rows.start + i, pictures) for i in range(len(grey))]
                )
            except Exception as error:
                largest = max(grey.shape[-2:])
                smaller = (tile or -(-largest // 128) * 128) // 2 // 64 * 64
                if tile is None and len(grey) > 1:  # a batch first runs image by image, each in one tile
                    smaller = max(SMALLEST_TILE, -(-largest // 64) * 64)
                if not self.backbone.is_out_of_memory(error) or smaller < SMALLEST_TILE:
                    raise
                log.warning("out of memory; trying again with tiles of %d pixels", smaller)
                tile = smaller
            self.backbone.free_memory()

    def _first_tile(self, grey: Tensor) -> int | None:
        height, width = grey.shape[-2:]
        if self.tile == "auto":
            return int(PIXEL_BUDGET**0.5) if height * width > PIXEL_BUDGET else None
        return self.tile if self.tile is not None and max(height, width) > self.tile else None

    def _tiled(self, grey: Tensor, tile: int, index: int, pictures: int) -> Tensor:
        rows = slice(index, index + 1)
        modulated = self._rows(rows)
        shared = SharedNormalisation(self.backbone.modules())

        def report(done: int, total: int) -> None:
            self._report((index + done / total) / pictures)

        with self.backbone.rows(rows):
            with shared.recording():
                self._pass(overview(grey, tile * tile), modulated)
            with shared.imposed():
                return blend_tiles(grey, lambda part: self._pass(part, modulated), tile, tile // 8, report)

    def _rows(self, rows: slice) -> ModulatedAdapter | None:
        if self.modulated is None or len(self.modulated) == 1:
            return self.modulated
        return self.modulated.rows(rows)

    def _pass(self, grey: Tensor, modulated: ModulatedAdapter | None) -> Tensor:
        """One pass of the networks over ``[B, 1, H, W]`` in [-1, 1]; the same size, float32 on the CPU."""
        backbone = self.backbone
        height, width = grey.shape[-2:]
        images = pad_to_multiple(grey, SIZE_MULTIPLE).to(backbone.device, backbone.dtype).expand(-1, 3, -1, -1)
        images = images.contiguous(memory_format=torch.channels_last)
        with ExitStack() as stack:
            if modulated is not None:
                for network in NETWORKS:
                    stack.enter_context(modulated.attached(network, backbone.lookup(network)))
            latent = backbone.denoise(backbone.encode(images), self.text_embedding)
        enhanced = backbone.decode(latent)[..., :height, :width].float().cpu()
        if not torch.isfinite(enhanced).all():
            raise ValueError(
                f"the networks gave values that are not finite in {backbone.dtype}; compute in bf16 or fp32 instead"
            )
        return to_grey(enhanced.clamp(-1, 1).movedim(1, -1))

    def _report(self, share: float, picture: Tensor | None = None) -> None:
        if self.progress is not None:
            self.progress(share, picture)
