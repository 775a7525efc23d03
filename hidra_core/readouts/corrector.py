"""Brightness and shading of a whole frame, put right from a small view of it.

Networks that restore crops never see how shading continues beyond them, and a frame of full size costs them a thousand
times what it costs to look at a few dozen cells of it. A small network of its own sees the whole frame as 32 × 40 cells
and says three things that mean something: by how much the contrast was compressed, how far the brightness was moved,
and which shading lies over the frame. With ``m`` the means of the cells, ``mean(m)`` their mean, ``c`` the contrast,
``b`` the brightness and ``s`` the shading, the low frequencies of the scene are::

    t = c · (m - s - mean(m)) + mean(m) + b          mean(s) = 0

They take the place of the low frequencies of the networks' output, whose details get the same contrast. The network
weighs how sure it is: what it says about good frames is next to nothing. ``train/corrector.py`` trains it and stores it
in the weights file. This is an addition to the method: weights without it, such as the authors' converted ones, correct
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.nn import Conv2d, GroupNorm, Linear

from ..images.blend import lowpass
from .cells import deviations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GRID = (32, 40)
"""Rows and columns of the cells that a frame of any size is divided into."""

RANKS = (0.01, 0.1, 0.5, 0.9, 0.99)
"""Quantiles of the cells' means and deviations that describe the tone of the whole frame."""

MEASURES = 4
"""What is measured in a cell: mean, deviation, and the shares of its pixels that are black and white."""

GREY_LEVELS = 255.0
"""Of a value of 1, in reports."""

LARGEST_LOG_CONTRAST = 2.0
"""Contrast is raised and lowered by at most e² = 7.4 times."""

LARGEST_DETAIL_GAIN = 2.0
"""Contrast of details in the networks' output is raised and lowered by at most this factor."""

CUTOFFS = (2.0, 40.0)
"""Range of the period that separates corrected from uncorrected frequencies, in cells."""


def small_view(images: Tensor) -> Tensor:
    """What is measured in each cell of some images.

    Args:
        images: ``[B, 1, H, W]`` in [0, 1], of any size.

    Returns:
        ``[B, 4, 32, 40]`` float32, see :data:`MEASURES`. Values within half a grey level of 0 or 1 are black or white:
        there a camera, or one of the steps behind it, may have cut off what was darker or brighter.
    """
    images = images.float()
    edge = 0.5 / GREY_LEVELS
    mean, black, white = (
        F.adaptive_avg_pool2d(plane, GRID) for plane in (images, (images <= edge).float(), (images >= 1 - edge).float())
    )
    return torch.cat([mean, deviations(images, mean), black, white], dim=1)


@dataclass(frozen=True)
class Correction:
    """What the corrector says about some images, on a scale of grey values from 0 to 1.

    Attributes:
        contrast: factor for the contrast, ``[B]``; 1 leaves it.
        brightness: added to the mean of the image, ``[B]``; 0 leaves it.
        shading: in the grey values of the image as it is seen, with a mean of 0, ``[B, 32, 40]``; taken off.
    """

    contrast: Tensor
    brightness: Tensor
    shading: Tensor

    def scaled(self, share: float) -> Correction:
        """A share of the correction: 0 corrects nothing, 1 is the whole."""
        return Correction(self.contrast**share, self.brightness * share, self.shading * share)

    def target(self, mean: Tensor) -> Tensor:
        """The low frequencies of the scene.

        Args:
            mean: of the cells of the images, ``[B, 32, 40]``.

        Returns:
            The same shape.
        """
        contrast, brightness = self.contrast[:, None, None], self.brightness[:, None, None]
        middle = mean.mean(dim=(1, 2), keepdim=True)
        return contrast * (mean - self.shading - middle) + middle + brightness

    def packed(self) -> Tensor:
        """All numbers of each image in one vector, for averages over time, ``[B, 1282]``."""
        return torch.cat([self.contrast.log()[:, None], self.brightness[:, None], self.shading.flatten(1)], dim=1)

    @classmethod
    def unpacked(cls, vectors: Tensor) -> Correction:
        """The inverse of :meth:`packed`."""
        return cls(vectors[:, 0].exp(), vectors[:, 1], vectors[:, 2:].unflatten(1, GRID))

    def summary(self, index: int = 0) -> str:
        """One line for a human about one of the images; grey levels are those of 0-255."""
        entry = self.to_dicts()[index]
        return (
            f"shading taken off: {entry['shading']:.0f} grey levels, brightness {entry['brightness']:+.0f}, "
            f"contrast ×{entry['contrast']:.2f}"
        )

    def to_dicts(self) -> list[dict[str, float]]:
        """For each image the three parts as numbers: shading is its range, in grey levels of 0-255 as brightness is."""
        spread = (self.shading.amax(dim=(1, 2)) - self.shading.amin(dim=(1, 2))) * GREY_LEVELS
        rows = zip(spread.tolist(), (self.brightness * GREY_LEVELS).tolist(), self.contrast.tolist(), strict=True)
        return [
            {"shading": round(shading, 2), "brightness": round(brightness, 2), "contrast": round(contrast, 4)}
            for shading, brightness, contrast in rows
        ]


