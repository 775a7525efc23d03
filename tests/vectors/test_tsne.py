"""The map of degradation vectors: its points, its numbers, its drawing, and the two commands that make one."""

from __future__ import annotations

import builtins
import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.reference import make_weights
from PIL import Image

from hidra_core import save_weights, scenes
from hidra_core.cli import main
from hidra_core.vectors import draw, silhouette, tsne
from train.probing import embedding as program
from train.probing.labelled import Vectors


def clusters(count: int = 20, groups: int = 3, spread: float = 0.1) -> tuple[np.ndarray, list[str]]:
    random = np.random.default_rng(0)
    centres = random.normal(size=(groups, 256))
    labels = [f"group {i % groups}" for i in range(count * groups)]
    vectors = np.stack([centres[i % groups] for i in range(count * groups)])
    return vectors + spread * random.normal(size=vectors.shape), labels


def test_neighbours_stay_neighbours() -> None:
    vectors, labels = clusters()
    points = tsne(vectors)
    assert points.shape == (60, 2)
    assert silhouette(points, labels) > 0.8
    np.testing.assert_array_equal(points, tsne(vectors))  # the same seed, the same map


@pytest.mark.parametrize("count", [4, 5])
def test_maps_of_few_images(count: int) -> None:
    assert np.isfinite(tsne(np.random.default_rng(0).normal(size=(count, 256)))).all()


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 4 images, got 3"):
        tsne(np.zeros((3, 256)))


def test_silhouette_tells_groups_from_chance() -> None:
    vectors, labels = clusters()
    assert silhouette(vectors, labels) > 0.8
    assert abs(silhouette(vectors, np.random.default_rng(1).permutation(labels).tolist())) < 0.2
    assert silhouette(vectors, ["one"] * 60) is None
    assert silhouette(vectors, [str(i) for i in range(60)]) is None


@pytest.mark.parametrize("groups", [1, 3, 14])
def test_drawing_has_a_panel_per_colouring(tmp_path: Path, groups: int) -> None:
    points = np.random.default_rng(0).normal(size=(28, 2))
    labels = [f"group {i % groups}" for i in range(28)]
    draw(points, {"one": labels, "other": [""] * 14 + labels[14:]}, tmp_path / "map.png", "title")
    with Image.open(tmp_path / "map.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
        assert picture.width > 1.9 * picture.height
    colours = np.unique(pixels[np.ptp(pixels, axis=1) > 100] // 32, axis=0)
    assert len(colours) >= min(groups, 8)


def test_a_failed_drawing_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="xyz"):
        draw(np.zeros((4, 2)), {"a": ["b"] * 4}, tmp_path / "map.xyz", "title")
    assert not list(tmp_path.iterdir())


def without(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    find, load = importlib.util.find_spec, builtins.__import__

    def refuse(name: str, *arguments, **options):
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(name)
        return load(name, *arguments, **options)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == missing else find(name, *rest))
    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.mark.parametrize(("module", "package"), [("sklearn", "scikit-learn"), ("matplotlib", "matplotlib")])
def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, module: str, package: str) -> None:
    without(monkeypatch, module)
    with pytest.raises(ImportError, match=rf"needs {package}: pip install 'hidra-thermal\[embedding\]'"):
        tsne(np.zeros((9, 3)))


