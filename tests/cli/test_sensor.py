"""``hidra enhance`` with the sensor stage."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from helpers import clip_files, thermal_files
from PIL import Image

from hidra_core import degradations, scenes
from hidra_core.sensor import SensorSettings, SensorStage, undo_sensor
from hidra_core.sources import Reading, open_source

if TYPE_CHECKING:
    from pathlib import Path

HEIGHT, WIDTH = 96, 128
KINDS = {"picture": "picture.png", "counts": "counts.png", "flir": "flir.jpg", "clip": "clip.mkv"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A scene with a dead pixel and stripes, as a file of each kind."""
    folder = tmp_path_factory.mktemp("inputs")
    scene = torch.from_numpy(scenes.render("field", HEIGHT, WIDTH, 0))[None, None]
    record = degradations.DegradationRecord(
        seed=0, stripes=(degradations.Stripes("column", 0.05, 8.0),), gaussian_sigma=2.0
    )
    levels = degradations.apply(scene, record)[0, 0].numpy() * 255
    levels = 40 + 0.6 * levels
    levels[40, 50] = 255
    counts = np.rint(7000 + 10 * levels).astype(np.uint16)
    files = {kind: folder / name for kind, name in KINDS.items()}
    Image.fromarray(np.rint(levels).astype(np.uint8)).save(files["picture"])
    Image.fromarray(counts).save(files["counts"])
    thermal_files.flir_jpeg(files["flir"], thermal_files.fff(counts))
    frames = [torch.from_numpy(levels / 255)[..., None].float()] * 3
    clip_files.write_clip(files["clip"], frames, codec="ffv1", layout="gray")
    return files


@pytest.fixture
def alone_hidra(hidra_and_sensor, no_model):
    """Runs a command that loads no model."""
    return hidra_and_sensor


def with_shading(image: np.ndarray, settings: SensorSettings, **options):
    """The stage with a shading of 30 grey levels where the user is sure of one."""
    result, found = undo_sensor(image, settings, **options)
    if settings.shading != "on":
        return result, found
    field = np.tile(np.linspace(-15, 15, image.shape[1]) * options["level"], (len(image), 1))
    found = replace(found, shading=field)
    return found.apply(image, options["valid"]), found


def alone(hidra, source: Path, out: Path, *options: str) -> tuple[bytes, str]:
    """(the result of the stage alone, what was said)."""
    code, said, errors = hidra("enhance", source, "-o", out, "--sensor", "only", *options)
    assert code == 0, errors
    [result] = out.iterdir()
    return result.read_bytes(), said


@pytest.mark.parametrize("kind", KINDS)
def test_each_part_of_the_stage_is_used_for_every_kind(alone_hidra, inputs, tmp_path, kind, monkeypatch):
    plain, said = alone(alone_hidra, inputs[kind], tmp_path / "plain")
    assert said.startswith("sensor: ")
    assert "1 dead pixel" in said
    assert "columns" in said
    assert said.endswith("1 enhanced, 0 failed\n")
    monkeypatch.setattr("hidra_core.sensor.stage.undo_sensor", with_shading)
    for options in ("--dead-pixels off", "--stripes off", "--lens-shading on"):
        result, _ = alone(alone_hidra, inputs[kind], tmp_path / options.replace(" ", ""), *options.split())
        assert result != plain, options


def test_many_files_are_summed_up_and_named_one_by_one(alone_hidra, inputs, tmp_path):
    Image.new("L", (WIDTH, HEIGHT), 90).save(tmp_path / "flat.png")
    arguments = ("enhance", tmp_path / "flat.png", inputs["counts"], "-o", tmp_path / "out", "--sensor", "only")
    code, said, errors = alone_hidra(*arguments, "--verbose")
    assert code == 0
    assert said.startswith("sensor: something was taken off 1 of 2 files, most off counts.png: 1 dead pixel; columns ")
    assert "flat.png: sensor: nothing found" in errors
    assert "counts.png: sensor: 1 dead pixel; columns " in errors
    assert (tmp_path / "out" / "flat.png").read_bytes() == (tmp_path / "flat.png").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--sensor off --stripes on", "--stripes asks for something"),
        ("--sensor off --camera a.json", "--camera asks for something"),
        ("--sensor only --strength 0.5", "--strength is about the networks"),
        ("--sensor only --no-restraint", "--no-restraint is about the networks"),
        ("--sensor only --radiometric", "leave one of them out"),
        ("--sensor only --blend 0", "--blend 0 applies nothing"),
        ("--blend 0 --dead-pixels on", "--dead-pixels is a part of it"),
        ("--dead-pixels off --stripes off --lens-shading off", "say --sensor off"),
        ("--radiometric --shading --lens-shading off", "leave out --shading"),
        ("--camera missing.safetensors", "missing.safetensors"),
        ("--camera picture.png", "picture.png"),
    ],
)
def test_options_that_contradict_each_other_are_refused(alone_hidra, inputs, tmp_path, options, message):
    code, _, errors = alone_hidra("enhance", inputs["counts"], "-o", tmp_path / "out", *options.split())
    assert code == 2
    assert message in errors
    assert not (tmp_path / "out").exists()


def test_radiometric_mode_keeps_shading_unless_it_is_asked_for(hidra, inputs, tmp_path, replace_enhance, monkeypatch):
    monkeypatch.setattr("hidra_core.sensor.stage.undo_sensor", with_shading)
    replace_enhance(lambda _, pages, *args, **options: [page + 0 for page in pages])
    found = {}
    for name, options in {"plain": (), "shading": ("--shading",), "on": ("--lens-shading", "on")}.items():
        out = tmp_path / name
        code, _, errors = hidra("enhance", inputs["flir"], "-o", out, "--radiometric", *options)
        assert code == 0, errors
        [report] = json.loads((out / "flir-radiometric.json").read_text())["report"]
        found[name] = report
        assert report["sensor"]["dead_pixels"] == 1
        assert report["sensor"]["kelvin"]["columns"] > 0.1
    assert found["plain"]["shading"] == found["plain"]["sensor"]["shading"] == 0
    assert found["on"]["sensor"]["shading"] > 0


@pytest.mark.parametrize("kind", ["picture", "counts", "clip"])
def test_the_dem_judges_what_the_camera_gave_and_the_networks_what_the_stage_left(
    hidra, inputs, tmp_path, replace_enhance, monkeypatch, kind
):
    judged, seen = [], []
    for module in ("hidra_core.sources.enhancing", "hidra_core.video.sequence"):
        estimate = import_module(module).estimate
        monkeypatch.setattr(
            f"{module}.estimate", lambda pages, weights, own=estimate: (judged.extend(pages), own(pages, weights))[1]
        )

    def enhance(_, pages, *arguments, **options):
        seen.extend(pages)
        return [page + 0 for page in pages]

    replace_enhance(enhance)
    monkeypatch.setattr("hidra_core.video.sequence.enhance", lambda *a, **k: enhance(None, *a, **k))
    code, _, errors = hidra("enhance", inputs[kind], "-o", tmp_path / "out")
    assert code == 0, errors
    source = open_source(inputs[kind], Reading(sensor=SensorStage()))
    assert len(judged) == len(seen) == (3 if kind == "clip" else 1)
    for page, given, undone, stored in zip(seen, judged, source.pages(), source.given(), strict=True):
        assert torch.equal(page, undone)
        assert torch.equal(given, stored)
        assert not torch.equal(undone, stored)
