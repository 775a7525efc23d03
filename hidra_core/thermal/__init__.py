"""Counts of thermal cameras: reading, mapping to the networks' range, anchoring to temperatures."""

from ..sensor import noise
from .anchor import anchor, bring_back, bring_page_back, check_fits
from .anchor_report import BLOCK, AnchorReport, with_kelvin
from .counts import LinearKelvin, Planck, ThermalImage
from .frames import Frames, Planes
from .mapping import Mapping, fit, identity, rounded, scene_range
from .masking import Scene
from .nonuniformity import dead_pixels, guided
from .radiometry import ObjectParameters, RadiometricChain
from .scene import SceneRegion
from .writing import Unit, check_thermal_writable, write_thermal

__all__ = [
    "BLOCK",
    "AnchorReport",
    "Frames",
    "LinearKelvin",
    "ObjectParameters",
    "RadiometricChain",
    "SceneRegion",
    "Mapping",
    "Planck",
    "Planes",
    "Scene",
    "ThermalImage",
    "Unit",
    "anchor",
    "bring_back",
    "bring_page_back",
    "check_fits",
    "check_thermal_writable",
    "dead_pixels",
    "fit",
    "guided",
    "identity",
    "noise",
    "rounded",
    "scene_range",
    "with_kelvin",
    "write_thermal",
]
