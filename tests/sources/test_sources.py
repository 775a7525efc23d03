"""The one way to read a file: what is what, one stretch for everyone, results of the same kind, clear refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import clip_files, thermal_files
from helpers.thermal_files import PLANCK, frame
from PIL import Image

from hidra_core.names import MAPPINGS
from hidra_core.sources import (
    Beside,
    Change,
    ClipSource,
    CountsSource,
    PictureSource,
    Reading,
    open_images,
    open_source,
    read_grey,
    result_suffix,
)
from hidra_core.thermal import LinearKelvin
from hidra_core.thermal.readers import RawLayout


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """One file of each kind."""
    grey = np.arange(48 * 64, dtype=np.uint32).reshape(48, 64)
    made = {name: tmp_path / name for name in ("grey.png", "colour.png", "deep.png", "frame_64x48.raw")}
    Image.fromarray((grey % 256).astype(np.uint8)).save(made["grey.png"])
    Image.fromarray((grey % 256).astype(np.uint8)).convert("RGB").save(made["colour.png"])
    Image.fromarray(frame()).save(made["deep.png"])
    frame().astype("<u2").tofile(made["frame_64x48.raw"])
    made["pages.tiff"] = thermal_files.tiff_pages(tmp_path / "pages.tiff", [frame(seed=s) for s in range(5)])
    made["flir.jpg"] = thermal_files.flir_jpeg(tmp_path / "flir.jpg", thermal_files.fff(frame()))
    made["clip.mp4"] = clip_files.write_clip(tmp_path / "clip.mp4", clip_files.static_scene(5))
    return made


KINDS = {
    "grey.png": (PictureSource, 1, 8),
    "colour.png": (PictureSource, 1, 8),
    "deep.png": (CountsSource, 1, 16),
    "frame_64x48.raw": (CountsSource, 1, 16),
    "pages.tiff": (CountsSource, 5, 16),
    "flir.jpg": (CountsSource, 1, 16),
    "clip.mp4": (ClipSource, 5, 8),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_is_opened_as_what_it_is(files, name):
    source = open_source(files[name])
    assert (type(source), source.page_count, source.bit_depth) == KINDS[name]
    assert source.path == files[name]
    pages = list(source.pages())
    assert len(pages) == KINDS[name][1]
    for page in pages:
        assert page.dtype == torch.float32
        assert page.ndim == 3
        assert 0 <= page.min() <= page.max() <= 1
    again = list(source.pages())
    assert all(torch.equal(first, second) for first, second in zip(pages, again, strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_samples_are_spread_over_the_pages(files, name):
    source = open_source(files[name])
    pages, samples = list(source.pages()), source.samples(2)
    assert 1 <= len(samples) <= 2
    assert all(any(torch.equal(sample, page) for page in pages) for sample in samples)


@pytest.mark.parametrize("name", KINDS)
def test_pages_that_nothing_changed_come_back_exactly(files, tmp_path, name):
    source = open_source(files[name])
    output = tmp_path / "out" / f"result{result_suffix(files[name])}"
    source.check_writable(output)
    source.rewrite(output, lambda pages: pages)
    if name == "clip.mp4":
        assert open_source(output).page_count == 5
        return
    before, after = (open_source(path, Reading(as_counts=name != "colour.png")) for path in (files[name], output))
    if isinstance(before, CountsSource):
        assert isinstance(after, CountsSource)
        assert np.array_equal(before.image.counts, after.image.counts)
        assert before.image.relation == after.image.relation
    else:
        assert torch.equal(next(before.pages()), next(after.pages()))


def test_a_blend_of_nothing_gives_the_file_back(files, tmp_path):
    for name in ("grey.png", "deep.png", "pages.tiff"):
        output = tmp_path / "back" / name
        open_source(files[name]).rewrite(output, lambda pages: (1 - page for page in pages), Change(blend=0))
        assert output.read_bytes() == files[name].read_bytes()


def test_one_stretch_for_all(files):
    """Whoever reads a file, by pages, in grey or through a mapping named outright, sees the same numbers."""
    for name in ("deep.png", "pages.tiff", "flir.jpg", "frame_64x48.raw"):
        source = open_source(files[name])
        named = open_source(files[name], Reading(mapping="linear"))
        for page, again, grey in zip(source.pages(), named.pages(), read_grey(files[name]), strict=True):
            assert torch.equal(page, again)
            assert np.array_equal(page[..., 0].numpy(), grey)
    assert np.array_equal(read_grey(files["flir.jpg"])[0], read_grey(files["deep.png"])[0]), "the counts, not a preview"


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_readings_reach_the_source(files, mapping):
    relation = LinearKelvin(0.04)
    source = open_source(files["deep.png"], Reading(mapping=mapping, relation=relation))
    assert source.mapping.kind == mapping
    assert source.image.relation == relation
    assert open_source(files["flir.jpg"]).image.relation == PLANCK


def test_raw_frames_as_told(files, tmp_path):
    nameless = files["frame_64x48.raw"].rename(tmp_path / "nameless.raw")
    with pytest.raises(ValueError, match="give its size"):
        open_source(nameless)
    source = open_source(nameless, Reading(raw=RawLayout((64, 48), "little")))
    assert np.array_equal(source.image.counts[0], frame())


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"mapping": "logarithmic"}, "unknown mapping"),
        ({"mapping": "percentile", "parameters": {"low": 60.0, "high": 40.0}}, "percentiles must be"),
        ({"parameters": {"plateau": 3.0}}, "plateau"),
    ],
)
def test_bad_readings_are_refused_before_a_file_is_opened(reading, message):
    with pytest.raises(ValueError, match=message):
        Reading(**reading)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blend": 1.5}, "blend must be"),
        ({"shading": True}, "ask for radiometric mode"),
        ({"radiometric": True, "blend": 0.5}, "leave out blend"),
    ],
)
def test_changes_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Change(**change)


def test_what_a_kind_of_file_cannot_do_is_refused(files, tmp_path):
    with pytest.raises(ValueError, match="not for clips"):
        open_source(files["clip.mp4"]).rewrite(tmp_path / "a.mp4", lambda pages: pages, Change(radiometric=True))
    with pytest.raises(ValueError, match="holds no counts"):
        open_source(files["grey.png"]).rewrite(tmp_path / "a.png", lambda pages: pages, Change(radiometric=True))
    with pytest.raises(ValueError, match="cannot hold the 5 pages"):
        open_source(files["pages.tiff"]).check_writable(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"needs the suffix \.mkv"):
        ClipSource(files["clip.mp4"], lossless=True).check_writable(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match=r"a clip is written as \.mp4, .*"):
        open_source(files["clip.mp4"]).rewrite(tmp_path / "a.png", lambda pages: pages)
    for name in ("pages.tiff", "grey.png"):
        with pytest.raises(ValueError, match="radiometric mode"):
            open_source(files[name]).rewrite(
                tmp_path / f"a{files[name].suffix}", lambda pages: pages, beside=Beside(radiometric=tmp_path / "a.json")
            )
    assert not list(tmp_path.glob("a.*"))


def test_clips_are_refused_where_images_are_expected(files):
    for read in (open_images, read_grey):
        with pytest.raises(ValueError, match=r"clip\.mp4 is a clip, and images are expected"):
            read(files["clip.mp4"])


@pytest.mark.parametrize("name", ["pages.tiff", "clip.mp4"])
@pytest.mark.parametrize("wrong", [lambda pages: [next(pages)], lambda pages: [*pages, torch.zeros(48, 64, 1)]])
def test_another_number_of_results_than_pages_is_refused(files, tmp_path, name, wrong):
    source = open_source(files[name])
    height, width = next(source.pages()).shape[:2]

    def enhanced(pages):
        return (torch.zeros(height, width, 1) for _ in wrong(pages))

    with pytest.raises(ValueError, match=r"[16] enhanced (frames|images|pages)"):
        source.rewrite(tmp_path / "out" / name, enhanced)
    assert list((tmp_path / "out").glob("*")) == []


def test_everything_beside_a_result_is_written(files, tmp_path):
    out = tmp_path / "out"
    beside = Beside(out / "compare.png", (out / "trust.png", out / "trust.json"), out / "radiometric.json")
    open_source(files["pages.tiff"]).rewrite(out / "a.tiff", lambda pages: pages, Change(radiometric=True), beside)
    names = {"a.tiff", "compare.png", "trust.png", "trust.json", "radiometric.json"}
    assert {path.name for path in out.iterdir()} == names
    record = json.loads((out / "radiometric.json").read_text())
    assert len(record["report"]) == 5
    assert json.loads((out / "trust.json").read_text())["files"]["output"] == str(out / "a.tiff")


def test_an_error_halfway_leaves_nothing(files, tmp_path):
    def fails(pages):
        yield next(pages)
        raise RuntimeError("stopped")

    for name in ("pages.tiff", "clip.mp4"):
        out = tmp_path / name.replace(".", "-")
        with pytest.raises(RuntimeError, match="stopped"):
            open_source(files[name]).rewrite(
                out / name, fails, beside=Beside(compare=out / f"compare{Path(name).suffix}")
            )
        assert not out.exists() or list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "options", "suffix"),
    [
        ("grey.png", {}, ".png"),
        ("deep.png", {"suffix": ".tiff"}, ".tiff"),
        ("flir.jpg", {}, ".tiff"),
        ("frame_64x48.raw", {}, ".tiff"),
        ("clip.mp4", {}, ".mp4"),
        ("clip.mp4", {"lossless": True}, ".mkv"),
        ("clip.mp4", {"suffix": ".png"}, ".mp4"),
    ],
)
def test_suffixes_of_results(files, name, options, suffix):
    assert result_suffix(files[name], **options) == suffix


def test_the_comparison_of_a_clip_may_lie_in_another_folder(files, tmp_path):
    beside = Beside(compare=tmp_path / "new" / "both.mp4")
    open_source(files["clip.mp4"]).rewrite(tmp_path / "out" / "a.mp4", lambda pages: pages, beside=beside)
    assert open_source(tmp_path / "new" / "both.mp4").page_count == 5
