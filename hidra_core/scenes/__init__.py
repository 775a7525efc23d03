"""Sample images of our own: thermal-infrared scenes drawn from scratch, so that they may be shown anywhere."""

from .pan import pan
from .render import SCENES, render

__all__ = ["SCENES", "pan", "render"]