# --- hidra estimate --tsne -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference weights as a file."""
    path = tmp_path_factory.mktemp("weights") / "plain.safetensors"
    save_weights(make_weights(), path)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of rendered scenes."""
    place = tmp_path_factory.mktemp("pictures")
    for i, name in enumerate(list(scenes.SCENES)[:1] * 16):
        folder = place / ("day" if i % 2 else "night")
        folder.mkdir(exist_ok=True)
        Image.fromarray(np.uint8(255 * scenes.render(name, 48, 64, i))).save(folder / f"{i:02}.png")
    return place


def hidra(*arguments: object) -> int:
    return main(["estimate", *map(str, arguments)])


def test_a_map_by_folder(plain: Path, pictures: Path, tmp_path: Path, capsys) -> None:
    picture = tmp_path / "map.png"
    assert hidra(pictures, "--weights", plain, "--tsne", picture) == 0
    report = json.loads(capsys.readouterr().out)
    assert {entry["label"] for entry in report["images"]} == {str(pictures / "day"), str(pictures / "night")}
    assert all(Path(entry["file"]).parent == Path(entry["label"]) for entry in report["images"])
    assert np.shape([entry["tsne"] for entry in report["images"]]) == (16, 2)
    vectors = np.array([entry["vector"] for entry in report["images"]])
    labels = [entry["label"] for entry in report["images"]]
    assert report["silhouette"] == pytest.approx(silhouette(vectors, labels), abs=1e-4)
    with Image.open(picture) as drawn:
        assert min(drawn.size) > 300


def test_a_map_by_labels(plain: Path, pictures: Path, tmp_path: Path, capsys) -> None:
    listing = tmp_path / "labels.csv"
    listing.write_text(f'00.png,striped\n{pictures / "day" / "01.png"},"clear, mostly"\n02.png, striped\n')
    assert hidra(pictures, "--weights", plain, "--tsne", tmp_path / "map.svg", "--labels", listing) == 0
    labels = {Path(e["file"]).name: e["label"] for e in json.loads(capsys.readouterr().out)["images"]}
    assert (labels["00.png"], labels["01.png"], labels["02.png"]) == ("striped", "clear, mostly", "striped")
    assert sorted(label for label in labels.values() if label) == ["clear, mostly", "striped", "striped"]
    assert (tmp_path / "map.svg").read_text().count("<svg") == 1


def test_the_map_and_the_json_are_two_files(plain: Path, pictures: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "map.svg"
    assert hidra(pictures, "--weights", plain, "--tsne", path, "--output", path) == 2
    assert "give each a file of its own" in capsys.readouterr().err
    assert not path.exists()


def test_one_folder_has_no_silhouette(plain: Path, pictures: Path, tmp_path: Path, capsys) -> None:
    assert hidra(pictures / "day", "--weights", plain, "--tsne", tmp_path / "map.png") == 0
    assert json.loads(capsys.readouterr().out)["silhouette"] is None


def test_bad_requests_are_refused_before_any_work(
    plain: Path, pictures: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    picture, listing = tmp_path / "map.png", tmp_path / "labels.csv"
    listing.write_text("other.png,striped\n")
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("00.png;striped\n")
    picture.write_bytes(b"mine")
    cases = (
        ((pictures, "--tsne", tmp_path / "map.bmp"), "written as .png, .pdf, .svg"),
        ((pictures, "--tsne", picture), "--tsne .* exists; --overwrite replaces it"),
        ((pictures / "day" / "01.png", "--tsne", tmp_path / "new.png"), "at least 4 files, got 1"),
        ((pictures, "--labels", listing), "give --tsne too"),
        ((pictures, "--tsne", tmp_path / "new.png", "--labels", listing), "names none of the 16 files"),
        ((pictures, "--tsne", tmp_path / "new.png", "--labels", wrong), "entry 1: expected 'file,label'"),
        ((pictures, "--tsne", tmp_path / "new.png", "--labels", tmp_path / "none.csv"), r"none\.csv cannot be read"),
    )
    for arguments, message in cases:
        assert hidra(*arguments, "--weights", plain) == 2
        assert re.search(message, capsys.readouterr().err)
    without(monkeypatch, "sklearn")
    assert hidra(pictures, "--weights", plain, "--tsne", tmp_path / "new.png") == 1
    assert "pip install 'hidra-thermal[embedding]'" in capsys.readouterr().err
    assert picture.read_bytes() == b"mine"
    assert not (tmp_path / "new.png").exists()


def test_when_too_few_pictures_are_readable_the_vectors_still_come(
    plain: Path, pictures: Path, tmp_path, capsys
) -> None:
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes((pictures / "night" / "00.png").read_bytes() if number else b"broken")
    assert hidra(tmp_path, "--weights", plain, "--tsne", tmp_path / "map.pdf") == 1
    captured = capsys.readouterr()
    assert "at least 4 images, 3 could be read" in captured.err
    assert len(json.loads(captured.out)["images"]) == 3
    assert not (tmp_path / "map.pdf").exists()


# --- train/probing/embedding.py ---------------------------------------------------------------------------------------


def test_separation_of_vectors_that_tell_all() -> None:
    vectors, labels = clusters(count=12, groups=4)
    known = Vectors(vectors, np.arange(48) // 4, np.array(labels), np.zeros((48, 6)))
    names = ("group 0", "group 2", "group 3")
    found = program.separation(known, known, names)
    assert (found["accuracy"], found["chance"]) == (1, 0.3333)
    assert found["silhouette"] > 0.8
    assert found["confusion"] == {name: {other: 12 * (other == name) for other in names} for name in names}


def test_the_program(plain: Path, pictures: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "embedding.json"
    options = ["--images", pictures, "--held-out", pictures / "day", "--frame", 42, 56, "--count", 6, "--draws", 1]
    arguments = [str(part) for part in ("--weights", plain, *options, "--output", output)]
    assert program.main(arguments) == 0
    said = capsys.readouterr().out
    report = json.loads(output.read_text())
    for group, count in (("type", 6), ("severity", 4)):
        found = report["results"][group]
        assert f"{group}: linear probe {found['accuracy']:.1%} on held-out images" in said
        counts = np.array([list(row.values()) for row in found["confusion"].values()])
        assert counts.shape == (count, count)
        assert counts.sum(axis=1).tolist() == [8] * count
        assert found["accuracy"] == pytest.approx(np.trace(counts) / counts.sum(), abs=1e-4)
    assert len(report["points"]) == 8 * 10
    with Image.open(tmp_path / "embedding.png") as picture:
        assert picture.width > 1.9 * picture.height
    torch.manual_seed(1)  # results come from the seed given alone
    assert program.main([*arguments, "--overwrite"]) == 0
    assert json.loads(output.read_text()) == report


def test_the_program_says_what_is_wrong(pictures: Path, tmp_path: Path, caplog) -> None:
    (tmp_path / "there.png").write_bytes(b"mine")
    for name, message in (("there.json", "there.png exists"), ("map.png", "name a .json file")):
        caplog.clear()
        assert program.main(["--images", str(pictures), "--output", str(tmp_path / name)]) == 1
        assert message in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["there.png"]
