"""Image to image: degradation vectors of images, and images enhanced with them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .adapter import NETWORKS
from .backbone import SIZE_MULTIPLE, Backbone
from .checkpoints import checkpoint, checkpoints_in_networks
from .dem import DEGRADATION_WIDTH, DegradationEstimator
from .images import check_images, from_grey, to_grey
from .images.blend import CUTOFF, blend_all, check_blend, untouched
from .names import UPSCALES
from .tiling import SharedNormalisation, blend_tiles, overview, pad_to_multiple, spans

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType

    from .adapter import ModulatedAdapter
    from .readouts import Correction, Corrector
    from .weights import Weights

Images = Tensor | Sequence[Tensor]
"""``[B, H, W, C]`` or ``[H, W, C]`` float in [0, 1], C of 1 (grey), 2 (with alpha), 3 or 4; or a list of the latter."""

Kind = TypeVar("Kind", Tensor, list[Tensor])
"""Tensor in, tensor out; list in, list out."""

Progress = Callable[[float, Tensor | None], None]
"""Called with the share done, in (0, 1], and the image just finished, ``[H, W, C]``; None while one is in progress."""

Tile = int | Literal["auto"] | None
"""Side of the tiles in pixels; ``"auto"``: for large images only; None: no tiles."""


class ReadsCorrections(Protocol):
    """What says how brightness and shading of images are to be corrected: a corrector, or its average over time."""

    def read(self, images: Tensor) -> Correction:
        """See :meth:`~hidra_core.readouts.Corrector.read`; called once for each image, in their order."""
        ...


log = logging.getLogger(__name__)

PIXEL_BUDGET = 1024 * 1024
"""Pixels that go through the networks at once; more are tiled (images) or split (batches)."""

FOLDED_IMAGES = 4
"""Images that share one degradation vector, from which on copies of the weights pay whatever the networks' size."""

SMALLEST_TILE = 256
DEM_WINDOW = 1024


@dataclass(frozen=True)
class DegradationVectors:
    """Degradation vectors and the weights they belong to.

    Attributes:
        vectors: ``P``, ``[B, 256]`` float32 on the CPU, one per image; a single one serves any number of images.
        weights: the weights whose DEM estimated them; the adapter of the same weights applies them.
    """

    vectors: Tensor
    weights: Weights

    def __post_init__(self) -> None:
        if not isinstance(self.vectors, Tensor):
            raise TypeError(
                f"degradation vectors must be a torch tensor of shape [B, {DEGRADATION_WIDTH}], "
                f"got {type(self.vectors).__name__}"
            )
        if self.vectors.ndim != 2 or self.vectors.shape[1] != DEGRADATION_WIDTH or len(self.vectors) == 0:
            raise ValueError(
                f"degradation vectors have shape {tuple(self.vectors.shape)}; expected [B >= 1, {DEGRADATION_WIDTH}]"
            )
        if not torch.isfinite(self.vectors).all():
            raise ValueError("degradation vectors have values that are not finite; estimate them again")

    def __len__(self) -> int:
        return self.vectors.shape[0]

    def __repr__(self) -> str:
        return f"DegradationVectors(vectors={list(self.vectors.shape)}, weights={self.weights!r})"

    def check_serves(self, images: int) -> None:
        """Raise ValueError unless there is one vector, or one for each of this many images."""
        if len(self) not in (1, images):
            raise ValueError(
                f"{len(self)} degradation vectors for {images} images: give one vector, or one for each image. "
                "Estimate the degradation of the same images that are enhanced"
            )

    def restrained(
        self, before: Tensor, after: Tensor, rows: slice, factor: int = 1, corrected: Tensor | None = None
    ) -> Tensor:
        """The part of a change that the restraint of the weights lets through; all of it where they have none.

        Args:
            before: some of the images, ``[b, 1, H, W]`` on the CPU, on any scale.
            after: the same images enhanced, on the same scale.
            rows: which images they are; irrelevant where one vector serves all.
            factor: how many times larger they are than the images whose degradation was estimated.
            corrected: see :meth:`~hidra_core.readouts.Restraint.apply`.
        """
        if self.weights.restraint is None:
            return after
        vectors = self.vectors if len(self) == 1 else self.vectors[rows]
        return self.weights.restraint.apply(before, after, vectors, factor=factor, corrected=corrected)