class CorrectorNetwork(nn.Module):
    """From the small view of a frame to the parts of its correction: a U-Net on 16 × 20 to 4 × 5 positions.

    Args:
        width: channels at the finest level; the others have two and three times as many.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        fine, middle, coarse = width, 2 * width, 3 * width
        self.width = width
        self.stem = Conv2d(MEASURES + 4, fine, kernel_size=4, stride=2, padding=1)
        self.whole = nn.Sequential(Linear(2 * len(RANKS) + 2, coarse), nn.SiLU(), Linear(coarse, coarse))
        self.whole_to_fine = Linear(coarse, fine)
        self.fine = _Block(fine)
        self.to_middle = Conv2d(fine, middle, kernel_size=3, stride=2, padding=1)
        self.middle = _Block(middle)
        self.to_coarse = Conv2d(middle, coarse, kernel_size=3, stride=2, padding=1)
        self.coarse = nn.Sequential(_Block(coarse), _Block(coarse))
        self.tone = nn.Sequential(Linear(3 * coarse, coarse), nn.SiLU(), Linear(coarse, 3))
        self.from_coarse = Conv2d(coarse, middle, kernel_size=1)
        self.middle_again = _Block(middle)
        self.from_middle = Conv2d(middle, fine, kernel_size=1)
        self.fine_again = _Block(fine)
        self.field = Conv2d(fine, 1, kernel_size=3, padding=1)
        for layer in (self.tone[-1], self.field):  # at first it corrects nothing
            for parameter in layer.parameters():
                parameter.data.zero_()

    def forward(self, view: Tensor, aspect: Tensor) -> Correction:
        """The correction of some frames.

        Args:
            view: of :func:`small_view`, ``[B, 4, 32, 40]``.
            aspect: width of each frame divided by its height, ``[B]``.
        """
        mean, deviation, black, white = view.unbind(1)
        middle = mean.mean(dim=(1, 2), keepdim=True)
        spread = mean.std(dim=(1, 2), keepdim=True) + 0.01
        roughness = 0.5 * (deviation + 0.002).log() + 1.5
        planes = [
            2 * mean - 1,
            (mean - middle) / spread,
            roughness,
            0.5 * ((deviation + 0.002) / spread).log(),
            black,
            white,
            *_positions(aspect),
        ]
        ranked = [_quantiles(2 * mean - 1), _quantiles(roughness)]
        whole = self.whole(
            torch.cat([*ranked, black.mean(dim=(1, 2))[:, None], white.mean(dim=(1, 2))[:, None]], dim=1)
        )
        fine = self.fine(self.stem(torch.stack(planes, dim=1)) + self.whole_to_fine(whole)[:, :, None, None])
        middle_level = self.middle(self.to_middle(fine))
        coarse = self.coarse(self.to_coarse(middle_level))
        tone = self.tone(torch.cat([whole, coarse.mean(dim=(2, 3)), coarse.amax(dim=(2, 3))], dim=1))
        up = self.middle_again(middle_level + F.interpolate(self.from_coarse(coarse), scale_factor=2, mode="nearest"))
        up = self.fine_again(fine + F.interpolate(self.from_middle(up), scale_factor=2, mode="nearest"))
        field = F.interpolate(self.field(up).float(), GRID, mode="bicubic", align_corners=False)[:, 0]
        contrast, brightness, sureness = tone.float().unbind(1)
        share = (sureness + 1).sigmoid()
        shading = share[:, None, None] * (field - field.mean(dim=(1, 2), keepdim=True))
        log_contrast = share * LARGEST_LOG_CONTRAST * (contrast / LARGEST_LOG_CONTRAST).tanh()
        return Correction(log_contrast.exp(), share * brightness, shading)


class CorrectorEnsemble(nn.Module):
    """Several networks, trained apart, whose corrections are averaged: what each is wrong about by itself cancels.

    Args:
        widths: of the networks, see :class:`CorrectorNetwork`.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.width = list(widths)
        self.members = nn.ModuleList(CorrectorNetwork(width) for width in widths)

    @classmethod
    def of(cls, networks: Sequence[CorrectorNetwork]) -> CorrectorEnsemble:
        """The ensemble of trained networks."""
        ensemble = cls([network.width for network in networks])
        for member, network in zip(ensemble.members, networks, strict=True):
            member.load_state_dict(network.state_dict())
        return ensemble

    def forward(self, view: Tensor, aspect: Tensor) -> Correction:
        """The mean correction, see :meth:`CorrectorNetwork.forward`: of contrast that of its logarithm."""
        corrections = [member(view, aspect) for member in self.members]
        return Correction(
            torch.stack([correction.contrast.log() for correction in corrections]).mean(dim=0).exp(),
            torch.stack([correction.brightness for correction in corrections]).mean(dim=0),
            torch.stack([correction.shading for correction in corrections]).mean(dim=0),
        )


