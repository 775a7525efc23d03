"""The palettes of thermal cameras: grey images coloured, and coloured ones brought back to grey.

A palette is 256 colours from cold to warm. The tables are this project's own: straight lines between a few colours
each, after the looks that cameras offer under these names; a camera's own table differs a little, and so does its
inverse. The inverse gives each pixel the place on the palette whose colour is nearest, and says how far it was. It is
exact to a grey level for an image that was coloured with the same table and not compressed with loss. It is not exact
where a palette returns to a colour it had before, where JPEG has mixed neighbouring colours, and under burnt-in text.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.spatial import KDTree

from ..checkpoints import checkpoint
from ..names import PALETTES

SIZE = 256
"""Colours of a palette."""

OFF_PALETTE = 12.0
"""Distance (0-255, Euclidean in RGB) above which a pixel has none of the palette's colours."""

AMBIGUOUS = 16
"""Two entries of the same colour that lie at least this far apart on the palette make that colour ambiguous."""

AT_ONCE = 1_000_000
"""Colours that are sought on a palette between two checkpoints."""

_Stops = tuple[tuple[float, tuple[int, int, int]], ...]

# For each palette its colours (0-255) at some places from 0 (cold) to 1 (warm); straight lines between them.
_STOPS: dict[str, _Stops] = {
    "white hot": ((0, (0, 0, 0)), (1, (255, 255, 255))),
    "black hot": ((0, (255, 255, 255)), (1, (0, 0, 0))),
    "ironbow": (
        (0, (2, 6, 25)),
        (0.12, (40, 8, 115)),
        (0.25, (99, 9, 155)),
        (0.375, (167, 24, 151)),
        (0.47, (205, 55, 110)),
        (0.56, (230, 98, 55)),
        (0.66, (243, 140, 18)),
        (0.78, (250, 177, 28)),
        (0.9, (252, 220, 90)),
        (1, (255, 250, 230)),
    ),
    "rainbow": (
        (0, (0, 0, 90)),
        (0.14, (0, 40, 230)),
        (0.32, (0, 190, 220)),
        (0.48, (20, 200, 60)),
        (0.64, (225, 225, 0)),
        (0.82, (245, 95, 0)),
        (0.94, (210, 0, 20)),
        (1, (255, 190, 190)),
    ),
    "rainbow high contrast": (
        (0, (10, 0, 30)),
        (0.1, (120, 0, 150)),
        (0.2, (30, 20, 210)),
        (0.32, (0, 170, 250)),
        (0.44, (0, 120, 50)),
        (0.56, (130, 230, 0)),
        (0.68, (250, 230, 0)),
        (0.8, (230, 90, 0)),
        (0.9, (170, 0, 40)),
        (1, (255, 235, 235)),
    ),
    "arctic": (
        (0, (10, 10, 60)),
        (0.22, (0, 40, 210)),
        (0.42, (20, 150, 240)),
        (0.55, (140, 150, 150)),
        (0.72, (200, 140, 40)),
        (0.9, (255, 195, 70)),
        (1, (255, 250, 225)),
    ),
    "lava": (
        (0, (0, 0, 0)),
        (0.18, (10, 45, 95)),
        (0.36, (70, 30, 110)),
        (0.52, (150, 15, 60)),
        (0.7, (225, 50, 15)),
        (0.86, (255, 160, 40)),
        (1, (255, 250, 235)),
    ),
    "glowbow": (
        (0, (0, 0, 0)),
        (0.25, (90, 10, 5)),
        (0.5, (190, 65, 5)),
        (0.75, (250, 165, 45)),
        (1, (255, 255, 225)),
    ),
    "graded fire": (
        (0, (0, 0, 0)),
        (0.3, (95, 95, 95)),
        (0.5, (165, 165, 165)),
        (0.62, (255, 235, 0)),
        (0.8, (255, 105, 0)),
        (1, (215, 0, 0)),
    ),
    "hottest": ((0, (0, 0, 0)), (0.9, (225, 225, 225)), (0.902, (255, 120, 0)), (1, (255, 0, 0))),
    "sepia": ((0, (0, 0, 0)), (0.5, (130, 90, 55)), (1, (255, 240, 210))),
    "green": ((0, (0, 0, 0)), (0.6, (20, 160, 45)), (1, (225, 255, 225))),
    # not of cameras, but of programs that colour counts: the hues at full saturation; jet and hot of MATLAB and OpenCV
    "spectrum": (
        (0, (0, 0, 255)),
        (0.25, (0, 255, 255)),
        (0.5, (0, 255, 0)),
        (0.75, (255, 255, 0)),
        (1, (255, 0, 0)),
    ),
    "jet": (
        (0, (0, 0, 128)),
        (0.125, (0, 0, 255)),
        (0.375, (0, 255, 255)),
        (0.625, (255, 255, 0)),
        (0.875, (255, 0, 0)),
        (1, (128, 0, 0)),
    ),
    "hot": ((0, (10, 0, 0)), (0.365, (255, 0, 0)), (0.746, (255, 255, 0)), (1, (255, 255, 255))),
}


