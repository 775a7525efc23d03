"""Image files and images: reading and writing, grey and back, palettes, search, blending."""

from .grey import check_images, display_range, from_grey, stretch, to_grey, unstretch
from .picture import (
    DECODER_ERRORS,
    EXTENSIONS,
    Metadata,
    Picture,
    check_writable,
    image_metadata,
    read_image,
    read_metadata,
    turn_upright,
    write_image,
)
from .search import find_images
from .side_by_side import comparison

__all__ = [
    "DECODER_ERRORS",
    "EXTENSIONS",
    "Metadata",
    "Picture",
    "check_images",
    "check_writable",
    "comparison",
    "display_range",
    "find_images",
    "from_grey",
    "image_metadata",
    "read_image",
    "read_metadata",
    "stretch",
    "to_grey",
    "turn_upright",
    "unstretch",
    "write_image",
]