class _Block(nn.Module):
    """Two convolutions with a bypass."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            GroupNorm(8, channels),
            nn.SiLU(),
            Conv2d(channels, channels, kernel_size=3, padding=1),
            GroupNorm(8, channels),
            nn.SiLU(),
            Conv2d(channels, channels, kernel_size=3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, h, w]`` to the same shape."""
        return x + self.layers(x)


def low_frequencies(plane: Tensor, cutoff: float) -> Tensor:
    """Low frequencies of ``[B, 32, 40]``, see :func:`~hidra_core.images.blend.lowpass`."""
    return rearrange(lowpass(rearrange(plane, "b h w -> h w b"), cutoff), "h w b -> b h w")


def _detail_gain(contrast: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """The factor by which details of an enhanced image miss a contrast: of them, all cells' fine differences tell.

    Args:
        contrast: that the image is to have, as a factor on that of the image as it was read, ``[B]``.
        before: high frequencies of the means of the cells as the image was read, ``[B, 32, 40]``.
        after: the same of the enhanced image.

    Returns:
        ``[B]``; near 1 where there are no details to tell from.
    """
    unseen = before[0].numel() / GREY_LEVELS**2
    product, power = ((plane * after).sum(dim=(1, 2)) + unseen for plane in (contrast[:, None, None] * before, after))
    return (product / power).clamp(1 / LARGEST_DETAIL_GAIN, LARGEST_DETAIL_GAIN)


def _quantiles(plane: Tensor) -> Tensor:
    """The :data:`RANKS` of ``[B, 32, 40]``, ``[B, 5]``."""
    ordered = plane.flatten(1).sort(dim=1).values
    return ordered[:, [round(rank * (ordered.shape[1] - 1)) for rank in RANKS]]


def _positions(aspect: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of each cell from the middle of the frame in half diagonals, ``[B, 32, 40]`` each."""
    rows, columns = (torch.linspace(1 / side - 1, 1 - 1 / side, side, device=aspect.device) for side in GRID)
    height = (1 + aspect.square()).rsqrt()
    width = aspect * height
    down = (height[:, None] * rows)[:, :, None].expand(-1, *GRID)
    across = (width[:, None] * columns)[:, None, :].expand(-1, *GRID)
    return down, across


class Corrector:
    """A trained :class:`CorrectorNetwork`, or several, and how their word is applied.

    Args:
        network: trained, one or an ensemble; it is put into evaluation mode, in fp32 on the CPU.
        cutoff: period in cells that separates the frequencies that are corrected from those that are not.
        fitted: how it was trained and what it achieves, plain JSON types.

    Raises:
        ValueError: a cut-off out of range.
    """

    def __init__(
        self,
        network: CorrectorNetwork | CorrectorEnsemble,
        cutoff: float,
        fitted: Mapping[str, Any] | None = None,
    ) -> None:
        if not CUTOFFS[0] <= cutoff <= CUTOFFS[1]:
            raise ValueError(f"cutoff must be a period from {CUTOFFS[0]:g} to {CUTOFFS[1]:g} cells, got {cutoff}")
        self.network = network.float().cpu().eval().requires_grad_(False)
        self.cutoff = float(cutoff)
        self.fitted = dict(fitted or {})

    @torch.inference_mode()
    def read(self, images: Tensor) -> Correction:
        """What it says about images ``[B, 1, H, W]`` in [0, 1], on the CPU; whole frames, not parts of them."""
        aspect = torch.full((len(images),), images.shape[-1] / images.shape[-2])
        return self.network(small_view(images.cpu()), aspect)

    def change(self, before: Tensor, after: Tensor, correction: Correction) -> Tensor:
        """What images lack to have the low frequencies that the correction calls for, and details of that contrast.

        Args:
            before: the images that were read, ``[B, 1, H, W]`` in [0, 1] on the CPU.
            after: the same images enhanced, ``[B, 1, k·H, k·W]`` on the same scale.
            correction: of :meth:`read`, or averaged over time.

        Returns:
            The shape of ``after``, to be added to it; the sum may leave the range a little.
        """
        mean, reached = (F.adaptive_avg_pool2d(images.float(), GRID)[:, 0] for images in (before, after))
        low = low_frequencies(reached, self.cutoff)
        missing = low_frequencies(correction.target(mean).clamp(0, 1) - reached, self.cutoff)
        gain = _detail_gain(correction.contrast, mean - low_frequencies(mean, self.cutoff), reached - low)
        low, missing = (
            F.interpolate(plane[:, None], after.shape[-2:], mode="bicubic", align_corners=False)
            for plane in (low, missing)
        )
        return missing + (gain - 1)[:, None, None, None] * (after.float() - low)

    def header(self) -> dict[str, Any]:
        """What a file's header says about it, in plain JSON types; :meth:`from_header` reads it."""
        return {"width": self.network.width, "cutoff": self.cutoff, "fitted": self.fitted}

    @staticmethod
    def network_of(header: Mapping[str, Any]) -> CorrectorNetwork | CorrectorEnsemble:
        """An untrained network, or ensemble, of the sizes that a file's header names, without memory of its own.

        Raises:
            ValueError: the entry is missing or of another type.
        """
        width = header.get("width")
        widths = width if isinstance(width, list) and width else [width]
        sizes = [each for each in widths if type(each) is int and each >= 8 and each % 8 == 0]
        if len(sizes) < len(widths):
            raise ValueError(f"its header has the width {width!r}; expected a multiple of 8, or a list of them")
        with torch.device("meta"):
            return CorrectorEnsemble(sizes) if isinstance(width, list) else CorrectorNetwork(sizes[0])

    @classmethod
    def from_header(cls, header: Mapping[str, Any], network: CorrectorNetwork | CorrectorEnsemble) -> Corrector:
        """The inverse of :meth:`header`, with the network.

        Raises:
            ValueError: entries are missing or of another type.
        """
        cutoff, fitted = header.get("cutoff"), header.get("fitted")
        if not isinstance(cutoff, int | float) or isinstance(cutoff, bool) or not isinstance(fitted, dict):
            raise ValueError("its header lacks the number 'cutoff' or the table 'fitted'")
        return cls(network, cutoff, fitted)
