"""HiDRA as a plain PyTorch library: hierarchical degradation representation and adaptation for thermal images.

Four calls, one for each step of the method::

    backbone    = hidra_core.load_backbone("hidra-tiny")
    weights     = hidra_core.load_weights("hidra-tiny")
    degradation = hidra_core.estimate(images, weights)           # .vectors [B, 256]
    enhanced    = hidra_core.enhance(images, backbone, degradation)

Images are ``[B, H, W, C]`` floats in [0, 1], or a list of ``[H, W, C]`` of any sizes.
"""

from .backbone import Backbone, DiffusersBackbone, load_backbone
from .enhance import DegradationVectors, enhance, estimate
from .names import HIDRA_TINY
from .weights import Weights, load_weights, save_weights

__version__ = "0.1.0"

__all__ = [
    "HIDRA_TINY",
    "Backbone",
    "DegradationVectors",
    "DiffusersBackbone",
    "Weights",
    "enhance",
    "estimate",
    "load_backbone",
    "load_weights",
    "save_weights",
]
