"""Icon and banner of the pack in the registry, from the project's own rendered scenes.

    python benchmarks/registry_pictures.py docs/images

Writes ``icon.png``, a square of 400 pixels, and ``banner.jpg``, 21 to 9. They are emblems, no results: a scene as a
striped, noisy camera sees it on the left of a line, and as it is on the right.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common import options_of
from PIL import Image, ImageDraw, ImageFont

from hidra_core import scenes
from hidra_core.images.files import atomic_path
from hidra_core.images.palettes import colour

ICON = 400
BANNER = (1344, 576)
"""Width and height."""
PALETTE = "ironbow"


def emblem(scene: str, height: int, width: int) -> Image.Image:
    """A scene in colour, striped, noisy and flat on the left of a slanted line.

    Args:
        scene: name of the scene.
        height: of the picture in pixels.
        width: of the picture in pixels.
    """
    clean = scenes.render(scene, height, width, 3)
    rng = np.random.default_rng(7)
    stripes = np.repeat(rng.normal(0, 0.09, width // 4 + 1), 4)[:width]
    degraded = 0.25 + 0.4 * clean + stripes + rng.normal(0, 0.05, clean.shape)
    y, x = np.mgrid[:height, :width]
    line = width / 2 + (height / 2 - y) * 0.3
    picture = np.where((x < line)[..., None], colour(degraded, PALETTE), colour(clean, PALETTE))
    picture[np.abs(x - line) < height / 160] = 1
    return Image.fromarray((picture * 255).round().astype(np.uint8))


def write(picture: Image.Image, place: tuple[int, int], words: str, size: int) -> None:
    """Write words with a dark edge, so that they can be read on any ground.

    Args:
        picture: to write on.
        place: left end of the line that the letters stand on, in pixels.
        words: to write.
        size: of the letters, in pixels.
    """
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size)
    draw.text(place, words, "white", font, "ls", stroke_width=max(2, size // 16), stroke_fill="black")


def main() -> None:
    """Draw icon and banner."""
    parser = options_of(__doc__)
    parser.add_argument("folder", type=Path, help="folder to write into")
    folder = parser.parse_args().folder
    width, height = BANNER
    banner = emblem("street", height, width)
    write(banner, (48, height - 96), "HiDRA", 112)
    write(banner, (52, height - 40), "thermal infrared, clear again", 40)
    for name, picture in {"icon.png": emblem("night", ICON, ICON), "banner.jpg": banner}.items():
        with atomic_path(folder / name) as temporary:
            picture.save(temporary, optimize=True, quality=85)
        print(f"{folder / name}: {picture.width} × {picture.height}")


if __name__ == "__main__":
    main()
