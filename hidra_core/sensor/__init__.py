"""What a sensor does to an image, undone first: dead pixels, stripes, shading."""

from .defects import replaced
from .frame import SensorCorrection, SensorSettings, Switch, undo_sensor
from .noise import noise

__all__ = ["SensorCorrection", "SensorSettings", "Switch", "noise", "replaced", "undo_sensor"]
