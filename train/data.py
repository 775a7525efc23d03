"""Clean thermal images from a folder, degraded on the fly: the training set D_tr."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from hidra_core import degradations

log = logging.getLogger(__name__)

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


def load_folder(folder: Path, min_size: int) -> list[np.ndarray]:
    """All images below a folder as grey uint8 ``[H, W]``, kept in memory.

    Unreadable and too small images are counted, reported once and skipped.

    Raises:
        FileNotFoundError: the folder does not exist or has no usable image.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not files:
        raise FileNotFoundError(f"no images ({', '.join(sorted(SUFFIXES))}) below {folder}: set data.train to a folder")
    images, unreadable, small = [], [], []
    for path in files:
        try:
            with Image.open(path) as picture:
                image = np.asarray(picture.convert("L"))
        except OSError:
            unreadable.append(path)
            continue
        (images if min(image.shape) >= min_size else small).append(image)
    for reason, skipped in (("unreadable", unreadable), (f"smaller than {min_size} pixels", small)):
        if skipped:
            log.warning("skipped %d images, %s, the first: %s", len(skipped), reason, skipped[0])
    if not images:
        raise FileNotFoundError(f"no usable image below {folder}: all {len(files)} are unreadable or too small")
    return images


class DegradedCrops(Dataset):
    """An endless set of pairs: sample ``i`` is a function of ``(seed, i)`` alone.

    Args:
        images: grey uint8 ``[H, W]``, from :func:`load_folder`.
        presets: names of degradation presets and their odds.
        crop: side of the square crops in pixels.
        frame: largest side of the frame that is degraded as one picture before the crop is taken, so that shading and
            up-sampling have the scale of a camera's frame. Drawn anew for each sample between ``crop`` and this.
        seed: of the whole set.
        length: samples in the set.

    Items: ``(degraded, clean)``, float32 ``[1, crop, crop]`` in [-1, 1].
    """

    def __init__(
        self, images: list[np.ndarray], presets: dict[str, float], crop: int, frame: int, seed: int, length: int
    ) -> None:
        self.images = images
        self.presets = list(presets)
        self.odds = torch.tensor([presets[name] for name in self.presets])
        self.crop = crop
        self.frame = frame
        self.seed = seed
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + index)

        def integer(low: int, high: int) -> int:  # inclusive
            return int(torch.randint(low, high + 1, (1,), generator=generator))

        image = self.images[integer(0, len(self.images) - 1)]
        height, width = image.shape
        side = integer(self.crop, max(self.crop, self.frame))
        frame_height, frame_width = min(side, height), min(side, width)
        top, left = integer(0, height - frame_height), integer(0, width - frame_width)
        clean = torch.from_numpy(image[top : top + frame_height, left : left + frame_width].copy()).float() / 255
        if integer(0, 1):
            clean = clean.flip(1)
        preset = self.presets[int(torch.multinomial(self.odds, 1, generator=generator))]
        clean = clean[None, None]
        degraded = degradations.apply(clean, degradations.sample(preset, generator))
        top, left = integer(0, frame_height - self.crop), integer(0, frame_width - self.crop)
        window = (0, slice(None), slice(top, top + self.crop), slice(left, left + self.crop))
        return degraded[window] * 2 - 1, clean[window] * 2 - 1
