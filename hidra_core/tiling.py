"""Large images in overlapping, feathered tiles that agree with each other.

With ``w_t`` the weights of tile ``t``, which fall linearly over the overlap, the result is::

    y = sum over t of w_t · f(x_t)          sum over t of w_t = 1 at every pixel

Tiles agree because they share the degradation vector of the whole image, and because group normalisation uses its
statistics, recorded on a small view of it (``overview``), instead of the tile's. With ``G`` a group of channels::

    mean_G = mean(x over channels in G, all positions, the whole batch)          var_G likewise
    norm(x) = gamma · (x - mean_G) / sqrt(var_G + eps) + beta

Normalised by its own content instead, a tile of empty sky would come out in other greys than its neighbour with the
buildings. Source: this project; HiDRA (CVPR 2026) processes images as a whole.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from .backbone import SIZE_MULTIPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


@dataclass(frozen=True)
class Span:
    """A tile's extent along one axis.

    Attributes:
        start: its first pixel.
        weights: its blending weights, ``[length]``; those of all spans sum to 1 at every pixel.
    """

    start: int
    weights: Tensor

    @property
    def slice(self) -> slice:
        """Its pixels."""
        return slice(self.start, self.start + len(self.weights))


def spans(length: int, tile: int, overlap: int) -> list[Span]:
    """Cover an axis with evenly spread tiles.

    Args:
        length: pixels of the axis.
        tile: pixels of a tile; a shorter axis is one span of its own length.
        overlap: least number of pixels that neighbours share, feathered linearly.

    Returns:
        As few spans as reach over the axis, from its first pixel to its last.

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
    tiles = list(product(rows, columns))
    output = torch.empty(0)
    for done, (row, column) in enumerate(tiles, start=1):
        result = function(image[:, :, row.slice, column.slice]).float().cpu()
        if done == 1:  # only now is the number of channels known
            output = torch.zeros(1, result.shape[1], *image.shape[-2:])
        row_weights, column_weights = rearrange(row.weights, "h -> h 1"), rearrange(column.weights, "w -> 1 w")
        output[:, :, row.slice, column.slice] += result * row_weights * column_weights
        if after_tile is not None:
            after_tile(done, len(tiles))
    return output


def overview(image: Tensor, pixels: int) -> Tensor:
    """The whole image on few pixels, for its normalisation statistics at the cost of one tile.

    Crops at full resolution for the same cost would keep the noise, but their borders add statistics of their own.

    Args:
        image: ``[1, C, H, W]``.
        pixels: number of pixels that must not be exceeded; an image within it is returned without change.

    Returns:
        ``[1, C, h, w]``, averaged over areas; h and w are multiples of 64, which need no padding.
    """
    height, width = image.shape[-2:]
    factor = (height * width / pixels) ** 0.5
    if factor <= 1:
        return image
    side = SIZE_MULTIPLE
    rows = min(max(1, int(height / factor) // side), pixels // side**2)
    columns = max(1, min(int(width / factor) // side, pixels // (side**2 * rows)))
    return F.interpolate(image, size=(side * rows, side * columns), mode="area")


class SharedNormalisation:
    """Group-normalisation statistics taken over one batch as if it were one image, and imposed on others.

    It works through forward hooks on any network with ``torch.nn.GroupNorm``; each layer must run once per pass. Code
    of ``torch.compile`` has no hooks: within the contexts such networks run without it.

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
            # entered without need, it would import the compiler, which takes seconds
            if "torch._dynamo" in sys.modules:
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            yield

    def _record(self, layer: nn.GroupNorm, args: tuple[Tensor], output: Tensor) -> Tensor:
        groups = rearrange(args[0].float(), "b (g c) ... -> g (b c ...)", g=layer.num_groups)
        variance, mean = torch.var_mean(groups, dim=1, correction=0)
        per_group = layer.num_channels // layer.num_groups
        self._statistics[layer] = (repeat(mean, "g -> (g c)", c=per_group), repeat(variance, "g -> (g c)", c=per_group))
        return self._impose(layer, args, output)

    def _impose(self, layer: nn.GroupNorm, args: tuple[Tensor], _output: Tensor) -> Tensor:
        mean, variance = self._statistics[layer]
        weight, bias = (None if p is None else p.to(mean) for p in (layer.weight, layer.bias))
        return F.batch_norm(args[0], mean, variance, weight, bias, training=False, eps=layer.eps)


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Pad images at the bottom and on the right to whole multiples.

    Args:
        images: ``[B, C, H, W]``.
        multiple: of pixels.

    Returns:
        ``[B, C, H', W']``; reflected, or replicated where the image is smaller than the pad.
    """
    height, width = images.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if bottom:
        images = F.pad(images, (0, 0, 0, bottom), mode="reflect" if bottom < height else "replicate")
    if right:
        images = F.pad(images, (0, right, 0, 0), mode="reflect" if right < width else "replicate")
    return images
