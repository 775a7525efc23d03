"""What a sensor does to an image, undone first: dead pixels, stripes, shading."""

from .defects import find_dead, replaced
from .frame import SensorCorrection, SensorSettings, Switch, undo_sensor
from .noise import noise
from .stage import Profile, SensorStage, Undone, joined
from .steady import steady

__all__ = [
    "Profile",
    "SensorCorrection",
    "SensorSettings",
    "SensorStage",
    "Switch",
    "Undone",
    "find_dead",
    "joined",
    "noise",
    "replaced",
    "steady",
    "undo_sensor",
]
