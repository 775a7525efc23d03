"""Every option of ``hidra enhance`` is used or refused for every kind of input: none is ignored."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers import clip_files, thermal_files
from helpers.thermal_files import frame
from PIL import Image

from hidra_core.cli import pipeline
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
    "--decoder missing.safetensors": "rrrrrr",  # tests/computing/test_decoder.py has some that are there
    "--shard 1/1": "u-uuuu",  # with a ledger
    "--shard 2/1": "rrrrrr",
    "--jobs 0": "rrrrrr",
    "--batch 0": "rrrrrr",
    "--batch 2": "-----r",  # tests/cli/test_pipeline.py has batches
    "--batch 2 --sensor only": "rrrrrr",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of each kind."""
    folder = tmp_path_factory.mktemp("inputs")
    grey = np.clip((frame().astype(float) - 16950) / 3, 0, 255).astype(np.uint8)
    Image.fromarray(grey).save(folder / "picture.png")
    with_dead(folder / "picture.png")
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
    pixels[5::12, 7::10] = 255  # so many that none must be beyond doubt by itself
    Image.fromarray(pixels).save(path)


def results(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


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


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "colours"])
def test_several_at_once_give_the_same_results(hidra, inputs, plain, tmp_path, monkeypatch, kind) -> None:
    made, original = [], pipeline.Pipeline
    monkeypatch.setattr(pipeline, "Pipeline", lambda *numbers: made.append(numbers) or original(*numbers))
    if kind not in plain:
        hidra("enhance", inputs[kind], "-o", tmp_path / "plain")
        plain[kind] = results(tmp_path / "plain")
    for part in ("a", "b"):
        (tmp_path / "in" / part).mkdir(parents=True)
        shutil.copy(inputs[kind], tmp_path / "in" / part)
    code, _, said = hidra("enhance", tmp_path / "in", "-o", tmp_path / "out", "--jobs", "2")
    assert code == 0, said
    assert made[-1] == (2, 1)
    assert plain[kind] == results(tmp_path / "out" / "a") == results(tmp_path / "out" / "b")


@pytest.mark.parametrize("kind", ["picture", "clip"])
def test_networks_are_compiled_first(hidra, inputs, tiny, tmp_path, monkeypatch, kind) -> None:
    compiled = []
    monkeypatch.setattr(type(tiny[0]), "compile", lambda *_: compiled.append(kind))
    code, said, _ = hidra("enhance", inputs[kind], "-o", tmp_path / "out", "--compile")
    assert (code, compiled, said.startswith("compiled in ")) == (0, [kind], True)
    assert results(tmp_path / "out")


def test_a_compiler_that_is_missing_is_named(hidra, inputs, tiny, tmp_path, monkeypatch) -> None:
    def fail(*_):
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(type(tiny[0]), "compile", fail)
    code, _, said = hidra("enhance", inputs["picture"], "-o", tmp_path / "out", "--compile")
    assert code == 1
    assert "--compile failed (RuntimeError: No working C++ compiler found" in said
    assert "leave out --compile" in said
    assert not (tmp_path / "out").exists()
