"""Parts of the weights file beyond the paper: what is wrong with an image, how much to change, its low frequencies.

Probes and restraint are linear read-outs of the degradation vector; the corrector looks at the image itself.
"""

from .corrector import Correction, Corrector, CorrectorEnsemble, CorrectorNetwork
from .probes import KINDS, LEVELS, MAPS, Kind, KindReading, Probes, Reading, directions
from .restraint import BANDS, PARTS, Restraint

__all__ = [
    "BANDS",
    "Correction",
    "Corrector",
    "CorrectorEnsemble",
    "CorrectorNetwork",
    "KINDS",
    "Kind",
    "KindReading",
    "LEVELS",
    "MAPS",
    "PARTS",
    "Probes",
    "Reading",
    "Restraint",
    "directions",
]
