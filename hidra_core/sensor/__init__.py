"""What a sensor does to an image, undone first: dead pixels, stripes, shading."""

from .calibration import calibrate
from .defects import replaced
from .flat import calibrate_flat
from .frame import SensorCorrection, SensorSettings, Switch, undo_sensor
from .noise import noise
from .profile import CameraProfile, Unit, load_profile

__all__ = [
    "CameraProfile",
    "SensorCorrection",
    "SensorSettings",
    "Switch",
    "Unit",
    "calibrate",
    "calibrate_flat",
    "load_profile",
    "noise",
    "replaced",
    "undo_sensor",
]
