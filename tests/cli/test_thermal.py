"""``hidra enhance`` on the counts of thermal cameras."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers import thermal_files
from helpers.thermal_files import PLANCK, frame
from PIL import Image

from hidra_core.cli import main
from hidra_core.thermal import LinearKelvin
from hidra_core.thermal.readers import read_thermal

if TYPE_CHECKING:
    from pathlib import Path

OK, FAILED, WRONG_USAGE = 0, 1, 2


@pytest.fixture
def enhance(tmp_path, capsys, monkeypatch, tiny):
    """Runs ``hidra enhance`` into ``tmp_path / "out"``: (exit code, errors). hidra-tiny is loaded already."""
    monkeypatch.setattr("hidra_core.backbone.load_backbone", lambda *_, **__: tiny[0])
    monkeypatch.setattr("hidra_core.weights.load_weights", lambda *_, **__: tiny[1])

    def run(*arguments: object) -> tuple[int, str]:
        code = main(["enhance", *map(str, arguments), "-o", str(tmp_path / "out"), "--device", "cpu", "--quiet"])
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One file of each kind, all with the same counts."""
    place = tmp_path / "in"
    place.mkdir()
    content = thermal_files.fff(frame(), thermal_files.png_plane(frame(), swapped=True))
    thermal_files.flir_jpeg(place / "flir.jpg", content)
    (place / "frame.fff").write_bytes(content)
    (place / "raw_64x48.y16").write_bytes(frame().tobytes())
    Image.fromarray(frame()).save(place / "deep.png")
    thermal_files.tiff_pages(place / "pages.tiff", [frame(), frame(seed=1)])
    return place


def test_every_kind_comes_out_in_16_bits(enhance, folder, tmp_path):
    assert enhance(folder) == (OK, "")
    out = tmp_path / "out"
    names = ["deep.png", "flir.tiff", "frame.tiff", "pages.tiff", "raw_64x48.tiff"]
    assert sorted(path.name for path in out.iterdir()) == names
    for name in names:
        image = read_thermal(out / name)
        assert image.counts.dtype == np.uint16
        assert image.counts.shape == (2 if name == "pages.tiff" else 1, 48, 64)
        assert 16500 < image.counts.min() < image.counts.max() < 18500
        assert image.relation == (PLANCK if name in ("flir.tiff", "frame.tiff") else None)
    # the same counts give the same result, whatever they come in
    assert np.array_equal(read_thermal(out / "flir.tiff").counts, read_thermal(out / "deep.png").counts)


def test_radiometric_mode_keeps_temperatures_and_reports(enhance, folder, tmp_path):
    code, _ = enhance(folder / "deep.png", folder / "pages.tiff", "--radiometric", "--kelvin", "0.04", "--compare")
    out = tmp_path / "out"
    assert code == OK
    assert sorted(path.name for path in out.iterdir()) == [
        *("deep-compare.png", "deep-radiometric.json", "deep.png"),
        *("pages-compare.png", "pages-radiometric.json", "pages.tiff"),
    ]
    image = read_thermal(out / "deep.png")
    assert image.relation == LinearKelvin(0.04)
    record = json.loads((out / "deep-radiometric.json").read_text())
    assert record["linear"] == {"scale": 0.04, "offset": 0.0}
    [report] = record["report"]
    residual = image.counts[0].astype(float) - frame()
    assert report["residual"]["mean"] == pytest.approx(residual.mean(), abs=0.05)
    assert abs(report["residual"]["largest"]) == pytest.approx(np.abs(residual).max(), abs=0.51)
    assert report["residual_kelvin"]["mean"] == pytest.approx(0.04 * report["residual"]["mean"])
    assert abs(report["residual_kelvin"]["mean"]) < 0.1
    assert len(json.loads((out / "pages-radiometric.json").read_text())["report"]) == 2


@pytest.mark.parametrize("options", [(), ("--limits", 1, 99)])
@pytest.mark.parametrize("kind", ["percentile", "plateau"])
def test_mappings_are_used_and_recorded(enhance, folder, tmp_path, kind, options):
    assert enhance(folder / "deep.png", "--mapping", kind, *options, "--radiometric")[0] == OK
    mapping = json.loads((tmp_path / "out" / "deep-radiometric.json").read_text())["mapping"]
    assert mapping["kind"] == kind
    assert mapping["parameters"]["low"] == (1 if options else {"percentile": 0.5, "plateau": 0.1}[kind])


def test_upscaled_counts(enhance, folder, tmp_path):
    assert enhance(folder / "frame.fff", "--upscale", 2, "--radiometric", "--format", "png")[0] == OK
    image = read_thermal(tmp_path / "out" / "frame.png")
    assert image.counts.shape == (1, 96, 128)
    assert abs(image.counts.mean() - frame().mean()) < 3


def test_8_bit_grey_in_radiometric_mode_and_colours_not(enhance, tmp_path):
    Image.fromarray((frame() // 80).astype(np.uint8)).save(tmp_path / "grey.png")
    Image.new("RGB", (64, 48), (200, 30, 10)).save(tmp_path / "colour.png")
    code, errors = enhance(tmp_path / "grey.png", tmp_path / "colour.png", "--radiometric")
    assert code == FAILED
    assert "colour.png is in colour, and colours of a palette are no counts" in errors
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["grey-radiometric.json", "grey.png"]
    assert read_thermal(out / "grey.png").counts.dtype == np.uint8


def test_one_bad_file_stops_nothing_and_leaves_nothing(enhance, folder, tmp_path):
    (folder / "frame.fff").write_bytes((folder / "frame.fff").read_bytes()[:500])
    (folder / "raw_64x48.y16").write_bytes(bytes(99))
    code, errors = enhance(folder)
    assert code == FAILED
    assert len(errors.splitlines()) == 2
    assert "frame.fff is damaged" in errors
    assert "raw_64x48.y16 has 99 bytes" in errors
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["deep.png", "flir.tiff", "pages.tiff"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--shading",), "give --radiometric too"),
        (("--plateau", 3), "give that too"),
        (("--mapping", "plateau", "--plateau", -1), "above 0"),
        (("--limits", 5, 1), "low below high"),
        (("--mapping", "percentile", "--limits", 60, 40), "percentiles must be"),
        (("--kelvin", "0"), "positive number"),
    ],
)
def test_wrong_options_are_found_before_any_work(enhance, folder, tmp_path, options, message):
    code, errors = enhance(folder, *options)
    assert code == WRONG_USAGE
    assert message in errors
    assert not (tmp_path / "out").exists()


def test_a_decimal_comma_is_no_offset(enhance, folder, capsys):
    with pytest.raises(SystemExit):
        enhance(folder, "--kelvin", "0,01")
    assert "write 0.01 with a point" in capsys.readouterr().err


def test_remedies_name_their_options(enhance, folder, tmp_path, capsys):
    code, errors = enhance(folder / "deep.png", "--unit", "celsius", "--format", "tiff", "--blend", 0)
    assert code == FAILED
    assert "state the kelvin per count with --kelvin, or leave out --unit to write counts" in errors
    words = ("enhance", folder / "flir.jpg", "-o", tmp_path / "out", "--kelvin", "0.04", "--blend", 0)
    assert main([*map(str, words)]) == OK
    assert "add --force-kelvin if it is to be used" in capsys.readouterr().err


@pytest.mark.parametrize("option", [("--kelvin", "warm"), ("--raw-size", "64"), ("--raw-size", "0x5")])
def test_texts_that_are_no_numbers(enhance, folder, option, capsys):
    with pytest.raises(SystemExit):
        enhance(folder, *option)
    assert "expected" in capsys.readouterr().err
