"""Files that optional packages read, and arrays of NumPy: recognised by their suffix.

Each reader takes the path of a file and returns :class:`Content`. A package that is not installed is named with the
extra that installs it.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...images import Metadata
from ..counts import ThermalImage

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from ..counts import LinearKelvin

CELSIUS = 273.15
"""Kelvin at 0 °C."""


@dataclass(frozen=True, eq=False)
class Content:
    """The planes of a file, with what it says about them.

    Attributes:
        counts: ``[N, H, W]`` uint8, int16, uint16, int32, uint32, float32 or float64: N planes as the file stores them.
        encoding: how the file stores them, in words.
        camera: make and model as the file states them; empty if it does not.
        relation: the relation of counts to kelvin, or None where it is not known.
        parameters: other numbers that the camera wrote (emissivity, distance in m, temperatures in K).
    """

    counts: np.ndarray
    encoding: str
    camera: str = ""
    relation: LinearKelvin | None = None
    parameters: dict[str, float] = field(default_factory=dict)

    def image(self, path: Path) -> ThermalImage:
        """The same as a file without metadata."""
        return ThermalImage(Metadata(path), self.counts, self.encoding, self.camera, self.relation, self.parameters)


def need(module: str, package: str, extra: str, path: Path) -> Any:
    """The module of an optional package.

    Args:
        module: the module to import.
        package: the name of its package in the package index.
        extra: the extra of this project that installs it.
        path: the file that needs it, for the message.

    Raises:
        ImportError: it is not installed; names the file, the package and the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{path}: {path.suffix.lower()} files are read with the package {package}, which is not installed: "
            f"pip install {package} (or 'hidra-thermal[{extra}]')"
        ) from error


def unreadable(path: Path, error: Exception | str, remedy: str) -> ValueError:
    """The error for a file that is damaged, incomplete or of a kind that its package does not read."""
    what = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else error
    return ValueError(f"{path} is damaged, incomplete or of an unknown kind ({what}); {remedy}")
