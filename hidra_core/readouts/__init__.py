"""Linear read-outs of the degradation vector, kept in the weights file: what is wrong, and how much to change."""

from .probes import KINDS, LEVELS, MAPS, Kind, KindReading, Probes, Reading, directions
from .restraint import BANDS, Restraint

__all__ = ["BANDS", "KINDS", "Kind", "KindReading", "LEVELS", "MAPS", "Probes", "Reading", "Restraint", "directions"]
