"""How networks are computed: on which device, in which number type, and with which decoder."""

from .decoder import Decoder, load_decoder
from .devices import DTYPES, free_bytes, pick_device, pick_dtype

__all__ = ["DTYPES", "Decoder", "free_bytes", "load_decoder", "pick_device", "pick_dtype"]
