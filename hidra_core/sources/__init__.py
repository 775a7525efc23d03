"""The one way to read a file that is to be enhanced, estimated, baked, evaluated or trained on.

Ordinary image files, counts of thermal cameras and clips all become a :class:`Source`: it gives their pages as the
networks see them, and has one method that writes the enhanced file.
"""

from .base import Beside, Change, Enhance, Source
from .clip import ClipSource
from .counts import CountsSource
from .enhancing import Running, enhance_file
from .frames import CameraFrames, camera_of, planes_of, unit_of
from .grey import read_grey
from .opening import open_images, open_source, result_suffix
from .picture import PictureSource
from .reading import Reading

__all__ = [
    "Beside",
    "CameraFrames",
    "Change",
    "ClipSource",
    "CountsSource",
    "Enhance",
    "PictureSource",
    "Reading",
    "Running",
    "Source",
    "camera_of",
    "enhance_file",
    "open_images",
    "open_source",
    "planes_of",
    "read_grey",
    "result_suffix",
    "unit_of",
]