def estimate(
    images: Images,
    weights: Weights,
    *,
    progress: Callable[[float], None] | None = None,
) -> DegradationVectors:
    """Estimate the degradation vector of each image with the DEM (HiDRA, "Degradation estimation module").

    Images of more than about 1 megapixel are processed in evenly spread windows whose pooled features are averaged.

    Args:
        images: see :data:`Images`.
        weights: from :func:`~hidra_core.weights.load_weights`; the DEM computes on its own device and in its own type.
        progress: called after every window with the share done, in (0, 1]; may raise to stop.

    Raises:
        ValueError: no images, a wrong shape, or values that are not finite numbers in [0, 1].
        TypeError: weights that :func:`~hidra_core.weights.load_weights` did not return.
    """
    checked = check_images(images)
    if not isinstance(getattr(weights, "estimator", None), DegradationEstimator):
        raise TypeError(f"weights must be what load_weights() returns, got {type(weights).__name__}")
    with torch.inference_mode():
        vectors = _estimated(checked, weights.estimator, progress)
    return DegradationVectors(torch.cat(vectors), weights)  # put together outside, so that they can be trained on


def _estimated(
    images: Sequence[Tensor], estimator: DegradationEstimator, progress: Callable[[float], None] | None
) -> list[Tensor]:
    """The vector of each of some checked images, ``[1, 256]``."""
    like = next(estimator.parameters())
    vectors = []
    for done, image in enumerate(images):
        grey = to_grey(image[None]) * 2 - 1
        rows, columns = (spans(side, DEM_WINDOW, 0) for side in grey.shape[-2:])
        windows = [(row.slice, column.slice) for row in rows for column in columns]
        pooled = []
        for row, column in windows:
            with checkpoints_in_networks():
                pooled.append(estimator.pooled(grey[:, :, row, column].to(like).expand(-1, 3, -1, -1)))
            if progress is not None:
                progress((done + len(pooled) / len(windows)) / len(images))
        vectors.append(estimator.head(torch.stack(pooled).mean(dim=0)).float().cpu())
    return vectors


def enhance(
    images: Kind,
    backbone: Backbone,
    degradation: DegradationVectors | None,
    *,
    strength: float = 1.0,
    upscale: int = 1,
    tile: Tile = "auto",
    fold: bool | Literal["auto"] | AbstractContextManager[None] = "auto",
    restraint: bool = True,
    corrector: bool | ReadsCorrections = True,
    blend: float = 1.0,
    low_frequencies: float = 1.0,
    cutoff: float = CUTOFF,
    progress: Progress | None = None,
) -> Kind:
    """Enhance thermal images in one step (HiDRA, "One-step backbone" and "Degradation-guided LoRA").

    Threads may share a backbone and weights; at one backbone they take turns.

    Args:
        images: see :data:`Images`; colour is reduced to grey, alpha is kept.
        backbone: the one-step backbone.
        degradation: from :func:`estimate` on the same images; None for a backbone that a degradation was baked into.
        strength: 0 is the backbone with its own ``conv_in``, 1 the trained adapter; above 1 extrapolates.
        upscale: integer factor by which images are enlarged (bilinear) before the network.
        tile: side of the tiles in pixels; ``"auto"`` tiles images above :data:`PIXEL_BUDGET`; ``None`` never tiles.
            In any case tiles are halved when memory runs out, down to 256 pixels.
        fold: add the update to copies of the weights instead of hooking it in. This needs memory for a second copy of
            the adapted layers, costs nothing per image, and works for one degradation vector only. ``"auto"`` does so
            where it saves time and there is memory: where one vector serves several images, and on a CPU for the small
            networks of hidra-tiny, whose images are then enhanced one by one, each with its own. A context from
            ``backbone.folded`` reuses the copies of earlier calls with the same degradation and strength.
        restraint: whether images that need little of the change get less of it, where the weights have a
            :class:`~hidra_core.readouts.Restraint`.
        corrector: whether brightness and shading are corrected by what the whole image looks like, where the weights
            have a :class:`~hidra_core.readouts.Corrector`; or what reads the corrections in its place. With a
            ``strength`` below 1 the correction is as much smaller.
        blend: share of the change that is applied, see :func:`~hidra_core.images.blend.blend`; with 0 the input is
            returned to the bit and the networks do not run.
        low_frequencies: the same for the low frequencies alone.
        cutoff: period in pixels of the result that separates low from high frequencies.
        progress: called after every part of a pass of the networks and after every image, see :data:`Progress`; may
            raise to stop.

    Returns:
        The same kind as ``images``: grey in the same number of channels, float32 in [0, 1] on the CPU, ``upscale``
        times the size. With a ``blend`` of 0 a copy of the images as they are, colour and overshoot included.

    Raises:
        ValueError: a value out of range, images that are not as expected, a number of vectors that does not match,
            weights for another backbone, no degradation for a backbone that needs one.
        TypeError: a backbone, degradation, ``fold`` or ``corrector`` that is something else.
    """
    checked = check_images(images)
    check_options(strength, upscale, tile)
    check_blend(blend, low_frequencies, cutoff)
    _check_kinds(backbone, degradation, fold, corrector)
    if degradation is not None:
        degradation.check_serves(len(checked))
    if blend == 0:
        return _like(images, untouched(checked, upscale))
    with torch.inference_mode():
        with (
            backbone.lock,
            _Adapted(backbone, degradation, len(checked), strength, fold, restraint, corrector) as adapted,
        ):
            results = _Runner(adapted, upscale, tile, progress).run(checked)
        checkpoint()
        results = blend_all(checked, results, blend, low_frequencies=low_frequencies, cutoff=cutoff)
    return _like(images, results)


