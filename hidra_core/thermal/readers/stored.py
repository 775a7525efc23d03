"""What an earlier result of this project says about its counts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..writing import stored_record, stored_relation

if TYPE_CHECKING:
    from ..counts import ThermalImage


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
        parameters=parameters if isinstance(parameters, dict) else image.parameters,
    )
