"""The sensor stage before the networks, for every kind of file: what it changes, what it leaves, what is said of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import clip_files, thermal_files
from helpers.thermal_files import PLANCK, frame
from PIL import Image

from hidra_core.sensor import SensorCorrection, SensorSettings, SensorStage, replaced
from hidra_core.sources import (
    Beside,
    Change,
    ClipSource,
    Reading,
    Running,
    enhance_file,
    large_stage,
    open_source,
)
from hidra_core.sources import large as large_module

HEIGHT, WIDTH = 48, 64
DEAD = [(9, 11), (30, 50), (40, 7)]
DOTS = SensorStage(SensorSettings(stripes="off", shading="off"))
COLUMNS = np.random.default_rng(5).normal(0, 1, WIDTH)


class Striped:
    """A profile that knows columns of this size, of frames of 64x48."""

    def __init__(self, size: float) -> None:
        self.columns = size * COLUMNS

    def check(self, size, camera, unit) -> None:
        if size != (WIDTH, HEIGHT) or (camera and camera != thermal_files.MODEL):
            raise ValueError(f"the profile is for 64x48, and this is {size[0]}x{size[1]} of {camera or 'any camera'}")

    def undo(self, image, valid=None, level=1.0):
        correction = SensorCorrection(np.zeros(image.shape, bool), self.columns, np.zeros(HEIGHT), level=level)
        return correction.apply(image, valid), correction


def striped(size: float) -> Reading:
    off = SensorSettings(dead_pixels="off", stripes="off", shading="off")
    return Reading(sensor=SensorStage(off, Striped(size), "own.safetensors"))


def with_dead(plane: np.ndarray, value: float) -> np.ndarray:
    result = plane.copy()
    for place in DEAD:
        result[place] = value
    return result


def mask() -> np.ndarray:
    return with_dead(np.zeros((HEIGHT, WIDTH), bool), True)


def levels() -> np.ndarray:
    return np.clip((frame().astype(float) - 16950) / 3, 0, 220).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def rewritten(source, output: Path, *arguments, **options):
    """What the stage alone makes of a file."""
    source.rewrite(output, lambda pages: pages, *arguments, **options)
    with Image.open(output) as image:
        return np.asarray(image)


@pytest.mark.parametrize("name", ["grey.png", "deep.png", "colour.png"])
def test_dead_pixels_go_and_nothing_else_changes(tmp_path, name):
    clean = {"grey.png": levels(), "deep.png": frame(), "colour.png": np.repeat(levels()[..., None], 3, -1)}[name]
    path = save(tmp_path / name, with_dead(clean, np.iinfo(clean.dtype).max))
    result = rewritten(open_source(path, Reading(sensor=DOTS)), tmp_path / "out.png")
    plane = clean if clean.ndim == 2 else clean[..., 0]
    planes = [result] if clean.ndim == 2 else list(result.transpose(2, 0, 1))
    for actual in planes:
        assert np.array_equal(actual[~mask()], plane[~mask()])
        assert np.abs(actual - replaced(with_dead(plane, 0), mask())).max() <= 0.51


def test_nothing_is_touched_where_nothing_is_found(tmp_path):
    lossy = tmp_path / "a.jpg"
    Image.fromarray(levels()).save(lossy, quality=60)
    for path in (save(tmp_path / "grey.png", levels()), save(tmp_path / "deep.png", frame()), lossy):
        plain, staged = open_source(path), open_source(path, Reading(sensor=DOTS))
        assert torch.equal(next(plain.pages()), next(staged.pages()))
        assert plain.findings is None
        output = tmp_path / f"out{path.suffix}"
        after = rewritten(staged, output)
        assert np.array_equal(after, rewritten(plain, tmp_path / f"plain{path.suffix}"))
        assert staged.findings is not None
        assert staged.findings.words is None
    assert output.read_bytes() == lossy.read_bytes(), "a picture that stays as it is is not encoded anew"


def test_true_colours_are_left_alone_and_coloured_marks_have_no_part(tmp_path):
    colours = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    path = save(tmp_path / "colours.png", colours)
    source = open_source(path, Reading(as_is=True, sensor=DOTS))
    assert np.array_equal(rewritten(source, tmp_path / "out.png"), colours)
    marked = np.repeat(levels()[..., None], 3, -1)
    marked[20, 30] = (255, 0, 0)  # a crosshair, not a dead pixel
    source = open_source(save(tmp_path / "marked.png", marked), Reading(sensor=DOTS))
    assert np.array_equal(rewritten(source, tmp_path / "out.png"), marked)


def test_the_range_of_counts_is_that_without_stripes(tmp_path):
    clean = frame()
    path = save(tmp_path / "a.png", (clean + np.rint(400 * COLUMNS)).astype(np.uint16))
    source = open_source(path, striped(400))
    page = next(source.pages())
    assert source.mapping.counts[-1] - source.mapping.counts[0] < 1.1 * np.ptp(clean)
    assert torch.allclose(page, next(open_source(save(tmp_path / "b.png", clean)).pages()), atol=3e-3)


@pytest.mark.parametrize("name", ["grey.png", "deep.png", "clip.mkv"])
def test_blend_is_between_the_file_and_the_whole_change(tmp_path, name):
    """Nothing of the change gives the file back; half of it takes half of the stripes off."""
    size, clean = (12, levels().clip(60, 190)) if name == "grey.png" else (200, frame())
    stored = (clean + np.rint(size * COLUMNS)).astype(clean.dtype)
    path = tmp_path / name
    if name == "clip.mkv":
        clip_files.write_clip(path, deep(stored), codec="ffv1", layout="gray16le")
    else:
        save(path, stored)
    found = {}
    for share in (0, 0.5, 1):
        output = tmp_path / f"out-{share}{path.suffix}"
        source = open_source(path, striped(size))
        source.rewrite(output, lambda pages: pages, Change(blend=share))
        found[share] = first_plane(output)
    assert np.array_equal(found[0], stored)
    assert np.abs(found[0.5] - (stored - 0.5 * size * COLUMNS)).max() <= 0.51
    assert np.abs(found[1] - (stored - size * COLUMNS)).max() <= 0.51


def deep(counts: np.ndarray, count: int = 3) -> list[torch.Tensor]:
    return [torch.from_numpy(counts / 65535.0)[..., None]] * count


def first_plane(path: Path) -> np.ndarray:
    if path.suffix == ".mkv":
        source = open_source(path)
        with source._open() as reader:
            return np.rint(next(iter(reader.frames())).pixels[..., 0].double().numpy() * 65535)
    with Image.open(path) as image:
        return np.asarray(image).astype(float)


def test_the_trust_report_counts_the_share_of_the_stage(tmp_path):
    beside = Beside(trust=(tmp_path / "trust.png", tmp_path / "trust.json"))
    clean = levels().clip(60, 190)
    for name, pixels in (("a.png", clean + np.rint(12 * COLUMNS)), ("b.tiff", 10 * clean + np.rint(120 * COLUMNS))):
        kind = np.uint8 if name == "a.png" else np.uint16
        path = save(tmp_path / name, pixels.astype(kind))
        source = open_source(path, striped(12 if name == "a.png" else 120))
        for enhance, least, most in ((lambda pages: pages, 0.98, 1.0), (lambda pages: (1 - p for p in pages), 0, 0.3)):
            source.rewrite(tmp_path / f"out{path.suffix}", enhance, beside=beside)
            entry = json.loads((tmp_path / "trust.json").read_text())["sensor"]
            assert least <= entry["share_of_change"] <= most
        assert entry["unit"] == ("grey levels" if name == "a.png" else "counts")
        assert entry["columns"] == pytest.approx((12 if name == "a.png" else 120) * COLUMNS.std())
        with Image.open(tmp_path / "trust.png") as sheet:
            height = sheet.height
        open_source(path).rewrite(tmp_path / f"out{path.suffix}", lambda pages: pages, beside=beside)
        with Image.open(tmp_path / "trust.png") as sheet:
            assert sheet.height < height, "the stage has a line of its own"
        assert "sensor" not in json.loads((tmp_path / "trust.json").read_text())


def test_radiometric_mode_says_what_the_stage_took_off_in_kelvin(tmp_path):
    path = tmp_path / "a.jpg"
    counts = (with_dead(frame(), 40000) + np.rint(100 * COLUMNS)).astype(np.uint16)
    thermal_files.flir_jpeg(path, thermal_files.fff(counts))
    stage = SensorStage(SensorSettings(stripes="off"), Striped(100), "own.safetensors")
    beside = Beside(radiometric=tmp_path / "a.json")
    open_source(path, Reading(sensor=stage)).rewrite(
        tmp_path / "a.tiff", lambda pages: pages, Change(radiometric=True), beside
    )
    [report] = json.loads((tmp_path / "a.json").read_text())["report"]
    sensor = report["sensor"]
    assert sensor["dead_pixels"] == report["dead_pixels"] == len(DEAD)
    assert report["columns"] == pytest.approx(100 * COLUMNS.std(), rel=0.05)
    middle = np.median(counts)
    slope = float(np.diff(PLANCK.kelvin(np.array([middle - 50, middle + 50])))[0]) / 100
    assert sensor["kelvin"]["columns"] == pytest.approx(sensor["columns"] * slope, rel=0.01)
    assert abs(report["residual"]["largest"]) > 20000, "against the file, not against what the stage made of it"
    note = open_source(tmp_path / "a.tiff")
    assert note.image.relation == PLANCK
    with Image.open(tmp_path / "a.tiff") as image:
        assert '"sensor": {"dead_pixels": "auto", "stripes": "off"' in str(image.getexif().get_ifd(0x8769)[0x9286])


def test_the_stage_alone_needs_no_model(tmp_path):
    path = save(tmp_path / "a.png", with_dead(levels(), 255))
    source = open_source(path, Reading(sensor=DOTS))
    enhance_file(source, tmp_path / "out.png", None, None, running=Running(networks=False))
    assert source.findings is not None
    assert source.findings.words == f"{len(DEAD)} dead pixels"
    with Image.open(tmp_path / "out.png") as image:
        assert np.asarray(image)[DEAD[0]] < 230


def test_pages_and_frames_are_counted(tmp_path):
    pages = [frame(), with_dead(frame(seed=1), 60000), frame(seed=2)]
    source = open_source(thermal_files.tiff_pages(tmp_path / "a.tiff", pages), Reading(sensor=DOTS))
    source.rewrite(tmp_path / "out.tiff", lambda pages: pages)
    assert source.findings is not None
    assert source.findings.words == "1 of 3 pages, most on number 2: 3 dead pixels"


def test_a_profile_of_another_camera_is_refused_with_the_file(tmp_path):
    small = save(tmp_path / "small.png", levels()[:40])
    clip = clip_files.write_clip(tmp_path / "clip.mp4", clip_files.static_scene(2))
    counts = save(tmp_path / "counts.png", frame()[:40])
    for path in (small, clip, counts):
        with pytest.raises(ValueError, match=rf"{path.name}: the profile is for 64x48, .*own\.safetensors"):
            open_source(path, striped(1))


def test_a_profile_is_of_whole_frames(tmp_path):
    """Borders without data are cut off after the profile, whose columns else would not be those of the scene."""
    stored = np.pad(frame(38, 54), 5)
    stored = (stored + np.where(stored > 0, np.rint(200 * COLUMNS), 0)).astype(np.float32)
    stored[stored == 0] = np.nan
    path = save(tmp_path / "a.tif", stored)
    page = next(open_source(path, striped(200)).pages())[..., 0].numpy()
    assert page.shape == (38, 54)
    assert np.abs(np.diff(page[:, :20].mean(0))).max() < 0.02


@pytest.mark.parametrize("bits", [8, 16])
def test_frames_of_a_clip_take_what_most_of_them_show(tmp_path, bits):
    """A pixel that is dead in most frames is so in all; the stage reads ahead, and frames keep their order."""
    base = levels() if bits == 8 else frame()
    top = 2**bits - 1
    planes = [(base + step).astype(np.float64) for step in range(20)]
    stored = [plane if index == 4 else with_dead(plane, top) for index, plane in enumerate(planes)]
    frames = [torch.from_numpy(plane / top)[..., None].float() for plane in stored]
    layout = "gray" if bits == 8 else "gray16le"
    path = clip_files.write_clip(tmp_path / "a.mkv", frames, codec="ffv1", layout=layout)
    source = ClipSource(path, sensor=SensorStage(replace(DOTS.settings, dead_pixels="on")), lossless=True)
    expected = [replaced(plane, mask()) for plane in planes]
    seen = [page[..., 0].numpy() for page in source.pages()]
    low, high = (0, 255) if bits == 8 else source._fitted().counts
    for page, plane in zip(seen, expected, strict=True):
        assert np.abs(page * (high - low) + low - plane.clip(low, high)).max() < 0.01
    source.rewrite(tmp_path / "out.mkv", lambda pages: pages)
    assert source.findings.words == "20 of 20 frames, most on number 1: 3 dead pixels"
    with ClipSource(tmp_path / "out.mkv")._open() as reader:
        for result, plane in zip(reader.frames(), expected, strict=True):
            assert np.abs(result.pixels[..., 0].double().numpy() * top - plane).max() <= 0.51


def test_parts_of_large_pages_share_columns_and_rows(tmp_path, monkeypatch):
    """Each part has the columns of the whole page, so that no seam shows, and its own dead pixels."""
    monkeypatch.setattr(large_module, "PART", 64)
    monkeypatch.setattr(large_module, "OVERLAP", 16)
    monkeypatch.setattr(large_stage, "_SAMPLE", 60 * 160)
    monkeypatch.setattr("hidra_core.sources.reading.is_large", lambda image: True)
    generator = np.random.default_rng(3)
    columns, rows = np.rint(generator.normal(0, 50, 200)), np.rint(generator.normal(0, 50, 160))
    clean = np.tile(frame(40, 50), (4, 4)).astype(float)
    stored = clean + columns + rows[:, None]
    stored[70, 90] = 60000

    def known(image, settings, valid=None, level=1.0):
        dead = image > 50000
        found = SensorCorrection(dead, np.zeros(image.shape[1]), np.zeros(image.shape[0]), level=level)
        if settings.stripes != "off":
            sides = {200: columns, 160: rows}
            across, down = (sides.get(side, np.zeros(side)) for side in image.shape[::-1])
            found = SensorCorrection(dead, across, down, level=level)
        return found.apply(image), found

    monkeypatch.setattr(large_stage, "undo_sensor", known)
    monkeypatch.setattr("hidra_core.sensor.stage.undo_sensor", known)
    path = save(tmp_path / "a.tif", stored.astype(np.uint16))
    source = open_source(path, Reading(sensor=SensorStage()))
    assert isinstance(source, large_module.LargeCountsSource)
    result = rewritten(source, tmp_path / "out.tif").astype(float)
    clean[70, 90] = np.nan
    assert np.nanmax(np.abs(result - clean)) <= 1
    assert abs(result[70, 90] - 17500) < 700
    assert source.findings.words.startswith("1 dead pixel; columns")
    source.rewrite(tmp_path / "back.tif", lambda pages: pages, Change(blend=0))
    assert (tmp_path / "back.tif").read_bytes() == path.read_bytes()
    with pytest.raises(ValueError, match="no frame of the camera"):
        next(open_source(path, Reading(sensor=SensorStage(camera=Any()))).pages())


class Any(Striped):
    """A profile that fits all files."""

    def __init__(self) -> None:
        super().__init__(1)

    def check(self, size, camera, unit) -> None:
        pass


def test_files_are_read_without_the_stage_unless_it_is_asked_for(tmp_path):
    path = save(tmp_path / "a.png", with_dead(levels(), 255))
    for reading in (Reading(), Reading(as_counts=True)):
        source = open_source(path, reading)
        assert source.findings is None
        assert next(source.pages())[DEAD[0]] == 1
