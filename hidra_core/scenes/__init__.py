"""Sample images of our own: thermal-infrared scenes drawn from scratch, so that they may be shown anywhere."""

from .render import SCENES, render

__all__ = ["SCENES", "render"]