def _like(images: Kind, results: list[Tensor]) -> Kind:
    """The results in the form of the images: a batch, one image or a list; all can be changed and trained on."""
    if isinstance(images, Tensor) and images.ndim == 4:
        return torch.stack(results)
    ordinary = [result.clone() if result.is_inference() else result for result in results]
    if not isinstance(images, Tensor):
        return ordinary
    return ordinary[0]


def check_options(strength: float, upscale: int, tile: Tile | str) -> None:
    """Raise ValueError, naming the option, its range and the value, for options of :func:`enhance` out of range."""
    if not isinstance(strength, Real) or not 0 <= strength <= 2:
        raise ValueError(f"strength must be from 0 to 2, got {strength!r}")
    if upscale not in UPSCALES:
        raise ValueError(f"upscale must be 1, 2, 3 or 4, got {upscale}")
    if tile not in ("auto", None) and not (
        isinstance(tile, int) and tile >= SMALLEST_TILE and tile % SIZE_MULTIPLE == 0
    ):
        raise ValueError(
            f"tile must be 'auto', None, or a multiple of {SIZE_MULTIPLE} from {SMALLEST_TILE} pixels up, got {tile}"
        )


def _check_kinds(backbone: object, degradation: object, fold: object, corrector: object) -> None:
    """Raise TypeError, naming the argument and what it should be, for arguments of :func:`enhance` of another kind."""
    if not isinstance(backbone, Backbone):
        raise TypeError(f"backbone must be what load_backbone() returns, got {type(backbone).__name__}")
    if not isinstance(degradation, DegradationVectors | None):
        raise TypeError(f"degradation must be what estimate(images, weights) returns, got {type(degradation).__name__}")
    if not (isinstance(fold, bool) or fold == "auto" or hasattr(fold, "__exit__")):
        raise TypeError(f"fold must be True, False, 'auto' or a context of backbone.folded(), got {fold!r}")
    if not (isinstance(corrector, bool) or hasattr(corrector, "read")):
        raise TypeError(f"corrector must be True, False, or have a method read(images), got {corrector!r}")


