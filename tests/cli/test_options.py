"""Every option of ``hidra enhance`` is used or refused for every kind of input: none is ignored."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers import clip_files, thermal_files
from helpers.commands import save_picture
from helpers.thermal_files import frame
from PIL import Image

from hidra_core.images import palettes

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ("picture", "colours", "counts", "raw", "flir", "clip")

# option: for each of KINDS whether it is used (u), refused (r), or another word for what is so already (-)
TABLE = {
    "--strength 0": "u-uuuu",
    "--upscale 2": "u-uuuu",
    "--blend 0.5": "u-uuuu",
    "--low-frequencies 0": "u-uuuu",
    "--no-restraint": "u-uuuu",
    "--no-corrector": "u-uuuu",
    "--compare": "u-uuuu",
    "--report": "u-uuur",
    "--format tiff": "u-u--r",
    "--mapping percentile": "uruuur",
    "--mapping plateau --plateau 5": "uruuur",
    "--limits 10 20": "uruuur",
    "--kelvin 0.01": "rruu-r",
    "--kelvin 0.01 --force-kelvin": "rruuur",
    "--unit celsius": "rrrrur",
    "--object-temperatures": "rrrr-r",
    "--emissivity 0.5 --reflected-temperature 20 --air-temperature 20 --unit celsius": "rrrrur",
    "--radiometric": "uruuur",
    "--radiometric --shading": "uruuur",
    "--crop 8,8,40x32": "uruuur",
    "--telemetry 0,4": "uruuur",
    "--plane lower": "uruuur",
    "--flight": "rrrrrr",  # of one file; tests/sensor/test_flights.py has flights
    "--palette auto": "-u----",
    "--palette ironbow": "rurrrr",
    "--as-is": "-u----",
    "--raw-size 128x24": "rrrurr",
    "--raw-order big": "rrrurr",
    "--raw-offset 6144": "rrrurr",
    "--sensor off": "u-uuuu",
    "--sensor only": "u-uuuu",
    "--camera missing.safetensors": "rrrrrr",
    "--lossless": "rrrrru",
    "--degradation-per clip": "rrrrru",
    "--smoothing 0": "rrrrru",
    "--on-broken-frame skip": "rrrrr-",
    "--engine onnx": "rrrrrr",  # without a graph; test_export.py has one
    "--graph missing.onnx": "rrrrrr",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of each kind."""
    folder = tmp_path_factory.mktemp("inputs")
    grey = np.clip((frame().astype(float) - 16950) / 3, 0, 255).astype(np.uint8)
    with_dead(save_picture(folder / "picture.png"))
    ironbow = palettes.colour(grey / 255, "ironbow")
    Image.fromarray(np.rint(ironbow * 255).astype(np.uint8)).save(folder / "colours.png")
    counts = frame()
    counts[20, 30] = 19000  # dead, for the sensor stage
    Image.fromarray(counts).save(folder / "counts.png")
    np.stack([counts, frame(seed=1)]).astype("<u2").tofile(folder / "raw_64x48.raw")
    thermal_files.flir_jpeg(folder / "flir.jpg", thermal_files.fff(counts))
    clip_files.write_clip(folder / "clip.mp4", clip_files.static_scene(3))
    names = ("picture.png", "colours.png", "counts.png", "raw_64x48.raw", "flir.jpg", "clip.mp4")
    return {kind: folder / name for kind, name in zip(KINDS, names, strict=True)}


def with_dead(path: Path) -> None:
    with Image.open(path) as image:
        pixels = np.asarray(image).copy()
    pixels[20, 30] = 255
    Image.fromarray(pixels).save(path)


def results(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def plain() -> dict[str, dict[str, str]]:
    """Results without any option, by kind; made when they are first asked for."""
    return {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", TABLE)
def test_used_or_refused(hidra, inputs, plain, tmp_path, option, kind) -> None:
    expected = TABLE[option][KINDS.index(kind)]
    if expected == "-":
        return
    if kind not in plain:
        hidra("enhance", inputs[kind], "-o", tmp_path / "plain")
        plain[kind] = results(tmp_path / "plain") if (tmp_path / "plain").exists() else {}
    code, _, said = hidra("enhance", inputs[kind], "-o", tmp_path / "out", *option.split())
    made = results(tmp_path / "out") if (tmp_path / "out").exists() else {}
    if expected == "r":
        assert code != 0, "it should be refused"
        assert made == {}
        assert said.startswith("hidra: error:") or "\nhidra: error:" in said
    else:
        assert code == 0, said
        assert made != plain[kind], "it was ignored"
