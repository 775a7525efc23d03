"""What a sensor does to an image, undone first: dead pixels, stripes, shading."""

from .defects import replaced
from .frame import SensorCorrection, SensorSettings, Switch, undo_sensor
from .noise import noise
from .stage import Profile, SensorStage, Undone, cut, joined
from .steady import at_pivot, steady

__all__ = [
    "Profile",
    "SensorCorrection",
    "SensorSettings",
    "SensorStage",
    "Switch",
    "Undone",
    "at_pivot",
    "cut",
    "joined",
    "noise",
    "replaced",
    "steady",
    "undo_sensor",
]