def padded_pixels(height: int, width: int, upscale: int) -> int:
    """Pixels that an image costs in the networks: enlarged, and padded to whole multiples of 64."""
    tall, wide = (-(-side * upscale // SIZE_MULTIPLE) * SIZE_MULTIPLE for side in (height, width))
    return tall * wide


class _Adapted:
    """A backbone and its adaptation to some images; a context manager.

    Args:
        backbone: see :func:`enhance`.
        degradation: see :func:`enhance`.
        images: how many images there are.
        strength: see :func:`enhance`.
        fold: see :func:`enhance`.
        restraint: see :func:`enhance`.
        corrector: see :func:`enhance`.

    Attributes:
        text_embedding: ``[1, 77, width]``.
        modulated: the adapter to attach around each call; None where the context itself adapts the networks.
        folds_each: whether each image is to run alone, within :meth:`folded_for`.
    """

    def __init__(
        self,
        backbone: Backbone,
        degradation: DegradationVectors | None,
        images: int,
        strength: float,
        fold: bool | Literal["auto"] | AbstractContextManager[None],
        restraint: bool,
        corrector: bool | ReadsCorrections,
    ) -> None:
        self.backbone = backbone
        self.modulated: ModulatedAdapter | None = None
        self.folds_each = False
        self._modulate: Callable[[slice], ModulatedAdapter] | None = None
        self._restrained: Callable[[Tensor, Tensor, slice, int, Tensor | None], Tensor] | None = None
        self._restraint_knows = False
        self._corrector: Corrector | None = None
        self._reader: ReadsCorrections | None = None
        self._share = 1.0
        self._context: AbstractContextManager[None] = nullcontext()
        if degradation is None:
            self.text_embedding = _baked_embedding(backbone)
            return
        weights = degradation.weights
        for network in NETWORKS:
            weights.adapter.check_fits(network, backbone.lookup(network))
        self.text_embedding = weights.text_embedding
        if restraint and weights.restraint is not None:
            self._restrained = degradation.restrained
            self._restraint_knows = weights.restraint.knows_corrector
        if corrector is not False and strength > 0:
            self._corrector = weights.corrector
            self._reader = weights.corrector if corrector is True else corrector
            self._share = min(strength, 1.0)
        if not isinstance(fold, bool | str):
            self._context = fold
            return
        if fold == "auto":
            each = backbone.folds_each(weights.adapter)
            self.folds_each = each and len(degradation) > 1
            many = images >= FOLDED_IMAGES and backbone.has_room_to_fold(weights.adapter)
            fold = len(degradation) == 1 and (each or many)
        if self.folds_each:
            # modulated image by image too, so that a batch gives to the bit what its images give alone
            self._modulate = lambda row: weights.adapter.modulate(degradation.vectors[row], strength)
            return
        modulated = weights.adapter.modulate(degradation.vectors, strength)
        if fold:
            self._context = backbone.folded(modulated)
        else:
            self.modulated = modulated

    @contextmanager
    def folded_for(self, row: slice) -> Iterator[None]:
        """Within the block the networks are adapted to one image, where each is to run alone; else nothing happens."""
        if self._modulate is None:
            yield
            return
        with self.backbone.folded(self._modulate(row)):
            yield

    def finished(self, before: Tensor, after: Tensor, rows: slice, factor: int) -> Tensor:
        """The networks' output with brightness and shading corrected, and of this change what the restraint lets pass.

        A restraint that knows the corrector weighs its word against that of the networks; else the corrector's counts.

        Args:
            before: some of the images, ``[b, 1, H, W]`` in [-1, 1] on the CPU.
            after: the same images enhanced, ``[b, 1, factor·H, factor·W]``.
            rows: which images they are.
            factor: how many times larger they became.
        """
        enlarged = _enlarged(before, factor)
        corrected = None
        checkpoint()
        if self._corrector is not None and self._reader is not None:
            seen = before / 2 + 0.5
            with checkpoints_in_networks():
                correction = self._reader.read(seen).scaled(self._share)
            weighed = self._restrained is not None and self._restraint_knows
            corrected = 2 * self._corrector.change(seen, after / 2 + 0.5, correction)
            if not weighed:
                after, corrected = (after + corrected).clamp(-1, 1), None
        if self._restrained is None:
            return after
        checkpoint()
        return self._restrained(enlarged, after, rows, factor, corrected)

    def __enter__(self) -> _Adapted:
        self._context.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.__exit__(kind, error, trace)


def _enlarged(grey: Tensor, factor: int) -> Tensor:
    """``[B, 1, H, W]`` enlarged bilinearly."""
    return grey if factor == 1 else F.interpolate(grey, scale_factor=factor, mode="bilinear", align_corners=False)


def _baked_embedding(backbone: Backbone) -> Tensor:
    if backbone.text_embedding is None:
        raise ValueError(
            f"the backbone {backbone.name} has no degradation baked into it: give the degradation of the images, from "
            "estimate(images, weights)"
        )
    return backbone.text_embedding


class _Runner:
    """Runs checked images through a backbone, in batches and tiles that fit into memory, and reports progress.

    Args:
        adapted: the backbone and its adaptation.
        upscale: see :func:`enhance`.
        tile: see :func:`enhance`.
        progress: see :func:`enhance`.
    """

    def __init__(self, adapted: _Adapted, upscale: int, tile: Tile, progress: Progress | None) -> None:
        self.adapted = adapted
        self.backbone = adapted.backbone
        self.upscale = upscale
        self.tile = tile
        self.progress = progress
        self.total = 0
        self._begun = self._share = 0.0  # of all the work, when the current pass began, and the part that it is

    def run(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Enhance images ``[H, W, C]``; neighbours of one size share a batch within the pixel budget."""
        self.total = len(images)
        results: list[Tensor] = []
        while len(results) < len(images):
            first = len(results)
            count = 1 if self.adapted.folds_each else self._batch_size(images[first:])
            batch = torch.stack(list(images[first : first + count]))
            grey = to_grey(batch).float() * 2 - 1
            rows = slice(first, first + count)
            with self.adapted.folded_for(rows):
                enhanced = self._whole_or_tiled(_enlarged(grey, self.upscale), rows)
            enhanced = self.adapted.finished(grey.cpu(), enhanced, rows, self.upscale)
            results += from_grey(enhanced.clamp(-1, 1) / 2 + 0.5, batch).unbind(0)
            self._report((first + count) / self.total, results[-1])
        return results

    def _batch_size(self, images: Sequence[Tensor]) -> int:
        height, width = images[0].shape[:2]
        budget = PIXEL_BUDGET // padded_pixels(height, width, self.upscale)
        count = 1
        while count < min(budget, len(images)) and images[count].shape == images[0].shape:
            count += 1
        return count

    def _whole_or_tiled(self, grey: Tensor, rows: slice) -> Tensor:
        """Enhance ``[B, 1, H, W]``; where memory runs out, image by image, and then in ever smaller tiles."""
        tile = self._first_tile(grey)
        if tile is not None and len(grey) > 1:
            return self._one_by_one(grey, rows)
        while True:
            self._begun, self._share = rows.start / self.total, len(grey) / self.total
            try:
                if tile is None:
                    return self._pass(grey, self._rows(rows))
                return self._tiled(grey, tile, rows.start)
            except Exception as error:
                smaller = self._smaller(tile, max(grey.shape[-2:]))
                if not self.backbone.is_out_of_memory(error) or (len(grey) == 1 and smaller < SMALLEST_TILE):
                    raise
            self.backbone.free_memory()
            if len(grey) > 1:
                log.warning("out of memory; trying again image by image")
                return self._one_by_one(grey, rows)
            log.warning("out of memory; trying again with tiles of %d pixels", smaller)
            tile = smaller

    def _one_by_one(self, grey: Tensor, rows: slice) -> Tensor:
        singles = [slice(row, row + 1) for row in range(rows.start, rows.stop)]
        return torch.cat([self._whole_or_tiled(image, row) for image, row in zip(grey.split(1), singles, strict=True)])

    @staticmethod
    def _smaller(tile: int | None, largest: int) -> int:
        """Half the tile, or half the image where there was none, in whole multiples of 64."""
        return (tile or -(-largest // 128) * 128) // 2 // SIZE_MULTIPLE * SIZE_MULTIPLE

    def _first_tile(self, grey: Tensor) -> int | None:
        height, width = grey.shape[-2:]
        if isinstance(self.tile, int):
            return self.tile if max(height, width) > self.tile else None
        large = self.tile == "auto" and height * width > PIXEL_BUDGET
        return int(PIXEL_BUDGET**0.5) if large else None

    def _tiled(self, grey: Tensor, tile: int, index: int) -> Tensor:
        modulated = self._rows(slice(index, index + 1))
        shared = SharedNormalisation(self.backbone.modules())

        rows, columns = (spans(side, tile, tile // 8) for side in grey.shape[-2:])
        self._share = 1 / self.total / (1 + len(rows) * len(columns))

        def on_its_turn(part: Tensor) -> Tensor:
            self._begun += self._share
            return self._pass(part, modulated)

        with shared.recording():
            self._pass(overview(grey, tile * tile), modulated)
        with shared.imposed():
            return blend_tiles(grey, on_its_turn, tile, tile // 8)

    def _rows(self, rows: slice) -> ModulatedAdapter | None:
        modulated = self.adapted.modulated
        return modulated if modulated is None or len(modulated) == 1 else modulated.rows(rows)

    def _pass(self, grey: Tensor, modulated: ModulatedAdapter | None) -> Tensor:
        """One pass of the networks over ``[B, 1, H, W]`` in [-1, 1]; the result has that shape, float32 on the CPU."""
        backbone = self.backbone
        height, width = grey.shape[-2:]
        images = pad_to_multiple(grey, SIZE_MULTIPLE).to(backbone.device, backbone.dtype).expand(-1, 3, -1, -1)
        images = images.contiguous(memory_format=torch.channels_last)
        with checkpoints_in_networks():
            with nullcontext() if modulated is None else backbone.adapted(modulated):
                latent = backbone.encode(images)
                self._report(self._begun + self._share / 3)
                latent = backbone.denoise(latent, self.adapted.text_embedding)
            self._report(self._begun + self._share * 2 / 3)
            enhanced = backbone.decode(latent)[..., :height, :width].float().cpu()
        if not torch.isfinite(enhanced).all():
            raise ValueError(
                f"the networks gave values that are not finite in {backbone.dtype}; compute in bf16 or fp32 instead"
            )
        return to_grey(enhanced.clamp(-1, 1).movedim(1, -1))

    def _report(self, share: float, image: Tensor | None = None) -> None:
        if self.progress is not None:
            self.progress(share, image)
