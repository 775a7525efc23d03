"""Pictures and clips in false colours: refused, turned back to grey, or taken as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers import clip_files
from helpers.thermal_files import frame
from PIL import Image
from scipy.stats import spearmanr

from hidra_core import scenes
from hidra_core.cli import main
from hidra_core.images import palettes
from hidra_core.images.false_colour import FalseColourError
from hidra_core.sources import Reading, open_source, read_grey
from hidra_core.video import ClipReader

if TYPE_CHECKING:
    from pathlib import Path

GREY = scenes.render("street", 96, 128, 1)
PALETTES = ("ironbow", "rainbow", "arctic", "spectrum", "jet")


def picture(folder: Path, palette: str, name: str = "a.png") -> Path:
    Image.fromarray(np.rint(palettes.colour(GREY, palette) * 255).astype(np.uint8)).save(folder / name)
    return folder / name


def clip(folder: Path, palette: str) -> Path:
    frames = clip_files.coloured_scene(3, palette)
    return clip_files.write_clip(folder / "a.mp4", frames, layout="yuv444p")


def rank(grey: np.ndarray) -> float:
    return spearmanr(grey.ravel(), GREY.ravel()).statistic


@pytest.mark.parametrize("make", [picture, clip])
def test_refused_unless_something_is_asked_for(make, tmp_path: Path) -> None:
    path = make(tmp_path, "rainbow")
    with pytest.raises(FalseColourError, match=rf"{path} is in false colours.*'rainbow'.*--palette auto.*--as-is"):
        open_source(path)
    as_is = next(open_source(path, Reading(as_is=True)).pages())
    assert as_is.shape[:2] == GREY.shape
    with pytest.raises(ValueError, match="none of the colours of 'ironbow'"):
        open_source(path, Reading(palette="ironbow"))


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("make", [picture, clip])
def test_turned_back_in_the_order_of_temperature(make, palette: str, tmp_path: Path) -> None:
    path = make(tmp_path, palette)
    for choice in ("auto", palette):
        for page in open_source(path, Reading(palette=choice)).pages():
            assert page.shape == (*GREY.shape, 1)
            assert rank(page.numpy()) > 0.99
    if palette != "ironbow":  # whose brightness rises
        [taken] = open_source(picture(tmp_path, palette, "b.png"), Reading(as_is=True)).pages()
        assert rank(taken.numpy() @ [0.299, 0.587, 0.114]) < 0.97


def test_grey_files_are_left_as_they_are(tmp_path: Path) -> None:
    Image.fromarray(np.rint(GREY * 255).astype(np.uint8)).save(tmp_path / "a.png")
    out = tmp_path / "out" / "a.png"
    open_source(tmp_path / "a.png", Reading(palette="auto")).rewrite(out, lambda pages: pages)
    assert np.array_equal(np.asarray(Image.open(out)), np.asarray(Image.open(tmp_path / "a.png")))
    open_source(tmp_path / "a.png", Reading(palette="black hot")).rewrite(out, lambda pages: pages)
    assert np.array_equal(np.asarray(Image.open(out)), 255 - np.asarray(Image.open(tmp_path / "a.png")))


def test_counts_have_no_palette(tmp_path: Path) -> None:
    Image.fromarray(frame()).save(tmp_path / "deep.png")
    open_source(tmp_path / "deep.png", Reading(palette="auto"))
    with pytest.raises(ValueError, match=r"deep\.png holds counts, not the colours of 'rainbow'"):
        open_source(tmp_path / "deep.png", Reading(palette="rainbow"))
    path = clip_files.write_clip(tmp_path / "a.mkv", clip_files.counts_scene(2, 12), codec="ffv1", layout="gray12le")
    assert open_source(path, Reading(palette="auto")).bit_depth == 16
    with pytest.raises(ValueError, match=r"a\.mkv holds counts of 12 bits, not the colours of 'black hot'"):
        open_source(path, Reading(palette="black hot"))


def test_data_sets_are_grey(tmp_path: Path) -> None:
    path = picture(tmp_path, "rainbow")
    with pytest.raises(ValueError, match="grey are expected. Leave it out, or turn it back to grey with hidra enhance"):
        read_grey(path)
    assert read_grey(path, as_is=True)[0].shape == GREY.shape


def run(*arguments: object) -> int:
    return main([*map(str, arguments), "--quiet"])


def test_the_commands_refuse_and_turn_back(tmp_path: Path, capsys) -> None:
    source, out = picture(tmp_path, "jet"), tmp_path / "out"
    for command in (("enhance", source, "-o", out, "--blend", 0), ("estimate", source, "-o", tmp_path / "a.json")):
        assert run(*command) == 1
        assert "a.png is in false colours" in capsys.readouterr().err
    assert not out.exists()
    assert run("enhance", source, "-o", out, "--blend", 0, "--palette", "auto") == 0
    with Image.open(out / "a.png") as result:
        assert result.mode == "L"
        assert np.abs(np.asarray(result) / 255 - GREY).max() < 2 / 255
    assert run("enhance", source, "-o", out, "--blend", 0, "--as-is", "--overwrite") == 0
    assert (out / "a.png").read_bytes() == source.read_bytes()
    assert run("enhance", source, "-o", out, "--as-is", "--palette", "jet") == 2


def test_a_clip_is_turned_back_by_one_palette(tmp_path: Path) -> None:
    source, out = clip(tmp_path, "rainbow"), tmp_path / "out"
    assert run("enhance", source, "-o", out, "--blend", 0, "--palette", "auto") == 0
    with ClipReader(out / "a.mp4") as reader:
        for result in reader.frames():
            assert rank(result.pixels.numpy()) > 0.99
