"""The graph as an ONNX file: traced, written with what it is in its metadata, and compared with PyTorch."""

from __future__ import annotations

import json
import logging
import os
import warnings
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..enhance import DegradationVectors, check_options, enhance, estimate
from ..vectors import about
from .engine import FORMAT, VERSION, open_engine
from .graph import LARGEST_SIDE, SMALLEST_SIDE, Graph, check_fits
from .tracing import traceable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from ..backbone import DiffusersBackbone
    from ..weights import Weights

log = logging.getLogger(__name__)

OPSET = 18
"""Version of ONNX's operators; the oldest that the exporter writes, which most programs read."""

SIMPLIFIED = True
"""Whether constants of a graph are computed beforehand: this takes as long again, and programs load it far faster."""

TOLERANCES = {torch.float32: 2e-3, torch.float16: 2e-2}
"""Largest difference to PyTorch in [0, 1] with which a file is written, by the networks' number type."""

_TRACED = (2, 1, 77, 111)
"""Shape of the image that the graph is traced with; no side is a multiple of anything that matters."""

_CHECKED = ((1, 1, 96, 128), (3, 1, 77, 111))
"""Shapes of the images on which a file is compared with PyTorch."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the file.
        files: all files that belong to it: a graph of more than 2 GB has its numbers in a second one.
        difference: largest difference to PyTorch in [0, 1]; None where ONNX Runtime is not installed.
    """

    path: Path
    files: tuple[Path, ...]
    difference: float | None


def export_onnx(
    path: str | PathLike,
    weights: Weights,
    backbone: DiffusersBackbone,
    *,
    degradation: DegradationVectors | None = None,
    strength: float = 1.0,
    restraint: bool = True,
    corrector: bool = True,
) -> Exported:
    """Write the way from an image to its enhanced version as ONNX, for any batch, height and width.

    The input is ``image``, ``[batch, 1, height, width]`` float32 in [0, 1], with sides from 33 to 1024 pixels. The
    outputs are ``enhanced``, of that shape, and ``vector``, ``[batch, 256]``, which a graph for one degradation lacks.

    Args:
        path: a ``.onnx`` file.
        weights: DEM and adapter, on the CPU.
        backbone: for these weights, on the CPU; its number type, fp32 or fp16, is that of the networks in the file. The
            DEM, the corrector and the restraint are in fp32, as in PyTorch.
        degradation: one vector, which is folded into the networks' weights; None: each image gets its own.
        strength: see :func:`~hidra_core.enhance.enhance`.
        restraint: see :func:`~hidra_core.enhance.enhance`.
        corrector: see :func:`~hidra_core.enhance.enhance`.

    Raises:
        ValueError: another suffix, another number type, several vectors, weights for another backbone, or a file that
            differs from PyTorch by more than :data:`TOLERANCES`; nothing is written then.
        ImportError: ``onnx`` or ``onnxscript`` is not installed.
        OSError: the file cannot be written; an existing one stays untouched.
    """
    path = Path(path)
    _check(path, weights, backbone, degradation, strength)
    vector = None if degradation is None else degradation.vectors
    graph = Graph(weights, backbone, vector=vector, strength=strength, restraint=restraint, corrector=corrector).eval()
    folded = nullcontext()
    if vector is not None:
        folded = backbone.folded(weights.adapter.modulate(vector, strength))
    with folded:
        program = _program(graph)
    metadata = {
        "hidra.format": FORMAT,
        "hidra.version": VERSION,
        "hidra.graph": "whole" if degradation is None else "folded",
        "hidra.dtype": "fp32" if backbone.dtype == torch.float32 else "fp16",
        "hidra.opset": str(OPSET),
        "hidra.strength": f"{strength:g}",
        "hidra.restraint": json.dumps(graph.restraint is not None),
        "hidra.corrector": json.dumps(graph.corrector is not None),
        "hidra.sides": json.dumps([SMALLEST_SIDE, LARGEST_SIDE]),
        **{f"weights.{key}": text for key, text in weights.metadata.items()},
    }
    belongs = degradation or DegradationVectors(torch.zeros(1, 256), weights)
    metadata |= {f"hidra.{key}": text for key, text in about(belongs).items()}
    if degradation is not None:
        metadata["hidra.vector"] = json.dumps([float(f"{value:.9g}") for value in degradation.vectors[0].tolist()])
    program.model.metadata_props.update(metadata)

    options = {"strength": strength, "restraint": restraint, "corrector": corrector}
    with TemporaryDirectory(dir=path.absolute().parent, prefix=f".{path.stem}-") as folder:
        temporary = Path(folder, path.name)
        program.save(temporary)
        difference = _difference(temporary, weights, backbone, degradation, options)
        files = sorted(Path(folder).iterdir(), key=lambda file: file == temporary)  # the graph comes last
        for file in files:
            os.replace(file, path.with_name(file.name))
    return Exported(path, tuple(path.with_name(file.name) for file in files), difference)


