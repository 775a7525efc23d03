"""What one camera adds to every frame, found from many of them, kept in a file and undone in others."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch

from .frame import SensorCorrection, figure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

FORMAT = "hidra-camera-profile"
"""``format`` in the header of the file."""

VERSION = 1
"""``version`` in the header."""

SUFFIXES = (".safetensors", ".json")
"""Of profile files; a ``.json`` holds the same, for programs that read no safetensors."""

Unit = Literal["counts", "grey levels"]
"""What the numbers of a profile mean: counts of the sensor, or the levels 0 to 255 of 8-bit pictures."""

_SMALLEST_GAIN = 0.05
_MAPS = ("gain", "shading", "pattern", "standard_error")


@dataclass(frozen=True, eq=False)
class CameraProfile:
    """What a camera adds: its frames are ``gain · (scene + columns + rows + shading - pivot) + pivot + pattern``.

    Attributes:
        dead: ``[H, W]`` bool, pixels that do not follow the scene: dead, stuck or blinking.
        columns: offsets of the columns, ``[W]``.
        rows: offsets of the rows, ``[H]``.
        pattern: offsets of single pixels beside these, ``[H, W]``.
        standard_error: of :attr:`offsets`, ``[H, W]``: what chance and drift leave uncertain, rather
            too much than too little.
        unit: of all offsets.
        gain: ``[H, W]``, around 1; None: none was found.
        pivot: the level that the gain leaves as it is.
        shading: the smooth part of the offsets, ``[H, W]``; None: none was found.
        camera: make and model as the files state them; empty if they do not.
        about: how the profile was made, in plain JSON types: ``frames``, ``method``, ``motion``, ``uncertainty``,
            ``drift`` and ``notes``, see :func:`~hidra_core.sensor.calibrate`.

    Raises:
        ValueError: arrays whose sizes differ, numbers that are not finite, a gain that is not positive, or an unknown
            unit.
    """

    dead: np.ndarray
    columns: np.ndarray
    rows: np.ndarray
    pattern: np.ndarray
    standard_error: np.ndarray
    unit: Unit
    gain: np.ndarray | None = None
    pivot: float = 0.0
    shading: np.ndarray | None = None
    camera: str = ""
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.unit not in get_args(Unit):
            raise ValueError(f"the unit of a camera profile is {self.unit!r}; expected {' or '.join(get_args(Unit))}")
        if self.dead.ndim != 2 or self.dead.dtype != bool or self.dead.size == 0:
            raise ValueError(
                f"the map of dead pixels is {self.dead.dtype} {list(self.dead.shape)}; expected bool [H, W]"
            )
        height, width = self.dead.shape
        expected = {"columns": (width,), "rows": (height,), **dict.fromkeys(_MAPS, (height, width))}
        for name, shape in expected.items():
            array: np.ndarray | None = getattr(self, name)
            if array is None:
                if name in ("gain", "shading"):
                    continue
                raise ValueError(f"{name} of a camera profile is missing")
            if array.shape != shape or not np.isfinite(array).all():
                raise ValueError(
                    f"{name} of a camera profile is {list(array.shape)}"
                    f"{'' if np.isfinite(array).all() else ' with numbers that are not finite'}; expected finite "
                    f"{list(shape)}, as its map of dead pixels is {list(self.dead.shape)}"
                )
        if not np.isfinite(self.pivot):
            raise ValueError(f"the pivot of a camera profile is {self.pivot}; expected a finite number")
        if self.gain is not None and self.gain.min() < _SMALLEST_GAIN:
            raise ValueError(
                f"the lowest gain of a camera profile is {self.gain.min():g}; expected at least {_SMALLEST_GAIN}, and "
                "pixels below it in its map of dead pixels"
            )

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames that it is for."""
        height, width = self.dead.shape
        return width, height

    @property
    def offsets(self) -> np.ndarray:
        """What the camera adds to a scene of the level :attr:`pivot`, ``[H, W]``."""
        smooth = self.columns + self.rows[:, None] + (0.0 if self.shading is None else self.shading)
        return self.pattern + (smooth if self.gain is None else self.gain * smooth)

    def check(self, size: tuple[int, int], camera: str = "", unit: Unit | None = None) -> None:
        """Say whether the profile is for such frames.

        Args:
            size: width and height of the frames.
            camera: make and model as their file states them; empty: it does not, and any profile of the size will do.
            unit: what their numbers mean; None: not to be checked.

        Raises:
            ValueError: it is for another size, another camera or another unit.
        """
        if tuple(size) != self.size:
            own, other = (f"{width}x{height}" for width, height in (self.size, size))
            raise ValueError(
                f"the camera profile is for frames of {own}, and this one is {other}: a pattern belongs to the pixels "
                "of one sensor. Use whole frames of the camera that it was made with, or calibrate this one"
            )
        if camera and self.camera and camera.strip().casefold() != self.camera.strip().casefold():
            raise ValueError(
                f"the camera profile is of a {self.camera}, and this file of a {camera}: each sensor has a pattern of "
                "its own. Calibrate this camera with frames of it"
            )
        if unit is not None and unit != self.unit:
            raise ValueError(
                f"the camera profile is in {self.unit}, and this file in {unit}: one cannot be told from the other. "
                f"Calibrate with frames in {unit}"
            )

    def correction(self, level: float = 1.0) -> SensorCorrection:
        """The profile as what was found in a frame of its camera.

        Args:
            level: what one of 255 grey levels is in the unit of the frame.
        """
        return SensorCorrection(
            self.dead,
            self.columns,
            self.rows,
            gain=self.gain,
            pivot=self.pivot,
            shading=self.shading,
            pattern=self.pattern if self.pattern.any() else None,
            level=level,
        )

    def undo(
        self, image: np.ndarray, valid: np.ndarray | None = None, level: float = 1.0
    ) -> tuple[np.ndarray, SensorCorrection]:
        """Take what the camera adds off a frame.

        Args:
            image: ``[H, W]`` in the unit of the profile.
            valid: ``[H, W]`` bool: the pixels that may serve to replace defective ones; None: all.
            level: what one of 255 grey levels is in the unit of the image.

        Returns:
            (the frame, ``[H, W]`` floats; what was taken off)

        Raises:
            ValueError: the frame has another size.
        """
        self.check((image.shape[-1], image.shape[0]))
        correction = self.correction(level)
        return correction.apply(image, valid), correction

    def summary(self) -> str:
        """For a reader: what it is of, its parts with their sizes and uncertainties, and a line for each note."""
        (width, height), about = self.size, self.about
        frames = f"{about['frames']} frames" if "frames" in about else "an unknown number of frames"
        method = {"flat": " of a flat field", "scenes": ""}.get(about.get("method", ""), "")
        lines = [f"{self.camera or 'unknown camera'}: {width}×{height}, in {self.unit}, from {frames}{method}"]
        found = self.correction().summary(self.unit)
        uncertain = about.get("uncertainty", {})
        parts = ", ".join(f"{name} {figure(value)}" for name, value in uncertain.items() if name != "gain" and value)
        lines.append(f"{found}{f'; uncertain by {parts} {self.unit}' if parts else ''}")
        drift = about.get("drift", {})
        if drift:
            lines.append(
                f"drift from the first to the second half: columns {figure(drift['columns'])}, "
                f"rows {figure(drift['rows'])}, pixels {figure(drift['pixels'])} {self.unit}"
            )
        return "\n".join([*lines, *about.get("notes", ())])

    def save(self, path: str | PathLike) -> None:
        """Write the profile atomically.

        Args:
            path: a ``.safetensors`` or a ``.json`` file.

        Raises:
            ValueError: another suffix.
            OSError: the file cannot be written; an existing one is not changed.
        """
        from ..images.files import write_json, write_safetensors

        path = check_suffix(path)
        arrays = {name: np.asarray(array, np.float32) for name, array in self._arrays().items()}
        header = {"format": FORMAT, "version": VERSION, **self._header()}
        if path.suffix.lower() == ".json":
            packed = {name: _packed(array) for name, array in arrays.items()}
            write_json(path, {**header, "dead": np.argwhere(self.dead).tolist(), "arrays": packed})
            return
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        tensors["dead"] = torch.from_numpy(np.ascontiguousarray(self.dead))
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in header.items()}
        write_safetensors(tensors, path, texts)

    def _arrays(self) -> dict[str, np.ndarray]:
        names = ("columns", "rows", *_MAPS)
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def _header(self) -> dict[str, Any]:
        width, height = self.size
        return {
            "camera": self.camera,
            "unit": self.unit,
            "width": width,
            "height": height,
            "pivot": float(self.pivot),
            "about": self.about,
        }


