"""Running every method on every picture of a task, and measuring what comes out."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from ..enhance import enhance, estimate
from ..images import read_image, to_grey
from ..images.files import atomic_path
from . import fusion
from .baselines import BASELINES
from .metrics import to_8_bit
from .tasks import FUSION, Case, Task, file_name

if TYPE_CHECKING:
    from ..backbone import Backbone
    from ..weights import Weights
    from .measures import Metric
    from .perceptual import Measure

INPUT = "input"
"""The method that does nothing."""

Method = Callable[[np.ndarray], np.ndarray]
"""A grey picture ``[H, W]`` float32 in [0, 1] in, the enhanced one out."""

Progress = Callable[[int, str], None]
"""Called with the number of outputs made so far and what comes next, in words; may raise to stop."""


# --- methods ---------------------------------------------------------------------------------------------------------


def model(backbone: Backbone, weights: Weights, strength: float = 1.0, restraint: bool = True) -> Method:
    """The network as a method; strength 0 without the restraint is the bare backbone."""

    def method(image: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(image)[None, :, :, None]
        degradation = estimate(images, weights)
        return enhance(images, backbone, degradation, strength=strength, restraint=restraint)[0, :, :, 0].numpy()

    return method


def available_baselines(names: Iterable[str]) -> tuple[dict[str, Method], dict[str, str]]:
    """The baselines whose packages are here, and for the others the reason why they are not measured."""
    methods, missing = {}, {}
    trial = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    for name in names:
        try:
            BASELINES[name](trial)
        except ImportError as error:
            missing[name] = str(error)
        else:
            methods[name] = BASELINES[name]
    return methods, missing


@dataclass(frozen=True)
class FusedFolder:
    """Results of another fusion program: ``folder/METHOD/NAME.png`` for every enhanced picture that it fused.

    METHOD is ``slug`` of the method's name, as ``--keep-outputs`` names its folders; so the program can be run on
    those and its results be scored in a second call.
    """

    name: str
    folder: Path

    def missing(self, method: str, task: Task) -> str | None:
        """Why a method cannot be scored, or None if all its pictures are there."""
        paths = (self._path(method, name) for name in task.inputs)
        return next((f"there is no {path}" for path in paths if not path.is_file()), None)

    def read(self, method: str, case: Case) -> np.ndarray:
        """The fused picture, uint8 ``[H, W]``.

        Raises:
            ValueError: it has another size than its sources.
        """
        path = self._path(method, case.name)
        fused = to_8_bit(to_grey(torch.from_numpy(read_image(path).pixels)[None])[0, 0].numpy())
        if fused.shape != case.image.shape:
            raise ValueError(
                f"{path} has {fused.shape} pixels, its infrared source {case.image.shape}; they must agree"
            )
        return fused

    def _path(self, method: str, name: str) -> Path:
        return self.folder / slug(method) / file_name(name)


def slug(name: str) -> str:
    """A method's name as a folder's: ``median 5×5`` becomes ``median-5x5``."""
    plain = name.replace("×", "x").replace("σ", "sigma").replace("+", "and")
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-").lower()


# --- running ---------------------------------------------------------------------------------------------------------


@dataclass
class Result:
    """What was measured on one task.

    Attributes:
        task: that task.
        metrics: the columns.
        methods: the rows, in order; in the fusion task "METHOD, FUSION".
        cases: one entry a picture and draw: ``name``, ``draw``, ``seed``, ``degradation``, and ``scores`` and
            ``seconds`` by method.
        sets: metrics of whole sets, by method and key.
        samples: (picture's name, pictures by title as uint8 ``[H, W]``) of the cases chosen for the sheet.
        missing: rows and columns that could not be measured, and why.
    """

    task: Task
    metrics: list[Metric]
    methods: list[str]
    cases: list[dict[str, Any]] = field(default_factory=list)
    sets: dict[str, dict[str, float]] = field(default_factory=dict)
    samples: list[tuple[str, dict[str, np.ndarray]]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def mean(self, method: str, key: str) -> float:
        """Mean over the cases, or the value of the whole set."""
        if key in self.sets.get(method, {}):
            return self.sets[method][key]
        return statistics.fmean(case["scores"][method][key] for case in self.cases)


def run(
    task: Task,
    methods: Mapping[str, Method],
    metrics: Sequence[Metric],
    *,
    fusions: Sequence[str | FusedFolder] = (),
    sets: Mapping[str, Measure] | None = None,
    conventions: Mapping[str, str] | None = None,
    sheet_rows: int = 0,
    outputs: Path | None = None,
    progress: Progress = lambda picture, method: None,
) -> Result:
    """Give every method the same pictures and measure its outputs, rounded to 8 bits.

    Args:
        task: what to work on.
        methods: by name; ``INPUT`` is added as the first.
        metrics: from ``measures.choose``.
        fusions: for the fusion task: names of ``fusion.METHODS`` or folders.
        sets: metrics of whole sets (FID), from ``perceptual.load``.
        conventions: ``mi_unit`` and ``vif_border`` of ``fusion.scores``.
        sheet_rows: pictures, evenly spread, to keep for the sheet.
        outputs: a folder to write every output into, as ``METHOD/NAME.png``.
        progress: see :data:`Progress`.

    Raises:
        ValueError: a method returned another size than it was given.
    """
    methods = {INPUT: lambda image: image} | dict(methods)
    result = Result(task, list(metrics), [])
    pairs = _pairs(methods, fusions, result) if task.name == FUSION else {}
    result.methods = [_row(name, how) for name in methods for how in pairs[name]] if pairs else list(methods)
    sets = {} if task.name == FUSION or not task.has_reference else sets or {}
    with TemporaryDirectory(prefix="hidra-evaluate-") as scratch:
        folder = Path(scratch) if outputs is None and sets else outputs
        chosen = {round(i * (len(task) - 1) / max(sheet_rows - 1, 1)) for i in range(min(sheet_rows, len(task)))}
        for index, case in enumerate(task.cases()):
            entry: dict[str, Any] = {"name": case.name, "draw": case.draw, "scores": {}, "seconds": {}}
            if case.seed is not None:
                entry |= {"seed": case.seed, "degradation": case.record}
            sample = {}
            for done, (name, method) in enumerate(methods.items(), index * len(methods)):
                progress(done, f"{name}, {case.name}")
                started = time.perf_counter()
                output = method(case.image)
                entry["seconds"][name] = round(time.perf_counter() - started, 3)
                if output.shape != case.image.shape:
                    raise ValueError(f"'{name}' made {output.shape} of {case.image.shape} pixels ({case.name})")
                output = to_8_bit(output)
                if folder is not None:
                    _write(folder / slug(name) / file_name(case.name, case.draw), output)
                if task.name == FUSION:
                    for how in pairs[name]:
                        fused = how.read(name, case) if isinstance(how, FusedFolder) else _fuse(how, output, case)
                        entry["scores"][_row(name, how)] = _score_fused(case, output, fused, metrics, conventions or {})
                        sample[_row(name, how)] = fused
                else:
                    entry["scores"][name] = {m.key: m.function(output, case) for m in metrics if m.function}
                    sample[name] = output
            if sets:
                _write(Path(scratch, "reference", file_name(case.name, case.draw)), to_8_bit(case.reference))
            result.cases.append(entry)
            if index in chosen:
                result.samples.append((case.name, _with_sources(case, sample)))
        for key, measure in sets.items():
            for name in methods:
                progress(len(task) * len(methods), f"{key}, {name}")
                value = measure(folder / slug(name), Path(scratch, "reference"))
                result.sets.setdefault(name, {})[key] = value
    return result


def _pairs(
    methods: Iterable[str], fusions: Sequence[str | FusedFolder], result: Result
) -> dict[str, list[str | FusedFolder]]:
    """The ways to fuse each method's pictures; folders without them are noted as missing."""
    pairs: dict[str, list[str | FusedFolder]] = {}
    for name in methods:
        pairs[name] = []
        for how in fusions:
            reason = how.missing(name, result.task) if isinstance(how, FusedFolder) else None
            if reason is None:
                pairs[name].append(how)
            else:
                result.missing[_row(name, how)] = reason
    return pairs


def _row(method: str, how: str | FusedFolder) -> str:
    return f"{method}, {how.name if isinstance(how, FusedFolder) else how}"


def _fuse(how: str, infrared: np.ndarray, case: Case) -> np.ndarray:
    return fusion.METHODS[how](infrared, to_8_bit(case.visible))


def _score_fused(
    case: Case, enhanced: np.ndarray, fused: np.ndarray, metrics: Sequence[Metric], conventions: Mapping[str, str]
) -> dict[str, float]:
    against_original = fusion.scores(case.image, case.visible, fused, **conventions)
    against_enhanced = fusion.scores(enhanced, case.visible, fused, **conventions)
    found = against_original | {f"{key}_enhanced": value for key, value in against_enhanced.items()}
    return {metric.key: found[metric.key] for metric in metrics}


def _with_sources(case: Case, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if case.visible is not None:
        return {"infrared": to_8_bit(case.image), "visible": to_8_bit(case.visible)} | outputs
    return outputs | ({"reference": to_8_bit(case.reference)} if case.reference is not None else {})


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary)
