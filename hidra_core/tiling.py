"""Large images in overlapping, feathered tiles that agree with each other.

Every tile shares the whole image's degradation vector, and the group-normalisation statistics of the whole image:
left to itself each tile would be normalised by its own content, and a tile of empty sky would come out in other
greys than its neighbour with the buildings.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


@dataclass(frozen=True)
class Span:
    """A tile's extent along one axis and its blending weights there (``[length]``, summing to 1 over all spans)."""

    start: int
    weights: Tensor

    @property
    def slice(self) -> slice:
        return slice(self.start, self.start + len(self.weights))


def spans(length: int, tile: int, overlap: int) -> list[Span]:
    """Cover an axis with evenly spread tiles.

    Args:
        length: pixels of the axis.
        tile: pixels of a tile; a shorter axis is one span of its own length.
        overlap: least number of pixels that neighbours share, feathered linearly.

    Raises:
        ValueError: the overlap is not smaller than the tile.
    """
    if not 0 <= overlap < tile:
        raise ValueError(f"tiles of {tile} pixels cannot overlap by {overlap}: give an overlap from 0 to {tile - 1}")
    if length <= tile:
        return [Span(0, torch.ones(length))]
    count = 1 + -(-(length - tile) // (tile - overlap))
    starts = [round(i * (length - tile) / (count - 1)) for i in range(count)]
    position = torch.arange(tile) + 0.5
    feather = max(overlap, 1)
    rising = (position / feather).clamp(max=1)
    weights = []
    for start in starts:
        weight = torch.ones(tile)
        if start > 0:
            weight *= rising
        if start + tile < length:
            weight *= rising.flip(0)
        weights.append(weight)
    total = torch.zeros(length)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + tile] += weight
    return [Span(start, weight / total[start : start + tile]) for start, weight in zip(starts, weights, strict=True)]


def blend_tiles(
    image: Tensor,
    function: Callable[[Tensor], Tensor],
    tile: int,
    overlap: int,
    after_tile: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Apply an image-to-image function tile by tile.

    Args:
        image: ``[1, C, H, W]``, on any device; only one tile at a time is given to ``function``.
        function: ``[1, C, h, w]`` to ``[1, C', h, w]``.
        tile: side of the square tiles in pixels.
        overlap: least overlap of neighbours in pixels.
        after_tile: called with (tiles done, tiles in all); may raise to stop.

    Returns:
        ``[1, C', H, W]`` float32 on the CPU.
    """
    rows, columns = (spans(side, tile, overlap) for side in image.shape[-2:])
    output: Tensor | None = None
    done, total = 0, len(rows) * len(columns)
    for row in rows:
        for column in columns:
            result = function(image[:, :, row.slice, column.slice]).float().cpu()
            if output is None:
                output = torch.zeros(1, result.shape[1], *image.shape[-2:])
            output[:, :, row.slice, column.slice] += result * row.weights[:, None] * column.weights
            done += 1
            if after_tile is not None:
                after_tile(done, total)
    return output


def overview(image: Tensor, pixels: int) -> Tensor:
    """The whole image on few pixels: normalisation statistics of all of it at the cost of one tile.

    Full-resolution crops of the same cost would see the noise as it is, but their borders add statistics of their own.

    Args:
        image: ``[1, C, H, W]``.
        pixels: at most as many; an image that has no more is returned as it is.

    Returns:
        ``[1, C, h, w]``, averaged over areas; h and w multiples of 64, which need no padding.
    """
    height, width = image.shape[-2:]
    factor = (height * width / pixels) ** 0.5
    if factor <= 1:
        return image
    rows = min(max(1, int(height / factor) // 64), pixels // 64**2)
    columns = max(1, min(int(width / factor) // 64, pixels // (64**2 * rows)))
    return F.interpolate(image, size=(64 * rows, 64 * columns), mode="area")


class SharedNormalisation:
    """Group-normalisation statistics taken over one batch as if it were one image, and imposed on others.

    Works through forward hooks on any network made of ``torch.nn.GroupNorm``; each layer must run once a pass.

    Args:
        modules: all modules of the networks.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._layers = [module for module in modules if isinstance(module, nn.GroupNorm)]
        self._statistics: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Normalise what runs within the block by the statistics of the whole batch, and remember them."""
        with self._hooked(self._record):
            yield

    @contextmanager
    def imposed(self) -> Iterator[None]:
        """Normalise what runs within the block by the remembered statistics."""
        with self._hooked(self._impose):
            yield

    @contextmanager
    def _hooked(self, hook: Callable[..., Tensor]) -> Iterator[None]:
        with ExitStack() as stack:
            for layer in self._layers:
                stack.callback(layer.register_forward_hook(hook).remove)
            yield

    def _record(self, layer: nn.GroupNorm, args: tuple[Tensor], output: Tensor) -> Tensor:
        groups = args[0].float().unflatten(1, (layer.num_groups, -1)).transpose(0, 1).flatten(1)
        variance, mean = torch.var_mean(groups, dim=1, correction=0)
        per_group = layer.num_channels // layer.num_groups
        self._statistics[layer] = (mean.repeat_interleave(per_group), variance.repeat_interleave(per_group))
        return self._impose(layer, args, output)

    def _impose(self, layer: nn.GroupNorm, args: tuple[Tensor], output: Tensor) -> Tensor:
        mean, variance = self._statistics[layer]
        weight, bias = (None if p is None else p.to(mean) for p in (layer.weight, layer.bias))
        return F.batch_norm(args[0], mean, variance, weight, bias, training=False, eps=layer.eps)


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Pad ``[B, C, H, W]`` at bottom and right; reflected, or replicated where the image is smaller than the pad."""
    height, width = images.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if bottom:
        images = F.pad(images, (0, 0, 0, bottom), mode="reflect" if bottom < height else "replicate")
    if right:
        images = F.pad(images, (0, right, 0, 0), mode="reflect" if right < width else "replicate")
    return images
