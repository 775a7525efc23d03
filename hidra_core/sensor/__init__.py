"""What a sensor does to an image, undone first: dead pixels, stripes, shading."""

from .calibration import calibrate
from .defects import replaced
from .flat import calibrate_flat
from .frame import SensorCorrection, SensorSettings, Switch, undo_sensor
from .noise import noise
from .profile import CameraProfile, Unit, load_profile
from .stage import Profile, SensorStage, Undone, cut, joined
from .steady import at_pivot, steady

__all__ = [
    "CameraProfile",
    "Profile",
    "SensorCorrection",
    "SensorSettings",
    "SensorStage",
    "Switch",
    "Undone",
    "Unit",
    "at_pivot",
    "calibrate",
    "calibrate_flat",
    "cut",
    "joined",
    "load_profile",
    "noise",
    "replaced",
    "steady",
    "undo_sensor",
]
