"""The library's messages in the words of the nodes: inputs instead of options of the command line."""

from __future__ import annotations

import re

INPUTS = {
    "--raw-size": "raw_size",
    "--raw-order": "raw_order",
    "--raw-offset": "raw_offset",
    "--plane": "plane",
    "--crop": "crop",
    "--telemetry": "telemetry",
    "--mapping": "mapping",
    "--kelvin": "kelvin_per_count",
    "--palette": "palette",
    "--as-is": "palette none",
    "--flat": "flat",
    "hidra calibrate": "Calibrate Thermal Camera",
    "give the file too that the images were made from": "connect thermal, from Load Thermal Image, too",
    "turn their palette back into greys first": "use Colour Thermal Image (colour to grey) first",
    "use .tiff": "set format to TIFF",
    "Fit them with train/probing/probes.py, or use weights that have them": "Choose weights that have them, such as "
    "hidra-tiny",
    "state the kelvin per count": "set kelvin_per_count",
    "force the one given": "turn force_kelvin on",
    "turn the palette back into greys first": "use Load Image and Colour Thermal Image (colour to grey)",
}
"""What messages of the library say, and what users of the nodes set instead."""

_KNOWN = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, INPUTS))})(?![\w-])")


def in_words_of_nodes(message: str) -> str:
    """A message of the library, for users of the nodes.

    Args:
        message: an error, a warning or a note.
    """
    return _KNOWN.sub(lambda found: INPUTS[found[1]], message)
