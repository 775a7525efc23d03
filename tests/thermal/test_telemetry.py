"""Frames with telemetry, doubled frames and swapped bytes, saved by other programs as TIFF, PNG, PGM, array or clip."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from helpers.clip_files import write_clip
from PIL import Image

from hidra_core import scenes
from hidra_core.sources import Change, ClipSource, CountsSource, open_source
from hidra_core.thermal import SceneRegion
from hidra_core.thermal.readers import read_thermal
from hidra_core.video import ClipReader

if TYPE_CHECKING:
    from pathlib import Path

HEIGHT, WIDTH, ROWS = 120, 160, 2


def picture(seed: int = 1) -> np.ndarray:
    return np.rint(28500 + 1500 * scenes.render("street", HEIGHT, WIDTH, seed)).astype(np.uint16)


def frame(seed: int = 1, above: bool = False) -> np.ndarray:
    """A Lepton's frame with telemetry, as PureThermal boards give it."""
    telemetry = np.zeros((ROWS, WIDTH), np.uint16)
    telemetry[0, :30:3] = np.arange(10) * 1777 + seed
    return np.concatenate([telemetry, picture(seed)] if above else [picture(seed), telemetry])


def tiff(path: Path, pages: np.ndarray) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(path, pages, photometric="minisblack")


def pgm(path: Path, page: np.ndarray, order: str = ">") -> None:
    path.write_bytes(f"P5 {page.shape[1]} {page.shape[0]} 65535\n".encode() + page.astype(f"{order}u2").tobytes())


def png(path: Path, page: np.ndarray) -> None:
    Image.fromarray(page).save(path)


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize(("name", "write"), [("a.tif", tiff), ("a.png", png), ("a.npy", np.save), ("a.pgm", pgm)])
def test_telemetry_is_masked_in_any_format(tmp_path, name, write, above):
    stored = frame(above=above)
    write(tmp_path / name, stored)
    image = read_thermal(tmp_path / name)
    assert np.array_equal(np.asarray(image.counts)[0], stored)
    rows = np.asarray(image.valid)[0].all(1)
    assert np.array_equal(rows, np.arange(HEIGHT + ROWS) >= ROWS if above else np.arange(HEIGHT + ROWS) < HEIGHT)
    assert "telemetry" in image.warnings[0]
    by_hand = read_thermal(tmp_path / name, region=SceneRegion(telemetry=(0, 0)))
    assert by_hand.valid is None or not any("telemetry" in words for words in by_hand.warnings)


def test_a_picture_of_such_a_size_has_no_telemetry(tmp_path):
    whole = np.concatenate([picture(), picture()[-1:], picture()[-1:]])
    tiff(tmp_path / "a.tif", whole)
    image = read_thermal(tmp_path / "a.tif")
    assert image.valid is None
    assert image.warnings == ()


def doubled() -> np.ndarray:
    shown = np.full((192, 256), 128 << 8, np.uint16)
    counts = np.rint(18000 + 900 * scenes.render("field", 192, 256, 3)).astype(np.uint16)
    return np.concatenate([shown | (counts >> 4 & 255), counts])


def test_doubled_frames_are_their_lower_half(tmp_path):
    tiff(tmp_path / "a.tif", doubled())
    image = read_thermal(tmp_path / "a.tif")
    assert np.array_equal(np.asarray(image.counts)[0], doubled()[192:])
    assert "picture to look at" in image.warnings[0]
    assert read_thermal(tmp_path / "a.tif", region=SceneRegion(plane="upper")).counts.shape == (1, 384, 256)


def test_swapped_bytes_are_said(tmp_path):
    pgm(tmp_path / "little.pgm", picture(), "<")
    pgm(tmp_path / "big.pgm", picture())
    png(tmp_path / "eight.png", (picture() - 28500 >> 3) * 256)  # 8 bits in the upper bytes
    assert "bytes were in the wrong order" in read_thermal(tmp_path / "little.pgm").warnings[0]
    assert read_thermal(tmp_path / "big.pgm").warnings == ()
    assert read_thermal(tmp_path / "eight.png").warnings == ()


def test_blank_pages_among_others_stay_as_they_are(tmp_path):
    tiff(tmp_path / "a.tif", np.stack([picture(1), np.zeros_like(picture()), picture(2)]))
    source = open_source(tmp_path / "a.tif")
    assert isinstance(source, CountsSource)
    result, _ = source.restore(torch.stack([1 - page[..., 0] + 0.01 for page in source.pages()]).clamp(0, 1), Change())
    assert not result[1].any()
    assert (result[0] != picture(1)).mean() > 0.5


# --- clips -----------------------------------------------------------------------------------------------------------


def clip(path: Path, frames: list[np.ndarray]) -> Path:
    return write_clip(
        path, [torch.from_numpy(stored / 65535.0)[..., None] for stored in frames], codec="ffv1", layout="gray16le"
    )


def counts_of(path: Path) -> np.ndarray:
    with ClipReader(path) as reader:
        return np.stack([np.rint(part.pixels[..., 0].double().numpy() * 65535) for part in reader.frames()])


@pytest.mark.parametrize("factor", [1, 2])
def test_telemetry_of_clips_is_given_back(tmp_path, caplog, factor):
    stored = [frame(seed) for seed in (1, 2, 3)]
    source = open_source(clip(tmp_path / "a.mkv", stored))
    assert "telemetry" in caplog.text
    pages = list(source.pages())
    assert {tuple(page.shape) for page in pages} == {(HEIGHT, WIDTH, 1)}
    assert max(float(page.std()) for page in pages) > 0.05  # the range is that of the scene
    source.rewrite(
        tmp_path / "b.mkv",
        lambda given: (1 - page.repeat_interleave(factor, 0).repeat_interleave(factor, 1) for page in given),
    )
    result = counts_of(tmp_path / "b.mkv")
    assert np.array_equal(result[:, HEIGHT * factor :: factor, ::factor], np.stack(stored)[:, HEIGHT:])
    assert 28000 < result[:, : HEIGHT * factor].min() < result[:, : HEIGHT * factor].max() < 30500


def test_blank_frames_of_clips_neither_widen_the_range_nor_change(tmp_path):
    stored = [picture(1), np.zeros_like(picture()), picture(2)]
    source = open_source(clip(tmp_path / "a.mkv", stored))
    assert float(next(source.pages()).std()) > 0.05
    source.rewrite(tmp_path / "b.mkv", lambda pages: (1 - page for page in pages))
    assert not counts_of(tmp_path / "b.mkv")[1].any()


def test_doubled_frames_of_16_bits_in_clips_are_refused(tmp_path):
    path = clip(tmp_path / "a.mkv", [doubled(), doubled()])
    with pytest.raises(ValueError, match=r"a\.mkv: frames of 256x384 .* picture to look at.*crop=iw:192:0:192"):
        ClipSource(path)
    assert ClipSource(path, as_is=True).bits == 16
