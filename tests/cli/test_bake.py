"""``hidra bake`` sees the counts of thermal files, as ``hidra estimate`` and ``hidra enhance`` do."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import clip_files, thermal_files
from safetensors import safe_open

from hidra_core.cli import main


def baked_vector(file: Path) -> np.ndarray:
    with safe_open(file, "np") as content:
        return np.array(json.loads(content.metadata()["vector"]))


def estimated_vectors(folder: Path, output: Path) -> np.ndarray:
    assert main(["estimate", str(folder), "--output", str(output), "--device", "cpu", "--quiet"]) == 0
    return np.array([image["vector"] for image in json.loads(output.read_text())["images"]])


def raw_frames(folder: Path) -> None:
    for seed in range(2):
        thermal_files.frame(192, 256, seed).astype("<u2").tofile(folder / f"f{seed}_256x192.raw")


def fff_files(folder: Path) -> None:
    (folder / "a.fff").write_bytes(thermal_files.fff(thermal_files.frame(96, 128)))


def radiometric_jpegs(folder: Path) -> None:
    thermal_files.flir_jpeg(folder / "a.jpg", thermal_files.fff(thermal_files.frame(192, 256)), (256, 192))


def sixteen_bit_pages(folder: Path) -> None:
    thermal_files.tiff_pages(folder / "a.tiff", [thermal_files.frame(96, 128)])


@pytest.mark.parametrize("make", [raw_frames, fff_files, radiometric_jpegs, sixteen_bit_pages])
def test_the_degradation_baked_is_the_one_estimated(tmp_path, make):
    camera = tmp_path / "camera"
    camera.mkdir()
    make(camera)
    assert main(["bake", str(camera), "--output", str(tmp_path / "baked"), "--device", "cpu", "--quiet"]) == 0
    expected = estimated_vectors(camera, tmp_path / "vectors.json").mean(axis=0)
    for name in ("baked.safetensors", "baked-vae.safetensors"):
        np.testing.assert_allclose(baked_vector(tmp_path / name), expected, atol=1e-5)


def test_every_page_of_a_file_counts(tmp_path):
    pages = [thermal_files.frame(96, 128, seed) for seed in range(3)]
    (tmp_path / "pages").mkdir()
    thermal_files.tiff_pages(tmp_path / "pages" / "a.tiff", pages)
    (tmp_path / "first").mkdir()
    thermal_files.tiff_pages(tmp_path / "first" / "a.tiff", pages[:1])
    for name in ("pages", "first"):
        output = str(tmp_path / f"{name}-baked")
        assert main(["bake", str(tmp_path / name), "--output", output, "--device", "cpu", "--quiet"]) == 0
    all_pages, first = (baked_vector(tmp_path / f"{name}-baked.safetensors") for name in ("pages", "first"))
    assert np.abs(all_pages - first).max() > 1e-4


def test_clips_are_refused(tmp_path, capsys):
    clip = clip_files.write_clip(tmp_path / "a.mp4", clip_files.static_scene(2))
    for command in (["bake", str(clip), "--output", str(tmp_path / "b")], ["estimate", str(clip)]):
        assert main([*command, "--device", "cpu"]) == 1
        assert "is a clip, and images are expected" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("option", ["--radiometric", "--report"])
def test_what_clips_do_not_have_is_refused_before_any_work(tmp_path, capsys, option):
    clip = clip_files.write_clip(tmp_path / "a.mp4", clip_files.static_scene(2))
    assert main(["enhance", str(clip), "--output", str(tmp_path / "out"), option]) == 2
    assert f"{option} is for images and counts, not for clips" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
