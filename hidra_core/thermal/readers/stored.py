"""What readers have in common: earlier results, times of frames, files small enough to be read at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image

from ..writing import stored_record, stored_relation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ...images import Metadata
    from ..counts import ThermalImage

_AT_ONCE = 64 << 20  # bytes of pixels
_ORIGINAL, _PARTS, _ZONE = (
    0x9003,
    0x9291,
    0x9011,
)  # DateTimeOriginal, SubSecTimeOriginal, OffsetTimeOriginal (Exif 2.31)


def in_memory(image: ThermalImage) -> ThermalImage:
    """A file with its pages in memory where they are few; else as it is, each page read when it is asked for."""
    if image.counts.size * image.counts.dtype.itemsize > _AT_ONCE:
        return image
    alpha, valid = (None if planes is None else np.asarray(planes) for planes in (image.alpha, image.valid))
    valid = None if valid is None or valid.all() else valid
    return replace(image, counts=np.asarray(image.counts), alpha=alpha, valid=valid)


def with_times(metadata: Metadata, times: Sequence[datetime | None]) -> Metadata:
    """Metadata in which each page of several, or the only one, says when it was taken."""
    if not any(times):
        return metadata
    blocks = []
    for time in times:
        exif = Image.Exif()
        exif.load(metadata.exif)
        if time is not None:
            exif[ExifTags.Base.DateTime] = f"{time:%Y:%m:%d %H:%M:%S}"
            entries = dict(exif.get_ifd(ExifTags.IFD.Exif))
            entries |= {_ORIGINAL: exif[ExifTags.Base.DateTime], _PARTS: f"{time.microsecond // 1000:03}"}
            if time.tzinfo is not None:
                entries[_ZONE] = f"{time:%z}"[:3] + ":" + f"{time:%z}"[3:5]
            exif[ExifTags.IFD.Exif] = entries
        blocks.append(exif.tobytes())
    if len(blocks) == 1:
        return replace(metadata, exif=blocks[0])
    return replace(metadata, layout=replace(metadata.layout, page_exif=tuple(blocks)))


def from_stored(image: ThermalImage) -> ThermalImage:
    """Counts with the record in their EXIF user comment, if they are an earlier result; else as they are."""
    pages = image.metadata.layout.page_exif
    record = stored_record(pages[0] if pages else image.metadata.exif)
    if record is None:
        return image
    parameters = record.get("parameters")
    relation = stored_relation(record, image.path)
    return replace(
        image,
        camera=str(record.get("camera", "")) or image.camera,
        relation=image.relation if relation is None else relation,
        assumed=relation is not None and record.get("assumed") is True,
        parameters=parameters if isinstance(parameters, dict) else image.parameters,
    )
