"""Sample pictures of our own: thermal-infrared scenes drawn from scratch."""

from .render import SCENES, render

__all__ = ["SCENES", "render"]
