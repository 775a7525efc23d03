"""Graphs that ``hidra export`` wrote, run by ONNX Runtime or OpenVINO in the place of PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from ..images import check_images, from_grey, to_grey
from .runtimes import RUNTIMES, Runtime

if TYPE_CHECKING:
    from os import PathLike

FORMAT = "hidra-onnx"
VERSION = "1"
"""``hidra.format`` and ``hidra.version`` in the metadata of a graph."""

RuntimeName = Literal["onnx", "openvino"]


class Engine:
    """A graph, ready to run.

    A graph looks at one image and both judges and enhances it. Where the DEM is to judge another image than the one
    that is enhanced, as after the sensor stage, the graph is cut at the vector, and its halves run one after the other.

    Args:
        path: the file.
        runtime: what runs it.

    Attributes:
        path: the file.
        metadata: what the file says of itself, see :func:`~hidra_core.export.export_onnx`.

    Raises:
        ValueError: not a graph of this version.
    """

    def __init__(self, path: Path, runtime: Runtime) -> None:
        self.path = path
        self.metadata = runtime.metadata()
        if self.metadata.get("hidra.format") != FORMAT or self.metadata.get("hidra.version") != VERSION:
            raise ValueError(
                f"{path} is not a graph of this release (its metadata lack hidra.format = {FORMAT}, hidra.version = "
                f"{VERSION}). Choose one that 'hidra export' wrote"
            )
        self._runtime = runtime
        self._smallest, self._largest = json.loads(self.metadata["hidra.sides"])

    @property
    def has_dem(self) -> bool:
        """Whether it estimates the degradation of each image; else one degradation is folded into it."""
        return self.metadata["hidra.graph"] == "whole"

    @property
    def has_restraint(self) -> bool:
        """Whether the restraint of the weights is in it."""
        return json.loads(self.metadata["hidra.restraint"])

    @property
    def has_corrector(self) -> bool:
        """Whether the corrector of the weights is in it."""
        return json.loads(self.metadata["hidra.corrector"])

    @property
    def strength(self) -> float:
        """Strength of the adaptation."""
        return float(self.metadata["hidra.strength"])

    def run(self, images: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Enhance images.

        Args:
            images: ``[B, 1, H, W]`` in [0, 1].
            given: what the DEM judges in their place, ``[B, 1, h, w]``; None: the images.

        Returns:
            ``[B, 1, H, W]`` in [0, 1], and the vectors ``[B, 256]``, None where one degradation is folded in.

        Raises:
            ValueError: an image whose sides the graph was not made for, or values that are not finite.
        """
        self._check_size(images)
        pixels = _array(images)
        if not self.has_dem:
            [enhanced] = self._runtime.run({"image": pixels})
            vectors = None
        elif given is None or torch.equal(given, images):
            enhanced, vectors = self._runtime.run({"image": pixels})
        else:
            self._check_size(given)
            vectors = self._runtime.judge(_array(given))
            enhanced = self._runtime.enhance(pixels, vectors)
        if not np.isfinite(enhanced).all():
            raise ValueError(f"{self.path} gave values that are not finite; export it in fp32 instead")
        return torch.from_numpy(enhanced), None if vectors is None else torch.from_numpy(vectors)

    def enhance(self, page: Tensor, given: Tensor | None = None) -> Tensor:
        """:func:`~hidra_core.enhance.enhance` of one page.

        Args:
            page: ``[H, W, C]`` in [0, 1].
            given: the page as the camera gave it, which the DEM judges; None: the page.

        Returns:
            The same shape, float32.

        Raises:
            ValueError: as :meth:`run`, or a page that is not as expected.
        """
        [page] = check_images([page])
        judged = None if given is None else to_grey(given[None]).float()
        enhanced, _ = self.run(to_grey(page[None]).float(), judged)
        return from_grey(enhanced, page[None])[0]

    def _check_size(self, images: Tensor) -> None:
        height, width = images.shape[-2:]
        if min(height, width) < self._smallest or max(height, width) > self._largest:
            raise ValueError(
                f"an image of {width}×{height} pixels: an exported graph takes sides from {self._smallest} to "
                f"{self._largest} pixels, without tiles. Enhance it with the engine torch"
            )


def open_engine(path: str | PathLike, runtime: RuntimeName, *, device: str = "auto") -> Engine:
    """Load a graph.

    Args:
        path: a file of :func:`~hidra_core.export.export_onnx`.
        runtime: ``"onnx"``: ONNX Runtime; ``"openvino"``.
        device: ``"auto"`` or ``"cpu"``; ``"cuda"`` for ONNX Runtime, ``"xpu"`` for OpenVINO.

    Raises:
        FileNotFoundError: no such file.
        ImportError: the package is not installed.
        ValueError: not a graph of this release, or a device that the runtime lacks.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}. Write it with: hidra export -o {path.name}")
    return Engine(path, RUNTIMES[runtime](path, device))


def _array(images: Tensor) -> np.ndarray:
    return np.ascontiguousarray(images.detach().cpu().float().numpy())