@cache
def table(palette: str) -> np.ndarray:
    """The palette's colours, ``[256, 3]`` uint8, from cold to warm; read-only.

    Raises:
        ValueError: an unknown name.
    """
    if palette not in _STOPS:
        raise ValueError(f"unknown palette '{palette}'; choose one of {', '.join(PALETTES)}")
    places, colours = zip(*_STOPS[palette], strict=True)
    entries = np.linspace(0, 1, SIZE)
    channels = [np.interp(entries, places, channel) for channel in zip(*colours, strict=True)]
    colours = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    colours.setflags(write=False)
    return colours


def colour(grey: np.ndarray, palette: str) -> np.ndarray:
    """Colour a grey image.

    Args:
        grey: ``[..., H, W]`` in [0, 1], clipped; 0 is the palette's coldest colour.
        palette: one of :data:`PALETTES`.

    Returns:
        float32 ``[..., H, W, 3]`` in [0, 1]; a value between two of the 256 entries gets their mixture.
    """
    entries = table(palette).astype(np.float32) / 255
    place = np.clip(grey, 0, 1).astype(np.float32) * (SIZE - 1)
    lower = np.minimum(place.astype(np.int64), SIZE - 2)
    share = (place - lower)[..., None]
    return entries[lower] * (1 - share) + entries[lower + 1] * share


@dataclass(frozen=True, eq=False)
class Inverse:
    """A coloured image as grey.

    Attributes:
        grey: float32 ``[H, W]`` in [0, 1]; 1 is the palette's warmest colour.
        palette: which one was undone.
        distance: float32 ``[H, W]``, how far each pixel is from the palette (0-255, Euclidean in RGB).
        off_palette: share of pixels farther than :data:`OFF_PALETTE`: text, logos, another palette.
        ambiguous: share of pixels with a colour that the palette has in two places.
        warnings: why the grey values are not exact, in words; empty where they are.
    """

    grey: np.ndarray
    palette: str
    distance: np.ndarray
    off_palette: float
    ambiguous: float
    warnings: tuple[str, ...]

    def summary(self) -> str:
        """A line for a human, and one more for each warning."""
        typical, largest = np.quantile(self.distance, (0.5, 0.99))
        first = f"palette {self.palette}; colours off by {typical:.1f} (median) and {largest:.1f} (99 %) of 255"
        return "\n".join([first, *(f"warning: {warning}" for warning in self.warnings)])


def invert(colours: np.ndarray, palette: str | None = None) -> Inverse:
    """Bring an image in a palette's colours back to grey.

    Args:
        colours: ``[H, W, 3]`` in [0, 1].
        palette: one of :data:`PALETTES`; None finds out which, see :func:`detect`.

    Raises:
        ValueError: a wrong shape, an unknown name, or no palette that fits.
    """
    if colours.ndim != 3 or colours.shape[-1] != 3 or colours.size == 0:
        raise ValueError(f"a coloured image must be [H, W, 3], got {list(colours.shape)}")
    warnings = []
    if palette is None:
        palette = detect(colours)
        if palette == "white hot":
            warnings.append("the image is grey: warm is taken to be white; choose black hot if it is the reverse")
    levels = np.asarray(colours, dtype=np.float32).reshape(-1, 3) * 255
    place, distance, ambiguous = _nearest(levels, palette)
    off = float((distance > OFF_PALETTE).mean())
    doubtful = float(ambiguous.mean())
    typical = float(np.quantile(distance, 0.9))
    if doubtful > 0.001:
        warnings.append(
            f"{doubtful:.1%} of the pixels have a colour that '{palette}' has in two places; their values may be wrong"
        )
    if off > 0.001:
        warnings.append(
            f"{off:.1%} of the pixels are none of the colours of '{palette}' (text, a logo, or another palette)"
        )
    if typical > 1:
        warnings.append(
            f"colours are off the palette by up to {typical:.1f} of 255 (nine pixels in ten): JPEG compression, or a "
            "camera's own version of it; values are approximate"
        )
    shape = colours.shape[:2]
    grey = (place / (SIZE - 1)).astype(np.float32).reshape(shape)
    return Inverse(grey, palette, distance.astype(np.float32).reshape(shape), off, doubtful, tuple(warnings))