def check_suffix(path: str | PathLike) -> Path:
    """The path of a profile file.

    Raises:
        ValueError: its suffix is not one of :data:`SUFFIXES`.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: camera profiles are {' or '.join(SUFFIXES)} files; give it one of these suffixes")
    return path


def load_profile(path: str | PathLike) -> CameraProfile:
    """Read a profile that :meth:`CameraProfile.save` wrote.

    Args:
        path: a ``.safetensors`` or a ``.json`` file.

    Raises:
        FileNotFoundError: no such file.
        OSError: the file cannot be read.
        ValueError: another suffix, no camera profile, one of a later version, or a damaged one.
    """
    path = check_suffix(path)
    header, arrays, dead = _read_json(path) if path.suffix.lower() == ".json" else _read_safetensors(path)
    if header.get("format") != FORMAT:
        raise ValueError(f"{path} holds no camera profile; choose a file that hidra calibrate wrote")
    version = header.get("version")
    if version != VERSION:
        raise ValueError(
            f"{path} is version {version} of the format; this release reads version {VERSION}. Update the pack"
        )
    try:
        shape = (int(header["height"]), int(header["width"]))
        if isinstance(dead, list):
            places = np.array(dead, np.int64).reshape(-1, 2)
            dead = np.zeros(shape, bool)
            dead[places[:, 0], places[:, 1]] = True
        if dead is None or dead.shape != shape:
            raise ValueError(f"its map of dead pixels is not the {shape[1]}x{shape[0]} of its header")
        numbers = {name: array.astype(np.float64) for name, array in arrays.items()}
        about = header["about"]
        if not isinstance(about, dict):
            raise TypeError("its note of how it was made is none")
        return CameraProfile(
            dead=dead.astype(bool),
            columns=numbers["columns"],
            rows=numbers["rows"],
            pattern=numbers["pattern"],
            standard_error=numbers["standard_error"],
            unit=header["unit"],
            gain=numbers.get("gain"),
            pivot=float(header["pivot"]),
            shading=numbers.get("shading"),
            camera=str(header["camera"]),
            about=about,
        )
    except KeyError as error:
        raise ValueError(f"{path} is damaged: it lacks {error}. Calibrate the camera again") from error
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}. Calibrate the camera again") from error


Read = tuple[dict[str, Any], "dict[str, np.ndarray]", "np.ndarray | list | None"]


def _read_safetensors(path: Path) -> Read:
    from ..images.files import read_safetensors

    tensors, texts = read_safetensors(path)
    header: dict[str, Any] = dict(texts)
    for name in ("version", "width", "height", "pivot", "about"):
        try:
            header[name] = json.loads(texts[name])
        except (KeyError, ValueError):  # whoever needs it says what is missing
            continue
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    return header, arrays, arrays.pop("dead", None)


def _read_json(path: Path) -> Read:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}. Check the name; camera profiles are {' or '.join(SUFFIXES)} files")
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of the encoding, too
        raise ValueError(f"{path} is not a readable JSON file ({error}). Calibrate the camera again") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        return {}, {}, None
    packed, dead = header.pop("arrays", {}), header.pop("dead", None)
    try:
        return header, {name: _unpacked(array) for name, array in packed.items()}, dead
    except (AttributeError, KeyError, TypeError, ValueError, binascii.Error) as error:
        raise ValueError(f"{path} is damaged: {error}. Calibrate the camera again") from error


def _packed(array: np.ndarray) -> dict[str, Any]:
    """Numbers as text: 32-bit floats, least significant byte first."""
    return {"shape": list(array.shape), "float32": base64.b64encode(array.astype("<f4").tobytes()).decode("ascii")}


def _unpacked(packed: Mapping[str, Any]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed["float32"], validate=True), "<f4").reshape(packed["shape"])