def _check(
    path: Path,
    weights: Weights,
    backbone: DiffusersBackbone,
    degradation: DegradationVectors | None,
    strength: float,
) -> None:
    """Raise what :func:`export_onnx` says before any work."""
    if path.suffix != ".onnx":
        raise ValueError(f"{path}: graphs are written as .onnx; give the file that suffix")
    for module in ("onnx", "onnxscript"):
        if find_spec(module) is None:
            raise ImportError(f'export needs {module}: pip install "hidra-thermal[onnx]"')
    check_options(strength, 1, None)
    check_fits(weights, backbone)
    if backbone.dtype not in TOLERANCES:
        raise ValueError(f"networks are exported in fp32 or fp16, not in {backbone.dtype}: load the backbone in one")
    if degradation is not None and len(degradation) != 1:
        raise ValueError(f"a graph has one degradation folded in, not {len(degradation)}: average them first")


def _program(graph: Graph) -> Any:
    """The traced graph as ``torch.onnx.ONNXProgram``, with names for the free sides."""
    free = torch.export.Dim.DYNAMIC
    estimator = graph.estimator
    image = torch.linspace(0, 1, 2 * 77 * 111).view(_TRACED)
    with traceable(None if estimator is None else estimator.backbone), _without_warnings():
        traced = torch.export.export(graph, (image,), dynamic_shapes=({0: free, 2: free, 3: free},), strict=False)
    names = ["enhanced"] if estimator is None else ["enhanced", "vector"]
    with _without_warnings():
        program = torch.onnx.export(
            traced,
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=names,
            optimize=SIMPLIFIED,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("the exporter gave no graph")
    free_sides = {0: "batch", 2: "height", 3: "width"}
    for value in (*program.model.graph.inputs, *program.model.graph.outputs):
        shape: Any = value.shape
        value.shape = type(shape)([free_sides.get(axis, side) for axis, side in enumerate(shape)])
    return program


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Within the block the exporter's warnings about PyTorch's own internals are not shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def check_images() -> list[Tensor]:
    """Images to compare on, ``[B, 1, H, W]``: smooth shapes of little contrast, with noise."""
    generator = torch.Generator().manual_seed(0)
    images = []
    for shape in _CHECKED:
        coarse = torch.rand(shape[0], 1, 7, 9, generator=generator)
        smooth = F.interpolate(coarse, shape[2:], mode="bicubic").clamp(0, 1) * 0.6 + 0.2
        images.append((smooth + 0.05 * torch.randn(shape, generator=generator)).clamp(0, 1))
    return images


def _difference(
    path: Path,
    weights: Weights,
    backbone: DiffusersBackbone,
    degradation: DegradationVectors | None,
    options: dict[str, Any],
) -> float | None:
    """Largest difference between a file and PyTorch; None without ONNX Runtime; ValueError if it is too large."""
    if find_spec("onnxruntime") is None:
        return None
    engine = open_engine(path, "onnx", device="cpu")
    largest = 0.0
    for image in check_images():
        pages = image.movedim(1, -1)
        known = estimate(pages, weights) if degradation is None else degradation
        expected = enhance(pages, backbone, known, tile=None, **options).movedim(-1, 1)
        found, vectors = engine.run(image)
        largest = max(largest, float((found - expected).abs().max()))
        if vectors is not None:
            scale = float(known.vectors.abs().max())
            largest = max(largest, float((vectors - known.vectors).abs().max()) / max(scale, 1.0))
    if not largest <= TOLERANCES[backbone.dtype]:
        raise ValueError(
            f"{path.name} is not written: in ONNX Runtime its results differ from PyTorch by up to {largest:.2g} in "
            f"[0, 1], and at most {TOLERANCES[backbone.dtype]:g} is allowed. Please report the versions of torch, onnx "
            "and onnxscript"
        )
    return largest
