"""The small networks of the sensor stage and their file, made by ``train/sensor.py``."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load_file

from .defects import DefectNetwork
from .shading import ShadingNetwork
from .stripes import StripeNetwork

PATH = Path(__file__).with_name("networks.safetensors")
"""The file that comes with the library."""


class SensorNetworks(NamedTuple):
    """The networks, for inference on the CPU."""

    defects: DefectNetwork
    stripes: StripeNetwork
    shading: ShadingNetwork


@lru_cache(maxsize=1)
def sensor_networks() -> SensorNetworks:
    """The networks that come with the library, loaded once."""
    tensors = load_file(PATH)
    networks = SensorNetworks(DefectNetwork(), StripeNetwork(), ShadingNetwork())
    for name, network in networks._asdict().items():
        prefix = f"{name}."
        own = {key.removeprefix(prefix): value.float() for key, value in tensors.items() if key.startswith(prefix)}
        network.load_state_dict(own)
        network.eval().requires_grad_(False)
    return networks
