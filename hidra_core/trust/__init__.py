"""How far an enhanced image can be trusted: a comparison with its input, in numbers and as an image."""

from .compare import Trust, check_pair, compare
from .picture import trust_picture

__all__ = ["Trust", "check_pair", "compare", "trust_picture"]
