"""Running every method on every image of a task, and measuring the outputs."""

from __future__ import annotations

import math
import re
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image

from ..enhance import enhance, estimate
from ..images.files import atomic_path
from ..sensor import SensorSettings, undo_sensor
from . import dead, fusion
from .baselines import BASELINES
from .metrics import to_8_bit
from .tasks import FUSION, Case, Task, file_name, read_page

if TYPE_CHECKING:
    from ..backbone import Backbone
    from ..weights import Weights
    from .measures import Metric
    from .perceptual import Measure

INPUT = "input"
"""The method that returns its input."""

Method = Callable[[np.ndarray], np.ndarray]
"""A function from a grey image ``[H, W]``, float32 in [0, 1], to the enhanced one."""


@runtime_checkable
class FindsDeadPixels(Protocol):
    """A method that says, too, which pixels it takes for dead."""

    def find(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The enhanced image, and ``[H, W]`` bool, the dead pixels of ``image``."""
        ...


OutputProgress = Callable[[int, str], None]
"""Called before each output with the number of outputs made so far and, in words, the next one; may raise to stop."""


# --- methods ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class AfterSensor:
    """A method on what the sensor stage leaves.

    Attributes:
        restored: from an image as the DEM judges it, and the same after the stage, to the enhanced one.
    """

    restored: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The enhanced image."""
        return self.find(image)[0]

    def find(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`FindsDeadPixels`."""
        undone, found = undo_sensor(image, SensorSettings(shading="off"), level=1 / 255)  # the networks take it off
        return self.restored(image, undone.clip(0, 1).astype(np.float32)), found.dead


def model(
    backbone: Backbone,
    weights: Weights,
    strength: float = 1.0,
    restraint: bool = True,
    corrector: bool = True,
    sensor: bool = True,
) -> Method:
    """A backbone with its weights as a method.

    Args:
        backbone: what to run on.
        weights: estimate the degradation of each image and adapt the backbone to it.
        strength: see :func:`~hidra_core.enhance.enhance`; 0 without the restraint is the bare backbone.
        restraint: see :func:`~hidra_core.enhance.enhance`.
        corrector: see :func:`~hidra_core.enhance.enhance`.
        sensor: undo first what the sensor did, as ``hidra enhance`` does.
    """

    def restored(given: np.ndarray, undone: np.ndarray) -> np.ndarray:
        seen, images = (torch.from_numpy(image)[None, :, :, None] for image in (given, undone))
        options = {"strength": strength, "restraint": restraint, "corrector": corrector}
        return enhance(images, backbone, estimate(seen, weights), **options)[0, :, :, 0].numpy()

    return AfterSensor(restored) if sensor else lambda image: restored(image, image)


def available_baselines(names: Iterable[str]) -> tuple[dict[str, Method], dict[str, str]]:
    """The baselines whose packages are installed, and for the others the reason why they are not measured.

    Args:
        names: of ``BASELINES``.
    """
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
    """Results of another fusion program: ``folder/METHOD/NAME.png`` for every enhanced image that it fused.

    METHOD is ``slug`` of the method's name, as ``--keep-outputs`` names its folders. So the program can be run on those
    folders and its results be scored in a second call.

    Attributes:
        name: name of the program in the tables.
        folder: its results.
    """

    name: str
    folder: Path

    def missing(self, method: str, task: Task) -> str | None:
        """The reason why a method cannot be scored, or None if all its fused images are there."""
        paths = (self._path(method, name) for name in task.inputs)
        return next((f"there is no {path}" for path in paths if not path.is_file()), None)

    def read(self, method: str, case: Case) -> np.ndarray:
        """The fused image, uint8 ``[H, W]``.

        Args:
            method: name of the method whose output was fused.
            case: with the sources.

        Raises:
            OSError: the file cannot be opened.
            ValueError: it is damaged, has several pages, or has another size than its sources.
        """
        path = self._path(method, case.name)
        fused = to_8_bit(read_page(path, as_is=True))
        if fused.shape != case.image.shape:
            raise ValueError(
                f"{path} has {fused.shape} pixels, its infrared source {case.image.shape}; they must agree"
            )
        return fused

    def _path(self, method: str, name: str) -> Path:
        return self.folder / slug(method) / file_name(name)


def slug(name: str) -> str:
    """A method's name as the name of a folder: ``median 5×5`` becomes ``median-5x5``."""
    plain = name.replace("×", "x").replace("\N{GREEK SMALL LETTER SIGMA}", "sigma").replace("+", "and")
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-").lower()


# --- running ---------------------------------------------------------------------------------------------------------


@dataclass
class Result:
    """The scores of one task.

    Attributes:
        task: that task.
        metrics: the columns.
        methods: the rows, in order; in the fusion task "METHOD, FUSION".
        cases: one entry per image and draw: ``name``, ``draw``, ``seed``, ``degradation``, and ``scores`` and
            ``seconds`` by method.
        sets: metrics of whole sets, by method and key.
        samples: (name of the input, images by title as uint8 ``[H, W]``) of the cases chosen for the sheet.
        missing: rows and columns that could not be measured, with the reason.
    """

    task: Task
    metrics: list[Metric]
    methods: list[str]
    cases: list[dict[str, Any]] = field(default_factory=list)
    sets: dict[str, dict[str, float]] = field(default_factory=dict)
    samples: list[tuple[str, dict[str, np.ndarray]]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def mean(self, method: str, key: str) -> float:
        """The mean of a score over the cases that have it, or its value for the whole set.

        Args:
            method: a row, of ``methods``.
            key: of a column of ``metrics``.
        """
        if key in self.sets.get(method, {}):
            return self.sets[method][key]
        return statistics.fmean(case["scores"][method][key] for case in self.cases if key in case["scores"][method])

    def infinite(self, method: str, key: str) -> tuple[int, int]:
        """How many of a row's scores are infinite, as PSNR is of identical images, and how many there are."""
        scores = [case["scores"][method][key] for case in self.cases if key in case["scores"][method]]
        return sum(map(math.isinf, scores)), len(scores)

    def measured(self, method: str, key: str) -> bool:
        """Whether a row has a score in any case: only some methods say which pixels they take for dead.

        Args:
            method: a row, of ``methods``.
            key: of a column of ``metrics``.
        """
        return key in self.sets.get(method, {}) or any(key in case["scores"][method] for case in self.cases)


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
    progress: OutputProgress | None = None,
) -> Result:
    """Give every method the same images and measure its outputs, rounded to 8 bits.

    Args:
        task: the images to work on.
        methods: by name; ``INPUT`` is added as the first.
        metrics: from ``measures.choose``.
        fusions: for the fusion task: names of ``fusion.METHODS``, or folders.
        sets: metrics of whole sets (FID), from ``perceptual.load``.
        conventions: ``mi_unit`` and ``vif_border`` of ``fusion.scores``.
        sheet_rows: number of inputs, evenly spread, to keep for the sheet.
        outputs: a folder to write every output into, as ``METHOD/NAME.png``.
        progress: see :data:`OutputProgress`.

    Raises:
        ValueError: a method returned another size than that of its input.
    """
    methods = {INPUT: lambda image: image} | dict(methods)
    progress = progress or (lambda _done, _next: None)
    result = Result(task, list(metrics), [])
    pairs = _pairs(methods, fusions, result) if task.name == FUSION else None
    result.methods = list(methods) if pairs is None else [_row(name, how) for name in methods for how in pairs[name]]
    sets = sets or {} if pairs is None and task.has_reference else {}
    chosen = {round(i * (len(task) - 1) / max(sheet_rows - 1, 1)) for i in range(min(sheet_rows, len(task)))}
    with TemporaryDirectory(prefix="hidra-evaluate-") as scratch:
        references = Path(scratch, "references")
        folder = outputs or Path(scratch, "outputs")
        for index, case in enumerate(task.cases()):
            entry: dict[str, Any] = {"name": case.name, "draw": case.draw, "scores": {}, "seconds": {}}
            if case.seed is not None:
                entry |= {"seed": case.seed, "degradation": case.record}
            sample = {}
            for done, (name, method) in enumerate(methods.items(), index * len(methods)):
                progress(done, f"{name}, {case.name}")
                output, found, entry["seconds"][name] = _output(name, method, case)
                if outputs is not None or sets:
                    _write(folder / slug(name) / file_name(case.name, case.draw), output)
                if pairs is None:
                    entry["scores"][name] = _score(output, found, case, metrics)
                    sample[name] = output
                    continue
                for how in pairs[name]:
                    fused = how.read(name, case) if isinstance(how, FusedFolder) else _fuse(how, output, case)
                    entry["scores"][_row(name, how)] = _score_fused(case, output, fused, metrics, conventions or {})
                    sample[_row(name, how)] = fused
            if sets:
                _write(references / file_name(case.name, case.draw), to_8_bit(case.partner("reference")))
            result.cases.append(entry)
            if index in chosen:
                result.samples.append((case.name, _with_sources(case, sample)))
        for key, measure in sets.items():
            for name in methods:
                progress(len(task) * len(methods), f"{key}, {name}")
                result.sets.setdefault(name, {})[key] = measure(folder / slug(name), references)
    _leave_out_unmeasured(result)
    return result


def _output(name: str, method: Method, case: Case) -> tuple[np.ndarray, np.ndarray | None, float]:
    """What a method makes of a case, rounded to 8 bits, the dead pixels that it finds, and the seconds that it needed.

    Raises:
        ValueError: the output has another size than the input.
    """
    started = time.perf_counter()
    output, found = method.find(case.image) if isinstance(method, FindsDeadPixels) else (method(case.image), None)
    seconds = round(time.perf_counter() - started, 3)
    if output.shape != case.image.shape:
        raise ValueError(f"'{name}' made {output.shape} of {case.image.shape} pixels ({case.name})")
    return to_8_bit(output), found, seconds


def _score(output: np.ndarray, found: np.ndarray | None, case: Case, metrics: Sequence[Metric]) -> dict[str, float]:
    """All scores of one output that are not those of whole sets or of a fused image."""
    scores = {metric.key: metric.function(output, case) for metric in metrics if metric.function}
    keys = {metric.key for metric in metrics}
    return scores | {key: value for key, value in dead.scores(output, case, found).items() if key in keys}


def _leave_out_unmeasured(result: Result) -> None:
    """Note the columns without any value as missing: those of dead pixels, which not every draw or method has."""
    known = any(dead.YARDSTICK in scores for case in result.cases for scores in case["scores"].values())
    reason = "no method says which pixels it takes for dead" if known else "no draw has dead pixels of known place"
    for metric in list(result.metrics):
        if not any(result.measured(method, metric.key) for method in result.methods):
            result.metrics.remove(metric)
            result.missing[metric.key] = reason


def _pairs(
    methods: Iterable[str], fusions: Sequence[str | FusedFolder], result: Result
) -> dict[str, list[str | FusedFolder]]:
    """The ways to fuse each method's images; folders that lack some are noted as missing."""
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
    return fusion.METHODS[how](infrared, to_8_bit(case.partner("visible")))


def _score_fused(
    case: Case, enhanced: np.ndarray, fused: np.ndarray, metrics: Sequence[Metric], conventions: Mapping[str, str]
) -> dict[str, float]:
    visible = case.partner("visible")
    against_original = fusion.scores(case.image, visible, fused, **conventions)
    against_enhanced = fusion.scores(enhanced, visible, fused, **conventions)
    scores = against_original | {f"{key}_enhanced": value for key, value in against_enhanced.items()}
    return {metric.key: scores[metric.key] for metric in metrics}


def _with_sources(case: Case, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if case.visible is not None:
        return {"infrared": to_8_bit(case.image), "visible": to_8_bit(case.visible)} | outputs
    return outputs | ({"reference": to_8_bit(case.reference)} if case.reference is not None else {})


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary)
