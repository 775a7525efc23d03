"""How to read files, where their content leaves it open, and counts made ready for the networks by it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from ..images.false_colour import check_choice
from ..thermal import (
    LinearKelvin,
    Mapping,
    ObjectParameters,
    Planck,
    RadiometricChain,
    Scene,
    SceneRegion,
    ThermalImage,
    fit,
    identity,
)
from ..thermal.frames import within
from ..thermal.mapping import as_scene, sample
from ..thermal.readers import RawLayout
from ..thermal.writing import is_large
from .counts import CountsSource
from .large import LargeCountsSource
from .undone import UndoneScene

if TYPE_CHECKING:
    from pathlib import Path

    from ..sensor import SensorStage
    from ..thermal import Unit
    from ..video import OnBroken
    from .flight import Flight

log = logging.getLogger(__name__)

_SAYING = Lock()  # files may be read in several threads
_MOST = (1.0, 99.0)  # percentiles between which most of the pixels lie: single dead ones decide nothing
_POSSIBLE = (150.0, 4000.0)  # K, of the middle of a scene
_WIDE = 4.0  # range used, in multiples of the range of 98 % of the pixels, above which the user is told
_COLDEST, _BETWEEN, _HOTTEST = -100.0, 180.0, 3000.0
"""Temperatures are taken for °C where the lowest is between the first two, for kelvin where it is above the second."""


@dataclass(frozen=True)
class Reading:
    """How to read files, where their content leaves it open.

    Attributes:
        raw: size and byte order of raw frames.
        region: the part of stored frames that is scene, where the user says it; not for clips and colour.
        relation: the relation of counts to kelvin, where the user knows it. Files that state their own keep it.
        force_relation: use ``relation`` for files that state their own, too.
        object_temperatures: parameters by name that replace the file's own, see :class:`ObjectParameters`: temperatures
            are then those of the objects, not apparent ones. Empty: with the file's own. None: apparent temperatures.
        unit: write temperatures in this unit, as 32-bit floating-point TIFF, instead of counts.
        mapping: one of ``hidra_core.names.MAPPINGS``; None: linear for counts, 8-bit images unchanged.
        parameters: of the mapping: ``low``, ``high`` and ``plateau``, see :mod:`hidra_core.thermal.mapping`.
        as_counts: read 8-bit images as counts too.
        on_broken: for clips, see :class:`ClipSource`.
        lossless: for clips, see :class:`ClipSource`.
        palette: turn the colours of image files and clips back to grey: one of ``hidra_core.names.PALETTES``, or
            ``auto`` for the one that is found in each file, which leaves grey files as they are.
        as_is: take the brightness of false colours as grey, which else are refused.
        sensor: what the sensor did to pages and is undone before any network sees them; None: nothing.
        flight: the mapping and the offsets of a flight's frames, see :func:`~hidra_core.sources.flight.read_flight`.

    Raises:
        ValueError: an unknown mapping or palette, parameters that a mapping does not have or that are out of range,
            or ``force_relation`` without a relation.
    """

    raw: RawLayout = field(default_factory=RawLayout)
    region: SceneRegion = field(default_factory=SceneRegion)
    relation: LinearKelvin | None = None
    force_relation: bool = False
    object_temperatures: dict[str, float] | None = None
    unit: Unit | None = None
    mapping: str | None = None
    parameters: dict[str, float] = field(default_factory=dict)
    as_counts: bool = False
    on_broken: OnBroken = "stop"
    lossless: bool = False
    palette: str | None = None
    as_is: bool = False
    sensor: SensorStage | None = None
    flight: Flight | None = None
    _said: set[str] = field(default_factory=set, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_choice(self.palette, self.as_is)
        if self.force_relation and self.relation is None:
            raise ValueError("there is no relation of counts to kelvin to force: state the kelvin per count too")
        # the mapping checks its own parameters: fit it to a small ramp
        self.fit(np.arange(64, dtype=np.uint16).reshape(1, 8, 8))

    @property
    def only_for_counts(self) -> list[str]:
        """What the user asks for that only counts have, in words."""
        asked = {
            "a mapping": self.mapping is not None or bool(self.parameters),
            "kelvin per count": self.relation is not None,
            "temperatures of objects": self.object_temperatures is not None,
            "a unit": self.unit is not None,
            "a crop, telemetry or half of the frames": self.has_region,
        }
        return [words for words, is_asked in asked.items() if is_asked]

    @property
    def wants_counts(self) -> bool:
        """Whether grey pictures are to be read as counts."""
        return self.as_counts or bool(self.only_for_counts)

    @property
    def has_region(self) -> bool:
        """Whether the user says which part is scene."""
        return self.region != SceneRegion()

    def fit(self, counts: Scene | np.ndarray) -> Mapping:
        """The mapping for counts ``[N, H, W]``: the same one for every command, node and training, and for a flight."""
        if self.flight is not None and self.flight.mapping is not None:
            return self.flight.mapping
        scene = as_scene(counts)
        kind = scene.image.counts.dtype
        if self.mapping is None and not self.parameters and kind == np.uint8:
            return identity(kind)
        return fit(self.mapping or "linear", scene, **self.parameters)

    def source(self, image: ThermalImage) -> CountsSource:
        """Counts as a source to enhance; what was assumed on the way is logged.

        Raises:
            ValueError: an option does not suit these counts.
        """
        stored = image.counts
        scene = Scene.of(self._in_region(image))
        image = self._with_relation(scene)
        image = image if self.flight is None else self.flight.levelled(image)
        scene = replace(scene, image=image)
        mapping, undone = self.fit(scene), None
        if self.sensor is not None:
            undone = UndoneScene.after(scene, self.sensor, (mapping.counts[-1] - mapping.counts[0]) / 255)
            # neither dead pixels nor stripes are to widen the range
            mapping = mapping if is_large(image) else self.fit(undone)
        for words in (*image.warnings, *_doubts(scene, mapping, shared=self.flight is not None)):
            self._say(image.path, words)
        for words in image.notes:
            log.info("%s: %s", image.path, words)
        kind = LargeCountsSource if is_large(image) else CountsSource
        source = kind(image, mapping, scene, self.unit, undone)
        source.is_stored = image.counts is stored
        return source

    def _say(self, path: Path, words: str) -> None:
        """Warn of something; of what holds for many files alike only for the first of them."""
        with _SAYING:
            is_known = words in self._said
            self._said.add(words)
        log.log(logging.INFO if is_known else logging.WARNING, "%s: %s", path, words)

    def _in_region(self, image: ThermalImage) -> ThermalImage:
        """The part of the image that the user says; rows of telemetry are masked."""
        if not self.has_region:
            return image
        size = image.counts.shape[1:]
        rows, columns = self.region.window(size, image.path)
        scene_rows = self.region.scene_rows(size, image.path)
        image = image.cut(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        if scene_rows == slice(0, image.counts.shape[1]):
            return image
        mask = np.zeros(image.counts.shape[1:], bool)
        mask[scene_rows] = True
        return replace(image, valid=within(mask, image.valid, len(image.counts)))

    def _with_relation(self, scene: Scene) -> ThermalImage:
        image = self._with_stated(scene)
        if self.object_temperatures is None:
            return image
        if not isinstance(image.relation, Planck):
            raise ValueError(
                f"{image.path} has no Planck constants, from which temperatures of objects are computed with "
                "emissivity and surroundings: only FLIR's radiometric files have them"
            )
        try:
            given = ObjectParameters.from_parameters(image.parameters, **self.object_temperatures)
        except ValueError as error:
            raise ValueError(f"{image.path}: {error}") from error
        return replace(image, relation=RadiometricChain(image.relation, given))

    def _with_stated(self, scene: Scene) -> ThermalImage:
        image = scene.image
        if image.display and (self.relation is not None or self.unit is not None):
            raise ValueError(
                f"{image.path} is an 8-bit picture for display, whose grey levels are no counts: it has no kelvin. Use "
                "the camera's 16-bit or radiometric file"
            )
        if self.relation is None:
            return _with_guess(scene)
        if image.relation is None or image.assumed or self.force_relation:
            return replace(image, relation=self.relation, assumed=False)
        if image.relation != self.relation:
            log.warning(
                "%s states its own relation of counts to kelvin, which is used instead of the one given; force the one "
                "given if it is to be used all the same",
                image.path,
            )
        return image


def _with_guess(scene: Scene) -> ThermalImage:
    """Floating-point values that can only be temperatures, with the unit that their range suggests."""
    image = scene.image
    if image.counts.dtype.kind != "f" or image.relation is not None:
        return image
    low, high = (float(limit) for limit in np.percentile(sample(scene, 1 << 20), _MOST))
    if high > _HOTTEST or low < _COLDEST or (low >= 0 and high <= 1):
        return image
    unit, offset = ("°C", 273.15) if low < _BETWEEN else ("kelvin", 0.0)
    words = f"floating-point values without a unit are taken for temperatures in {unit}, by their range; --kelvin "
    words += "1,273.15 says °C, --kelvin 1 says kelvin"
    return replace(image, relation=LinearKelvin(1.0, offset), warnings=(*image.warnings, words), assumed=True)


def _doubts(scene: Scene, mapping: Mapping, *, shared: bool) -> list[str]:
    """What looks wrong with the range of the counts or with their temperatures, in words.

    A mapping that is shared with other files may well be wide for one of them.
    """
    found = []
    some = sample(scene, 1 << 20)
    first, last = (float(limit) for limit in np.percentile(some, _MOST))
    low, high = mapping.counts[0], mapping.counts[-1]
    if mapping.kind == "linear" and not shared and last > first and high - low > _WIDE * (last - first):
        found.append(
            f"the range of its counts, {low:g} to {high:g}, is {(high - low) / (last - first):.0f} times that of 98 % "
            f"of its pixels, {first:g} to {last:g}, so the scene is flat in it. If these are no hot or cold "
            "spots, name what is no scene (--crop, --telemetry), or use --mapping percentile"
        )
    middle = np.median(some)
    kelvin = scene.image.kelvin(middle)
    if kelvin is not None and not _POSSIBLE[0] <= kelvin <= _POSSIBLE[1]:
        found.append(
            f"with its relation to kelvin the middle of its counts, {middle:g}, is {float(kelvin):.6g} K "
            f"({float(kelvin) - 273.15:.6g} °C), which is no temperature of a scene: check the relation (--kelvin)"
        )
    return found