def grey_of_levels(levels: np.ndarray, palette: str) -> np.ndarray:
    """The grey of :func:`invert`, for one frame of many.

    Args:
        levels: uint8 ``[H, W, 3]``.
        palette: one of :data:`PALETTES`.

    Returns:
        float32 ``[H, W]`` in [0, 1].
    """
    packed = levels.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    colours, index = np.unique(packed, return_inverse=True)  # far fewer than pixels
    place = _nearest(np.stack([colours >> 16, colours >> 8 & 255, colours & 255], -1).astype(np.float32), palette)[0]
    return (place / (SIZE - 1)).astype(np.float32)[index].reshape(levels.shape[:2])


def rises(palette: str) -> bool:
    """Whether the luma of a palette's colours rises from cold to warm, all the way and clearly."""
    return bool(np.diff(table(palette).astype(np.float32)[:: SIZE // 16] @ np.array([0.299, 0.587, 0.114])).min() > 0)


def detect(colours: np.ndarray, samples: int = 20_000) -> str:
    """The palette that an image is coloured with; "white hot" for a grey one.

    Args:
        colours: ``[H, W, 3]`` in [0, 1].
        samples: about how many of the pixels decide.

    Raises:
        ValueError: most pixels have no palette's colour; names the nearest palette. Or two palettes fit that contradict
            each other.
    """
    levels = np.asarray(colours, dtype=np.float32).reshape(-1, 3) * 255
    levels = levels[:: max(1, len(levels) // samples)]
    places: dict[str, np.ndarray] = {}
    distances: dict[str, float] = {}
    for palette in PALETTES:
        if palette == "black hot":  # the colours of white hot
            continue
        # Limited, so that text and logos do not decide. Hot spots are few as well, but they do decide between palettes
        # that are grey elsewhere.
        places[palette], distance, _ = _nearest(levels, palette)
        distances[palette] = float(np.minimum(distance, 3 * OFF_PALETTE).mean())
    best, least = "", np.inf
    for palette, distance in distances.items():
        if distance < least - 0.01:
            best, least = palette, distance
    if least > OFF_PALETTE:
        raise ValueError(
            f"no known palette fits this image: the nearest, '{best}', is off by {least:.0f} of 255. "
            "Choose one to undo it all the same, or use the camera's grey or radiometric image"
        )
    for palette, distance in distances.items():
        if distance < 1.1 * least + 0.1 and _reverses(places[best], places[palette]):
            raise ValueError(
                f"its colours are those of '{best}' as well as of '{palette}', in which cold and warm are the other "
                "way round: choose one of them, or use the camera's grey or radiometric image"
            )
    return best


def _reverses(places: np.ndarray, others: np.ndarray) -> bool:
    """Whether two palettes put the same pixels in orders that contradict each other."""
    spread = places.std() * others.std()
    return bool(spread > 1 and ((places - places.mean()) * (others - others.mean())).mean() < 0.5 * spread)


def _nearest(levels: np.ndarray, palette: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For colours ``[N, 3]`` of 0-255: their place on the palette (0-255, with fractions), distance, whether ambiguous.

    A palette is a line of 255 segments in RGB; the nearest point is sought on the two segments of the nearest entry.
    """
    if len(levels) > AT_ONCE:
        parts = [_nearest(levels[start : start + AT_ONCE], palette) for start in range(0, len(levels), AT_ONCE)]
        place, distance, twins = (np.concatenate(column) for column in zip(*parts, strict=True))
        return place, distance, twins
    checkpoint()
    entries = table(palette).astype(np.float32)
    index = np.asarray(_tree(palette).query(levels)[1])
    place, distance = index.astype(np.float32), np.full(len(levels), np.inf, np.float32)
    for start in (np.maximum(index - 1, 0), np.minimum(index, SIZE - 2)):
        segment = entries[start + 1] - entries[start]
        length = np.maximum((segment**2).sum(-1), 1e-6)
        share = (((levels - entries[start]) * segment).sum(-1) / length).clip(0, 1)
        gap = np.sqrt(((levels - entries[start] - share[:, None] * segment) ** 2).sum(-1))
        nearer = gap < distance
        place = np.where(nearer, start + share, place)
        distance = np.where(nearer, gap, distance)
    return place, distance, _twins(palette)[index]


@cache
def _tree(palette: str) -> KDTree:
    return KDTree(table(palette).astype(np.float32))


@cache
def _twins(palette: str) -> np.ndarray:
    """``[256]`` bool: entries whose colour, except for rounding, also belongs to an entry at least AMBIGUOUS away."""
    entries = table(palette).astype(np.float32)
    gap = np.sqrt(((entries[:, None] - entries[None]) ** 2).sum(-1))
    apart = np.abs(np.subtract.outer(np.arange(SIZE), np.arange(SIZE))) >= AMBIGUOUS
    return ((gap < 3) & apart).any(axis=1)
