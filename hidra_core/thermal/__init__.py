"""Counts of thermal cameras: reading, mapping to the networks' range, anchoring to temperatures."""

from .anchor import BLOCK, AnchorReport, anchor, bring_back
from .counts import LinearKelvin, Planck, ThermalImage, check_thermal_writable, write_thermal
from .mapping import Mapping, fit, identity, rounded
from .nonuniformity import dead_pixels, guided, noise

__all__ = [
    "BLOCK",
    "AnchorReport",
    "LinearKelvin",
    "Mapping",
    "Planck",
    "ThermalImage",
    "anchor",
    "bring_back",
    "check_thermal_writable",
    "dead_pixels",
    "fit",
    "guided",
    "identity",
    "noise",
    "rounded",
    "write_thermal",
]
