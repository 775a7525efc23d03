"""The one way to read a file that is to be enhanced, estimated, evaluated or trained on.

Pictures, counts of thermal cameras and clips look the same from here: pages as the networks see them.
"""

from .grey import read_grey

__all__ = ["read_grey"]
