"""A camera profile is kept in a file, used for frames of its camera alone, and made by ``hidra calibrate``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers import moving, thermal_files
from PIL import Image

from hidra_core.cli import main
from hidra_core.images.files import read_safetensors, write_safetensors
from hidra_core.sensor import CameraProfile, load_profile
from hidra_core.sources import CameraFrames

HEIGHT, WIDTH = 24, 32


def profile(**changes) -> CameraProfile:
    generator = np.random.default_rng(0)
    size = (HEIGHT, WIDTH)
    values = {
        "dead": generator.random(size) < 0.05,
        "columns": generator.normal(0, 4, WIDTH).astype(np.float32).astype(float),
        "rows": generator.normal(0, 2, HEIGHT).astype(np.float32).astype(float),
        "pattern": generator.normal(0, 3, size).astype(np.float32).astype(float),
        "standard_error": np.full(size, 0.25),
        "unit": "counts",
        "gain": (1 + generator.normal(0, 0.02, size)).astype(np.float32).astype(float),
        "pivot": 8123.5,
        "shading": generator.normal(0, 5, size).astype(np.float32).astype(float),
        "camera": "Maker Ünit 640",
        "about": {"frames": 200, "method": "scenes", "notes": ["one note"]},
    }
    return CameraProfile(**{**values, **changes})


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
@pytest.mark.parametrize("changes", [{}, {"gain": None, "shading": None, "dead": np.zeros((HEIGHT, WIDTH), bool)}])
def test_a_file_gives_the_same_profile_back(tmp_path, suffix, changes):
    before = profile(**changes)
    before.save(tmp_path / f"camera{suffix}")
    after = load_profile(tmp_path / f"camera{suffix}")
    for name, value in vars(before).items():
        np.testing.assert_array_equal(getattr(after, name), value, err_msg=name)


def test_what_was_added_is_taken_off():
    camera = profile(dead=np.zeros((HEIGHT, WIDTH), bool))
    scene = 8000 + 50.0 * np.random.default_rng(1).random((HEIGHT, WIDTH))
    added = camera.columns + camera.rows[:, None] + camera.shading
    frame = camera.gain * (scene + added - camera.pivot) + camera.pivot + camera.pattern
    undone, correction = camera.undo(frame, level=2.0)
    np.testing.assert_allclose(undone, scene, atol=1e-6)
    assert correction.level == 2.0
    at_pivot = camera.gain * added + camera.pattern
    np.testing.assert_allclose(camera.offsets, at_pivot)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (((WIDTH + 1, HEIGHT), "", None), "for frames of 32x24, and this one is 33x24"),
        (((WIDTH, HEIGHT), "Other", None), "is of a Maker Ünit 640, and this file of a Other"),
        (((WIDTH, HEIGHT), "", "grey levels"), "is in counts, and this file in grey levels"),
    ],
)
def test_other_frames_are_refused(asked, expected):
    profile().check((WIDTH, HEIGHT), " maker ünit 640", "counts")
    profile().check((WIDTH, HEIGHT))
    with pytest.raises(ValueError, match=expected):
        profile().check(*asked)


def test_a_frame_of_another_size_is_not_undone():
    with pytest.raises(ValueError, match="this one is 24x32"):
        profile().undo(np.zeros((WIDTH, HEIGHT)))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"columns": np.zeros(3)}, r"columns of a camera profile is \[3\]; expected finite \[32\]"),
        ({"pattern": np.full((HEIGHT, WIDTH), np.nan)}, "pattern .* not finite"),
        ({"gain": np.zeros((HEIGHT, WIDTH))}, "lowest gain of a camera profile is 0; expected at least 0.05"),
        ({"unit": "kelvin"}, "unit of a camera profile is 'kelvin'; expected counts or grey levels"),
        ({"pivot": np.inf}, "pivot"),
        ({"dead": np.zeros((HEIGHT, WIDTH))}, "expected bool"),
    ],
)
def test_a_profile_that_cannot_be_is_refused(changes, expected):
    with pytest.raises(ValueError, match=expected):
        profile(**changes)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"camera.png: camera profiles are .safetensors or .json files"):
        profile().save(tmp_path / "camera.png")
    with pytest.raises(FileNotFoundError, match="no file"):
        load_profile(tmp_path / "camera.json")
    for name, text in (("a.json", "[]"), ("b.json", '{"format": "other"}')):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=f"{name} holds no camera profile"):
            load_profile(tmp_path / name)
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(ValueError, match="c.json is not a readable JSON file"):
        load_profile(tmp_path / "c.json")


def test_damaged_files_are_refused(tmp_path):
    profile().save(tmp_path / "a.json")
    whole = json.loads((tmp_path / "a.json").read_text())
    for name, change in {
        "lacks 'columns'": lambda record: record["arrays"].pop("columns"),
        "lacks 'unit'": lambda record: record.pop("unit"),
        "damaged": lambda record: record["arrays"]["rows"].update(float32="AAA"),
        "not the 9x24": lambda record: record.update(width=9, dead=None),
        "version 2 of the format; this release reads version 1": lambda record: record.update(version=2),
    }.items():
        record = json.loads(json.dumps(whole))
        change(record)
        (tmp_path / "b.json").write_text(json.dumps(record))
        with pytest.raises(ValueError, match=name):
            load_profile(tmp_path / "b.json")
    profile().save(tmp_path / "a.safetensors")
    tensors, header = read_safetensors(tmp_path / "a.safetensors")
    del tensors["pattern"]
    write_safetensors(tensors, tmp_path / "a.safetensors", header)
    with pytest.raises(ValueError, match="a.safetensors is damaged: it lacks 'pattern'"):
        load_profile(tmp_path / "a.safetensors")


# ---------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def travelled():
    camera = moving.camera(64, 80, dead=9)
    return camera, camera.frames(moving.views(moving.large_scene(240, 300), 30, (64, 80), 5.0))


def test_pictures_of_a_camera_give_its_profile(tmp_path, travelled, capsys):
    camera, frames = travelled
    (tmp_path / "flight").mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "flight" / f"{index}.png")
    output = tmp_path / "camera.safetensors"
    assert main(["calibrate", str(tmp_path / "flight"), "-o", str(output), "--camera", "Mine"]) == 0
    said = capsys.readouterr().out
    assert "Mine: 80×64, in grey levels, from 30 frames" in said
    found = load_profile(output)
    assert found.unit == "grey levels"
    assert np.corrcoef(found.offsets[~camera.dead], camera.offsets[~camera.dead])[0, 1] > 0.95
    assert main(["calibrate", str(tmp_path / "flight"), "-o", str(output)]) == 2
    assert "exists; --overwrite replaces it" in capsys.readouterr().err


def test_pages_of_counts_have_a_profile_in_counts(tmp_path, travelled):
    _, frames = travelled
    pages = list(7000 + 8 * frames.astype(np.uint16))
    thermal_files.tiff_pages(tmp_path / "a.tiff", pages)
    output = tmp_path / "camera.json"
    assert main(["calibrate", str(tmp_path / "a.tiff"), "-o", str(output), "--quiet"]) == 0
    found = load_profile(output)
    assert found.unit == "counts"
    assert 7000 < found.pivot < 7000 + 8 * 255
    assert found.columns.std() > 16


def test_flat_frames_are_said_by_an_option(tmp_path):
    camera = moving.camera(64, 80)
    thermal_files.tiff_pages(tmp_path / "a.tiff", list(camera.frames(np.full((8, 64, 80), 120.0)).astype(np.uint16)))
    output = tmp_path / "camera.safetensors"
    assert main(["calibrate", "--flat", str(tmp_path / "a.tiff"), "-o", str(output), "--quiet"]) == 0
    assert load_profile(output).about["method"] == "flat"


def test_mixed_files_and_still_scenes_end_the_command(tmp_path, capsys):
    for index in range(2):
        Image.fromarray(np.random.default_rng(index).integers(0, 255, (64, 80 + index), np.uint8)).save(
            tmp_path / f"{index}.png"
        )
    output = tmp_path / "camera.json"
    assert main(["calibrate", str(tmp_path / "0.png"), str(tmp_path / "1.png"), "-o", str(output)]) == 1
    assert "1.png has frames of 81x64, and" in capsys.readouterr().err
    thermal_files.tiff_pages(tmp_path / "2.tiff", [np.full((64, 80), 9, np.uint16)])
    assert main(["calibrate", str(tmp_path / "0.png"), str(tmp_path / "2.tiff"), "-o", str(output)]) == 1
    assert "2.tiff is in counts, and" in capsys.readouterr().err
    assert main(["calibrate", str(tmp_path / "0.png"), "-o", str(output)]) == 1
    assert "1 frames were given; a camera profile needs at least 20" in capsys.readouterr().err
    assert main(["calibrate", str(tmp_path / "0.png"), "-o", str(tmp_path / "camera.png")]) == 2
    assert "camera profiles are .safetensors or .json files" in capsys.readouterr().err
    assert not output.exists()


def test_clips_are_read_in_their_own_numbers(tmp_path):
    from helpers import clip_files

    scene = clip_files.counts_scene(3, 12)
    clip = clip_files.write_clip(tmp_path / "a.mkv", scene, codec="ffv1", layout="gray12le")
    frames = CameraFrames([clip])
    assert frames.unit == "counts"
    assert [frame.shape for frame in frames] == [(48, 64)] * 3
    expected = np.rint(scene[0][..., 0].double().numpy() * 4095)
    np.testing.assert_array_equal(next(iter(frames)), expected)
